"""Generate images with checkpoints and measure them side by side. ``--help`` lists the flags."""

from pathlib import Path

from options import TestOptions, run
from options import assemble as a
from report.results import test_generators
from runtime.folders import make_folder


def main() -> None:
    opt = TestOptions.parse()
    folder = make_folder(opt.results_dir, "--results_dir")
    device = a.device_of(opt)
    teacher, models = a.load_models(opt, device)
    a.limit_images(opt)
    loader = a.inference_loader(opt, device, opt.batch_size)
    times = a.timed_runs(opt, len(loader.dataset), teacher is not None or len(models) > 1)
    criteria = a.criteria_of(opt, device)
    flags = a.options_of(opt)
    results = test_generators(folder, models, loader, criteria, times, teacher, flags)
    if opt.need_profile:
        for model in results["models"]:
            print(
                f"{model['name']}: {model['macs']:,} MACs ({opt.macs_convention} convention), {model['params']:,} parameters"
            )
    print(f"page: {Path(opt.results_dir) / 'index.html'}")


if __name__ == "__main__":
    run(main)
