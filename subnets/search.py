"""Running a search: propose, measure, record, until the generations are over or nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tqdm import tqdm

from models.config import ChannelConfig
from subnets.genetic import Candidate, GeneticSearch, GeneticSettings
from subnets.results import Evaluated, Results
from subnets.space import SearchSpace

# ---------------------------------------------------------------------------------------------------------
# Measuring candidates


@dataclass
class Measurer:
    """Measures configurations once each.

    Args:
        space:      for their cost
        measure:    configuration -> metrics with ``n`` and ``seconds``
        results:    where they are recorded; what is already there is not measured again
        criterion:  key of the metrics that decides
        lower_is_better: of the criterion
        label:      what the criterion is, as it must be named
        on_result:  called after every new evaluation with how many there are
    """

    space: SearchSpace
    measure: Callable[[ChannelConfig], dict]
    results: Results
    criterion: str
    lower_is_better: bool
    label: str = ""
    on_result: Callable[[int], None] = lambda count: None
    best: Evaluated | None = None

    def score(self, config: ChannelConfig) -> float:
        """The criterion of a measured configuration, lower is better."""
        value = self.results[str(config)].metrics[self.criterion]
        return value if self.lower_is_better else -value

    def ranked(self) -> list[Evaluated]:
        """All that was measured, best first."""
        sign = 1 if self.lower_is_better else -1
        return sorted(self.results, key=lambda r: (sign * r.metrics[self.criterion], r.config_str))

    def run(self, candidates: Iterable[Candidate], generation: int, bar: tqdm) -> None:
        """Measure what is not known yet; ``bar`` advances by one per candidate."""
        for candidate in candidates:
            name = str(candidate.config)
            if name not in self.results:
                metrics = self.measure(candidate.config)
                macs, params = self.space.cost(candidate.config)
                seconds, n = metrics.pop("seconds"), metrics.pop("n")
                parents = [str(p) for p in candidate.parents]
                self.results.add(
                    Evaluated(name, macs, params, metrics, n, seconds, generation, candidate.origin, parents)
                )
                self.on_result(len(self.results))
            self._observe(self.results[name], bar)
            bar.update()

    def _observe(self, record: Evaluated, bar: tqdm) -> None:
        value = record.metrics[self.criterion]
        if self.best is None or (value < self.best.metrics[self.criterion]) == self.lower_is_better:
            self.best = record
        best = self.best.metrics[self.criterion]
        bar.set_postfix_str(f"best {self.criterion} {best:.3f} {self.best.config_str}", refresh=False)


# ---------------------------------------------------------------------------------------------------------
# The two searches


def evolve(
    measurer: Measurer,
    budget: float,
    settings: GeneticSettings,
    generations: int,
    generation_base: int = 1,
    start: Iterable[ChannelConfig] = (),
) -> list[Evaluated]:
    """Genetic search: a random generation and ``generations`` bred ones, the last ranked too.

    Args:
        start: configurations that join the first generation (the best of an earlier search)

    Returns all evaluations within the budget, best first.
    """
    search = GeneticSearch(measurer.space, budget, settings, measurer.score)
    total = min(settings.population_size * (generations + 1), len(search.feasible))
    with tqdm(total=total, unit="subnet", dynamic_ncols=True) as bar:
        for generation in range(generations + 1):
            candidates = search.propose()
            if generation == 0:
                candidates = [*search.join(start), *candidates]
            if not candidates:
                tqdm.write(
                    f"generation {generation + generation_base}: no new configuration was found; the search ends"
                )
                break
            bar.set_description(f"generation {generation + generation_base}/{generations + generation_base}")
            measurer.run(candidates, generation + generation_base, bar)
            if search.exhausted:
                tqdm.write(
                    f"all {len(search.feasible)} configurations within the budget are evaluated; the search ends"
                )
                break
    return [r for r in measurer.ranked() if r.macs <= budget]


def exhaust(measurer: Measurer, budget: float, num_splits: int = 1, split: int = 0) -> list[Evaluated]:
    """Every configuration within the budget, or every ``num_splits``-th of them starting at ``split``. Best first."""
    numbers = measurer.space.feasible(budget)[split::num_splits]
    with tqdm(total=len(numbers), desc="all subnets", unit="subnet", dynamic_ncols=True) as bar:
        candidates = (Candidate(measurer.space.config(int(number)), "exhaustive") for number in numbers)
        measurer.run(candidates, 0, bar)
    return [r for r in measurer.ranked() if r.macs <= budget]
