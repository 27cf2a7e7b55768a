"""Layers shared by all generators: plain, separable, and elastic ones that run on a slice of their weights.

An elastic layer takes its input channels from the tensor it is given and its output channels as an argument, so
a configuration travels as plain integers and a network holds no hidden state.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# --------------------------------------------------------------------------------------------------
# Normalisation


def make_norm(norm: str, channels: int) -> nn.Module:
    """``instance`` (no affine, no running statistics), ``batch`` (affine) or ``none``."""
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm must be instance, batch or none, not {norm!r}")


class ElasticInstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm of any number of channels (it has no parameters)."""

    def __init__(self):
        super().__init__(0, affine=False, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, eps=self.eps)


# --------------------------------------------------------------------------------------------------
# Elastic convolutions: weight[:out, :in] of a full-width layer. Slices are taken contiguous so that the kernels see what an
# exported network would give them, which makes supernet(config) equal the exported subnet bit for bit.


class ElasticConv2d(nn.Conv2d):
    """Conv2d on its first in and out channels. x: N C H W with C <= in_channels; ``out`` None = all."""

    def forward(self, x: Tensor, out: int | None = None) -> Tensor:
        out = self.out_channels if out is None else out
        weight = self.weight[:out, : x.shape[1]].contiguous()
        bias = None if self.bias is None else self.bias[:out]
        return F.conv2d(x, weight, bias, self.stride, self.padding)


class ElasticConvTranspose2d(nn.ConvTranspose2d):
    """ConvTranspose2d on its first in and out channels (weight layout: in, out, kh, kw)."""

    def forward(self, x: Tensor, out: int | None = None) -> Tensor:
        out = self.out_channels if out is None else out
        weight = self.weight[: x.shape[1], :out].contiguous()
        bias = None if self.bias is None else self.bias[:out]
        return F.conv_transpose2d(x, weight, bias, self.stride, self.padding, self.output_padding)


class ElasticDepthwiseConv2d(nn.Conv2d):
    """Depthwise conv: the input decides the channels."""

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        bias = None if self.bias is None else self.bias[:channels]
        weight = self.weight[:channels].contiguous()
        return F.conv2d(x, weight, bias, self.stride, self.padding, groups=channels)


# --------------------------------------------------------------------------------------------------
# Separable convolution of the mobile generators: depthwise 3x3, instance norm, pointwise 1x1, both with bias


class SeparableConv2d(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, groups=in_channels),
            make_norm("instance", in_channels),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ElasticSeparableConv2d(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            ElasticDepthwiseConv2d(in_channels, in_channels, 3, groups=in_channels),
            ElasticInstanceNorm2d(),
            ElasticConv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor, out: int | None = None, keep: Tensor | None = None) -> Tensor:
        """``keep``: bool N in 1 1, False for the channels of ``x`` that do not count: their bias gets past the depthwise conv alone."""
        depthwise, norm, pointwise = self.conv
        x = norm(depthwise(x))
        return pointwise(x if keep is None else x * keep, out)


# --------------------------------------------------------------------------------------------------
# Images of any size: a generator halves its input twice, and what is left must be wide enough to be mirrored by 1


def pad_to_fit(x: Tensor) -> Tensor:
    """N C H W with the last column and row repeated until both are multiples of 4 and at least 8; ``x`` itself where they are."""
    height, width = x.shape[2:]
    below, right = (max(8, -(-side // 4) * 4) - side for side in (height, width))
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def any_size(generate: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``generate(x)`` as large as ``x``, whose height and width may be anything."""
    return generate(pad_to_fit(x))[..., : x.shape[2], : x.shape[3]]


# --------------------------------------------------------------------------------------------------
# Weight initialisation (SPEC 2: normal, gain 0.02, bias 0)


@torch.no_grad()
def init_weights(net: nn.Module, init_type: str = "normal", gain: float = 0.02) -> nn.Module:
    """Initialise convolutions by ``init_type`` (normal, xavier, kaiming, orthogonal), biases to 0, batch norm to N(1, gain)."""
    fill = {
        "normal": lambda w: nn.init.normal_(w, 0.0, gain),
        "xavier": lambda w: nn.init.xavier_normal_(w, gain=gain),
        "kaiming": lambda w: nn.init.kaiming_normal_(w, a=0, mode="fan_in"),
        "orthogonal": lambda w: nn.init.orthogonal_(w, gain=gain),
    }[init_type]
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)
    return net


def set_dropout(net: nn.Module, rate: float) -> None:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
