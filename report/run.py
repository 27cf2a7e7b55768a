"""The page of a training run: plots of losses and measures, and pictures of its evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from matplotlib.axes import Axes

from errors import InputError
from models.build import Checkpoint
from models.cost import CONVENTIONS, config_cost
from models.generators import GeneratorSpec
from report.header import Cost, Figure, Header
from report.pages import Pictures, write_report
from report.plots import draw_line, new_figure, save_figure
from report.related import origins, read_flags
from runtime.files import read_json_lines

SHOWN = 3  # pictures of the latest evaluations that the page shows; it links the others


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
    pictures = {p.stem: p for p in sorted((folder / "eval").glob("*.png"), reverse=True)}
    shown = dict(list(pictures.items())[:SHOWN])
    write_report(
        folder / "index.html",
        _header(folder, records, read_flags(folder)),
        plots,
        Pictures(
            shown,
            "Images of the evaluations",
            {name: path for name, path in pictures.items() if name not in shown},
            compare=min(pictures, default=None),
        ),
        flags=read_flags(folder),
    )


# --------------------------------------------------------------------------------------------------
# The header


def _header(folder: Path, records: list[dict], flags: Mapping[str, object]) -> Header:
    scored = [r for r in records if r["event"] == "eval" and "score" in r]
    figures = []
    if records:
        last = ([r for r in records if r["event"] == "eval"] or records)[-1]
        figures.append(Figure("epoch", f"{last['epoch']}", f"step {last['step']:,}"))
    if scored:
        last, key = scored[-1], _key(scored[-1])
        # The one whose checkpoint was kept; logs of earlier versions do not say which.
        choose = max if key == "mIoU" else min
        kept = [r for r in scored if r.get("best")]
        best = kept[-1] if kept else choose(scored, key=lambda r: r["score"])
        at = "the latest" if best is last else f"at epoch {best['epoch']}"
        figures.append(Figure(f"{last['measure']}, best", f"{best['score']:.3f}", at))
        if best is not last:
            figures.append(Figure("latest", f"{last['score']:.3f}"))
    convention = flags.get("macs_convention")
    convention = convention if convention in CONVENTIONS else "published"
    networks, costs = {}, []
    for label, path in _checkpoints(folder, flags).items():
        # A missing or damaged file must not end the training that draws this page.
        try:
            spec = _spec(path, path.stat().st_mtime_ns)
            costs.append(_cost(label, spec, convention))
            networks[label] = _name(spec)
        except (OSError, InputError):
            continue
    return Header(
        "Training",
        f"Run {folder.resolve().name}",
        "" if any(r["event"] == "eval" for r in records) else "no evaluation yet",
        networks,
        figures,
        costs,
        convention,
        links=origins(folder),
        script=str(flags.get("script", "")),
    )


def _checkpoints(folder: Path, flags: Mapping[str, object]) -> dict[str, Path]:
    """Those of the teacher, if it is of a file, and of what is trained, which the first epochs may
    lack."""
    teacher = flags.get("restore_teacher_G_path")
    own = [folder / "checkpoints" / f"latest_net_{name}.pth" for name in ("G", "G_A")]
    found = {"teacher": Path(str(teacher))} if teacher else {}
    for path in filter(Path.is_file, own):
        found["this run"] = path
    return found


@lru_cache(maxsize=4)
def _spec(path: Path, changed: int) -> GeneratorSpec:
    """What a file holds that was last ``changed`` then; the page is drawn often, so it is kept."""
    return Checkpoint(str(path)).open().spec


def _name(spec: GeneratorSpec) -> str:
    name = spec.name_at(spec.tuned_config or spec.config)
    return f"{name}, full width" if spec.is_supernet and not spec.tuned_config else name


def _cost(label: str, spec: GeneratorSpec, convention: str) -> Cost:
    """Of one image of the size that it learns from; without a size only its parameters."""
    config, arch = spec.tuned_config or spec.config, spec.architecture
    _, params = config_cost(config, arch)
    if "size" not in spec.trained_on:
        return Cost(label, params)
    counts = (
        config_cost(config, arch, each, *spec.trained_on["size"])[0]
        for each in (convention, "exact")
    )
    return Cost(label, params, *counts)


# --------------------------------------------------------------------------------------------------
# Plots


def _plot_losses(path: Path, records: list[dict]) -> None:
    figure, axes = new_figure()
    # Not every step has all losses: an online teacher may step every third time.
    names = dict.fromkeys(name for r in records for name in r["losses"])
    for name in [name for name in names if not name[-1].isdigit()]:
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
    key = _key(evaluations[-1])
    if len(evaluations) == 1:
        _draw_bars(
            axes, {label: m[key] for label, m in evaluations[-1]["metrics"].items()}, evaluations[0]
        )
    else:
        _draw_scores(axes, evaluations, key)
    save_figure(figure, path)


def _key(evaluation: dict) -> str:
    """The measure that its score is of."""
    metrics = evaluation["metrics"].values()
    return next(k for k in ("mIoU", "fid") if all(k in m for m in metrics))


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
