"""The discriminator of MUNIT: PatchGANs that look at an image and at smaller ones of it, and at
nothing beside it."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class ScaleBlock(nn.Module):
    """A reflected border of a pixel, a convolution 4x4 of stride 2, and a LeakyReLU."""

    def __init__(self, fin: int, fout: int):
        super().__init__()
        self.pad, self.conv = nn.ReflectionPad2d(1), nn.Conv2d(fin, fout, 4, stride=2)
        self.activation = nn.LeakyReLU(0.2, True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv(self.pad(x)))


class ImageScaleDiscriminator(nn.Module):
    """``num_D`` PatchGANs without norms; the next sees the image at half the size of the one
    before.

    forward(x): N input_nc H W -> the scores of each, N 1 H' W', unbounded; the largest image's
    first. The smallest image that they see has at least 2^``n_layers`` pixels to a side: 64 of the
    whole image with three scales and four layers.

    Args:
        ndf:      channels of the first layer, twice as many in each other
        n_layers: of stride 2, before one that makes scores of each place
    """

    def __init__(self, input_nc: int, ndf: int = 64, n_layers: int = 4, num_D: int = 3):
        super().__init__()
        widths = [input_nc, *(ndf * 2**n for n in range(n_layers))]

        def patch() -> nn.Sequential:
            blocks = (ScaleBlock(fin, fout) for fin, fout in pairwise(widths))
            return nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 1))

        self.cnns = nn.ModuleList(patch() for _ in range(num_D))

    def forward(self, x: Tensor) -> list[Tensor]:
        scores = []
        for patch in self.cnns:
            scores.append(patch(x))
            # What lies outside the image does not count.
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return scores
