"""Search spaces: how many configurations there are, which, and what each costs."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from models.config import CONFIG_SETS, ChannelConfig
from models.cost import Architecture, config_cost
from subnets.space import NO_BUDGET, SearchSpace

SIZES = {
    "channels-48": 2**2 * 3**4 * 4**2,
    "channels-32": 3**8,
    "channels-64-pix2pix": 5_764_801,
    "channels-64-cycleGAN": 5**8,
    "test": 4,
}
PIX2PIX = "channels-64-pix2pix"


@functools.cache
def space(name: str = PIX2PIX, *args) -> SearchSpace:
    return SearchSpace(name, *args)


names = st.sampled_from(sorted(CONFIG_SETS))


def config_of(name: str, data: st.DataObject) -> ChannelConfig:
    return ChannelConfig(
        tuple(data.draw(st.sampled_from(choices)) for choices in CONFIG_SETS[name])
    )


# --------------------------------------------------------------------------------------------------
# Configurations


@pytest.mark.parametrize("name", CONFIG_SETS)
def test_sizes(name):
    assert space(name).size == SIZES[name]
    assert len(space(name).macs) == SIZES[name]


@given(names, st.data())
def test_numbers_and_configs_are_one_to_one(name, data):
    config = config_of(name, data)
    number = space(name).number(config)
    assert 0 <= number < SIZES[name] and space(name).config(number) == config
    number = data.draw(st.integers(0, SIZES[name] - 1))
    assert space(name).number(space(name).config(number)) == number
    assert all(type(gene) is int for gene in space(name).config(number).genes)


def test_a_small_space_is_listed_whole():
    configs = [str(space("test").config(i)) for i in range(4)]
    assert sorted(configs) == sorted(f"8_{a}_{b}_8_8_8_8_8" for a in (6, 8) for b in (6, 8))


def test_a_config_outside_is_refused_naming_the_set():
    with pytest.raises(
        InputError,
        match=r"'16_16_16_16_16_16_16_20' is not in `config_set` channels-32: up2 20 is none of",
    ):
        space("channels-32").number(ChannelConfig.parse("16_16_16_16_16_16_16_20"))


def test_six_genes_are_found_too():
    six, eight = (
        ChannelConfig.parse("16_24_32_40_48_56"),
        ChannelConfig.parse("16_24_32_40_40_40_48_56"),
    )
    assert space().number(six) == space().number(eight)


def test_unknown_sets_are_refused_with_the_known():
    with pytest.raises(
        InputError, match=r"'channels-96' is neither a name \(channels-48, .*test\) nor a list"
    ):
        SearchSpace("channels-96")


@pytest.mark.parametrize("name", CONFIG_SETS)
def test_largest_and_smallest_bound_the_cost(name):
    macs = space(name).macs
    assert space(name).cost(space(name).largest)[0] == macs.max()
    assert space(name).cost(space(name).smallest)[0] == macs.min()


# --------------------------------------------------------------------------------------------------
# Cost


@given(names, st.data())
def test_the_array_of_costs_equals_the_cost_of_each(name, data):
    number = data.draw(st.integers(0, SIZES[name] - 1))
    config = space(name).config(number)
    assert space(name).macs[number] == space(name).cost(config)[0]
    assert space(name).cost(config) == config_cost(config)


@given(
    st.data(),
    st.sampled_from(["published", "exact", "no_norm"]),
    st.sampled_from([(256, 256), (128, 64)]),
    st.sampled_from([Architecture(), Architecture(True, 1, 1, "none")]),
)
def test_architecture_convention_and_size_matter(data, convention, size, arch):
    small = space("channels-32", arch, convention, *size)
    number = data.draw(st.integers(0, small.size - 1))
    assert small.macs[number] == config_cost(small.config(number), arch, convention, *size)[0]


@given(st.floats(0.9e9, 7e9))
def test_what_is_feasible_is_exactly_what_fits(budget):
    small = space("channels-32")
    if budget < small.macs.min():
        with pytest.raises(InputError):
            small.feasible(budget)
        return
    numbers = small.feasible(budget)
    fits = set(numbers.tolist())
    assert fits == {i for i, macs in enumerate(small.macs.tolist()) if macs <= budget}
    assert (np.diff(numbers) > 0).all()


def test_a_budget_of_exactly_the_smallest_is_enough():
    smallest = space().cost(space().smallest)[0]
    assert space().feasible(smallest).tolist() == [space().number(space().smallest)]
    assert len(space().feasible(float("inf"))) == 5_764_801


def test_an_impossible_budget_says_what_is_possible():
    with pytest.raises(InputError) as error:
        space().feasible(1.42e9)
    for part in (
        "`budget` 1.42e+09",
        PIX2PIX,
        "1,420,558,336 (16_16_16_16_16_16_16_16)",
        "18,365,808,640 (64_64_64_64_64_64_64_64)",
        "published convention, 256x256",
    ):
        assert part in str(error.value)


def test_a_description_counts_what_fits():
    assert space("test").describe(1e12).startswith("test: 4 configurations of 0.")
    assert "100.00% within the budget of 1000.000G" in space("test").describe(1e12)
    assert space("test").describe(NO_BUDGET).endswith("; no budget")


# --------------------------------------------------------------------------------------------------
# Drawing


def test_a_step_draws_the_same_config_everywhere():
    draws = [space().draw_at(233, step) for step in range(50)]
    assert draws == [SearchSpace(PIX2PIX).draw_at(233, step) for step in range(50)]
    assert len(set(draws)) > 45
    assert draws != [space().draw_at(234, step) for step in range(50)]


def test_genes_are_drawn_uniformly():
    genes = np.array([space("channels-32").draw_at(0, step).genes for step in range(3000)])
    for column in genes.T:
        values, counts = np.unique(column, return_counts=True)
        assert values.tolist() == [16, 24, 32] and counts.min() > 880


@pytest.mark.parametrize(
    "strategy, expected", [("arithmetic", (1, 2.5, 4)), ("geometric", (1, 2, 4))]
)
def test_weights_grow_from_the_narrowest_to_the_widest(strategy, expected):
    small = space("channels-32")
    weights = small.sampling_weights(np.arange(small.size), 4.0, strategy)
    assert weights.sum() == pytest.approx(1)
    lowest = weights[small.number(small.smallest)]
    for position in range(8):
        for gene, factor in zip((16, 24, 32), expected, strict=True):
            genes = [16] * 8
            genes[position] = gene
            assert weights[small.number(ChannelConfig(tuple(genes)))] / lowest == pytest.approx(
                factor
            )
    assert weights[small.number(small.largest)] / lowest == pytest.approx(4.0**8)


def test_a_ratio_of_one_is_uniform():
    assert space("test").sampling_weights(np.arange(4), 1.0, "arithmetic") is None


# --------------------------------------------------------------------------------------------------
# Spaces that are typed

# MACs of a resnet_9blocks teacher of ngf 32 at 64 px, published convention.
TEACHER = 907_771_904
SMALL = "24,20,16,12,8,6,4"
HALVED = "32,28,24,20,16,12,8"
# HALVED with 6 and 4, without what alone is beyond 1/40 of the teacher.
WITHIN = "20,16,12,8,6,4;32,28,24,20,16,12,8,6,4;20,16,12,8,6,4;" + 3 * ("32,28,24,20,16,12,8,6,4;")
WITHIN += "24,20,16,12,8,6,4;16,12,8,6,4"


def at_64(name: str) -> SearchSpace:
    return space(name, Architecture(), "published", 64, 64)


def test_the_cost_of_typed_spaces():
    """Facts about the halved space of the paper and a smaller one, at 64 px."""
    teacher = config_cost(ChannelConfig.uniform(32), Architecture(False), "published", 64, 64)
    assert teacher[0] == TEACHER
    halved = at_64(HALVED)
    assert halved.size == at_64(SMALL).size == 7**8
    winner = ChannelConfig.parse("16_16_24_16_24_16_8_8")
    assert halved.cost(winner)[0] == halved.macs[halved.number(winner)] == 82_649_088
    assert halved.cost(ChannelConfig.uniform(8))[0] == halved.macs.min() == 27_877_376
    assert len(halved.feasible(TEACHER / 12)) == 452_531  # 7.8%
    with pytest.raises(InputError, match="no configuration of 32,28,24,20,16,12,8 is that small"):
        halved.feasible(TEACHER / 40)
    assert len(at_64(SMALL).feasible(TEACHER / 40)) == 126_456


def test_a_space_of_a_list_per_gene():
    """Of the 9^8 configurations of HALVED with 6 and 4, as many are within 1/40."""
    found = at_64(WITHIN)
    assert found.shape == (6, 9, 6, 9, 9, 9, 7, 5)
    assert len(found.feasible(TEACHER / 40)) == 199_930
    assert str(found.largest) == "20_32_20_32_32_32_24_16" and str(found.smallest) == "4" + "_4" * 7


def test_a_space_is_its_widths_however_it_is_written():
    one, other = SearchSpace("8,24,16"), SearchSpace(";".join(["16,8,24"] * 8))
    assert (one.name, one.choices) == (other.name, other.choices) == ("24,16,8", ((24, 16, 8),) * 8)
    assert [one.draw_at(1, step) for step in range(20)] == [
        other.draw_at(1, step) for step in range(20)
    ]


def test_a_space_wider_than_the_supernet_names_flag_gene_and_remedy():
    made = SearchSpace("8;24,8;8;8;8;32;8;8")
    made.check_fits(32)
    with pytest.raises(InputError) as error:
        made.check_fits(20)
    for words in ("`config_set` 8;24,8;8;", "(ngf 20)", ": down1=24, inner6-8=32; leave out"):
        assert words in str(error.value)
    assert "above 20" in str(error.value) and "`student_ngf` 32" in str(error.value)
