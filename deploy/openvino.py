"""A generator in OpenVINO, an optional package, on the CPU, from its ``.onnx`` file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from errors import InputError


class OpenVinoGenerator:
    """An ``.onnx`` file in OpenVINO.

    Called with N C H W float32, it returns N output_nc H W float32. It is compiled for every shape
    that it is given, since fixed shapes run faster, and uses as many threads as PyTorch does when
    it is created.

    Args:
        path: what `deploy.onnx.export_onnx` writes; read at once
        bf16: compute in bfloat16, on CPUs that can. Otherwise in float32, even where OpenVINO would
              choose less

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
        self._compiled: dict[tuple[int, ...], object] = {}

    def __call__(self, x: Tensor) -> Tensor:
        shape = tuple(x.shape)
        if shape not in self._compiled:
            self._model.reshape(list(shape))
            self._compiled[shape] = self._core.compile_model(self._model, "CPU", self._settings)
        return torch.from_numpy(self._compiled[shape]({0: x.contiguous().numpy()})[0])

    def release(self, x: Tensor) -> None:
        """Give the memory kept for later runs back to the system."""
        for compiled in self._compiled.values():
            compiled.release_memory()
