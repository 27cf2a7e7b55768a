"""Grey images: one channel in, out or both, in either direction, from the teacher to the test."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from data.images import channel_tiles, read_image
from metrics.frechet import Statistics, frechet_distance
from metrics.inception import load_inception

SIZE = 32
SPACE = ("--config_set", "8,4")
CASES = [(1, 1, "AtoB"), (1, 3, "BtoA"), (3, 1, "AtoB")]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Coloured pairs whose halves differ in every channel: what is grey in a test is made so by the
    flags."""
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for phase, count in (("train", 6), ("val", 5)):
        (root / phase).mkdir()
        for i in range(count):
            small = Image.fromarray(rng.integers(0, 256, (4, 8, 3), dtype=np.uint8))
            small.resize((2 * SIZE, SIZE), Image.Resampling.BICUBIC).save(root / phase / f"{i}.png")
    return root


@pytest.mark.parametrize(("input_nc", "output_nc", "direction"), CASES, ids=lambda v: str(v))
def test_from_the_teacher_to_the_test(call, tmp_path, pairs, input_nc, output_nc, direction):
    channels = ("--input_nc", input_nc, "--output_nc", output_nc)
    machine = ("--num_threads", 1, "--gpu_ids", -1, "--fid_features", "random", "--fid_dims", 64)
    data = ("--dataroot", pairs, "--direction", direction, *machine, *channels)
    steps = ("--batch_size", 4, "--ndf", 8, "--nepochs", 1, "--nepochs_decay", 0)
    train = (*data, "--load_size", SIZE + 4, "--crop_size", SIZE, *steps)
    infer = (*data, "--load_size", SIZE, "--crop_size", SIZE, "--batch_size", 4)

    teacher = ("--netG", "resnet_9blocks", "--ngf", 8, "--log_dir", tmp_path / "teacher")
    call("train.py", *train, *teacher).succeeded()
    checkpoint = tmp_path / "teacher" / "checkpoints" / "latest_net_G.pth"
    state = torch.load(checkpoint, weights_only=True)
    assert (
        state["model.1.weight"].shape[1] == input_nc
        and state["model.26.weight"].shape[0] == output_nc
    )
    student = ("--restore_teacher_G_path", checkpoint, "--student_ngf", 8, *SPACE)
    call("train_supernet.py", *train, *student, "--log_dir", tmp_path / "supernet").succeeded()
    supernet = tmp_path / "supernet" / "checkpoints" / "latest_net_G.pth"
    search = ("--budget", 1e9, "--population_size", 2, "--evolution_iters", 0)
    search += ("--restore_G_path", supernet, *SPACE, "--output_dir", tmp_path / "search")
    call("evolution_search.py", *infer, *search).succeeded()
    best = json.loads((tmp_path / "search" / "summary.json").read_text())["best"][0]
    # Export and test read the channels off the checkpoint; flags that agree do no harm.
    config, small = ("--config_str", best["config_str"]), tmp_path / "small.pth"
    call("export.py", "--input_path", supernet, "--output_path", small, *config).succeeded()
    assert torch.load(small, weights_only=True)["model.26.weight"].shape[0] == output_nc
    call(
        "test.py", *infer, "--restore_G_path", small, "--results_dir", tmp_path / "test"
    ).succeeded()

    results = json.loads((tmp_path / "test" / "results.json").read_text())
    assert (results["macs"], results["params"]) == (best["macs"], best["params"])
    assert results["metrics"]["fid"] == pytest.approx(best["metrics"]["fid"], rel=1e-4)
    for side, planes in (("real_A", input_nc), ("fake_B", output_nc), ("real_B", output_nc)):
        with Image.open(tmp_path / "test" / "images" / side / "0.png") as image:
            assert image.mode == ("L" if planes == 1 else "RGB")
    pair = Image.open(pairs / "val" / "0.png")
    left, right = (pair.crop((x, 0, x + SIZE, SIZE)) for x in (0, SIZE))
    for side, half in zip(
        "AB", (left, right) if direction == "AtoB" else (right, left), strict=True
    ):
        with Image.open(tmp_path / "test" / "images" / f"real_{side}" / "0.png") as image:
            expected = np.asarray(half.convert(image.mode)).astype(int)
            assert abs(np.asarray(image).astype(int) - expected).max() <= 1, side

    # FID of grey images: the feature network sees them with three equal channels.
    net = load_inception(64, None, "random", torch.device("cpu"))

    def features(side: str) -> torch.Tensor:
        paths = sorted((tmp_path / "test" / "images" / side).iterdir())
        arrays = [np.asarray(read_image(path)).transpose(2, 0, 1).copy() for path in paths]
        return net(torch.from_numpy(np.stack(arrays)))

    expected = frechet_distance(features("fake_B"), Statistics.of_features(features("real_B")))
    assert results["metrics"]["fid"] == pytest.approx(
        expected, rel=0.02
    )  # written images lose up to 1 of 255


def test_a_teacher_of_other_channels_is_refused(call, tmp_path, teacher, training_flags):
    flags = (
        *training_flags,
        "--restore_teacher_G_path",
        teacher / "checkpoints" / "latest_net_G.pth",
    )
    outcome = call("distill.py", *flags, "--input_nc", 1, "--student_ngf", 8, "--log_dir", tmp_path)
    assert outcome.returncode == 2 and "--input_nc" in outcome.stderr.splitlines()[-1]


def test_arrays_of_five_channels_from_the_teacher_to_the_test(call, tmp_path):
    """Inputs of 16 bits in ``.npy``, targets as pictures, in two folders."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    for phase, count in (("train", 4), ("val", 3)):
        for side in "AB":
            (root / f"{phase}{side}").mkdir(parents=True)
        for i in range(count):
            deep = rng.integers(0, 65536, (SIZE, SIZE, 5)).astype(np.uint16)
            np.save(root / f"{phase}A" / f"{i}.npy", deep)
            picture = Image.fromarray((deep[:, :, 1:4] // 257).astype(np.uint8))
            picture.save(root / f"{phase}B" / f"{i}.png")
    data = ("--dataroot", root, "--input_nc", 5, "--num_threads", 1, "--gpu_ids", -1)
    data += ("--load_size", SIZE, "--crop_size", SIZE, "--batch_size", 2)
    measure = ("--fid_features", "random", "--fid_dims", 64)
    call(
        "scripts/check_dataset.py", root, "--input_nc", 5, "--load_size", SIZE, "--crop_size", SIZE
    ).succeeded()
    steps = (
        "--netG",
        "resnet_9blocks",
        "--ngf",
        8,
        "--ndf",
        8,
        "--nepochs",
        1,
        "--nepochs_decay",
        0,
    )
    call("train.py", *data, *measure, *steps, "--log_dir", tmp_path / "run").succeeded()
    checkpoint = tmp_path / "run" / "checkpoints" / "latest_net_G.pth"
    assert torch.load(checkpoint, weights_only=True)["model.1.weight"].shape[1] == 5
    test = ("--restore_G_path", checkpoint, "--results_dir", tmp_path / "test")
    call("test.py", *data, *measure, *test).succeeded()
    with Image.open(tmp_path / "test" / "images" / "real_A" / "0.png") as image:
        stored = (np.load(root / "valA" / "0.npy") // 257).astype(np.uint8)
        shown = channel_tiles(stored).astype(int)
        assert abs(np.asarray(image).astype(int) - shown).max() <= 1
    results = json.loads((tmp_path / "test" / "results.json").read_text())
    assert results["metrics"]["fid"] > 0
    # Inputs and targets the other way round: outputs of five channels are measured by three.
    turned = ("--direction", "BtoA", "--input_nc", 3, "--output_nc", 5)
    call("train.py", *data, *turned, *measure, *steps, "--log_dir", tmp_path / "turned").succeeded()
