#!/usr/bin/env python3
"""Draw the README's badges from what they speak of. A test compares them, so they stay true."""

import argparse
import json
import re
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from options import run
from runtime.files import write_text

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"
STUDY = FIGURES / "study_maps64_val.json"
GREY, TEAL, GREEN = "#555555", "#0f766e", "#2f6f3e"
# Height and padding of a badge in pixels, and the mean width of a letter of its font
HEIGHT, PADDING, LETTER = 20, 7, 6.6


def _found(pattern: str, file: str) -> str:
    text = (ROOT / file).read_text(encoding="utf-8")
    return re.search(pattern, text, re.MULTILINE).group(1)


def _best_small() -> tuple[float, float]:
    """Of the study's best small network on val: (times fewer MACs, FID to the mean teacher)."""
    models = json.loads(STUDY.read_text())["models"]
    teachers = [m for m in models if m["how"] == "teacher, published recipe"]
    small = min(
        (m for m in models if m["macs"] * 12 <= teachers[0]["macs"]),
        key=lambda m: m["metrics"]["fid"],
    )
    mean = sum(m["metrics"]["fid"] for m in teachers) / len(teachers)
    return teachers[0]["macs"] / small["macs"], small["metrics"]["fid"] / mean


def badges() -> dict[str, tuple[str, str, str]]:
    """Name -> (what, its value, colour)."""
    fewer, ratio = _best_small()
    return {
        "python": (
            "Python",
            f"{_found(r'^requires-python = .>=([0-9.]+)', 'pyproject.toml')}+",
            TEAL,
        ),
        "pytorch": ("PyTorch", f"{_found(r'^torch>=([0-9.]+)', 'requirements.txt')}+", TEAL),
        "licence": ("licence", _found(r'^license = "(.+)"', "pyproject.toml"), TEAL),
        "quality": (
            "map→satellite, 64 px",
            f"{fewer:.1f}× fewer MACs, {ratio:.2f}× the FID",
            GREEN,
        ),
    }


def svg(what: str, value: str, colour: str) -> str:
    """A badge of two fields. The widths of its texts are fixed, so every font fits."""
    widths = [round(len(text) * LETTER) for text in (what, value)]
    left, right = (width + 2 * PADDING for width in widths)
    texts = "".join(
        f'<text x="{x}" y="14" textLength="{width}">{escape(text)}</text>'
        for x, width, text in zip((PADDING, left + PADDING), widths, (what, value), strict=True)
    )
    whole = left + right
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(what)}: {escape(value)}">\n'
        f'<clipPath id="r"><rect width="{whole}" height="{HEIGHT}" rx="3"/></clipPath>\n'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{HEIGHT}" fill="{GREY}"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{colour}"/></g>\n'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f"{texts}</g>\n</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=FIGURES, metavar="DIR", help="where to (%(default)s)"
    )
    opt = parser.parse_args()
    for name, badge in badges().items():
        path = opt.output / f"badge_{name}.svg"
        write_text(path, svg(*badge))
        print(path)


if __name__ == "__main__":
    run(main)
