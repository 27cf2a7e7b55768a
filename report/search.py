"""The report of a search: a summary, plots, and a page with a table of its subnets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from data.images import save_png
from models.config import ChannelConfig
from report.pages import write_report
from report.plots import plot_search
from subnets.results import Evaluated, write_summary
from subnets.search import Measurer, pareto_front
from subnets.space import Milliseconds

# Maximum number of front members whose images are shown.
SHOWN = 4
# Maximum number of rows of the table.
LISTED = 2000


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
    note = f"{measurer.label}; {len(ranked)} subnet{'s' * (len(ranked) > 1)} evaluated" + (
        f", the best {LISTED} listed" if len(ranked) > LISTED else ""
    )
    note += f"; {found}" if found else ""
    plots = {"Every evaluated subnet, and the best of every budget": folder / "front.png"}
    write_report(folder / "index.html", "Search", note, plots, samples, (headings, rows))
