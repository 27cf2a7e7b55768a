#!/usr/bin/env python3
"""Put the images of two folders side by side: A/x.png and B/x.jpg become OUTPUT/x.png, A left and B
right.

Images are matched by their path below the folder without its ending, so A/train and A/val end up in
OUTPUT/train and OUTPUT/val. Pairs that are there already and newer than both images are kept: run
it again to continue or to add images. Other folders or another format need another OUTPUT.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.datasets import list_images
from errors import InputError
from options import run
from prepare.pairs import claim_folder, is_done, join_pair, read_picture, run_all, save_image

# --------------------------------------------------------------------------------------------------
# Matching


def by_name(folder: Path, flag: str) -> dict[str, Path]:
    """Name (path below the folder without its ending) -> file; never empty.

    Raises:
        InputError: no images, or two files of one name.
    """
    if not folder.is_dir():
        raise InputError(f"{flag} {folder}: no such folder")
    files = list_images(folder)
    if not files:
        raise InputError(f"{flag} {folder} holds no images")
    names = [str(file.relative_to(folder).with_suffix("")) for file in files]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"{flag} {folder} holds {count} images called {name}, with different endings; keep one"
        )
    return dict(zip(names, files, strict=True))


def match(folder_a: Path, folder_b: Path, skip_unmatched: bool) -> list[tuple[str, Path, Path]]:
    """(name, file of A, file of B), sorted by name.

    Raises:
        InputError: images without a partner (unless they are to be skipped), or not one pair.
    """
    a, b = by_name(folder_a, "A"), by_name(folder_b, "B")
    alone = [(folder_a, name) for name in a if name not in b] + [
        (folder_b, name) for name in b if name not in a
    ]
    names = sorted(a.keys() & b.keys())
    if not names:
        raise InputError(
            f"{folder_a} and {folder_b} share no name, e.g. {min(a)} and {min(b)}; rename the "
            "images of one of them"
        )
    if alone and not skip_unmatched:
        folder, name = alone[0]
        raise InputError(
            f"{len(alone)} images have no partner of the same name, first {name} of {folder}; add "
            "them or give --skip_unmatched"
        )
    if alone:
        print(f"{len(alone)} images without a partner are left out")
    return [(name, a[name], b[name]) for name in names]


# --------------------------------------------------------------------------------------------------
# Command line


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("A", type=Path, help="folder of the left images")
    parser.add_argument(
        "B", type=Path, help="folder of the right images, of the same names and sizes"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the pairs"
    )
    parser.add_argument(
        "--format",
        default="png",
        choices=("png", "jpg"),
        help="png: lossless (default) | jpg: quality 100",
    )
    parser.add_argument(
        "--skip_unmatched", action="store_true", help="leave out images without a partner"
    )
    parser.add_argument("--num_threads", type=int, default=4, metavar="N", help="(default: 4)")
    opt = parser.parse_args(argv)
    for folder in (opt.A, opt.B):
        if opt.output.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"--output {opt.output} lies in {folder}, whose images are read; choose another "
                "folder"
            )

    jobs = match(opt.A, opt.B, opt.skip_unmatched)
    targets = {name: opt.output / f"{name}.{opt.format}" for name, *_ in jobs}

    def combine(job: tuple[str, Path, Path]) -> bool:
        name, file_a, file_b = job
        target = targets[name]
        if is_done(target, (file_a, file_b)):
            return False
        try:
            pair = join_pair(read_picture(file_a), read_picture(file_b))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{file_a} and {file_b}: {error}; make the sizes equal") from None
        save_image(pair, target)
        return True

    made_with = {
        "command": "combine_pairs.py",
        "A": os.path.realpath(opt.A),
        "B": os.path.realpath(opt.B),
        "--format": opt.format,
    }
    claim_folder(opt.output, made_with, targets.values())
    written = run_all(combine, jobs, opt.num_threads, "combining")
    print(f"{opt.output}: {len(written)} pairs, {sum(written)} written now")


if __name__ == "__main__":
    run(main)
