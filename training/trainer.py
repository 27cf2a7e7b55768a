"""One loop for all tasks: epochs, evaluations, checkpoints.

A run's state is saved and restored whole. The order and crops of the data and the configurations
of a supernet are functions of seed and position, so a run that was stopped and continued is the
run that was never stopped.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import torch

from data.loader import Batch, Loader
from runtime import distributed
from runtime.folders import make_folder, release_folders, take_folder
from runtime.progress import Bar
from runtime.signals import StopSignals
from training.archive import Archive
from training.judge import Evaluation, Judge
from training.log import TrainingLog
from training.schedules import LearningRate, Schedule
from training.state import Progress
from training.tasks import Task


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

    def numbers(self, epoch: int) -> bool:
        """Whether networks are kept under the number of an epoch."""
        return epoch % self.save_epoch_freq == 0 or epoch == self.epochs


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
        self.task, self.loader, self.plan = task, loader, plan
        self.settings, self.options = settings, options
        self.is_main = distributed.is_main()
        self.folder = make_folder(folder, "`log_dir`")
        self.checkpoints = make_folder(self.folder / "checkpoints", "`log_dir`")
        self.progress = Progress(plan.epoch_base, 0, plan.iter_base)
        self.judge = Judge(evaluation, self.folder)
        self.log = TrainingLog(self.folder / "log.jsonl", loader.device, tensorboard_dir)
        lower = evaluation.lower_is_better if evaluation else True
        self.lr = LearningRate(schedule, task.optimizers, len(loader), lower)
        # All that a run needs to continue.
        parts = {
            "progress": self.progress,
            "networks": task.networks,
            "optimizers": task.optimizers,
            "scaler": task.scaler,
            "lr": self.lr,
            "judge": self.judge,
            "log": self.log,
            **task.memory,
        }
        self.archive = Archive(self.folder, settings, task, self.log, self.progress, parts)

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
                resumed = self.archive.restore(self.lr)
                done = range(self.plan.epoch_base, self.progress.epoch)
                self.archive.warn_of_missing([e for e in done if self.plan.numbers(e)])
            if self.progress.finished:
                self._say("already finished, " + self._describe_best())
                # The run may have been killed after its last state was saved.
                if not (self.folder / "results.json").exists():
                    self.archive.write("results.json", self._results())
            else:
                self._train(resumed)
                self._say("finished, " + self._describe_best())
            return self._results()
        finally:
            release_folders()

    def _train(self, resumed: bool) -> None:
        if self.options is not None:
            self.archive.write("options.json", self.options)
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
        while not self._over:
            self.bar.set_description(f"epoch {at.epoch}/{plan.epochs}")
            for batch in self.loader.epoch(at.epoch, at.step_in_epoch):
                self._step(batch)
                if at.step >= plan.max_steps:
                    break
            if at.step_in_epoch >= len(self.loader):
                self._end_epoch()

    @property
    def _over(self) -> bool:
        """Whether no step is left."""
        return self.progress.epoch > self.plan.epochs or self.progress.step >= self.plan.max_steps

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
            self.archive.check_losses()
        if at.step % plan.print_freq == 0:
            self._log_losses()
        # At the end of an epoch `_end_epoch` saves.
        if at.step_in_epoch < len(self.loader):
            if at.step % plan.save_latest_freq == 0:
                self.archive.save_networks("latest")
                self._evaluate(at.epoch)
                self.archive.save_state()
            self._stop_or_save()

    def _end_epoch(self) -> None:
        at, plan = self.progress, self.plan
        epoch = at.epoch
        at.epoch, at.step_in_epoch = epoch + 1, 0
        numbered = plan.numbers(epoch)
        if numbered or at.step % plan.save_latest_freq == 0:
            self.archive.save_networks("latest")
            if numbered:
                self.archive.save_networks(str(epoch))
            self._evaluate(epoch)
            self.archive.save_state()
        self._stop_or_save()

    def _end(self) -> None:
        at, latest = self.progress, self.judge.latest
        at.finished = True
        self._log_losses()
        if latest is None or latest["step"] != at.step:
            self._evaluate(at.last_epoch)
        self.archive.save_networks("latest")
        self.archive.save_state()
        # Written last: a run that has this file is finished.
        self.archive.write("results.json", self._results())

    # ---- evaluations and logs

    def _evaluate(self, epoch: int) -> None:
        """Measure the networks, keep the best checkpoint, write pictures and a log line."""
        if self._over:
            # The page shows them too.
            self._log_losses()
        if self.judge.evaluation is None:
            return
        record = self.judge(self.task, epoch, self.progress.step)
        if "score" in record:
            self.lr.observe(record["score"])
        if self.judge.improved:
            self.archive.save_networks("best")
        self.log.write(record)
        self._write_page()

    def _write_page(self) -> None:
        if self.is_main and self.judge.evaluation is not None:
            self.judge.evaluation.page(self.folder)

    def _log_losses(self) -> None:
        if not self.log.steps:
            return
        self.archive.check_losses()
        means = self.log.write_means(self.progress.last_epoch, self.progress.step, self.lr.current)
        shown = {name: f"{value:.3g}" for name, value in means.items() if not name[-1].isdigit()}
        self.bar.set_postfix(shown, refresh=False)

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

    def _describe_best(self) -> str:
        return self.judge.describe_best(self.checkpoints, self.task.first)

    def _say(self, text: str) -> None:
        print(f"{self.folder}: {text}")

    # ---- stopping

    def _stop_or_save(self) -> None:
        """On a signal save and stop. Otherwise save if it is due."""
        # A signal to one process stops all of them at this step: no one waits in a collective.
        signum = distributed.largest(self._signals.received or 0)
        if signum:
            self.archive.save_state()
            stop = Stopped(signum)
            print(f"stopped by {stop}: the state is saved, the same command continues")
            # torchrun ends all processes as soon as one exits: wait until the state is saved.
            distributed.largest(0)
            distributed.shutdown()
            raise stop
        self.archive.save_state_if_due()

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
