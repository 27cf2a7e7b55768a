"""Checks of an exported file: it is kept only if it computes what PyTorch computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from errors import InputError
from models.inputs import inputs_of
from models.layers import least_of, multiple_of

# Largest difference between a file and its network; a file that differs more is not written.
# Outputs are in [-1, 1]; one step of an 8-bit image is 8e-3.
TOLERANCE = 1e-3

# (batch, height, width) of the inputs that a file is checked with. None has the traced size, some
# are not square, and (36, 52) has odd sides after the two downsamplings.
SHAPES = ((1, 64, 64), (2, 36, 52), (3, 8, 96), (1, 128, 96))


def shapes_for(net: nn.Module) -> tuple[tuple[int, int, int], ...]:
    """`SHAPES`, or the smallest that fit a network of other multiples."""
    side = multiple_of(net)
    if side == 4:
        return SHAPES
    least = least_of(net) * side
    return (1, least, least), (2, least, least + side)


# --------------------------------------------------------------------------------------------------
# What an export returns


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked.

    size:           of the file in bytes
    max_difference: largest absolute difference between the outputs of the file and of the float32
                    network; outputs are in [-1, 1]
    note:           how the difference was found, where the file was not run
    """

    path: Path
    size: int
    max_difference: float
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.size / 1e6:.2f} MB, largest difference from PyTorch "
        return f"{text}{self.max_difference:.1e}" + (f" ({self.note})" if self.note else "")


# --------------------------------------------------------------------------------------------------
# Comparing


def sample(*shape: int) -> Tensor:
    """A test input of a shape such as N C H W: float32, uniform in [-1.2, 1.2].

    The range is wider than [-1, 1], so that the clamping of images is checked too. The numbers are
    the same at every call, and PyTorch's global random state does not change.
    """
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2


def sample_inputs(net: nn.Module, height: int, width: int, batch: int) -> tuple[Tensor, ...]:
    """All that a network takes (`models.inputs.inputs_of`), of images of a size [px]."""
    return tuple(sample(*each.shape(height, width, batch)) for each in inputs_of(net))


@torch.inference_mode()
def max_difference(
    net: nn.Module,
    run: Callable[..., Tensor],
    shapes: Sequence[tuple[int, int, int]] | None = None,
) -> float:
    """Largest ``|run(...) - net(...)|`` over test inputs of several shapes.

    Args:
        net:    a generator on the CPU, in float32
        run:    what ``net`` takes -> the output to compare with its own
        shapes: (batch, height, width) of the inputs; None = `shapes_for`

    Returns:
        the difference, >= 0; infinity when an output of either is not finite
    """
    worst = 0.0
    for batch, height, width in shapes or shapes_for(net):
        inputs = sample_inputs(net, height, width, batch)
        found = (run(*(x.clone() for x in inputs)).float() - net(*inputs)).abs().max()
        worst = max(worst, found.item() if torch.isfinite(found) else float("inf"))
    return worst


def require_equal(difference: float, what: str, package: str = "onnxruntime") -> None:
    """Raise InputError, which begins with ``what``, if ``difference`` is above `TOLERANCE`.

    Args:
        package: what made or ran the file, whose other versions may do better
    """
    if not difference <= TOLERANCE:
        raise InputError(
            f"{what} differs from PyTorch by {difference:.1e}, more than {TOLERANCE:g}: it was not "
            f"written; use `format` pth, or other versions of torch and {package}"
        )


# --------------------------------------------------------------------------------------------------
# Half-precision weights: the file has half the size and still computes in float32


def rounded(net: nn.Module) -> nn.Module:
    """A copy of ``net`` whose weights have float16 values but are stored as float32.

    Raises:
        InputError: a weight is too large for float16 (65504).
    """
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
    """A copy of ``net`` that stores its weights as float16 and computes in float32.

    Its exported graph begins with a cast of each weight to float32.

    forward(x): as ``net``, N C H W float32 -> N output_nc H W float32; with styles where it takes
    them.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = copy.deepcopy(net).half()

    def forward(self, *inputs: Tensor) -> Tensor:
        state = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        full = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        return torch.func.functional_call(self.net, full, inputs)
