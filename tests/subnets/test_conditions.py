"""Values measured with different settings are never mixed; what differs is named."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest

from errors import InputError
from runtime.files import JsonLines
from subnets.conditions import conditions, images_digest
from subnets.results import Results, read_evaluations
from subnets.search import (
    Measurer,
    exhaust,
    read_comparable,
    select,
)
from subnets.space import SearchSpace

SPACE = SearchSpace("test")
SETTINGS = {
    "restore_G_path": "net_G.pth [123456789abc]",
    "crop_size": 256,
    "amp": "none",
    "macs_convention": "published",
    "fid_features": "inception",
    "fid_dims": 2048,
    "drn_path": "drn.pth [aaa]",
    "real_stat_path": None,
    "population_size": 100,
}
WITH = conditions(SETTINGS, "0a1b2c3d")


def measurer(path, measured_with=WITH, images=24, space=SPACE, criterion="fid") -> Measurer:
    def measure(config):
        return {criterion: float(sum(config.genes)), "n": images, "seconds": 0.0}

    lower = criterion == "fid"
    return Measurer(
        space,
        measure,
        Results(path),
        criterion,
        lower,
        measured_with=measured_with,
        images=images,
    )


def searched(path, **kwargs):
    """The file of a search of all four configurations."""
    made = measurer(path, **kwargs)
    exhaust(made, float("inf"))
    made.results.close()
    return path


def without_conditions(path):
    """The same file as an earlier version wrote it."""
    records = [vars(r) | {} for r in read_evaluations(path)]
    path.unlink()
    lines = JsonLines(path)
    for record in records:
        del record["measured_with"]
        lines.write(record)
    lines.close()
    return path


OTHERS = [
    ({"images": 4}, r"`n` 24, not 4"),
    ({"measured_with": WITH | {"fid_dims": 64}}, r"`fid_dims` 2048, not 64"),
    ({"measured_with": WITH | {"fid_features": "random"}}, r"`fid_features` inception, not random"),
    ({"measured_with": WITH | {"crop_size": 96}}, r"`crop_size` 256, not 96"),
    ({"measured_with": WITH | {"macs_convention": "exact"}}, r"`macs_convention` published, not"),
    (
        {"measured_with": WITH | {"restore_G_path": "net_G.pth [other]"}},
        r"`restore_G_path` net_G.pth \[123456789abc\], not net_G.pth \[other\]",
    ),
    ({"measured_with": WITH | {"images": "ffffffff"}}, r"`images` 0a1b2c3d, not ffffffff"),
    ({"measured_with": WITH | {"amp": "bf16"}}, r"`amp` none, not bf16"),
    ({"measured_with": WITH | {"real_stat_path": "r.npz [b]"}}, r"`real_stat_path` None, not"),
]


# --------------------------------------------------------------------------------------------------
# What is recorded


def test_every_evaluation_says_what_it_was_measured_with(tmp_path):
    records = read_evaluations(searched(tmp_path / "a.jsonl"))
    assert len(records) == 4
    for record in records:
        assert record.measured_with == WITH
        assert record.conditions == WITH | {"n": 24}
    assert "population_size" not in WITH and "real_stat_path" not in WITH
    assert WITH["images"] == "0a1b2c3d"


def test_images_are_known_by_names_and_sizes_wherever_they_lie(tmp_path):
    def folder(name, sizes):
        (tmp_path / name).mkdir()
        files = [tmp_path / name / f"{i}.png" for i in range(len(sizes))]
        for file, size in zip(files, sizes, strict=True):
            file.write_bytes(bytes(size))
        return SimpleNamespace(folder=tmp_path / name, files=files)

    first, copy = folder("first", [3, 5]), folder("copy", [3, 5])
    other, fewer = folder("other", [3, 6]), folder("fewer", [3])
    assert images_digest(first) == images_digest(copy)
    assert len({images_digest(each) for each in (first, other, fewer)}) == 3
    assert images_digest(first, other) != images_digest(first, first)


# --------------------------------------------------------------------------------------------------
# An earlier search, and the same file


@pytest.mark.parametrize(("other", "words"), OTHERS)
def test_what_was_measured_otherwise_is_not_taken_over(tmp_path, other, words):
    earlier = searched(tmp_path / "a.jsonl")
    made = measurer(tmp_path / "b.jsonl", **other)
    with pytest.raises(InputError, match=rf"a\.jsonl: \w+ was measured with .*{words}"):
        made.adopt(read_evaluations(earlier), str(earlier))
    assert len(made.results) == 0
    before = earlier.read_bytes()
    with pytest.raises(InputError, match=rf"a\.jsonl: .*{words}"):
        measurer(earlier, **other)
    assert earlier.read_bytes() == before


def test_what_was_measured_alike_is_taken_over(tmp_path):
    """The names of files do not matter, nor do the settings of another criterion."""
    earlier = searched(tmp_path / "a.jsonl")
    alike = WITH | {"restore_G_path": "best.pth [123456789abc]", "drn_path": "x.pth [bbb]"}
    made = measurer(tmp_path / "b.jsonl", alike)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        taken = made.adopt(read_evaluations(earlier), str(earlier))
    assert len(taken) == len(made.results) == 4
    assert [r.metrics["fid"] for r in taken] == sorted(r.metrics["fid"] for r in taken)


def test_other_macs_are_seen_in_files_of_earlier_versions(tmp_path):
    earlier = without_conditions(
        searched(tmp_path / "a.jsonl", space=SearchSpace("test", height=96))
    )
    made = measurer(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match=r"MACs, not .*`macs_convention` or image size"):
        made.adopt(read_evaluations(earlier), str(earlier))


def test_files_of_earlier_versions_are_accepted_with_a_warning(tmp_path):
    earlier = without_conditions(searched(tmp_path / "a.jsonl"))
    made = measurer(tmp_path / "b.jsonl")
    with pytest.warns(UserWarning, match="4 evaluations do not say") as caught:
        assert len(made.adopt(read_evaluations(earlier), str(earlier))) == 4
    assert len(caught) == 1
    other = measurer(tmp_path / "c.jsonl", images=4)
    with pytest.raises(InputError, match="`n` 24, not 4"):
        other.adopt(read_evaluations(earlier), str(earlier))


@pytest.mark.parametrize("metrics", [{}, {"mIoU": 30.0, "accu": 70.0}])
def test_evaluations_by_another_criterion_are_refused(tmp_path, metrics):
    records = read_evaluations(searched(tmp_path / "a.jsonl"))
    made = measurer(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl: .* not by `criterion` fid"):
        made.adopt([replace(records[0], metrics=metrics)], "a.jsonl")


def test_evaluations_outside_the_space_are_left_out(tmp_path):
    records = read_evaluations(searched(tmp_path / "a.jsonl"))
    wide = "_".join(["64"] * 8)
    wider = SearchSpace("channels-64-pix2pix")
    outside = replace(records[0], config_str=wide, macs=wider.cost(wider.largest)[0])
    made = measurer(tmp_path / "b.jsonl")
    assert wide not in {r.config_str for r in made.adopt([*records, outside], "a.jsonl")}
    assert wide not in made.results
    with pytest.raises(InputError, match=r"a\.jsonl holds no evaluation of `config_set` test"):
        made.adopt([outside], "a.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl: config string 'x' is not whole numbers"):
        made.adopt([replace(outside, config_str="x")], "a.jsonl")
    with pytest.raises(InputError, match=r"a\.jsonl holds no evaluation"):
        made.adopt([], "a.jsonl")


# --------------------------------------------------------------------------------------------------
# Choosing among files


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("other", "words"), OTHERS)
def test_files_measured_otherwise_are_not_merged(tmp_path, other, words, order):
    paths = [searched(tmp_path / "a.jsonl"), searched(tmp_path / "b.jsonl", **other)][::order]
    setting = words.partition(" ")[0]
    with pytest.raises(InputError, match=rf"--select .*{setting} .*choose from each search alone"):
        read_comparable(paths, "fid", "--select")
    both = tmp_path / "both.jsonl"
    both.write_bytes(b"".join(path.read_bytes() for path in paths))
    with pytest.raises(InputError, match=setting):
        read_comparable([both], "fid")


def test_files_of_one_search_are_merged_and_the_best_within_a_budget_is_chosen(tmp_path):
    whole = searched(tmp_path / "whole.jsonl")
    lines = whole.read_bytes().splitlines(keepends=True)
    parts = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
    for i, path in enumerate(parts):
        path.write_bytes(b"".join(lines[i::2]))
    records = read_comparable(parts, "fid")
    assert sorted(r.config_str for r in records) == sorted(
        r.config_str for r in read_evaluations(whole)
    )
    budget = sorted(r.macs for r in records)[2]
    best, inside = select(records, budget, "fid", True)
    assert (inside, best.value("fid")) == (3, min(r.value("fid") for r in records))
    worst, _ = select(records, budget, "fid", False)
    assert worst.value("fid") == max(r.value("fid") for r in records if r.macs <= budget)
    with pytest.raises(InputError, match=f"`select` 10: .* {min(r.macs for r in records):,} MACs"):
        select(records, 10.0, "fid", True)


def test_old_files_are_merged_with_a_warning_each_and_their_n_and_macs_compared(tmp_path):
    new = searched(tmp_path / "new.jsonl")
    old = without_conditions(searched(tmp_path / "old.jsonl"))
    with pytest.warns(UserWarning, match=r"old\.jsonl: 4 evaluations do not say") as caught:
        assert len(read_comparable([old, new], "fid")) == 4
    assert len(caught) == 1
    fewer = without_conditions(searched(tmp_path / "fewer.jsonl", images=4))
    with pytest.raises(InputError, match="`n` 4, not 24"):
        read_comparable([old, fewer], "fid")
    small = searched(tmp_path / "small.jsonl", space=SearchSpace("test", height=96))
    with pytest.raises(InputError, match=r"MACs of \w+, not"):
        read_comparable([old, without_conditions(small)], "fid")


def test_only_finite_values_of_the_criterion_are_chosen_from(tmp_path):
    path = searched(tmp_path / "a.jsonl")
    text = path.read_text()
    first = text.splitlines()[0]
    value = first[first.index('{"fid": ') + 8 : first.index("}")]
    path.write_text(text.replace(f'{{"fid": {value}}}', '{"fid": null}', 1))
    assert len(read_comparable([path], "fid")) == 3
    with pytest.raises(InputError, match="no evaluation has a value of `criterion` mIoU"):
        read_comparable([path], "mIoU")
