#!/usr/bin/env python3
"""Draw what the networks of zoo/ make of the first pictures that they were measured on."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image, ImageDraw, ImageFont

import gan_compression as gc
from models.zoo import ROOT, ZooTask, zoo_tasks
from options import run
from prepare.builtin import KINDS
from prepare.builtin.dataset import picture_seed
from runtime.files import written_whole

FIGURES = ROOT.parent / "docs" / "figures"
# The dataset of scripts/zoo.sh that measures: its seed.
UNSEEN = 1
# Pixels between images, and height of the headings
GAP, HEADING = 4, 20


def draw(task: ZooTask, rows: int) -> Image.Image:
    """Rows of input, teacher, small networks and real image, two rows side by side."""
    *small, teacher = task.networks
    generators = {each.name: gc.load_generator(each.path) for each in (teacher, *small)}
    strips = []
    for index in range(2 * rows):
        a, b = (
            Image.fromarray(half)
            for half in KINDS[task.kind](picture_seed(UNSEEN, "val", index), task.size)
        )
        given, real = (a, b) if task.direction == "AtoB" else (b, a)
        made = [gc.translate(generator, given) for generator in generators.values()]
        strips.append([given, *made, real])
    names = ["input", *generators, "real"] * 2
    step = task.size + GAP
    # A wider gap in the middle
    lefts = [i * step + (2 * GAP if i >= len(names) // 2 else 0) for i in range(len(names))]
    sheet = Image.new("RGB", (lefts[-1] + task.size, HEADING + rows * step - GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for left, name in zip(lefts, names, strict=True):
        middle = (left + task.size / 2, HEADING / 2)
        pen.text(middle, name, "black", ImageFont.load_default(13), anchor="mm")
    for row in range(rows):
        images = strips[2 * row] + strips[2 * row + 1]
        for left, image in zip(lefts, images, strict=True):
            sheet.paste(image, (left, HEADING + row * step))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4, help="with two pictures each (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=FIGURES, metavar="DIR", help="where to (%(default)s)"
    )
    opt = parser.parse_args()
    for task in zoo_tasks():
        path = opt.output / f"zoo_{task.name}.jpg"
        with written_whole(path) as temporary:
            draw(task, opt.rows).save(temporary, format="JPEG", quality=88, optimize=True)
        print(path)


if __name__ == "__main__":
    run(main)
