"""Losses before a discriminator of several scales, each of which gives the outputs of all its
layers, the scores last (`models.multi_scale`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.losses import discriminator_loss, generator_loss

# Of each scale: the layers' outputs, N C H W each.
Outputs = Sequence[Sequence[Tensor]]


def split(outputs: Outputs) -> tuple[Outputs, Outputs]:
    """(of the first half of a batch, of the second)."""
    halves = [[layer.chunk(2) for layer in scale] for scale in outputs]
    first, second = ([[layer[half] for layer in scale] for scale in halves] for half in (0, 1))
    return first, second


def judged(mode: str, fake: Outputs, real: Outputs) -> tuple[Tensor, Tensor]:
    """(loss on fake, loss on real) of the discriminator, which minimises their sum: means over
    scales. With hinge these are max(0, 1 + D(fake)) and max(0, 1 - D(real)); scalars."""
    of_fake, of_real = zip(
        *(discriminator_loss(mode, f[-1], r[-1]) for f, r in zip(fake, real, strict=True)),
        strict=True,
    )
    return torch.stack(of_fake).mean(), torch.stack(of_real).mean()


def fooled(mode: str, fake: Outputs) -> Tensor:
    """What the generator minimises of its images' scores, a scalar: the mean over scales; with
    hinge -D(fake)."""
    return torch.stack([generator_loss(mode, scale[-1]) for scale in fake]).mean()


def feature_matching(fake: Outputs, real: Outputs) -> Tensor:
    """Sum over layers of the mean of |f(fake) - f(real)|, mean over scales; a scalar, 0 for equal
    images (Wang et al., CVPR 2018, eq. 4, without its division by the layers).

    The scores are not compared. No gradient goes to ``real``.
    """
    sums = [
        sum(
            F.l1_loss(f.float(), r.detach().float())
            for f, r in zip(fakes[:-1], reals[:-1], strict=True)
        )
        for fakes, reals in zip(fake, real, strict=True)
    ]
    return sum(sums) / len(sums)
