"""SPADE through all scripts, on built-in street scenes: trained, compressed, searched, exported."""

import json
from pathlib import Path

import pytest
import torch

from metrics.drn import DRNSeg
from models.generators import infer_spec
from models.weights import load_generator
from prepare.street_scenes import write_street_scenes

WIDTH = 64
NORMAL = ("--num_upsampling_layers", "normal")


@pytest.fixture(scope="module")
def streets(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("streets")
    write_street_scenes(root, 6, 3, WIDTH // 2)
    return root


@pytest.fixture(scope="module")
def images(streets) -> tuple:
    size = ("--crop_size", WIDTH, "--gpu_ids", -1, "--num_threads", 1)
    return ("--dataroot", streets, "--dataset_mode", "cityscapes", *size)


@pytest.fixture(scope="module")
def training(images) -> tuple:
    """Two steps, without the weights of others."""
    short = ("--niters", 2, "--batch_size", 2, "--ndf", 4, "--lambda_vgg", 0)
    measure = ("--fid_features", "random", "--fid_dims", 64, "--eval_batch_size", 3)
    return (*images, *NORMAL, *short, *measure)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def full(cli, training, runs) -> Path:
    """A mobile teacher with spectral norm."""
    nets = ("--netG", "mobile_spade", "--ngf", 4, "--norm_G", "spectralspadesyncbatch3x3")
    folder = runs / "full"
    cli("train.py", "--model", "spade", *nets, *training, "--log_dir", folder).succeeded()
    return folder


@pytest.fixture(scope="module")
def teacher(cli, full, runs) -> Path:
    path = runs / "teacher" / "net_G.pth"
    start = full / "checkpoints" / "latest_net_G.pth"
    cli("remove_spectral_norm.py", "--restore_G_path", start, "--output_path", path).succeeded()
    return path


@pytest.fixture(scope="module")
def supernet(cli, training, teacher, full, runs) -> Path:
    folder = runs / "supernet"
    cli(
        *("train_supernet.py", "--supernet", "spade", *training, "--log_dir", folder),
        *("--restore_teacher_G_path", teacher, "--restore_student_G_path", teacher),
        *("--restore_D_path", full / "checkpoints" / "latest_net_D.pth"),
        *("--student_ngf", 4, "--config_set", "4,2"),
    ).succeeded()
    return folder


def test_a_teacher_is_trained_and_measured(full):
    records = [json.loads(line) for line in (full / "log.jsonl").read_text().splitlines()]
    (measured,) = [r for r in records if r["event"] == "eval"]
    assert measured["metrics"]["G"]["n"] == 3 and measured["metrics"]["G"]["fid"] > 0
    losses = [r for r in records if r["event"] != "eval"][-1]
    assert {"G_gan", "G_feat", "D_fake", "D_real"} <= set(losses["losses"])
    assert losses["lr"] == 1e-4
    _, spec = load_generator(full / "checkpoints" / "latest_net_G.pth", "-")
    assert spec.form.spectral and spec.form.num_upsampling_layers == "normal"
    assert (spec.input_nc, spec.norm) == (36, "batch")
    assert spec.trained_on == {"size": [WIDTH // 2, WIDTH]}
    assert list((full / "eval").glob("*.png"))


def test_spectral_norm_is_taken_out(full, teacher):
    spectral, _ = load_generator(full / "checkpoints" / "latest_net_G.pth", "-")
    plain, spec = load_generator(teacher, "-")
    assert not spec.form.spectral and "head_0.conv_0.weight" in plain.state_dict()
    x = torch.nn.functional.one_hot(torch.randint(36, (1, 32, 64)), 36).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        assert torch.equal(spectral.eval()(x), plain.eval()(x))


def test_a_supernet_learns_from_it(supernet):
    _, spec = load_generator(supernet / "checkpoints" / "latest_net_G.pth", "-")
    assert spec.netG == "super_mobile_spade" and spec.ngf == 4
    assert len(list((supernet / "checkpoints").glob("latest_net_A-*.pth"))) == 3
    (first, *_) = [
        json.loads(line)["metrics"]
        for line in (supernet / "log.jsonl").read_text().splitlines()
        if json.loads(line)["event"] == "eval"
    ]
    assert set(first) == {"largest", "smallest"}


def test_a_search_calibrates_each_subnet_and_export_does_too(cli, images, supernet, runs):
    fid = ("--fid_features", "random", "--fid_dims", 64)
    start = supernet / "checkpoints" / "latest_net_G.pth"
    space = ("--config_set", "4,2;4,2;4;4;4;4;4;4", "--budget", "1e12")
    more = ("--calibration_load_in_memory", "--batch_size", 3)
    done = cli(
        *("search.py", *images, *fid, "--phase", "val", "--restore_G_path", start, *space, *more),
        *("--output_path", runs / "search.jsonl"),
    ).succeeded()
    assert "no effect, images are kept" in done.stdout and "4 configurations" in done.stdout
    found = [json.loads(line) for line in (runs / "search.jsonl").read_text().splitlines()]
    best = min(found, key=lambda record: record["metrics"]["fid"])
    # Not fine-tuned: its statistics are taken at export.
    config, path = best["config_str"], runs / "small" / "net_G.pth"
    export = ("--input_path", start, "--output_path", path, "--config_str", config)
    refused = cli("export.py", "--model", "mobile_spade", *export)
    assert refused.returncode == 2 and "give some as --dataroot" in refused.stderr
    cli("export.py", "--model", "mobile_spade", "--input_nc", 35, *export, *images[:6]).succeeded()
    _, spec = load_generator(path, "-")
    assert (spec.netG, spec.ngf, spec.config_str) == ("sub_mobile_spade", 4, config)
    flags = ("--restore_G_path", path, "--results_dir", runs / "results", "--batch_size", 3)
    architecture = ("--netG", "sub_mobile_spade", "--ngf", 4, "--config_str", config, *NORMAL)
    done = cli("test.py", *images, *fid, *flags, *architecture, "--need_profile").succeeded()
    assert f"{best['macs']:,} MACs" in done.stdout
    metrics = json.loads((runs / "results" / "results.json").read_text())["models"][0]["metrics"]
    assert metrics["fid"] == pytest.approx(best["metrics"]["fid"], rel=1e-3)
    assert len(list((runs / "results").rglob("valtown_000000_000019_leftImg8bit.png"))) >= 3


def test_one_subnet_is_tuned(cli, training, teacher, supernet, runs):
    config, folder = "2_4_2_4_2_4_2_4", runs / "tuned"
    cli(
        *("train_supernet.py", "--supernet", "spade", *training, "--log_dir", folder),
        *("--restore_teacher_G_path", teacher, "--config_str", config, "--student_ngf", 4),
        *("--restore_student_G_path", supernet / "checkpoints" / "latest_net_G.pth"),
        *("--restore_A_path", supernet / "checkpoints" / "latest_net_A"),
    ).succeeded()
    tuned = folder / "checkpoints" / "latest_net_G.pth"
    path = runs / "tuned.pth"
    cli("export.py", "--input_path", tuned, "--output_path", path).succeeded()
    assert infer_spec(torch.load(path, weights_only=True)).config_str == config


def test_a_narrow_student_is_distilled(cli, training, teacher, runs):
    folder = runs / "distill"
    flags = ("--distiller", "spade", *training, "--student_ngf", 2, "--log_dir", folder)
    cli("distill.py", *flags, "--restore_teacher_G_path", teacher).succeeded()
    _, spec = load_generator(folder / "checkpoints" / "latest_net_G.pth", "-")
    assert (spec.netG, spec.ngf) == ("mobile_spade", 2)


def test_scenes_are_measured_by_their_labels(cli, images, teacher, streets, runs):
    torch.manual_seed(4)
    drn = DRNSeg("drn_d_22")
    torch.save({f"module.{k}": v for k, v in drn.state_dict().items()}, runs / "drn.pth")
    table = ("--table_path", streets / "val_table.txt", "--cityscapes_path", streets)
    flags = ("--restore_G_path", teacher, "--results_dir", runs / "miou", "--no_fid", *NORMAL)
    cli("test.py", *images, *flags, "--drn_path", runs / "drn.pth", *table).succeeded()
    metrics = json.loads((runs / "miou" / "results.json").read_text())["models"][0]["metrics"]
    assert 0 <= metrics["mIoU"] <= 100 and metrics["n"] == 3


@pytest.mark.parametrize(
    "script, flags, says",
    [
        ("train.py", ("--model", "spade", "--dataset_mode", "aligned"), "learns from label maps"),
        ("train.py", ("--netD", "multi_scale"), "the discriminator of --model spade"),
        ("train.py", ("--model", "spade", "--netD", "pixel"), "layers of multi_scale"),
        ("train.py", ("--model", "spade", "--gan_mode", "wgangp"), "hinge, lsgan and vanilla"),
        ("train.py", ("--model", "spade", "--augment_D", "color"), "--augment_D"),
        ("train.py", ("--model", "spade", "--norm_G", "batch"), "is not [spectral]spade"),
        ("train.py", ("--model", "spade", "--norm_D", "layer"), "instance, batch or none"),
        (
            "train.py",
            ("--model", "spade", "--load_size", 64, "--crop_size", 128),
            "--crop_size 128 is not --load_size 64",
        ),
        (
            "train_supernet.py",
            ("--supernet", "spade", "--distiller", "online", "--config_set", "channels-48"),
            "--supernet spade is --distiller spade",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(call, script, flags, says, tmp_path):
    teacher = () if script == "train.py" else ("--restore_teacher_G_path", "x.pth")
    outcome = call(script, "--dataroot", tmp_path, *teacher, *flags)
    assert outcome.returncode == 2 and says in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_networks_and_images_that_do_not_fit_are_refused(cli, images, teacher, tmp_path):
    test = ("test.py", *images, "--restore_G_path", teacher, "--results_dir", tmp_path, "--no_fid")
    for flags, says in (
        (("--no_instance",), "input_nc 35 contradicts"),
        (("--num_upsampling_layers", "more"), "--num_upsampling_layers more contradicts"),
        (("--norm_G", "spectralspadesyncbatch3x3"), "--norm_G spectralspadesyncbatch3x3"),
    ):
        outcome = cli(*test, *flags)
        assert outcome.returncode == 2 and says in outcome.stderr, outcome.stderr
