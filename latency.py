"""Measure the speed of checkpoints on this machine, side by side. ``--help`` lists the flags."""

import torch

from data.build import inference_loader
from deploy.forms import Unavailable, make_form
from errors import InputError
from evaluation.speed import measure_side_by_side, peak_memory
from evaluation.tested import Loaded, load_tested
from models.layers import multiple_of, pad_to_fit
from options import LatencyOptions, run, settings, test_settings
from report.latency import Timed, write_comparison
from runtime.folders import make_folder, take_folder
from runtime.progress import Bar


def prepare(models: list[Loaded], backends: list[str], x: torch.Tensor) -> list[Timed]:
    """Build every model in every form that this machine can run.

    Forms that cannot run here are skipped, and the reason is printed. Ratios are against the first
    entry of the result; a printed line says so if that is not the first model in the first backend.

    Args:
        models:   the first one is the reference
        backends: names of forms, see `deploy.forms.FORMS`
        x:        float32 N C H W in [-1, 1], the batch to time

    Raises:
        InputError: no form can run here.
    """
    timed = []
    wanted = [(loaded, backend) for loaded in models for backend in backends]
    bar = Bar(wanted, desc="preparing", unit="form")
    for loaded, backend in bar:
        bar.set_postfix_str(f"{loaded.label}, {backend}")
        try:
            form = make_form(backend, loaded.net, x)
        except Unavailable as error:
            Bar.write(f"{loaded.model.name}: {backend} skipped: {error}")
            continue
        timed.append(Timed(loaded.model, form))
    if not timed:
        raise InputError(
            f"--backends {' '.join(backends)}: none can run here, for the reasons above; "
            "eager always can"
        )
    first, (model, backend) = timed[0], wanted[0]
    if (first.model, first.form.name) != (model.model, backend):
        print(
            f"{model.model.name} in {backend} could not run: ratios are against "
            f"{first.model.name} in {first.form.name}"
        )
    return timed


def main() -> None:
    opt = LatencyOptions.parse()
    folder = make_folder(opt.results_dir, "`results_dir`")
    take_folder(folder, "latency.py", "`results_dir`")
    device = settings.start_machine(opt)

    teacher, models = load_tested(test_settings.tested(opt), device)
    models = [teacher, *models] if teacher else models
    x = next(iter(inference_loader(settings.data(opt), device).epoch())).A
    x = pad_to_fit(x, multiple_of(*(each.net for each in models)))
    timed = prepare(models, opt.backends, x)
    memory = [
        peak_memory(each.form, x) for each in Bar(timed, desc="measuring memory", unit="form")
    ]
    timings = measure_side_by_side([each.form.run for each in timed], x, opt.times)

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
