"""The formats of exported files: what they are called, what they need, and what writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from torch import nn

from deploy.checks import Exported
from deploy.coreml import export_coreml, require_coreml
from deploy.litert import export_litert, require_litert
from deploy.onnx import export_onnx, require_onnx
from deploy.pt2 import export_pt2

SUFFIXES = {
    "pth": ".pth",
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "pt2": ".pt2",
    "coreml": ".mlpackage",
    "tflite": ".tflite",
}
# Files for images of any size, and for those of one.
_ANY: dict[str, Callable[..., Exported]] = {"onnx": export_onnx, "pt2": export_pt2}
FIXED: dict[str, Callable[..., Exported]] = {"coreml": export_coreml, "tflite": export_litert}
_REQUIRE = {"onnx": require_onnx, "coreml": require_coreml, "tflite": require_litert}


def require_formats(names: Iterable[str]) -> None:
    """Raise InputError, which says what to install, if a package of a format is missing.

    Args:
        names: keys of `SUFFIXES`
    """
    for name in names:
        if name in _REQUIRE:
            _REQUIRE[name]()


def export_file(name: str, net: nn.Module, path: Path, fp16: bool, size: int) -> Exported:
    """Write ``net`` in a format other than weights; each is described at its own function.

    Args:
        name: a key of `SUFFIXES`, neither pth nor safetensors
        net:  a generator; not changed
        path: the file to write, of coreml a folder; whole or not at all
        fp16: store the weights as float16
        size: width and height of images [px], of a format for one size

    Raises:
        InputError: the file cannot be made or differs from ``net``.
    """
    if name in FIXED:
        return FIXED[name](net, path, fp16, size)
    return _ANY[name](net, path, fp16)
