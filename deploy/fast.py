"""The same generator, faster: rewritten, compiled, or in another runtime. All forms but the bfloat16 ones are exact within float rounding.

``make_form(name, net, x)`` builds one; ``latency.py --backends`` measures them side by side.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deploy.rewrite import replace_layers, rewrite
from errors import InputError
from models.layers import SeparableConv2d
from models.resnet import ResnetBlock

# --------------------------------------------------------------------------------------------------
# One image at a time in NHWC: half of the norms need then not be computed but only measured


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of one image, (C,) each. PyTorch's other kernels lose digits in NHWC, or take ten times as long."""
    return torch.batch_norm_update_stats(x, None, None, 0.0)


class ImageNorm2d(nn.Module):
    """Instance norm in NHWC; writes over ``x``, a convolution's result that nothing else reads."""

    def __init__(self, eps: float):
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # Not by batch norm: over all the pixels of a layer at full size its plain sums lose digits.
        x -= x.mean((2, 3), keepdim=True)
        return x.mul_(torch.rsqrt(x.square().mean((2, 3), keepdim=True) + self.eps))


class FoldedSeparableConv2d(nn.Module):
    """`SeparableConv2d` of a batch of one whose norm goes into the weights of its 1x1 convolution instead of over the pixels."""

    def __init__(self, separable: SeparableConv2d):
        super().__init__()
        self.depthwise, norm, self.pointwise = separable.conv
        self.eps = norm.eps

    def forward(self, x: Tensor, eps: Tensor | None = None, bias: bool = True) -> Tensor:
        """``eps``: (C,), in place of the norm's; without ``bias`` every channel of the result has mean 0."""
        x = self.depthwise(x)
        mean, variance = _moments(x)
        scale = torch.rsqrt(variance + (self.eps if eps is None else eps))
        weight = self.pointwise.weight * scale.view(1, -1, 1, 1)
        shift = -(weight.flatten(1) @ mean)
        return F.conv2d(x, weight, shift + self.pointwise.bias if bias else shift)


class FoldedBlock(nn.Module):
    """A separable `ResnetBlock` with instance norms, of a batch of one.

    A norm takes the bias before it away, so there is none. A depthwise convolution passes a channel's scale on to the norm behind it,
    which takes it away too, but for its eps: that is scaled instead of the pixels.
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
    """A `ResnetGenerator` of the same function that takes a batch image by image, in NHWC and with folded norms."""

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

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [self.net(i.contiguous(memory_format=torch.channels_last)) for i in x.split(1)]
        )


# --------------------------------------------------------------------------------------------------
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
    release: Callable[[Tensor], None] | None = (
        None  # gives kept memory back before memory is measured
    )


def _channels_last(net: nn.Module) -> Callable[[Tensor], Tensor]:
    net = copy.deepcopy(net).to(memory_format=torch.channels_last)
    return lambda x: net(x.contiguous(memory_format=torch.channels_last))


def _compiled(
    net: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32
) -> Callable[[Tensor], Tensor]:
    if x.device.type == "cpu":
        candidates = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name]
        if not any(shutil.which(name) for name in candidates):
            raise Unavailable(
                "needs a C++ compiler, and neither g++ nor clang++ was found: install one, or set CXX"
            )
    import torch._inductor.config as inductor

    compiled = torch.compile(rewrite(net, written_norms=True).to(dtype))

    def run(x: Tensor) -> Tensor:
        # Freezing brings the weights into the kernels' layout when compiling. The option of torch.compile of that name comes too late.
        with inductor.patch(freezing=True):
            return compiled(x.to(dtype)).float()

    return run


@contextmanager
def _onnx_file(net: nn.Module, x: Tensor, *packages: str) -> Iterator[Path]:
    """The network as a file, for as long as it takes to read it. Unavailable without ``packages`` or on another device."""
    # Imported here: deploy.onnx uses `rewrite`.
    from deploy.onnx import export_onnx, require_onnx

    if x.device.type != "cpu":
        raise Unavailable("is measured on the CPU only: give `gpu_ids` -1")
    try:
        require_onnx()
        require_onnx(*packages)
    except InputError as error:
        raise Unavailable(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(net, Path(folder) / "net.onnx")
        yield Path(folder) / "net.onnx"


def _in_onnxruntime(net: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    from deploy.onnx import OnnxGenerator

    with _onnx_file(net, x) as path:
        return OnnxGenerator(path)


def _in_openvino(net: nn.Module, x: Tensor, bf16: bool = False) -> Callable[[Tensor], Tensor]:
    from deploy.openvino import OpenVinoGenerator

    with _onnx_file(net, x, "openvino") as path:
        try:
            return OpenVinoGenerator(path, bf16)
        except InputError as error:
            raise Unavailable(str(error)) from None


def _bf16(net: nn.Module) -> Callable[[Tensor], Tensor]:
    net = copy.deepcopy(net).to(torch.bfloat16, memory_format=torch.channels_last)
    return lambda x: net(x.to(torch.bfloat16, memory_format=torch.channels_last)).float()


def _cuda_graph(net: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    from runtime.cuda_graphs import CudaGraphs

    if x.device.type != "cuda":
        raise Unavailable("needs a CUDA GPU")
    recorder, static, outputs = CudaGraphs(x.device), x.clone(), []
    for _ in range(3):
        recorder.aside(net, static)
    replay = recorder.record(lambda: outputs.append(net(static)))

    def run(x: Tensor) -> Tensor:
        static.copy_(x)
        replay()
        return outputs[0].clone()

    return run


@dataclass(frozen=True)
class Kind:
    """How a form is built, and whether it computes what the network computes, within float rounding."""

    build: Callable[[nn.Module, Tensor], Callable[[Tensor], Tensor]]
    exact: bool = True


# In the order of a table.
FORMS = {
    "eager": Kind(lambda net, x: net),
    "channels_last": Kind(lambda net, x: _channels_last(net)),
    "fused": Kind(lambda net, x: FusedGenerator(net)),
    "compile": Kind(_compiled),
    "cuda_graph": Kind(_cuda_graph),
    "onnxruntime": Kind(_in_onnxruntime),
    "openvino": Kind(_in_openvino),
    "bf16": Kind(lambda net, x: _bf16(net), exact=False),
    "compile_bf16": Kind(lambda net, x: _compiled(net, x, torch.bfloat16), exact=False),
    "openvino_bf16": Kind(lambda net, x: _in_openvino(net, x, bf16=True), exact=False),
}


@torch.inference_mode()
def make_form(name: str, net: nn.Module, x: Tensor) -> Form:
    """Build the form ``name`` of `FORMS` and run it once.

    Args:
        net: a `ResnetGenerator` in evaluation mode, on the device of ``x``; left as it is
        x:   N C H W float32, as it will be run: ``compile`` is compiled for this size, and again for others; ``cuda_graph`` takes no other

    Raises:
        Unavailable: a compiler or a package is missing, or the device is not served.
    """
    start = time.perf_counter()
    kind = FORMS[name]
    run = kind.build(net, x)
    try:
        y = run(x)
    except Exception as error:
        if not name.startswith("compile"):
            raise
        raise Unavailable(f"could not compile here ({type(error).__name__})") from error
    difference = (y - net(x)).abs().max().item()
    seconds = time.perf_counter() - start
    return Form(name, kind.exact, run, difference, seconds, getattr(run, "release", None))
