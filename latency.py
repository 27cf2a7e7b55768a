"""Measure the speed of a checkpoint on this machine. ``--help`` lists the flags."""

from options import LatencyOptions, run
from options import assemble as a
from report.latency import measure_latency
from training.logs import make_folder, write_json


def main() -> None:
    opt = LatencyOptions.parse()
    folder = make_folder(opt.results_dir, "--results_dir")
    device = a.device_of(opt)
    net, model = a.load_tested(opt, device)
    batch = next(iter(a.inference_loader(opt, device, opt.batch_size).epoch()))
    timing = measure_latency(net, batch.A, opt.times)
    write_json(
        folder / "latency.json", {"model": model.name, "macs": model.macs, "params": model.params} | timing
    )
    print(
        f"{model.name}: {timing['median_ms']:.2f} ms per batch of {len(batch)} at {timing['width']}x{timing['height']} on {timing['device']} "
        f"(median of {opt.times}; 10% to 90%: {timing['p10_ms']:.2f} to {timing['p90_ms']:.2f} ms), {model.macs / 1e9:.3f}G MACs"
    )


if __name__ == "__main__":
    run(main)
