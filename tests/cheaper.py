"""What a tiny training or search spends most of its time on, made cheap in the scripts that tests
start: about half of a training of six steps, as a profile of one says.

* FID's network resizes every image to 299x299, which takes some 25 ms of a core; here to 75x75,
  of a sixteenth of the pixels. What is measured is comparable with itself, as random features are
  anyway: these tests ask whether the right images are measured, and whether two ways of measuring
  agree. tests/metrics compare the real size with pytorch-fid.
* Figures are built but not drawn: the file is blank, of the same size. tests/report draw every kind
  of figure.
* Pictures of outputs show two samples, not eight, and are not enlarged as much.

None of this holds where tests start Python as users do.
"""

import pkgutil
import struct
import zlib
from types import SimpleNamespace

import torch.nn.functional as F
from matplotlib.figure import Figure

from evaluation.pictures import montage, samples


def _interpolate(x, size, **how):
    assert size == (299, 299)
    return F.interpolate(x, size=(75, 75), **how)


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))


def _blank(figure: Figure, path, format: str) -> None:
    """Write a white PNG of the figure's size."""
    assert format == "png"
    width, height = map(int, figure.get_size_inches() * figure.dpi)
    head = struct.pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * width) * height, 1)
    parts = _part(b"IHDR", head) + _part(b"IDAT", rows) + _part(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def _montage(columns, size: int | None = None):
    return montage(columns, size and min(size, 64))


def _samples(loader, generators, count: int = 8):
    return samples(loader, generators, min(count, 2))


# What is replaced, by what.
REPLACED = {
    "metrics.inception.F": SimpleNamespace(interpolate=_interpolate),
    "matplotlib.figure.Figure.savefig": _blank,
    "evaluation.pictures.montage": _montage,
    "evaluation.pictures.samples": _samples,
}


def install() -> None:
    """For all of this process."""
    for target, replacement in REPLACED.items():
        owner, name = target.rsplit(".", 1)
        setattr(pkgutil.resolve_name(owner), name, replacement)
