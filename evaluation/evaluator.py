"""(generator, config) -> metrics, the same for training, search, test and export; and the statistics of the real images.

Inputs are decoded once and stay uint8 in memory; generator, quantisation and feature network run in one pass on the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from data.loader import Loader
from data.transforms import to_uint8
from models.layers import any_size
from runtime import distributed

Generate = Callable[[Tensor], Tensor]


# ---------------------------------------------------------------------------------------------------------
# Evaluator


class Evaluator:
    """Measures generators on a fixed set of inputs.

    Args:
        loader:   inputs, in order
        criteria: see `metrics.criteria`
        shared:   the loader gives each process of the run its share of the images: put everyone's together
        bf16:     run generator and feature network in bfloat16 (``amp bf16``); their results differ a little, see docs/search.md
    """

    def __init__(self, loader: Loader, criteria: list, bf16: bool = False, shared: bool = False):
        self.loader, self.criteria, self.bf16, self.shared = loader, criteria, bf16, shared

    @property
    def label(self) -> str:
        return ", ".join(c.label for c in self.criteria)

    @torch.inference_mode()
    def outputs(
        self, generate: Generate, limit: int | None = None
    ) -> Iterator[tuple[Tensor, list[str]]]:
        """uint8 N C H W on the device, and names, batch by batch; ``limit`` stops after at least so many images."""
        done = 0
        for batch in self.loader.epoch():
            yield to_uint8(any_size(generate, batch.A)), batch.names
            done += len(batch)
            if limit is not None and done >= limit:
                return

    def __call__(self, generate: Generate) -> dict:
        """All metrics of a generator: the criteria's keys, ``n`` images, ``seconds``."""
        start = time.monotonic()
        for criterion in self.criteria:
            criterion.reset()
        with torch.autocast(self.loader.device.type, torch.bfloat16, enabled=self.bf16):
            for images, names in self.outputs(generate):
                for criterion in self.criteria:
                    criterion.update(images, names)
        metrics: dict = {}
        for criterion in self.criteria:
            if self.shared and distributed.world_size() > 1:
                criterion.merge(distributed.gather_objects(criterion.state()))
            metrics |= criterion.result()
        return metrics | {"seconds": round(time.monotonic() - start, 3)}
