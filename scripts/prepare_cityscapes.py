#!/usr/bin/env python3
"""Cityscapes -> pix2pix pairs and the tables for mIoU.

ROOT must hold the unpacked gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip. Register at
https://www.cityscapes-dataset.com to download them:
  ROOT/gtFine/{train,val}/<city>/<frame>_gtFine_{color,labelIds}.png
  ROOT/leftImg8bit/{train,val}/<city>/<frame>_leftImg8bit.png
Written:
  OUTPUT/{train,val}/<number>.jpg
      photo (A) left, coloured labels (B) right; train with --direction BtoA
  ROOT/gtFine/.../<frame>_gtFine_trainIds.png
      classes 0..18, 255 = ignored; only where the file is missing
  OUTPUT/{train,val}_table.txt, TABLES/{train,val}_table.txt
      lines "<number> <trainIds png> <photo>", paths below ROOT

Frames are numbered in the order of their paths, from 0, as in the published tables; the published
split of train names these numbers. The tables say which frame each number is. Pairs that are there
already are kept: run it again to continue.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

from data.images import read_image
from errors import InputError
from options import run
from prepare.pairs import is_done, join_pair, run_all, save_image, save_lines

PHASES = ("train", "val")

# --------------------------------------------------------------------------------------------------
# Classes: the 34 label ids of gtFine -> the 19 classes that are trained and measured

TRAIN_IDS = {
    **{7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9},
    **{23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18},
}
IGNORED, LAST_LABEL = 255, 33
_TABLE = np.full(256, IGNORED, np.uint8)
_TABLE[list(TRAIN_IDS)] = list(TRAIN_IDS.values())


def to_train_ids(labels: np.ndarray) -> np.ndarray:
    """uint8 H W of label ids 0..33 -> uint8 H W of classes 0..18, 255 where a label is not
    measured.
    """
    return _TABLE[labels]


def write_train_ids(labels: Path, target: Path) -> None:
    """``*_labelIds.png`` -> ``*_trainIds.png``, atomically.

    Raises:
        InputError: the file is damaged or no map of label ids.
    """
    try:
        with Image.open(labels) as image:
            image.load()
            mode, pixels = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{labels}: unreadable ({error}); unpack gtFine_trainvaltest.zip again"
        ) from None
    if mode != "L" or int(pixels.max()) > LAST_LABEL:
        raise InputError(
            f"{labels}: not label ids (mode {mode}, values to {pixels.max()}, wanted L and 0..33)"
        )
    save_image(Image.fromarray(to_train_ids(pixels)), target)


# --------------------------------------------------------------------------------------------------
# Frames


@dataclass(frozen=True)
class Frame:
    """The files of one street scene: coloured labels, label ids, classes (to be made) and photo."""

    color: Path
    label_ids: Path
    train_ids: Path
    photo: Path


def find_frames(root: Path, phase: str) -> list[Frame]:
    """All frames of a phase in the order of their paths.

    Raises:
        InputError: a folder is missing or empty, or files of a frame are missing; says how many.
    """
    folder = root / "gtFine" / phase
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; unpack gtFine_trainvaltest.zip in {root}")
    colors = sorted(folder.glob("*/*_gtFine_color.png"), key=str)
    if not colors:
        raise InputError(
            f"{folder} holds no <city>/*_gtFine_color.png; unpack gtFine_trainvaltest.zip in {root}"
        )
    frames = []
    for color in colors:
        name, city = color.name.removesuffix("_gtFine_color.png"), color.parent
        photo = root / "leftImg8bit" / phase / city.name / f"{name}_leftImg8bit.png"
        ids = (city / f"{name}_gtFine_{kind}.png" for kind in ("labelIds", "trainIds"))
        frames.append(Frame(color, *ids, photo))
    for kind, archive in (("photo", "leftImg8bit"), ("label_ids", "gtFine")):
        needed = [f for f in frames if kind == "photo" or not f.train_ids.is_file()]
        missing = [getattr(f, kind) for f in needed if not getattr(f, kind).is_file()]
        if missing:
            raise InputError(
                f"{missing[0]} and {len(missing) - 1} more are missing; unpack "
                f"{archive}_trainvaltest.zip in {root}"
            )
    return frames


def table_of(frames: list[Frame], root: Path, first: int) -> list[str]:
    """Lines ``<number> <trainIds png> <photo>``, paths below ``root`` with forward slashes."""
    return [
        f"{number} {frame.train_ids.relative_to(root).as_posix()} "
        f"{frame.photo.relative_to(root).as_posix()}"
        for number, frame in enumerate(frames, first)
    ]


# --------------------------------------------------------------------------------------------------
# Pairs


def make_pair(frame: Frame, target: Path, size: int) -> bool:
    """Write what is missing of a frame: its classes, and its pair of two ``size`` x ``size``
    halves.

    Returns whether anything was missing.
    """
    done = True
    if not frame.train_ids.is_file():
        write_train_ids(frame.label_ids, frame.train_ids)
        done = False
    if not (is_done(target, (frame.color, frame.photo)) and _has_size(target, (2 * size, size))):
        # Labels by the nearest pixel, so that every colour stays one of the legend.
        photo = read_image(frame.photo).resize((size, size), Image.Resampling.BICUBIC)
        color = read_image(frame.color).resize((size, size), Image.Resampling.NEAREST)
        save_image(join_pair(photo, color), target)
        done = False
    return not done


def _has_size(path: Path, size: tuple[int, int]) -> bool:
    """Reads the header only."""
    try:
        with Image.open(path) as image:
            return image.size == size
    except OSError:
        return False


def claim_output(output: Path, phase: str, table: list[str]) -> None:
    """Record which frame each number is, or compare with the record: numbers must not change their
    meaning.

    Raises:
        InputError: the folder holds pairs of other frames, or pairs without a record.
    """
    record = output / f"{phase}_table.txt"
    if record.is_file():
        if record.read_text(encoding="utf-8").splitlines() != table:
            raise InputError(
                f"{record} numbers other frames than ROOT holds now (files added or removed, or "
                "another --first); choose another --output"
            )
    elif any((output / phase).glob("*.jpg")):
        raise InputError(
            f"{output / phase} holds images of unknown frames; choose another --output"
        )
    save_lines(table, record)


# --------------------------------------------------------------------------------------------------
# Command line


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "root",
        type=Path,
        help="folder with gtFine and leftImg8bit, e.g. database/cityscapes-origin",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("database/cityscapes"),
        metavar="DIR",
        help="(default: database/cityscapes)",
    )
    parser.add_argument(
        "--tables",
        type=Path,
        default=Path("datasets/metas/cityscapes"),
        metavar="DIR",
        help="where the recipes look for the tables (default: datasets/metas/cityscapes)",
    )
    parser.add_argument(
        "--size", type=int, default=256, metavar="PX", help="side of a half (default: 256)"
    )
    parser.add_argument(
        "--first", type=int, default=0, metavar="N", help="number of the first frame (default: 0)"
    )
    parser.add_argument("--num_threads", type=int, default=4, metavar="N", help="(default: 4)")
    opt = parser.parse_args(argv)
    if opt.size < 4 or opt.size % 4:
        raise InputError(f"--size {opt.size}: must be a multiple of 4")
    if not opt.root.is_dir():
        raise InputError(f"{opt.root}: no such folder")

    frames = {phase: find_frames(opt.root, phase) for phase in PHASES}
    tables = {phase: table_of(frames[phase], opt.root, opt.first) for phase in PHASES}
    for phase in PHASES:
        claim_output(opt.output, phase, tables[phase])
    for phase in PHASES:
        jobs = [
            (frame, opt.output / phase / f"{number}.jpg")
            for number, frame in enumerate(frames[phase], opt.first)
        ]
        written = run_all(lambda job: make_pair(*job, opt.size), jobs, opt.num_threads, phase)
        print(f"{opt.output / phase}: {len(jobs)} pairs, {sum(written)} written now")
        save_lines(tables[phase], opt.tables / f"{phase}_table.txt")
    print(
        f"{opt.tables}: train_table.txt, val_table.txt (--table_path), with --cityscapes_path "
        f"{opt.root}"
    )


if __name__ == "__main__":
    run(main)
