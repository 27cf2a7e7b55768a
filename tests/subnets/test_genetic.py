"""The genetic search: what it may propose, in which shares, and that it is the same for the same seed."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import CONFIG_SETS, ChannelConfig
from subnets.genetic import GeneticSearch, GeneticSettings
from subnets.objectives import ByScore
from subnets.space import SearchSpace


@functools.cache
def space(name: str = "channels-48") -> SearchSpace:
    return SearchSpace(name)


def quality(config: ChannelConfig) -> float:
    """Something to rank by: no order of the genes, and different for nearly all."""
    return (hash((config.genes, 7)) % 10007) / 100


def generations(
    count: int, budget: float = 5e9, name: str = "channels-48", score=quality, **kwargs
):
    """(search, list of candidates) after each generation; ``score`` refuses what was not evaluated yet."""
    evaluated = set()

    def checked(config):
        assert config in evaluated, "ranked before it was evaluated"
        return score(config)

    search = GeneticSearch(space(name), budget, GeneticSettings(**kwargs), ByScore(checked))
    for _ in range(count):
        candidates = search.propose()
        evaluated.update(c.config for c in candidates)
        yield search, candidates


# --------------------------------------------------------------------------------------------------
# Every proposal


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    share=st.floats(0.0, 1.0),
    name=st.sampled_from(["channels-48", "channels-32", "test"]),
    population_size=st.integers(1, 30),
    parent_ratio=st.floats(0.0, 1.0),
    mutation_ratio=st.floats(0.0, 1.0),
    mutate_prob=st.floats(0.0, 1.0),
    weighted_sample=st.sampled_from([1.0, 3.0]),
    weight_strategy=st.sampled_from(["arithmetic", "geometric"]),
)
def test_proposals_fit_are_new_and_come_from_where_they_say(seed, share, name, **kwargs):
    low, high = int(space(name).macs.min()), int(space(name).macs.max())
    budget = low + share * (high - low)
    seen, last = set(), []
    for search, candidates in generations(3, budget, name, seed=seed, **kwargs):
        assert len(candidates) <= kwargs["population_size"]
        for candidate in candidates:
            config = candidate.config
            assert space(name).cost(config)[0] <= budget
            assert config not in seen
            seen.add(config)
            assert all(
                g in choices for g, choices in zip(config.genes, CONFIG_SETS[name], strict=True)
            )
            assert set(candidate.parents) <= set(last)
            if candidate.origin == "mutation":
                assert len(candidate.parents) == 1
            elif candidate.origin == "crossover":
                a, b = candidate.parents
                assert all(
                    g in (x, y) for g, x, y in zip(config.genes, a.genes, b.genes, strict=True)
                )
            else:
                assert candidate.origin == "random" and not candidate.parents
        assert search.known == seen
        count = max(2, round(kwargs["parent_ratio"] * kwargs["population_size"]))
        last = search.rank(search.population)[:count]


# --------------------------------------------------------------------------------------------------
# Shares


@given(
    st.integers(0, 10**6), st.sampled_from([0.0, 0.25, 0.5, 0.8, 1.0]), st.sampled_from([20, 50])
)
def test_shares_of_mutations_and_crossovers_are_exact(seed, mutation_ratio, population_size):
    run = generations(3, seed=seed, mutation_ratio=mutation_ratio, population_size=population_size)
    for generation, (search, candidates) in enumerate(run):
        assert not search.exhausted
        origins = [c.origin for c in candidates]
        if generation == 0:
            assert origins == ["random"] * population_size
        else:
            mutations = round(mutation_ratio * population_size)
            assert origins.count("mutation") == mutations
            assert origins.count("crossover") == population_size - mutations


def test_the_defaults_are_the_described_ones():
    s = GeneticSettings()
    assert (s.population_size, s.parent_ratio, s.mutation_ratio, s.mutate_prob) == (
        100,
        0.25,
        0.5,
        0.3,
    )


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.7])
def test_genes_are_drawn_again_with_the_given_probability(probability):
    """A gene of c choices that is drawn again differs in (c - 1) / c of the cases; unchanged children are known already."""
    runs = generations(
        6,
        float("inf"),
        "channels-64-pix2pix",
        mutation_ratio=1.0,
        mutate_prob=probability,
        population_size=200,
    )
    changed = [
        sum(a != b for a, b in zip(c.config.genes, c.parents[0].genes, strict=True))
        for _, candidates in runs
        for c in candidates
        if c.parents
    ]
    p = probability * 6 / 7
    expected = 8 * p / (1 - (1 - p) ** 8)  # given that at least one changed
    assert sum(changed) / len(changed) == pytest.approx(expected, rel=0.08)


def test_crossovers_take_genes_from_both_parents_about_equally():
    took, of = 0, 0
    for _, candidates in generations(
        6, float("inf"), "channels-64-pix2pix", mutation_ratio=0.0, population_size=200
    ):
        for c in candidates:
            if c.parents:
                a, b = c.parents
                differ = [
                    (g, x)
                    for g, x, y in zip(c.config.genes, a.genes, b.genes, strict=True)
                    if x != y
                ]
                took, of = took + sum(g == x for g, x in differ), of + len(differ)
    assert abs(took / of - 0.5) < 0.03


# --------------------------------------------------------------------------------------------------
# Ranking


def test_parents_are_the_best_and_compete_with_their_children():
    population_size, count = 20, 5
    before: list[ChannelConfig] = []
    for search, candidates in generations(5, population_size=population_size):
        population = [*before, *(c.config for c in candidates)]
        assert sorted(search.population, key=str) == sorted(population, key=str)
        ranked = search.rank(search.population)
        assert [quality(c) for c in ranked] == sorted(quality(c) for c in population)
        before = ranked[:count]
        assert len(candidates) == population_size or search.exhausted
    # The last generation can be ranked: its members take part as soon as they are measured.
    assert {c.config for c in candidates} <= set(search.rank(search.population))


def test_the_best_survives_all_generations():
    best = float("inf")
    for search, _ in generations(6, population_size=10):
        now = quality(search.rank(search.population)[0])
        assert now <= best
        best = now


def test_equal_scores_are_ordered_by_their_genes():
    for search, candidates in generations(1, score=lambda c: 1.0, population_size=20):
        assert search.rank(search.population) == sorted(
            (c.config for c in candidates), key=lambda c: c.genes
        )


def test_the_search_finds_good_configurations():
    """Wide up2 is good here: after a few generations the best must beat what as many random draws would find."""
    wide = lambda c: -sum(c.genes[i] for i in (0, 1, 6, 7)) + 1e-3 * c.genes[2]  # noqa: E731
    best = [
        wide(search.rank(search.population)[0])
        for search, _ in generations(8, 8e9, "channels-64-pix2pix", score=wide, population_size=40)
    ]
    assert best[-1] < best[0] - 20


# --------------------------------------------------------------------------------------------------
# The end of a space


def test_it_ends_when_a_space_is_exhausted():
    sizes = []
    for search, candidates in generations(4, float("inf"), "test", population_size=3):
        sizes.append(len(candidates))
        if search.exhausted:
            break
    assert (
        sum(sizes) == 4
        and search.exhausted
        and search.known == {space("test").config(i) for i in range(4)}
    )


def test_a_population_larger_than_the_space_is_the_space():
    for search, candidates in generations(2, float("inf"), "test", population_size=100):
        assert len(candidates) == (4 if search.generation == 0 else 0)


def test_one_feasible_configuration_is_enough():
    smallest = int(space().macs.min())
    for search, candidates in generations(2, smallest, population_size=10):
        assert [c.config for c in candidates] == (
            [space().smallest] if search.generation == 0 else []
        )
        assert search.exhausted


# --------------------------------------------------------------------------------------------------
# Repeatability


@given(st.integers(0, 2**31))
def test_the_same_seed_proposes_the_same(seed):
    first, again = ([c for _, c in generations(4, seed=seed, population_size=15)] for _ in range(2))
    assert first == again
    assert first != [c for _, c in generations(4, seed=seed + 1, population_size=15)]


def test_configurations_that_join_are_ranked_with_the_rest():
    search = GeneticSearch(
        space("test"), float("inf"), GeneticSettings(population_size=2), ByScore(lambda c: 0.0)
    )
    proposed = {c.config for c in search.propose()}
    every = [space("test").config(i) for i in range(4)]
    joined = search.join(every)
    assert {c.config for c in joined} == set(every) - proposed and {c.origin for c in joined} == {
        "restored"
    }
    assert search.exhausted and set(search.population) == set(every)
    assert search.join(every) == []


def test_what_is_over_budget_does_not_join():
    budget = space("test").macs.min()
    search = GeneticSearch(space("test"), budget, GeneticSettings(), ByScore(lambda c: 0.0))
    search.propose()
    assert search.join([space("test").largest]) == []


def test_six_genes_that_join_are_the_same_as_eight():
    """An earlier search may be given by hand: one configuration must not be measured under two names."""
    search = GeneticSearch(
        space("channels-32"),
        float("inf"),
        GeneticSettings(population_size=5),
        ByScore(lambda c: 0.0),
    )
    search.propose()
    joined = search.join(
        [ChannelConfig.parse("16_24_32_16_24_32"), ChannelConfig.parse("16_24_32_16_16_16_24_32")]
    )
    assert len(joined) <= 1
    search.propose()  # and its genes can be mutated
