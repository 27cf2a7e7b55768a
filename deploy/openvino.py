"""The ``.onnx`` file of a generator in OpenVINO, an optional package, on the CPU."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from errors import InputError


class OpenVinoGenerator:
    """An ``.onnx`` file that runs in OpenVINO on the CPU.

    Called with N C H W float32 on the CPU, it returns N output_nc H W float32. A file that takes
    styles is called with these too, N style_dim float32. It is compiled again for each new input
    shape, because fixed shapes run faster. It uses the number of threads that PyTorch uses when
    this object is created.

    Args:
        path: a file written by `deploy.onnx.export_onnx`; not needed after the constructor
        bf16: compute in bfloat16. False = in float32, even where OpenVINO would choose a lower
              precision

    Raises:
        InputError: this CPU has no bfloat16.
    """

    def __init__(self, path: Path, bf16: bool = False):
        import openvino
        from openvino.properties import hint, inference_num_threads

        self._core = openvino.Core()
        if bf16 and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise InputError("this CPU does not compute in bfloat16")
        self._model = self._core.read_model(path)
        self._settings = {
            hint.inference_precision: openvino.Type.bf16 if bf16 else openvino.Type.f32,
            hint.performance_mode: hint.PerformanceMode.LATENCY,
            inference_num_threads: torch.get_num_threads(),
        }
        self._compiled: dict[tuple[torch.Size, ...], object] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._compiled:
            self._model.reshape({n: list(shape) for n, shape in enumerate(shapes)})
            self._compiled[shapes] = self._core.compile_model(self._model, "CPU", self._settings)
        given = {n: x.contiguous().numpy() for n, x in enumerate(inputs)}
        return torch.from_numpy(self._compiled[shapes](given)[0])

    def release(self, x: Tensor) -> None:
        """Return the memory kept for later runs to the system. ``x`` is not used."""
        for compiled in self._compiled.values():
            compiled.release_memory()
