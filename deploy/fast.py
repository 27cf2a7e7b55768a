"""The same generator, faster: rewritten, compiled, or in another runtime. All forms but ``bf16`` are exact within float rounding.

``make_form(name, net, x)`` builds one; `latency.py --backends` measures them side by side.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError

# In the order of a table: name -> whether it computes what the network computes, within float rounding.
FORMS = {
    "eager": True,
    "channels_last": True,
    "fused": True,
    "compile": True,
    "onnxruntime": True,
    "bf16": False,
}


# ---------------------------------------------------------------------------------------------------------
# Layers that compute the same with fewer or better-filled vector operations


class RowSummedConv2d(nn.Module):
    """A k x k convolution to few channels, as a 1 x k convolution to k times as many and a sum of shifted rows.

    A 7x7 convolution to 3 channels leaves 13 of the 16 lanes of a vector unit idle; 21 channels fill them better. x: N C H W ->
    N out H-k+1 W-k+1 (no padding, stride 1).
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
        height = x.shape[2] - self.size + 1
        parts = self.rows(x)
        y = self.bias
        for row in range(self.size):
            y = y + parts[:, row * self.out : (row + 1) * self.out, row : row + height]
        return y


class GroupedInstanceNorm2d(nn.Module):
    """Instance norm as group norm of one channel per group: the same numbers; PyTorch's CPU kernel of it is several times as fast."""

    def __init__(self, eps: float):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, x.shape[1], eps=self.eps)


class TwoPassInstanceNorm2d(nn.Module):
    """Instance norm written out, for a compiler to merge with its neighbours: mean, then the mean square of what is left."""

    def __init__(self, eps: float):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        return centred * torch.rsqrt((centred * centred).mean((2, 3), keepdim=True) + self.eps)


_NORMS = {"grouped": GroupedInstanceNorm2d, "two_pass": TwoPassInstanceNorm2d}


def rewrite(net: nn.Module, norm: str) -> nn.Module:
    """A copy of a `ResnetGenerator` with the same function and faster layers.

    Args:
        norm: instance = as it is | grouped = `GroupedInstanceNorm2d` | two_pass = `TwoPassInstanceNorm2d`; batch norm is left alone
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    net.model[26] = RowSummedConv2d(net.model[26])
    if norm != "instance":
        for module in list(net.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.InstanceNorm2d):
                    setattr(module, name, _NORMS[norm](child.eps))
    return net


# ---------------------------------------------------------------------------------------------------------
# Forms


class Unavailable(InputError):
    """This machine cannot run the form; the message says what is missing."""


@dataclass(frozen=True)
class Form:
    """A generator ready to run: N C H W float32 -> N output_nc H W float32, both on the device of the ``x`` it was made with."""

    name: str
    exact: bool
    run: Callable[[Tensor], Tensor]
    max_difference: float  # from the plain network at the x it was made with
    setup_seconds: float  # compiling or exporting, and the first run
    release: Callable[[Tensor], None] | None = None  # gives kept memory back before memory is measured


def _channels_last(net: nn.Module) -> Callable[[Tensor], Tensor]:
    net = copy.deepcopy(net).to(memory_format=torch.channels_last)
    return lambda x: net(x.contiguous(memory_format=torch.channels_last))


def _compiled(net: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    if x.device.type == "cpu":
        candidates = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name]
        if not any(shutil.which(name) for name in candidates):
            raise Unavailable(
                "needs a C++ compiler, and neither g++ nor clang++ was found: install one, or set CXX"
            )
    import torch._inductor.config as inductor

    compiled = torch.compile(rewrite(net, "two_pass"))

    def run(x: Tensor) -> Tensor:
        # Freezing brings the weights into the kernels' layout when compiling. The option of torch.compile of that name comes too late.
        with inductor.patch(freezing=True):
            return compiled(x)

    return run


def _in_onnxruntime(net: nn.Module, x: Tensor):
    # Imported here: deploy.onnx uses `rewrite`.
    from deploy.onnx import OnnxGenerator, export_onnx, require_onnx

    if x.device.type != "cpu":
        raise Unavailable("is measured on the CPU only: give --gpu_ids -1")
    try:
        require_onnx()
    except InputError as error:
        raise Unavailable(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_onnx(net, path)
        return OnnxGenerator(path)


def _bf16(net: nn.Module) -> Callable[[Tensor], Tensor]:
    net = copy.deepcopy(net).to(torch.bfloat16, memory_format=torch.channels_last)
    return lambda x: net(x.to(torch.bfloat16, memory_format=torch.channels_last)).float()


@torch.inference_mode()
def make_form(name: str, net: nn.Module, x: Tensor) -> Form:
    """Build the form ``name`` of `FORMS` and run it once.

    Args:
        net: a `ResnetGenerator` in evaluation mode, on the device of ``x``; left as it is
        x:   N C H W float32, as it will be run: ``compile`` is compiled for this size, and again for others

    Raises:
        Unavailable: a compiler or a package is missing, or the device is not served.
    """
    start = time.perf_counter()
    release = None
    if name == "eager":
        run = net
    elif name == "channels_last":
        run = _channels_last(net)
    elif name == "fused":
        run = _channels_last(rewrite(net, "grouped"))
    elif name == "compile":
        run = _compiled(net, x)
    elif name == "onnxruntime":
        run = _in_onnxruntime(net, x)
        release = run.release
    elif name == "bf16":
        run = _bf16(net)
    else:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {name!r}")
    try:
        y = run(x)
    except Exception as error:
        if name != "compile":
            raise
        raise Unavailable(f"could not compile here ({type(error).__name__})") from error
    difference = (y - net(x)).abs().max().item()
    return Form(name, FORMS[name], run, difference, time.perf_counter() - start, release)
