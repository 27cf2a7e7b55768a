"""Distil a teacher into a narrower student, which may start pruned from a pretrained network.

``--help`` lists the flags.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from data.build import DataSettings, calibration_batches, training_loader
from models.build import Initialisation, new_discriminator, new_student, new_teacher
from models.styles import InRandomStyles
from options import DistillOptions, Namespace, run, settings
from report.run import write_run_page
from training.build import (
    begin_quantised,
    begin_tuned,
    distillation_task,
    new_adaptors,
    online_task,
    spade_task,
    subnets,
    train,
    validation,
)
from training.build_munit import munit_distillation_task
from training.tasks import Task


def student_task(
    opt: Namespace, data: DataSettings, device: torch.device
) -> tuple[Task, list[nn.Module]]:
    """What trains the student, and its teachers."""
    init = settings.initialisation(opt)
    teachers = [
        new_teacher(each, data.channels, data.described, init) for each in settings.teachers(opt)
    ]
    teacher, teacher_spec = teachers[0]
    student, spec = new_student(settings.student(opt), init)

    def calibration() -> Iterable[Tensor]:
        return calibration_batches(data, device)

    chosen = subnets(settings.subnets(opt), spec, data.batch_size, calibration)
    begin_tuned(student, spec, calibration)
    if getattr(opt, "qat", False):
        begin_quantised(student, calibration)
    updates = settings.updates(opt)
    online = opt.distiller == "online"
    taps = "mse"
    spade = settings.is_spade(opt)
    if online:
        taps = opt.tap_loss if opt.lambda_distill else None
    elif spade and not opt.lambda_distill:
        taps = None
    adaptors = new_adaptors(spec, teacher_spec, updates, init, taps)
    # Without pairs no input belongs to a real image, so the discriminator sees images alone
    # (SPEC 3).
    seen = sum(data.channels) if data.paired else data.output_nc
    munit = settings.is_munit(opt)
    judge = settings.discriminator(opt)
    # MUNIT's is drawn as those of others are.
    discriminator = new_discriminator(judge, seen, Initialisation() if munit else init)
    parts = dict(
        student=student,
        spec=spec,
        adaptors=adaptors,
        discriminator=discriminator,
        weights=settings.losses(opt),
        updates=updates,
        device=device,
        subnets=chosen,
    )
    if spade:
        how = settings.spade(opt)
        return spade_task(parts.pop("student"), **parts, settings=how, teacher=teacher), [teacher]
    if munit:
        how = settings.munit(opt)
        task = munit_distillation_task(**parts, settings=how, teacher=teachers[0])
        return task, [InRandomStyles(teacher)]
    parts["paired"] = data.paired
    if online:
        own = settings.own_discriminator(opt)
        own = new_discriminator(own, seen, init) if own else None
        how = settings.online(opt)
        task = online_task(**parts, teachers=teachers, settings=how, own_discriminator=own)
    else:
        task = distillation_task(**parts, teacher=teacher)
    return task, [net for net, _ in teachers]


def distill(opt: Namespace) -> None:
    """Train a student from a teacher. A supernet runs newly drawn configurations in each step."""
    device = settings.start_machine(opt)
    data = settings.data(opt)
    loader = training_loader(data, device)
    task, teachers = student_task(opt, data, device)
    evaluation = validation(
        data,
        settings.measures(opt),
        device,
        opt.eval_batch_size,
        page=write_run_page,
        columns={f"teacher{n + 1 if n else ''}": net for n, net in enumerate(teachers)},
        picture_size=opt.display_winsize,
    )
    train(task, loader, evaluation, settings.run(opt))


if __name__ == "__main__":
    run(lambda: distill(DistillOptions.parse()))
