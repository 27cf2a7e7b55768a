"""Train the teacher: a pix2pix generator. ``python train.py --help`` lists the flags."""

from data.build import training_loader
from models.build import new_discriminator, new_generator
from models.weights import load_network
from options import TrainOptions, run, settings
from report.run import write_run_page
from training.build import teacher_task, train, validation


def main() -> None:
    opt = TrainOptions.parse()
    device = settings.start_machine(opt)
    data, init = settings.data(opt), settings.initialisation(opt)
    loader = training_loader(data, device)

    spec = settings.spec(opt)
    generator = new_generator(spec, init)
    if opt.restore_G_path:
        load_network(generator, opt.restore_G_path, "`restore_G_path`")
    discriminator = new_discriminator(settings.discriminator(opt), sum(data.channels), init)
    task = teacher_task(
        generator, spec, discriminator, settings.losses(opt), settings.updates(opt), device
    )

    evaluation = validation(
        data,
        settings.measures(opt),
        device,
        opt.eval_batch_size,
        page=write_run_page,
        picture_size=opt.display_winsize,
    )
    train(task, loader, evaluation, settings.run(opt))


if __name__ == "__main__":
    run(main)
