"""A CycleGAN by train.py, and what the other scripts do with its files."""

import json
import random
import signal
from pathlib import Path

import pytest
import torch
from test_pipeline import checkpoint_names, interrupt_training, same_run, same_weights

from models.weights import load_generator

NAMES = ("G_A", "G_B", "D_A", "D_B")


def net(run: Path, name: str) -> Path:
    return run / "checkpoints" / f"latest_net_{name}.pth"


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def refused(outcome) -> str:
    assert outcome.returncode == 2 and "Traceback" not in outcome.stderr, outcome
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    assert [line for line in lines if "error: " in line] == lines[-1:]
    return lines[-1]


# --------------------------------------------------------------------------------------------------
# The run


def test_what_a_run_leaves(cycle, read_lines):
    wanted = {
        f"{tag}_net_{name}.pth" for tag in ("1", "2", "3", "best", "latest") for name in NAMES
    }
    assert wanted <= set(checkpoint_names(cycle))
    log = read_lines(cycle / "log.jsonl")
    assert [r["step"] for r in log if r["event"] == "train"] == [*range(1, 10)]
    evaluations = [r for r in log if r["event"] == "eval"]
    assert [{k: m["n"] for k, m in r["metrics"].items()} for r in evaluations] == [
        {"G_A": 6, "G_B": 5}
    ] * 3
    results = read_json(cycle / "results.json")
    assert results["best"]["records"] == {
        label: min(r["metrics"][label]["fid"] for r in evaluations) for label in ("G_A", "G_B")
    }
    page = (cycle / "index.html").read_text()
    assert "measures.png" in page and "losses.png" in page


def test_each_generator_knows_what_it_is(cycle):
    for name, direction in (("G_A", "AtoB"), ("G_B", "BtoA")):
        _, spec = load_generator(net(cycle, name), "")
        assert (spec.netG, spec.ngf) == ("mobile_resnet_9blocks", 8)
        assert spec.trained_on == {"direction": direction, "size": [32, 32]}
    for name in ("D_A", "D_B"):
        state = torch.load(net(cycle, name), weights_only=True)
        assert state["model.0.weight"].shape[:2] == (8, 3)


@pytest.mark.parametrize(("name", "direction"), [("G_A", "AtoB"), ("G_B", "BtoA")])
def test_both_directions_are_measured_as_test_measures_them(
    call, tmp_path, cycle, horses, horse_flags, name, direction
):
    flags = (*horse_flags, "--load_size", 32, "--crop_size", 32, "--batch_size", 4)
    flags = (*flags, "--restore_G_path", net(cycle, name), "--results_dir", tmp_path / "out")
    outcome = call("test.py", *flags, "--direction", direction).succeeded()
    assert "was trained" not in outcome.stderr
    found = read_json(tmp_path / "out" / "results.json")["metrics"]["fid"]
    trained = read_json(cycle / "results.json")["latest"]["metrics"][name]["fid"]
    assert found == pytest.approx(trained, rel=1e-3)
    inputs = sorted(p.stem for p in (horses / f"val{direction[0]}").iterdir())
    images = tmp_path / "out" / "images" / "fake_B"
    assert sorted(p.stem for p in images.iterdir()) == inputs
    other = "AtoB" if direction == "BtoA" else "BtoA"
    assert f"was trained {direction}" in call("test.py", *flags, "--direction", other).stderr


def test_statistics_of_both_sides_may_be_given(
    call, tmp_path, cycle, cycle_flags, horse_flags, read_lines
):
    paths = {}
    for side, direction in (("A", "BtoA"), ("B", "AtoB")):
        paths[side] = tmp_path / f"real_{side}.npz"
        sized = ("--preprocess", "resize_and_crop", "--load_size", 32, "--crop_size", 32)
        flags = (*horse_flags, "--direction", direction, *sized, "--output_path", paths[side])
        call("get_real_stat.py", *flags).succeeded()
    given = ("--real_stat_path", paths["B"], "--real_stat_A_path", paths["A"])
    run = tmp_path / "run"
    call("train.py", *cycle_flags, *given, "--niters", 3, "--log_dir", run).succeeded()
    # One epoch is measured as the first of the whole run was.
    ours, theirs = (
        next(r["metrics"] for r in read_lines(each / "log.jsonl") if r["event"] == "eval")
        for each in (run, cycle)
    )
    for name in ("G_A", "G_B"):
        assert ours[name]["fid"] == pytest.approx(theirs[name]["fid"], rel=1e-4)
    ours, theirs = (read_json(each / "results.json")["measure"] for each in (run, cycle))
    assert ours == "FID (random features, 64; real images of real_B.npz | real_A.npz)"
    assert theirs == "FID (random features, 64)"


def test_a_cycle_gan_that_is_killed_ends_as_if_it_had_not_been(
    spawn, cli, tmp_path, cycle, cycle_flags, read_lines
):
    flags = (*cycle_flags, "--log_dir", tmp_path)
    # The pools are full from step 2 on.
    for steps, signum in (((2, 3, 4), signal.SIGKILL), ((5, 6, 7), signal.SIGTERM)):
        process = spawn("train.py", *flags)
        interrupt_training(process, tmp_path, random.choice(steps), random.uniform(0, 0.05), signum)
        assert process.returncode in (-signal.SIGKILL, 143)
    cli("train.py", *flags).succeeded()
    same_run(tmp_path, cycle, read_lines)


def test_weights_and_optimizers_of_another_run(call, tmp_path, cycle, cycle_flags):
    """At a rate of 0 they stay what they were."""
    start = cycle / "checkpoints"
    flags = (*cycle_flags, "--lr", 0, "--niters", 1, "--no_fid", "--log_dir", tmp_path)
    restored = (
        "--restore_G_path",
        start / "latest_net_G",
        "--restore_D_path",
        start / "latest_net_D",
    )
    call("train.py", *flags, *restored, "--restore_O_path", start / "state.pth").succeeded()
    for name in NAMES:
        assert same_weights(net(tmp_path, name), net(cycle, name)), name
    # The run is known by what the files hold, not by where they lie.
    (tmp_path / "moved").symlink_to(start)
    moved = ("--restore_G_path", tmp_path / "moved" / "latest_net_G", *restored[2:])
    optimizers = ("--restore_O_path", start / "state.pth")
    outcome = call("train.py", *flags, *moved, *optimizers).succeeded()
    assert "already finished" in outcome.stdout
    other = ("--restore_G_path", start / "1_net_G", *restored[2:])
    assert "--restore_G_path" in refused(call("train.py", *flags, *other, *optimizers))


# --------------------------------------------------------------------------------------------------
# From there to a small network


def test_teacher_and_discriminator_of_the_later_stages(call, tmp_path, cycle, horse_flags):
    """Distilled, a supernet from that, cut out. The recipe of zebra2horse does it with side B."""
    sizes = ("--load_size", 36, "--crop_size", 32, "--batch_size", 4, "--niters", 2, "--no_fid")
    losses = ("--gan_mode", "lsgan", "--lambda_recon", 10, "--lambda_distill", 0.01)
    teacher = net(cycle, "G_A")
    flags = (*horse_flags, *sizes, *losses, "--ndf", 8, "--direction", "AtoB")
    flags = (*flags, "--restore_teacher_G_path", teacher, "--student_ngf", 6)
    start = ("--restore_pretrained_G_path", teacher, "--restore_D_path", net(cycle, "D_A"))
    distilled, supernet = tmp_path / "distilled", tmp_path / "supernet"
    outcome = call("distill.py", *flags, *start, "--log_dir", distilled).succeeded()
    assert "was trained" not in outcome.stderr
    start = ("--restore_student_G_path", net(distilled, "G"), "--config_set", "6,4")
    start = (*start, "--restore_D_path", net(distilled, "D"))
    call("train_supernet.py", *flags, *start, "--log_dir", supernet).succeeded()
    small, config = tmp_path / "small.pth", "4_4_6_4_4_6_4_4"
    cut = ("--input_path", net(supernet, "G"), "--output_path", small, "--config_str", config)
    call("export.py", *cut).succeeded()
    _, spec = load_generator(small, "")
    assert spec.config_str == config and spec.trained_on["direction"] == "AtoB"


# --------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--direction", "BtoA"), ("--direction BtoA", "G_B")),
        (("--dataset_mode", "aligned"), ("--dataset_mode aligned", "no pairs", "--model pix2pix")),
        (("--input_nc", 1), ("--lambda_identity 0.5", "--input_nc 1", "--output_nc 3", "give")),
        (("--restore_G_path", "x_G_A.pth"), ("--restore_G_path x_G_A.pth", "latest_net_G")),
        (("--restore_D_path", "x.pth"), ("--restore_D_path x.pth", "latest_net_D")),
        (("--restore_G_path", "none/net_G"), ("--restore_G_path", "none/net_G_A.pth")),
        (("--restore_D_path", "none/net_D"), ("--restore_D_path", "none/net_D_A.pth")),
        (("--real_stat_A_path", "none.npz"), ("--real_stat_A_path", "none.npz")),
        (
            ("--gan_mode", "wgangp", "--preprocess", "none"),
            ("--preprocess none", "wgangp", "crops"),
        ),
        (("--lambda_A", -1), ("--lambda_A", "0 or more")),
        (("--pool_size", 2.5), ("--pool_size", "whole number")),
        (("--netG", "super_mobile_resnet_9blocks"), ("--netG",)),
    ],
)
def test_what_cannot_be(call, tmp_path, cycle_flags, flags, words):
    line = refused(call("train.py", *cycle_flags, *flags, "--log_dir", tmp_path / "run"))
    assert all(word in line for word in words), line
    assert not (tmp_path / "run").exists()


def test_a_dataset_without_val_trains_where_nothing_is_measured(
    call, tmp_path, horses, cycle_flags
):
    for side in "AB":
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"train{side}").symlink_to(horses / f"train{side}")
    flags = (*cycle_flags, "--dataroot", tmp_path / "data", "--log_dir", tmp_path / "run")
    assert "'valA' and 'valB'" in refused(call("train.py", *flags, "--niters", 1))
    call("train.py", *flags, "--niters", 1, "--no_fid").succeeded()
    assert net(tmp_path / "run", "G_B").is_file()


def test_checkpoints_of_another_tool_are_not_overwritten(call, tmp_path, cycle_flags):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest_net_G_A.pth").touch()
    line = refused(call("train.py", *cycle_flags, "--log_dir", tmp_path))
    assert "another tool" in line


def test_channels_that_differ(call, tmp_path, cycle_flags):
    """Grey horses to coloured zebras and back."""
    flags = (*cycle_flags, "--input_nc", 1, "--lambda_identity", 0, "--niters", 1)
    call("train.py", *flags, "--log_dir", tmp_path).succeeded()
    for name, channels in (("G_A", (1, 3)), ("G_B", (3, 1))):
        _, spec = load_generator(net(tmp_path, name), "")
        assert (spec.input_nc, spec.output_nc) == channels
    for name, channels in (("D_A", 3), ("D_B", 1)):
        state = torch.load(net(tmp_path, name), weights_only=True)
        assert state["model.0.weight"].shape[1] == channels
