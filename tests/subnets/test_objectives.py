"""Ranking by quality and cost: fronts, crowding, and that the ends of the front survive."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.config import ChannelConfig
from subnets.objectives import ByFront, ByScore, crowding, fronts

points = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=15)


def dominates(a, b) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


@given(points)
def test_a_level_is_dominated_by_the_one_before_and_by_nothing_in_itself(values):
    level = fronts(np.array(values, dtype=float))
    for i, point in enumerate(values):
        above = [level[j] for j, other in enumerate(values) if dominates(other, point)]
        assert level[i] == (max(above) + 1 if above else 0)


def test_crowding_is_the_room_between_neighbours():
    found = crowding(np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]]))
    assert found.tolist() == [np.inf, 3 / 4 + 3 / 4, 3 / 4 + 3 / 4, np.inf]
    assert crowding(np.array([[1.0, 1.0]])).tolist() == [np.inf]
    assert np.isfinite(crowding(np.ones((4, 2)))[1:3]).all()


@given(points)
def test_the_front_is_ranked_first_and_all_are_kept(values):
    configs = [ChannelConfig((i + 1,) * 8) for i in range(len(values))]
    of = dict(zip(configs, values, strict=True))
    rank = ByFront(lambda c: of[c][0], lambda c: of[c][1])
    ranked = rank(configs)
    assert sorted(ranked, key=lambda c: c.genes) == configs
    assert rank(configs[::-1]) == ranked  # whatever order they come in
    level = {c: int(l) for c, l in zip(configs, fronts(np.array(values, dtype=float)), strict=True)}
    assert [level[c] for c in ranked] == sorted(level.values())
    # The best and the cheapest of all head the list, so that they become parents.
    front = [c for c in configs if level[c] == 0]
    ends = {min(of[c][0] for c in front), min(of[c][1] for c in front)}
    first = ranked[: max(1, min(2, len({of[c] for c in front})))]
    assert {of[c][0] for c in first} & ends or {of[c][1] for c in first} & ends


def test_ByScore_breaks_ties_by_genes():
    configs = [ChannelConfig((i,) * 8) for i in (3, 1, 2)]
    assert ByScore(lambda c: 1.0)(configs) == sorted(configs, key=lambda c: c.genes)
    assert ByScore(lambda c: -c.genes[0])(configs)[0].genes[0] == 3
