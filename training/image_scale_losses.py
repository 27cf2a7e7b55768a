"""Losses before a discriminator that gives scores of several scales (`models.image_scales`)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from training.losses import discriminator_loss, generator_loss

# Of each scale: N 1 H W.
Scores = Sequence[Tensor]


def judged(mode: str, fake: Scores, real: Scores) -> tuple[Tensor, Tensor]:
    """(loss on fake, loss on real) of the discriminator, which minimises their sum: sums over the
    scales. With lsgan these are mean D(fake)^2 and mean (D(real) - 1)^2; scalars."""
    pairs = [discriminator_loss(mode, f, r) for f, r in zip(fake, real, strict=True)]
    of_fake, of_real = zip(*pairs, strict=True)
    return sum(of_fake), sum(of_real)


def fooled(mode: str, fake: Scores) -> Tensor:
    """What the generator minimises of its images' scores, a scalar: the sum over scales; with lsgan
    mean (D(fake) - 1)^2."""
    return sum(generator_loss(mode, scores) for scores in fake)
