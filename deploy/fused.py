"""A faster generator for one image at a time, in NHWC layout.

For half of the norms, only the statistics are computed. Their scale goes into the weights of the
next convolution, so the pixels are not scaled. The result is the same within float32 rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deploy.rewrite import replace_layers, rewrite
from models.layers import SeparableConv2d
from models.resnet import ResnetBlock


def in_nhwc(x: Tensor) -> Tensor:
    """N C H W in NHWC layout; what has neither height nor width as it is."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """1 C H W in NHWC layout -> mean and (biased) variance of each channel, (C,) each.

    PyTorch's other kernels are less accurate in NHWC, or take ten times as long.
    """
    return torch.batch_norm_update_stats(x, None, None, 0.0)


class ImageNorm2d(nn.Module):
    """Instance norm without weights, for NHWC layout.

    forward(x): N C H W float -> the same shape. It overwrites ``x``, which must be the result of a
    convolution that nothing else reads.
    """

    def __init__(self, eps: float):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # Batch norm is no alternative: it takes plain sums, which are inaccurate over the many
        # pixels of a full-size layer.
        x -= x.mean((2, 3), keepdim=True)
        return x.mul_(torch.rsqrt(x.square().mean((2, 3), keepdim=True) + self.eps))


class FoldedSeparableConv2d(nn.Module):
    """A `SeparableConv2d` for a batch of one, with its norm folded into its 1x1 convolution."""

    def __init__(self, separable: SeparableConv2d):
        super().__init__()
        self.depthwise, norm, self.pointwise = separable.conv
        self.eps = norm.eps

    def forward(self, x: Tensor, eps: Tensor | None = None, bias: bool = True) -> Tensor:
        """Convolve one image.

        Args:
            x:    1 C H W float32
            eps:  (C,), replaces the eps of the norm; None = keep it
            bias: add the bias; without it every channel of the result has mean 0

        Returns:
            1 C' H' W' float32, as the layer that it replaces
        """
        x = self.depthwise(x)
        mean, variance = _moments(x)
        scale = torch.rsqrt(variance + (self.eps if eps is None else eps))
        weight = self.pointwise.weight * scale.view(1, -1, 1, 1)
        shift = -(weight.flatten(1) @ mean)
        return F.conv2d(x, weight, shift + self.pointwise.bias if bias else shift)


class FoldedBlock(nn.Module):
    """A separable `ResnetBlock` with instance norms, for a batch of one.

    A norm removes the bias of the convolution before it, so no bias is added. The scale of the
    first norm is not applied to the pixels either: the depthwise convolution passes it on to the
    next norm, which removes it. Only the eps of that next norm must be scaled to match.

    forward(x): 1 C H W float32 -> the same shape.
    """

    def __init__(self, block: ResnetBlock):
        super().__init__()
        pad, first, norm, *_, second, _ = block.conv_block
        self.pad, self.eps = pad, norm.eps
        self.first, self.second = FoldedSeparableConv2d(first), FoldedSeparableConv2d(second)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.pad(x), bias=False)
        _, variance = _moments(y)
        y = self.second(self.pad(F.relu_(y)), eps=self.eps * (variance + self.eps), bias=False)
        _, variance = _moments(y)
        return torch.addcmul(x, y, torch.rsqrt(variance + self.eps).view(1, -1, 1, 1))


class FusedGenerator(nn.Module):
    """A copy of a generator that runs a batch image by image, in NHWC with folded norms.

    forward(x): as the generator, N C H W float32 -> N output_nc H W float32; with what it takes
    beside images where it does.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        net = rewrite(net)

        def fold(block: ResnetBlock) -> nn.Module:
            _, conv, norm, *_ = block.conv_block
            folds = isinstance(conv, SeparableConv2d) and isinstance(norm, nn.InstanceNorm2d)
            return FoldedBlock(block) if folds else block

        replace_layers(net, ResnetBlock, fold)
        replace_layers(net, SeparableConv2d, FoldedSeparableConv2d)
        replace_layers(net, nn.InstanceNorm2d, lambda norm: ImageNorm2d(norm.eps))
        self.net = net.to(memory_format=torch.channels_last)

    def forward(self, *inputs: Tensor) -> Tensor:
        images = zip(*(x.split(1) for x in map(in_nhwc, inputs)), strict=True)
        return torch.cat([self.net(*image) for image in images])
