"""Numbers as people read them, and tables for the terminal and Markdown."""

from __future__ import annotations

import csv
import io


def giga(value: float) -> str:
    return f"{value / 1e9:.3f}G"


def mega(value: float) -> str:
    return f"{value / 1e6:.3f}M"


def measured(key: str, value: float) -> str:
    """A measure to the digits that mean something: SSIM is at most 1, KID a hundredth of FID."""
    return f"{value:.{ {'kid': 5, 'ssim': 4}.get(key, 2) }f}"


def ratio(before: float, after: float) -> str:
    return f"{before / after:.1f}x" if after else "-"


def text_table(headings: list[str], rows: list[list[str]]) -> str:
    """Columns aligned with spaces; the first to the left, the others to the right."""
    table = [headings, *rows]
    widths = [max(len(str(row[i])) for row in table) for i in range(len(headings))]

    def line(row):
        cells = [
            str(v).ljust(w) if i == 0 else str(v).rjust(w)
            for i, (v, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(headings), "  ".join("-" * w for w in widths), *map(line, rows)])


def markdown_table(headings: list[str], rows: list[list[str]]) -> str:
    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "| " + " | ".join(["---", *["---:"] * (len(headings) - 1)]) + " |"
    return "\n".join([line(headings), rule, *map(line, rows)])


def csv_table(headings: list[str], rows: list[list[object]]) -> str:
    """Comma-separated, one line each; None is left empty."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([headings, *rows])
    return file.getvalue()
