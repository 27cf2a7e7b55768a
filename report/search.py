"""The report of a search: a summary, plots, and a page with a table of its subnets."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from data.images import save_png
from models.config import ChannelConfig
from models.cost import config_cost
from report.header import Cost, Figure, Header
from report.pages import Pictures, write_report
from report.pareto import SearchPlot, add_search_plot, fronts_of
from report.plots import plot_search
from report.related import read_flags, run_pages
from subnets.results import Evaluated, write_summary
from subnets.search import Measurer, pareto_front
from subnets.space import Milliseconds

# Maximum number of front members whose images are shown.
SHOWN = 16
# Maximum number of rows of the table, and of points of the plot.
LISTED = 2000
# What test.py must be told as the search was, to make images as the search did.
_SAME = ["dataroot", "dataset_mode", "direction", "phase", "meta_path", "metaA_path", "metaB_path"]
_SAME += ["preprocess", "load_size", "crop_size", "aspect_ratio", "restore_G_path"]


def summarise_search(
    folder: Path, measurer: Measurer, budget: float, measured: Mapping[str, object] | None = None
) -> list[Evaluated]:
    """Write ``summary.json``, ``summary.txt``, ``search.png`` and ``front.png`` into ``folder``.

    Args:
        measurer: the evaluations of the search
        budget:   MACs, in the convention of the search space, or `subnets.space.Milliseconds`
        measured: the real time of the best, as entries of the summary

    Returns:
        the evaluations within the budget whose criterion is a finite number, best first. If there
        are none, nothing is written

    Raises:
        InputError: a file cannot be written.
    """
    ranked = measurer.ranked(budget)
    if not ranked:
        return []
    key, space = measurer.criterion, measurer.space
    front = pareto_front(ranked, key, measurer.lower_is_better, budget)
    by_time = isinstance(budget, Milliseconds)
    facts = {
        "evaluated": len(ranked),
        "budget": str(budget) if by_time else budget,
        "macs_convention": space.convention,
        "config_set": space.name,
    }
    if space.times:
        facts["times"] = space.times.conditions
    facts |= measured or {}
    without = sum(r.price(budget) <= budget for r in measurer.results) - len(ranked)
    if without:
        facts[f"without a finite {key}"] = without
    write_summary(folder, ranked, front, facts, key, measurer.label)
    points = [(r.price(budget), r.value(key), r.generation) for r in ranked]
    line = [(r.price(budget), r.value(key)) for r in front]
    how = (key, measurer.label, budget)
    plot_search(folder / "search.png", points, points[0][:2], *how, by_time=by_time)
    plot_search(folder / "front.png", points, None, *how, line, by_time)
    return ranked


def write_search_page(
    folder: Path,
    measurer: Measurer,
    ranked: list[Evaluated],
    picture: Callable[[ChannelConfig], np.ndarray],
    budget: float = float("inf"),
    found: str = "",
) -> None:
    """Write ``index.html`` into ``folder``, which has front.png already, and ``samples/*.png``.

    Args:
        ranked:  what `summarise_search` returned, not empty
        picture: configuration -> (H, W, 3) uint8 RGB, a picture of some of its outputs
        budget:  as in `summarise_search`
        found:   what else is to be said of the best

    Raises:
        InputError: a file cannot be written.
    """
    key = measurer.criterion
    front = pareto_front(ranked, key, measurer.lower_is_better, budget)
    timed = all(r.ms is not None for r in ranked)
    on_front = {r.config_str for r in front}
    others = [k for k in ranked[0].metrics if k != key and ranked[0].value(k) is not None]
    headings = [
        "config",
        key,
        *others,
        "GMACs",
        *(["predicted ms"] if timed else []),
        "M params",
        "n",
        "generation",
        "origin",
        "on the front",
    ]
    rows = [
        [
            r.config_str,
            f"{r.value(key):.3f}",
            *("-" if r.value(k) is None else f"{r.value(k):.4f}" for k in others),
            f"{r.macs / 1e9:.3f}",
            *([f"{r.ms:.2f}"] if timed else []),
            f"{r.params / 1e6:.3f}",
            str(r.n),
            str(r.generation),
            r.origin,
            "yes" if r.config_str in on_front else "",
        ]
        for r in ranked[:LISTED]
    ]
    # The best subnet, and members of the front at evenly spaced ranks.
    spread = [front[round(i)] for i in np.linspace(0, len(front) - 1, min(SHOWN, len(front)))]
    samples = {}
    for record in dict.fromkeys(r.config_str for r in [ranked[0], *spread]):
        path = folder / "samples" / f"{record}.png"
        save_png(path, picture(measurer.space.parse(record)))
        samples[record] = path
    flags = read_flags(folder)
    plot = SearchPlot(
        ranked[:LISTED],
        fronts_of(ranked[:LISTED], key, measurer.lower_is_better, budget),
        key,
        measurer.label,
        measurer.lower_is_better,
        measurer.space.convention,
        budget,
        samples,
        _command(flags),
    )
    write_report(
        folder / "index.html",
        _header(folder, measurer, ranked, flags, found),
        {},
        Pictures(samples, "Images of the best", compare=ranked[0].config_str),
        (headings, rows),
        flags,
        lambda page_folder: add_search_plot(plot, page_folder),
    )


def _command(flags: Mapping[str, object]) -> str:
    """How to make images of a subnet, ``{config}``; "" without the flags of the search."""
    if not flags.get("restore_G_path"):
        return ""
    told = {name: flags[name] for name in _SAME if flags.get(name) is not None}
    words = [shlex.join((f"--{name}", str(value))) for name, value in told.items()]
    words += ["--config_str {config}", "--results_dir test_{config}"]
    return " \\\n  ".join(["python test.py", *words])


def _header(
    folder: Path,
    measurer: Measurer,
    ranked: list[Evaluated],
    flags: Mapping[str, object],
    found: str,
) -> Header:
    """The best subnet beside the widest one of the space."""
    best, space = ranked[0], measurer.space
    widest = space.times.of(space.largest) if space.times else None
    costs = []
    for label, config, ms in (
        ("widest subnet", space.largest, widest),
        ("best", space.parse(best.config_str), best.ms),
    ):
        counted, params = space.cost(config)
        exact, _ = config_cost(config, space.arch, "exact", space.height, space.width)
        costs.append(Cost(label, params, counted, exact, ms))
    note = f"{measurer.label}; {len(ranked)} subnet{'s' * (len(ranked) > 1)} evaluated" + (
        f", the best {LISTED} listed" if len(ranked) > LISTED else ""
    )
    note += f"; {found}" if found else ""
    note += f"; MACs at {space.width}x{space.height}"
    figures = [
        Figure(measurer.label, f"{best.value(measurer.criterion):.3f}", f"best, n={best.n}"),
        Figure("subnets", f"{len(ranked):,}", f"of {space.size:,}"),
    ]
    networks = {"best": best.config_str, "widths": space.name}
    if flags.get("netG"):
        networks = {"supernet": str(flags["netG"])} | networks
    plots = {name: folder / name for name in ("search.png", "front.png")}
    return Header(
        "Search",
        f"Search {folder.resolve().name}" if folder.resolve().name != "search" else "Search",
        note,
        networks,
        figures,
        costs,
        space.convention,
        links=run_pages({"supernet": flags.get("restore_G_path")}) | plots,
        script=str(flags.get("script", "")),
    )
