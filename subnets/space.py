"""Which configurations exist and what each costs: a search space as arrays.

A configuration is a row of eight genes, or its number in the space (row-major over the genes' choices); the cost of all of them is one array.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from errors import InputError
from models.config import CONFIG_SETS, ChannelConfig
from models.cost import Architecture, Channels, count_macs, count_params

# --------------------------------------------------------------------------------------------------
# The space


class SearchSpace:
    """All configurations of a config set, with their cost on images of one size.

    Args:
        name:          key of `CONFIG_SETS` (``config_set``)
        arch, convention, height, width: what MACs are counted of, see `models.cost`
    """

    def __init__(
        self,
        name: str,
        arch: Architecture = Architecture(),
        convention: str = "published",
        height: int = 256,
        width: int = 256,
    ):
        if name not in CONFIG_SETS:
            raise InputError(f"`config_set` {name} is not one of {', '.join(CONFIG_SETS)}")
        self.name, self.choices = name, CONFIG_SETS[name]
        self.arch, self.convention, self.height, self.width = arch, convention, height, width
        self.shape = tuple(map(len, self.choices))
        self.size = int(np.prod(self.shape))

    # ---- configurations <-> numbers

    def genes(self, numbers: np.ndarray) -> np.ndarray:
        """(n,) numbers -> (n, 8) widths."""
        positions = np.unravel_index(np.asarray(numbers), self.shape)
        return np.stack(
            [np.array(c)[p] for c, p in zip(self.choices, positions, strict=True)], axis=-1
        )

    def config(self, number: int) -> ChannelConfig:
        return ChannelConfig(tuple(int(g) for g in self.genes(np.array([number]))[0]))

    def number(self, config: ChannelConfig) -> int:
        """The number of a configuration. InputError when the space does not hold it."""
        for gene, choices in zip(config.full, self.choices, strict=True):
            if gene not in choices:
                raise InputError(
                    f"config '{config}' is not in `config_set` {self.name}: {gene} is none of {', '.join(map(str, choices))}"
                )
        positions = [
            choices.index(gene) for gene, choices in zip(config.full, self.choices, strict=True)
        ]
        return int(np.ravel_multi_index(positions, self.shape))

    def holds(self, config: ChannelConfig) -> bool:
        return all(gene in choices for gene, choices in zip(config.full, self.choices, strict=True))

    @property
    def largest(self) -> ChannelConfig:
        return ChannelConfig(tuple(max(c) for c in self.choices))

    @property
    def smallest(self) -> ChannelConfig:
        return ChannelConfig(tuple(min(c) for c in self.choices))

    # ---- cost

    @cached_property
    def macs(self) -> np.ndarray:
        """int64 (size,): MACs of every configuration, by number."""
        grid = np.ix_(*(np.array(c, dtype=np.int64) for c in self.choices))
        macs = count_macs(
            Channels.of_genes(grid), self.arch, self.convention, self.height, self.width
        )
        return np.broadcast_to(macs, self.shape).reshape(-1)

    def cost(self, config: ChannelConfig) -> tuple[int, int]:
        """(MACs, parameters) of one configuration."""
        channels = Channels.of_config(config)
        macs = count_macs(channels, self.arch, self.convention, self.height, self.width)
        return int(macs), int(count_params(channels, self.arch))

    # ---- drawing

    def draw(self, rng: np.random.Generator) -> ChannelConfig:
        """A configuration with every gene uniform."""
        return ChannelConfig(tuple(int(c[rng.integers(len(c))]) for c in self.choices))

    def draw_at(self, seed: int, step: int, index: int = 0) -> ChannelConfig:
        """The ``index``-th configuration of a training step: a function of its arguments, so that any process can know it."""
        return self.draw(
            np.random.Generator(np.random.Philox(key=[seed, step], counter=[0, 0, 0, index]))
        )

    def feasible(self, budget: float) -> np.ndarray:
        """Numbers of all configurations within ``budget`` MACs, ascending.

        Raises:
            InputError: none is; says what is possible.
        """
        numbers = np.flatnonzero(self.macs <= budget)
        if numbers.size == 0:
            raise InputError(
                f"`budget` {budget:.4g}: no configuration of {self.name} is that small; it must be between "
                f"{self.macs.min():,} ({self.smallest}) and {self.macs.max():,} ({self.largest}) MACs "
                f"({self.convention} convention, {self.width}x{self.height})"
            )
        return numbers

    def describe(self, budget: float) -> str:
        share = len(self.feasible(budget)) / self.size
        return (
            f"{self.name}: {self.size:,} configurations of {self.macs.min() / 1e9:.3f}G to {self.macs.max() / 1e9:.3f}G MACs "
            f"({self.convention} convention, {self.width}x{self.height}); {share:.2%} within the budget of {budget / 1e9:.3f}G"
        )

    def sampling_weights(
        self, numbers: np.ndarray, ratio: float, strategy: str
    ) -> np.ndarray | None:
        """Relative probability of each configuration for ``weighted_sample``; None = uniform.

        A gene's weight grows from 1 for its narrowest choice to ``ratio`` for its widest, in equal steps (arithmetic) or by equal factors
        (geometric); a configuration's weight is the product.
        """
        if ratio == 1:
            return None
        positions = np.unravel_index(numbers, self.shape)
        weights = np.ones(len(numbers))
        for choices, position in zip(self.choices, positions, strict=True):
            place = np.argsort(np.argsort(choices)) / max(1, len(choices) - 1)
            gene = 1 + (ratio - 1) * place if strategy == "arithmetic" else ratio**place
            weights *= gene[position]
        return weights / weights.sum()
