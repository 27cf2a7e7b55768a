"""The losses of a run: their means in log.jsonl, and as TensorBoard events."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from errors import InputError
from runtime import distributed
from runtime.files import JsonLines


class TrainingLog:
    """Adds up losses and writes their means; under torchrun only the main process writes.

    The sums since the last line, and how much of the file is written, are part of a run's state.

    Args:
        path:   log.jsonl, opened by `open`
        device: where losses are computed
        tensorboard_dir: also write TensorBoard event files there
    """

    def __init__(self, path: Path, device: torch.device, tensorboard_dir: str | None = None):
        self.path, self.device = path, device
        self.sums: dict[str, Tensor] = {}
        # Steps that had each loss: not every kind of step has all.
        self.counts: dict[str, int] = {}
        self.steps = 0
        self._position = 0
        self._file: JsonLines | None = None
        is_main = distributed.is_main()
        self._events = _event_writer(tensorboard_dir) if tensorboard_dir and is_main else None

    def open(self) -> None:
        """Open the file and forget what was written after the restored state."""
        if not distributed.is_main():
            return
        self._file = JsonLines(self.path)
        if not self._file.rewind(self._position):
            warnings.warn(
                f"{self.path} has lost its end: what it said before this run continues is missing",
                stacklevel=2,
            )

    def close(self) -> None:
        if self._file:
            self._file.close()
        if self._events:
            self._events.close()

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of one step, scalars on the device; this does not wait for it."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.steps += 1

    def first_not_finite(self) -> str | None:
        """The first loss whose sum is not finite. Waits for the device."""
        return next((k for k, v in self.sums.items() if not math.isfinite(float(v))), None)

    def write_means(self, epoch: int, step: int, lr: float) -> dict[str, float]:
        """Write the means since the last line and begin anew; returns them."""
        means = {
            name: float(distributed.average(total)) / self.counts[name]
            for name, total in self.sums.items()
        }
        self.write({"event": "train", "epoch": epoch, "step": step, "lr": lr, "losses": means})
        self.sums, self.counts, self.steps = {}, {}, 0
        return means

    def write(self, record: dict) -> None:
        """Write a line, and its numbers as TensorBoard events."""
        if self._file:
            self._file.write(record)
        if self._events:
            numbers = record.get("losses") or {
                f"{a}/{b}": v for a, m in record["metrics"].items() for b, v in m.items()
            }
            for name, value in numbers.items():
                if isinstance(value, (int, float)):
                    self._events.add_scalar(f"{record['event']}/{name}", value, record["step"])

    def state_dict(self) -> dict:
        position = self._file.position if self._file else self._position
        parts = {"sums": self.sums, "counts": self.counts, "steps": self.steps}
        return parts | {"position": position}

    def load_state_dict(self, state: dict) -> None:
        self.sums = {name: total.to(self.device) for name, total in state["sums"].items()}
        self.steps, self._position = state["steps"], state["position"]
        # Earlier states have no counts: every step had every loss.
        self.counts = dict(state.get("counts", dict.fromkeys(self.sums, self.steps)))


def _event_writer(folder: str):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "`tensorboard_dir` needs the tensorboard package: pip install tensorboard"
        ) from None
    return SummaryWriter(folder)
