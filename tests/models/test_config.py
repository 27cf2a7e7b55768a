"""Channel configurations: what a string means, and what is said about one that means nothing."""

from pathlib import Path

import pytest
from golden_values import PUBLISHED
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from models.config import CONFIG_SETS, MAX_CONFIGS, ChannelConfig, ConfigSet, Widths
from models.layout import GENE_NAMES

GENES = st.integers(1, 128)


def test_eight_genes_become_real_widths():
    found = ChannelConfig.parse("1_2_3_4_5_6_7_8").widths()
    assert found == Widths(1, 4, 12, (16, 16, 16, 20, 20, 20, 24, 24, 24), 14, 8)
    assert list(found) == [1, 4, 12, 16, 16, 16, 20, 20, 20, 24, 24, 24, 14, 8]


def test_of_six_blocks_two_share_a_gene():
    found = ChannelConfig.parse("1_2_3_4_5_6_7_8").widths(6)
    assert list(found) == [1, 4, 12, 16, 16, 20, 20, 24, 24, 14, 8]
    assert ChannelConfig.from_widths(found) == ChannelConfig.parse("1_2_3_4_5_6_7_8")


def test_six_genes_share_one_inner_width():
    six, eight = ChannelConfig.parse("1_2_3_4_7_8"), ChannelConfig.parse("1_2_3_4_4_4_7_8")
    assert six.widths() == eight.widths()
    assert six.full == eight.full == eight.genes


def test_a_legacy_config_narrows_only_the_first_block_of_each_group():
    config = ChannelConfig.parse("1_2_3_4_7_8", legacy=True)
    assert config.widths() == Widths(1, 4, 12, (16, 12, 12) * 3, 14, 8)
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
    assert set(ChannelConfig.uniform(64).widths().inner) == {256}


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


# --------------------------------------------------------------------------------------------------
# Search spaces

LISTS = st.lists(st.integers(1, 1024), min_size=1, max_size=9, unique=True)
EIGHT = LISTS.map(lambda widths: [widths] * 8) | st.lists(LISTS, min_size=8, max_size=8)


def typed(lists: list[list[int]], comma: str = ",", semicolon: str = ";") -> str:
    return semicolon.join(comma.join(map(str, widths)) for widths in lists)


@given(EIGHT, st.sampled_from([",", " , ", ",\t"]), st.sampled_from([";", " ; ", ";\n"]))
def test_lists_become_choices_widest_first_and_are_read_back_from_their_text(lists, comma, sep):
    found = ConfigSet.parse(typed(lists, comma, sep))
    assert found.choices == tuple(tuple(sorted(widths, reverse=True)) for widths in lists)
    assert ConfigSet.parse(str(found)) == ConfigSet.read(str(found)) == found


@given(LISTS)
def test_one_list_is_that_of_all_genes(widths):
    one = ConfigSet.parse(typed([widths]))
    assert one == ConfigSet.parse(typed([widths] * 8))
    assert ";" not in str(one)


@pytest.mark.parametrize("name", CONFIG_SETS)
def test_a_named_set_keeps_its_name_and_order(name):
    assert ConfigSet.read(name).choices == CONFIG_SETS[name]
    assert str(ConfigSet.read(name)) == name


def test_the_same_space_has_one_text():
    """A run that was started by name continues by widths."""
    assert str(ConfigSet.parse("16,24,32")) == "channels-32"
    eight = "32,48;48,32;40,32,48;48,40,32;48,40,32;48,40,32;16,24,32,48;48,32,24,16"
    assert str(ConfigSet.parse(eight)) == "channels-48"
    assert str(ConfigSet.parse("8;8;8;8;8;8;8;8")) == "8"


@given(EIGHT)
def test_a_file_is_the_same_space(tmp_path_factory, lists):
    path = tmp_path_factory.getbasetemp() / "space.txt"
    lines = [f" {typed([widths])}  # {g}" for widths, g in zip(lists, GENE_NAMES, strict=True)]
    path.write_text("\ufeff# my space\r\n\r\n" + "\r\n".join(lines) + "\r\n\r\n", "utf-8")
    assert ConfigSet.read(str(path)) == ConfigSet.parse(typed(lists))


def test_a_file_of_one_line_is_for_all_genes(tmp_path):
    (tmp_path / "space.txt").write_text("# all genes\n6,4\n")
    assert str(ConfigSet.read(str(tmp_path / "space.txt"))) == "6,4"


def test_no_file_hides_a_name_or_a_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("test", "24,16", "8"):
        Path(name).write_text("6,4")
    assert [str(ConfigSet.read(name)) for name in ("test", "24,16", "8")] == ["test", "24,16", "8"]
    assert str(ConfigSet.read("./24,16")) == "6,4"


@pytest.mark.parametrize(
    "bad, words",
    {
        "channels-33": ["'channels-33'", "channels-64-pix2pix", "24,20,16", "file"],
        "": ["''", "channels-32"],
        "24x": ["'24x'", "file"],
        "24,2O": ["'2O' is not a whole number from 1 to 1024"],
        "24,0": ["'0' is not"],
        "24,-16": ["'-16' is not"],
        "-24,16": ["'-24' is not"],
        "1025": ["'1025' is not"],
        f"24,{'9' * 5000}": ["'9999999999", "is not"],
        "24,1_6": ["'1_6' is not"],
        "24,\u0661": ["'\u0661' is not"],
        "2.5,2": ["'2.5' is not"],
        "24,,16": ["'' is not"],
        "24 16": ["'24 16' is not"],
        ",": ["'' is not"],
        "24,16,24": ["24 is listed twice"],
        "24,024": ["24 is listed twice"],
        "24;16": ["2 lists", "8: stem, down1, trunk, inner0-2"],
        "8;8;8;8;8;8;8;8;8": ["9 lists"],
        "8;8;8;8,6,8;8;8;8;8": ["inner0-2: 8 is listed twice"],
        "8;8;8;8;8;8;8;": ["up2: '' is not"],
        "1,2,3,4,5,6,7,8,9,10,11": ["214,358,881 configurations", f"{MAX_CONFIGS:,}"],
    }.items(),
)
def test_what_is_no_space_is_refused_with_the_gene_and_the_remedy(bad, words):
    for read in (ConfigSet.parse, ConfigSet.read):
        with pytest.raises(InputError) as error:
            read(bad)
        message = str(error.value)
        assert all(word in message for word in words), message
        assert message.isprintable() and len(message) < 600


@given(st.text(max_size=30) | st.text("0123456789,; -", max_size=30))
def test_any_text_is_a_space_or_refused_in_one_line(text):
    try:
        found = ConfigSet.parse(text)
    except InputError as error:
        assert str(error).isprintable()
    else:
        assert ConfigSet.parse(str(found)) == found
        assert all(0 < width <= 1024 for widths in found.choices for width in widths)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "0 lists"),
        (b"# nothing\n", "0 lists"),
        (b"24,16\n24\n", "2 lists"),
        (b"8\n8\n8,x\n8\n8\n8\n8\n8\n", "trunk: 'x' is not a whole number"),
        (b"24 16", "'24 16' is not a whole number"),
        (b"\xff\xfe8", "no text file with one or 8 lists"),
        (b"8\n" + b"#" * 70000, "no text file"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, content, words):
    path = tmp_path / "space.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        ConfigSet.read(str(path))
    assert "space.txt'" in str(error.value) and words in str(error.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="nor a file"):
        ConfigSet.read(str(tmp_path))


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "space.txt").write_text("24")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"space\.txt' cannot be read \(Permission denied\)"):
        ConfigSet.read(str(tmp_path / "space.txt"))
