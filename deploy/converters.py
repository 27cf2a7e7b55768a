"""What exports to the runtimes of phones share: a fixed size, and converters that print a lot."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from deploy.checks import sample
from errors import InputError
from models.inputs import input_channels
from models.layers import require_size

# Below, reflection padding has too few pixels to take.
LEAST_SIZE = 8


def require_packages(what: str, modules: dict[str, str]) -> None:
    """Raise InputError, which says what to install, if a package is missing.

    Args:
        what:    the format, for the message
        modules: module -> package that holds it
    """
    missing = [
        package for module, package in modules.items() if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise InputError(
            f"{what} needs {', '.join(missing)}, not installed here: "
            "pip install -r requirements-convert.txt"
        )


def require_fixed_size(multiple: int, size: int) -> None:
    """InputError unless images of ``size`` x ``size`` pixels fit a network that needs sides of
    multiples of ``multiple``."""
    require_size(size, size, multiple, "`size`")
    if size < LEAST_SIZE:
        raise InputError(f"`size` {size}: the smallest image is {LEAST_SIZE} pixels wide")


def require_finite(difference: float, what: str) -> None:
    """InputError, which begins with ``what``, if a file of float16 differs infinitely."""
    if difference == float("inf"):
        raise InputError(f"{what} is not finite in float16: it was not written; leave `fp16` out")


def fixed_sample(net: nn.Module, size: int) -> Tensor:
    """One test input of a fixed size, 1 C size size, see `deploy.checks.sample`."""
    return sample(1, input_channels(net), size, size)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what libraries print, also from C++, while the block runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in kept:
                os.dup2(nowhere.fileno(), number)
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


@contextlib.contextmanager
def converting(path: Path, package: str) -> Iterator[None]:
    """Run a converter: quietly, and with an error that says what to do when it fails.

    Args:
        path:    the file that is made, for the message
        package: the converter's; it is tested with few versions of PyTorch

    Raises:
        InputError: the block raised anything but an InputError or an error of the disk.
    """
    try:
        with quiet():
            yield
    except (InputError, OSError):
        raise
    except Exception as error:  # converters raise anything from KeyError to their own classes
        version = importlib.metadata.version(package)
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise InputError(
            f"{path} was not written: {package} {version} could not convert this network "
            f"({type(error).__name__}: {reason}); install the versions of constraints.txt (pip "
            "install -r requirements-convert.txt -c constraints.txt), or use `format` onnx"
        ) from error
