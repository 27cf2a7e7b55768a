"""device.cpp as an extension, compiled once per version of PyTorch and kept in the user's cache."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch

NAME = "fake_cuda_device"
SOURCE = Path(__file__).with_name("device.cpp")


class Unbuildable(Exception):
    """Why the extension cannot be compiled here."""


def extension_path() -> Path:
    """Where the compiled extension lies; it is compiled if it is not there (25 s).

    Raises:
        Unbuildable: there is no g++, or this PyTorch does not fit.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    facts = f"{torch.__version__} {torch.version.cuda} {sys.version}"
    key = hashlib.sha256(SOURCE.read_bytes() + facts.encode()).hexdigest()[:16]
    path = base / "gan-compression" / "fake_cuda" / key / f"{NAME}.so"
    if not path.exists():
        _compile(path)
    return path


@functools.cache
def load() -> ModuleType:
    """The compiled extension."""
    spec = spec_from_file_location(NAME, extension_path())
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compile(path: Path) -> None:
    if not sys.platform.startswith("linux") or shutil.which("g++") is None:
        raise Unbuildable("it needs g++ on Linux")
    root = Path(torch.__file__).parent
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.so")
    headers = (root / "include", root / "include" / "torch" / "csrc" / "api" / "include")
    headers = (*headers, sysconfig.get_paths()["include"])
    defined = {
        "_GLIBCXX_USE_CXX11_ABI": int(torch.compiled_with_cxx11_abi()),
        "TORCH_EXTENSION_NAME": NAME,
        "TORCH_API_INCLUDE_EXTENSION_H": 1,
    }
    command = [
        *("g++", "-shared", "-fPIC", "-O0", "-w", f"-std=c++{20 if version >= (2, 8) else 17}"),
        *(f"-D{name}={value}" for name, value in defined.items()),
        *(word for folder in headers for word in ("-isystem", str(folder))),
        *(str(SOURCE), "-o", str(temporary), f"-L{root / 'lib'}"),
        *("-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        temporary.unlink(missing_ok=True)
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise Unbuildable(f"g++ fails with PyTorch {torch.__version__}: {'; '.join(errors[:2])}")
    temporary.replace(path)
