"""A generator as a Core ML program (``.mlpackage``, a folder), for iPhones, iPads and Macs.

It needs iOS 15 or macOS 12. coremltools writes it on any system, but only Apple's systems run it.
Here it is checked by `deploy.mil`, which computes the file's operations with its weights.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from deploy.checks import Exported, max_difference, require_equal, rounded
from deploy.converters import (
    converting,
    fixed_sample,
    require_finite,
    require_fixed_size,
    require_packages,
)
from deploy.mil import MilGenerator
from deploy.pt2 import Traced
from models.layers import multiple_of
from runtime.files import folder_written_whole, size_of

# What every such folder holds.
MANIFEST = "Manifest.json"
NOT_RUN = "computed by PyTorch from the file's operations; Core ML itself was not run"


def require_coreml() -> None:
    """Raise InputError, which says what to install, if coremltools is missing."""
    require_packages("Core ML", {"coremltools": "coremltools"})


def _convert(net: nn.Module, folder: Path, size: int, fp16: bool) -> None:
    """Write ``net`` as a program in float32 or float16."""
    import coremltools

    x = fixed_sample(net, size)
    program = torch.export.export(Traced(net), (x,)).run_decompositions({})
    model = coremltools.convert(
        program,
        convert_to="mlprogram",
        inputs=[coremltools.TensorType("input", tuple(x.shape))],
        outputs=[coremltools.TensorType("output")],
        minimum_deployment_target=coremltools.target.iOS15,
        compute_precision=getattr(coremltools.precision, "FLOAT16" if fp16 else "FLOAT32"),
        skip_model_load=True,
    )
    model.short_description = "Image-to-image generator. Images are 1 C H W, from -1 to 1."
    model.input_description["input"] = "An image; values outside [-1, 1] are clamped."
    model.output_description["output"] = "The translated image."
    model.save(str(folder))
    # Names of operations for ExecuTorch's debugger. No part of the format.
    (folder / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)


def export_coreml(net: nn.Module, path: Path, fp16: bool = False, size: int = 256) -> Exported:
    """Write ``net`` as a program for images of one size.

    Input ``input``: 1 C size size float32; values outside [-1, 1] are clamped.
    Output ``output``: 1 output_nc size size float32 in [-1, 1].

    Before the folder gets its name, it is read back, and PyTorch computes its operations.

    Args:
        net:  a generator; not changed
        path: the folder to write, whole or not at all. An earlier program there is replaced
        fp16: compute in float16, which Apple's neural engine requires: half the size
        size: height and width in pixels, a multiple of what the network needs

    Returns:
        the folder, with its largest difference from ``net`` in float32. With ``fp16`` this includes
        the rounding of weights and of all results in between.

    Raises:
        InputError: coremltools is missing or fails, the size does not fit, the program in float32
            differs from PyTorch by more than `TOLERANCE`, the one in float16 is not finite, or the
            folder cannot be written.
    """
    require_coreml()
    plain = copy.deepcopy(net).cpu().float().eval()
    require_fixed_size(multiple_of(plain), size)
    if fp16:
        rounded(plain)  # raises where float16 does not hold a weight
    shapes = [(1, size, size)]
    with folder_written_whole(path, MANIFEST) as temporary:
        for half in (False, True) if fp16 else (False,):
            with converting(path, "coremltools"):
                _convert(plain, temporary, size, half)
                difference = max_difference(plain, MilGenerator(temporary), shapes)
            if not half:
                require_equal(difference, str(path), "coremltools")
        require_finite(difference, str(path))
    return Exported(path, size_of(path), difference, NOT_RUN)
