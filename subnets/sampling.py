"""Which configurations a supernet is trained at, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from models.config import ChannelConfig
from subnets.space import SearchSpace


@dataclass(frozen=True)
class Sampling:
    """Draws the passes of a training step.

    Draws depend on seed and step alone, so an interrupted run continues with the same ones.

    Args:
        space:     what is drawn from, uniformly in every gene
        seed:      of the draws
        sandwich:  0: one random configuration per step (GAN Compression, section 3.3). K: the
                   largest, the smallest and K random ones per step (the sandwich rule of Yu and
                   Huang 2019, Universally Slimmable Networks)
        per_image: every image of the joint batch has random configurations of its own
        rank, batch: this process has the ``batch`` images of the joint batch from
                   ``rank * batch`` on. Without ``per_image`` all processes draw the same.
    """

    space: SearchSpace
    seed: int = 0
    sandwich: int = 0
    per_image: bool = False
    rank: int = 0
    batch: int = 1

    def __call__(self, step: int, images: int) -> list[ChannelConfig | tuple[ChannelConfig, ...]]:
        """The passes of a step: each is one configuration, or ``images`` of them."""
        ends = [self.space.largest, self.space.smallest] if self.sandwich else []
        return [*ends, *(self._random(step, images, k) for k in range(self.sandwich or 1))]

    def _random(self, step: int, images: int, k: int):
        if not self.per_image:
            return self.space.draw_at(self.seed, step, k)
        first = (k << 32) + self.rank * self.batch
        return tuple(self.space.draw_at(self.seed, step, first + i) for i in range(images))
