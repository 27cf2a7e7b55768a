"""Which configurations exist and what each costs: a search space as arrays.

A configuration is a row of genes (eight of a ResNet), or its number in the space (row-major over
the genes' choices). The cost of all configurations is one array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import product
from typing import Protocol

import numpy as np

from errors import InputError
from models.config import MAX_CONFIGS, ChannelConfig, ConfigSet
from models.cost import Architecture, Costs, config_cost

# --------------------------------------------------------------------------------------------------
# What a budget may be of


class Milliseconds(float):
    """A budget in milliseconds, where one in MACs may stand."""

    def __str__(self) -> str:
        return f"{float(self):g}ms"


class Times(Protocol):
    """Predicted milliseconds, see `subnets.latency.LatencyTable`."""

    conditions: str
    # What tells it from other tables.
    digest: str

    def of(self, config: ChannelConfig) -> float: ...

    def at(self, genes: Sequence) -> np.ndarray: ...


# --------------------------------------------------------------------------------------------------
# The space

# MACs that stand for a search without a budget.
NO_BUDGET = 1e18

# Costs are computed for that many configurations at a time.
PART = 1 << 23


class SearchSpace:
    """All configurations of a config set, with their cost on images of one size.

    Args:
        name:       the text of a `ConfigSet` (``config_set``)
        arch:       the network whose MACs are counted; it says what the genes mean
        convention: how they are counted: ``published`` or ``exact``, see `models.cost`
        height, width: of the images [px]
        times:      the time of its configurations; None = not known

    Raises:
        InputError: ``name`` is no config set.
    """

    def __init__(
        self,
        name: str,
        arch: Costs = Architecture(),
        convention: str = "published",
        height: int = 256,
        width: int = 256,
        times: Times | None = None,
    ):
        config_set = ConfigSet.parse(name, arch.config)
        self.name, self.choices = str(config_set), config_set.choices
        self.arch, self.convention, self.height, self.width = arch, convention, height, width
        self.times = times
        self.shape = tuple(map(len, self.choices))
        self.size = int(np.prod(self.shape))

    # ---- configurations <-> numbers

    def genes(self, numbers: np.ndarray) -> np.ndarray:
        """(n,) numbers -> (n, genes) widths."""
        positions = np.unravel_index(np.asarray(numbers), self.shape)
        return np.stack(
            [np.array(c)[p] for c, p in zip(self.choices, positions, strict=True)], axis=-1
        )

    def config(self, number: int) -> ChannelConfig:
        return self.of_genes(int(g) for g in self.genes(np.array([number]))[0])

    def of_genes(self, genes: Iterable[int]) -> ChannelConfig:
        """A configuration of this family of networks."""
        return self.arch.config(tuple(genes))

    def parse(self, config_str: str) -> ChannelConfig:
        """The same from its text. InputError if it is none."""
        return self.arch.config.parse(config_str)

    def number(self, config: ChannelConfig) -> int:
        """The number of a configuration. InputError when the space does not hold it."""
        genes = zip(config.NAMES, config.full, self.choices, strict=True)
        for name, gene, choices in genes:
            if gene not in choices:
                raise InputError(
                    f"config '{config}' is not in `config_set` {self.name}: "
                    f"{name} {gene} is none of {', '.join(map(str, choices))}"
                )
        positions = [
            choices.index(gene) for gene, choices in zip(config.full, self.choices, strict=True)
        ]
        return int(np.ravel_multi_index(positions, self.shape))

    def holds(self, config: ChannelConfig) -> bool:
        return all(gene in choices for gene, choices in zip(config.full, self.choices, strict=True))

    @property
    def largest(self) -> ChannelConfig:
        return self.of_genes(max(c) for c in self.choices)

    @property
    def smallest(self) -> ChannelConfig:
        return self.of_genes(min(c) for c in self.choices)

    def check_fits(self, width: int) -> None:
        """InputError unless a supernet of base width ``width`` holds every configuration."""
        wide = self.largest.wider_than(width)
        if wide:
            raise InputError(
                f"`config_set` {self.name} is wider than the supernet (ngf {width}): "
                f"{', '.join(wide)}; leave out widths above {width}, or use a supernet of "
                f"`student_ngf` {max(self.largest.full)}"
            )

    # ---- cost

    @cached_property
    def macs(self) -> np.ndarray:
        """int64 (size,): MACs of every configuration, by number."""
        return self._whole(self._macs_at, np.int64)

    @cached_property
    def ms(self) -> np.ndarray:
        """float64 (size,): milliseconds of every configuration, by number. Needs ``times``."""
        return self._whole(self.times.at, np.float64)

    def _macs_at(self, genes: Sequence) -> np.ndarray:
        """MACs of as many arrays of genes that broadcast."""
        return self.arch.macs(self.arch.channels(genes), self.convention, self.height, self.width)

    def _whole(self, price: Callable[[Sequence], np.ndarray], dtype: type) -> np.ndarray:
        found = np.empty(self.size, dtype)
        for first, part in self._in_parts(price):
            found[first : first + len(part)] = part
        return found

    def _in_parts(
        self, price: Callable[[Sequence], np.ndarray]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The price of every configuration in parts, each with its first number: what lies between
        the genes and their price is as large as the price, and some spaces are larger than a
        memory.

        Args:
            price: of as many arrays of genes that broadcast
        """
        genes = [np.array(c, dtype=np.int64) for c in self.choices]
        sizes = [int(np.prod(self.shape[n:])) for n in range(len(genes) + 1)]
        leading = next(n for n, size in enumerate(sizes) if n and size <= PART)
        grid = np.ix_(*genes[leading:])
        for index, chosen in enumerate(product(*genes[:leading])):
            whole = np.broadcast_to(price((*chosen, *grid)), self.shape[leading:])
            yield index * sizes[leading], whole.reshape(-1)

    def cost(self, config: ChannelConfig) -> tuple[int, int]:
        """(MACs, parameters) of one configuration."""
        return config_cost(config, self.arch, self.convention, self.height, self.width)

    def price(self, config: ChannelConfig, budget: float) -> float:
        """What a configuration costs in the unit of a budget: MACs, or `Milliseconds`."""
        by_time = isinstance(budget, Milliseconds)
        return self.times.of(config) if by_time else self.cost(config)[0]

    def prices(self, budget: float) -> Iterator[tuple[int, np.ndarray]]:
        """The same of every configuration: the first number of each part, and the part's prices."""
        by_time = isinstance(budget, Milliseconds)
        if self.size > MAX_CONFIGS:
            return self._in_parts(self.times.at if by_time else self._macs_at)
        return iter([(0, self.ms if by_time else self.macs)])

    @cached_property
    def ends_in_time(self) -> tuple[tuple[float, ChannelConfig], tuple[float, ChannelConfig]]:
        """(milliseconds, configuration) of the fastest and of the slowest. Needs ``times``: a wider
        gene may take less time."""
        fastest, slowest = (np.inf, 0), (-np.inf, 0)
        for first, ms in self.prices(Milliseconds()):
            low, high = int(ms.argmin()), int(ms.argmax())
            fastest = min(fastest, (float(ms[low]), first + low))
            slowest = max(slowest, (float(ms[high]), first + high), key=lambda end: end[0])
        return tuple((ms, self.config(number)) for ms, number in (fastest, slowest))

    # ---- drawing

    def draw(self, rng: np.random.Generator) -> ChannelConfig:
        """A configuration with every gene uniform."""
        return self.of_genes(int(c[rng.integers(len(c))]) for c in self.choices)

    def draw_at(self, seed: int, step: int, index: int = 0) -> ChannelConfig:
        """The ``index``-th configuration of a training step, the same in every process."""
        return self.draw(
            np.random.Generator(np.random.Philox(key=[seed, step], counter=[0, 0, 0, index]))
        )

    def feasible(self, budget: float) -> np.ndarray:
        """Numbers of all configurations within a budget of MACs or `Milliseconds`, ascending.

        Raises:
            InputError: no configuration is; says what is possible.
        """
        numbers = np.concatenate(
            [first + np.flatnonzero(part <= budget) for first, part in self.prices(budget)]
        )
        if numbers.size == 0:
            raise InputError(
                f"`budget` {_shown(budget)}: no configuration of {self.name} is that small; it "
                f"must be between {self._range(budget)}"
            )
        return numbers

    def _range(self, budget: float) -> str:
        if isinstance(budget, Milliseconds):
            (low, least), (high, most) = self.ends_in_time
            # Rounded up, so that the lower end can be given.
            low = np.ceil(low * 1000) / 1000
            return f"{low:.6g}ms ({least}) and {high:.6g}ms ({most}; {self.times.conditions})"
        # A wider gene costs more in every family.
        least, most = (self.cost(config)[0] for config in (self.smallest, self.largest))
        return (
            f"{least:,} ({self.smallest}) and {most:,} ({self.largest}) MACs "
            f"({self.convention} convention, {self.width}x{self.height})"
        )

    def describe(self, budget: float) -> str:
        share = len(self.feasible(budget)) / self.size
        by_time = isinstance(budget, Milliseconds)
        within = str(budget) if by_time else f"{budget / 1e9:.3f}G"
        least, most = (self.cost(config)[0] for config in (self.smallest, self.largest))
        costs = (
            f"{least / 1e9:.3f}G to {most / 1e9:.3f}G MACs "
            f"({self.convention} convention, {self.width}x{self.height})"
        )
        if self.times:
            (low, _), (high, _) = self.ends_in_time
            costs += f", {low:.3g} to {high:.3g} ms ({self.times.conditions})"
        of_budget = f"{share:.2%} within the budget of {within}"
        if not by_time and budget >= NO_BUDGET:
            of_budget = "no budget"
        return f"{self.name}: {self.size:,} configurations of {costs}; {of_budget}"

    def sampling_weights(
        self, numbers: np.ndarray, ratio: float, strategy: str
    ) -> np.ndarray | None:
        """Probability of each configuration for ``weighted_sample``; None = uniform.

        A gene's weight grows from 1 for its narrowest choice to ``ratio`` for its widest, in equal
        steps (arithmetic) or by equal factors (geometric). The weight of a configuration is the
        product of those of its genes.

        Args:
            numbers:  (n,) int, the configurations
            ratio:    above 0
            strategy: ``arithmetic`` or ``geometric``
        Returns:
            (n,) float, summing to 1.
        """
        if ratio == 1:
            return None
        weights, stride = np.ones(len(numbers)), self.size
        for choices in self.choices:
            # One gene at a time: their positions together would be as many times larger.
            stride //= len(choices)
            position = numbers // stride % len(choices)
            place = np.argsort(np.argsort(choices)) / max(1, len(choices) - 1)
            gene = 1 + (ratio - 1) * place if strategy == "arithmetic" else ratio**place
            weights *= gene[position]
        return weights / weights.sum()


def _shown(budget: float) -> str:
    return str(budget) if isinstance(budget, Milliseconds) else f"{budget:.4g}"
