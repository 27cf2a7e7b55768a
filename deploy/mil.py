"""What a Core ML file computes, computed by PyTorch.

Core ML runs on Apple's systems alone, but coremltools reads its files everywhere. `MilGenerator`
takes the operations and weights of a file as they are stored and computes them, so that a wrong
conversion is found before the file is on a phone. It says nothing about Apple's own kernels.

Known are the operations that generators are converted to. Their meanings are those of the MIL
operations in the documentation of coremltools.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# --------------------------------------------------------------------------------------------------
# Operations. Tensors are float32, N C H W; pads are (top, bottom, left, right).


def _cut(x: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]


def _pads(pad_type: str, pad: Sequence[int] | None) -> Sequence[int]:
    if pad_type not in ("valid", "custom"):
        raise NotImplementedError(f"pad_type {pad_type}")
    return pad if pad_type == "custom" else (0, 0, 0, 0)


def _conv(x, weight, strides, dilations, groups, pad_type, pad=None, bias=None):
    top, bottom, left, right = _pads(pad_type, pad)
    x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, strides, 0, dilations, groups)


def _conv_transpose(
    x, weight, strides, dilations, groups, pad_type, pad=None, bias=None, output_shape=None
):
    y = F.conv_transpose2d(x, weight, bias, strides, 0, 0, groups, dilations)
    y = _cut(y, *_pads(pad_type, pad))
    if output_shape is not None and list(y.shape) != list(output_shape):
        raise NotImplementedError(f"output_shape {list(output_shape)} of {list(y.shape)}")
    return y


def _pad(x, pad, mode, constant_val=0.0):
    top, bottom, left, right = pad[-4:]
    if any(pad[:-4]):
        raise NotImplementedError("pad of other dimensions than height and width")
    pads = (left, right, top, bottom)
    return F.pad(x, pads, value=constant_val) if mode == "constant" else F.pad(x, pads, mode)


def _concat(values, axis, interleave=False):
    if interleave:
        raise NotImplementedError("interleave")
    return torch.cat(values, axis)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "add": lambda x, y: x + y,
    "batch_norm": lambda x, mean, variance, epsilon, gamma=None, beta=None: F.batch_norm(
        x, mean, variance, gamma, beta, eps=epsilon
    ),
    # To float16 or back: `MilGenerator` rounds every result to the type that the file gives it.
    "cast": lambda x, dtype: x,
    "clip": lambda x, alpha, beta: x.clamp(alpha, beta),
    "concat": _concat,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "crop": lambda x, crop_height, crop_width: _cut(x, *crop_height, *crop_width),
    "instance_norm": lambda x, epsilon, gamma=None, beta=None: F.instance_norm(
        x, weight=gamma, bias=beta, eps=epsilon
    ),
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, alpha),
    "mul": lambda x, y: x * y,
    "pad": _pad,
    "relu": lambda x: x.relu(),
    "tanh": lambda x: x.tanh(),
}


# --------------------------------------------------------------------------------------------------
# A file


class MilGenerator:
    """A ``.mlpackage`` that PyTorch computes, operation by operation.

    Called with an input of the file's size, 1 C H W float32, it returns 1 output_nc H W float32.
    Results that the file keeps in float16 are rounded to it; sums are in float32.

    input, output: shapes that the file states
    operations:    name of an operation -> how many the file has

    Raises:
        NotImplementedError: the file has an operation that is not known here, or other names of
            input and output.
    """

    def __init__(self, path: Path):
        import coremltools
        from coremltools.converters.mil.frontend.milproto.load import load

        model = coremltools.models.MLModel(str(path), skip_model_load=True)
        spec = model.get_spec()
        program = load(spec, spec.specificationVersion, model.weights_dir)
        (self._function,) = program.functions.values()
        (given,), (made,) = spec.description.input, spec.description.output
        if (given.name, made.name) != ("input", "output"):
            raise NotImplementedError(f"names {given.name} and {made.name}")
        self.input, self.output = (tuple(each.type.multiArrayType.shape) for each in (given, made))
        self.operations: dict[str, int] = {}
        for op in self._function.operations:
            if op.op_type != "const":
                self.operations[op.op_type] = self.operations.get(op.op_type, 0) + 1
        unknown = sorted(set(self.operations) - set(OPERATIONS))
        if unknown:
            raise NotImplementedError(f"operations that are not known: {', '.join(unknown)}")

    def __call__(self, x: Tensor) -> Tensor:
        values = {"input": x}

        def value(var):
            if isinstance(var, (list, tuple)):
                return [value(each) for each in var]
            if var.name not in values:
                values[var.name] = _constant(var.val)
            return values[var.name]

        for op in self._function.operations:
            if op.op_type == "const":
                continue
            given = {key: value(var) for key, var in op.inputs.items() if var is not None}
            (made,) = op.outputs
            y = OPERATIONS[op.op_type](**given)
            half = made.dtype.__type_info__().name == "fp16"
            values[made.name] = y.half().float() if half else y
        return values["output"]


def _constant(value: object) -> object:
    """A stored constant: float arrays as float32 tensors, other arrays as lists, numbers as
    numbers."""
    if isinstance(value, np.ndarray) and value.ndim:
        floating = np.issubdtype(value.dtype, np.floating)
        return torch.from_numpy(value.astype(np.float32)) if floating else value.tolist()
    return value.item() if isinstance(value, (np.ndarray, np.generic)) else value
