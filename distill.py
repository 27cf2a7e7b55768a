"""Distil a teacher into a narrower student, which may start pruned from a pretrained network.

``--help`` lists the flags.
"""

from argparse import Namespace

from data.build import training_loader
from models.build import load_teacher, new_discriminator, new_student
from options import DistillOptions, run, settings
from report.run import write_run_page
from training.build import distillation_task, new_adaptors, subnets, train, validation


def distill(opt: Namespace) -> None:
    """A student learns from a teacher; a supernet at a configuration drawn anew in each step."""
    device = settings.start_machine(opt)
    data, init = settings.data(opt), settings.initialisation(opt)
    loader = training_loader(data, device)

    teacher, teacher_spec = load_teacher(settings.teacher(opt), data.channels)
    student, spec = new_student(settings.student(opt), init)
    chosen = subnets(settings.subnets(opt), spec, data.batch_size)
    updates = settings.updates(opt)
    adaptors = new_adaptors(spec, teacher_spec, updates, init)
    # Without pairs no input belongs to a real image: the discriminator sees images alone (SPEC 3).
    seen = data.output_nc + (data.input_nc if data.paired else 0)
    discriminator = new_discriminator(settings.discriminator(opt), seen, init)
    task = distillation_task(
        student,
        spec,
        teacher,
        adaptors,
        discriminator,
        settings.losses(opt),
        updates,
        device,
        chosen,
        data.paired,
    )

    evaluation = validation(
        data,
        settings.measures(opt),
        device,
        opt.eval_batch_size,
        page=write_run_page,
        columns={"teacher": teacher},
        picture_size=opt.display_winsize,
    )
    train(task, loader, evaluation, settings.run(opt))


if __name__ == "__main__":
    run(lambda: distill(DistillOptions.parse()))
