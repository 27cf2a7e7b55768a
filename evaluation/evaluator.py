"""Generator -> metrics, the same for training, search, test and export.

Inputs are decoded once and stay uint8 in memory; generator, quantisation and feature network run in
one pass on the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from data.loader import Loader
from data.transforms import to_uint8
from metrics.criteria import Criterion
from models.layers import any_size
from runtime import distributed
from runtime.progress import Bar

Generate = Callable[[Tensor], Tensor]


def stored_pixels(x: Tensor) -> Tensor:
    """Network values in [-1, 1] of an image that was read -> the uint8 pixels it was read from.

    Outputs are truncated (SPEC 5), which would put a quarter of the levels one too low here.
    """
    return ((x.float() + 1) / 2 * 255).round_().clamp_(0, 255).to(torch.uint8)


class Evaluator:
    """Measures generators on a fixed set of inputs.

    Args:
        loader:   inputs, in order
        criteria: what their outputs are judged by
        bf16:     run generator and feature network in bfloat16 (``amp bf16``); their results differ
                  a little, see docs/search.md
        shared:   the loader gives each process of the run its share of the images: put all shares
                  together
        bar:      show a progress bar during evaluations that take more than a few seconds
    """

    def __init__(
        self,
        loader: Loader,
        criteria: Sequence[Criterion],
        bf16: bool = False,
        shared: bool = False,
        bar: bool = False,
    ):
        self.loader, self.criteria, self.bf16 = loader, criteria, bf16
        self.shared, self.bar = shared, bar

    @property
    def labels(self) -> dict[str, str]:
        """Metric -> how it must be named in tables and plots."""
        return {key: text for c in self.criteria for key, text in c.labels.items()}

    @torch.inference_mode()
    def outputs(
        self, generate: Generate, limit: int | None = None
    ) -> Iterator[tuple[Tensor, list[str]]]:
        """uint8 N C H W on the device, and names, batch by batch.

        ``limit`` stops at the end of the batch that reaches that number of images.
        """
        done = 0
        for batch in self.loader.epoch():
            yield to_uint8(any_size(generate, batch.A)), batch.names
            done += len(batch)
            if limit is not None and done >= limit:
                return

    @torch.inference_mode()
    def __call__(self, generate: Generate) -> dict:
        """All metrics of a generator: the criteria's keys, ``n`` images, ``seconds``."""
        start = time.monotonic()
        metrics: dict = {"n": len(self.loader.dataset)}
        if self.criteria:
            self._update(generate)
        for criterion in self.criteria:
            if self.shared and distributed.world_size() > 1:
                criterion.merge(distributed.gather_objects(criterion.state()))
            metrics |= criterion.result()
        return metrics | {"seconds": round(time.monotonic() - start, 3)}

    def _update(self, generate: Generate) -> None:
        for criterion in self.criteria:
            criterion.reset()
        total = len(self.loader.dataset)
        # A training's first evaluations may take longer than its steps so far.
        shown = dict(desc="evaluating", unit="img", leave=False, delay=3, disable=not self.bar)
        with (
            Bar(total=total, **shown) as bar,
            torch.autocast(self.loader.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            for batch in self.loader.epoch():
                images = to_uint8(any_size(generate, batch.A))
                real = None if batch.B is None else stored_pixels(batch.B)
                for criterion in self.criteria:
                    criterion.update(images, batch.names, real)
                # Of shared images each process sees its part, and the main one shows the bar.
                done = len(batch) * (distributed.world_size() if self.shared else 1)
                bar.update(min(done, total - bar.n))
