"""Numbers as people read them, and tables for the terminal, Markdown and spreadsheets."""

from __future__ import annotations

import csv
import io


def printable(text: str) -> str:
    """``text`` with the bytes of a file name that are not UTF-8 written as ``\\udc..``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def giga(value: float) -> str:
    """A count in units of 1e9."""
    return f"{value / 1e9:.3f}G"


def mega(value: float) -> str:
    """A count in units of 1e6."""
    return f"{value / 1e6:.3f}M"


def measured(key: str, value: float) -> str:
    """A measure to the digits that mean something: SSIM is at most 1, KID a hundredth of FID."""
    return f"{value:.{ {'kid': 5, 'ssim': 4}.get(key, 2) }f}"


def ratio(before: float, after: float) -> str:
    """How many times smaller ``after`` is, or a dash where it is zero."""
    return f"{before / after:.1f}x" if after else "-"


def text_table(headings: list[str], rows: list[list[str]]) -> str:
    """Columns aligned with spaces, the first to the left and the others to the right."""
    table = [headings, *rows]
    widths = [max(len(str(row[i])) for row in table) for i in range(len(headings))]

    def line(row):
        cells = [
            str(v).ljust(w) if i == 0 else str(v).rjust(w)
            for i, (v, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return printable(
        "\n".join([line(headings), "  ".join("-" * w for w in widths), *map(line, rows)])
    )


def markdown_table(headings: list[str], rows: list[list[str]]) -> str:
    """A table of GitHub's Markdown, numbers to the right."""

    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "| " + " | ".join(["---", *["---:"] * (len(headings) - 1)]) + " |"
    return printable("\n".join([line(headings), rule, *map(line, rows)]))


def _csv_cell(value: object) -> object:
    """A value that spreadsheets take as it is: a quote before text that they would calculate."""
    if not isinstance(value, str):
        return value
    return printable(f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value)


def csv_table(headings: list[str], rows: list[list[object]]) -> str:
    """Comma-separated values, a row on each line; None becomes an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([_csv_cell(value) for value in row] for row in [headings, *rows])
    return file.getvalue()
