#!/usr/bin/env python3
"""Write the page of a study from what scripts/study.sh has left so far: table, plots, images."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from options import run
from report.study import write_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="--output of scripts/study.sh")
    parser.add_argument("--title", default="Quality study")
    opt = parser.parse_args()
    write_study(opt.folder, opt.title)


if __name__ == "__main__":
    run(main)
