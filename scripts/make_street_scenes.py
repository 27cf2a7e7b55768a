#!/usr/bin/env python3
"""Write the built-in data set of label maps: invented street scenes in the folders of Cityscapes.

python scripts/make_street_scenes.py database/streets --train 400 --val 100 --height 256

A scene is a photo, a label map and a map of instances, twice as wide as high. Train on it with
--dataset_mode cityscapes. ROOT/train_table.txt and val_table.txt are tables for mIoU. Scenes that
are there are kept.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from errors import InputError
from options import run
from prepare.street_scenes import write_street_scenes
from runtime.progress import Bar


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder to fill")
    parser.add_argument("--train", type=int, default=400, metavar="N", help="scenes (default: 400)")
    parser.add_argument("--val", type=int, default=100, metavar="N", help="scenes (default: 100)")
    parser.add_argument(
        "--height",
        type=int,
        default=256,
        metavar="PX",
        help="of the images, 16 to 2048 pixels (default: 256)",
    )
    opt = parser.parse_args(argv)
    if not 16 <= opt.height <= 2048:
        raise InputError(f"--height {opt.height}: must be from 16 to 2048")
    for name in ("train", "val"):
        if not 0 <= getattr(opt, name) < 10**6:
            raise InputError(f"--{name} {getattr(opt, name)}: must be from 0 to 999999")
    with Bar(total=opt.train + opt.val, desc="drawing", unit="scene") as bar:
        write_street_scenes(opt.root, opt.train, opt.val, opt.height, lambda: bar.update(1))
    print(f"{opt.root}: {opt.train} scenes of train, {opt.val} of val, and their tables")


if __name__ == "__main__":
    run(main)
