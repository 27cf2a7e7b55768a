"""Folders of images -> items of pixels. A dataset lists its files at once and decodes on demand.

Every dataset has ``names`` (what outputs are called), ``len()`` and ``load(index) -> dict`` of
C H W arrays, uint8 or, of files with more than 8 bits, float32 from 0 to 1
(`data.images.read_pixels`). ``A`` is the network's input, ``B`` (where there is one) what it should
become; ``direction`` has been applied. Unpaired data are two such datasets.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.images import EXTENSIONS, read_pixels, to_channels
from data.transforms import Resize
from errors import InputError

# --------------------------------------------------------------------------------------------------
# Listing files

# Data sets that can be downloaded to database/<name>, and how
DOWNLOADS = {
    name: f"scripts/download.py {name}"
    for name in ("maps", "edges2shoes-r", "facades", "horse2zebra")
} | {
    "cityscapes": "scripts/prepare_cityscapes.py, see docs/datasets.md",
    "cityscapes-pix2pix": "scripts/download.py cityscapes",
}


DIRECTIONS = ("AtoB", "BtoA")


def require_direction(direction: str) -> None:
    """Raise InputError unless it is one of `DIRECTIONS`."""
    if direction not in DIRECTIONS:
        raise InputError(f"`direction` {direction}: give {' or '.join(DIRECTIONS)}")


@dataclass(frozen=True)
class Source:
    """Which files of ``<dataroot>/<phase>`` to use: the first of those that ``meta_path`` names.

    meta_path: a list, one name per line; None: all
    max_size:  1 or more; None or below 0: all

    Raises:
        InputError: an empty ``phase`` or ``meta_path``, or a ``max_size`` of 0.
    """

    dataroot: str
    phase: str = "train"
    meta_path: str | None = None
    max_size: int | None = None

    def __post_init__(self):
        if not self.phase:
            raise InputError("`phase` is empty; give the name of a folder of `dataroot`")
        if self.meta_path == "":
            raise InputError("`meta_path` is empty; give a file, or leave it out to use all images")
        if self.max_size == 0:
            raise InputError("`max_dataset_size` 0 leaves no images; give -1 to use all")


def path_of_side(path: str, side: str) -> str:
    """``lists/train2.meta`` -> ``lists/train2A.meta``: the list of one side of unpaired data."""
    file = Path(path)
    return str(file.with_name(f"{file.stem}{side}{file.suffix}"))


def printable(name: object) -> str:
    """A file name as it can be shown anywhere, whatever bytes it is made of."""
    text = str(name).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def has_plain_name(name: object) -> bool:
    """Whether lists, logs and pages can hold a file name: it is UTF-8 and one line."""
    return printable(name) == str(name)


def read_names(path: Path, setting: str = "`meta_path`") -> list[str]:
    """The names in a list, one per line, in its order; empty lines and spaces around names do not
    count.

    Raises:
        InputError: opened by ``setting``: not there, not UTF-8, or no names in it.
    """
    if not path.is_file():
        raise InputError(f"{setting} {path}: no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{setting} {path}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{setting} {path}: unreadable ({error.strerror})") from None
    names = [line.strip() for line in text.split("\n") if line.strip()]
    if not names:
        raise InputError(f"{setting} {path}: names no files")
    return names


def files_below(folder: Path) -> Iterator[Path]:
    """Files below a folder, in no order. Nothing hidden (files and folders that begin with ".");
    links to folders are followed, but not back to a folder that they lie in."""
    yield from _files_below(folder, frozenset())


def _files_below(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above or not folder.is_dir():
        return
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _files_below(folder / entry.name, above | {real})
        else:
            yield folder / entry.name


def list_images(folder: Path) -> list[Path]:
    """The image files among `files_below`, sorted by path as strings."""
    files = (p for p in files_below(folder) if p.suffix.lower() in EXTENSIONS)
    return sorted((p for p in files if p.is_file()), key=str)


def phases(dataroot: Path) -> list[str]:
    """Names of the folders of ``dataroot`` that hold images."""
    found = sorted(p.name for p in dataroot.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [name for name in found if list_images(dataroot / name)]


def download_hint(root: Path) -> str:
    """``; download it with ...`` for a missing folder that `scripts/download.py` knows."""
    if root.name not in DOWNLOADS or root.parent.name != "database":
        return ""
    return f"; download it with python {DOWNLOADS[root.name]}"


def _folder(source: Source, suffix: str = "") -> Path:
    root = Path(source.dataroot)
    if not root.is_dir():
        raise InputError(f"`dataroot` {root}: no such folder{download_hint(root)}")
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
    if source.meta_path is not None:
        meta = Path(source.meta_path)
        wanted = read_names(meta)
        by_name = {str(p.relative_to(folder)): p for p in files}
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise InputError(
                f"`meta_path` {meta} names {len(missing)} of {len(wanted)} files that {folder} "
                f"does not have, first {printable(missing[0])}; give the list of this dataset and "
                "phase"
            )
        files = sorted((by_name[name] for name in set(wanted)), key=str)
    if source.max_size is not None and source.max_size > 0:
        files = files[: source.max_size]
    return files


def unique_names(files: list[Path], folder: Path) -> list[str]:
    """Output names: the path below the folder without its ending.

    Raises:
        InputError: two files share one, or a log or page could not hold it.
    """
    names = [str(p.relative_to(folder).with_suffix("")) for p in files]
    strange = [name for name in names if not has_plain_name(name)]
    if strange:
        raise InputError(
            f"{printable(folder)}: {len(strange)} file names are not one line of UTF-8, "
            f"first {printable(strange[0])}; rename them"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        same = ", ".join(f.name for f, name in zip(files, names, strict=True) if name == twice[0])
        raise InputError(
            f"{folder} holds {same}, of one name: outputs would overwrite each other, and either "
            "could be a partner; rename or remove one"
        )
    return names


def _item(pixels: np.ndarray, resize: Resize) -> np.ndarray:
    """H W C -> C H W at its size, contiguous and writable."""
    return resize.pixels(pixels).transpose(2, 0, 1).copy()


# --------------------------------------------------------------------------------------------------
# Datasets


class AlignedDataset:
    """Pairs: one A|B image per file in ``<phase>``, or two folders ``<phase>A`` and ``<phase>B``
    matched by name.

    Args:
        channels: of the input and of the target (``input_nc``, ``output_nc``)
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
            self.names = unique_names(self.files, self.folder)
            folder_b = root / f"{source.phase}B"
            partners = list_images(folder_b)
            by_name = dict(zip(unique_names(partners, folder_b), partners, strict=True))
            missing = [name for name in self.names if name not in by_name]
            if missing:
                pairs = len(missing) < len(self.names)
                other = "" if pairs else ", or give `dataset_mode` unaligned if these are no pairs"
                raise InputError(
                    f"`dataroot` {root}: {len(missing)} images of {source.phase}A have no partner "
                    f"of the same name in {source.phase}B, first {missing[0]}; remove them or add "
                    f"their partners{other}"
                )
            self.files_b = [by_name[name] for name in self.names]
            surplus = len(by_name) - len(list_images(self.folder))
            if surplus > 0:
                warnings.warn(
                    f"{root}: {source.phase}B has {surplus} images more than {source.phase}A; "
                    "they are not used",
                    UserWarning,
                    stacklevel=2,
                )
        else:
            self.folder = _folder(source)
            self.files = _select(source, self.folder)
            self.names = unique_names(self.files, self.folder)
        self._said_not_square = False

    def __len__(self) -> int:
        return len(self.files)

    def _halves(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(A, B) as stored, H W C, before the direction; channels follow what each is used for."""
        first, second = self.channels if self.direction == "AtoB" else self.channels[::-1]
        path = self.files[index]
        if self.files_b is not None:
            a, b = read_pixels(path, first), read_pixels(self.files_b[index], second)
            if a.shape[:2] != b.shape[:2]:
                raise InputError(
                    f"{path} is {a.shape[1]}x{a.shape[0]} but its partner {self.files_b[index]} is "
                    f"{b.shape[1]}x{b.shape[0]}; make them equal"
                )
            return a, b
        pair = read_pixels(path, max(first, second))
        height, width = pair.shape[:2]
        if width % 2 or width <= height:
            why = "its width is odd" if width % 2 else "it is not wider than high"
            raise InputError(
                f"{path} is {width}x{height}: not an A|B pair of two images side by side ({why}); "
                "for single images use `dataset_mode` single"
            )
        if width != 2 * height and not self._said_not_square:
            self._said_not_square = True
            warnings.warn(
                f"{path} is {width}x{height}: its halves are not square (shown once)",
                UserWarning,
                stacklevel=2,
            )
        a, b = pair[:, : width // 2], pair[:, width // 2 :]
        return to_channels(a, first, path), to_channels(b, second, path)

    def load(self, index: int) -> dict[str, np.ndarray]:
        a, b = self._halves(index)
        if self.direction == "BtoA":
            a, b = b, a
        return {"A": _item(a, self.resize), "B": _item(b, self.resize)}


class SingleDataset:
    """Images without partners: inference, or statistics of a plain folder.

    They lie in ``<dataroot>/<phase>`` or, if that is missing, in ``<dataroot>``. Outputs are as
    large as the images: sizes without a crop are not rounded.
    """

    def __init__(self, source: Source, resize: Resize, channels: int = 3):
        self.resize, self.channels = replace(resize, any_size=True), channels
        root = Path(source.dataroot)
        if root.is_dir() and not (root / source.phase).is_dir() and list_images(root):
            self.folder = root
        else:
            self.folder = _folder(source)
        self.files = _select(source, self.folder)
        self.names = unique_names(self.files, self.folder)

    def __len__(self) -> int:
        return len(self.files)

    def load(self, index: int) -> dict[str, np.ndarray]:
        return {"A": _item(read_pixels(self.files[index], self.channels), self.resize)}


def unpaired_datasets(
    source: Source, direction: str, resize: Resize, channels: tuple[int, int] = (3, 3)
) -> tuple[SingleDataset, SingleDataset]:
    """(inputs, targets): the folders ``<phase>A`` and ``<phase>B``, of any names, counts and sizes.

    Args:
        source:    ``max_size`` limits each side; ``meta_path`` ``x.meta`` stands for two lists,
                   ``xA.meta`` and ``xB.meta``
        direction: AtoB | BtoA, which side is the input
        channels:  of the input and of the target

    Raises:
        InputError: a folder or a list of either side is missing.
    """
    root = Path(source.dataroot)
    if (root / source.phase).is_dir() and not (root / f"{source.phase}A").is_dir():
        raise InputError(
            f"`dataset_mode` unaligned: `dataroot` {root} has '{source.phase}' instead of "
            f"'{source.phase}A' and '{source.phase}B'; for A|B pairs give `dataset_mode` aligned"
        )
    for side in "AB":
        _folder(source, side)
    sides = []
    for side, planes in zip("AB" if direction == "AtoB" else "BA", channels, strict=True):
        meta = path_of_side(source.meta_path, side) if source.meta_path else None
        of_side = replace(source, phase=f"{source.phase}{side}", meta_path=meta)
        sides.append(SingleDataset(of_side, resize, planes))
    return sides[0], sides[1]
