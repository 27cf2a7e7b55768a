"""mIoU through all scripts, on street scenes that the test makes: prepared, trained, searched and
tested by their labels."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metrics.drn import DRNSeg
from metrics.miou import CITYSCAPES_MEAN, CITYSCAPES_STD

SIZE = 32
BUDGET = 4e7  # as in conftest.py
LABEL_IDS = (
    7,
    8,
    11,
    21,
    23,
    26,
    0,
)  # road, sidewalk, building, vegetation, sky, car, and one that is not measured


# --------------------------------------------------------------------------------------------------
# A small Cityscapes: unpacked archives, and a segmenter with random weights


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    root, rng = tmp_path_factory.mktemp("cityscapes") / "origin", np.random.default_rng(0)
    for phase, city, count in (("train", "aachen", 4), ("train", "bremen", 4), ("val", "ulm", 5)):
        for i in range(count):
            name = f"{city}_{i:06d}_000019"
            blocks = rng.choice(LABEL_IDS, (4, 8)).astype(np.uint8)
            labels = blocks.repeat(16, 0).repeat(16, 1)  # 64x128
            files = {
                f"gtFine/{phase}/{city}/{name}_gtFine_labelIds.png": Image.fromarray(labels),
                f"gtFine/{phase}/{city}/{name}_gtFine_color.png": Image.fromarray(
                    np.dstack([labels * 7] * 3)
                ),
                f"leftImg8bit/{phase}/{city}/{name}_leftImg8bit.png": Image.fromarray(
                    rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)
                ),
            }
            for path, image in files.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                image.save(root / path)
    return root


@pytest.fixture(scope="module")
def city(cli, origin) -> Path:
    """The pairs and the tables, made by the script that users run."""
    place = ("--output", origin.parent / "pairs", "--tables", origin.parent / "tables")
    cli("scripts/prepare_cityscapes.py", origin, *place, "--size", SIZE).succeeded()
    return origin.parent


@pytest.fixture(scope="module")
def drn(tmp_path_factory) -> Path:
    """Weights of a DRN-D-22 whose scores depend on the photo: pixels fall into several classes."""
    torch.manual_seed(4)
    net = DRNSeg("drn_d_22")
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    path = tmp_path_factory.mktemp("drn") / "drn.pth"
    torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def city_flags(city) -> tuple:
    machine = ("--num_threads", 1, "--gpu_ids", -1, "--fid_features", "random", "--fid_dims", 64)
    return ("--dataroot", city / "pairs", "--direction", "BtoA", *machine)


@pytest.fixture(scope="module")
def measure(city, drn):
    """Flags that ask for mIoU on a phase."""

    def flags(phase: str = "val") -> tuple:
        table = city / "tables" / f"{phase}_table.txt"
        return ("--drn_path", drn, "--cityscapes_path", city / "origin", "--table_path", table)

    return flags


@pytest.fixture(scope="module")
def training(city_flags, measure) -> tuple:
    """2 steps of one epoch, measured by mIoU."""
    sizes = ("--load_size", SIZE + 4, "--crop_size", SIZE, "--batch_size", 4, "--ndf", 8)
    return (
        *city_flags,
        *sizes,
        "--nepochs",
        1,
        "--nepochs_decay",
        0,
        "--save_epoch_freq",
        1,
        *measure(),
    )


@pytest.fixture(scope="module")
def city_teacher(cli, training, city) -> Path:
    folder = city / "runs" / "teacher"
    cli(
        "train.py", *training, "--netG", "resnet_9blocks", "--ngf", 8, "--log_dir", folder
    ).succeeded()
    return folder


@pytest.fixture(scope="module")
def city_supernet(cli, training, city, city_teacher) -> Path:
    folder = city / "runs" / "supernet"
    student = (
        "--restore_teacher_G_path",
        city_teacher / "checkpoints" / "best_net_G.pth",
        "--student_ngf",
        32,
    )
    cli(
        "train_supernet.py", *training, *student, "--config_set", "channels-32", "--log_dir", folder
    ).succeeded()
    return folder


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())


def plain_figures(photos: Path, city: Path, phase: str, drn: Path) -> tuple[float, float]:
    """(mIoU, accuracy) of written photos as SPEC 5 says it, image by image and channel by channel
    with Pillow and NumPy."""
    net = DRNSeg("drn_d_22").eval()
    net.load_state_dict(
        {k.removeprefix("module."): v for k, v in torch.load(drn, weights_only=True).items()}
    )
    counts = np.zeros((19, 19), np.int64)
    table = dict(
        line.split()[:2]
        for line in (city / "tables" / f"{phase}_table.txt").read_text().splitlines()
    )
    for path in sorted(photos.iterdir()):
        photo = np.asarray(Image.open(path).convert("RGB")) / 255
        x = ((photo - CITYSCAPES_MEAN) / CITYSCAPES_STD).transpose(2, 0, 1)
        with torch.inference_mode():
            scores = net(torch.from_numpy(x[None].astype(np.float32)))[0].numpy()
        label = np.asarray(Image.open(city / "origin" / table[path.stem]))
        size = label.shape[::-1]
        large = [
            np.asarray(Image.fromarray(s).resize(size, Image.Resampling.BILINEAR)) for s in scores
        ]
        found, known = np.stack(large).argmax(0), label < 19
        np.add.at(counts, (label[known], found[known]), 1)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    exists = union > 0
    iou = counts.diagonal()[exists] / union[exists]
    return 100 * iou.mean(), 100 * counts.trace() / counts.sum()


# --------------------------------------------------------------------------------------------------
# Train, search, test


def test_training_is_judged_by_miou(city_teacher, city_supernet, read_lines):
    for folder in (city_teacher, city_supernet):
        (record,) = [r for r in read_lines(folder / "log.jsonl") if r["event"] == "eval"]
        assert record["measure"] == "mIoU"
        for metrics in record["metrics"].values():
            assert metrics["n"] == 5 and {"mIoU", "accu", "class_iou", "fid"} <= set(metrics)
            assert 0 < metrics["mIoU"] < 100
        score = np.mean([m["mIoU"] for m in record["metrics"].values()])
        assert (
            read_json(folder / "results.json")["best"]["score"]
            == record["score"]
            == pytest.approx(score)
        )
        assert (folder / "checkpoints" / "best_net_G.pth").is_file()


@pytest.mark.parametrize("criterion", ["mIoU", "accu"])
def test_a_search_by_miou_and_a_test_of_its_best(
    call, tmp_path, city, drn, city_flags, measure, city_supernet, criterion, read_lines
):
    supernet = city_supernet / "checkpoints" / "latest_net_G.pth"
    (tmp_path / "train2.meta").write_text("0.jpg\n3.jpg\n5.jpg\n")
    infer = (*city_flags, "--load_size", SIZE, "--crop_size", SIZE, "--batch_size", 2)
    held_out = ("--phase", "train", "--meta_path", tmp_path / "train2.meta", *measure("train"))
    size = ("--budget", BUDGET, "--population_size", 4, "--evolution_iters", 1)
    search = (*held_out, "--config_set", "channels-32", "--criterion", criterion, *size)
    call(
        "evolution_search.py",
        *infer,
        "--restore_G_path",
        supernet,
        *search,
        "--output_dir",
        tmp_path / "search",
    ).succeeded()
    records = read_lines(tmp_path / "search" / "evaluations.jsonl")
    assert all(r["n"] == 3 and {"mIoU", "accu"} <= set(r["metrics"]) for r in records)
    assert all("fid" not in r["metrics"] for r in records), "a second measure would double the time"
    best = read_json(tmp_path / "search" / "summary.json")["best"][0]
    assert best["metrics"][criterion] == max(r["metrics"][criterion] for r in records)
    assert len({r["metrics"][criterion] for r in records}) > 1

    test = ("test.py", *infer, "--restore_G_path", supernet, "--config_str", best["config_str"])
    call(*test, *held_out, "--results_dir", tmp_path / "held_out").succeeded()
    results = read_json(tmp_path / "held_out" / "results.json")
    expected = plain_figures(tmp_path / "held_out" / "images" / "fake_B", city, "train", drn)
    found = results["metrics"]["mIoU"], results["metrics"]["accu"]
    assert found == pytest.approx(expected, rel=1e-6)
    # The search's batches are not the test's: a pixel on the edge of two classes may fall to the
    # other.
    assert results["metrics"][criterion] == pytest.approx(best["metrics"][criterion], rel=1e-3)


def test_a_fake_gpu_measures_the_same(call, gpu, tmp_path, city_flags, measure, city_teacher):
    checkpoint = city_teacher / "checkpoints" / "latest_net_G.pth"
    flags = (*city_flags, "--load_size", SIZE, "--crop_size", SIZE, "--restore_G_path", checkpoint)
    call("test.py", *flags, *measure(), "--results_dir", tmp_path / "cpu").succeeded()
    gpu("test.py", *flags, *measure(), "--gpu_ids", 0, "--results_dir", tmp_path / "gpu")
    cpu, cuda = (read_json(tmp_path / d / "results.json")["metrics"] for d in ("cpu", "gpu"))
    for name in ("mIoU", "accu"):
        assert cuda[name] == pytest.approx(cpu[name], rel=1e-3)


def test_a_test_measures_val(call, tmp_path, city, drn, city_flags, measure, city_teacher):
    checkpoint = city_teacher / "checkpoints" / "latest_net_G.pth"
    flags = (*city_flags, "--load_size", SIZE, "--crop_size", SIZE, "--restore_G_path", checkpoint)
    outcome = call("test.py", *flags, *measure(), "--results_dir", tmp_path / "with").succeeded()
    assert "mIoU" in outcome.stdout
    results = read_json(tmp_path / "with" / "results.json")
    expected = plain_figures(tmp_path / "with" / "images" / "fake_B", city, "val", drn)
    assert (results["metrics"]["mIoU"], results["metrics"]["accu"]) == pytest.approx(
        expected, rel=1e-6
    )
    logged = read_json(city_teacher / "results.json")["latest"]["metrics"]["G"]["mIoU"]
    assert results["metrics"]["mIoU"] == pytest.approx(logged, rel=1e-3)
    assert "mIoU" in (tmp_path / "with" / "index.html").read_text()
    # Nothing asks for it, or the user does not want it: neither weights nor labels are looked for.
    for name, more in (("without", ()), ("unwanted", ("--drn_path", "nowhere.pth", "--no_mIoU"))):
        call("test.py", *flags, *more, "--results_dir", tmp_path / name).succeeded()
        assert "mIoU" not in read_json(tmp_path / name / "results.json")["metrics"]


def test_the_criterion_alone_asks_for_miou(call, tmp_path, city_flags, city_supernet):
    """The published scripts name no weights beside it: the default path is looked for, and said to
    be missing."""
    flags = (*city_flags, "--restore_G_path", city_supernet / "checkpoints" / "latest_net_G.pth")
    search = ("--config_set", "channels-32", "--criterion", "mIoU", "--output_dir", tmp_path / "s")
    outcome = call("evolution_search.py", *flags, "--load_size", SIZE, "--crop_size", SIZE, *search)
    assert (
        outcome.returncode == 2
        and "--table_path datasets/val_table.txt" in outcome.stderr.splitlines()[-1]
    )


# --------------------------------------------------------------------------------------------------
# What is missing is said, and where it belongs


@pytest.mark.parametrize("script", ["train.py", "evolution_search.py", "test.py"])
@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--drn_path", ("no such file", "drn-d-105_ms_cityscapes.pth", "put that file there")),
        ("--table_path", ("no such file", "<gtFine trainIds png>")),
        ("--cityscapes_path", ("no such folder", "gtFine")),
        ("another table", ("image '4' is not in the table", "--table_path")),
        ("labels", ("ulm_000000_000019_gtFine_trainIds.png", "--cityscapes_path")),
    ],
)
def test_what_miou_needs_is_named(
    call, tmp_path, city, training, city_flags, measure, city_supernet, script, flag, words
):
    nowhere, more = tmp_path / "nowhere", ()
    if flag.startswith("--"):
        more = (flag, nowhere)
        words = (*words, f"{nowhere}" if flag == "--drn_path" else f"{flag} {nowhere}")
    elif flag == "labels":
        nowhere.mkdir()
        more = ("--cityscapes_path", nowhere)
    else:
        table = (city / "tables" / "val_table.txt").read_text().splitlines()
        (tmp_path / "table.txt").write_text("\n".join(table[:4]) + "\n")
        more = ("--table_path", tmp_path / "table.txt")
    infer = (*city_flags, "--load_size", SIZE, "--crop_size", SIZE, *measure())
    supernet = ("--restore_G_path", city_supernet / "checkpoints" / "latest_net_G.pth")
    flags = {
        "train.py": (*training, "--ngf", 8, "--log_dir", tmp_path / "out"),
        "test.py": (*infer, *supernet, "--results_dir", tmp_path / "out"),
        "evolution_search.py": (
            *(*infer, *supernet, "--config_set", "channels-32", "--criterion", "mIoU"),
            *("--output_dir", tmp_path / "out"),
        ),
    }
    outcome = call(script, *flags[script], *more)
    assert outcome.returncode == 2 and "Traceback" not in outcome.stderr
    line = outcome.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
