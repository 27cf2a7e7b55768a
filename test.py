"""Generate images with a checkpoint and measure it. ``--help`` lists the flags."""

from pathlib import Path

from options import TestOptions, run
from options import assemble as a
from report.results import test_generator
from training.logs import make_folder


def main() -> None:
    opt = TestOptions.parse()
    folder = make_folder(opt.results_dir, "--results_dir")
    device = a.device_of(opt)
    net, model = a.load_tested(opt, device)
    a.limit_images(opt)
    loader = a.inference_loader(opt, device, opt.batch_size)
    results = test_generator(folder, net, model, loader, a.criteria_of(opt, device))
    if opt.need_profile:
        print(
            f"{model.name}: {results['macs']:,} MACs ({opt.macs_convention} convention), {results['params']:,} parameters"
        )
    print(f"page: {Path(opt.results_dir) / 'index.html'}")


if __name__ == "__main__":
    run(main)
