"""What makes one configuration better than another: quality alone, or quality and cost at once (the Pareto front)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.config import ChannelConfig

Score = Callable[[ChannelConfig], float]  # lower is better


# --------------------------------------------------------------------------------------------------
# Quality alone


@dataclass(frozen=True)
class ByScore:
    """Rank by quality; equal ones in order of their genes."""

    score: Score

    def __call__(self, configs: list[ChannelConfig]) -> list[ChannelConfig]:
        return sorted(configs, key=lambda c: (self.score(c), c.genes))

    def leaders(self, configs: list[ChannelConfig]) -> frozenset[ChannelConfig]:
        """What a search waits to improve: the best."""
        return frozenset(self(configs)[:1])


# --------------------------------------------------------------------------------------------------
# Quality and cost: NSGA-II (Deb et al. 2002)


def fronts(points: np.ndarray) -> np.ndarray:
    """Non-dominated sorting. points: (n, k) float, lower is better in every column -> (n,) int, 0 = on the front."""
    better = (points[:, None] <= points[None]).all(-1) & (points[:, None] < points[None]).any(
        -1
    )  # [i, j]: i dominates j
    level = np.full(len(points), -1)
    current = 0
    while (level < 0).any():
        left = level < 0
        free = left & ~better[left].any(axis=0)
        level[free] = current
        current += 1
    return level


def crowding(points: np.ndarray) -> np.ndarray:
    """Crowding distance of points of one front: how much room each has; the ends have infinite room."""
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
    """Rank by front, then by crowding distance, so that the best of every budget survive."""

    score: Score
    cost: Callable[[ChannelConfig], float]

    def _fronts(self, configs: list[ChannelConfig]) -> tuple[np.ndarray, np.ndarray]:
        points = np.array([(self.score(c), self.cost(c)) for c in configs], dtype=np.float64)
        return points, fronts(points)

    def __call__(self, configs: list[ChannelConfig]) -> list[ChannelConfig]:
        configs = sorted(configs, key=lambda c: c.genes)
        points, level = self._fronts(configs)
        room = np.zeros(len(configs))
        for current in range(level.max() + 1):
            members = np.flatnonzero(level == current)
            room[members] = crowding(points[members])
        return [configs[i] for i in np.lexsort((-room, level))]

    def leaders(self, configs: list[ChannelConfig]) -> frozenset[ChannelConfig]:
        """What a search waits to improve: the front."""
        _, level = self._fronts(configs)
        return frozenset(c for c, front in zip(configs, level, strict=True) if front == 0)
