"""The files of a training run, and how a run continues from them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from errors import InputError
from models.weights import save_network
from runtime import distributed
from runtime.files import write_json
from runtime.folders import check_settings
from training.log import TrainingLog
from training.schedules import LearningRate
from training.state import Progress, StateFile, restore, state_of, upgrade
from training.tasks import Task

# Settings that may grow when a run is continued.
LENGTH = ("nepochs", "nepochs_decay", "niters")


class Archive:
    """The files of one run: networks, whole state, options, results. The main process writes them.

    Args:
        folder:   the run's folder (`log_dir`)
        settings: what decides the result; a state with other settings is refused
        task:     its networks are saved
        log:      its losses must be finite before anything is saved
        progress: where the run stands
        parts:    all that a run needs to continue, with ``progress`` among it, see
                  `training.state.state_of`
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping,
        task: Task,
        log: TrainingLog,
        progress: Progress,
        parts: Mapping,
    ):
        self.folder, self.settings, self.task = folder, dict(settings), task
        self.log, self.progress, self.parts = log, progress, parts
        self.checkpoints = folder / "checkpoints"
        self.state_file = StateFile(self.checkpoints)
        self.is_main = distributed.is_main()
        self._last_save, self._save_cost = time.monotonic(), 0.0

    # ---- saving

    def write(self, name: str, values: dict) -> None:
        """Write a JSON file of the run: options.json, results.json."""
        if self.is_main:
            write_json(self.folder / name, values)

    def save_networks(self, tag: str) -> None:
        """``<tag>_net_<name>.pth`` of every network."""
        if not self.is_main:
            return
        self.check_losses()
        for name, net in self.task.networks.items():
            save_network(net, self.checkpoints / f"{tag}_net_{name}.pth", self.task.specs.get(name))

    def save_state(self) -> None:
        if not self.is_main:
            return
        self.check_losses()
        start = time.monotonic()
        for name, net in self.task.networks.items():
            if not all(bool(torch.isfinite(p).all()) for p in net.parameters()):
                raise self._diverged(f"the weights of {name} are")
        self.state_file.save({"settings": self.settings} | state_of(self.parts))
        self._last_save = time.monotonic()
        self._save_cost = self._last_save - start

    def save_state_if_due(self) -> None:
        """Save the state if a minute has passed and saving takes less than 5% of the time."""
        # The times are the main process's own.
        if self.is_main and time.monotonic() - self._last_save > max(60.0, 20 * self._save_cost):
            self.save_state()

    def check_losses(self) -> None:
        """InputError where a loss is not finite. Waits for the device."""
        name = self.log.first_not_finite()
        if name is not None:
            raise self._diverged(f"loss {name} is")

    def _diverged(self, what: str) -> InputError:
        if self.state_file.exists():
            advice = (
                f"the last good state is kept in {self.checkpoints}: "
                "continue from its networks with a lower `lr`, or look at the data"
            )
        else:
            advice = (
                f"no state was saved in {self.checkpoints} before: "
                "start again with a lower `lr`, or look at the data and the networks given"
            )
        return InputError(f"{what} not finite at step {self.progress.step}; {advice}")

    # ---- continuing

    def restore(self, rates: LearningRate) -> bool:
        """Give all parts the state of an earlier run in the folder; False when there is none.

        Raises:
            InputError: the folder holds another run, or its state is damaged.
        """
        state = self.state_file.load()
        if state is None:
            if (self.folder / "results.json").is_file():
                raise InputError(
                    f"`log_dir` {self.folder} holds a finished run without its state "
                    f"({self.state_file.path}), which this one would replace; choose another folder"
                )
            has_networks = any(self.checkpoints.glob("*_net_G*.pth"))
            if has_networks and not (self.folder / "log.jsonl").exists():
                raise InputError(
                    f"`log_dir` {self.folder} holds checkpoints of another tool; "
                    "choose another folder"
                )
            return False
        try:
            state = upgrade(state)
            before, progress = dict(state["settings"]), Progress(**state["progress"])
            longer = self._longer_settings(before, progress, rates)
            check_settings(before | longer, self.settings, self.folder, "`log_dir`")
            restore(self.parts, state)
        except InputError:
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"`log_dir` {self.state_file.path}: not a state of this run "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); "
                "choose another folder"
            ) from None
        if longer and self.progress.finished:
            self.progress.finished = False
            if self.is_main:
                (self.folder / "results.json").unlink(missing_ok=True)
        return True

    def warn_of_missing(self, epochs: list[int]) -> None:
        """Warn about missing numbered checkpoints of past ``epochs``: they are not made again."""
        name = f"net_{self.task.first}.pth"
        gone = [e for e in epochs if not (self.checkpoints / f"{e}_{name}").exists()]
        if gone and self.is_main:
            listed = ", ".join(map(str, gone[:5])) + (" ..." if len(gone) > 5 else "")
            warnings.warn(
                f"{self.checkpoints} has lost its numbered checkpoints of epoch {listed}, which "
                "are not made again",
                stacklevel=2,
            )

    def _longer_settings(self, before: dict, progress: Progress, rates: LearningRate) -> dict:
        """The settings of `LENGTH` when they make the run longer, none when they are as before.

        Raises:
            InputError: with them the steps already done would have had other learning rates.
        """
        now = {name: self.settings[name] for name in LENGTH if name in self.settings}
        then = {name: before.get(name) for name in now}
        if now == then or len(now) < len(LENGTH) or None in then.values():
            return {}
        epochs = [each["nepochs"] + each["nepochs_decay"] for each in (then, now)]
        if epochs[1] < epochs[0] or now["niters"] < then["niters"]:
            return {}
        schedule = replace(
            rates.schedule, nepochs=then["nepochs"], nepochs_decay=then["nepochs_decay"]
        )
        done = progress.last_epoch, progress.step
        if not rates.schedule.agrees(schedule, *done, rates.steps_per_epoch):
            listed = ", ".join(f"`{k}` {now[k]} (was {then[k]})" for k in now if now[k] != then[k])
            raise InputError(
                f"`log_dir` {self.folder} cannot be extended: with {listed} its {progress.step} "
                "steps would have had other learning rates. Continue in another folder from its "
                "checkpoints. Runs of constant rate (`nepochs_decay` 0) can be extended"
            )
        return now
