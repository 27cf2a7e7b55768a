"""Draw FID over MACs of the networks of a file of figures, by how they were trained.

The file is one like docs/figures/study_maps64_val.json: its ``models`` have ``how``, ``macs`` and
``metrics``, and ``measure`` says what was measured.
"""

import argparse
from pathlib import Path

import common  # noqa: F401 - puts the repository on the path

from errors import InputError
from report.plots import new_figure, save_figure
from report.study import plain_numbers, short_macs
from runtime.entry import run
from runtime.files import read_json

# How a network was trained -> its colour and mark.
STYLES = {
    "teacher, published recipe": ("#1f77b4", "*"),
    "teacher, tuned": ("#17375e", "*"),
    "alone, published recipe": ("#999999", "s"),
    "pruned, then real images": ("#c7a36b", "v"),
    "online": ("#ff7f0e", "^"),
    "online, then real images": ("#d62728", "o"),
}


def draw(figures: dict, path: Path) -> None:
    """Write the plot as a PNG.

    Raises:
        InputError: there is nothing to draw, or a network was trained in a way without a style.
    """
    models = [model for model in figures.get("models", []) if "how" in model]
    unknown = {model["how"] for model in models} - STYLES.keys()
    if unknown or not models:
        raise InputError(
            f"no style for {', '.join(sorted(unknown))}" if unknown else "no models that say `how`"
        )
    figure, axes = new_figure(7.5, 4.8)
    for how, (colour, mark) in STYLES.items():
        points = [(m["macs"], m["metrics"]["fid"]) for m in models if m["how"] == how]
        if points:
            size = 150 if mark == "*" else 55
            style = {"color": colour, "marker": mark, "s": size, "edgecolors": "white", "zorder": 3}
            axes.scatter(*zip(*points, strict=True), label=how, **style)
    published = [m["metrics"]["fid"] for m in models if m["how"] == next(iter(STYLES))]
    if published:
        mean = sum(published) / len(published)
        axes.axhline(mean, color=STYLES[next(iter(STYLES))][0], linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted({m["macs"] for m in models}), minor=False)
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: short_macs(round(value / 1e5) * 1e5))
    axes.set_yticks([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    plain_numbers(axes.yaxis)
    axes.set_xlabel("MACs, published convention")
    axes.set_ylabel(figures["measure"].replace("FID and KID", "FID").split(";")[0])
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, help="the .json file")
    parser.add_argument("output", type=Path, help="the .png file to write")
    opt = parser.parse_args()
    draw(read_json(opt.figures), opt.output)


if __name__ == "__main__":
    run(main)
