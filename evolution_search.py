"""Genetic search of the best subnet within a MACs budget. ``--help`` lists the flags."""

from pathlib import Path

from options import EvolutionOptions, run
from options import assemble as a
from runtime.folders import make_folder
from subnets.results import read_evaluations
from subnets.search import evolve


def main() -> None:
    opt = EvolutionOptions.parse()
    folder = make_folder(opt.output_dir, "--output_dir")
    measurer, finish = a.measurer_of(opt, folder, folder / "evaluations.jsonl")
    start = []
    if opt.restore_pkl_path:
        restored = read_evaluations(Path(opt.restore_pkl_path), "--restore_pkl_path")
        for record in restored:
            measurer.results.adopt(record)
        if not opt.only_restore_cache:
            start = a.best_configs(
                measurer, restored, round(opt.parent_ratio * opt.population_size)
            )
    search = a.genetic_search_of(opt, measurer, folder)
    evolve(search, measurer, opt.evolution_iters, opt.generation_base, start, opt.patience)
    finish()


if __name__ == "__main__":
    run(main)
