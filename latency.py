"""Measure the speed of checkpoints on this machine, side by side. ``--help`` lists the flags."""

import copy

import torch

from deploy.fast import Unavailable, make_form
from errors import InputError
from options import LatencyOptions, run
from options import assemble as a
from report.latency import Timed, measure_side_by_side, peak_memory, write_comparison
from training.checkpoints import load_generator
from training.logs import make_folder


def load(opt, device) -> list:
    """(network, `TestedModel`) of ``--restore_G_path`` and of each of ``--compare``, which need no flags on their architecture."""
    models = [a.load_tested(opt, device)]
    for path in opt.compare:
        _, spec = load_generator(path, "--compare")
        if spec.input_nc != opt.input_nc:
            raise InputError(
                f"--compare {path} takes {spec.input_nc} channels, not {opt.input_nc} as the images"
            )
        other = copy.copy(opt)
        other.restore_G_path, other.explicit = path, set()
        models.append(a.load_tested(other, device))
    return models


def forms_of(models: list, backends: list[str], x: torch.Tensor) -> list[Timed]:
    """What is timed: every model in every form that this machine can run; says which it cannot, and why."""
    timed = []
    for net, model in models:
        for backend in backends:
            try:
                form = make_form(backend, net, x)
            except Unavailable as error:
                print(f"{model.name}: {backend} skipped: {error}")
                continue
            timed.append(Timed(model, form))
    if not timed:
        raise InputError(
            f"--backends {' '.join(backends)}: none can be run here, see above; eager always can"
        )
    return timed


def main() -> None:
    opt = LatencyOptions.parse()
    folder = make_folder(opt.results_dir, "--results_dir")
    if opt.threads:
        torch.set_num_threads(opt.threads)
    device = a.device_of(opt)
    models = load(opt, device)
    x = next(iter(a.inference_loader(opt, device, opt.batch_size).epoch())).A
    timed = forms_of(models, opt.backends, x)
    memory = [peak_memory(entry.form, x) for entry in timed]
    timings = measure_side_by_side([entry.form.run for entry in timed], x, opt.times)
    print(write_comparison(folder, timed, timings, memory))
    first, timing = timed[0], timings[0]
    print(
        f"{first.model.name}: {timing['median_ms']:.2f} ms per batch of {len(x)} at {timing['width']}x{timing['height']} on {timing['device']} "
        f"(median of {opt.times}; 10% to 90%: {timing['p10_ms']:.2f} to {timing['p90_ms']:.2f} ms), {first.model.macs / 1e9:.3f}G MACs"
    )


if __name__ == "__main__":
    run(main)
