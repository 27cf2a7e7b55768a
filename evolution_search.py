"""Genetic search of the best subnet within a MACs budget. ``--help`` lists the flags."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from data.build import inference_loader
from evaluation.build import criteria
from evaluation.evaluator import Evaluator
from evaluation.pictures import montage_of
from metrics.criteria import require
from models.build import load_supernet
from options import EvolutionOptions, run, settings
from report.search import summarise_search, write_search_page
from runtime import distributed
from runtime.files import write_json
from runtime.folders import claim_folder, make_folder
from subnets.build import best_configs, genetic_search, new_measurer, search_space, subnet_of
from subnets.results import Results, read_evaluations
from subnets.search import Measurer, evolve


def open_search(
    opt: Namespace, folder: Path, results_path: Path, flag: str
) -> tuple[Measurer, Callable[[], None]]:
    """Prepare a search and claim its folder.

    Returns:
        what measures subnets, with the results of ``results_path`` read back; and a function that
        ends the search with its page and one printed line.
    """
    device = settings.start_machine(opt)
    data, wanted = settings.data(opt), settings.search(opt)
    net, spec = load_supernet(settings.generator(opt))
    net.to(device).eval()
    space = search_space(wanted, spec, data.network_size)
    print(space.describe(wanted.budget))
    loader = inference_loader(data, device)
    with distributed.main_first():
        judges = criteria(settings.measures(opt), data, device)
        require(judges, wanted.criterion)
        # Only a run whose input is good takes the folder.
        claim_folder(folder, settings.decisive(opt), flag)
        write_json(folder / "options.json", settings.written(opt))
        results = Results(results_path, wanted.capacity, distributed.is_main())
    evaluator = Evaluator(loader, judges, wanted.amp == "bf16")
    measurer = new_measurer(net, space, evaluator, results, wanted.criterion)

    def summarise() -> list:
        return summarise_search(folder, measurer, wanted.budget, wanted.macs_convention)

    def on_result(count: int) -> None:
        if count % wanted.save_freq == 0 and distributed.is_main():
            summarise()

    def finish() -> None:
        ranked = summarise()
        write_search_page(
            folder,
            measurer,
            ranked,
            lambda config: montage_of(
                loader, {"output": subnet_of(net, config)}, opt.display_winsize, 4
            ),
        )
        best = ranked[0]
        print(
            f"best of {len(ranked)}: {best.config_str}  "
            f"{measurer.label} {best.metrics[measurer.criterion]:.3f} (n={best.n})  "
            f"{best.macs / 1e9:.3f}G MACs  {best.params / 1e6:.3f}M parameters\n"
            f"page: {folder / 'index.html'}, table: {folder / 'summary.txt'}"
        )

    measurer.on_result = on_result
    return measurer, finish if distributed.is_main() else lambda: None


def main() -> None:
    opt = EvolutionOptions.parse()
    folder = make_folder(opt.output_dir, "`output_dir`")
    measurer, finish = open_search(opt, folder, folder / "evaluations.jsonl", "`output_dir`")

    start = []
    if opt.restore_pkl_path:
        restored = read_evaluations(Path(opt.restore_pkl_path), "`restore_pkl_path`")
        for record in restored:
            measurer.results.adopt(record)
        if not opt.only_restore_cache:
            parents = round(opt.parent_ratio * opt.population_size)
            start = best_configs(measurer, restored, parents)

    share = opt.predictor_share if opt.predictor else None
    search = genetic_search(
        measurer, settings.genetic(opt), opt.budget, folder, opt.objective, share
    )
    evolve(search, measurer, opt.evolution_iters, opt.generation_base, start, opt.patience)
    finish()


if __name__ == "__main__":
    run(main)
