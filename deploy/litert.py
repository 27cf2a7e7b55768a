"""A generator as a ``.tflite`` file for LiteRT (formerly TensorFlow Lite): Android, and others.

Google's converter litert-torch writes it from a program of torch.export. LiteRT's runtime for the
CPU runs here too, so every file is compared with PyTorch before it gets its name.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from deploy.checks import Exported, max_difference, require_equal, rounded
from deploy.converters import (
    converting,
    fixed_sample,
    quiet,
    require_finite,
    require_fixed_size,
    require_packages,
)
from deploy.pt2 import Traced
from deploy.rewrite import crop_transposed
from models.layers import multiple_of
from runtime.files import written_whole


def require_litert() -> None:
    """Raise InputError, which says what to install, if a package is missing."""
    require_packages("LiteRT", {"litert_torch": "litert-torch", "ai_edge_litert": "ai-edge-litert"})


class LiteRtGenerator:
    """A ``.tflite`` file that runs in LiteRT on the CPU.

    Called with an input of the file's size, 1 C H W float32 on the CPU, it returns 1 output_nc H W
    float32. It uses the number of threads that PyTorch uses when this object is created.
    """

    def __init__(self, path: Path):
        with quiet():
            from ai_edge_litert.interpreter import Interpreter

            self._run = Interpreter(
                str(path), num_threads=torch.get_num_threads()
            ).get_signature_runner()
            # The first run sets the kernels up, and says so.
            shape = self._run.get_input_details()["input"]["shape"]
            self(torch.zeros(*map(int, shape)))

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._run(input=x.numpy())["output"])


class _Named(nn.Module):
    """``net`` with names for its input and output, which the file keeps."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        return {"output": self.net(input)}


def _convert(net: nn.Module, path: Path, size: int) -> None:
    import litert_torch

    program = _Named(Traced(crop_transposed(net))).eval()
    model = litert_torch.convert(program, sample_kwargs={"input": fixed_sample(net, size)})
    model.export(str(path))


# What has weights in a generator.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE")


def _halve(path: Path) -> None:
    """Store the weights of the file as float16. Its kernels make float32 of them when it is loaded.

    Not by a graph that begins with such casts, as in other formats: litert-torch takes transposed
    convolutions with stored weights alone.
    """
    from ai_edge_quantizer import qtyping, quantizer

    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    work = quantizer.Quantizer(bytearray(path.read_bytes()))
    for name in _WEIGHTED:
        work.update_quantization_recipe(
            ".*", qtyping.TFLOperationName[name], config, "float_casting"
        )
    # A runtime may still have the old file in its memory: it keeps that, and a new one is made.
    path.unlink()
    work.quantize().export_model(str(path))


def export_litert(net: nn.Module, path: Path, fp16: bool = False, size: int = 256) -> Exported:
    """Write ``net`` as a file for images of one size.

    Input ``input``: 1 C size size float32; values outside [-1, 1] are clamped.
    Output ``output``: 1 output_nc size size float32 in [-1, 1]. Before the file gets its name, it
    is run in LiteRT and compared with PyTorch.

    Args:
        net:  a generator; not changed
        path: the file to write, whole or not at all
        fp16: store the weights as float16: half the size, still computes in float32
        size: height and width in pixels, a multiple of what the network needs

    Returns:
        the file, with its largest difference from ``net`` in float32. With ``fp16`` this includes
        the rounding of the weights.

    Raises:
        InputError: a package is missing, the converter fails, the size does not fit, the file in
            float32 differs from PyTorch by more than `TOLERANCE`, the one with rounded weights is
            not finite, a weight is too large for float16, or the file cannot be written.
    """
    require_litert()
    plain = copy.deepcopy(net).cpu().float().eval()
    require_fixed_size(multiple_of(plain), size)
    if fp16:
        rounded(plain)  # raises where float16 does not hold a weight
    shapes = [(1, size, size)]
    with written_whole(path) as temporary:
        with converting(path, "litert-torch"):
            _convert(plain, temporary, size)
            difference = max_difference(plain, LiteRtGenerator(temporary), shapes)
        require_equal(difference, str(path), "litert-torch")
        if fp16:
            with converting(path, "ai-edge-quantizer"):
                _halve(temporary)
                difference = max_difference(plain, LiteRtGenerator(temporary), shapes)
            require_finite(difference, str(path))
    return Exported(path, path.stat().st_size, difference)
