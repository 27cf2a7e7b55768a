"""Exact rewrites of a generator: the same function in operations that run faster."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class RowSummedConv2d(nn.Module):
    """A k x k convolution to few channels, as a 1 x k convolution and a sum over rows.

    The 1 x k convolution has k times as many output channels. A 7x7 convolution to 3 channels
    leaves 13 of the 16 lanes of a vector unit idle; 21 channels fill them better.

    conv:       the convolution to replace: square kernel, stride 1, no padding, with a bias
    forward(x): N C H W -> N out H-k+1 W-k+1, the same type
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        out, channels, size, _ = conv.weight.shape
        self.out, self.size = out, size
        self.rows = nn.Conv2d(channels, out * size, (1, size), bias=False)
        weight = conv.weight.detach().permute(2, 0, 1, 3).reshape(size * out, channels, 1, size)
        self.rows.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.bias = nn.Parameter(conv.bias.detach().clone().view(1, -1, 1, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        # Back to NCHW: in NHWC the channels of each row would be gathered pixel by pixel.
        parts = self.rows(x).contiguous()
        y = self.bias
        for row in range(self.size):
            # Rows after it are left out from the end: a graph of this holds no height.
            rows = slice(row, row - self.size + 1 or None)
            y = y + parts[:, row * self.out : (row + 1) * self.out, rows]
        return y


class TwoPassInstanceNorm2d(nn.Module):
    """Instance norm in plain operations, which a compiler can merge with its neighbours.

    It subtracts the mean before it squares: the mean of plain squares would be less accurate.

    forward(x): N C H W float -> the same shape and type.
    """

    def __init__(self, eps: float):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        return centred * torch.rsqrt((centred * centred).mean((2, 3), keepdim=True) + self.eps)


class CroppedConvTranspose2d(nn.Module):
    """A transposed convolution that is computed whole and then cut, instead of padded.

    PyTorch pads the longer side of an even output (``output_padding``), which LiteRT's converter
    cannot express. What the whole result has at that place is the same.

    conv:       the convolution to replace: no dilation, ``output_padding`` at most ``padding``
    forward(x): as ``conv``
    """

    def __init__(self, conv: nn.ConvTranspose2d):
        super().__init__()
        self.start = conv.padding
        self.end = [p - more for p, more in zip(conv.padding, conv.output_padding, strict=True)]
        self.whole = copy.deepcopy(conv)
        self.whole.padding = self.whole.output_padding = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.whole(x)
        (top, left), (bottom, right) = self.start, self.end
        return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]


def crop_transposed(net: nn.Module) -> nn.Module:
    """A copy of ``net``, the same function, without ``output_padding``; see
    `CroppedConvTranspose2d`."""
    net = copy.deepcopy(net)
    replace_layers(
        net,
        nn.ConvTranspose2d,
        lambda conv: CroppedConvTranspose2d(conv) if any(conv.output_padding) else conv,
    )
    return net


def replace_layers(net: nn.Module, kind: type, make: Callable[[nn.Module], nn.Module]) -> None:
    """Replace every module of type ``kind`` below ``net`` by ``make(module)``, in place."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kind):
                setattr(module, name, make(child))


def fold_square_transposed(net: nn.Module) -> None:
    """Put batch norms into the transposed convolutions before them, in place.

    Only where those have as many inputs as outputs: there the compiler of PyTorch 2.14 scales the
    inputs instead of the outputs when it does the same with frozen weights.
    """
    for layers in [m for m in net.modules() if isinstance(m, nn.Sequential)]:
        for index, (conv, norm) in enumerate(itertools.pairwise(layers)):
            square = isinstance(conv, nn.ConvTranspose2d) and conv.in_channels == conv.out_channels
            if square and isinstance(norm, nn.BatchNorm2d):
                layers[index] = fuse_conv_bn_eval(conv, norm, transpose=True)
                layers[index + 1] = nn.Identity()


def rewrite(net: nn.Module, written_norms: bool = False) -> nn.Module:
    """A frozen copy of a generator with the same function and a faster last convolution.

    Args:
        net:           a generator; not changed. A U-Net's last convolution stays: it is transposed
        written_norms: for the compiler: also replace its instance norms and some batch norms, see
                       `TwoPassInstanceNorm2d` and `fold_square_transposed`
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    layers = getattr(net, "model", None)
    # Of a ResNet; the last layer is a tanh.
    if isinstance(layers, nn.Sequential) and isinstance(layers[-2:][0], nn.Conv2d):
        layers[-2] = RowSummedConv2d(layers[-2])
    if written_norms:
        replace_layers(net, nn.InstanceNorm2d, lambda norm: TwoPassInstanceNorm2d(norm.eps))
        fold_square_transposed(net)
    return net
