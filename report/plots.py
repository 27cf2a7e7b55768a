"""Plots as PNG files, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from runtime.files import written_whole

FEW = 12  # lines of up to this many points get markers


def new_figure(width: float = 7.0, height: float = 4.5) -> tuple[Figure, Axes]:
    """(figure, axes) in the style of all plots; width and height in inches of 120 pixels."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, whole or not at all. InputError if it cannot be written."""
    with written_whole(path, flush=False) as temporary:
        figure.savefig(temporary, format="png")


def draw_line(axes: Axes, x: Sequence[float], y: Sequence[float], **style: object) -> None:
    """Draw a line, with a marker at each point if there are few (a single point has no line).

    Args:
        style: keyword arguments of `Axes.plot`
    """
    axes.plot(x, y, marker="o" if len(x) <= FEW else None, markersize=4, **style)


def plot_search(
    path: Path,
    points: list[tuple[float, float, int]],
    chosen: tuple[float, float] | None,
    criterion: str,
    label: str,
    budget: float | None = None,
    front: list[tuple[float, float]] | None = None,
    by_time: bool = False,
) -> None:
    """Plot the criterion of every evaluated subnet over its MACs, or over its time.

    Args:
        path:      the PNG file to write
        points:    (MACs, criterion, generation) of each subnet, at least one
        chosen:    (MACs, criterion) of the winner, marked with a star; None = no mark
        criterion: its key; not shown
        label:     its name on the axis
        budget:    MACs, drawn as a vertical line if below 1.5 times the largest MACs; None = no
                   line
        front:     (MACs, criterion) of the best subnet of every budget, joined by a line
        by_time:   milliseconds stand where MACs are said above

    Raises:
        InputError: the file cannot be written.
    """
    figure, axes = new_figure()
    macs, values, generations = zip(*points, strict=True)
    unit = 1 if by_time else 1e9
    scatter = axes.scatter(
        [m / unit for m in macs], values, c=generations, cmap="viridis", s=18, linewidths=0
    )
    if max(generations) > min(generations):
        figure.colorbar(
            scatter, ax=axes, label="generation", pad=0.01, ticks=MaxNLocator(integer=True)
        )
    if chosen:
        axes.scatter(
            [chosen[0] / unit],
            [chosen[1]],
            marker="*",
            s=220,
            color="#d62728",
            edgecolors="white",
            label="chosen",
            zorder=3,
        )
    if front:
        axes.step(
            [m / unit for m, _ in front],
            [v for _, v in front],
            where="post",
            color="#d62728",
            linewidth=1.5,
            marker="o",
            markersize=4,
            label="best of every budget",
        )
    if budget is not None and budget < 1.5 * max(macs):
        axes.axvline(
            budget / unit,
            color="#888888",
            linestyle="--",
            linewidth=1,
            label=f"budget {budget:.3g} ms" if by_time else f"budget {budget / 1e9:.3g}G",
        )
    axes.set_xlabel("predicted ms" if by_time else "GMACs")
    axes.set_ylabel(label)
    axes.set_title(f"{len(points)} subnet{'s' * (len(points) != 1)} evaluated", fontsize=10)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    save_figure(figure, path)
