"""Running a search: propose, measure, record, until all generations are done or nothing is left.

Under torchrun every process runs the same search and measures its share of each generation. All
know all results; the main process writes them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from errors import InputError
from models.config import ChannelConfig
from runtime import distributed
from runtime.progress import Bar
from subnets.conditions import differences, finite
from subnets.genetic import Candidate, GeneticSearch
from subnets.results import Evaluated, Results, read_evaluations
from subnets.space import Milliseconds, SearchSpace

# --------------------------------------------------------------------------------------------------
# Measuring candidates


@dataclass
class Measurer:
    """Measures configurations once each.

    Args:
        space:      gives their cost
        measure:    configuration -> metrics, with ``n`` images and ``seconds``
        results:    where they are recorded; what is already there is not measured again
        criterion:  key of the metric that decides
        lower_is_better: of the criterion
        label:      how the criterion must be named in reports
        on_result:  called after every new evaluation with the number of those made by this run
        measured_with: see `subnets.conditions`; recorded with every evaluation
        images:     how many images are measured on; None = unknown

    Raises:
        InputError: ``results`` hold evaluations that were measured with something else.
    """

    space: SearchSpace
    measure: Callable[[ChannelConfig], dict]
    results: Results
    criterion: str
    lower_is_better: bool
    label: str = ""
    on_result: Callable[[int], None] = lambda count: None
    measured_with: dict = field(default_factory=dict)
    images: int | None = None
    best: Evaluated | None = field(default=None, init=False)
    count: int = field(default=0, init=False)

    def __post_init__(self):
        self._check(list(self.results), str(self.results.path))

    def adopt(self, records: list[Evaluated], source: str) -> list[Evaluated]:
        """Take evaluations of an earlier run as measured; those outside the space are left out.

        Args:
            source: where they come from, for messages
        Returns:
            Those taken, best first.
        Raises:
            InputError: there are none, or they were measured with something else; names what.
        """
        self._check(records, source)
        taken = [r for r in records if self.space.holds(self._config(r, source))]
        if not taken:
            raise InputError(f"{source} holds no evaluation of `config_set` {self.space.name}")
        taken = [replace(r, **self._time(self._config(r, source))) for r in taken]
        for record in taken:
            self.results.adopt(record)
        return sorted(taken, key=lambda r: (self.score_of(r), r.config_str))

    def _check(self, records: list[Evaluated], source: str) -> None:
        """InputError unless values of ``records`` may be compared with those measured here."""
        wanted = self.measured_with | ({} if self.images is None else {"n": self.images})
        for record in records:
            who = f"{source}: {record.config_str}"
            if self.criterion not in record.metrics:
                raise InputError(
                    f"{who} was measured by {', '.join(record.metrics) or 'nothing'}, not by "
                    f"`criterion` {self.criterion}; give another file or `criterion`"
                )
            found = record.conditions if self.images is not None else record.measured_with
            differ = differences(found, wanted, self.criterion)
            macs = self.space.cost(self._config(record, source))[0]
            if not differ and record.macs != macs:
                differ = [
                    f"{record.macs:,} MACs, not {macs:,} (another `macs_convention` or image size)"
                ]
            if differ:
                raise InputError(
                    f"{who} was measured with other settings: {', '.join(differ[:5])}; "
                    "give another file or the same settings"
                )
        if self.measured_with:
            _warn_of_unknown(records, source)

    def _config(self, record: Evaluated, source: str) -> ChannelConfig:
        try:
            return self.space.parse(record.config_str)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    def score(self, config: ChannelConfig) -> float:
        """The criterion of a measured configuration, lower is better; infinite where not finite."""
        return self.score_of(self.results[str(config)])

    def score_of(self, record: Evaluated) -> float:
        value = record.value(self.criterion)
        if value is None:
            return math.inf
        return value if self.lower_is_better else -value

    def ranked(self, budget: float = float("inf")) -> list[Evaluated]:
        """All within a budget whose criterion is a finite number, best first."""
        inside = (r for r in self.results if r.price(budget) <= budget)
        finite_ones = (r for r in inside if r.value(self.criterion) is not None)
        return sorted(finite_ones, key=lambda r: (self.score_of(r), r.config_str))

    def run(self, candidates: Iterable[Candidate], generation: int, bar: Bar) -> None:
        """Measure what is not known yet, in rounds of one per process.

        ``bar`` advances by one per candidate.
        """
        for group in _rounds(candidates, distributed.world_size()):
            unknown = [c for c in group if str(c.config) not in self.results]
            mine = unknown[distributed.rank() :][:1]
            found = [self._evaluate(candidate, generation) for candidate in mine]
            for records in distributed.gather_objects(found):
                for record in records:
                    self.results.add(record)
                    self.count += 1
                    self.on_result(self.count)
            for candidate in group:
                self._observe(self.results[str(candidate.config)], bar)
                bar.update()

    def _evaluate(self, candidate: Candidate, generation: int) -> Evaluated:
        metrics = dict(self.measure(candidate.config))
        seconds, n = metrics.pop("seconds"), metrics.pop("n")
        metrics |= {k: finite(v) for k, v in metrics.items() if isinstance(v, float)}
        macs, params = self.space.cost(candidate.config)
        return Evaluated(
            config_str=str(candidate.config),
            macs=macs,
            params=params,
            metrics=metrics,
            n=n,
            seconds=seconds,
            generation=generation,
            origin=candidate.origin,
            parents=[str(parent) for parent in candidate.parents],
            measured_with=self.measured_with,
            **self._time(candidate.config),
        )

    def _time(self, config: ChannelConfig) -> dict:
        """The fields of a record that say how long a configuration takes, as far as it is known."""
        times = self.space.times
        return {"ms": times.of(config), "latency_table": times.digest} if times else {}

    def _observe(self, record: Evaluated, bar: Bar) -> None:
        score = self.score_of(record)
        if score < (math.inf if self.best is None else self.score_of(self.best)):
            self.best = record
        if self.best is not None:
            value = self.best.value(self.criterion)
            text = f"best {self.criterion} {value:.3f} {self.best.config_str}"
            bar.set_postfix_str(text, refresh=False)


def _warn_of_unknown(records: list[Evaluated], source: str) -> None:
    unknown = sum(not record.measured_with for record in records)
    if unknown and distributed.is_main():
        warnings.warn(
            f"{source}: {unknown} evaluations do not say what they were measured with; they are "
            "trusted to be of the same supernet, images and measure",
            stacklevel=3,
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
    """Genetic search: a random generation and ``generations`` bred ones. The last is measured too.

    Args:
        generation_base: number of the first generation in the records
        start:    configurations that join the first generation (the best of an earlier search)
        patience: end after this many generations without a new best (for the front: without a new
                  member); None = never
    """
    total = min(search.per_generation * (generations + 1), len(search.feasible))
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
            measurer.results.keep([*map(str, search.needed), *best_so_far])
            measurer.run(candidates, number, bar)
            if search.exhausted:
                Bar.write(
                    f"all {len(search.feasible)} configurations within the budget are evaluated; "
                    "the search ends"
                )
                break
            leaders = search.rank.leaders(search.population)
            unchanged = unchanged + 1 if leaders == best else 0
            best = leaders
            if patience is not None and unchanged >= patience:
                Bar.write(
                    f"generation {number}: no better configuration for {patience} generations; "
                    "the search ends"
                )
                break


def exhaust(measurer: Measurer, budget: float, num_splits: int = 1, split: int = 0) -> None:
    """Measure every configuration within the budget, or every ``num_splits``-th from ``split`` on.

    Raises:
        InputError: no configuration is within the budget, or none falls to this share.
    """
    feasible = measurer.space.feasible(budget)
    if not 0 <= split < num_splits:
        raise InputError(f"`split` {split} must be 0 to {num_splits - 1}: below `num_splits`")
    numbers = feasible[split::num_splits]
    if len(numbers) == 0:
        raise InputError(
            f"`split` {split} of `num_splits` {num_splits} is empty: only {len(feasible)} "
            f"configurations are within the budget; give `num_splits` {len(feasible)} at most"
        )
    with Bar(total=len(numbers), desc="all subnets", unit="subnet") as bar:
        candidates = (
            Candidate(measurer.space.config(int(number)), "exhaustive") for number in numbers
        )
        measurer.run(candidates, 0, bar)


# --------------------------------------------------------------------------------------------------
# Choosing among results


def pareto_front(
    records: list[Evaluated], criterion: str, lower_is_better: bool, budget: float = math.inf
) -> list[Evaluated]:
    """The records that no other beats in both cost and the criterion, by ascending cost.

    Records without a finite value are left out. The cost is in the unit of ``budget``, whose value
    does not matter: MACs, or `subnets.space.Milliseconds`.
    """
    sign = 1 if lower_is_better else -1
    scores = {id(r): sign * v for r in records if (v := r.value(criterion)) is not None}
    measured = [r for r in records if id(r) in scores]
    # One pass over ascending costs: whatever improves on all cheaper ones is on the front.
    front: list[Evaluated] = []
    best = math.inf
    for record in sorted(measured, key=lambda r: (r.price(budget), scores[id(r)])):
        if scores[id(record)] < best:
            front.append(record)
            best = scores[id(record)]
    return front


def read_comparable(paths: Iterable[Path], criterion: str, flag: str = "") -> list[Evaluated]:
    """Read several files as if one search had made them. The last evaluation of a subnet counts.

    Args:
        flag: how messages name the setting that gave the files
    Raises:
        InputError: no evaluation has a value of ``criterion``, or values are not comparable; names
            both evaluations and what differs.
    """
    found = [
        (f"{flag} {path}".strip(), record)
        for path in paths
        for record in read_evaluations(path, flag)
        if record.value(criterion) is not None
    ]
    if not found:
        raise InputError(f"{flag}: no evaluation has a value of `criterion` {criterion}".strip())
    # One that says what it was measured with, if there is one, stands for all.
    first_source, first = next(((s, r) for s, r in found if r.measured_with), found[0])
    records: dict[str, Evaluated] = {}
    for source, record in found:
        differ = differences(record.conditions, first.conditions, criterion)
        twin = records.get(record.config_str, record)
        if not differ and twin.macs != record.macs:
            differ = [f"{record.macs:,} MACs of {record.config_str}, not {twin.macs:,}"]
        if differ:
            raise InputError(
                f"{source}: values cannot be compared with others in {first_source}: "
                f"{', '.join(differ[:5])}; choose from each search alone"
            )
        records[record.config_str] = record
    for source in dict.fromkeys(source for source, _ in found):
        _warn_of_unknown([r for s, r in found if s == source], source)
    return list(records.values())


def select(
    records: list[Evaluated], budget: float, criterion: str, lower_is_better: bool
) -> tuple[Evaluated, int]:
    """(the best of ``records`` within a budget, how many are within it).

    Args:
        budget: MACs, or `subnets.space.Milliseconds`

    Raises:
        InputError: none is within the budget; says how small the smallest is. Or times are not
            known, or are of several machines.
    """
    by_time = isinstance(budget, Milliseconds)
    if by_time and len({r.latency_table for r in records}) > 1:
        raise InputError(
            f"`select` {budget}: the times are of several latency tables; give one by "
            "`latency_table`"
        )
    inside = [r for r in records if r.price(budget) <= budget]
    if not inside:
        smallest = min(r.price(budget) for r in records)
        # Rounded up, so that it can be given.
        least = (
            f"takes {math.ceil(1e3 * smallest) / 1e3:g} ms" if by_time else f"has {smallest:,} MACs"
        )
        raise InputError(
            f"`select` {budget if by_time else f'{budget:.4g}'}: none of the {len(records)} "
            f"evaluations with {criterion} is that small; the smallest {least}"
        )
    sign = 1 if lower_is_better else -1
    best = min(inside, key=lambda r: (sign * r.value(criterion), r.price(budget), r.config_str))
    return best, len(inside)
