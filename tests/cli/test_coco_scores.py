"""mIoU of COCO-Stuff through the scripts, by a segmenter that always sees the same class: what it
must score follows from the labels alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metrics.deeplab import DeepLabV2
from models.generators import GeneratorSpec
from models.spade import SpadeForm
from models.weights import save_network

SEEN = 7
SIZE = 64
LABELS = np.array([0, 7, 7, 180, 255])


@pytest.fixture(scope="module")
def stuff(tmp_path_factory) -> Path:
    """Photos of several sizes, upright ones too, and a list of two to search on."""
    root = tmp_path_factory.mktemp("coco_stuff")
    rng = np.random.default_rng(0)
    for phase, names in (("train", "abcd"), ("val", "efg")):
        for k, name in enumerate(names):
            height, width = 24 + 4 * k, 40
            labels = rng.choice(LABELS, (height // 4, width // 4)).repeat(4, 0).repeat(4, 1)
            photo = rng.integers(0, 256, (height, width, 3))
            end = "_portrait" if name == "d" else ""
            for kind, pixels, suffix in (
                ("img", photo, "jpg"),
                ("label", labels, "png"),
                ("inst", labels % 5, "png"),
            ):
                path = root / f"{phase}_{kind}{end}" / f"{name}.{suffix}"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    (root / "train2.meta").write_text("b.jpg\nc.jpg\n")
    return root


@pytest.fixture(scope="module")
def deeplab(tmp_path_factory) -> Path:
    """All weights 0, each tensor a single number in the file, but for one bias."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in DeepLabV2().state_dict().items()}
    state = {k: torch.zeros(1).expand(s) if s else torch.tensor(0) for k, s in shapes.items()}
    state["base.aspp.c0.bias"] = torch.eye(182)[SEEN]
    path = tmp_path_factory.mktemp("weights") / "deeplab.pth"
    torch.save(state, path)
    return path


def scores(stuff: Path, phase: str, names: str) -> tuple[float, float]:
    """(mIoU, accuracy) of a segmenter that sees one class everywhere."""
    labels = [np.array(Image.open(stuff / f"{phase}_label" / f"{name}.png")) for name in names]
    known = np.concatenate([label[label < 182] for label in labels])
    share = 100 * (known == SEEN).mean()
    return share / len(np.unique(known)), share


@pytest.fixture(scope="module")
def images(stuff) -> tuple:
    size = ("--crop_size", SIZE, "--load_size", SIZE, "--gpu_ids", -1, "--num_threads", 1)
    return ("--dataroot", stuff, "--dataset_mode", "coco", *size)


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    """A function that writes a new generator of a kind and returns its path."""
    folder = tmp_path_factory.mktemp("nets")

    def write(kind: str) -> Path:
        form = SpadeForm(num_upsampling_layers="normal")
        spec = GeneratorSpec(kind, ngf=2, input_nc=184, norm="batch", form=form)
        torch.manual_seed(0)
        save_network(spec.build(), folder / f"{kind}.pth", spec)
        return folder / f"{kind}.pth"

    return write


def test_a_training_is_measured_by_it(cli, images, stuff, deeplab, tmp_path):
    flags = ("--model", "spade", "--netG", "mobile_spade", "--ngf", 2, "--ndf", 2, "--niters", 1)
    more = ("--num_upsampling_layers", "normal", "--lambda_vgg", 0, "--batch_size", 2, "--no_fid")
    log = ("--log_dir", tmp_path, "--deeplabv2_path", deeplab)
    cli("train.py", *images, *flags, *more, *log).succeeded()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (found,) = [r["metrics"]["G"] for r in records if r["event"] == "eval"]
    assert (found["mIoU"], found["accu"]) == pytest.approx(scores(stuff, "val", "efg"), rel=1e-12)
    assert found["n"] == 3 and "fid" not in found


def test_a_search_goes_by_it(cli, images, stuff, deeplab, generator, tmp_path):
    start = ("--restore_G_path", generator("super_mobile_spade"))
    space = ("--config_set", "2;2;2;2;2;2;2;2,1", "--budget", "1e12", "--criterion", "mIoU")
    chosen = ("--phase", "train", "--meta_path", stuff / "train2.meta", "--no_fid")
    files = ("--deeplabv2_path", deeplab, "--output_path", tmp_path / "found.jsonl")
    cli("search.py", *images, *start, *space, *chosen, *files).succeeded()
    found = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    expected = scores(stuff, "train", "bc")
    for record in found:
        assert (record["metrics"]["mIoU"], record["metrics"]["accu"]) == pytest.approx(expected)
        assert record["measured_with"]["deeplabv2_path"].startswith("deeplab.pth [")
    assert len(found) == 2


def test_a_test_says_what_is_missing_and_scores_what_is_there(
    call, images, stuff, deeplab, generator, tmp_path
):
    start = ("--restore_G_path", generator("mobile_spade"), "--results_dir", tmp_path, "--no_fid")
    missing = tmp_path / "none.pth"
    refused = call("test.py", *images, *start, "--deeplabv2_path", missing)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    for word in (f"--deeplabv2_path {missing}: no such file", "--no_mIoU", "deeplab-cocostuff"):
        assert word in refused.stderr
    call("test.py", *images, *start, "--deeplabv2_path", deeplab).succeeded()
    metrics = json.loads((tmp_path / "results.json").read_text())["metrics"]
    found = metrics["mIoU"], metrics["accu"]
    assert found == pytest.approx(scores(stuff, "val", "efg"), rel=1e-12)


def test_a_search_by_it_says_how_to_do_without(call, images, generator, tmp_path):
    flags = ("--restore_G_path", generator("super_mobile_spade"), "--config_set", "2,1")
    out = ("--output_dir", tmp_path / "s", "--criterion", "mIoU")
    refused = call("evolution_search.py", *images, *flags, *out)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "--criterion fid" in refused.stderr
    assert "deeplabv2_resnet101_msc-cocostuff164k-100000.pth: no such file" in refused.stderr
