"""Online distillation: the student learns from its teachers' images while the teachers train.

After OMGD (ICCV 2021): the student has no discriminator of its own and sees no real image. It has
one teacher, or two: a wider one, and a deeper one. A supernet may learn this way too (UGC, ICCV
2023).

What a student cannot predict, it averages: such images are smooth. So it may also learn from the
real images, by a discriminator of its own (`RealLosses`), beside the teachers' images or, once it
has learnt from them, without teachers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.generators import GeneratorSpec
from models.winograd import with_winograd
from runtime.cuda_graphs import CapturedStep, Recorder
from training.image_losses import ImageLosses, channel_distillation, kernel_alignment_loss
from training.losses import generator_loss, layer_losses
from training.tasks import Choice, Judge, StudentTask, Subnets, TeacherTask, generate, make_adam

# How activations are compared (`tap_loss`).
TAP_LOSSES: dict[str, Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]] = {
    "mse": lambda student, teacher: sum(layer_losses(student, teacher)),
    "channel": channel_distillation,
    "alignment": kernel_alignment_loss,
}


def _as_teacher(name: str) -> str:
    """What a network or a loss of the teachers is called beside those of the student: G2 is T2."""
    return name.replace("G", "T", 1)


@dataclass(frozen=True)
class RealLosses:
    """What a student learns from real images, beside the images of its teachers.

    Args:
        judge:       a discriminator of its own; None = it has none
        adversarial: weight of the loss that the judge gives
        l1:          weight of mean |S - B|, B the real image
    """

    judge: Judge | None = None
    adversarial: float = 1.0
    l1: float = 0.0


class OnlineTask(StudentTask):
    """A student and its teachers, trained in one loop.

    The student compares itself with the teachers' images from before their update of the same step
    (OMGD), and with the activations of the first alone. Its weights are updated in every step.

    Args:
        teaching: the teachers and how they learn; its weight ``distill`` is that of the taps' loss
        adaptors: from the student's taps to what ``tap_loss`` compares with the first teacher's
        losses:   between the images of the student and every teacher
        tap_loss: one of `TAP_LOSSES`
        every:    the teachers are updated in every ``every``-th step, after ``every`` - 1 steps of
                  the student alone (OMGD); 0 leaves them as they are, and neither they nor their
                  discriminator are then saved
        real:     what it learns from real images; its judge is the network ``D_student``
        subnets, ema: see `StudentTask`

    Where no loss compares with them, teachers that do not train are not run.
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
        real: RealLosses = RealLosses(),
    ):
        super().__init__(student, spec, adaptors, teaching.weights, device, subnets, amp, ema)
        self.teaching, self.losses, self.every = teaching, losses.to(device), every
        self.real = real
        self.compare_taps = TAP_LOSSES[tap_loss]
        # One image alone, as an epoch's last batch may be, has nothing to be compared with.
        self.least_images = 2 if tap_loss == "alignment" else 1
        self.optimizers = [make_adam(self._trained(), lr, beta1)]
        if real.judge:
            self.networks["D_student"] = real.judge.net_d
            self.optimizers.append(make_adam([*real.judge.net_d.parameters()], lr, beta1))
        # Those that every step updates.
        self.own = [*self.optimizers]
        self.teachers = teaching.nets_g
        if every:
            # Of the files and in the log, G is the student.
            names = {name: _as_teacher(name) for name in teaching.networks}
            self.networks |= {names[name]: net for name, net in teaching.networks.items()}
            self.specs |= {names[name]: spec for name, spec in teaching.specs.items()}
            self.optimizers += teaching.optimizers
            teaching.scaler = self.scaler
        else:
            for net in teaching.networks.values():
                net.eval().requires_grad_(False)
            if device.type == "cpu" and amp == "none":
                self.teachers = [with_winograd(net) for net in self.teachers]

    def record(self, recorder: Recorder) -> None:
        super().record(recorder)
        self.follow = CapturedStep(self.follow, self.own, recorder)

    def update(self, a: Tensor, b: Tensor, *choices: Choice | Tensor) -> dict[str, Tensor]:
        """A step of all."""
        losses, targets, taps = self.teaching.learn(a, b, taps=self.weights.distill > 0)
        losses = {_as_teacher(name): value for name, value in losses.items()}
        return losses | self._learn(a, b, targets, taps, choices)

    def follow(self, a: Tensor, b: Tensor, *choices: Choice | Tensor) -> dict[str, Tensor]:
        """A step of the student alone."""
        targets, taps = [], []
        if self.weights.distill or self.losses.weights.need_teachers:
            with torch.no_grad(), self._autocast():
                targets, taps = generate(self.teachers, a, self.weights.distill > 0)
        return self._learn(a, b, targets, taps, choices)

    def _update_at(self, step: int) -> Callable[..., dict[str, Tensor]]:
        return self.update if self.every and (step + 1) % self.every == 0 else self.follow

    def _learn(
        self,
        a: Tensor,
        b: Tensor,
        targets: list[Tensor],
        taps: list[Tensor],
        choices: Sequence[Choice | Tensor],
    ) -> dict[str, Tensor]:
        optimizer, passes, real = self.own[0], choices or [None], self.real
        sums: dict[str, Tensor] = {}
        if real.judge:
            with self._autocast():
                score_real = real.judge(a, b)
        for index, choice in enumerate(passes):
            with self._autocast():
                fake, adapted = self._student(a, choice)
                losses = self.losses(a, fake, *targets)
                # The discriminator sees a fake once: its own gradient stops at its weights, the
                # student's passes through them.
                score = real.judge(a, fake) if real.judge else None
            of_judge = {}
            if real.judge:
                mode = self.weights.gan_mode
                d_fake, d_real, loss_d = real.judge.losses(
                    mode, score, score_real, len(passes), index == 0
                )
                self._add_gradients(loss_d, self.own[1], retain_graph=True)
                of_judge = {"D_student_fake": d_fake, "D_student_real": d_real}
                losses["G_gan"] = real.adversarial * generator_loss(mode, score)
            if real.l1:
                losses["G_real"] = real.l1 * F.l1_loss(fake.float(), b)
            if self.weights.distill and len(a) >= self.least_images:
                losses["G_distill"] = self.weights.distill * self.compare_taps(adapted, taps)
            if losses:  # one image alone may have none, see `least_images`
                self._add_gradients(sum(losses.values()) / len(passes), optimizer)
            for name, value in (of_judge | losses).items():
                sums[name] = sums.get(name, 0) + value.detach() / len(passes)
        self._step(*self.own)
        self.scaler.update()
        return sums
