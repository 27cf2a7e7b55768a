"""Running a search: propose, measure, record, until the generations are over or nothing is left.

Under torchrun every process runs the same search and measures its share of each generation; all know all results, the main one writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from models.config import ChannelConfig
from runtime import distributed
from runtime.progress import Bar
from subnets.genetic import Candidate, GeneticSearch
from subnets.results import Evaluated, Results
from subnets.space import SearchSpace

# --------------------------------------------------------------------------------------------------
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
        return self.score_of(self.results[str(config)])

    def score_of(self, record: Evaluated) -> float:
        value = record.metrics[self.criterion]
        return value if self.lower_is_better else -value

    def ranked(self, budget: float = float("inf")) -> list[Evaluated]:
        """All that was measured within a budget, best first."""
        inside = (r for r in self.results if r.macs <= budget)
        return sorted(inside, key=lambda r: (self.score_of(r), r.config_str))

    def run(self, candidates: Iterable[Candidate], generation: int, bar: Bar) -> None:
        """Measure what is not known yet, in rounds of one per process; ``bar`` advances by one per candidate."""
        for group in _rounds(candidates, distributed.world_size()):
            unknown = [c for c in group if str(c.config) not in self.results]
            mine = unknown[distributed.rank() :][:1]
            found = [self._evaluate(candidate, generation) for candidate in mine]
            for records in distributed.gather_objects(found):
                for record in records:
                    self.results.add(record)
                    self.on_result(len(self.results))
            for candidate in group:
                self._observe(self.results[str(candidate.config)], bar)
                bar.update()

    def _evaluate(self, candidate: Candidate, generation: int) -> Evaluated:
        metrics = dict(self.measure(candidate.config))
        macs, params = self.space.cost(candidate.config)
        seconds, n = metrics.pop("seconds"), metrics.pop("n")
        parents = [str(p) for p in candidate.parents]
        return Evaluated(
            str(candidate.config),
            macs,
            params,
            metrics,
            n,
            seconds,
            generation,
            candidate.origin,
            parents,
        )

    def _observe(self, record: Evaluated, bar: Bar) -> None:
        if self.best is None or self.score_of(record) < self.score_of(self.best):
            self.best = record
        value = self.best.metrics[self.criterion]
        bar.set_postfix_str(
            f"best {self.criterion} {value:.3f} {self.best.config_str}", refresh=False
        )


def _rounds(candidates: Iterable[Candidate], size: int) -> Iterator[list[Candidate]]:
    group: list[Candidate] = []
    for candidate in candidates:
        group.append(candidate)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


# --------------------------------------------------------------------------------------------------
# The two searches


def evolve(
    search: GeneticSearch,
    measurer: Measurer,
    generations: int,
    generation_base: int = 1,
    start: Iterable[ChannelConfig] = (),
    patience: int | None = None,
) -> None:
    """Genetic search: a random generation and ``generations`` bred ones, the last measured and ranked too.

    Args:
        start:    configurations that join the first generation (the best of an earlier search)
        patience: end when so many generations brought no new best (no new member of the front); None = never
    """
    per_generation = getattr(search, "count", search.settings.population_size)
    total = min(per_generation * (generations + 1), len(search.feasible))
    best, unchanged = None, 0
    with Bar(total=total, unit="subnet") as bar:
        for generation in range(generations + 1):
            candidates = search.propose()
            if generation == 0:
                candidates = [*search.join(start), *candidates]
            number = generation + generation_base
            if not candidates:
                Bar.write(f"generation {number}: no new configuration was found; the search ends")
                break
            bar.set_description(f"generation {number}/{generations + generation_base}")
            best_so_far = [measurer.best.config_str] if measurer.best else []
            measurer.results.keep([*map(str, search.population), *best_so_far])
            measurer.run(candidates, number, bar)
            if search.exhausted:
                Bar.write(
                    f"all {len(search.feasible)} configurations within the budget are evaluated; the search ends"
                )
                break
            leaders = search.rank.leaders(search.population)
            unchanged = unchanged + 1 if leaders == best else 0
            best = leaders
            if patience is not None and unchanged >= patience:
                Bar.write(
                    f"generation {number}: no better configuration for {patience} generations; the search ends"
                )
                break


def exhaust(measurer: Measurer, budget: float, num_splits: int = 1, split: int = 0) -> None:
    """Every configuration within the budget, or every ``num_splits``-th of them starting at ``split``."""
    numbers = measurer.space.feasible(budget)[split::num_splits]
    with Bar(total=len(numbers), desc="all subnets", unit="subnet") as bar:
        candidates = (
            Candidate(measurer.space.config(int(number)), "exhaustive") for number in numbers
        )
        measurer.run(candidates, 0, bar)


# --------------------------------------------------------------------------------------------------
# Choosing among results


def pareto_front(
    records: list[Evaluated], criterion: str, lower_is_better: bool
) -> list[Evaluated]:
    """The records that no other beats in both MACs and the criterion, by ascending MACs."""
    sign = 1 if lower_is_better else -1
    points = np.array([(r.macs, sign * r.metrics[criterion]) for r in records], dtype=np.float64)
    # One pass over ascending MACs: on the front is what improves on all cheaper ones. Agrees with `fronts` and needs no n x n.
    order = np.lexsort((points[:, 1], points[:, 0]))
    front, best = [], np.inf
    for i in order:
        if points[i, 1] < best:
            front.append(records[i])
            best = points[i, 1]
    return front
