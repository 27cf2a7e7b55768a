"""Settings of a search -> its space, what measures subnets, and the search itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from data.build import DataSettings
from errors import InputError
from evaluation.build import MeasureSettings, criteria
from evaluation.evaluator import Evaluator
from metrics.criteria import LOWER_IS_BETTER, Criterion, require
from models.generators import GeneratorSpec
from runtime import distributed
from runtime.files import write_json
from runtime.progress import Bar
from subnets.genetic import GeneticSearch, GeneticSettings
from subnets.latency import LatencyTable
from subnets.objectives import ByFront, ByScore
from subnets.predictor import PredictedSearch
from subnets.results import Evaluated, Results
from subnets.running import Run, subnet_of
from subnets.search import Measurer, read_comparable, select
from subnets.space import Milliseconds, SearchSpace


@dataclass(frozen=True)
class SearchSettings:
    """What is searched for.

    Args:
        config_set:      the search space, the text of a `models.config.ConfigSet`
        budget:          the most that a subnet may cost: MACs, or `subnets.space.Milliseconds`
        latency_table:   file of the times of all subnets, see `subnets.latency`; None = none
        macs_convention: how they are counted, see `models.cost`
        criterion:       fid | mIoU | accu
        capacity:        evaluations kept in memory
        save_freq:       evaluations between two summaries
        amp:             none | bf16
    """

    config_set: str
    budget: float
    macs_convention: str = "published"
    criterion: str = "fid"
    capacity: int = 10_000_000
    save_freq: int = 60
    amp: str = "none"
    latency_table: str | None = None


def search_space(
    settings: SearchSettings, spec: GeneratorSpec, size: tuple[int, int]
) -> SearchSpace:
    """The space of a supernet; ``size``: (height, width) of its images in pixels.

    Raises:
        InputError: the supernet is narrower, or the latency table is of other networks.
    """
    space = SearchSpace(settings.config_set, spec.architecture, settings.macs_convention, *size)
    space.check_fits(spec.ngf)
    if settings.latency_table:
        table = LatencyTable.read(Path(settings.latency_table))
        table.check(spec, space, f"`latency_table` {settings.latency_table}")
        space.times = table
    elif isinstance(settings.budget, Milliseconds):
        raise InputError(
            f"`budget` {settings.budget}: a time needs `latency_table`, which latency.py "
            "--make_table writes"
        )
    return space


def search_criteria(
    settings: MeasureSettings, data: DataSettings, device: torch.device, criterion: str
) -> list[Criterion]:
    """What subnets are judged by; it measures ``criterion``.

    Raises:
        InputError: ``criterion`` cannot be measured; says what is missing and how to do without it.
    """
    try:
        judges = criteria(settings, data, device)
    except InputError as error:
        if not settings.miou:
            raise
        raise InputError(f"{error} (`criterion` fid searches without labels)") from None
    require(judges, criterion)
    return judges


def new_measurer(
    net: nn.Module,
    space: SearchSpace,
    evaluator: Evaluator,
    results: Results,
    criterion: str,
    measured_with: dict,
    run: Run = subnet_of,
) -> Measurer:
    """Measures the subnets of ``net`` once each.

    Args:
        measured_with: see `subnets.conditions`
        run:           how a subnet is run
    """
    return Measurer(
        space,
        lambda config: evaluator(run(net, config)),
        results,
        criterion,
        LOWER_IS_BETTER[criterion],
        evaluator.labels[criterion],
        measured_with=measured_with,
        images=len(evaluator.loader.dataset),
    )


def genetic_search(
    measurer: Measurer,
    settings: GeneticSettings,
    budget: float,
    folder: Path,
    objective: str = "best",
    predictor_share: float | None = None,
) -> GeneticSearch:
    """A search by quality or for the whole front.

    Args:
        folder:          gets predictor.json
        objective:       best | pareto
        predictor_share: share of the population that is measured; the others are screened by a
                         predictor. None = all are measured.
    """
    space = measurer.space
    if objective == "pareto":
        rank = ByFront(measurer.score, lambda config: space.price(config, budget))
        return GeneticSearch(space, budget, settings, rank)
    rank = ByScore(measurer.score)
    if predictor_share is None:
        return GeneticSearch(space, budget, settings, rank)
    facts: list[dict] = []

    def on_fit(fit: dict) -> None:
        facts.append(fit)
        if distributed.is_main():
            write_json(folder / "predictor.json", facts)
        Bar.write(
            f"predictor: rank correlation {fit.get('spearman_unseen')} on unseen, "
            f"{fit['spearman_left_out']} left out"
        )

    return PredictedSearch(space, budget, settings, rank, measurer.score, predictor_share, on_fit)


def select_subnet(
    paths: list[str], budget: float, criterion: str, latency_table: str | None = None
) -> tuple[Evaluated, int]:
    """(the best subnet within a budget among earlier results, how many are within it).

    Args:
        budget:        MACs, or `subnets.space.Milliseconds`
        latency_table: file of times that stand for those of the search; None = those of the search

    Raises:
        InputError: a file is not readable, the files were not measured alike, no subnet is small
            enough, or times are not known.
    """
    records = read_comparable(map(Path, paths), criterion, "`select`")
    if latency_table:
        table = LatencyTable.read(Path(latency_table))
        parse = table.spec.kind.config.parse
        records = [
            replace(r, ms=table.of(parse(r.config_str)), latency_table=table.digest)
            for r in records
        ]
    return select(records, budget, criterion, LOWER_IS_BETTER[criterion])
