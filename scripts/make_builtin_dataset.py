"""Write a built-in data set: aerial photos and street maps, or lines and photos of shoes and bags.

python scripts/make_builtin_dataset.py database/builtin --train 400 --val 100 --size 256
python scripts/make_builtin_dataset.py database/objects --kind object --train 400 --val 100
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from errors import InputError
from prepare.builtin import KINDS, write_builtin_dataset
from runtime.entry import run

# --------------------------------------------------------------------------------------------------
# Command line: flags in, files out; what the user got wrong is one line on stderr and exit code 2.
# --------------------------------------------------------------------------------------------------


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write a built-in data set of pairs, A on the left and B on the right.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("root", help="folder to fill: ROOT/train and ROOT/val")
    parser.add_argument(
        "--kind",
        choices=list(KINDS),
        default="map",
        help="map: aerial photo (A) and street map (B); object: lines (A) and photo (B) of shoes "
        "and bags",
    )
    parser.add_argument(
        "--train", type=int, default=400, metavar="N", help="training images, at least 1"
    )
    parser.add_argument(
        "--val", type=int, default=100, metavar="N", help="validation images, at least 1"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=256,
        metavar="PX",
        help="side of one half in pixels: 32 or more, a multiple of 4",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed gives other pictures"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = _parse(argv)
    try:
        write_builtin_dataset(
            args.root,
            train=args.train,
            val=args.val,
            size=args.size,
            seed=args.seed,
            kind=args.kind,
        )
    except OSError as error:
        raise InputError(f"cannot write to {args.root}: {error.strerror or error}") from None


if __name__ == "__main__":
    run(main)
