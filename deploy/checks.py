"""What every exported file has to pass before it gets its name: the largest difference from the network in PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from errors import InputError

# A file that differs by more than this from what it was made of is not written. Outputs are in [-1, 1]; one step of an 8-bit
# image is 8e-3.
TOLERANCE = 1e-3

# (batch, height, width) that a file is run at: other than the one it was traced at, not square, and one of odd quarters.
SHAPES = ((1, 64, 64), (2, 36, 52), (3, 8, 96), (1, 128, 96))


# --------------------------------------------------------------------------------------------------
# What an export hands back


@dataclass(frozen=True)
class Exported:
    """A file that was written, its size in bytes, and its largest absolute difference from the network in float32."""

    path: Path
    size: int
    max_difference: float

    def __str__(self) -> str:
        return (
            f"{self.size / 1e6:.2f} MB, largest difference from PyTorch {self.max_difference:.1e}"
        )


# --------------------------------------------------------------------------------------------------
# Comparing


def sample(batch: int, channels: int, height: int, width: int) -> Tensor:
    """N C H W float32, uniform in [-1.2, 1.2]: the network clamps to [-1, 1]. Always the same numbers; no generator is touched."""
    random = torch.Generator().manual_seed(0)
    return torch.rand(batch, channels, height, width, generator=random) * 2.4 - 1.2


def input_channels(net: nn.Module) -> int:
    return net.model[1].in_channels


@torch.inference_mode()
def max_difference(net: nn.Module, run: Callable[[Tensor], Tensor]) -> float:
    """Largest ``|run(x) - net(x)|`` at all `SHAPES`; infinite when either is not finite. ``net`` on the CPU, float32."""
    worst = 0.0
    for batch, height, width in SHAPES:
        x = sample(batch, input_channels(net), height, width)
        found = (run(x.clone()).float() - net(x)).abs().max()
        worst = max(worst, found.item() if torch.isfinite(found) else float("inf"))
    return worst


def require_equal(difference: float, what: str) -> None:
    """InputError unless ``difference`` is within `TOLERANCE`."""
    if not difference <= TOLERANCE:
        raise InputError(
            f"{what} differs from PyTorch by {difference:.1e}, more than {TOLERANCE:g}: it was not written; "
            "use `format` pth, or other versions of torch and onnxruntime"
        )


# --------------------------------------------------------------------------------------------------
# Half-precision weights: files of half the size that compute in float32


def rounded(net: nn.Module) -> nn.Module:
    """A copy whose weights are the nearest float16 values, still stored as float32."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    if not all(torch.isfinite(p).all() for p in net.parameters()):
        raise InputError(
            "`fp16`: some weights are beyond what float16 holds (65504); leave `fp16` out"
        )
    return net


class HalfWeights(nn.Module):
    """Stores the weights of ``net`` as float16 and computes in float32: what is traced begins with a cast of each weight.

    forward(x): as ``net``, N C H W float32 -> N output_nc H W float32.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = copy.deepcopy(net).half()

    def forward(self, x: Tensor) -> Tensor:
        state = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        full = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        return torch.func.functional_call(self.net, full, (x,))
