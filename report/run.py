"""The page of a training run: curves of losses and measures, and the pictures of its evaluations. Opens from disk."""

from __future__ import annotations

from pathlib import Path

from report.pages import write_report
from report.plots import new_figure, save_figure
from runtime.files import read_json_lines

SHOWN = 3  # evaluations whose pictures are on the page


def write_run_page(folder: Path) -> None:
    """``index.html``, ``losses.png`` and ``measures.png`` in a run's folder, from its log.jsonl."""
    # A damaged line must not end the training that draws this page.
    records = read_json_lines(folder / "log.jsonl", strict=False)
    train = [r for r in records if r["event"] == "train"]
    evaluations = [r for r in records if r["event"] == "eval"]
    plots = {}
    if train:
        _plot_losses(folder / "losses.png", train)
        plots["Losses"] = folder / "losses.png"
    if any("score" in r for r in evaluations):
        _plot_measures(folder / "measures.png", evaluations)
        plots[evaluations[-1]["measure"]] = folder / "measures.png"
    pictures = sorted((folder / "eval").glob("*.png"), reverse=True)[:SHOWN]
    last = evaluations[-1]
    note = f"epoch {last['epoch']}, step {last['step']}"
    write_report(
        folder / "index.html", f"Run {folder.name}", note, plots, {p.stem: p for p in pictures}
    )


def _plot_losses(path: Path, records: list[dict]) -> None:
    figure, axes = new_figure()
    names = [name for name in records[-1]["losses"] if not name[-1].isdigit()]
    for name in names:
        points = [(r["step"], r["losses"][name]) for r in records if name in r["losses"]]
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_yscale(
        "symlog", linthresh=1.0
    )  # reconstruction is a hundred times the others, and hinge losses may be negative
    axes.legend(frameon=False, ncols=3, fontsize=8)
    save_figure(figure, path)


def _plot_measures(path: Path, evaluations: list[dict]) -> None:
    """The score of every evaluation, the best so far, the mean of the last three; and each subnet's own."""
    figure, axes = new_figure()
    steps = [r["step"] for r in evaluations]
    scores = [r["score"] for r in evaluations]
    key = next(
        k for k in ("mIoU", "fid") if all(k in m for m in evaluations[-1]["metrics"].values())
    )
    choose = max if key == "mIoU" else min
    best = [choose(scores[: i + 1]) for i in range(len(scores))]
    mean = [
        sum(scores[max(0, i - 2) : i + 1]) / len(scores[max(0, i - 2) : i + 1])
        for i in range(len(scores))
    ]
    labels = evaluations[-1]["metrics"]
    if len(labels) > 1:
        for label in labels:
            axes.plot(
                steps,
                [r["metrics"][label][key] for r in evaluations],
                linewidth=1,
                alpha=0.6,
                label=label,
            )
    axes.plot(steps, scores, marker="o", markersize=4, color="#1f77b4", label="latest")
    axes.plot(steps, best, linestyle="--", color="#d62728", label="best so far")
    axes.plot(steps, mean, linewidth=1, color="#888888", label="mean of 3")
    axes.set_xlabel("step")
    axes.set_ylabel(evaluations[-1]["measure"])
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
