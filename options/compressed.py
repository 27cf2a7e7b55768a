"""The command ``python -m report.compressed``."""

from pathlib import Path

from options import CompressedOptions
from report.compressed import CARD, PAGE, RESULTS, write_compressed
from subnets.target import Target


def main(argv: list[str] | None = None) -> None:
    opt = CompressedOptions.parse(argv)
    folder = Path(opt.output_dir)
    write_compressed(folder, Target.parse(opt.target), opt.preset)
    print(f"{folder}: {PAGE}, {CARD} and {RESULTS}")
