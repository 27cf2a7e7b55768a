"""How good a run is: evaluations of its generators, and which was the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.images import save_png
from runtime import distributed
from runtime.progress import Bar
from training.tasks import Generate, Task


@dataclass(frozen=True)
class Evaluation:
    """How a run is judged.

    Args:
        measure:   generate -> metrics, e.g. ``{"fid": 47.9, "n": 300}``
        montage:   {label: generate} -> uint8 H W 3 picture of some outputs
        criterion: the metric by which the best checkpoint is kept; None keeps none
        lower_is_better: of the criterion
        label:     what the metric is, as it must be labelled
        page:      refreshes the page of the run's folder, after each evaluation
        measures:  label of a generator that is measured on other images -> how
        each:      the best is kept when any generator is better than it ever was, instead of when
                   their mean is
    """

    measure: Callable[[Generate], dict]
    montage: Callable[[dict[str, Generate]], object]
    criterion: str | None
    lower_is_better: bool
    label: str
    page: Callable[[Path], None] = lambda folder: None
    measures: Mapping[str, Callable[[Generate], dict]] = field(default_factory=dict)
    each: bool = False


class Judge:
    """Evaluates a task and remembers the best and the latest evaluation, its state.

    Args:
        evaluation: how to judge; None judges nothing
        folder:     the run's folder; pictures are written to its ``eval``
    """

    def __init__(self, evaluation: Evaluation | None, folder: Path):
        self.evaluation, self.folder = evaluation, folder
        self.best: dict | None = None
        self.latest: dict | None = None

    @property
    def label(self) -> str | None:
        return self.evaluation.label if self.evaluation else None

    def __call__(self, task: Task, epoch: int, step: int) -> dict:
        """Measure every generator of the task, write a picture; return the line for the log."""
        generators = task.generators()
        for net in task.networks.values():
            net.eval()
        evaluation = self.evaluation
        metrics = {
            label: evaluation.measures.get(label, evaluation.measure)(each)
            for label, each in generators.items()
        }
        # Under torchrun each process holds other images; one picture is enough.
        if distributed.is_main():
            path = self.folder / "eval" / f"epoch{epoch:04d}_step{step:08d}.png"
            save_png(path, evaluation.montage(generators))
        self.latest = {"epoch": epoch, "step": step, "metrics": metrics}
        record = {"event": "eval"} | self.latest | {"measure": self.label}
        key = evaluation.criterion
        if key is not None:
            score = sum(m[key] for m in metrics.values()) / len(metrics)
            record["score"] = self.latest["score"] = score
            if evaluation.each:
                self.latest["records"] = self._records(metrics)
            if self._is_best():
                self.best = self.latest
            record["best"] = self.improved
            note = " (best so far)" if self.improved else ""
            Bar.write(f"epoch {epoch} step {step}: {self.label}: {self._values(metrics)}{note}")
        return record

    def _values(self, metrics: Mapping[str, dict]) -> str:
        key = self.evaluation.criterion
        return ", ".join(f"{label} {m[key]:.2f}" for label, m in metrics.items())

    def _records(self, metrics: Mapping[str, dict]) -> dict[str, float]:
        """The best value of each generator so far."""
        key, choose = self.evaluation.criterion, min if self.evaluation.lower_is_better else max
        before = self.best["records"] if self.best else {}
        return {label: choose(m[key], before.get(label, m[key])) for label, m in metrics.items()}

    @property
    def improved(self) -> bool:
        """Whether the latest evaluation is the best."""
        return self.best is not None and self.best is self.latest

    def _is_best(self) -> bool:
        """Whether the latest evaluation is better than the best before it."""
        if self.best is None:
            return True
        if self.evaluation.each:
            return self.latest["records"] != self.best["records"]
        score, lower = self.latest["score"], self.evaluation.lower_is_better
        return score < self.best["score"] if lower else score > self.best["score"]

    def describe_best(self, checkpoints: Path, network: str) -> str:
        """Where the best ``network`` is, and how good; the latest where none was measured."""
        if self.best is None:
            return f"latest checkpoint {checkpoints / f'latest_net_{network}.pth'}"
        score = f"{self.best['score']:.2f}"
        if self.evaluation and self.evaluation.each:
            score = self._values(self.best["metrics"])
        return (
            f"best {self.label or 'score'} {score} "
            f"at epoch {self.best['epoch']}: {checkpoints / f'best_net_{network}.pth'}"
        )

    def state_dict(self) -> dict:
        return {"best": self.best, "latest": self.latest}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.latest = state["best"], state["latest"]
