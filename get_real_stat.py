"""Measure real images for FID and write the statistics as ``.npz``. ``--help`` lists the flags."""

from data.build import datasets
from evaluation.build import feature_net
from evaluation.real import measure_real
from metrics.frechet import save_statistics
from options import RealStatOptions, run, settings
from runtime.folders import make_parent


def main() -> None:
    opt = RealStatOptions.parse()
    device = settings.start_machine(opt)
    output = make_parent(opt.output_path, "`output_path`")
    net = feature_net(settings.features(opt), device)
    _, real = datasets(settings.data(opt))
    statistics = measure_real(real, net, device, opt.num_threads, real.resize.crop)
    save_statistics(output, statistics, net.label)
    size = "several sizes"
    if statistics.size:
        size = f"{statistics.size[1]}x{statistics.size[0]}"
    print(f"{output}: {statistics.n} images, {net.label}, {size}")


if __name__ == "__main__":
    run(main)
