"""Train the teacher: pix2pix from pairs, CycleGAN or MUNIT from images that are no pairs, or SPADE
from label maps.

``python train.py --help`` lists the flags.
"""

import torch
from torch import nn

from data.build import training_loader
from models.build import Initialisation, new_discriminator, new_generator
from models.generators import GeneratorSpec
from models.weights import load_network
from options import Namespace, TrainOptions, run, settings
from report.run import write_run_page
from training.build import (
    cycle_gan_task,
    spade_task,
    teacher_task,
    train,
    validation,
    validation_both_ways,
)
from training.build_munit import munit_task
from training.tasks import Task


def _one_way(opt: Namespace) -> tuple[nn.Module, GeneratorSpec, nn.Module]:
    """(generator, its spec, a discriminator that sees its inputs beside its outputs)."""
    data, init = settings.data(opt), settings.initialisation(opt)
    spec = settings.spec(opt)
    generator = new_generator(spec, init)
    if opt.restore_G_path:
        load_network(generator, opt.restore_G_path, "`restore_G_path`")
    discriminator = new_discriminator(settings.discriminator(opt), sum(data.channels), init)
    return generator, spec, discriminator


def _both_ways(
    opt: Namespace, judges: Initialisation
) -> tuple[list[tuple[nn.Module, GeneratorSpec]], list[nn.Module]]:
    """A generator for inputs of each side, with its spec, and a discriminator of the images of
    each, whose weights are drawn as ``judges`` says."""
    init, generators, discriminators = settings.initialisation(opt), [], []
    for side, spec in settings.specs_both_ways(opt).items():
        generator = new_generator(spec, init)
        path, setting = settings.restored(opt, side)
        if path:
            load_network(generator, path, setting)
        generators.append((generator, spec))
        judge = settings.discriminator(opt, side)
        discriminators.append(new_discriminator(judge, spec.output_nc, judges))
    return generators, discriminators


def pix2pix(opt: Namespace, device: torch.device) -> Task:
    how = settings.losses(opt), settings.updates(opt)
    return teacher_task(*_one_way(opt), *how, device)


def cycle_gan(opt: Namespace, device: torch.device) -> Task:
    how = settings.losses(opt), settings.cycles(opt), settings.updates(opt)
    return cycle_gan_task(*_both_ways(opt, settings.initialisation(opt)), *how, device)


def spade(opt: Namespace, device: torch.device) -> Task:
    """A generator of label maps; its discriminator has several scales."""
    how = settings.spade(opt), settings.losses(opt), settings.updates(opt)
    return spade_task(*_one_way(opt), *how, device)


def munit(opt: Namespace, device: torch.device) -> Task:
    """Images in styles. The discriminators' weights are drawn as those of others are."""
    how = settings.losses(opt), settings.munit(opt), settings.updates(opt)
    return munit_task(*_both_ways(opt, Initialisation()), *how, device)


def new_task(opt: Namespace, device: torch.device) -> Task:
    tasks = {"pix2pix": pix2pix, "cycle_gan": cycle_gan, "spade": spade, "munit": munit}
    return tasks[opt.model](opt, device)


def main() -> None:
    opt = TrainOptions.parse()
    device = settings.start_machine(opt)
    data, measures = settings.data(opt), settings.measures(opt)
    loader = training_loader(data, device)
    task = new_task(opt, device)
    shown = dict(page=write_run_page, picture_size=opt.display_winsize)
    if settings.both_ways(opt):
        back = settings.measures_back(opt)
        evaluation = validation_both_ways(
            data, measures, back, device, opt.eval_batch_size, **shown
        )
    else:
        evaluation = validation(data, measures, device, opt.eval_batch_size, **shown)
    train(task, loader, evaluation, settings.run(opt))


if __name__ == "__main__":
    run(main)
