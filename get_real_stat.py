"""Statistics of the real images for FID, written as ``.npz``. ``--help`` lists the flags."""

from evaluation.real import measure_real
from metrics.frechet import save_statistics
from options import RealStatOptions, run
from options import assemble as a
from runtime.folders import make_parent


def main() -> None:
    opt = RealStatOptions.parse()
    device = a.device_of(opt)
    output = make_parent(opt.output_path, "--output_path")
    net = a.feature_net(opt, device)
    _, real = a.sides_of(opt)
    statistics = measure_real(real, net, device, opt.num_threads)
    save_statistics(output, statistics, net.label)
    print(f"{output}: {statistics.n} images, {net.label}")


if __name__ == "__main__":
    run(main)
