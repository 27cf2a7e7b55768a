"""The discriminator of SPADE: PatchGANs that look at an image and at smaller ones of it (Wang et
al., CVPR 2018, section 3.2)."""

from __future__ import annotations

import re

import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from models.layers import make_norm
from models.spectral import SpectralConv2d

_NORM_D = re.compile(r"(spectral)?(instance|batch|none)")


def parse_norm_D(text: str) -> tuple[bool, str]:
    """``[spectral]{instance,batch,none}`` -> (spectral, norm). InputError if it is no such text."""
    found = _NORM_D.fullmatch(text)
    if found is None:
        raise InputError(
            f"'{text}' is not instance, batch or none, with or without spectral before it, e.g. "
            "spectralinstance"
        )
    return found.group(1) is not None, found.group(2)


class PatchDiscriminator(nn.Module):
    """A PatchGAN that gives the outputs of all its layers.

    forward(x): N input_nc H W -> ``n_layers`` + 1 tensors: of the layers in between, after their
    LeakyReLU, and N 1 H' W' scores, unbounded.
    """

    def __init__(self, input_nc: int, ndf: int, n_layers: int, norm: str):
        super().__init__()
        spectral, norm = parse_norm_D(norm)
        make = SpectralConv2d if spectral else nn.Conv2d
        shape = dict(kernel_size=4, padding=2)
        layers: list[list[nn.Module]] = [[nn.Conv2d(input_nc, ndf, stride=2, **shape)]]
        channels = ndf
        for n in range(1, n_layers):
            out = min(channels * 2, 512)
            stride = 2 if n < n_layers - 1 else 1
            # A norm takes a bias away.
            conv = make(channels, out, stride=stride, bias=norm == "none", **shape)
            layers.append([conv if norm == "none" else nn.Sequential(conv, make_norm(norm, out))])
            channels = out
        for n, layer in enumerate(layers):
            self.add_module(f"model{n}", nn.Sequential(*layer, nn.LeakyReLU(0.2)))
        last = nn.Conv2d(channels, 1, stride=1, **shape)
        self.add_module(f"model{n_layers}", nn.Sequential(last))

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.children():
            x = layer(x)
            outputs.append(x)
        return outputs


class MultiScaleDiscriminator(nn.Module):
    """``num_D`` `PatchDiscriminator`s; the next sees the image at half the size of the one before.

    forward(x): N input_nc H W -> for each of them its outputs, the largest image's first.

    Args:
        norm: of the layers in between, see `parse_norm_D`
    """

    def __init__(
        self,
        input_nc: int,
        ndf: int = 64,
        n_layers: int = 4,
        norm: str = "spectralinstance",
        num_D: int = 2,
    ):
        super().__init__()
        for i in range(num_D):
            patch = PatchDiscriminator(input_nc, ndf, n_layers, norm)
            self.add_module(f"discriminator_{i}", patch)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        outputs = []
        for patch in self.children():
            outputs.append(patch(x))
            # What lies outside the image does not count.
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return outputs
