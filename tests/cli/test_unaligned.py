"""Unpaired data through all scripts: a generator trained elsewhere (CycleGAN) is distilled,
searched, cut out and tested."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.images import read_image
from metrics.frechet import Statistics, frechet_distance
from metrics.inception import load_inception
from models.generators import GeneratorSpec
from models.layers import init_weights

SIZE = 32
COUNTS = {"valA": 6, "valB": 5}  # as in conftest.py
BUDGET = 4e7  # as in conftest.py
CPU = torch.device("cpu")


# --------------------------------------------------------------------------------------------------
# A small horse2zebra


@pytest.fixture(scope="module")
def bare_teacher(tmp_path_factory) -> Path:
    """A released generator: a plain state dict of a full ResNet."""
    torch.manual_seed(1)
    net = init_weights(GeneratorSpec("resnet_9blocks", 8).build(), "normal", 0.1)
    path = tmp_path_factory.mktemp("released") / "latest_net_G.pth"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def splits(cli, horses, tmp_path_factory) -> Path:
    """3 of each side are held out."""
    folder = tmp_path_factory.mktemp("splits")
    cli(
        *(
            "scripts/make_split.py",
            horses,
            "--dataset_mode",
            "unaligned",
            "--count",
            3,
            "--output",
            folder,
        )
    ).succeeded()
    return folder


@pytest.fixture(scope="module")
def horse_training(horse_flags, splits, bare_teacher) -> tuple:
    """6 steps: 3 epochs of 2 batches over the 6 inputs that are left to train on."""
    sizes = ("--load_size", SIZE + 4, "--crop_size", SIZE, "--batch_size", 4, "--ndf", 8)
    length = ("--nepochs", 2, "--nepochs_decay", 1, "--save_epoch_freq", 1, "--print_freq", 1)
    losses = ("--gan_mode", "lsgan", "--lambda_recon", 10, "--lambda_distill", 0.01)
    teacher = ("--restore_teacher_G_path", bare_teacher, "--student_ngf", 32)
    return (*horse_flags, *sizes, *length, *losses, *teacher, "--meta_path", splits / "train1.meta")


@pytest.fixture(scope="module")
def horse_supernet_flags(horse_training) -> tuple:
    return (*horse_training, "--config_set", "channels-32")


@pytest.fixture(scope="module")
def horse_supernet(cli, horse_supernet_flags, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "supernet"
    cli("train_supernet.py", *horse_supernet_flags, "--log_dir", folder).succeeded()
    return folder


@pytest.fixture(scope="module")
def horse_inference(horse_flags) -> tuple:
    return (*horse_flags, "--load_size", SIZE, "--crop_size", SIZE, "--batch_size", 4)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def plain_fid(fake: Path, real: list[Path]) -> float:
    """FID of written images against files, brought to the size of the outputs."""
    net = load_inception(64, None, "random", CPU)

    def features(paths: list[Path]) -> torch.Tensor:
        sized = [read_image(path).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for path in paths]
        images = [np.asarray(image).transpose(2, 0, 1)[None].copy() for image in sized]
        return torch.cat([net(torch.from_numpy(image)) for image in images])

    return frechet_distance(
        features(sorted(fake.iterdir())), Statistics.of_features(features(real))
    )


# --------------------------------------------------------------------------------------------------
# The pipeline


def test_a_supernet_of_unpaired_data(horse_supernet, read_lines):
    state = torch.load(horse_supernet / "checkpoints" / "latest_net_D.pth", weights_only=True)
    assert state["model.0.weight"].shape[1] == 3, (
        "the discriminator sees images without their inputs"
    )
    log = read_lines(horse_supernet / "log.jsonl")
    assert [r["step"] for r in log if r["event"] == "train"] == [1, 2, 3, 4, 5, 6]
    evaluations = [r for r in log if r["event"] == "eval"]
    assert len(evaluations) == 3
    assert all(m["n"] == COUNTS["valA"] for r in evaluations for m in r["metrics"].values())
    assert (horse_supernet / "index.html").is_file()


def test_from_the_search_to_the_test(
    cli, call, tmp_path, horses, splits, horse_supernet, horse_training, horse_inference, read_lines
):
    # The search judges by the held-out inputs against the held-out real images.
    supernet = horse_supernet / "checkpoints" / "latest_net_G.pth"
    held_out = ("--phase", "train", "--meta_path", splits / "train2.meta")
    flags = (
        *horse_inference,
        *held_out,
        "--restore_G_path",
        supernet,
        "--config_set",
        "channels-32",
    )
    size = ("--population_size", 4, "--evolution_iters", 1, "--budget", BUDGET)
    call("evolution_search.py", *flags, *size, "--output_dir", tmp_path / "search").succeeded()
    records = read_lines(tmp_path / "search" / "evaluations.jsonl")
    assert all(r["n"] == 3 and r["macs"] <= BUDGET for r in records)
    best = read_json(tmp_path / "search" / "summary.json")["best"][0]
    config = best["config_str"]

    def tested(name: str, checkpoint: Path, *more) -> dict:
        flags = (*horse_inference, "--restore_G_path", checkpoint, "--results_dir", tmp_path / name)
        call("test.py", *flags, *more).succeeded()
        return read_json(tmp_path / name / "results.json")

    results = tested("held_out", supernet, "--config_str", config, *held_out)
    assert results["metrics"]["fid"] == pytest.approx(best["metrics"]["fid"], rel=1e-4)
    names = (splits / "train2B.meta").read_text().split()
    real = [horses / "trainB" / name for name in names]
    expected = plain_fid(tmp_path / "held_out" / "images" / "fake_B", real)
    assert results["metrics"]["fid"] == pytest.approx(expected, rel=1e-3)

    # Fine-tuned, cut out, and tested on val: the cut-out network makes the images of the supernet.
    start = ("--restore_student_G_path", supernet, "--config_str", config)
    start = (*start, "--niters", 1, "--no_fid")
    call("train_supernet.py", *horse_training, *start, "--log_dir", tmp_path / "tuned").succeeded()
    tuned = tmp_path / "tuned" / "checkpoints" / "latest_net_G.pth"
    small = tmp_path / "small.pth"
    call(
        "export.py", "--input_path", tuned, "--output_path", small, "--config_str", config
    ).succeeded()
    results = tested("small", small)
    assert results["metrics"]["n"] == COUNTS["valA"]
    images = tmp_path / "small" / "images"
    assert sorted(p.name for p in images.iterdir()) == ["fake_B", "real_A"]
    stems = sorted(p.stem for p in (horses / "valA").iterdir())
    assert sorted(p.stem for p in (images / "fake_B").iterdir()) == stems
    expected = plain_fid(images / "fake_B", sorted((horses / "valB").iterdir()))
    assert results["metrics"]["fid"] == pytest.approx(expected, rel=1e-3)
    page = (tmp_path / "small" / "index.html").read_text()
    assert "images/real_B" not in page and all(
        f"images/fake_B/{stem}.png" in page for stem in stems
    )
    again = tested("inside", tuned, "--config_str", config)
    assert again["metrics"]["fid"] == pytest.approx(results["metrics"]["fid"], rel=1e-4)

    # Fewer outputs are compared with all real images still.
    few = tested("few", small, "--num_test", 4)
    fake = tmp_path / "few" / "images" / "fake_B"
    assert few["metrics"]["n"] == len(list(fake.iterdir())) == 4
    assert few["metrics"]["fid"] == pytest.approx(
        plain_fid(fake, sorted((horses / "valB").iterdir())), rel=1e-3
    )


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_statistics_are_of_the_real_side(call, tmp_path, horses, horse_flags, direction):
    path = tmp_path / "real.npz"
    call(
        "get_real_stat.py", *horse_flags, "--direction", direction, "--output_path", path
    ).succeeded()
    side = f"val{direction[-1]}"
    net = load_inception(64, None, "random", CPU)
    images = [
        np.asarray(read_image(p)).transpose(2, 0, 1)[None].copy()
        for p in sorted((horses / side).iterdir())
    ]
    expected = Statistics.of_features(torch.cat([net(torch.from_numpy(image)) for image in images]))
    with np.load(path) as found:
        assert int(found["n"]) == COUNTS[side]
        np.testing.assert_allclose(found["mu"], expected.mu, rtol=1e-4, atol=1e-6)


def test_the_direction_swaps_inputs_and_real_images(
    call, tmp_path, horses, horse_inference, bare_teacher
):
    flags = (*horse_inference, "--direction", "BtoA", "--restore_G_path", bare_teacher)
    call("test.py", *flags, "--results_dir", tmp_path).succeeded()
    stems = {side: sorted(p.stem for p in (horses / f"val{side}").iterdir()) for side in "AB"}
    assert sorted(p.stem for p in (tmp_path / "images" / "real_A").iterdir()) == stems["B"]
    expected = plain_fid(tmp_path / "images" / "fake_B", sorted((horses / "valA").iterdir()))
    assert read_json(tmp_path / "results.json")["metrics"]["fid"] == pytest.approx(
        expected, rel=1e-3
    )


def test_statistics_are_made_again_when_the_real_side_changes(
    call, tmp_path, horses, horse_inference, bare_teacher
):
    """A real image added to valB: the measure is another, whatever lies in the cache."""
    root = tmp_path / "data"
    for folder in ("valA", "valB"):
        (root / folder).mkdir(parents=True)
        for path in (horses / folder).iterdir():
            (root / folder / path.name).write_bytes(path.read_bytes())

    def fid() -> float:
        flags = (*horse_inference, "--dataroot", root, "--restore_G_path", bare_teacher)
        call("test.py", *flags, "--results_dir", tmp_path / "out").succeeded()
        return read_json(tmp_path / "out" / "results.json")["metrics"]["fid"]

    first = fid()
    assert fid() == first and len(list((root / ".statistics").iterdir())) == 1
    Image.new("RGB", (48, 40), "red").save(root / "valB" / "added.png")
    assert fid() != pytest.approx(first, rel=1e-3)
    assert len(list((root / ".statistics").iterdir())) == 2


# --------------------------------------------------------------------------------------------------
# Refusals


def refused(outcome) -> str:
    assert outcome.returncode == 2 and "Traceback" not in outcome.stderr, outcome
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    assert [line for line in lines if "error: " in line] == lines[-1:]
    return lines[-1]


def test_a_teacher_is_not_trained_on_unpaired_data(call, tmp_path, horse_flags):
    line = refused(call("train.py", *horse_flags, "--log_dir", tmp_path / "run"))
    assert "--dataset_mode unaligned" in line and "--restore_teacher_G_path" in line
    assert "--model cycle_gan" in line
    assert not (tmp_path / "run").exists()


def test_a_dataset_without_val_says_what_to_rename(call, tmp_path, horses, horse_training):
    root = tmp_path / "data"
    root.mkdir()
    for folder, name in {
        "trainA": "trainA",
        "trainB": "trainB",
        "valA": "testA",
        "valB": "testB",
    }.items():
        (root / name).symlink_to(horses / folder)
    flags = (
        *horse_training,
        "--config_set",
        "channels-32",
        "--dataroot",
        root,
        "--log_dir",
        tmp_path / "run",
    )
    line = refused(call("train_supernet.py", *flags))
    assert (
        "'valA' and 'valB'" in line and "rename 'testA' and 'testB'" in line and "--no_fid" in line
    )
    call(
        "train_supernet.py", *flags, "--no_fid", "--niters", 1
    ).succeeded()  # nothing to measure, nothing needed
    (root / "valA").symlink_to(horses / "valA")
    assert "no folder 'valB'" in refused(call("train_supernet.py", *flags))


def test_pairs_are_refused_with_the_mode_they_need(call, tmp_path, dataset, horse_training):
    flags = (
        *horse_training,
        "--config_set",
        "channels-32",
        "--dataroot",
        dataset,
        "--log_dir",
        tmp_path,
    )
    line = refused(call("train_supernet.py", *flags))
    assert str(dataset) in line and "--dataset_mode aligned" in line


def test_another_list_of_either_side_is_another_run(call, tmp_path, splits, horse_supernet_flags):
    for number in "12":
        for side in "AB":
            name = f"train{number}{side}.meta"
            (tmp_path / name).write_text((splits / name).read_text())
    flags = (
        *horse_supernet_flags,
        "--meta_path",
        tmp_path / "train1.meta",
        "--log_dir",
        tmp_path / "run",
    )
    call("train_supernet.py", *flags, "--niters", 1, "--no_fid").succeeded()
    (tmp_path / "train1B.meta").write_text((splits / "train2B.meta").read_text())
    assert "--meta_path" in refused(call("train_supernet.py", *flags, "--niters", 1, "--no_fid"))
    (tmp_path / "train1B.meta").unlink()
    assert "train1B.meta: no such file" in refused(
        call("train_supernet.py", *flags, "--niters", 1, "--no_fid")
    )
