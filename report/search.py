"""The page of a search: plots, a sortable table of every evaluated subnet, and what the best few make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.images import save_png
from models.config import ChannelConfig
from report.pages import write_report
from subnets.results import Evaluated
from subnets.search import Measurer, pareto_front

SHOWN = 4  # subnets whose images are shown
LISTED = 2000  # rows of the table


def write_search_page(
    folder: Path,
    measurer: Measurer,
    ranked: list[Evaluated],
    picture: Callable[[ChannelConfig], np.ndarray],
) -> None:
    """``index.html`` in ``folder``, beside search.png and front.png.

    Args:
        ranked:  all evaluations within the budget, best first
        picture: configuration -> uint8 H W 3 of some of its outputs
    """
    key = measurer.criterion
    front = pareto_front(ranked, key, measurer.lower_is_better)
    on_front = {r.config_str for r in front}
    others = [k for k in ranked[0].metrics if k != key and isinstance(ranked[0].metrics[k], float)]
    headings = [
        "config",
        key,
        *others,
        "GMACs",
        "M params",
        "n",
        "generation",
        "origin",
        "on the front",
    ]
    rows = [
        [
            r.config_str,
            f"{r.metrics[key]:.3f}",
            *(f"{r.metrics.get(k, float('nan')):.4f}" for k in others),
            f"{r.macs / 1e9:.3f}",
            f"{r.params / 1e6:.3f}",
            str(r.n),
            str(r.generation),
            r.origin,
            "yes" if r.config_str in on_front else "",
        ]
        for r in ranked[:LISTED]
    ]
    # The best one, and members of the front spread over its budgets.
    spread = [front[round(i)] for i in np.linspace(0, len(front) - 1, min(SHOWN, len(front)))]
    samples = {}
    for record in dict.fromkeys(r.config_str for r in [ranked[0], *spread]):
        path = folder / "samples" / f"{record}.png"
        save_png(path, picture(ChannelConfig.parse(record)))
        samples[record] = path
    note = f"{measurer.label}; {len(ranked)} subnets evaluated" + (
        f", the best {LISTED} listed" if len(ranked) > LISTED else ""
    )
    plots = {"Every evaluated subnet, and the best of every budget": folder / "front.png"}
    write_report(folder / "index.html", "Search", note, plots, samples, (headings, rows))
