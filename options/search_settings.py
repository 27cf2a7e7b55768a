"""Turn parsed flags into settings of the searches; see `options.settings`."""

from __future__ import annotations

from argparse import Namespace

from subnets.build import SearchSettings
from subnets.genetic import GeneticSettings


def search(opt: Namespace) -> SearchSettings:
    return SearchSettings(
        opt.config_set,
        opt.budget,
        opt.macs_convention,
        opt.criterion,
        getattr(opt, "max_cache_size", 10_000_000),
        opt.save_freq,
        opt.amp,
        opt.latency_table,
    )


def genetic(opt: Namespace) -> GeneticSettings:
    return GeneticSettings(
        population_size=opt.population_size,
        parent_ratio=opt.parent_ratio,
        mutation_ratio=opt.mutation_ratio,
        mutate_prob=opt.mutate_prob,
        weighted_sample=opt.weighted_sample,
        weight_strategy=opt.weight_strategy,
        seed=opt.seed,
    )
