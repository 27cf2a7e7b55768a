"""Train the teacher: a pix2pix generator. ``python train.py --help`` lists the flags."""

from models.weights import load_network
from options import TrainOptions, run
from options import assemble as a
from training.tasks import TeacherTask


def main() -> None:
    opt = TrainOptions.parse()
    device = a.device_of(opt)
    if "pool_size" in opt.explicit:
        print(
            "--pool_size: no effect on pix2pix, whose discriminator must see each output with its own input"
        )
    loader = a.training_loader(opt, device)
    spec = a.spec_of(opt, "")
    net_g = a.new_generator(opt, spec)
    if opt.restore_G_path:
        load_network(net_g, opt.restore_G_path, "--restore_G_path")
    net_d = a.discriminator_of(opt, opt.input_nc + opt.output_nc)
    task = TeacherTask(
        net_g.to(device),
        net_d.to(device),
        spec,
        a.weights_of(opt),
        opt.lr,
        opt.beta1,
        device,
        opt.amp,
    )
    a.restore_optimizers(opt, task.optimizers)
    a.train(opt, task, loader, a.evaluation_of(opt, device, {}))


if __name__ == "__main__":
    run(main)
