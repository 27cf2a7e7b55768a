"""Genetic search of the best subnet within a MACs budget. ``--help`` lists the flags."""

from models.config import ChannelConfig
from options import EvolutionOptions, run
from options import assemble as a
from runtime.folders import make_folder
from subnets.search import evolve


def main() -> None:
    opt = EvolutionOptions.parse()
    folder = make_folder(opt.output_dir, "--output_dir")
    measurer, restored, finish = a.measurer_of(opt, folder, folder / "evaluations.jsonl")
    count = 0 if opt.only_restore_cache else round(opt.parent_ratio * opt.population_size)
    start = [ChannelConfig.parse(record.config_str) for record in restored[:count]]
    search = a.genetic_search_of(opt, measurer, folder)
    evolve(search, measurer, opt.evolution_iters, opt.generation_base, start, opt.patience)
    finish()


if __name__ == "__main__":
    run(main)
