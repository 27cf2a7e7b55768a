"""How good a run is: evaluations of its generators, and which was the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    """

    measure: Callable[[Generate], dict]
    montage: Callable[[dict[str, Generate]], object]
    criterion: str | None
    lower_is_better: bool
    label: str
    page: Callable[[Path], None] = lambda folder: None


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
        metrics = {label: self.evaluation.measure(each) for label, each in generators.items()}
        # Under torchrun each process holds other images; one picture is enough.
        if distributed.is_main():
            path = self.folder / "eval" / f"epoch{epoch:04d}_step{step:08d}.png"
            save_png(path, self.evaluation.montage(generators))
        self.latest = {"epoch": epoch, "step": step, "metrics": metrics}
        record = {"event": "eval"} | self.latest | {"measure": self.label}
        key = self.evaluation.criterion
        if key is not None:
            score = sum(m[key] for m in metrics.values()) / len(metrics)
            record["score"] = self.latest["score"] = score
            if self._is_best(score):
                self.best = self.latest
            values = ", ".join(f"{label} {m[key]:.2f}" for label, m in metrics.items())
            note = " (best so far)" if self.improved else ""
            Bar.write(f"epoch {epoch} step {step}: {self.label}: {values}{note}")
        return record

    @property
    def improved(self) -> bool:
        """Whether the latest evaluation is the best."""
        return self.best is not None and self.best is self.latest

    def _is_best(self, score: float) -> bool:
        if self.best is None:
            return True
        lower = self.evaluation.lower_is_better
        return score < self.best["score"] if lower else score > self.best["score"]

    def describe_best(self, checkpoints: Path) -> str:
        if self.best is None:
            return f"latest checkpoint {checkpoints / 'latest_net_G.pth'}"
        return (
            f"best {self.label or 'score'} {self.best['score']:.2f} "
            f"at epoch {self.best['epoch']}: {checkpoints / 'best_net_G.pth'}"
        )

    def state_dict(self) -> dict:
        return {"best": self.best, "latest": self.latest}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.latest = state["best"], state["latest"]
