"""Styles for generators that take one (`models.munit`), and networks that bring theirs along."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from models.munit import MunitGenerator

# What styles of evaluations are drawn with unless something else is said.
SEED = 0


def random_styles(x: Tensor, style_dim: int, seed: int = SEED) -> Tensor:
    """A style for every image, drawn from N(0, 1).

    It is a function of the seed and of the image's pixels, rounded to 8 bits, alone: neither the
    order of calls, nor the other images of the batch, nor the device change it. So scores of
    different networks on the same images compare.

    Args:
        x: float N C H W in [-1, 1]
    Returns:
        float32 N style_dim, on the device of ``x``
    """
    pixels = ((x.detach().float() + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8).cpu()
    drawn = []
    for image in pixels.numpy():
        digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
        key = [seed, int.from_bytes(digest, "little")]
        rng = np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))
        drawn.append(rng.standard_normal(style_dim))
    return torch.tensor(np.stack(drawn), dtype=torch.float32).to(x.device)


class InRandomStyles(nn.Module):
    """A generator that makes every image in the style that `random_styles` draws for it.

    forward(x): N input_nc H W float in [-1, 1], H and W multiples of 4 -> N output_nc H W.
    """

    # The style encoder, which needs larger ones, does not run.
    multiple = 4

    def __init__(self, net: MunitGenerator, seed: int = SEED):
        super().__init__()
        self.net, self.seed = net, seed

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, style=random_styles(x, self.net.form.style_dim, self.seed))


class InOneStyle(nn.Module):
    """A generator that makes every image in one style: a function of images alone, which can be
    exported and timed as others are.

    forward(x): N input_nc H W float in [-1, 1], H and W multiples of 4 -> N output_nc H W.

    Args:
        style: float 1 style_dim
    """

    multiple = 4

    def __init__(self, net: MunitGenerator, style: Tensor):
        super().__init__()
        self.net = net
        self.register_buffer("style", style.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, style=self.style.expand(x.shape[0], -1))


def in_one_style(net: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A network that draws a style for each image, in a single one instead: for those who time it,
    and for frames of a video, which would flicker. Any other network as it is."""
    if not isinstance(net, InRandomStyles):
        return net
    image = torch.zeros(1, 1, 1, 1)
    style = random_styles(image, net.net.style_dim, net.seed)
    return InOneStyle(net.net, style.to(next(net.parameters()).device)).train(net.training)
