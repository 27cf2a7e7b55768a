"""The page of a training run: plots of losses and measures, and pictures of its evaluations."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes

from report.pages import write_report
from report.plots import draw_line, new_figure, save_figure
from report.related import origins, read_flags
from runtime.files import read_json_lines

SHOWN = 3  # the page shows the pictures of the latest evaluations, up to this many


def write_run_page(folder: Path) -> None:
    """Write ``index.html``, ``losses.png`` and ``measures.png`` of a run, from its log.jsonl.

    Plots and pictures are left out as long as there is nothing to show.

    Args:
        folder: of the run

    Raises:
        InputError: a file cannot be written.
    """
    # A damaged line must not end the training that draws this page.
    records = read_json_lines(folder / "log.jsonl", strict=False)
    train = [r for r in records if r["event"] == "train"]
    evaluations = [r for r in records if r["event"] == "eval"]
    plots = {}
    if train:
        _plot_losses(folder / "losses.png", train)
        plots["Losses"] = folder / "losses.png"
    scored = [r for r in evaluations if "score" in r]
    if scored:
        _plot_measures(folder / "measures.png", scored)
        plots[scored[-1]["measure"]] = folder / "measures.png"
    pictures = sorted((folder / "eval").glob("*.png"), reverse=True)[:SHOWN]
    subtitle = "no evaluation yet"
    if records:
        last = evaluations[-1] if evaluations else records[-1]
        subtitle = f"epoch {last['epoch']}, step {last['step']}"
    write_report(
        folder / "index.html",
        f"Run {folder.resolve().name}",
        subtitle,
        plots,
        {p.stem: p for p in pictures},
        links=origins(folder),
        flags=read_flags(folder),
    )


def _plot_losses(path: Path, records: list[dict]) -> None:
    figure, axes = new_figure()
    names = [name for name in records[-1]["losses"] if not name[-1].isdigit()]
    for name in names:
        points = [(r["step"], r["losses"][name]) for r in records if name in r["losses"]]
        draw_line(axes, *zip(*points, strict=True), label=name, linewidth=1.2)
    axes.set_xlabel("step")
    # Reconstruction losses are a hundred times larger than the others, and hinge losses may be
    # negative.
    axes.set_yscale("symlog", linthresh=1.0)
    axes.legend(frameon=False, ncols=3, fontsize=8)
    save_figure(figure, path)


def _plot_measures(path: Path, evaluations: list[dict]) -> None:
    """Plot the scores of all evaluations; a single one is shown as a bar for each network."""
    figure, axes = new_figure()
    metrics = evaluations[-1]["metrics"]
    key = next(k for k in ("mIoU", "fid") if all(k in m for m in metrics.values()))
    if len(evaluations) == 1:
        _draw_bars(axes, {label: m[key] for label, m in metrics.items()}, evaluations[0])
    else:
        _draw_scores(axes, evaluations, key)
    save_figure(figure, path)


def _draw_bars(axes: Axes, scores: dict[str, float], evaluation: dict) -> None:
    """Draw a horizontal bar for each network, with its score beside it."""
    bars = axes.barh(list(scores), list(scores.values()), height=0.5, color="#1f77b4")
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.set_ylim(len(scores) - 0.25, -0.75)  # the first at the top, room around one bar
    axes.margins(x=0.15)
    axes.grid(False, axis="y")
    axes.set_xlabel(evaluation["measure"])
    axes.set_title(f"the only evaluation, at step {evaluation['step']}", fontsize=10)


def _draw_scores(axes: Axes, evaluations: list[dict], key: str) -> None:
    """Draw the scores, the best so far, the mean of the last three, and those of each network."""
    steps = [r["step"] for r in evaluations]
    scores = [r["score"] for r in evaluations]
    choose = max if key == "mIoU" else min
    best = [choose(scores[: i + 1]) for i in range(len(scores))]
    recent = [scores[max(0, i - 2) : i + 1] for i in range(len(scores))]
    labels = evaluations[-1]["metrics"]
    if len(labels) > 1:
        for label in labels:
            own = [(r["step"], r["metrics"][label][key]) for r in evaluations]
            draw_line(axes, *zip(*own, strict=True), linewidth=1, alpha=0.6, label=label)
    axes.plot(steps, scores, marker="o", markersize=4, color="#1f77b4", label="latest")
    axes.plot(steps, best, linestyle="--", color="#d62728", label="best so far")
    mean = [sum(part) / len(part) for part in recent]
    axes.plot(steps, mean, linewidth=1, color="#888888", label="mean of 3")
    axes.set_xlabel("step")
    axes.set_ylabel(evaluations[-1]["measure"])
    axes.legend(frameon=False, fontsize=8)
