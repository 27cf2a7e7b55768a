"""The forms in which a generator can run: rewritten, compiled, or in another runtime.

``make_form(name, net, x)`` builds one; ``latency.py --backends`` measures them side by side. All
forms agree within float32 rounding, except those in bfloat16, which round more.
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
from torch import Tensor, nn

from deploy.fused import FusedGenerator, in_nhwc
from deploy.onnx import OnnxGenerator, export_onnx, require_onnx
from deploy.openvino import OpenVinoGenerator
from deploy.rewrite import rewrite
from errors import InputError

# Takes what the network takes: images alone, or styles too (`models.inputs`).
Run = Callable[..., Tensor]


class Unavailable(InputError):
    """This machine cannot run the form; the message says what is missing."""


@dataclass(frozen=True)
class Form:
    """A generator ready to run.

    name:           its key in `FORMS`
    exact:          whether it computes what the network computes, within float32 rounding
    run:            N C H W float32, and what the network takes beside it -> N output_nc H W
                    float32, on the device of the inputs of `make_form`
    max_difference: largest absolute difference from the plain network's output on that input
    setup_seconds:  seconds for building (compiling, exporting), the first run and the comparison
    release:        called with an input before memory is measured: returns memory that the form
                    keeps between runs to the system; None = it keeps none
    held:           bytes that the form keeps between runs and that PyTorch's memory statistics do
                    not count
    """

    name: str
    exact: bool
    run: Run
    max_difference: float
    setup_seconds: float
    release: Callable[[Tensor], None] | None = None
    held: int = 0


# --------------------------------------------------------------------------------------------------
# In PyTorch


def _eager(net: nn.Module, *inputs: Tensor) -> Run:
    return net


def _channels_last(net: nn.Module, *inputs: Tensor) -> Run:
    net = copy.deepcopy(net).to(memory_format=torch.channels_last)
    return lambda *inputs: net(*map(in_nhwc, inputs))


def _fused(net: nn.Module, *inputs: Tensor) -> Run:
    return FusedGenerator(net)


def _bf16(net: nn.Module, *inputs: Tensor) -> Run:
    net = copy.deepcopy(net).to(torch.bfloat16, memory_format=torch.channels_last)
    return lambda *inputs: net(*(in_nhwc(x.to(torch.bfloat16)) for x in inputs)).float()


def _compiled(net: nn.Module, *inputs: Tensor, dtype: torch.dtype = torch.float32) -> Run:
    if inputs[0].device.type == "cpu":
        candidates = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name]
        if not any(shutil.which(name) for name in candidates):
            raise Unavailable(
                "needs a C++ compiler, and neither g++ nor clang++ was found: install one, or set "
                "CXX"
            )
    # The import takes a second, and only this form needs it.
    import torch._inductor.config as inductor

    compiled = torch.compile(rewrite(net, written_norms=True).to(dtype))

    def run(*inputs: Tensor) -> Tensor:
        # Freezing stores the weights in the layout that the compiled kernels read. The `freezing`
        # option of torch.compile itself takes effect too late.
        with inductor.patch(freezing=True):
            return compiled(*(x.to(dtype) for x in inputs)).float()

    return run


def _compiled_bf16(net: nn.Module, *inputs: Tensor) -> Run:
    return _compiled(net, *inputs, dtype=torch.bfloat16)


def _cuda_graph(net: nn.Module, *inputs: Tensor) -> Run:
    static, device = [x.clone() for x in inputs], inputs[0].device
    # Libraries choose their kernels during the first runs, which must not be recorded.
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            net(*static)
    torch.cuda.current_stream(device).wait_stream(stream)
    # A capture first frees the allocator's cache. That must happen before memory is measured, or
    # the memory of the graph would come out too small.
    torch.cuda.empty_cache()
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.memory_reserved(device)
    with torch.cuda.graph(graph):
        output = net(*static)

    def run(*inputs: Tensor) -> Tensor:
        for kept, given in zip(static, inputs, strict=True):
            kept.copy_(given)
        graph.replay()
        return output.clone()

    # The graph keeps this memory between runs, but the allocator does not count it as in use.
    run.held = torch.cuda.memory_reserved(device) - before
    return run


# --------------------------------------------------------------------------------------------------
# In other runtimes


@contextmanager
def _onnx_file(net: nn.Module, *packages: str) -> Iterator[Path]:
    """Give the path of an ONNX file of ``net``, which exists while the block runs.

    Raises:
        Unavailable: a package of ``packages``, or one that the export needs, is missing.
    """
    try:
        require_onnx()
        require_onnx(*packages)
    except InputError as error:
        raise Unavailable(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(net, Path(folder) / "net.onnx")
        yield Path(folder) / "net.onnx"


def _onnxruntime(net: nn.Module, *inputs: Tensor) -> Run:
    with _onnx_file(net) as path:
        return OnnxGenerator(path)


def _openvino(net: nn.Module, *inputs: Tensor, bf16: bool = False) -> Run:
    with _onnx_file(net, "openvino") as path:
        try:
            return OpenVinoGenerator(path, bf16)
        except InputError as error:
            raise Unavailable(str(error)) from None


def _openvino_bf16(net: nn.Module, *inputs: Tensor) -> Run:
    return _openvino(net, *inputs, bf16=True)


# --------------------------------------------------------------------------------------------------
# The table


@dataclass(frozen=True)
class FormKind:
    """How a form is built from a network and an input.

    build:  (network, its inputs, see `make_form`) -> `Form.run`
    exact:  whether it computes what the network computes, within float32 rounding
    device: ``cpu`` or ``cuda`` if the form runs only there; None = both
    """

    build: Callable[..., Run]
    exact: bool = True
    device: str | None = None


# Tables of results list the forms in this order.
FORMS = {
    "eager": FormKind(_eager),
    "channels_last": FormKind(_channels_last),
    "fused": FormKind(_fused),
    "compile": FormKind(_compiled),
    "cuda_graph": FormKind(_cuda_graph, device="cuda"),
    "onnxruntime": FormKind(_onnxruntime, device="cpu"),
    "openvino": FormKind(_openvino, device="cpu"),
    "bf16": FormKind(_bf16, exact=False),
    "compile_bf16": FormKind(_compiled_bf16, exact=False),
    "openvino_bf16": FormKind(_openvino_bf16, exact=False, device="cpu"),
}

_ELSEWHERE = {
    "cpu": "is measured on the CPU only: give `gpu_ids` -1",
    "cuda": "needs a CUDA GPU",
}


def require_device(name: str, device: torch.device) -> None:
    """Unavailable where the form ``name`` does not run on a device."""
    kind = FORMS[name]
    if kind.device not in (None, device.type):
        raise Unavailable(_ELSEWHERE[kind.device])


@torch.inference_mode()
def make_form(name: str, net: nn.Module, *inputs: Tensor) -> Form:
    """Build the form ``name`` of `FORMS` and run it once.

    Args:
        name:   a key of `FORMS`
        net:    a generator in evaluation mode, on the device of its inputs; not changed
        inputs: N C H W float32, and what the network takes beside it, of the size that the form
                will run at: ``compile`` compiles again for another size, and ``cuda_graph`` accepts
                no other

    Raises:
        Unavailable: a compiler or a package is missing, or the form does not run on this device.
    """
    start = time.perf_counter()
    require_device(name, inputs[0].device)
    kind = FORMS[name]
    run = kind.build(net, *inputs)
    try:
        y = run(*inputs)
    except Exception as error:
        if not name.startswith("compile"):
            raise
        raise Unavailable(f"could not compile here ({type(error).__name__})") from error
    difference = (y - net(*inputs)).abs().max().item()
    seconds = time.perf_counter() - start
    return Form(
        name,
        kind.exact,
        run,
        difference,
        seconds,
        getattr(run, "release", None),
        getattr(run, "held", 0),
    )
