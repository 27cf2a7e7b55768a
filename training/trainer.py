"""One loop for all tasks: epochs, evaluations, checkpoints.

A run's state is saved and restored whole. The order and crops of the data and the configurations
of a supernet are functions of seed and position, so a run that was stopped and continued is the
run that was never stopped.
"""

from __future__ import annotations

import signal
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data.loader import Batch, Loader
from errors import InputError
from models.weights import save_network
from runtime import distributed
from runtime.files import write_json
from runtime.folders import check_settings, make_folder, release_folders, take_folder
from runtime.progress import Bar
from runtime.signals import StopSignals
from training.judge import Evaluation, Judge
from training.log import TrainingLog
from training.schedules import LearningRate, Schedule
from training.state import Progress, StateFile, restore, state_of, upgrade
from training.tasks import Task

# Settings that may grow when a run is continued.
LENGTH = ("nepochs", "nepochs_decay", "niters")


@dataclass(frozen=True)
class Plan:
    """How long to train and when to do what.

    Steps are updates; an epoch is one pass over the training images.

    Args:
        epochs:           number of the last epoch (`nepochs` + `nepochs_decay`)
        max_steps:        number of the last step (`niters`)
        print_freq:       steps between log lines
        save_latest_freq: steps between evaluations within an epoch
        save_epoch_freq:  epochs between evaluations and numbered checkpoints
        epoch_base:       number of the first epoch
        iter_base:        steps done before
        evaluate_first:   measure before the first step too, so that fine-tuning keeps the better
                          of before and after
    """

    epochs: int
    max_steps: int = 1_000_000_000
    print_freq: int = 100
    save_latest_freq: int = 20000
    save_epoch_freq: int = 5
    epoch_base: int = 1
    iter_base: int = 0
    evaluate_first: bool = False


class Stopped(Exception):
    """The run was told to stop by a signal and has saved its state."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Trainer:
    """Trains a task.

    Args:
        task, loader, schedule, plan: what to train, on what, how
        folder:     the run's folder (`log_dir`)
        evaluation: how to judge it; None to only train
        settings:   what decides the result, with the script's name as ``script``: a folder with
                    other settings is refused
        options:    written to options.json once the folder is this run's
        tensorboard_dir: also write TensorBoard event files there

    Under torchrun every process trains on its share of each batch. The main one writes, all
    restore the same state.
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
        self.task, self.loader, self.schedule, self.plan = task, loader, schedule, plan
        self.settings, self.options = settings, options
        self.is_main = distributed.is_main()
        self.folder = make_folder(folder, "`log_dir`")
        self.checkpoints = make_folder(self.folder / "checkpoints", "`log_dir`")
        self.state_file = StateFile(self.checkpoints)
        self.progress = Progress(plan.epoch_base, 0, plan.iter_base)
        self.judge = Judge(evaluation, self.folder)
        self.log = TrainingLog(self.folder / "log.jsonl", loader.device, tensorboard_dir)
        lower = evaluation.lower_is_better if evaluation else True
        self.lr = LearningRate(schedule, task.optimizers, len(loader), lower)
        # All that a run needs to continue.
        self.parts = {
            "progress": self.progress,
            "networks": task.networks,
            "optimizers": task.optimizers,
            "scaler": task.scaler,
            "lr": self.lr,
            "judge": self.judge,
            "log": self.log,
        }

    # ---- the run

    def run(self) -> dict:
        """Train to the end, from wherever an earlier run stopped.

        Returns:
            what results.json holds

        Raises:
            Stopped: SIGINT or SIGTERM came; the state is saved and the same command continues.
            InputError: the folder holds another run, or a loss is not finite.
        """
        try:
            with distributed.main_first():
                take_folder(self.folder, self.settings.get("script", ""), "`log_dir`")
                resumed = self._restore()
                self._warn_of_missing_checkpoints()
            if self.progress.finished:
                self._say("already finished, " + self.judge.describe_best(self.checkpoints))
                # The run may have been killed after its last state was saved.
                if not (self.folder / "results.json").exists():
                    self._write_results()
            else:
                self._train(resumed)
                self._say("finished, " + self.judge.describe_best(self.checkpoints))
            return self._results()
        finally:
            release_folders()

    def _train(self, resumed: bool) -> None:
        if self.is_main and self.options is not None:
            write_json(self.folder / "options.json", self.options)
        self._last_save, self._save_cost = time.monotonic(), 0.0
        try:
            self.log.open()
            self._write_page()
            with StopSignals(self._on_signal) as self._signals:
                if self.plan.evaluate_first and not resumed:
                    self._evaluate(self.progress.epoch)
                if resumed:
                    at = self.progress
                    self._say(f"continuing at epoch {at.epoch}, step {at.step}")
                with self._bar() as self.bar:
                    self._epochs()
                    self._end()
        finally:
            self.log.close()

    def _epochs(self) -> None:
        at, plan = self.progress, self.plan
        while at.epoch <= plan.epochs and at.step < plan.max_steps:
            self.bar.set_description(f"epoch {at.epoch}/{plan.epochs}")
            for batch in self.loader.epoch(at.epoch, at.step_in_epoch):
                self._step(batch)
                if at.step >= plan.max_steps:
                    break
            if at.step_in_epoch >= len(self.loader):
                self._end_epoch()

    def _step(self, batch: Batch) -> None:
        at, plan = self.progress, self.plan
        self.lr.update(at.epoch, at.step)
        # What is random within a step (dropout) is a function of seed, step and process too: a
        # state needs no random generators.
        key = (self.settings.get("seed", 0), at.step, distributed.rank())
        torch.manual_seed(hash(key) & (2**63 - 1))
        for net in self.task.networks.values():
            net.train()
        self.log.add(self.task.step(batch, at.step))
        at.step += 1
        at.step_in_epoch += 1
        self.bar.update(len(batch) * distributed.world_size())
        # Reading a loss waits for the device. On the CPU that is free, so every step is checked.
        if self.loader.device.type == "cpu" or self.log.steps >= plan.print_freq:
            self._check_losses()
        if at.step % plan.print_freq == 0:
            self._log_losses()
        # At the end of an epoch `_end_epoch` saves.
        if at.step_in_epoch < len(self.loader):
            if at.step % plan.save_latest_freq == 0:
                self._save_networks("latest")
                self._evaluate(at.epoch)
                self._save_state()
            self._save_if_due()

    def _end_epoch(self) -> None:
        at, plan = self.progress, self.plan
        epoch = at.epoch
        at.epoch, at.step_in_epoch = epoch + 1, 0
        numbered = epoch % plan.save_epoch_freq == 0 or epoch == plan.epochs
        if numbered or at.step % plan.save_latest_freq == 0:
            self._save_networks("latest")
            if numbered:
                self._save_networks(str(epoch))
            self._evaluate(epoch)
            self._save_state()
        self._save_if_due()

    def _end(self) -> None:
        at, latest = self.progress, self.judge.latest
        at.finished = True
        self._log_losses()
        if latest is None or latest["step"] != at.step:
            self._evaluate(at.epoch)
        self._save_networks("latest")
        self._save_state()
        self._write_results()

    # ---- evaluations and logs

    def _evaluate(self, epoch: int) -> None:
        """Measure the networks, keep the best checkpoint, write pictures and a log line."""
        if self.judge.evaluation is None:
            return
        record = self.judge(self.task, epoch, self.progress.step)
        if "score" in record:
            self.lr.observe(record["score"])
        if self.judge.improved:
            self._save_networks("best")
        self.log.write(record)
        self._write_page()

    def _write_page(self) -> None:
        if self.is_main and self.judge.evaluation is not None:
            self.judge.evaluation.page(self.folder)

    def _log_losses(self) -> None:
        if not self.log.steps:
            return
        self._check_losses()
        means = self.log.write_means(self.progress.epoch, self.progress.step, self.lr.current)
        shown = {name: f"{value:.3g}" for name, value in means.items() if not name[-1].isdigit()}
        self.bar.set_postfix(shown, refresh=False)

    def _check_losses(self) -> None:
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

    def _bar(self) -> Bar:
        """A progress bar in images, from the first step of the run to the last."""
        at, plan, images = self.progress, self.plan, self.loader.images
        epochs_left = plan.epochs - at.epoch + 1
        steps_left = min(
            plan.max_steps - at.step, epochs_left * len(self.loader) - at.step_in_epoch
        )
        done = images(at.step - plan.iter_base)
        left = images(at.step_in_epoch + steps_left) - images(at.step_in_epoch)
        return Bar(total=done + left, initial=done, unit="img")

    def _say(self, text: str) -> None:
        print(f"{self.folder}: {text}")

    # ---- saving

    def _save_networks(self, tag: str) -> None:
        if not self.is_main:
            return
        self._check_losses()
        for name, net in self.task.networks.items():
            save_network(net, self.checkpoints / f"{tag}_net_{name}.pth", self.task.specs.get(name))

    def _save_if_due(self) -> None:
        """Save on a signal, or after a minute if saving costs less than 5% of the time."""
        # A signal to one process stops all of them at this step: no one waits in a collective.
        signum = distributed.largest(self._signals.received or 0)
        if signum:
            self._save_state()
            distributed.shutdown()
            raise Stopped(signum)
        # The times are the main process's own.
        if self.is_main and time.monotonic() - self._last_save > max(60.0, 20 * self._save_cost):
            self._save_state()

    def _save_state(self) -> None:
        if not self.is_main:
            return
        self._check_losses()
        start = time.monotonic()
        for name, net in self.task.networks.items():
            if not all(bool(torch.isfinite(p).all()) for p in net.parameters()):
                raise self._diverged(f"the weights of {name} are")
        self.state_file.save({"settings": self.settings} | state_of(self.parts))
        self._last_save = time.monotonic()
        self._save_cost = self._last_save - start

    def _restore(self) -> bool:
        """Restore the state of an earlier run in the folder; False when there is none."""
        state = self.state_file.load()
        if state is None:
            has_networks = any(self.checkpoints.glob("*_net_G.pth"))
            if has_networks and not (self.folder / "log.jsonl").exists():
                raise InputError(
                    f"`log_dir` {self.folder} holds checkpoints of another tool; "
                    "choose another folder"
                )
            return False
        try:
            state = upgrade(state)
            before, progress = dict(state["settings"]), Progress(**state["progress"])
            longer = self._longer_settings(before, progress)
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

    def _warn_of_missing_checkpoints(self) -> None:
        """Numbered ones of epochs that are over are not made again."""
        plan = self.plan
        done = range(plan.epoch_base, self.progress.epoch)
        numbered = [e for e in done if e % plan.save_epoch_freq == 0 or e == plan.epochs]
        gone = [e for e in numbered if not (self.checkpoints / f"{e}_net_G.pth").exists()]
        if gone and self.is_main:
            listed = ", ".join(map(str, gone[:5])) + (" ..." if len(gone) > 5 else "")
            warnings.warn(
                f"{self.checkpoints} has lost its numbered checkpoints of epoch {listed}, which "
                "are not made again",
                stacklevel=2,
            )

    def _longer_settings(self, before: dict, progress: Progress) -> dict:
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
            self.schedule, nepochs=then["nepochs"], nepochs_decay=then["nepochs_decay"]
        )
        last_epoch = progress.epoch - (progress.step_in_epoch == 0)
        if not self.schedule.agrees(schedule, last_epoch, progress.step, len(self.loader)):
            listed = ", ".join(f"`{k}` {now[k]} (was {then[k]})" for k in now if now[k] != then[k])
            raise InputError(
                f"`log_dir` {self.folder} cannot be extended: with {listed} its {progress.step} "
                "steps would have had other learning rates. Train on in another folder from its "
                "checkpoints. Runs of constant rate (`nepochs_decay` 0) can be extended"
            )
        return now

    def _on_signal(self, name: str) -> None:
        if self.is_main:
            Bar.write(f"{name}: saving after this step")

    # ---- results

    def _results(self) -> dict:
        return {
            "finished": self.progress.finished,
            "epoch": self.progress.epoch - 1,
            "step": self.progress.step,
            "measure": self.judge.label,
        } | self.judge.state_dict()

    def _write_results(self) -> None:
        """The last file of a run: what it says finished is."""
        if self.is_main:
            write_json(self.folder / "results.json", self._results())
