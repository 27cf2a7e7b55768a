#!/usr/bin/env python3
"""Compare teacher and compressed generator: a table and a page from the folders of their tests."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from options import run
from report.summary import summarise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--teacher",
        type=Path,
        required=True,
        metavar="DIR",
        help="--results_dir of the teacher's test",
    )
    parser.add_argument(
        "--compressed",
        type=Path,
        required=True,
        metavar="DIR",
        help="--results_dir of the compressed model's test",
    )
    parser.add_argument(
        "--search", type=Path, metavar="DIR", help="--output_dir of the search, for its plot"
    )
    parser.add_argument(
        "--finetune",
        type=Path,
        metavar="DIR",
        help="--log_dir of the fine-tuning, for rows of the quality before and after it",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="HTML", help="page to write")
    parser.add_argument("--title", default="Teacher and compressed generator")
    opt = parser.parse_args()
    summarise(opt.teacher, opt.compressed, opt.search, opt.output, opt.title, opt.finetune)


if __name__ == "__main__":
    run(main)
