"""Generator -> metrics, the same for training, search, test and export.

Inputs are decoded once and stay in memory as uint8. The generator, the conversion of its outputs to
uint8 and the feature network run in one pass on the device.
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
    """The uint8 pixels that an image had before it became network values in [-1, 1].

    The values are rounded. Truncation, as for outputs (SPEC 5), would put a quarter of the levels
    one too low here.

    Args:
        x: float, any shape

    Returns:
        uint8 in 0..255, the same shape
    """
    return ((x.float() + 1) / 2 * 255).round_().clamp_(0, 255).to(torch.uint8)


class Evaluator:
    """Measures generators on a fixed set of inputs.

    Args:
        loader:   inputs, in a fixed order
        criteria: what judges the outputs
        bf16:     run generator and feature network in bfloat16 (``amp bf16``); results differ a
                  little, see docs/search.md
        shared:   the loader gives each process of the run a share of the images; combine the
                  results of all processes
        bar:      show a progress bar if an evaluation takes more than 3 seconds
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
        """Metric -> its name in tables and plots."""
        return {key: text for c in self.criteria for key, text in c.labels.items()}

    @torch.inference_mode()
    def outputs(
        self, generate: Generate, limit: int | None = None
    ) -> Iterator[tuple[Tensor, list[str]]]:
        """Yield the outputs of each batch, uint8 N C H W on the device, and their N names.

        Args:
            generate: N C H W float32 in [-1, 1] -> the same of the output
            limit:    stop after the batch that reaches this number of images; None = all images
        """
        done = 0
        for batch in self.loader.epoch():
            yield to_uint8(any_size(generate, batch.A)), batch.names
            done += len(batch)
            if limit is not None and done >= limit:
                return

    @torch.inference_mode()
    def __call__(self, generate: Generate) -> dict:
        """Measure a generator on all inputs.

        Args:
            generate: N C H W float32 in [-1, 1] -> the same of the output

        Returns:
            the results of all criteria by key, with ``n`` (number of images) and ``seconds``
        """
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
        # The first evaluation of a training may take longer than all steps before it.
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
                # If images are shared, the bar of the main process counts those of all processes.
                done = len(batch) * (distributed.world_size() if self.shared else 1)
                bar.update(min(done, total - bar.n))
