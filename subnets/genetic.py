"""The genetic search (SPEC 4; Cai et al. 2020, section 3.3): which configurations to measure next.

`GeneticSearch` only proposes and ranks; its caller measures. The random numbers of a generation
depend on seed and generation alone, so a search that was stopped replays its recorded evaluations
and continues as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from models.config import ChannelConfig
from subnets.objectives import ByFront, ByScore
from subnets.space import SearchSpace

# Maximum redraws of a child that is over budget or already known; after that its slot stays empty.
MAX_REDRAWS = 200


@dataclass(frozen=True)
class Candidate:
    """A configuration to evaluate, and where it came from."""

    config: ChannelConfig
    # random | mutation | crossover | restored | exhaustive
    origin: str
    parents: tuple[ChannelConfig, ...] = ()


@dataclass(frozen=True)
class GeneticSettings:
    """How a `GeneticSearch` proposes; shares and probabilities are from 0 to 1."""

    population_size: int = 100
    # Share of the population that become parents.
    parent_ratio: float = 0.25
    # Mutations as a share of the children; the rest are crossovers.
    mutation_ratio: float = 0.5
    # Probability that a mutation draws a gene again.
    mutate_prob: float = 0.2
    # See `SearchSpace.sampling_weights`; for the first generation.
    weighted_sample: float = 1.0
    weight_strategy: str = "arithmetic"
    seed: int = 233


class GeneticSearch:
    """Proposes generations of configurations within a budget.

    Args:
        space, budget: what is allowed: at most so many MACs, or `Milliseconds`
        settings:      see `GeneticSettings`
        rank:          what makes one configuration better than another

    Raises:
        InputError: no configuration is within the budget.
    """

    def __init__(
        self, space: SearchSpace, budget: float, settings: GeneticSettings, rank: ByScore | ByFront
    ):
        self.space, self.budget, self.settings, self.rank = space, budget, settings, rank
        self.feasible = space.feasible(budget)
        # Maximum configurations that a generation proposes.
        self.per_generation = settings.population_size
        # Every configuration ever proposed.
        self.known: set[ChannelConfig] = set()
        # The current parents and their children.
        self.population: list[ChannelConfig] = []
        self.generation = -1

    @property
    def needed(self) -> Collection[ChannelConfig]:
        """The configurations whose scores the next `propose` asks for."""
        return self.population

    @property
    def exhausted(self) -> bool:
        """Whether every configuration within the budget has been proposed."""
        return len(self.known) >= len(self.feasible)

    def propose(self) -> list[Candidate]:
        """The next generation's new configurations; empty when no new one was found.

        The first generation is random. Each later one needs scores of all that is `needed`.
        """
        self.generation += 1
        rng = np.random.Generator(np.random.Philox(key=[self.settings.seed, self.generation]))
        if self.generation == 0:
            parents: list[ChannelConfig] = []
            children = self._first(rng)
        else:
            # At least two: a crossover of one parent with itself is a copy.
            count = max(2, round(self.settings.parent_ratio * self.settings.population_size))
            parents = self.rank(self.population)[:count]
            children = self._next(rng, parents)
        self.known.update(child.config for child in children)
        self.population = [*parents, *(child.config for child in children)]
        return children

    def join(self, configs: Iterable[ChannelConfig]) -> list[Candidate]:
        """Add configurations of the space within the budget to the current population.

        Returns those not proposed before, as candidates.
        """
        # Six genes abbreviate eight.
        full = [self.space.of_genes(c.full) for c in configs]
        fresh = [c for c in full if c not in self.known and self._within(c)]
        inside = list(dict.fromkeys(c for c in fresh if self.space.holds(c)))
        self.known.update(inside)
        self.population += inside
        return [Candidate(config, "restored") for config in inside]

    def _within(self, config: ChannelConfig) -> bool:
        return self.space.price(config, self.budget) <= self.budget

    # ---- how candidates are made

    def _first(self, rng: np.random.Generator) -> list[Candidate]:
        return self._random(rng, self.settings.population_size)

    def _next(self, rng: np.random.Generator, parents: list[ChannelConfig]) -> list[Candidate]:
        return self._breed(rng, parents, self.settings.population_size)

    def _random(self, rng: np.random.Generator, count: int) -> list[Candidate]:
        """Distinct configurations within the budget, drawn uniformly or by their weights."""
        s = self.settings
        weights = self.space.sampling_weights(self.feasible, s.weighted_sample, s.weight_strategy)
        numbers = rng.choice(
            self.feasible, min(count, len(self.feasible)), replace=False, p=weights
        )
        return [Candidate(self.space.config(int(number)), "random") for number in numbers]

    def _breed(
        self, rng: np.random.Generator, parents: list[ChannelConfig], count: int
    ) -> list[Candidate]:
        """Up to ``count`` new children: first the mutations, then the crossovers."""
        mutations = round(self.settings.mutation_ratio * count)
        taken = set(self.known)
        children: list[Candidate] = []
        for position in range(count):
            if len(taken) >= len(self.feasible):
                break
            make = self._mutate if position < mutations else self._cross
            for _ in range(MAX_REDRAWS):
                child = make(rng, parents)
                if child.config not in taken and self._within(child.config):
                    taken.add(child.config)
                    children.append(child)
                    break
        return children

    def _mutate(self, rng: np.random.Generator, parents: list[ChannelConfig]) -> Candidate:
        parent = parents[rng.integers(len(parents))]
        redraw = rng.random(len(parent.genes)) < self.settings.mutate_prob
        fresh = self.space.draw(rng).genes
        genes = tuple(
            new if again else old
            for old, new, again in zip(parent.genes, fresh, redraw, strict=True)
        )
        return Candidate(self.space.of_genes(genes), "mutation", (parent,))

    def _cross(self, rng: np.random.Generator, parents: list[ChannelConfig]) -> Candidate:
        a, b = (parents[i] for i in rng.integers(len(parents), size=2))
        first = rng.random(len(a.genes)) < 0.5
        genes = tuple(x if take else y for x, y, take in zip(a.genes, b.genes, first, strict=True))
        return Candidate(self.space.of_genes(genes), "crossover", (a, b))
