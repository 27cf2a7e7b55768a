"""Channel configurations: what a string means, and what is said about one that means nothing."""

import pytest
from golden_values import PUBLISHED
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from models.config import ChannelConfig, Widths

GENES = st.integers(1, 128)


def test_eight_genes_become_real_widths():
    found = ChannelConfig.parse("1_2_3_4_5_6_7_8").widths
    assert found == Widths(1, 4, 12, (16, 16, 16, 20, 20, 20, 24, 24, 24), 14, 8)
    assert list(found) == [1, 4, 12, 16, 16, 16, 20, 20, 20, 24, 24, 24, 14, 8]


def test_six_genes_share_one_inner_width():
    six, eight = ChannelConfig.parse("1_2_3_4_7_8"), ChannelConfig.parse("1_2_3_4_4_4_7_8")
    assert six.widths == eight.widths
    assert six.full == eight.full == eight.genes


def test_a_legacy_config_narrows_only_the_first_block_of_each_group():
    config = ChannelConfig.parse("1_2_3_4_7_8", legacy=True)
    assert config.widths == Widths(1, 4, 12, (16, 12, 12) * 3, 14, 8)
    with pytest.raises(ValueError, match="eight-gene"):
        _ = config.full


@given(st.lists(GENES, min_size=8, max_size=8) | st.lists(GENES, min_size=6, max_size=6))
def test_strings_round_trip(genes):
    config = ChannelConfig(tuple(genes))
    assert ChannelConfig.parse(str(config)) == config
    assert hash(ChannelConfig.parse(f" {config}\n")) == hash(config)


@given(st.lists(st.integers(-3, 128), max_size=12).filter(lambda g: len(g) not in (6, 8)))
def test_a_wrong_count_names_the_string_and_the_counts(genes):
    with pytest.raises(InputError) as error:
        ChannelConfig.parse("_".join(map(str, genes)))
    assert "_".join(map(str, genes)) in str(error.value)
    if genes:
        assert f"has {len(genes)} numbers" in str(error.value)


@pytest.mark.parametrize(
    "bad", ["16_16_40_40_40_64_24_0", "-16_16_40_40_40_64_24_16", "0_1_1_1_1_1"]
)
def test_widths_are_positive(bad):
    with pytest.raises(InputError, match=f"'{bad}'.*positive"):
        ChannelConfig.parse(bad)


@pytest.mark.parametrize(
    "bad", ["", "_", "wide", "16_16_40_40_40_64_24_x", "16__40_40_40_64_24_16", "1.5_1_1_1_1_1"]
)
def test_text_is_refused_with_an_example(bad):
    with pytest.raises(InputError, match="16_16_40_40_40_64_24_16"):
        ChannelConfig.parse(bad)


def test_a_legacy_config_has_six_numbers():
    with pytest.raises(InputError, match="needs 6") as error:
        ChannelConfig.parse("16_16_40_40_40_64_24_16", legacy=True)
    example = str(error.value).split("e.g. ")[1]
    assert len(ChannelConfig.parse(example, legacy=True).genes) == 6


def test_uniform_is_a_network_named_by_its_ngf():
    assert str(ChannelConfig.uniform(64)) == "64_64_64_64_64_64_64_64"
    assert set(ChannelConfig.uniform(64).widths.inner) == {256}


def test_what_is_too_wide_for_a_supernet_is_named_gene_by_gene():
    config = ChannelConfig.parse("48_16_16_56_16_16_16_16")
    config.check_fits(56)
    with pytest.raises(InputError) as error:
        config.check_fits(40)
    assert (
        "stem=48" in str(error.value)
        and "inner0-2=56" in str(error.value)
        and "ngf 40" in str(error.value)
    )


def test_published_configs_parse():
    for name in PUBLISHED["configs"]:
        assert str(ChannelConfig.parse(name)) == name
    for name in PUBLISHED["legacy_configs"]:
        assert str(ChannelConfig.parse(name, legacy=True)) == name
