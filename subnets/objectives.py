"""What makes one configuration better than another: quality alone, or quality and cost at once (the Pareto front)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.config import ChannelConfig

Score = Callable[[ChannelConfig], float]  # lower is better


# ---------------------------------------------------------------------------------------------------------
# Quality alone


def by_score(score: Score):
    """Rank by quality; equal ones in order of their genes."""
    return lambda configs: sorted(configs, key=lambda c: (score(c), c.genes))


# ---------------------------------------------------------------------------------------------------------
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


def by_front(score: Score, cost: Callable[[ChannelConfig], float]):
    """Rank by front, then by crowding distance, so that the best of every budget survive."""

    def rank(configs: list[ChannelConfig]) -> list[ChannelConfig]:
        configs = sorted(configs, key=lambda c: c.genes)
        points = np.array([(score(c), cost(c)) for c in configs], dtype=np.float64)
        level = fronts(points)
        room = np.zeros(len(configs))
        for current in range(level.max() + 1):
            members = np.flatnonzero(level == current)
            room[members] = crowding(points[members])
        return [configs[i] for i in np.lexsort((-room, level))]

    return rank
