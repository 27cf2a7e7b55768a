#!/usr/bin/env python3
"""Split a phase in two for the search: the held-out names judge subnets, the rest trains them.

With --held_out FILE the rest is everything else; with --count N the held-out names are drawn at random and written as well.
"""

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.datasets import list_images
from errors import InputError
from options import run


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(f"{line}\n" for line in lines))
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataroot", type=Path)
    parser.add_argument("--phase", default="train", help="folder to split (default: train)")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--held_out", type=Path, metavar="FILE", help="names held out, one per line (e.g. a published split)"
    )
    how.add_argument("--count", type=int, metavar="N", help="hold out so many, drawn at random")
    parser.add_argument("--seed", type=int, default=233, help="of the draw (default: 233)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="train1.meta (rest) and train2.meta (held out) go here",
    )
    opt = parser.parse_args()

    folder = opt.dataroot / opt.phase
    names = [str(path.relative_to(folder)) for path in list_images(folder)] if folder.is_dir() else []
    if not names:
        raise InputError(f"{folder} holds no images")
    if opt.held_out:
        if not opt.held_out.is_file():
            raise InputError(f"--held_out {opt.held_out}: no such file")
        held_out = set(opt.held_out.read_text().split())
        missing = held_out - set(names)
        if missing:
            raise InputError(
                f"--held_out {opt.held_out} names {len(missing)} files that {folder} does not have, first {min(missing)}"
            )
    else:
        if not 2 <= opt.count < len(names):
            raise InputError(
                f"--count {opt.count}: must be from 2 to {len(names) - 1}, {folder} holds {len(names)} images"
            )
        held_out = set(random.Random(opt.seed).sample(names, opt.count))
    rest = [name for name in names if name not in held_out]
    write_lines(opt.output / "train1.meta", rest)
    write_lines(opt.output / "train2.meta", [name for name in names if name in held_out])
    print(f"{opt.output}: {len(rest)} names in train1.meta, {len(held_out)} held out in train2.meta")


if __name__ == "__main__":
    run(main)
