"""How long a plan takes: what is counted, and how it is said."""

import os
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from options import settings
from pipeline.commands import Wanted
from pipeline.estimate import (
    _flags,
    _subnets,
    _task,
    _work,
    describe_estimate,
    duration,
    estimate,
    seconds_per_image,
)
from pipeline.plan import _few, make_plan
from pipeline.presets import read_preset
from prepare.builtin import write_builtin_dataset
from subnets.target import Budget

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "demo_time.py"
PRESET = """
widths = "8,4"
[images]
size = 32
[measure]
fid_features = "random"
fid_dims = 64
[training]
batch_size = 3
ndf = 8
save_epoch_freq = 2
[teacher]
netG = "resnet_9blocks"
ngf = 8
nepochs = 2
nepochs_decay = 3
[learning.discriminator]
distiller = "online"
teacher_freq = 0
lambda_distill = 0
[learning.real]
lambda_adversarial = 1
student_ndf = 4
[supernet]
niters = 5
[search]
population_size = 10
evolution_iters = 4
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimate")
    write_builtin_dataset(folder / "d", train=10, val=3, size=32, workers=0, progress=False)
    (folder / "p.toml").write_text(PRESET)
    wanted = Wanted(str(folder / "d"), str(folder / "out"), "3x", gpu_ids="-1", num_threads=1)
    return make_plan(wanted, read_preset(str(folder / "p.toml")))


def test_what_is_counted(plan):
    """8 images in batches of 3 are 3 steps; evaluations after epochs 2, 4 and the last."""
    assert plan.division.counts["train"] == 8
    assert _work(plan, plan.stage("teacher")) == (5, 15, 3)
    # The default of 40 epochs ends after 5 steps.
    assert _work(plan, plan.stage("supernet"))[:2] == (2, 5)
    # It is measured before its first step too.
    assert _work(plan, plan.stage("finetune"))[2] == 40 // 2 + 1
    within = len(plan.space.feasible(plan.budget.macs))
    assert _subnets(plan) == min(10 + 4 * 10, within)


def test_a_target_that_leaves_no_choice_is_noted(plan):
    macs = np.sort(plan.space.macs)
    assert _few(plan.space, Budget(int(macs[-1]))) == plan.notes == []
    (note,) = _few(plan.space, Budget(int(macs[0])))
    assert note.startswith("only 1 of the networks is within") and "--preset" in note
    (note,) = _few(plan.space, Budget(int(macs[3])))
    assert "networks are within the target" in note


def test_what_is_timed_is_what_trains(plan):
    """With the discriminator that a student has of its own."""
    for name, expected in (("supernet", {"G"}), ("finetune", {"G", "D_student"})):
        flags = _flags(plan, plan.stage(name))
        data = replace(settings.data(flags), phase="train")
        assert set(_task(flags, data, torch.device("cpu")).networks) == expected


def test_every_stage_has_a_time(plan):
    found = estimate(plan)
    assert found.problem == "" and list(found.seconds) == [stage.name for stage in plan.stages]
    steps = {name: found.seconds[name] - 4 for name in ("teacher", "supernet", "finetune")}
    assert all(seconds > 0 for seconds in steps.values())
    # Many more steps of the same kind.
    assert steps["finetune"] > 3 * steps["supernet"]
    lines = describe_estimate(plan, replace(found, busy=0.4)).splitlines()
    assert len(lines) == len(plan.stages) + 1
    note = f"other programs keep 1.3 of {os.cpu_count()} cores busy now: without them it takes less"
    assert describe_estimate(plan, replace(found, busy=1.26)).splitlines() == [*lines, note]
    assert lines[2].startswith("teacher   about ") and lines[2].endswith("5 epochs, 15 steps")
    assert lines[-1].startswith("in all about ") and " on CPU" in lines[-1]
    assert not plan.folder.exists()


def test_an_image_that_cannot_be_read_is_left_to_the_check(plan, tmp_path):
    for path in (tmp_path / "d" / "train", tmp_path / "d" / "val"):
        path.mkdir(parents=True)
        for i in range(8):
            (path / f"{i}.png").write_bytes(b"no image")
    wanted = Wanted(str(tmp_path / "d"), str(tmp_path / "out"), "3x", gpu_ids="-1")
    broken = make_plan(wanted, plan.preset)
    said = describe_estimate(broken, estimate(broken))
    assert said.startswith("how long it takes is not known: ") and ".png" in said


@pytest.mark.parametrize(
    ("calls", "expected"), [([0.05, 0.01, 0.03, 0.05, 0.05], 0.01), ([0.6, 0.5], 0.5), ([2.0], 2.0)]
)
def test_the_fastest_of_a_few_calls_counts(calls, expected, monkeypatch):
    """And no more are made than take a second, after the first, which prepares."""
    times, made = iter(calls), []
    monkeypatch.setattr("pipeline.estimate._seconds", lambda run, device: run() or next(times))
    assert seconds_per_image(made.append, torch.zeros(2, 1)) == expected / 2
    assert len(made) == 1 + len(calls) and next(times, None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "5 s"), (42, "40 s"), (58, "1 min"), (600, "10 min"), (7200, "2.0 h"), (2e5, "2.3 days")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_demo_says_how_long_it_takes(tmp_path, monkeypatch, capsys):
    """Twice the epochs take longer, by what the steps take."""
    write_builtin_dataset(tmp_path / "d", train=6, val=2, size=32, workers=0, progress=False)
    data = ["--dataroot", str(tmp_path / "d"), "--fid_features", "random", "--fid_dims", "64"]
    data += ["--gpu_ids", "-1", "--num_threads", "1", "--crop_size", "32", "--load_size", "32"]
    train = [*data, "--ndf", "8", "--batch_size", "2", "--nepochs_decay", "0"]
    student = [*train, "--student_ngf", "8", "--config_set", "8,4"]
    student += ["--restore_teacher_G_path", "not/there.pth"]

    def words(epochs: str) -> list[str]:
        teach = ["train.py", *train, "--netG", "resnet_9blocks", "--ngf", "8", "--nepochs", epochs]
        once = ["train_supernet.py", *student, "--nepochs", epochs]
        search = [
            "evolution_search.py",
            *data,
            "--output_dir",
            "x",
            "--population_size",
            "4",
            "--evolution_iters",
            "2",
        ]
        search += ["--restore_G_path", "not/there.pth", "--config_set", "8,4", "--budget", "1e9"]
        tune = ["train_supernet.py", *train, "--student_ngf", "8", "--nepochs", "1"]
        tune += ["--restore_teacher_G_path", "not/there.pth", "--config_str", "8_8_8_8_8_8_8_8"]
        return [*teach, "--", *once, "--", *search, "--", *tune]

    monkeypatch.setattr("runtime.machine.busy_cores", lambda: 1.5)
    said = []
    for epochs in ("1", "2000000"):
        monkeypatch.setattr(sys, "argv", ["demo_time.py", *words(epochs)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        said.append(capsys.readouterr().out)
    assert all(line.startswith("about ") and " threads, going by" in line for line in said)
    assert all("\nother programs keep 1.5 of " in line for line in said)
    assert any(unit in said[1] for unit in (" h ", " days ")) and " h " not in said[0]
