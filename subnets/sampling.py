"""Which configurations a supernet is trained at, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from models.config import ChannelConfig
from subnets.space import SearchSpace


@dataclass(frozen=True)
class Sampling:
    """Draws the passes of a training step; a function of seed and step, so a continued run draws what it would have drawn.

    Args:
        space:     what is drawn from, uniformly in every gene
        seed:      of the draws
        sandwich:  0: one random configuration per step (GAN Compression, section 3.3). K: the largest, the smallest and K random
                   ones per step (the sandwich rule of Yu and Huang 2019, Universally Slimmable Networks)
        per_image: every image of the joint batch has random configurations of its own
        rank, batch: which images of the joint batch are this process's: those from ``rank * batch`` on. All processes draw the same
                   configuration where ``per_image`` is off.
    """

    space: SearchSpace
    seed: int = 0
    sandwich: int = 0
    per_image: bool = False
    rank: int = 0
    batch: int = 1

    def __call__(self, step: int, images: int) -> list[ChannelConfig | tuple[ChannelConfig, ...]]:
        """The passes of a step for a batch of ``images``: each one configuration, or one per image."""
        ends = [self.space.largest, self.space.smallest] if self.sandwich else []
        return [*ends, *(self._random(step, images, k) for k in range(self.sandwich or 1))]

    def _random(self, step: int, images: int, k: int):
        if not self.per_image:
            return self.space.draw_at(self.seed, step, k)
        first = (k << 32) + self.rank * self.batch
        return tuple(self.space.draw_at(self.seed, step, first + i) for i in range(images))
