"""One loop for all tasks: epochs, evaluation, checkpoints, signals, logging.

A run's whole state is one object, saved and restored whole; order and crops of the data and the configurations of a supernet are functions of
seed and position, so a run that was stopped and continued is the run that was never stopped.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data.images import save_png
from data.loader import Loader
from errors import InputError
from models.weights import save_network
from runtime import distributed
from runtime.files import JsonLines, write_json
from runtime.folders import check_settings, make_folder
from runtime.progress import Bar
from training.schedules import LearningRate, Schedule
from training.state import StateFile
from training.tasks import Generate, Task

# ---------------------------------------------------------------------------------------------------------
# What to do


@dataclass(frozen=True)
class Plan:
    """How long to train and when to do what. Steps are updates; an epoch is one pass over the training images."""

    epochs: int  # nepochs + nepochs_decay
    max_steps: int = 1_000_000_000  # `niters`
    print_freq: int = 100  # steps between log lines
    save_latest_freq: int = 20000  # steps between evaluations within an epoch
    save_epoch_freq: int = 5  # epochs between evaluations and numbered checkpoints
    epoch_base: int = 1  # first epoch
    iter_base: int = 0  # steps done before
    evaluate_first: bool = False  # measure before the first step, so that fine-tuning keeps the better of before and after


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


class Stopped(Exception):
    """The run was told to stop by a signal and has saved its state."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


# ---------------------------------------------------------------------------------------------------------
# The loop


class Trainer:
    """Trains a task.

    Args:
        task, loader, schedule, plan: what to train, on what, how
        folder:     the run's folder (``log_dir``)
        evaluation: how to judge it; None to only train
        settings:   flags that decide the result: a folder with other settings is refused
        options:    written to options.json once the folder is this run's
        tensorboard_dir: also write TensorBoard event files there

    Under torchrun every process trains on its share of each batch; the main one writes, all take up the same state.
    """

    def __init__(
        self,
        task: Task,
        loader: Loader,
        schedule: Schedule,
        plan: Plan,
        folder: str | Path,
        evaluation: Evaluation | None,
        settings: dict,
        options: dict | None = None,
        tensorboard_dir: str | None = None,
    ):
        self.task, self.loader, self.plan, self.evaluation = task, loader, plan, evaluation
        self.settings, self.options = settings, options
        self.folder = make_folder(folder, "`log_dir`")
        self.checkpoints = self.folder / "checkpoints"
        self.checkpoints.mkdir(exist_ok=True)
        lower = evaluation.lower_is_better if evaluation else True
        self.lr = LearningRate(schedule, task.optimizers, len(loader), lower)
        self.state_file = StateFile(self.checkpoints)
        self.epoch, self.step_in_epoch, self.step = plan.epoch_base, 0, plan.iter_base
        self.best: dict | None = None
        self.latest: dict | None = None
        self.finished = False
        self.window: dict[str, Tensor] = {}  # sums of the losses since the last log line
        self.window_steps = 0
        self.seconds = 0.0
        self.is_main = distributed.is_main()
        self.events = _event_writer(tensorboard_dir) if tensorboard_dir and self.is_main else None
        self._signal: int | None = None

    # ---- the run

    def run(self) -> dict:
        """Train to the end (from wherever an earlier run stopped) and return the results written to results.json.

        Raises:
            Stopped: SIGINT or SIGTERM came; the state is saved and the same command continues.
            InputError: the folder holds another run, or a loss is not finite.
        """
        with distributed.main_first():
            resumed = self._restore()
        if self.finished:
            print(f"{self.folder}: already finished, {self.describe_best()}")
            return self._results()
        if self.is_main:
            if self.options is not None:
                write_json(self.folder / "options.json", self.options)
            self.log = JsonLines(self.folder / "log.jsonl")
            self.log.rewind(self.log_position if resumed else 0)
        self.started = self.saved = time.monotonic()
        self.save_cost = 0.0
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            if self.plan.evaluate_first and not resumed:
                self._evaluate()
            self._epochs(resumed)
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
            if self.is_main:
                self.log.close()
            if self.events:
                self.events.close()
        print(f"{self.folder}: finished, {self.describe_best()}")
        return self._results()

    def _epochs(self, resumed: bool) -> None:
        plan, per_epoch = self.plan, len(self.loader)
        total = min(
            plan.max_steps,
            (plan.epochs - self.epoch + 1) * per_epoch - self.step_in_epoch + self.step,
        )
        if resumed:
            print(f"{self.folder}: continuing at epoch {self.epoch}, step {self.step}")
        images, first = self.loader.images, self.step_in_epoch
        done = images(self.step - plan.iter_base)
        left = images(first + total - self.step) - images(first)
        with Bar(total=done + left, initial=done, unit="img") as self.bar:
            while self.epoch <= plan.epochs and self.step < plan.max_steps:
                self.bar.set_description(f"epoch {self.epoch}/{plan.epochs}")
                for batch in self.loader.epoch(self.epoch, self.step_in_epoch):
                    self._train_step(batch)
                    if self.step >= plan.max_steps:
                        break
                if self.step_in_epoch >= per_epoch:
                    self._end_epoch()
            self.finished = True
            self._log_window()
            if self.latest is None or self.latest["step"] != self.step:
                self._evaluate()
            self._save_networks("latest")
            self._save_state()
            if self.is_main:
                write_json(self.folder / "results.json", self._results())

    def _train_step(self, batch) -> None:
        self.lr.update(self.epoch, self.step)
        # What is random within a step (dropout) is a function of seed, step and process too: a state needs no generators.
        torch.manual_seed(
            hash((self.settings.get("seed", 0), self.step, distributed.rank())) & (2**63 - 1)
        )
        for net in self.task.networks.values():
            net.train()
        for name, value in self.task.step(batch, self.step).items():
            self.window[name] = self.window.get(name, 0) + value
        self.step += 1
        self.step_in_epoch += 1
        self.window_steps += 1
        self.bar.update(len(batch) * distributed.world_size())
        # Reading a loss waits for the device: only on the CPU, where it is free, is every step looked at.
        if self.loader.device.type == "cpu" or self.window_steps >= self.plan.print_freq:
            self._check_finite()
        if self.step % self.plan.print_freq == 0:
            self._log_window()
        if self.step_in_epoch < len(self.loader):  # else the end of the epoch comes next and saves
            if self.step % self.plan.save_latest_freq == 0:
                self._save_networks("latest")
                self._evaluate()
                self._save_state()
            self._save_if_due()

    def _end_epoch(self) -> None:
        epoch = self.epoch
        self.epoch, self.step_in_epoch = epoch + 1, 0
        numbered = epoch % self.plan.save_epoch_freq == 0 or epoch == self.plan.epochs
        if numbered or self.step % self.plan.save_latest_freq == 0:
            self._save_networks("latest")
            if numbered:
                self._save_networks(str(epoch))
            self._evaluate(epoch)
            self._save_state()
        self._save_if_due()

    # ---- evaluation

    def _evaluate(self, epoch: int | None = None) -> None:
        """Measure every generator of the task, keep the best checkpoint, write pictures and a log line."""
        if self.evaluation is None:
            return
        epoch = self.epoch if epoch is None else epoch
        generators = self.task.generators()
        for net in self.task.networks.values():
            net.eval()
        metrics = {
            label: self.evaluation.measure(generate) for label, generate in generators.items()
        }
        if self.is_main:  # the others draw other images, or have none
            save_png(
                self.folder / "eval" / f"epoch{epoch:04d}_step{self.step:08d}.png",
                self.evaluation.montage(generators),
            )
        record = {
            "event": "eval",
            "epoch": epoch,
            "step": self.step,
            "metrics": metrics,
            "measure": self.evaluation.label,
        }
        self.latest = {"epoch": epoch, "step": self.step, "metrics": metrics}
        key = self.evaluation.criterion
        if key is not None:
            score = sum(m[key] for m in metrics.values()) / len(metrics)
            record["score"] = self.latest["score"] = score
            self.lr.observe(score)
            improved = self.best is None or (
                score < self.best["score"]
                if self.evaluation.lower_is_better
                else score > self.best["score"]
            )
            if improved:
                self.best = dict(self.latest)
                self._save_networks("best")
            values = ", ".join(f"{label} {m[key]:.2f}" for label, m in metrics.items())
            note = " (best so far)" if improved else ""
            Bar.write(f"epoch {epoch} step {self.step}: {self.evaluation.label}: {values}{note}")
        self._write_log(record)
        if self.is_main:
            self.evaluation.page(self.folder)

    def describe_best(self) -> str:
        if self.best is None:
            return f"latest checkpoint {self.checkpoints / 'latest_net_G.pth'}"
        return (
            f"best {self.evaluation.label if self.evaluation else 'score'} {self.best['score']:.2f} at epoch {self.best['epoch']}: "
            f"{self.checkpoints / 'best_net_G.pth'}"
        )

    # ---- logging

    def _check_finite(self) -> None:
        bad = [name for name, total in self.window.items() if not math.isfinite(float(total))]
        if bad:
            raise InputError(self._diverged(f"loss {bad[0]} is"))

    def _diverged(self, what: str) -> str:
        return (
            f"{what} not finite at step {self.step}; the last good state is kept in {self.checkpoints}: "
            "continue from its networks with a lower `lr`, or look at the data"
        )

    def _write_log(self, record: dict) -> None:
        """A line in log.jsonl, and the same numbers as TensorBoard events."""
        if self.is_main:
            self.log.write(record)
        if self.events:
            numbers = record.get("losses") or {
                f"{a}/{b}": v for a, m in record["metrics"].items() for b, v in m.items()
            }
            for name, value in numbers.items():
                if isinstance(value, (int, float)):
                    self.events.add_scalar(f"{record['event']}/{name}", value, self.step)

    def _log_window(self) -> None:
        if not self.window_steps:
            return
        self._check_finite()
        means = {
            name: float(distributed.average(total)) / self.window_steps
            for name, total in self.window.items()
        }
        self._write_log(
            {
                "event": "train",
                "epoch": self.epoch,
                "step": self.step,
                "lr": self.lr.current,
                "losses": means,
            }
        )
        shown = {name: f"{value:.3g}" for name, value in means.items() if not name[-1].isdigit()}
        self.bar.set_postfix(shown, refresh=False)
        self.window, self.window_steps = {}, 0

    # ---- saving

    def _save_networks(self, tag: str) -> None:
        if not self.is_main:
            return
        self._check_finite()
        for name, net in self.task.networks.items():
            save_network(net, self.checkpoints / f"{tag}_net_{name}.pth", self.task.specs.get(name))

    def _save_if_due(self) -> None:
        """Save on a signal, or after a minute if saving costs less than 5% of the time."""
        # A signal to one process stops all of them at this step: no one waits in a collective.
        signum = distributed.largest(self._signal or 0)
        if signum:
            self._save_state()
            distributed.shutdown()
            raise Stopped(signum)
        if self.is_main and time.monotonic() - self.saved > max(60.0, 20 * self.save_cost):
            self._save_state()

    def _save_state(self) -> None:
        if not self.is_main:
            return
        self._check_finite()
        start = time.monotonic()
        for name, net in self.task.networks.items():
            if not all(bool(torch.isfinite(p).all()) for p in net.parameters()):
                raise InputError(self._diverged(f"the weights of {name} are"))
        self.state_file.save(
            {
                "settings": self.settings,
                "position": (self.epoch, self.step_in_epoch, self.step),
                "finished": self.finished,
                "networks": {name: net.state_dict() for name, net in self.task.networks.items()},
                "optimizers": [o.state_dict() for o in self.task.optimizers],
                "lr": self.lr.state_dict(),
                "scaler": self.task.scaler.state_dict(),
                "best": self.best,
                "latest": self.latest,
                "window": self.window,
                "window_steps": self.window_steps,
                "log_position": self.log.position,
                "seconds": self.seconds + start - self.started,
            }
        )
        self.saved = time.monotonic()
        self.save_cost = self.saved - start

    def _restore(self) -> bool:
        """Take up the state of an earlier run in the folder; False when there is none."""
        state = self.state_file.load()
        if state is None:
            if (
                any(self.checkpoints.glob("*_net_G.pth"))
                and not (self.folder / "log.jsonl").exists()
            ):
                raise InputError(
                    f"`log_dir` {self.folder} holds checkpoints of another tool; choose another folder"
                )
            return False
        check_settings(state["settings"], self.settings, self.folder, "`log_dir`")
        self.epoch, self.step_in_epoch, self.step = state["position"]
        self.finished, self.best, self.latest = state["finished"], state["best"], state["latest"]
        for name, net in self.task.networks.items():
            net.load_state_dict(state["networks"][name])
        for optimizer, saved in zip(self.task.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.lr.load_state_dict(state["lr"])
        self.task.scaler.load_state_dict(state["scaler"])
        self.window = {
            name: total.to(self.loader.device) for name, total in state["window"].items()
        }
        self.window_steps = state["window_steps"]
        self.log_position, self.seconds = state["log_position"], state["seconds"]
        return True

    def _on_signal(self, signum: int, frame) -> None:
        if self._signal is not None:  # a second signal does not wait
            raise KeyboardInterrupt
        self._signal = signum
        if self.is_main:
            Bar.write(f"{signal.Signals(signum).name}: saving after this step")

    def _results(self) -> dict:
        return {
            "finished": self.finished,
            "epoch": self.epoch - 1,
            "step": self.step,
            "measure": self.evaluation.label if self.evaluation else None,
            "best": self.best,
            "latest": self.latest,
        }


def _event_writer(folder: str):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "`tensorboard_dir` needs the tensorboard package: pip install tensorboard"
        ) from None
    return SummaryWriter(folder)
