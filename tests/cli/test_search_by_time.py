"""From the times of a machine to the best subnet within milliseconds."""

import json
import os
import re
import subprocess
import sys

import pytest
from synthetic_times import FACTS, synthetic

from deploy import device_times
from models.generators import GeneratorSpec
from subnets.latency import LatencyTable, TimingPlan, compose
from subnets.space import SearchSpace

SPEC = GeneratorSpec("super_mobile_resnet_9blocks", 32)


def plan(name: str = "channels-32", size: int = 32) -> TimingPlan:
    return TimingPlan(SPEC, SearchSpace(name, SPEC.architecture, height=size, width=size))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "t.json"
    made = compose(plan(), synthetic(plan()), FACTS)
    path.write_text(json.dumps(made.to_dict()))
    return path


def test_a_search_by_time(call, table, search_flags, read_lines, tmp_path):
    times, out = LatencyTable.read(table), tmp_path / "s"
    ms = [times.of(plan().space.config(n)) for n in range(plan().space.size)]
    budget = f"{float(sorted(ms)[len(ms) // 3]):.3f}ms"
    size = ("--population_size", 6, "--evolution_iters", 1)
    flags = (*search_flags, *size, "--budget", budget, "--output_dir", out)
    refused = call("evolution_search.py", *flags)
    assert refused.returncode == 2 and "needs --latency_table" in refused.stderr
    assert not (out / "settings.json").exists()
    flags = (*flags, "--latency_table", table)
    done = call("evolution_search.py", *flags).succeeded()
    assert f"within the budget of {float(budget[:-2]):g}ms" in done.stdout
    assert "not measured: the table is of a phone" in done.stdout
    records = read_lines(out / "evaluations.jsonl")
    assert len(records) >= 6 and all(r["ms"] <= float(budget[:-2]) for r in records)
    for record in records:
        assert record["ms"] == times.of(SPEC.parse(record["config_str"]))
        assert record["latency_table"] == times.digest
    summary = json.loads((out / "summary.json").read_text())
    assert summary["budget"] == f"{float(budget[:-2]):g}ms"
    assert summary["predicted_ms"] == summary["best"][0]["ms"]
    assert "predicted ms" in (out / "index.html").read_text()

    # It goes on as it was; another table or unit would be another search.
    assert call("evolution_search.py", *flags).succeeded()
    other = tmp_path / "other.json"
    values = json.loads(table.read_text())
    values["factors"]["stem"] = dict.fromkeys(values["factors"]["stem"], 2.0)
    other.write_text(json.dumps(values))
    refused = call("evolution_search.py", *flags, "--latency_table", other)
    assert refused.returncode == 2 and "latency_table" in refused.stderr
    # A later choice, by the times of the search or of another machine.
    results = out / "evaluations.jsonl"
    tightest = min(r["ms"] for r in records)
    found = call("search.py", "--select", f"{tightest + 1e-3:.3f}ms", results).succeeded()
    assert f"{tightest:.2f} ms predicted" in found.stdout
    refused = call("search.py", "--select", f"{tightest:.4f}ms", results, "--latency_table", other)
    assert refused.returncode == 2
    least = re.search(r"the smallest takes ([\d.]+) ms", refused.stderr)[1]
    slower = LatencyTable.read(other)
    expected = min(slower.of(SPEC.parse(r["config_str"])) for r in records)
    assert expected > tightest and float(least) == pytest.approx(expected, abs=1e-3)
    call("search.py", "--select", f"{least}ms", results, "--latency_table", other).succeeded()


def test_the_front_of_quality_and_time(call, table, search_flags, tmp_path):
    size = ("--population_size", 6, "--evolution_iters", 1, "--objective", "pareto")
    more = ("--budget", "1e9ms", "--latency_table", table, "--output_dir", tmp_path / "s")
    call("evolution_search.py", *search_flags, *size, *more).succeeded()
    front = json.loads((tmp_path / "s" / "summary.json").read_text())["front"]
    ms, fids = [r["ms"] for r in front], [r["metrics"]["fid"] for r in front]
    assert ms == sorted(ms) and fids == sorted(fids, reverse=True)


def test_times_that_are_not_known(call, evolution, table):
    """A search by MACs can be asked by time, with a table."""
    results = evolution / "evaluations.jsonl"
    refused = call("search.py", "--select", "20ms", results)
    assert refused.returncode == 2 and "give --latency_table" in refused.stderr
    found = call("search.py", "--select", "1e6ms", results, "--latency_table", table).succeeded()
    assert "ms predicted" in found.stdout


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--budget", "20 s"), ("--budget", "20 s")),
        (("--budget", "0.01ms"), ("no configuration", "ms", "a phone")),
        (("--latency_table", "/none.json"), ("/none.json: no such file", "--make_table")),
        (("--config_set", "32,12"), ("does not know", "12")),
        (("--load_size", 40, "--crop_size", 40), ("32x32 pixels, not 40x40", "other networks")),
    ],
)
def test_what_cannot_work(more, words, call, table, search_flags, tmp_path):
    flags = (*search_flags, "--latency_table", table, "--budget", "1e9ms", *more)
    refused = call("evolution_search.py", *flags, "--output_dir", tmp_path / "s")
    assert refused.returncode == 2 and refused.stderr.count("error:") == 1, refused.stderr
    assert all(word in refused.stderr for word in words), refused.stderr
    assert not (tmp_path / "s" / "settings.json").exists()


# --------------------------------------------------------------------------------------------------
# Making a table

TINY = ("--make_table", "--config_set", "4,2;2;2;2;2;2;2;4,2", "--size", 16, "--gpu_ids", -1)


def test_a_table_is_measured(call, tmp_path):
    path = tmp_path / "t.json"
    done = call("latency.py", *TINY, "--threads", 1, "--output", path).succeeded()
    assert f"{path}: 4 configurations of " in done.stdout and "threads: 1" in done.stdout
    table = LatencyTable.read(path)
    assert table.backend == "eager" and table.device == device_times.processor()
    assert table.of(SPEC.parse("4_2_2_2_2_2_2_4")) > 0
    assert table.parts.keys() == {"stem", "down1", "down2", "block", "up1", "up2", "last"}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "onnxruntime", "openvino"])
def test_a_table_ranks_real_networks(backend, call, tmp_path):
    """Loose bounds, for a machine that may do something else; docs/search.md has idle figures."""
    if backend != "eager":
        pytest.importorskip(backend)
    path = tmp_path / "t.json"
    flags = ("--config_set", "64,32,8", "--size", 128, "--gpu_ids", -1, "--threads", 1)
    call("latency.py", "--make_table", "--backend", backend, *flags, "--output", path).succeeded()
    found = LatencyTable.read(path).validation
    assert found["n"] >= 48 and found["rank_correlation"] > 0.85
    assert found["mean_error"] < 0.15


def test_a_table_of_another_device(call, tmp_path):
    """The files are timed by a Python that knows nothing of this project."""
    pytest.importorskip("onnxruntime")
    folder, path = tmp_path / "parts", tmp_path / "t.json"
    call("latency.py", *TINY, "--parts_dir", folder).succeeded()
    script = [sys.executable, str(folder / "time_parts.py"), "--threads", "1"]
    alone = {"cwd": folder, "env": {"PATH": os.environ["PATH"]}}
    assert subprocess.run([*script, "--passes", "0"], **alone).returncode == 2
    subprocess.run([*script, "--passes", "1"], check=True, **alone)
    back = ("--times_path", folder / "times.json", "--output", path)
    call("latency.py", *TINY, *back).succeeded()
    table = LatencyTable.read(path)
    assert table.backend == "onnxruntime" and table.versions.keys() == {"onnxruntime"}
    refused = call("latency.py", *TINY, "--size", 32, *back)
    assert refused.returncode == 2 and "height 16" in refused.stderr
    for flags, words in (
        (TINY, "give --output"),
        ((*TINY, "--output", path, "--times_path", path), "not a file of time_parts.py"),
        ((*TINY, "--output", path, "--size", 18), "multiples of 4"),
        ((*TINY, *back, "--backend", "fused"), "--backend fused"),
    ):
        refused = call("latency.py", *flags)
        assert refused.returncode == 2 and words in refused.stderr, refused.stderr
