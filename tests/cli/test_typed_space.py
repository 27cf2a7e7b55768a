"""A search space from the command line: a supernet of it, searches in it, and what they record."""

import json

import pytest

from models.config import ChannelConfig
from subnets.space import SearchSpace

SIZE = 32
WIDTHS = "12,4;12,8;8,4;12,8,4;12,8;12;8,4;12,4"
SPACE = SearchSpace(WIDTHS, height=SIZE, width=SIZE)
# The same, as a file says it.
LINES = WIDTHS.replace(";", "\n")
BUDGET = (SPACE.macs.min() + SPACE.macs.max()) // 2


def read_json(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def space_file(shared):
    def write(path):
        path.mkdir()
        (path / "space.txt").write_text(f"# one gene a line\n\n{LINES}\n")

    return shared("space", write) / "space.txt"


@pytest.fixture(scope="session")
def typed_flags(student_flags):
    return (*student_flags, "--student_ngf", 12, "--sandwich", 1)


@pytest.fixture(scope="session")
def typed_supernet(trained, typed_flags, space_file):
    """A supernet trained from a file, which its folder does not need any more."""
    flags = (*typed_flags, "--config_set", space_file)
    return trained("typed_supernet", "train_supernet.py", *flags)


@pytest.fixture(scope="session")
def typed_pth(typed_supernet):
    return typed_supernet / "checkpoints" / "latest_net_G.pth"


def test_a_run_records_all_of_its_space(typed_supernet):
    assert read_json(typed_supernet / "options.json")["config_set"] == WIDTHS
    results = read_json(typed_supernet / "results.json")
    assert results["finished"] and set(results["latest"]["metrics"]) == {"largest", "smallest"}


def test_a_run_goes_on_with_its_space_however_it_is_given(
    call, tmp_path, typed_supernet, typed_flags, snapshot
):
    (tmp_path / "copy.txt").write_text(LINES)
    for space in (WIDTHS, tmp_path / "copy.txt"):
        outcome = call(
            "train_supernet.py", *typed_flags, "--config_set", space, "--log_dir", typed_supernet
        ).succeeded()
        assert "already finished" in outcome.stdout
    # The file was changed.
    (tmp_path / "copy.txt").write_text(LINES.replace("12,8,4", "12,8"))
    other = WIDTHS.replace("12,8,4", "12,8")
    before = snapshot(typed_supernet)
    flags = (*typed_flags, "--config_set", tmp_path / "copy.txt")
    outcome = call("train_supernet.py", *flags, "--log_dir", typed_supernet)
    assert outcome.returncode == 2
    (line,) = outcome.stderr.splitlines()
    assert f"other settings: --config_set {other} (was {WIDTHS});" in line
    assert snapshot(typed_supernet) == before


def test_a_genetic_search_in_a_typed_space(
    call, tmp_path, inference_flags, typed_pth, space_file, read_lines, snapshot
):
    folder = tmp_path / "s"
    flags = (*inference_flags, "--restore_G_path", typed_pth, "--budget", BUDGET)
    flags += ("--population_size", 6, "--evolution_iters", 1, "--output_dir", folder)
    outcome = call("evolution_search.py", *flags, "--config_set", space_file).succeeded()
    assert f"{WIDTHS}: {SPACE.size:,} configurations of " in outcome.stdout
    records = read_lines(folder / "evaluations.jsonl")
    assert len(records) > 6
    for record in records:
        config = ChannelConfig.parse(record["config_str"])
        assert SPACE.holds(config) and record["macs"] == SPACE.cost(config)[0] <= BUDGET
    for name in ("summary.json", "options.json", "settings.json"):
        assert read_json(folder / name)["config_set"] == WIDTHS
    assert f"config_set: {WIDTHS}\n" in (folder / "summary.txt").read_text()

    before = snapshot(folder)
    call("evolution_search.py", *flags, "--config_set", WIDTHS).succeeded()
    assert read_lines(folder / "evaluations.jsonl") == records
    before = snapshot(folder)
    outcome = call("evolution_search.py", *flags, "--config_set", "12,8,4")
    assert outcome.returncode == 2
    assert f"--config_set 12,8,4 (was {WIDTHS})" in outcome.stderr.splitlines()[-1]
    assert snapshot(folder) == before


def test_all_of_a_typed_space_and_a_subnet_of_it(
    call, tmp_path, inference_flags, typed_pth, read_lines
):
    """Every configuration within a budget is found; the best is exported and tested."""
    budget = sorted(SPACE.macs.tolist())[4]
    flags = (*inference_flags, "--restore_G_path", typed_pth, "--config_set", WIDTHS)
    all_path = tmp_path / "all.jsonl"
    call("search.py", *flags, "--budget", budget, "--output_path", all_path).succeeded()
    records = read_lines(all_path)
    assert {r["config_str"] for r in records} == {
        str(SPACE.config(int(number))) for number in SPACE.feasible(budget)
    }
    best = min(records, key=lambda r: r["metrics"]["fid"])
    config = best["config_str"]
    outcome = call("search.py", "--select", budget, all_path).succeeded()
    assert outcome.stdout.startswith(config)

    cut = tmp_path / "cut.pth"
    chosen = ("--config_str", config)
    call("export.py", "--input_path", typed_pth, *chosen, "--output_path", cut).succeeded()
    results = tmp_path / "t"
    test = (*inference_flags, "--restore_G_path", cut, "--results_dir", results)
    call("test.py", *test).succeeded()
    fid = read_json(results / "results.json")["metrics"]["fid"]
    assert fid == pytest.approx(best["metrics"]["fid"], rel=1e-4)
