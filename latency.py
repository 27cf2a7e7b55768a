"""Measure the speed of checkpoints on this machine, side by side. ``--help`` lists the flags."""

import torch

from data.build import inference_loader
from deploy.fast import Unavailable, make_form
from errors import InputError
from evaluation.speed import measure_side_by_side, peak_memory
from evaluation.tested import Loaded, load_tested
from models.layers import pad_to_fit
from options import LatencyOptions, run, settings
from report.latency import Timed, write_comparison
from runtime.folders import make_folder, take_folder


def forms_of(models: list[Loaded], backends: list[str], x: torch.Tensor) -> list[Timed]:
    """What is timed: every model in every form that this machine can run; says which it cannot, and why."""
    timed = []
    for loaded in models:
        for backend in backends:
            try:
                form = make_form(backend, loaded.net, x)
            except Unavailable as error:
                print(f"{loaded.model.name}: {backend} skipped: {error}")
                continue
            timed.append(Timed(loaded.model, form))
    if not timed:
        raise InputError(
            f"--backends {' '.join(backends)}: none can be run here, see above; eager always can"
        )
    return timed


def main() -> None:
    opt = LatencyOptions.parse()
    folder = make_folder(opt.results_dir, "`results_dir`")
    take_folder(folder, "latency.py", "`results_dir`")
    device = settings.start_machine(opt)

    teacher, models = load_tested(settings.tested(opt), device)
    batch = next(iter(inference_loader(settings.data(opt), device).epoch()))
    x = pad_to_fit(batch.A)
    timed = forms_of([teacher, *models] if teacher else models, opt.backends, x)
    memory = [peak_memory(entry.form, x) for entry in timed]
    timings = measure_side_by_side([entry.form.run for entry in timed], x, opt.times)

    print(write_comparison(folder, timed, timings, memory))
    first, timing = timed[0], timings[0]
    print(
        f"{first.model.name}: {timing['median_ms']:.2f} ms per batch of {len(x)} "
        f"at {timing['width']}x{timing['height']} on {timing['device']} "
        f"(median of {opt.times}; 10% to 90%: {timing['p10_ms']:.2f} to "
        f"{timing['p90_ms']:.2f} ms), {first.model.macs / 1e9:.3f}G MACs"
    )


if __name__ == "__main__":
    run(main)
