"""Folders of images -> items of uint8 pixels. A dataset lists its files at once and decodes on demand.

Every dataset has ``names`` (what outputs are called), ``len()`` and ``load(index) -> dict`` of uint8 C H W arrays: ``A`` is the
network's input, ``B`` (where there is one) what it should become; ``direction`` has been applied. Unpaired data are two such datasets.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.images import EXTENSIONS, read_image
from data.transforms import Resize
from errors import InputError

# ---------------------------------------------------------------------------------------------------------
# Listing files


@dataclass(frozen=True)
class Source:
    """Which files: ``<dataroot>/<phase>``, limited to the names of ``meta_path`` (one per line) and to the first ``max_size``."""

    dataroot: str
    phase: str = "train"
    meta_path: str | None = None
    max_size: int | None = None


def path_of_side(path: str, side: str) -> str:
    """``lists/train2.meta`` -> ``lists/train2A.meta``: of unpaired data a list is two files, as phase train is the folders trainA and trainB."""
    file = Path(path)
    return str(file.with_name(f"{file.stem}{side}{file.suffix}"))


def list_images(folder: Path) -> list[Path]:
    """Image files below ``folder``, sorted by path as strings; hidden files are not seen."""
    files = (
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in EXTENSIONS and not p.name.startswith(".")
    )
    return sorted((p for p in files if p.is_file()), key=str)


def phases(dataroot: Path) -> list[str]:
    """Names of the folders of ``dataroot`` that hold images."""
    found = sorted(p.name for p in dataroot.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [name for name in found if list_images(dataroot / name)]


def _folder(source: Source, suffix: str = "") -> Path:
    root = Path(source.dataroot)
    if not root.is_dir():
        raise InputError(f"`dataroot` {root}: no such folder")
    folder = root / (source.phase + suffix)
    if not folder.is_dir():
        names = phases(root)
        found = f"it has {', '.join(names)}" if names else "it holds no folder of images"
        raise InputError(
            f"`dataroot` {root} has no folder '{folder.name}' (`phase` {source.phase}); {found}"
        )
    return folder


def _select(source: Source, folder: Path) -> list[Path]:
    """The files of a folder after meta_path and max_size; never empty."""
    files = list_images(folder)
    if not files:
        raise InputError(f"`dataroot`: {folder} holds no images ({', '.join(sorted(EXTENSIONS))})")
    if source.meta_path:
        meta = Path(source.meta_path)
        if not meta.is_file():
            raise InputError(f"`meta_path` {meta}: no such file")
        wanted = [line.strip() for line in meta.read_text().splitlines() if line.strip()]
        by_name = {str(p.relative_to(folder)): p for p in files}
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise InputError(
                f"`meta_path` {meta} names {len(missing)} of {len(wanted)} files that {folder} does not have, first {missing[0]}; "
                "give the list of this dataset and phase"
            )
        if not wanted:
            raise InputError(f"`meta_path` {meta}: names no files")
        files = sorted((by_name[name] for name in set(wanted)), key=str)
    if source.max_size is not None and source.max_size > 0:
        files = files[: source.max_size]
    return files


def _names(files: list[Path], folder: Path) -> list[str]:
    """Output names: the path below the folder without its ending. InputError when two files would share one."""
    names = [str(p.relative_to(folder).with_suffix("")) for p in files]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        same = ", ".join(f.name for f, name in zip(files, names, strict=True) if name == twice[0])
        raise InputError(
            f"{folder} holds {same}: outputs of one name would overwrite each other; rename one"
        )
    return names


def _pixels(image: Image.Image, resize: Resize) -> np.ndarray:
    """PIL -> uint8 C H W, contiguous and writable (what `numpy.asarray` shows of a PIL image is not)."""
    array = np.asarray(resize(image))
    return (array[None] if array.ndim == 2 else array.transpose(2, 0, 1)).copy()


# ---------------------------------------------------------------------------------------------------------
# Datasets


class AlignedDataset:
    """Pairs: one A|B image per file in ``<phase>``, or two folders ``<phase>A`` and ``<phase>B`` matched by name.

    Args:
        channels: of the input and of the target (``input_nc``, ``output_nc``); 1 = grey
    """

    def __init__(
        self, source: Source, direction: str, resize: Resize, channels: tuple[int, int] = (3, 3)
    ):
        self.direction, self.resize, self.channels = direction, resize, channels
        root = Path(source.dataroot)
        two_folders = (root / f"{source.phase}A").is_dir() and (root / f"{source.phase}B").is_dir()
        self.files_b: list[Path] | None = None
        if two_folders and not (root / source.phase).is_dir():
            self.folder = root / f"{source.phase}A"
            self.files = _select(source, self.folder)
            by_name = {
                str(p.relative_to(root / f"{source.phase}B").with_suffix("")): p
                for p in list_images(root / f"{source.phase}B")
            }
            self.names = _names(self.files, self.folder)
            missing = [name for name in self.names if name not in by_name]
            if missing:
                pairs = len(missing) < len(self.names)
                other = "" if pairs else ", or give `dataset_mode` unaligned if these are no pairs"
                raise InputError(
                    f"`dataroot` {root}: {len(missing)} images of {source.phase}A have no partner of the same name in {source.phase}B, "
                    f"first {missing[0]}; remove them or add their partners{other}"
                )
            self.files_b = [by_name[name] for name in self.names]
            surplus = len(by_name) - len(list_images(self.folder))
            if surplus > 0:
                warnings.warn(
                    f"{root}: {source.phase}B has {surplus} images more than {source.phase}A; they are not used",
                    UserWarning,
                    stacklevel=2,
                )
        else:
            self.folder = _folder(source)
            self.files = _select(source, self.folder)
            self.names = _names(self.files, self.folder)
        self._said_not_square = False

    def __len__(self) -> int:
        return len(self.files)

    def _halves(self, index: int) -> tuple[Image.Image, Image.Image]:
        """(A, B) as stored, before the direction; modes follow the channels each will be used with."""
        first, second = self.channels if self.direction == "AtoB" else self.channels[::-1]
        path = self.files[index]
        if self.files_b is not None:
            a, b = read_image(path, first), read_image(self.files_b[index], second)
            if a.size != b.size:
                raise InputError(
                    f"{path} is {a.width}x{a.height} but its partner {self.files_b[index]} is {b.width}x{b.height}; make them equal"
                )
            return a, b
        pair = read_image(path, max(first, second))
        width, height = pair.size
        if width % 2 or width <= height:
            why = "its width is odd" if width % 2 else "it is not wider than high"
            raise InputError(
                f"{path} is {width}x{height}: not an A|B pair of two images side by side ({why}); "
                "for single images use `dataset_mode` single"
            )
        if width != 2 * height and not self._said_not_square:
            self._said_not_square = True
            warnings.warn(
                f"{path} is {width}x{height}: its halves are not square (said once)",
                UserWarning,
                stacklevel=2,
            )
        a, b = pair.crop((0, 0, width // 2, height)), pair.crop((width // 2, 0, width, height))
        return a.convert("L" if first == 1 else "RGB"), b.convert("L" if second == 1 else "RGB")

    def load(self, index: int) -> dict[str, np.ndarray]:
        a, b = self._halves(index)
        if self.direction == "BtoA":
            a, b = b, a
        return {"A": _pixels(a, self.resize), "B": _pixels(b, self.resize)}


class SingleDataset:
    """Images without partners: inference, or statistics of a plain folder. ``<dataroot>/<phase>`` or, where that is missing, ``<dataroot>``.

    What comes out of them is as large as they are: uncropped sizes are not rounded.
    """

    def __init__(self, source: Source, resize: Resize, channels: int = 3):
        self.resize, self.channels = replace(resize, any_size=True), channels
        root = Path(source.dataroot)
        if root.is_dir() and not (root / source.phase).is_dir() and list_images(root):
            self.folder = root
        else:
            self.folder = _folder(source)
        self.files = _select(source, self.folder)
        self.names = _names(self.files, self.folder)

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int) -> dict[str, np.ndarray]:
        return {"A": _pixels(read_image(self.files[index], self.channels), self.resize)}


def unpaired_datasets(
    source: Source, direction: str, resize: Resize, channels: tuple[int, int] = (3, 3)
) -> tuple[SingleDataset, SingleDataset]:
    """(inputs, targets): the folders ``<phase>A`` and ``<phase>B`` of any names, counts and sizes, which belong together as wholes only.

    Args:
        source:    ``max_size`` limits each side; ``meta_path`` ``x.meta`` stands for two lists, ``xA.meta`` and ``xB.meta``
        direction: AtoB | BtoA, which side is the input
        channels:  of the input and of the target; 1 = grey

    Raises:
        InputError: a folder or a list of either side is missing.
    """
    root = Path(source.dataroot)
    if (root / source.phase).is_dir() and not (root / f"{source.phase}A").is_dir():
        raise InputError(
            f"`dataset_mode` unaligned: `dataroot` {root} has '{source.phase}' instead of '{source.phase}A' and '{source.phase}B'; "
            "for A|B pairs give `dataset_mode` aligned"
        )
    for side in "AB":
        _folder(source, side)
    sides = []
    for side, planes in zip("AB" if direction == "AtoB" else "BA", channels, strict=True):
        meta = path_of_side(source.meta_path, side) if source.meta_path else None
        of_side = replace(source, phase=f"{source.phase}{side}", meta_path=meta)
        sides.append(SingleDataset(of_side, resize, planes))
    return sides[0], sides[1]
