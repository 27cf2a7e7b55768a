"""Numbers as people read them, and tables for the terminal and Markdown."""

from __future__ import annotations


def giga(value: float) -> str:
    return f"{value / 1e9:.3f}G"


def mega(value: float) -> str:
    return f"{value / 1e6:.3f}M"


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
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
