"""Settings -> the tasks of MUNIT, see `training.munit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from errors import InputError
from models.generators import GeneratorSpec
from models.image_scales import ImageScaleDiscriminator
from training.build import Described, UpdateSettings, ready
from training.munit import MunitDistillTask, MunitRates, MunitTask, MunitWeights
from training.tasks import LossWeights, Subnets


@dataclass(frozen=True)
class MunitSettings:
    """How generators of images in styles learn.

    Args:
        weights:      see `training.munit.MunitWeights`
        weight_decay: of Adam, which is added to the gradient
        seed:         of the random styles
        every:        of a student, see `training.munit.MunitDistillTask`
    """

    weights: MunitWeights = field(default_factory=MunitWeights)
    weight_decay: float = 1e-4
    seed: int = 0
    every: int = 2

    def rates(self, updates: UpdateSettings) -> MunitRates:
        betas = updates.beta1, updates.beta2
        return MunitRates(updates.lr, betas, self.weight_decay)


def munit_task(
    generators: Sequence[Described],
    discriminators: Sequence[ImageScaleDiscriminator],
    weights: LossWeights,
    settings: MunitSettings,
    updates: UpdateSettings,
    device: torch.device,
) -> MunitTask:
    """G_A and G_B learn from images that are no pairs, before D_A and D_B.

    Raises:
        InputError: generators that take no style, or have other styles or contents than each other.
    """
    for _, spec in generators:
        _require_styled(spec, "netG")
    (_, one), (_, other) = generators
    if (one.config, one.form) != (other.config, other.form):
        raise InputError(
            f"`netG`: generators of one width learn together, not {one.netG} {one.config} and "
            f"{other.netG} {other.config}"
        )
    task = MunitTask(
        [net.to(device) for net, _ in generators],
        [net.to(device) for net in discriminators],
        [spec for _, spec in generators],
        weights,
        settings.weights,
        settings.rates(updates),
        settings.seed,
        device,
        updates.amp,
        updates.ema,
    )
    return ready(task, updates)


def munit_distillation_task(
    student: nn.Module,
    spec: GeneratorSpec,
    teacher: Described,
    adaptors: list[nn.Module],
    discriminator: ImageScaleDiscriminator,
    weights: LossWeights,
    settings: MunitSettings,
    updates: UpdateSettings,
    device: torch.device,
    subnets: Subnets | None,
) -> MunitDistillTask:
    """A student learns a teacher's images, contents and styles; ``subnets`` if it is a supernet.

    Raises:
        InputError: one of them takes no style, or has no style encoder though some steps need one;
            their styles have other lengths, or the steps were to be recorded.
    """
    net, teacher_spec = teacher
    # With random styles in every step nobody looks for one.
    finds = settings.every > 1
    _require_styled(spec, "student_netG", finds)
    _require_styled(teacher_spec, "teacher_netG", finds)
    lengths = spec.form.style_dim, teacher_spec.form.style_dim
    if lengths[0] != lengths[1]:
        raise InputError(
            f"`student_netG` {spec.netG} has styles of {lengths[0]} numbers, and `teacher_netG` "
            f"{teacher_spec.netG} of {lengths[1]}: a style must mean the same to both"
        )
    if updates.cuda_graphs:
        raise InputError(
            "`cuda_graphs`: steps with styles of images follow steps with random ones, and one "
            "recording is not both; leave it out"
        )
    task = MunitDistillTask(
        student.to(device),
        net.to(device),
        discriminator.to(device),
        [adaptor.to(device) for adaptor in adaptors],
        spec,
        weights,
        settings.weights,
        settings.rates(updates),
        settings.seed,
        device,
        settings.every,
        subnets,
        updates.amp,
        updates.ema,
    )
    return ready(task, updates)


def _require_styled(spec: GeneratorSpec, setting: str, encoder: bool = True) -> None:
    """InputError unless it takes styles, and, if ``encoder``, finds them in images."""
    if not spec.kind.styled:
        raise InputError(
            f"`{setting}` {spec.netG} takes no style, which MUNIT learns; give a MUNIT generator"
        )
    if encoder and not spec.form.style_encoder:
        raise InputError(
            f"`{setting}` {spec.netG}: without a style encoder it cannot learn styles; a student "
            "and its teacher can do without at `style_encoder_step` 1"
        )
