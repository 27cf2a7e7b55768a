"""The forms that a generator can run in: rewritten, compiled, or in another runtime.

``make_form(name, net, x)`` builds one; ``latency.py --backends`` measures them side by side. Forms
in bfloat16 round more; all others compute the same within float rounding.
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

from deploy.fused import FusedGenerator
from deploy.onnx import OnnxGenerator, export_onnx, require_onnx
from deploy.openvino import OpenVinoGenerator
from deploy.rewrite import rewrite
from errors import InputError

Run = Callable[[Tensor], Tensor]


class Unavailable(InputError):
    """This machine cannot run the form; the message says what is missing."""


@dataclass(frozen=True)
class Form:
    """A generator ready to run.

    exact:          computes what the network computes, within float rounding
    run:            N C H W float32 -> N output_nc H W float32, on the device of the input that it
                    was made with
    max_difference: largest difference from the plain network at that input
    setup_seconds:  compiling or exporting, and the first run
    release:        gives kept memory back to the system, before memory is measured
    held:           bytes that the form keeps for its runs, unseen by the allocator's statistics
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


def _eager(net: nn.Module, x: Tensor) -> Run:
    return net


def _channels_last(net: nn.Module, x: Tensor) -> Run:
    net = copy.deepcopy(net).to(memory_format=torch.channels_last)
    return lambda x: net(x.contiguous(memory_format=torch.channels_last))


def _fused(net: nn.Module, x: Tensor) -> Run:
    return FusedGenerator(net)


def _bf16(net: nn.Module, x: Tensor) -> Run:
    net = copy.deepcopy(net).to(torch.bfloat16, memory_format=torch.channels_last)
    return lambda x: net(x.to(torch.bfloat16, memory_format=torch.channels_last)).float()


def _compiled(net: nn.Module, x: Tensor, dtype: torch.dtype = torch.float32) -> Run:
    if x.device.type == "cpu":
        candidates = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name]
        if not any(shutil.which(name) for name in candidates):
            raise Unavailable(
                "needs a C++ compiler, and neither g++ nor clang++ was found: install one, or set "
                "CXX"
            )
    # Imported late: it takes a second that only this form needs.
    import torch._inductor.config as inductor

    compiled = torch.compile(rewrite(net, written_norms=True).to(dtype))

    def run(x: Tensor) -> Tensor:
        # Freezing brings the weights into the layout of the kernels at the time of compiling. The
        # option of torch.compile of that name comes too late.
        with inductor.patch(freezing=True):
            return compiled(x.to(dtype)).float()

    return run


def _compiled_bf16(net: nn.Module, x: Tensor) -> Run:
    return _compiled(net, x, torch.bfloat16)


def _cuda_graph(net: nn.Module, x: Tensor) -> Run:
    static = x.clone()
    # Libraries choose their kernels in the first runs, which must not be recorded.
    stream = torch.cuda.Stream(x.device)
    stream.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            net(static)
    torch.cuda.current_stream(x.device).wait_stream(stream)
    # A capture starts by giving back what is cached, which must not count as its gain.
    torch.cuda.empty_cache()
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.memory_reserved(x.device)
    with torch.cuda.graph(graph):
        output = net(static)

    def run(x: Tensor) -> Tensor:
        static.copy_(x)
        graph.replay()
        return output.clone()

    # Memory of its own, which the allocator does not count as in use between runs.
    run.held = torch.cuda.memory_reserved(x.device) - before
    return run


# --------------------------------------------------------------------------------------------------
# In other runtimes


@contextmanager
def _onnx_file(net: nn.Module, *packages: str) -> Iterator[Path]:
    """The network as a file while the block runs. Unavailable without ``packages``."""
    try:
        require_onnx()
        require_onnx(*packages)
    except InputError as error:
        raise Unavailable(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(net, Path(folder) / "net.onnx")
        yield Path(folder) / "net.onnx"


def _onnxruntime(net: nn.Module, x: Tensor) -> Run:
    with _onnx_file(net) as path:
        return OnnxGenerator(path)


def _openvino(net: nn.Module, x: Tensor, bf16: bool = False) -> Run:
    with _onnx_file(net, "openvino") as path:
        try:
            return OpenVinoGenerator(path, bf16)
        except InputError as error:
            raise Unavailable(str(error)) from None


def _openvino_bf16(net: nn.Module, x: Tensor) -> Run:
    return _openvino(net, x, bf16=True)


# --------------------------------------------------------------------------------------------------
# The table


@dataclass(frozen=True)
class FormKind:
    """How a form is built from a network and an input.

    exact:  computes what the network computes, within float rounding
    device: ``cpu`` or ``cuda`` for a form that runs only there; None = both
    """

    build: Callable[[nn.Module, Tensor], Run]
    exact: bool = True
    device: str | None = None


# In the order of a table of results.
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


@torch.inference_mode()
def make_form(name: str, net: nn.Module, x: Tensor) -> Form:
    """Build the form ``name`` of `FORMS` and run it once.

    Args:
        net: a generator in evaluation mode, on the device of ``x``; left as it is
        x:   N C H W float32, of the size it will be run at: ``compile`` compiles for this size, and
             again for others; ``cuda_graph`` accepts no others

    Raises:
        Unavailable: a compiler or a package is missing, or the form does not run on this device.
    """
    start = time.perf_counter()
    kind = FORMS[name]
    if kind.device not in (None, x.device.type):
        raise Unavailable(_ELSEWHERE[kind.device])
    run = kind.build(net, x)
    try:
        y = run(x)
    except Exception as error:
        if not name.startswith("compile"):
            raise
        raise Unavailable(f"could not compile here ({type(error).__name__})") from error
    difference = (y - net(x)).abs().max().item()
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
