"""Numbers in readable form, and tables for the terminal, Markdown and spreadsheets."""

from __future__ import annotations

import csv
import io


def printable(text: str) -> str:
    """``text`` with bytes that are not UTF-8, as in some file names, written as ``\\udc..``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def giga(value: float) -> str:
    """A count in units of 1e9, with three decimals and a G."""
    return f"{value / 1e9:.3f}G"


def mega(value: float) -> str:
    """A count in units of 1e6, with three decimals and an M."""
    return f"{value / 1e6:.3f}M"


def macs(value: float) -> str:
    """MACs in G; below 1e9 in M, since small images leave few digits of a billion."""
    return giga(value) if value >= 1e9 else f"{value / 1e6:.1f}M"


def milliseconds(value: float) -> str:
    """A time with one decimal, or three digits where it is short."""
    return f"{value:.1f} ms" if value >= 1 else f"{value:.3g} ms"


def measured(key: str, value: float) -> str:
    """A measure with its meaningful digits: 5 decimals for KID, 4 for SSIM, 2 for all others.

    Args:
        key: of the metric, see `metrics.criteria.LOWER_IS_BETTER`
    """
    return f"{value:.{ {'kid': 5, 'ssim': 4}.get(key, 2) }f}"


def ratio(before: float, after: float) -> str:
    """How many times smaller ``after`` is than ``before``, as text; a dash if it is zero."""
    return f"{before / after:.1f}x" if after else "-"


def text_table(headings: list[str], rows: list[list[str]]) -> str:
    """A table for the terminal: the first column is aligned left, the others right."""
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
    """A table in GitHub's Markdown: the first column is aligned left, the others right."""

    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = "| " + " | ".join(["---", *["---:"] * (len(headings) - 1)]) + " |"
    return printable("\n".join([line(headings), rule, *map(line, rows)]))


def _csv_cell(value: object) -> object:
    """A value that is safe in spreadsheets: text that they would read as a formula gets a quote."""
    if not isinstance(value, str):
        return value
    return printable(f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value)


def csv_table(headings: list[str], rows: list[list[object]]) -> str:
    """Comma-separated values, one row per line; None becomes an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([_csv_cell(value) for value in row] for row in [headings, *rows])
    return file.getvalue()
