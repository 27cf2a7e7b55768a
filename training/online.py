"""Online distillation: the student learns from its teacher's images while the teacher trains.

After OMGD (ICCV 2021): the student has no discriminator of its own and sees no real image. A
supernet may learn this way too (UGC, ICCV 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.generators import GeneratorSpec
from models.winograd import with_winograd
from runtime.cuda_graphs import CapturedStep, Recorder
from training.image_losses import ImageLosses, channel_distillation, kernel_alignment_loss
from training.losses import layer_losses
from training.tasks import Choice, StudentTask, Subnets, TeacherTask, generate, make_adam

# How activations are compared (`tap_loss`).
TAP_LOSSES: dict[str, Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]] = {
    "mse": lambda student, teacher: sum(layer_losses(student, teacher)),
    "channel": channel_distillation,
    "alignment": kernel_alignment_loss,
}


class OnlineTask(StudentTask):
    """A student and its teacher, trained in one loop.

    The student compares itself with the teacher's images from before the teacher's update of the
    same step (OMGD). Its weights are updated in every step.

    Args:
        teaching: the teacher and how it learns; its weight ``distill`` is that of the taps' loss
        adaptors: from the student's taps to what ``tap_loss`` compares with the teacher's
        losses:   between the images of student and teacher
        tap_loss: one of `TAP_LOSSES`
        every:    the teacher is updated in steps 0, ``every``, 2 ``every`` ...; 0 leaves it as it
                  is, and neither it nor its discriminator is then saved
        subnets, ema: see `StudentTask`
    """

    def __init__(
        self,
        student: nn.Module,
        teaching: TeacherTask,
        adaptors: list[nn.Module],
        spec: GeneratorSpec,
        losses: ImageLosses,
        tap_loss: str,
        lr: float,
        beta1: float,
        device: torch.device,
        subnets: Subnets | None = None,
        every: int = 1,
        amp: str = "none",
        ema: float = 0.0,
    ):
        super().__init__(student, spec, adaptors, teaching.weights, device, subnets, amp, ema)
        self.teaching, self.losses, self.every = teaching, losses.to(device), every
        self.compare_taps = TAP_LOSSES[tap_loss]
        # One image alone, as an epoch's last batch may be, has nothing to be compared with.
        self.least_images = 2 if tap_loss == "alignment" else 1
        self.optimizers = [make_adam(self._trained(), lr, beta1)]
        self.teacher = teaching.net_g
        if every:
            self.networks |= {"T": teaching.net_g, "D": teaching.net_d}
            self.specs["T"] = teaching.specs["G"]
            self.optimizers += teaching.optimizers
            teaching.scaler = self.scaler
        else:
            for net in (teaching.net_g, teaching.net_d):
                net.eval().requires_grad_(False)
            if device.type == "cpu" and amp == "none":
                self.teacher = with_winograd(self.teacher)

    def record(self, recorder: Recorder) -> None:
        super().record(recorder)
        self.follow = CapturedStep(self.follow, self.optimizers[:1], recorder)

    def update(self, a: Tensor, b: Tensor, *choices: Choice | Tensor) -> dict[str, Tensor]:
        """A step of both."""
        losses, target, taps = self.teaching.learn(a, b, taps=self.weights.distill > 0)
        # The teacher's own are called T_gan, T_recon: in the log G is the student.
        losses = {name.replace("G_", "T_"): value for name, value in losses.items()}
        return losses | self._learn(a, target, taps, choices)

    def follow(self, a: Tensor, b: Tensor, *choices: Choice | Tensor) -> dict[str, Tensor]:
        """A step of the student alone."""
        with torch.no_grad(), self._autocast():
            target, taps = generate(self.teacher, a, self.weights.distill > 0)
        return self._learn(a, target, taps, choices)

    def _update_at(self, step: int) -> Callable[..., dict[str, Tensor]]:
        return self.update if self.every and step % self.every == 0 else self.follow

    def _learn(
        self, a: Tensor, target: Tensor, taps: list[Tensor], choices: Sequence[Choice | Tensor]
    ) -> dict[str, Tensor]:
        optimizer, passes = self.optimizers[0], choices or [None]
        sums: dict[str, Tensor] = {}
        for choice in passes:
            with self._autocast():
                fake, adapted = self._student(a, choice)
                losses = self.losses(a, fake, target)
            if self.weights.distill and len(a) >= self.least_images:
                losses["G_distill"] = self.weights.distill * self.compare_taps(adapted, taps)
            if losses:  # one image alone may have none, see `least_images`
                self._add_gradients(sum(losses.values()) / len(passes), optimizer)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(passes)
        self._step(optimizer)
        self.scaler.update()
        return sums
