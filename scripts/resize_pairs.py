#!/usr/bin/env python3
"""Copy the pairs of one phase at a fixed size, A left and B right, as PNGs: OUTPUT/<name>.png.

Small pictures that are stored large are decoded and scaled at every start of a training; copies are
scaled once, as the trainings would do it. Copies that are there and newer than their images are
kept: run it again to continue. Other images or another size need another OUTPUT.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from data.datasets import AlignedDataset, Source
from data.transforms import Resize
from errors import InputError
from options import run
from prepare.pairs import as_picture, claim_folder, is_done, join_pair, run_all, save_image


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataroot", type=Path, help="folder of the data set")
    parser.add_argument("--phase", default="train", help="folder of it (default: train)")
    parser.add_argument("--meta_path", metavar="FILE", help="only the images of this list")
    parser.add_argument(
        "--size", type=int, required=True, metavar="PX", help="width and height of each side"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the copies"
    )
    parser.add_argument("--num_threads", type=int, default=4, metavar="N", help="(default: 4)")
    opt = parser.parse_args(argv)
    if opt.size < 4 or opt.size % 4:
        raise InputError(f"--size {opt.size}: give a multiple of 4")
    if opt.output.resolve().is_relative_to((opt.dataroot / opt.phase).resolve()):
        raise InputError(
            f"--output {opt.output} lies in {opt.dataroot / opt.phase}, whose images are read; "
            "choose another folder"
        )
    source = Source(str(opt.dataroot), opt.phase, opt.meta_path)
    resize = Resize("resize_and_crop", load_size=opt.size, crop_size=opt.size)
    pairs = AlignedDataset(source, "AtoB", resize)

    targets = [opt.output / f"{name}.png" for name in pairs.names]

    def picture(pixels: np.ndarray, path: Path) -> Image.Image:
        return as_picture(pixels.transpose(1, 2, 0), path)

    def copy(index: int) -> bool:
        sources = [files[index] for files in (pairs.files, pairs.files_b) if files]
        target = targets[index]
        if is_done(target, sources):
            return False
        sides = pairs.load(index)
        save_image(join_pair(*(picture(sides[side], sources[0]) for side in "AB")), target)
        return True

    made_with = {
        "command": "resize_pairs.py",
        "DATAROOT": os.path.realpath(opt.dataroot),
        "--phase": opt.phase,
        "--size": opt.size,
    }
    claim_folder(opt.output, made_with, targets)
    written = run_all(copy, list(range(len(pairs))), opt.num_threads, "resizing")
    print(
        f"{opt.output}: {len(written)} pairs of {opt.size}x{opt.size}, {sum(written)} written now"
    )


if __name__ == "__main__":
    run(main)
