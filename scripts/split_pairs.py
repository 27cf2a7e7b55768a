#!/usr/bin/env python3
"""Cut A|B pairs in two: PAIRS/train/x.jpg becomes OUTPUT/trainA/x.png and OUTPUT/trainB/x.png.

Pairs that lie in PAIRS itself go to OUTPUT/A and OUTPUT/B. Halves that are there already and newer
than their pair are kept. Other pairs or another format need another OUTPUT.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.datasets import list_images
from errors import InputError
from options import run
from prepare.pairs import claim_folder, is_done, read_picture, run_all, save_image, split_pair


def halves_of(pair: Path, root: Path, output: Path, ending: str) -> tuple[Path, Path]:
    """Where the halves of a pair go: A or B is appended to the first folder below ``root``, the
    phase.
    """
    phase, *rest = pair.relative_to(root).with_suffix(f".{ending}").parts
    if not rest:
        phase, rest = "", [phase]
    return tuple(output.joinpath(f"{phase}{side}", *rest) for side in "AB")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", type=Path, help="folder of the pairs")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the halves"
    )
    parser.add_argument(
        "--format",
        default="png",
        choices=("png", "jpg"),
        help="png: lossless (default) | jpg: quality 100",
    )
    parser.add_argument("--num_threads", type=int, default=4, metavar="N", help="(default: 4)")
    opt = parser.parse_args(argv)
    if not opt.pairs.is_dir():
        raise InputError(f"{opt.pairs}: no such folder")
    if opt.output.resolve().is_relative_to(opt.pairs.resolve()):
        raise InputError(
            f"--output {opt.output} lies in {opt.pairs}, whose images are read; choose another "
            "folder"
        )
    jobs = [
        (pair, *halves_of(pair, opt.pairs, opt.output, opt.format))
        for pair in list_images(opt.pairs)
    ]
    if not jobs:
        raise InputError(f"{opt.pairs} holds no images")
    first: dict[Path, Path] = {}
    for pair, target, _ in jobs:
        if first.setdefault(target, pair) is not pair:
            raise InputError(f"{first[target]} and {pair} would both become {target}; rename one")

    def split(job: tuple[Path, Path, Path]) -> bool:
        pair, *targets = job
        if all(is_done(target, (pair,)) for target in targets):
            return False
        try:
            halves = split_pair(read_picture(pair))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{pair}: {error}; remove it") from None
        for half, target in zip(halves, targets, strict=True):
            save_image(half, target)
        return True

    made_with = {
        "command": "split_pairs.py",
        "PAIRS": os.path.realpath(opt.pairs),
        "--format": opt.format,
    }
    claim_folder(opt.output, made_with, [half for _, *halves in jobs for half in halves])
    written = run_all(split, jobs, opt.num_threads, "splitting")
    print(f"{opt.output}: {len(written)} pairs cut in two, {sum(written)} now")


if __name__ == "__main__":
    run(main)
