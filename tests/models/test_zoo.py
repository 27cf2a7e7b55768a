"""The networks that come with the repository: what is there, and what is refused."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from errors import InputError
from models.cost import config_cost
from models.generators import GeneratorSpec
from models.weights import load_generator, load_state, save_network
from models.zoo import ROOT, TASK_FILE, read_task, write_task, zoo_tasks
from options import SCRIPTS

REPOSITORY = Path(__file__).resolve().parents[2]
FACTS = {"title": "A to B", "mode": "map", "kind": "map", "direction": "BtoA", "size": 32}


@pytest.fixture
def checkpoints(tmp_path) -> list[Path]:
    """A small network and its teacher, in float16."""
    paths = []
    for name, netG in (("12x", "mobile_resnet_9blocks"), ("teacher", "resnet_9blocks")):
        spec = GeneratorSpec(netG, 4)
        paths.append(tmp_path / "packed" / f"{name}.pth")
        paths[-1].parent.mkdir(exist_ok=True)
        save_network(spec.build().half(), paths[-1], spec)
    return paths


def test_a_task_is_read_as_it_was_written(tmp_path, checkpoints):
    figures = [{"macs": 10, "fid": 0.5}, {"macs": 120, "fid": 0.4}]
    folder = tmp_path / "zoo" / "a2b"
    written = write_task(folder, FACTS, list(zip(checkpoints, figures, strict=True)))
    assert zoo_tasks(tmp_path / "zoo") == [written] == [read_task(folder)]
    assert written.name == "a2b" and (written.size, written.direction) == (32, "BtoA")
    assert [network.name for network in written.networks] == ["12x", "teacher"]
    assert [network.figures for network in written.networks] == figures
    for network, source in zip(written.networks, checkpoints, strict=True):
        assert network.path.parent == folder
        assert network.path.read_bytes() == source.read_bytes()


def test_without_a_folder_there_are_no_tasks(tmp_path):
    assert zoo_tasks(tmp_path / "none") == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"title": 1, "networks": [{}]}', "\xff"])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / TASK_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"{TASK_FILE}: cannot be read .* get the repository's"):
        zoo_tasks(tmp_path)


def test_a_missing_checkpoint_is_named(tmp_path, checkpoints):
    write_task(tmp_path / "t", FACTS, [(path, {}) for path in checkpoints])
    (tmp_path / "t" / "12x.pth").unlink()
    with pytest.raises(InputError, match=r"12x\.pth: not there, but .*task\.json names it"):
        read_task(tmp_path / "t")


def test_the_script_writes_what_a_test_found(tmp_path, checkpoints, monkeypatch, capsys):
    models = [
        {
            "checkpoint": str(path),
            "macs": macs,
            "params": 7,
            "height": 64,
            "metrics": {"n": 500, "fid": 0.123456},
        }
        for path, macs in zip(checkpoints, (10, 120), strict=True)
    ]
    (tmp_path / "results.json").write_text(json.dumps({"models": models}))
    flags = ["--results", str(tmp_path / "results.json"), "--title", "A to B", "--mode", "edges"]
    flags += ["--kind", "object", "--direction", "AtoB", "--zoo", str(tmp_path / "zoo")]
    monkeypatch.setattr(sys, "argv", ["make_zoo_task.py", "a2b", *flags])
    runpy.run_path(str(REPOSITORY / "scripts" / "make_zoo_task.py"), run_name="__main__")
    (task,) = zoo_tasks(tmp_path / "zoo")
    assert (task.title, task.mode, task.kind, task.size) == ("A to B", "edges", "object", 64)
    assert task.networks[1].figures == {"macs": 120, "params": 7, "n": 500, "fid": 0.1235}
    assert "12x.pth" in capsys.readouterr().out


def test_every_command_of_the_recipe_is_one_that_its_script_takes():
    done = subprocess.run(
        ["bash", "scripts/zoo.sh"],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "DRY_RUN": "1", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    commands = [
        line.split()[2:] for line in done.stderr.splitlines() if line.startswith("$ python")
    ]
    assert len(commands) == 2 * 12 + 3
    parsed = [SCRIPTS[script].parse(flags) for script, *flags in commands if script in SCRIPTS]
    assert len(parsed) == 2 * 9 + 3


# --------------------------------------------------------------------------------------------------
# What is committed


@pytest.mark.parametrize("task", zoo_tasks(), ids=lambda task: task.name)
def test_networks_are_as_small_as_their_names_say(task):
    assert [network.name for network in task.networks] == ["12x", "40x", "teacher"]
    macs = {}
    for network in task.networks:
        state = load_state(network.path, "zoo")
        assert {tensor.dtype for tensor in state.values()} == {torch.float16}
        net, spec = load_generator(network.path, "zoo")
        assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
        cost, parameters = config_cost(
            spec.config, spec.architecture, "published", task.size, task.size
        )
        assert network.figures["macs"] == cost and network.figures["params"] == parameters
        assert network.figures["n"] >= 500
        macs[network.name] = cost
    assert macs["teacher"] >= 12 * macs["12x"] and macs["teacher"] >= 40 * macs["40x"]


def test_both_tasks_are_there_and_small():
    assert {task.name for task in zoo_tasks()} == {"map2aerial", "lines2object"}
    assert sum(path.stat().st_size for path in ROOT.rglob("*.pth")) < 12e6


@pytest.mark.parametrize("task", zoo_tasks(), ids=lambda task: task.name)
def test_the_documents_show_the_figures_of_the_files(task):
    text = (REPOSITORY / "docs" / "zoo.md").read_text()
    teacher = task.networks[-1].figures
    for network in task.networks:
        figures = network.figures
        times = f"{figures['fid'] / teacher['fid']:.2f}"
        cells = f"{figures['fid']:.3f} | {times} | {1e3 * figures['kid']:.2f} |"
        assert f"| `{network.name}` | {figures['params']:,} | " in text and cells in text
