"""Styles for generators that take one (`models.munit`), and networks that bring theirs along."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

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
    drawn = [rng.standard_normal(style_dim) for rng in _draws(x, seed)]
    return torch.tensor(np.stack(drawn), dtype=torch.float32).to(x.device)


def chosen(x: Tensor, count: int, seed: int = SEED) -> list[int]:
    """Which of ``count`` things each image gets, all as likely; a function of seed and pixels
    alone, as in `random_styles`.

    Args:
        x: float N C H W in [-1, 1]
    Returns:
        N numbers from 0 to ``count`` - 1
    """
    return [int(rng.integers(count)) for rng in _draws(x, seed)]


def _draws(x: Tensor, seed: int) -> Iterator[np.random.Generator]:
    """What draws for each image."""
    pixels = ((x.detach().float() + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8).cpu()
    for image in pixels.numpy():
        digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
        key = [seed, int.from_bytes(digest, "little")]
        yield np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


class InOneStyle(nn.Module):
    """A generator that makes every image in a given style: a function of images alone, which can be
    exported and timed as others are.

    forward(x): N input_nc H W float in [-1, 1], H and W multiples of 4 -> N output_nc H W.

    Args:
        style: float 1 style_dim, of all images; or N style_dim, of each image of a batch of N
    """

    # The style encoder, which needs larger ones, does not run.
    multiple = 4

    def __init__(self, net: MunitGenerator, style: Tensor):
        super().__init__()
        self.net, self.reach = net, net.reach
        self.register_buffer("style", style.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, style=self.style.expand(x.shape[0], -1))


class InStyles(nn.Module):
    """A generator that chooses a style for every image; `InRandomStyles` and `InStylesOf` say how.

    forward(x): N input_nc H W float in [-1, 1], H and W multiples of 4 -> N output_nc H W.
    """

    multiple = 4

    def __init__(self, net: MunitGenerator, seed: int = SEED):
        super().__init__()
        self.net, self.reach, self.seed = net, net.reach, seed

    def styles(self, x: Tensor) -> Tensor:
        """The style of every image: N C H W -> N style_dim, on the device of ``x``."""
        raise NotImplementedError

    def samples(self, count: int) -> Tensor:
        """The first of the styles that images may be made in, ``count`` at most: float32, a row of
        style_dim each."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, style=self.styles(x))


class InRandomStyles(InStyles):
    """Every image is made in the style that `random_styles` draws for it."""

    def styles(self, x: Tensor) -> Tensor:
        return random_styles(x, self.net.style_dim, self.seed)

    def samples(self, count: int) -> Tensor:
        image, device = torch.zeros(1, 1, 1, 1), next(self.net.parameters()).device
        seeds = range(self.seed, self.seed + count)
        return torch.cat([random_styles(image, self.net.style_dim, seed) for seed in seeds]).to(
            device
        )


class InStylesOf(InStyles):
    """Every image is made in one of a few given styles, that of the number `chosen` for it.

    Args:
        references: float count style_dim, such as reference images have
    """

    def __init__(self, net: MunitGenerator, references: Tensor, seed: int = SEED):
        super().__init__(net, seed)
        self.register_buffer("references", references.detach().clone())

    def styles(self, x: Tensor) -> Tensor:
        return self.references[chosen(x, len(self.references), self.seed)].to(x.device)

    def samples(self, count: int) -> Tensor:
        return self.references[:count]


def in_one_style(net: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A network that chooses a style for each image, in its first alone instead: for those who time
    it, and for frames of a video, which would flicker. Any other network as it is."""
    if not isinstance(net, InStyles):
        return net
    return InOneStyle(net.net, net.samples(1)).train(net.training)


def in_their_styles(net: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[Tensor], Tensor]:
    """A network that chooses a style for each image, in the styles that it chooses for the images
    ``x``: for those who give it parts of these. Any other network as it is."""
    if not isinstance(net, InStyles):
        return net
    return InOneStyle(net.net, net.styles(x)).train(net.training)
