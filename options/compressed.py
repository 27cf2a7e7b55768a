"""The command ``python -m report.compressed``."""

from pathlib import Path

from options import CompressedOptions
from report.compressed import summary, write_compressed


def main(argv: list[str] | None = None) -> None:
    folder = Path(CompressedOptions.parse(argv).output_dir)
    write_compressed(folder)
    print(summary(folder))
