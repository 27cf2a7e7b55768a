#!/usr/bin/env python3
"""Split a phase in two for the search: the held-out names judge subnets, the rest trains them.

With --held_out FILE the rest is everything else; with --count N the held-out names are drawn at
random and written as well. With --dataset_mode unaligned both sides are split, each by itself:
x.meta stands for the lists xA.meta and xB.meta, and N are held out of each. With cityscapes or coco
the photos of scenes are named; a list of numbers, as Cityscapes' published split is, means frames
in their order.
"""

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.datasets import (
    Source,
    has_plain_name,
    list_images,
    path_of_side,
    printable,
    read_names,
)
from data.labelled import LAYOUTS, LabelledDataset
from data.labels import Semantics
from data.transforms import Resize
from errors import InputError
from options import run
from prepare.pairs import save_lines


def images_of(folder: Path) -> list[str]:
    """Names of a folder's images, as lists give them; never empty."""
    names = (
        [str(path.relative_to(folder)) for path in list_images(folder)] if folder.is_dir() else []
    )
    if not names:
        raise InputError(f"{folder} holds no images")
    strange = [name for name in names if not has_plain_name(name)]
    if strange:
        raise InputError(
            f"{folder}: {len(strange)} file names are not one line of UTF-8, first "
            f"{printable(strange[0])}; rename them"
        )
    return names


def scenes_of(root: Path, mode: str, phase: str) -> tuple[Path, list[str]]:
    """The folder of the photos of a dataset with label maps, and their names as lists give them."""
    found = LabelledDataset(mode, Source(str(root), phase), Resize("none"), Semantics())
    inside = [path for path in found.files if path.is_relative_to(found.photos)]
    return found.photos, [str(path.relative_to(found.photos)) for path in inside]


def numbered(names: list[str], listed: set[str]) -> set[str]:
    """``12.jpg`` as the name of the scene of that number, where all of a list are such numbers."""
    numbers = [Path(name).stem for name in listed]
    if listed & set(names) or not all(n.isdecimal() and int(n) < len(names) for n in numbers):
        return listed
    return {names[int(n)] for n in numbers}


def published(names: list[str], path: Path, folder: Path, scenes: bool = False) -> set[str]:
    """The names in a list. The folder must hold all of them and more: both parts need images."""
    held_out = set(read_names(path, "--held_out"))
    if scenes:
        held_out = numbered(names, held_out)
    missing = held_out - set(names)
    if missing:
        raise InputError(
            f"--held_out {path} names {len(missing)} files that {folder} does not have, "
            f"first {printable(min(missing))}"
        )
    if len(held_out) == len(set(names)):
        raise InputError(
            f"--held_out {path} names all images of {folder}; none would be left to train on"
        )
    return held_out


def drawn(names: list[str], count: int, seed: int, folder: Path) -> set[str]:
    if not 2 <= count < len(names):
        raise InputError(
            f"--count {count}: must be from 2 to {len(names) - 1}, {folder} holds {len(names)} "
            "images"
        )
    return set(random.Random(seed).sample(names, count))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataroot", type=Path)
    parser.add_argument("--phase", default="train", help="folder to split (default: train)")
    parser.add_argument(
        "--dataset_mode",
        default="aligned",
        choices=("aligned", "unaligned", *LAYOUTS),
        help="aligned: pairs, in one folder or two of equal names (default) | "
        "unaligned: <phase>A and <phase>B, no pairs | cityscapes, coco: label maps and photos",
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--held_out",
        type=Path,
        metavar="FILE",
        help="names held out, one per line (e.g. a published split)",
    )
    how.add_argument("--count", type=int, metavar="N", help="hold out N, drawn at random")
    parser.add_argument("--seed", type=int, default=233, help="of the draw (default: 233)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="train1.meta (rest) and train2.meta (held out) go here",
    )
    opt = parser.parse_args(argv)

    def of_side(path: Path, side: str) -> Path:
        return Path(path_of_side(str(path), side)) if opt.dataset_mode == "unaligned" else path

    pairs, scenes = opt.dataroot / opt.phase, opt.dataset_mode in LAYOUTS
    if scenes:
        folder, photos = scenes_of(opt.dataroot, opt.dataset_mode, opt.phase)
        folders, names = {"": folder}, {"": photos}
    elif opt.dataset_mode == "unaligned":
        folders = {side: opt.dataroot / f"{opt.phase}{side}" for side in "AB"}
    else:  # two folders of equal names are listed by the names of A
        two = opt.dataroot / f"{opt.phase}A"
        folders = {"": two if two.is_dir() and not pairs.is_dir() else pairs}
    if not scenes:
        names = {side: images_of(folder) for side, folder in folders.items()}
    held_out = {
        side: published(names[side], of_side(opt.held_out, side), folder, scenes)
        if opt.held_out
        else drawn(names[side], opt.count, opt.seed, folder)
        for side, folder in folders.items()
    }
    for side in folders:
        parts = [
            [name for name in names[side] if (name in held_out[side]) == held]
            for held in (False, True)
        ]
        rest, held = (of_side(opt.output / f"train{number}.meta", side) for number in (1, 2))
        save_lines(parts[0], rest)
        save_lines(parts[1], held)
        print(
            f"{opt.output}: {len(parts[0])} names in {rest.name}, {len(parts[1])} held out in "
            f"{held.name}"
        )


if __name__ == "__main__":
    run(main)
