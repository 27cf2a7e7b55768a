"""Images as users have them: in two folders, without partners, stored in every usual way."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from models.generators import GeneratorSpec
from models.layers import init_weights
from models.weights import save_network

SIZE = 32


def weights(folder) -> dict:
    return torch.load(folder / "checkpoints" / "latest_net_G.pth", weights_only=True)


def test_two_folders_train_as_their_pairs_do(call, tmp_path, dataset, teacher_flags):
    """The same images cut in two: no step differs, and neither does what is measured."""
    call("scripts/split_pairs.py", dataset, "--output", tmp_path / "halves").succeeded()
    assert sorted(p.name for p in (tmp_path / "halves").iterdir() if p.is_dir()) == [
        "trainA",
        "trainB",
        "valA",
        "valB",
    ]
    runs = {}
    for name, root in (("pairs", dataset), ("halves", tmp_path / "halves")):
        flags = (*teacher_flags, "--dataroot", root, "--niters", 2, "--log_dir", tmp_path / name)
        call("train.py", *flags).succeeded()
        runs[name] = (
            weights(tmp_path / name),
            json.loads((tmp_path / name / "results.json").read_text()),
        )
    assert all(torch.equal(runs["pairs"][0][k], v) for k, v in runs["halves"][0].items())
    fids = [run[1]["latest"]["metrics"]["G"]["fid"] for run in runs.values()]
    assert fids[0] == pytest.approx(fids[1], rel=1e-6)


@pytest.mark.parametrize("where", ["", "test"])
def test_images_without_partners_are_translated(
    call, tmp_path, narrow_pth, data_flags, inference_flags, where
):
    folder = tmp_path / "images" / where
    folder.mkdir(parents=True)
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 30 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"photo {i}.png")
    data = (
        "--dataroot",
        tmp_path / "images",
        "--dataset_mode",
        "single",
        *(("--phase", where) if where else ()),
    )
    flags = (*inference_flags, *data, "--restore_G_path", narrow_pth)
    outcome = call("test.py", *flags, "--results_dir", tmp_path / "out").succeeded()
    assert "--dataset_mode single has no real images to compare with" in outcome.stderr
    images = tmp_path / "out" / "images"
    assert sorted(p.name for p in images.iterdir()) == ["fake_B", "real_A"]
    assert sorted(p.name for p in (images / "fake_B").iterdir()) == [
        f"photo {i}.png" for i in range(3)
    ]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["metrics"] == {"n": 3}
    # Against statistics of real images from elsewhere, it can be measured all the same.
    statistics = tmp_path / "real.npz"
    call("get_real_stat.py", *data_flags, *data, "--output_path", statistics).succeeded()
    call(
        "test.py", *flags, "--real_stat_path", statistics, "--results_dir", tmp_path / "out"
    ).succeeded()
    assert json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]["fid"] > 0


def test_every_usual_way_of_storing_trains(cli, tmp_path, teacher_flags):
    """The check says so, training agrees and says nothing of them."""
    rng = np.random.default_rng(0)
    for phase in ("train", "val"):
        folder = tmp_path / "data" / phase
        folder.mkdir(parents=True)
        pair = Image.fromarray(rng.integers(0, 256, (SIZE, 2 * SIZE, 3), dtype=np.uint8))
        alpha = Image.fromarray(rng.integers(0, 256, (SIZE, 2 * SIZE, 4), dtype=np.uint8), "RGBA")
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees: stored upright, shown lying
        pair.save(folder / "rgb.webp", lossless=True)
        pair.convert("L").save(folder / "grey.bmp")
        Image.fromarray(rng.integers(0, 65536, (SIZE, 2 * SIZE), dtype=np.uint16)).save(
            folder / "sixteen.png"
        )
        alpha.save(folder / "alpha.png")
        alpha.quantize(32).save(folder / "palette.png")
        pair.convert("CMYK").save(folder / "cmyk.jpg")
        pair.convert("1").save(folder / "bits.tif")
        pair.rotate(90, expand=True).save(folder / "turned.jpg", exif=exif)
    flags = ("--load_size", SIZE + 4, "--crop_size", SIZE, "--direction", "BtoA")
    outcome = cli("data.check", tmp_path / "data", *flags).succeeded()
    assert outcome.stdout.endswith("ready to train: train 8, val 8\n")
    assert "warning" not in outcome.stderr.lower()
    run = (
        *teacher_flags,
        "--dataroot",
        tmp_path / "data",
        "--niters",
        2,
        "--log_dir",
        tmp_path / "run",
    )
    outcome = cli("train.py", *run).succeeded()
    assert "warning" not in (outcome.stdout + outcome.stderr).lower()
    assert (
        json.loads((tmp_path / "run" / "results.json").read_text())["latest"]["metrics"]["G"]["n"]
        == 8
    )


def test_large_images_in_tiles(call, tmp_path):
    """Images that fit are as without the flag; the results say how the others were made."""
    torch.manual_seed(0)
    spec = GeneratorSpec("resnet_6blocks", 4)
    save_network(init_weights(spec.build(), gain=0.2), tmp_path / "net_G.pth", spec)
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for name, (width, height) in {"fits": (61, 64), "wide": (150, 33)}.items():
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{name}.png")
    flags = ("--dataroot", tmp_path / "data", "--dataset_mode", "single", "--preprocess", "none")
    flags += ("--restore_G_path", tmp_path / "net_G.pth", "--gpu_ids", -1, "--no_fid")
    made = {}
    for name, tiles in {
        "whole": ("--overlap", 16),
        "tiles": ("--tile", 64, "--overlap", 16, "--tile_norm", "pooled", "--times", 1),
    }.items():
        outcome = call("test.py", *flags, *tiles, "--results_dir", tmp_path / name).succeeded()
        assert ("--overlap: no effect" in outcome.stdout) == (name == "whole")
        assert "memory" not in outcome.stderr
        made[name] = [
            np.asarray(Image.open(tmp_path / name / "images" / "fake_B" / f"{image}.png"))
            for image in ("fits", "wide")
        ]
        results = json.loads((tmp_path / name / "results.json").read_text())
        wanted = {"tile": 64, "overlap": 16, "norm": "pooled"}
        assert results["tiles"] == (wanted if name == "tiles" else None)
        page = (tmp_path / name / "index.html").read_text()
        assert ("tiles of 64x64" in page) == (name == "tiles")
        assert ("tiles of 64x64" in (tmp_path / name / "results.md").read_text()) == (
            name == "tiles"
        )
    assert np.array_equal(made["whole"][0], made["tiles"][0])
    assert made["whole"][1].shape == made["tiles"][1].shape == (33, 150, 3)
    assert not np.array_equal(made["whole"][1], made["tiles"][1])
    for wrong, words in (
        (("--tile", 66), "--tile 66: this network needs a multiple of 4"),
        (("--tile", 64, "--overlap", 32), "--overlap 32 is half of --tile 64"),
    ):
        outcome = call("test.py", *flags, *wrong, "--results_dir", tmp_path / "wrong")
        assert outcome.returncode == 2 and words in outcome.stderr
        assert "Traceback" not in outcome.stderr
        assert not (tmp_path / "wrong" / "results.json").exists()


def test_memory_that_will_not_do_is_said_first(call, tmp_path, monkeypatch):
    torch.manual_seed(0)
    spec = GeneratorSpec("resnet_6blocks", 4)
    save_network(init_weights(spec.build(), gain=0.2), tmp_path / "net_G.pth", spec)
    (tmp_path / "data").mkdir()
    Image.new("RGB", (512, 260)).save(tmp_path / "data" / "a.png")
    flags = ("--dataroot", tmp_path / "data", "--dataset_mode", "single", "--preprocess", "none")
    flags += ("--restore_G_path", tmp_path / "net_G.pth", "--gpu_ids", -1, "--no_fid")
    monkeypatch.setattr("evaluation.memory.free_memory", lambda device: 17_000_000)
    outcome = call("test.py", *flags, "--results_dir", tmp_path / "out").succeeded()
    (line,) = (line for line in outcome.stderr.splitlines() if "GB" in line)
    assert line.startswith("warning: an image of 512x260 pixels: about 0.0")
    assert "0.017 GB are free: give --tile 192" in line

    def none_left(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("models.resnet.ResnetGenerator.forward", none_left)
    outcome = call("test.py", *flags, "--results_dir", tmp_path / "out")
    assert outcome.returncode == 2 and "Traceback" not in outcome.stderr
    assert "memory ran out" in outcome.stderr and "give --tile" in outcome.stderr
