"""Layers shared by all generators: plain, separable, and elastic ones.

An elastic layer runs on a slice of its weights. Its input channels are those of the tensor that it
is given, its output channels an argument: a configuration travels as plain integers, and a network
holds no hidden state.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from models.spectral import weight_of

# --------------------------------------------------------------------------------------------------
# Normalisation

NORMS = ("instance", "batch", "none")


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


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of its first channels: as many as its input has.

    Batches of different widths share its running statistics, which fit none of them; see
    `models.calibration`.
    """

    def forward(self, x: Tensor) -> Tensor:
        n, momentum = x.shape[1], self.momentum
        if self.training:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # a plain mean, as of the base class
                momentum = 1 / float(self.num_batches_tracked)
        return F.batch_norm(
            x,
            self.running_mean[:n],
            self.running_var[:n],
            self.weight[:n],
            self.bias[:n],
            self.training,
            momentum or 0.0,
            self.eps,
        )


class SampleNorm(nn.Module):
    """A layer norm over channels and pixels: (x - mean) / (std + eps), with the unbiased deviation,
    then a factor and a summand for each channel. Takes its first channels, as many as ``x`` has.

    forward(x): N C H W -> the same.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.rand(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        around = (1, 2, 3)
        return self.by(x, x.mean(around, keepdim=True), x.std(around, keepdim=True))

    def by(self, x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """What it makes of ``x`` by given statistics, N 1 1 1 each."""
        gamma, beta = self.factors(x.shape[1])
        return (x - mean) / (deviation + self.eps) * gamma + beta

    def factors(self, channels: int) -> tuple[Tensor, Tensor]:
        """What multiplies its first channels, and what is added to them: 1 C 1 1 each."""
        return tuple(p[:channels].view(1, -1, 1, 1) for p in (self.gamma, self.beta))


def make_elastic_norm(norm: str, channels: int) -> nn.Module:
    """As `make_norm`, for any number of channels up to ``channels``."""
    if norm == "instance":
        return ElasticInstanceNorm2d()
    return ElasticBatchNorm2d(channels) if norm == "batch" else make_norm(norm, channels)


# --------------------------------------------------------------------------------------------------
# Elastic convolutions: weight[:out, :in] of a full-width layer. Slices are made contiguous, so that
# kernels see what an exported network would give them: supernet(config) equals the exported subnet
# bit for bit.


class ElasticConv2d(nn.Conv2d):
    """Conv2d on its first in and out channels.

    forward(x, out): N C H W with C <= in_channels -> N out H' W'; ``out`` None = all channels.
    """

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


def first_of_halves(weight: Tensor, axis: int, channels: int) -> Tensor:
    """The first channels of either half of a weight along an axis, ``channels`` together."""
    half = weight.shape[axis] // 2
    parts = weight.narrow(axis, 0, channels // 2), weight.narrow(axis, half, channels // 2)
    return torch.cat(parts, axis)


class ElasticJoinedConv2d(nn.Conv2d):
    """Conv2d whose input is two elastic tensors of equal width side by side.

    forward(x): N C H W with an even C <= in_channels -> N out_channels H' W'.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = first_of_halves(self.weight, 1, x.shape[1])
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class ElasticJoinedConvTranspose2d(nn.ConvTranspose2d):
    """The same of a transposed convolution, on its first out channels too."""

    def forward(self, x: Tensor, out: int | None = None) -> Tensor:
        out = self.out_channels if out is None else out
        weight = first_of_halves(self.weight[:, :out], 0, x.shape[1]).contiguous()
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
# Separable convolution of the mobile generators: depthwise (3x3 if nothing is said), instance norm,
# pointwise 1x1. Both convolutions have biases.


class SeparableConv2d(nn.Module):
    """forward(x): N in_channels H W -> N out_channels H-k+1 W-k+1, with a kernel of k x k."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, kernel_size, groups=in_channels),
            make_norm("instance", in_channels),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ElasticSeparableConv2d(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3):
        super().__init__()
        self.conv = nn.Sequential(
            ElasticDepthwiseConv2d(in_channels, in_channels, kernel_size, groups=in_channels),
            ElasticInstanceNorm2d(),
            ElasticConv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor, out: int | None = None, keep: Tensor | None = None) -> Tensor:
        """``keep``: bool N in 1 1, False for channels of ``x`` that do not count.

        They enter as zeros, but the bias of the depthwise convolution would revive them.
        """
        depthwise, norm, pointwise = self.conv
        x = norm(depthwise(x))
        return pointwise(x if keep is None else x * keep, out)


# --------------------------------------------------------------------------------------------------
# Images of any size. A ResNet halves its input twice, and reflection padding by 1 needs at least
# two pixels of what is left. Networks that need other multiples say so by an attribute.


def multiple_of(*nets: Callable[[Tensor], Tensor]) -> int:
    """What height and width of images must be multiples of for all these networks, in pixels.

    A network that needs more than 4 says so in its attribute ``multiple``, a power of two.
    """
    return max(getattr(net, "multiple", 4) for net in nets)


def least_of(net: Callable[[Tensor], Tensor]) -> int:
    """How many of `multiple_of` each side of an image has at least; a network that needs more than
    one, or of multiples of 4 than two, says so in its attribute ``least``."""
    return getattr(net, "least", 2 if multiple_of(net) == 4 else 1)


def require_multiple(x: Tensor, multiple: int) -> None:
    """InputError unless H and W of N C H W are multiples of ``multiple``."""
    require_size(x.shape[2], x.shape[3], multiple)


# The settings that decide how large images are.
_SIZES = "`preprocess`, `load_size`, `crop_size`"


def require_size(height: int, width: int, multiple: int, settings: str = _SIZES) -> None:
    """InputError, with the nearest size that fits, unless both are multiples of ``multiple``.

    Args:
        settings: what decides the size, for the message
    """
    if height % multiple or width % multiple:
        near = [max(1, round(side / multiple)) * multiple for side in (width, height)]
        raise InputError(
            f"images of {width}x{height} pixels do not fit this network, whose sides are multiples "
            f"of {multiple}: the nearest that fits is {near[0]}x{near[1]} ({settings})"
        )


def pad_to_fit(x: Tensor, multiple: int = 4) -> Tensor:
    """Repeat the last row and column of N C H W until H and W are multiples of a number, at least
    8.

    Returns ``x`` itself if they already are.
    """
    height, width = x.shape[2:]
    below, right = (max(8, -(-side // multiple) * multiple) - side for side in (height, width))
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def any_size(generate: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``generate(x)`` as large as ``x``, whose height and width may be anything."""
    padded = pad_to_fit(x, multiple_of(generate))
    return generate(padded)[..., : x.shape[2], : x.shape[3]]


# --------------------------------------------------------------------------------------------------
# Weight initialisation (SPEC 2: normal, gain 0.02, bias 0)


@torch.no_grad()
def init_weights(net: nn.Module, init_type: str = "normal", gain: float = 0.02) -> nn.Module:
    """Initialise ``net`` in place and return it.

    Convolutions and linear layers by ``init_type`` (normal, xavier, kaiming, orthogonal), biases to
    0, weights of batch norms from N(1, gain).
    """
    fill = {
        "normal": lambda w: nn.init.normal_(w, 0.0, gain),
        "xavier": lambda w: nn.init.xavier_normal_(w, gain=gain),
        "kaiming": lambda w: nn.init.kaiming_normal_(w, a=0, mode="fan_in"),
        "orthogonal": lambda w: nn.init.orthogonal_(w, gain=gain),
    }[init_type]
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fill(weight_of(module))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)
    return net


def set_dropout(net: nn.Module, rate: float) -> None:
    """Set the rate of all dropout layers in place, from 0 to 1."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
