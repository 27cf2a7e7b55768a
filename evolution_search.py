"""Genetic search of the best subnet within a MACs budget. ``--help`` lists the flags."""

from collections.abc import Callable
from pathlib import Path

from data.build import calibration_batches, datasets, inference_loader
from errors import InputError
from evaluation.evaluator import Evaluator
from evaluation.pictures import montage_of
from models.build import load_supernet
from options import EvolutionOptions, Namespace, run, search_settings, settings
from report.search import summarise_search, write_search_page
from runtime import distributed
from runtime.files import write_json
from runtime.folders import claim_folder, make_folder
from subnets.build import genetic_search, new_measurer, search_criteria, search_space
from subnets.conditions import conditions, images_digest
from subnets.results import Evaluated, Results, read_evaluations
from subnets.running import runner
from subnets.search import Measurer, evolve
from subnets.timing import describe_winner, time_winner


def open_search(
    opt: Namespace, folder: Path, results_path: Path, flag: str
) -> tuple[Measurer, list[Evaluated], Callable[[], None]]:
    """Load the supernet and the measures, then claim the folder of the search.

    Args:
        opt:          flags of `EvolutionOptions` or `SearchOptions`
        folder:       gets settings.json, options.json, the summary and the page
        results_path: JSON lines of evaluations; existing lines are read
        flag:         the setting that named the folder, for messages

    Returns:
        (the measurer, the evaluations of ``--restore_pkl_path`` with the best first, a function to
        call at the end, which writes the page and prints the best subnet)

    Raises:
        InputError: a file cannot be read, or the folder holds another run. From the function at the
            end: no subnet has a finite criterion.
    """
    device = settings.start_machine(opt)
    data, wanted = settings.data(opt), search_settings.search(opt)
    checkpoint = settings.generator(opt)
    net, spec = load_supernet(checkpoint)
    checkpoint.check_images(spec, data.described)
    net.to(device).eval()
    space = search_space(wanted, spec, data.network_size)
    print(space.describe(wanted.budget))
    loader = inference_loader(data, device)
    run_subnet = runner(spec, lambda: calibration_batches(data, device))
    decisive = settings.decisive(opt)
    restored: list[Evaluated] = []
    with distributed.main_first():
        judges = search_criteria(settings.measures(opt), data, device, wanted.criterion)
        evaluator = Evaluator(loader, judges, wanted.amp == "bf16")
        results = Results(results_path, wanted.capacity, distributed.is_main())
        known = decisive
        if spec.needs_statistics(spec.config):
            known = decisive | {"calibration": images_digest(datasets(data.for_calibration())[0])}
        measured_with = conditions(known, images_digest(*datasets(data)))
        measurer = new_measurer(
            net, space, evaluator, results, wanted.criterion, measured_with, run_subnet
        )
        if opt.restore_pkl_path:
            records = read_evaluations(Path(opt.restore_pkl_path), "`restore_pkl_path`")
            restored = measurer.adopt(records, f"`restore_pkl_path` {opt.restore_pkl_path}")
        # Claim the folder last: a run with bad input leaves it alone.
        claim_folder(folder, decisive, flag)
        write_json(folder / "options.json", settings.written(opt))

    def on_result(count: int) -> None:
        if count % wanted.save_freq == 0 and distributed.is_main():
            summarise_search(folder, measurer, wanted.budget)

    def finish() -> None:
        ranked = measurer.ranked(wanted.budget)
        if not ranked:
            raise InputError(
                f"no subnet has a finite {wanted.criterion} ({len(results)} evaluated): check the "
                "supernet of `restore_G_path` with test.py"
            )
        best, timing = ranked[0], {}
        if space.times:
            subnet = spec.kind.extract(net, space.parse(best.config_str)).eval()
            timing = time_winner(space.times, subnet, best.ms, device)
        said = describe_winner(timing)
        summarise_search(folder, measurer, wanted.budget, timing)
        write_search_page(
            folder,
            measurer,
            ranked,
            lambda config: montage_of(
                loader, {"output": run_subnet(net, config)}, opt.display_winsize, 4
            ),
            wanted.budget,
            said,
        )
        print(
            f"best of {len(ranked)}: {best.config_str}  "
            f"{measurer.label} {best.value(measurer.criterion):.3f} (n={best.n})  "
            f"{best.macs / 1e9:.3f}G MACs  {best.params / 1e6:.3f}M parameters\n"
            + (f"{said}\n" if said else "")
            + f"page: {folder / 'index.html'}, table: {folder / 'summary.txt'}"
        )

    measurer.on_result = on_result
    return measurer, restored, finish if distributed.is_main() else lambda: None


def main() -> None:
    opt = EvolutionOptions.parse()
    folder = make_folder(opt.output_dir, "`output_dir`")
    path = folder / "evaluations.jsonl"
    measurer, restored, finish = open_search(opt, folder, path, "`output_dir`")

    parents = 0 if opt.only_restore_cache else round(opt.parent_ratio * opt.population_size)
    start = [measurer.space.parse(record.config_str) for record in restored[:parents]]
    share = opt.predictor_share if opt.predictor else None
    search = genetic_search(
        measurer, search_settings.genetic(opt), opt.budget, folder, opt.objective, share
    )
    evolve(search, measurer, opt.evolution_iters, opt.generation_base, start, opt.patience)
    finish()


if __name__ == "__main__":
    run(main)
