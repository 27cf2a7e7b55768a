"""MUNIT through all scripts, on small folders of images: trained, assembled, compressed, searched,
exported and tested."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.pictures import HEADER
from models.generators import infer_spec
from models.munit import MunitForm, without_style_encoder
from models.styles import chosen
from models.weights import load_generator, save_network


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def images(horse_flags) -> tuple:
    return (*horse_flags, "--load_size", 64, "--crop_size", 64)


@pytest.fixture(scope="module")
def short(images) -> tuple:
    return (*images, "--niters", 3, "--ndf", 2, "--eval_batch_size", 4, "--print_freq", 1)


@pytest.fixture(scope="module")
def both(cli, short, runs) -> Path:
    folder = runs / "teachers"
    cli("train.py", "--model", "munit", "--ngf", 3, *short, "--log_dir", folder).succeeded()
    return folder


def net(run: Path, name: str = "G") -> Path:
    return run / "checkpoints" / f"latest_net_{name}.pth"


def log(run: Path, event: str) -> list[dict]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [r for r in records if r["event"] == event]


@pytest.fixture(scope="module")
def teacher(cli, both, runs) -> Path:
    path = runs / "assembled" / "net_G.pth"
    sides = ("--restore_G_A_path", net(both, "G_A"), "--restore_G_B_path", net(both, "G_B"))
    cli("assemble.py", *sides, "--ngf_A", 3, "--output_path", path).succeeded()
    return path


@pytest.fixture(scope="module")
def supernet(cli, short, teacher, runs) -> Path:
    folder = runs / "supernet"
    cli(
        *("train_supernet.py", "--supernet", "munit", *short, "--log_dir", folder),
        *("--restore_teacher_G_path", teacher, "--student_ngf", 4, "--config_set", "4,2"),
    ).succeeded()
    return folder


def test_teachers_are_trained_and_measured_both_ways(both):
    (measured,) = log(both, "eval")
    assert {k: m["n"] for k, m in measured["metrics"].items()} == {"G_A": 6, "G_B": 5}
    steps = log(both, "train")
    assert {"G_rec_A", "G_style_B", "G_content_A", "D_B_real"} <= set(steps[0]["losses"])
    assert [r["lr"] for r in steps] == [1e-4] * 3
    for side, direction in (("A", "AtoB"), ("B", "BtoA")):
        _, spec = load_generator(net(both, f"G_{side}"), "-")
        assert (spec.netG, spec.ngf) == ("munit", 3)
        assert spec.trained_on == {"direction": direction, "size": [64, 64]}
    state = torch.load(net(both, "D_B"), weights_only=True)
    assert state["cnns.2.3.conv.weight"].shape == (16, 8, 4, 4)
    # Drawn from N(0, 0.02), those of the generators with the deviation of their inputs.
    assert 0.015 < state["cnns.0.3.conv.weight"].std() < 0.025


def test_one_generator_is_assembled_of_two(both, teacher):
    g_a, g_b, whole = (
        load_generator(p, "-")[0] for p in (net(both, "G_A"), net(both, "G_B"), teacher)
    )
    # Or every script that gives it images of A would warn.
    assert load_generator(teacher, "-")[1].trained_on == {"direction": "AtoB", "size": [64, 64]}
    x, style = torch.rand(1, 3, 64, 64) * 2 - 1, torch.randn(1, 8)
    with torch.no_grad():
        assert torch.equal(whole(x, style), g_b.decode(g_a.content(x), style))
        assert torch.equal(whole.style(x), g_b.style(x))


def test_it_is_distilled_searched_exported_and_tested(cli, images, supernet, teacher, runs):
    metrics = log(supernet, "eval")[0]["metrics"]
    assert set(metrics) == {"largest", "smallest"}
    assert ["G_style" in r["losses"] for r in log(supernet, "train")] == [False, True, False]
    assert net(supernet, "A-0").exists() and not net(supernet, "A-1").exists()

    space = ("--config_set", "4,2;4;4;4;4;4;4;4;4;4,2", "--budget", "1e12")
    for name in ("once", "again"):
        out = runs / f"{name}.jsonl"
        more = ("--batch_size", 4 if name == "once" else 1, "--output_path", out, "--no_mIoU")
        start = ("--phase", "val", "--restore_G_path", net(supernet))
        cli("search.py", *images, *start, *space, *more).succeeded()
    found, again = (
        {
            r["config_str"]: r["metrics"]["fid"]
            for r in map(json.loads, (runs / f"{name}.jsonl").read_text().splitlines())
        }
        for name in ("once", "again")
    )
    assert len(found) == 4
    # Styles are of their images, whatever the batch.
    assert all(found[config] == pytest.approx(again[config], rel=1e-3) for config in found)
    best = min(found, key=found.get)

    path = runs / "small"
    cli(
        *("export.py", "--model", "mobile_munit", "--ngf", 4, "--input_path", net(supernet)),
        *("--output_path", path, "--config_str", best, "--format", "pth"),
    ).succeeded()
    small, spec = load_generator(path.with_suffix(".pth"), "-")
    assert (spec.netG, spec.config_str) == ("sub_mobile_munit", best)
    assert infer_spec(small.state_dict()).config == spec.config
    refused = cli(
        *("export.py", "--input_path", net(supernet), "--output_path", runs / "x"),
        *("--config_str", best, "--format", "onnx", "--int8", *images[:4]),
    )
    assert refused.returncode == 2 and "take styles beside" in refused.stderr

    flags = ("--restore_G_path", path.with_suffix(".pth"), "--restore_teacher_G_path", teacher)
    done = cli(
        *("test.py", *images, *flags, "--netG", "sub_mobile_munit", "--config_str", best),
        *("--results_dir", runs / "results", "--need_profile", "--batch_size", 4),
    ).succeeded()
    assert "sub_mobile_munit" in done.stdout
    result = json.loads((runs / "results" / "results.json").read_text())
    assert result["metrics"]["fid"] == pytest.approx(found[best], rel=1e-2)
    cli(
        *("latency.py", *images, *flags, "--results_dir", runs / "latency", "--times", 2),
        *("--backends", "eager", "onnxruntime"),
    ).succeeded()
    timed = json.loads((runs / "latency" / "latency.json").read_text())["all"]
    assert all(entry["max_difference"] < 1e-4 for entry in timed)
    for entry in (result, *timed):
        assert entry["macs_without_style_encoder"] < entry["macs"]
        assert entry["params_without_style_encoder"] < entry["params"]
    grids = [Image.open(path).size for path in (runs / "results/images/styles").glob("*.png")]
    assert grids == [(6 * 66 - 2, HEADER + 4 * 66 - 2)] * 2


def test_styles_of_reference_images(cli, images, horses, teacher, runs):
    """By the published names of flags; an image of A in the style of an image of B."""
    out, styles = runs / "references", horses / "valB"
    done = cli(
        *("test.py", *images, "--dataset_mode", "single", "--dataroot", horses / "valA"),
        *("--model", "munit_test", "--restore_G_A_path", teacher, "--ngf", 3, "--netG", "munit"),
        *("--style_dim", 8, "--n_res", 4, "--ref_root", styles, "--no_fid", "--need_profile"),
        *("--results_dir", out, "--batch_size", 2),
    ).succeeded()
    result = json.loads((out / "results.json").read_text())
    without = f"without the style encoder {result['macs_without_style_encoder']:,} MACs"
    assert without in done.stdout and result["styles"].endswith(str(styles))
    whole, _ = load_generator(teacher, "-")
    whole.eval()

    def read(path):
        pixels = np.asarray(Image.open(path).convert("RGB").resize((64, 64), Image.BICUBIC))
        return torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1

    references = [read(path) for path in sorted(styles.iterdir())]
    given = sorted((horses / "valA").iterdir())
    assert len(given) == result["metrics"]["n"]
    for path in given:
        x = read(path)
        (number,) = chosen(x, len(references))
        with torch.no_grad():
            made = whole(x, whole.style(references[number]))
        shown = read(out / "images" / "fake_B" / f"{path.stem}.png")
        assert (shown - made).abs().max() < 2 / 127.5
        assert torch.equal(read(out / "images" / "style" / f"{path.stem}.png"), references[number])
    # A row of references above four inputs in their styles.
    grid = np.asarray(Image.open(next((out / "images" / "styles").iterdir())))
    columns = min(5, len(references))
    assert grid.shape == (HEADER + 5 * 66 - 2, (1 + columns) * 66 - 2, 3)
    assert (grid[HEADER : HEADER + 64, :64] == 255).all()
    shown = torch.tensor(grid[HEADER : HEADER + 64, 66:130]).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.equal(shown, references[0])
    page = (out / "index.html").read_text()
    assert "In several styles" in page and "images/style/" in page


def test_a_dense_supernet_without_style_encoders(cli, short, teacher, runs):
    bare, spec = load_generator(teacher, "-")
    save_network(without_style_encoder(bare), runs / "bare.pth", spec.without_style_encoder)
    folder, path = runs / "dense", runs / "dense.pth"
    student = ("--student_netG", "super_munit", "--student_ngf", 4, "--config_set", "4,2")
    flags = ("--restore_teacher_G_path", runs / "bare.pth", "--teacher_no_style_encoder")
    cli(
        *("train_supernet.py", "--supernet", "munit", *short, "--niters", 2, "--no_fid"),
        *(*student, *flags, "--student_no_style_encoder", "--student_mlp_dim", 6),
        *("--style_encoder_step", 1, "--log_dir", folder),
    ).succeeded()
    assert not any("G_style" in r["losses"] for r in log(folder, "train"))
    config = "_".join(["2"] * 10)
    how = ("--input_path", net(folder), "--config_str", config, "--output_path", path)
    cli("export.py", "--model", "mobile_munit", *how).succeeded()
    _, spec = load_generator(path, "-")
    assert (spec.netG, spec.config_str, spec.form) == ("sub_munit", config, MunitForm(8, 6, False))


def test_both_sides_start_from_files_of_their_own(cli, short, both, runs):
    """With a learning rate of 0 networks stay what they were."""
    folder = runs / "started"
    starts = ("--restore_G_B_path", net(both, "G_B"), "--restore_D_A_path", net(both, "D_A"))
    cli(
        *("train.py", "--model", "munit", "--ngf", 3, *short, "--niters", 1, "--lr", 0, "--no_fid"),
        *(*starts, "--log_dir", folder),
    ).succeeded()
    for name, same in (("G_A", False), ("G_B", True), ("D_A", True), ("D_B", False)):
        before, now = (torch.load(net(run, name), weights_only=True) for run in (both, folder))
        before, now = (found.get("state_dict", found) for found in (before, now))
        assert all(torch.equal(before[key], now[key]) for key in before) == same, name
    wrong = cli(
        *("train.py", "--model", "munit", "--ngf", 3, *short, "--log_dir", runs / "wrong"),
        *("--restore_D_A_path", net(both, "G_A")),
    )
    assert wrong.returncode == 2 and "--restore_D_A_path" in wrong.stderr


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ("train.py", "--netG", "munit"),
            "--netG munit makes images in styles: give --model munit",
        ),
        (
            ("train.py", "--model", "munit", "--netG", "unet_256"),
            "--netG unet_256 makes no images in",
        ),
        (("train.py", "--model", "munit", "--netD", "pixel"), "MUNIT has ms_image"),
        (("train.py", "--netD", "ms_image"), "is the discriminator of --model munit"),
        (("train.py", "--model", "munit", "--crop_size", "32"), "needs sides of 64 pixels"),
        (("train.py", "--model", "munit", "--direction", "BtoA"), "munit trains both directions"),
        (
            ("train.py", "--model", "munit", "--dataset_mode", "aligned"),
            "MUNIT learns from images that are no pairs",
        ),
        (("train.py", "--model", "munit", "--input_nc", "1"), "give equal numbers"),
        (("train.py", "--restore_G_B_path", "x"), "no such sides; give --restore_G_path"),
        (
            ("train.py", "--model", "munit", "--restore_D_path", "x", "--restore_D_B_path", "y"),
            "--restore_D_B_path and --restore_D_path name the same file",
        ),
        (("train.py", "--model", "munit", "--n_downsample", "3"), "--n_downsample: invalid choice"),
        (("train.py", "--real_stat_B_path", "x"), "give --real_stat_path"),
        (
            (
                *("train_supernet.py", "--restore_teacher_G_path", "x", "--config_set", "4,2"),
                *("--supernet", "munit", "--distiller", "resnet"),
            ),
            "--supernet munit is --distiller munit, not resnet",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(cli, argv, words):
    script, *rest = argv
    outcome = cli(script, "--dataroot", "none", *rest)
    assert outcome.returncode == 2 and words in outcome.stderr, outcome.stderr
