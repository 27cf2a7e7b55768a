"""Learning-rate policies (`lr_policy`): linear, step, cosine, plateau."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

POLICIES = ("linear", "step", "cosine", "plateau")


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes over a run.

    Policies:
        linear:  constant for ``nepochs``, then to zero over ``nepochs_decay``
        step:    times ``gamma`` every ``decay_steps``
        cosine:  half a cosine from 1 to 0 over all epochs
        plateau: times ``gamma`` when the metric stops improving

    Args:
        policy:  one of these
        counter: ``epoch`` or ``iter``: what the rate changes with, and the unit of ``decay_steps``
        nepochs, nepochs_decay: epochs at the initial rate, and epochs of decay
        decay_steps: see step
        gamma:   factor of step and plateau
    """

    policy: str = "linear"
    counter: str = "epoch"
    nepochs: int = 5
    nepochs_decay: int = 15
    decay_steps: int = 100000
    gamma: float = 0.5

    def factor(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """Factor on the initial rate, from 0 to 1.

        With `counter` epoch it is that of the 1-based ``epoch``, with iter that after ``step``
        updates.

        linear: 1 - max(0, e - nepochs) / (nepochs_decay + 1), where e is the epoch, a fraction
        when iterations are counted.
        """
        by_step = self.counter == "iter"
        e = 1 + step / steps_per_epoch if by_step else float(epoch)
        if self.policy == "linear":
            return max(0.0, 1 - max(0.0, e - self.nepochs) / (self.nepochs_decay + 1))
        if self.policy == "step":
            return self.gamma ** ((step if by_step else epoch - 1) // self.decay_steps)
        if self.policy == "cosine":
            total = max(1, self.nepochs + self.nepochs_decay)
            return (1 + math.cos(math.pi * min(1.0, (e - 1) / total))) / 2
        return 1.0

    def agrees(self, other: Schedule, epoch: int, step: int, steps_per_epoch: int) -> bool:
        """Whether two schedules give equal rates up to ``epoch`` and in all steps before ``step``.

        Schedules of `counter` iter are compared step by step, others epoch by epoch.
        """
        if self.counter == "iter":
            places = ((1, each) for each in range(step))
        else:
            places = ((each, 0) for each in range(1, epoch + 1))
        return all(
            self.factor(*place, steps_per_epoch) == other.factor(*place, steps_per_epoch)
            for place in places
        )


class LearningRate:
    """Applies a `Schedule` to optimizers; only ``plateau`` has state."""

    def __init__(
        self,
        schedule: Schedule,
        optimizers: list[Optimizer],
        steps_per_epoch: int,
        lower_is_better: bool,
    ):
        self.schedule, self.optimizers, self.steps_per_epoch = schedule, optimizers, steps_per_epoch
        self.initial = [[g["lr"] for g in o.param_groups] for o in optimizers]
        self.plateaus = []
        if schedule.policy == "plateau":
            mode = "min" if lower_is_better else "max"
            self.plateaus = [
                ReduceLROnPlateau(o, mode, factor=schedule.gamma, threshold=0.01, patience=5, eps=0)
                for o in optimizers
            ]

    def update(self, epoch: int, step: int) -> None:
        """Set the rates for the update that comes next."""
        if self.schedule.policy == "plateau":
            return
        factor = self.schedule.factor(epoch, step, self.steps_per_epoch)
        for optimizer, initial in zip(self.optimizers, self.initial, strict=True):
            for group, lr in zip(optimizer.param_groups, initial, strict=True):
                group["lr"] = lr * factor

    def observe(self, metric: float) -> None:
        """Tell ``plateau`` the metric of an evaluation."""
        for plateau in self.plateaus:
            plateau.step(metric)

    @property
    def current(self) -> float:
        return self.optimizers[0].param_groups[0]["lr"]

    def state_dict(self) -> list[dict]:
        return [plateau.state_dict() for plateau in self.plateaus]

    def load_state_dict(self, states: list[dict]) -> None:
        for plateau, state in zip(self.plateaus, states, strict=True):
            plateau.load_state_dict(state)
