"""Ground truth: which label file belongs to which image, and its pixels.

A label of Cityscapes is an 8-bit image of trainIds: 0..18 are the classes, other values are
ignored. One of COCO-Stuff is what the photo was made of: 0..181 are the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from data.labels import DONT_CARE, read_numbers
from errors import InputError

# The end of every message about something that mIoU needs: how to go on without mIoU.
WITHOUT = "To do without mIoU, give `criterion` fid to a search, `no_mIoU` to other scripts"

# --------------------------------------------------------------------------------------------------
# The table: which ground truth belongs to which image.

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff"}


def image_stem(name: str | Path) -> str:
    """The name of an image without folder and image suffix: 'd/a.b.png' -> 'a.b'."""
    path = Path(name)
    return path.stem if path.suffix.lower() in _IMAGE_SUFFIXES else path.name


def read_table(
    table_path: str | Path, cityscapes_path: str | Path, by_photo: bool = False
) -> dict[str, Path]:
    """Read the table that says which label file belongs to which image.

    table_path:      UTF-8 text, one line per image:
                     `<name> <gtFine trainIds png> <leftImg8bit png>`
    cityscapes_path: the folder that the paths in the table start from
    by_photo:        images are called as the photos of the table, not as its names
    returns:         `image_stem(name)` -> path of the trainIds png; the files are not opened
    raises:          InputError if the table or folder is missing, or a line is wrong
    """
    table, root = Path(table_path), Path(cityscapes_path)
    if not table.is_file():
        raise InputError(
            f"`table_path` {table}: no such file. It says which ground truth belongs to which "
            f"image, one line per image: <name> <gtFine trainIds png> <leftImg8bit png>. {WITHOUT}."
        )
    if not root.is_dir():
        raise InputError(
            f"`cityscapes_path` {root}: no such folder. Unpack Cityscapes' gtFine there, or give "
            f"the folder that holds it. {WITHOUT}."
        )
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`table_path` {table}: not a text file that can be read ({error})."
        ) from error
    labels: dict[str, Path] = {}
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if not columns:
            continue
        if len(columns) != 3:
            raise InputError(
                f"`table_path` {table}, line {number}: has {len(columns)} columns instead of 3, "
                "<name> <gtFine trainIds png> <leftImg8bit png>."
            )
        stem, label = image_stem(columns[2 if by_photo else 0]), root / columns[1]
        if label.stem.endswith("_labelIds"):
            raise InputError(
                f"`table_path` {table}, line {number}: {columns[1]} holds labelIds; mIoU is "
                "defined on trainIds (made by csCreateTrainIdLabelImgs of cityscapesScripts)."
            )
        if labels.setdefault(stem, label) != label:
            raise InputError(
                f"`table_path` {table}, line {number}: a second label for image {stem!r}."
            )
    if not labels:
        raise InputError(f"`table_path` {table}: is empty.")
    return labels


def ground_truth(names: Sequence[str], table: Mapping[str, Path]) -> dict[str, Path]:
    """The label file of each image.

    names:   with or without folder and suffix
    table:   what `read_table` returned
    raises:  InputError if a name is not in the table or its file does not exist
    """
    found = {}
    for name in names:
        stem = image_stem(name)
        if stem not in table:
            raise InputError(
                f"image {stem!r} is not in the table ({len(table)} images, the first is "
                f"{next(iter(table), None)!r}); `table_path` must be the table of this dataset "
                "and phase."
            )
        if not table[stem].is_file():
            raise InputError(
                f"{table[stem]}: the ground truth of image {stem!r} is missing. Check "
                "`cityscapes_path`; csCreateTrainIdLabelImgs of cityscapesScripts makes the "
                "trainIds files from gtFine."
            )
        found[name] = table[stem]
    return found


# --------------------------------------------------------------------------------------------------
# Labels: a search compares thousands of networks on the same few hundred labels, so each label is
# decoded only once if memory allows.


def read_train_ids(path: Path) -> np.ndarray:
    """(H, W) uint8 trainIds of a file. InputError if it is no 8-bit image of one channel."""
    try:
        with Image.open(path) as image:
            mode, label = image.mode, np.array(image)
    except OSError as error:
        raise InputError(
            f"{path}: not an image that can be read ({error}); unpack gtFine again."
        ) from error
    if mode not in ("L", "P"):
        raise InputError(
            f"{path}: is of mode {mode}, not trainIds (8 bits, one channel); check its line in "
            "`table_path`."
        )
    return label


def read_classes(path: Path) -> np.ndarray:
    """(H, W) uint8 numbers of a label map, larger ones as 255; errors as `read_numbers`."""
    return read_numbers(path).clip(max=DONT_CARE).astype(np.uint8)


class LabelStore:
    """Labels by image name, decoded by threads and kept in memory up to a limit.

    Only one thread may use it; its own threads do nothing but decode.

    paths:     name of an image -> its label file, as of `ground_truth`
    read:      file -> (H, W) uint8
    max_bytes: maximum size of the labels kept; 1 GiB holds the 500 of Cityscapes' val at 2048x1024.
               Labels beyond it are decoded again at each use
    threads:   number of decoding threads (Pillow's decoder releases the interpreter lock)
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        read: Callable[[Path], np.ndarray] = read_train_ids,
        max_bytes: int = 1 << 30,
        threads: int = 4,
    ):
        self._paths, self._read = paths, read
        self._max_bytes = max_bytes
        self._kept: dict[str, np.ndarray] = {}
        self._pending: dict[str, Future[np.ndarray]] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="labels")
        self.kept_bytes = 0

    def prefetch(self, names: Sequence[str]) -> None:
        """Start decoding labels that are not in memory. They count for the limit once read."""
        for name in names:
            if name not in self._kept and name not in self._pending:
                self._pending[name] = self._pool.submit(self._read, self._paths[name])

    def __getitem__(self, name: str) -> np.ndarray:
        """The label of an image, (H, W) uint8; raises what `read` does."""
        if name in self._kept:
            return self._kept[name]
        self.prefetch([name])
        label = self._pending.pop(name).result()
        # The first labels are kept and never dropped. All labels are read again and again in the
        # same order, so dropping the least recently used would drop each one just before its use.
        if self.kept_bytes + label.nbytes <= self._max_bytes:
            self._kept[name] = label
            self.kept_bytes += label.nbytes
        return label
