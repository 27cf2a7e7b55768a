"""What makes one configuration better than another: quality, or quality and cost (Pareto front)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import numpy as np

from models.config import ChannelConfig

# Lower is better; infinite for a configuration whose quality is not a finite number.
Score = Callable[[ChannelConfig], float]


# --------------------------------------------------------------------------------------------------
# Quality alone


@dataclass(frozen=True)
class ByScore:
    """Rank by quality, ties by genes."""

    score: Score

    def __call__(self, configs: list[ChannelConfig]) -> list[ChannelConfig]:
        return sorted(configs, key=lambda c: (self.score(c), c.genes))

    def leaders(self, configs: list[ChannelConfig]) -> frozenset[ChannelConfig]:
        """The configurations that a search tries to improve on: the best one."""
        return frozenset(self(configs)[:1])


# --------------------------------------------------------------------------------------------------
# Quality and cost: NSGA-II (Deb et al. 2002)


def fronts(points: np.ndarray) -> np.ndarray:
    """Non-dominated sorting.

    Args:
        points: (n, k) finite floats, lower is better in every column
    Returns:
        (n,) int: 0 on the front, 1 on the front of the rest, and so on.
    """
    no_worse = (points[:, None] <= points[None]).all(-1)
    # [i, j]: i dominates j
    better = no_worse & (points[:, None] < points[None]).any(-1)
    level = np.full(len(points), -1)
    current = 0
    while (level < 0).any():
        left = level < 0
        free = left & ~better[left].any(axis=0)
        level[free] = current
        current += 1
    return level


def crowding(points: np.ndarray) -> np.ndarray:
    """Crowding distance: (n, k) points of one front -> (n,) room around each; infinite at ends."""
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


@dataclass(frozen=True)
class ByFront:
    """Rank by front, then by crowding distance, so that the best of every budget survive.

    Configurations without a finite score come last.
    """

    score: Score
    cost: Callable[[ChannelConfig], float]

    def _fronts(
        self, configs: list[ChannelConfig]
    ) -> tuple[list[ChannelConfig], np.ndarray, np.ndarray]:
        """(those with a finite score by genes, their points, their fronts)."""
        finite = sorted((c for c in configs if isfinite(self.score(c))), key=lambda c: c.genes)
        points = np.array([(self.score(c), self.cost(c)) for c in finite], dtype=np.float64)
        points = points.reshape(-1, 2)
        return finite, points, fronts(points)

    def __call__(self, configs: list[ChannelConfig]) -> list[ChannelConfig]:
        finite, points, level = self._fronts(configs)
        room = np.zeros(len(finite))
        for current in np.unique(level):
            members = np.flatnonzero(level == current)
            room[members] = crowding(points[members])
        ranked = [finite[i] for i in np.lexsort((-room, level))]
        return ranked + sorted(set(configs) - set(finite), key=lambda c: c.genes)

    def leaders(self, configs: list[ChannelConfig]) -> frozenset[ChannelConfig]:
        """The configurations that a search tries to improve on: the front."""
        finite, _, level = self._fronts(configs)
        return frozenset(c for c, front in zip(finite, level, strict=True) if front == 0)
