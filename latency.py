"""Measure the speed of checkpoints on this machine, side by side.

``--make_table`` measures the parts of all subnets of a supernet instead, and writes a table that
searches by time read. ``--help`` lists the flags, ``--make_table --help`` those of a table.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from data.build import inference_loader
from deploy.forms import Unavailable, make_form
from errors import InputError
from evaluation.speed import measure_side_by_side, peak_memory
from evaluation.tested import Loaded, load_tested
from models.layers import multiple_of, pad_to_fit, require_size
from models.styles import in_one_style
from options import LatencyOptions, TableOptions, run, settings, test_settings
from report.latency import Timed, write_comparison
from runtime.files import write_json
from runtime.folders import make_folder, make_parent, take_folder
from runtime.progress import Bar
from subnets.latency import LatencyTable, TimingPlan, compose
from subnets.space import SearchSpace
from subnets.timing import facts, read_times, time_here, write_parts


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


def make_table() -> None:
    opt = TableOptions.parse()
    device = settings.start_machine(opt)
    spec, (height, width) = settings.timed_supernet(opt)
    require_size(height, width, spec.multiple, "`size` and `aspect_ratio`")
    space = SearchSpace(opt.config_set, spec.architecture, height=height, width=width)
    spec = replace(spec, ngf=max(space.largest.full))
    spec.check()
    plan = TimingPlan(spec, space, opt.seed)
    if opt.parts_dir:
        folder = make_folder(opt.parts_dir, "`parts_dir`")
        size = write_parts(plan, folder)
        print(
            f"{folder}: {len(plan.items)} networks, {size / 1e6:.0f} MB. On the device: "
            "python time_parts.py; then, here, the same command with --times_path times.json "
            "--output T.json instead of --parts_dir"
        )
        return
    path = Path(opt.output)
    make_parent(path, "`output`")
    if opt.times_path:
        table = compose(plan, *read_times(plan, Path(opt.times_path)))
    else:
        times = time_here(plan, opt.backend, device)
        table = compose(plan, times, facts(opt.backend, device))
    write_json(path, table.to_dict())
    print(_described(table, space, path))


def _described(table: LatencyTable, space: SearchSpace, path: Path) -> str:
    space.times, found = table, table.validation
    (low, _), (high, _) = space.ends_in_time
    lines = [
        f"{path}: {space.size:,} configurations of {low:.3g} to {high:.3g} ms ({table.conditions})"
    ]
    if found["n"]:
        lines.append(
            f"{found['n']} other networks, measured whole: off by {found['mean_error']:.1%} on "
            f"average, {found['worst_error']:.1%} at worst; rank correlation "
            f"{found.get('rank_correlation', float('nan')):.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    if "--make_table" in sys.argv:
        make_table()
        return
    opt = LatencyOptions.parse()
    folder = make_folder(opt.results_dir, "`results_dir`")
    take_folder(folder, "latency.py", "`results_dir`")
    device = settings.start_machine(opt)

    teacher, models = load_tested(test_settings.tested(opt), device)
    models = [teacher, *models] if teacher else models
    models = [replace(each, net=in_one_style(each.net)) for each in models]
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
    for model in {each.model.checkpoint: each.model for each in timed}.values():
        if model.macs_without_style_encoder is not None:
            # The times are those of images in a given style.
            print(f"{model.name}: {model.cost}")


if __name__ == "__main__":
    run(main)
