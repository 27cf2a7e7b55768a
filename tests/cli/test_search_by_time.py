"""From the times of a machine to the best subnet within milliseconds."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from synthetic_times import FACTS, synthetic

from deploy import device_times
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.munit import MunitForm
from models.spade import SpadeForm
from models.weights import save_network
from options import TableOptions
from options.settings import timed_supernet
from prepare.street_scenes import write_street_scenes
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


RESNETS = ("--config_set", "64,32,8", "--size", 128)
LABELS = ("--netG", "super_mobile_spade", "--config_set", "32,16,8", "--size", 128)
STYLES = ("--netG", "super_mobile_munit", "--config_set", "32,16,8", "--size", 64)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "onnxruntime", "openvino"])
@pytest.mark.parametrize("networks", [RESNETS, LABELS, STYLES], ids=["resnet", "spade", "munit"])
def test_a_table_ranks_real_networks(backend, networks, call, tmp_path):
    """Loose bounds, for a machine that may do something else; docs/search.md has idle figures."""
    if backend != "eager":
        pytest.importorskip(backend)
    path = tmp_path / "t.json"
    flags = (*networks, "--gpu_ids", -1, "--threads", 1)
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


# --------------------------------------------------------------------------------------------------
# Networks of label maps, and of styles


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    root = tmp_path_factory.mktemp("streets")
    write_street_scenes(root, 2, 2, 32)
    return root


def search_by_time(call, spec, table_flags, search_flags, space, tmp_path) -> LatencyTable:
    """A table of new networks, a search by it, and the winner on the same machine."""
    torch.manual_seed(0)
    net, table = tmp_path / "net_G.pth", tmp_path / "t.json"
    save_network(init_weights(spec.build(), "xavier", 1.0), net, spec)
    machine = ("--gpu_ids", -1, "--config_set", space, "--threads", torch.get_num_threads())
    call("latency.py", "--make_table", *machine, *table_flags, "--output", table).succeeded()
    times = LatencyTable.read(table)
    largest = spec.config
    flags = (*machine, *search_flags, "--restore_G_path", net, "--latency_table", table)
    flags += ("--phase", "val", "--num_threads", 1, "--fid_features", "random", "--fid_dims", 64)
    budget = f"{times.of(largest) * 1.0001:.6f}ms"
    done = call("search.py", *flags, "--budget", budget, "--output_path", tmp_path / "s.jsonl")
    assert f"within the budget of {float(budget[:-2]):g}ms" in done.succeeded().stdout
    assert "ms as predicted" in done.stdout and "ms measured" in done.stdout
    found = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert str(largest) in {record["config_str"] for record in found}
    for record in found:
        assert record["ms"] == times.of(spec.parse(record["config_str"])) <= float(budget[:-2])
    return times


def test_a_network_of_label_maps(call, streets, tmp_path):
    form = SpadeForm("normal")
    spec = GeneratorSpec("super_mobile_spade", 4, input_nc=36, norm="batch", form=form)
    netG = ("--netG", "super_mobile_spade", "--size", 64, "--num_upsampling_layers", "normal")
    images = ("--dataroot", streets, "--dataset_mode", "cityscapes", "--crop_size", 64)
    space = "4;4,2;4;4;4;4;4;4"
    times = search_by_time(call, spec, netG, images, space, tmp_path)
    plan = times.plan
    assert (plan["input_nc"], plan["norm"], plan["height"], plan["width"]) == (36, "batch", 32, 64)
    assert times.spec == replace(spec, ngf=1)
    assert times.parts["head_0"].keys() == {"4_4", "4_2"}


def test_a_network_of_styles(call, horse_flags, tmp_path):
    spec = GeneratorSpec("super_mobile_munit", 4, form=MunitForm(mlp_dim=16))
    netG = ("--netG", "super_mobile_munit", "--size", 64, "--mlp_dim", 16)
    images = (*horse_flags[:4], "--load_size", 64, "--crop_size", 64, "--no_mIoU")
    space = "4;4;4,2;4;4;4;4;4;4;4"
    times = search_by_time(call, spec, netG, images, space, tmp_path)
    assert times.plan["form"] == {"style_dim": 8, "mlp_dim": 16}
    assert times.parts["decoder"].keys() == {"4_4"}


def test_flags_say_which_networks_of_label_maps(capsys):
    def made(*flags):
        argv = ("--make_table", "--netG", "super_mobile_spade", "--config_set", "8", *flags)
        return timed_supernet(TableOptions.parse([*argv, "--output", "t.json"]))

    spec, size = made()
    assert (spec.input_nc, spec.form.num_upsampling_layers, size) == (36, "more", (256, 512))
    spec, size = made("--dataset_mode", "coco", "--num_upsampling_layers", "normal")
    assert (spec.input_nc, spec.form.num_upsampling_layers, size) == (184, "normal", (256, 256))
    spec, _ = made("--no_instance", "--input_nc", "7", "--norm_G", "spadeinstance3x3")
    assert (spec.input_nc, spec.norm) == (7, "instance")
    with pytest.raises(SystemExit):
        made("--dataset_mode", "aligned")
    assert "label maps; give cityscapes or coco" in capsys.readouterr().err
    argv = ["--make_table", "--config_set", "8", "--mlp_dim", "4", "--no_instance"]
    spec, size = timed_supernet(TableOptions.parse([*argv, "--output", "t.json"]))
    assert (spec.input_nc, spec.form, size) == (3, None, (256, 256))
    said = capsys.readouterr().out
    assert "--mlp_dim: no effect" in said and "--no_instance: no effect" in said
