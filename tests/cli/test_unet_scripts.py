"""U-Nets through the scripts: as teachers, students and supernets; and what is refused."""

import json

import pytest
import torch
from PIL import Image

from models.cost import config_cost
from models.generators import GeneratorSpec
from models.weights import load_generator, save_network
from prepare.builtin import write_builtin_dataset

SIDE = 128
pytestmark = pytest.mark.usefixtures("converted_once")


@pytest.fixture(scope="session")
def wide_data(shared):
    """4 pairs to train on, 2 to validate, large enough for a U-Net of seven levels."""
    sizes = dict(train=4, val=2, size=SIDE, workers=0, progress=False)
    return shared("wide_data", lambda path: write_builtin_dataset(path, **sizes))


@pytest.fixture(scope="session")
def images(wide_data) -> tuple[object, ...]:
    flags = ("--dataroot", wide_data, "--direction", "BtoA", "--num_threads", 1, "--gpu_ids", -1)
    flags += ("--fid_features", "random", "--fid_dims", 64, "--batch_size", 2)
    return (*flags, "--load_size", SIDE, "--crop_size", SIDE)


@pytest.fixture(scope="session")
def learning(images) -> tuple[object, ...]:
    """Two steps."""
    length = ("--nepochs", 1, "--nepochs_decay", 0, "--save_epoch_freq", 1, "--print_freq", 1)
    return (*images, *length, "--ndf", 4)


@pytest.fixture(scope="session")
def unet(trained, learning):
    """The checkpoint of a U-Net with batch norm and dropout."""
    flags = ("--netG", "unet_128", "--ngf", 4, "--norm", "batch", "--dropout_rate", 0.5)
    return trained("unet", "train.py", *learning, *flags) / "checkpoints" / "latest_net_G.pth"


def test_a_teacher_is_trained_and_says_what_it_is(unet):
    _, spec = load_generator(unet, "")
    assert spec == GeneratorSpec("unet_128", 4, norm="batch", dropout_rate=0.5)
    assert spec.trained_on == {"direction": "BtoA", "size": [SIDE, SIDE]}


def test_it_is_measured_and_timed(call, images, unet, tmp_path):
    """From the bare state dict too, of which nothing but the weights is known."""
    bare = tmp_path / "bare" / "latest_net_G.pth"
    bare.parent.mkdir()
    torch.save(dict(torch.load(unet, weights_only=True)), bare)
    flags = (*images, "--restore_G_path", bare, "--compare", unet, "--times", 1)
    call("test.py", *flags, "--results_dir", tmp_path / "test", "--need_profile").succeeded()
    results = json.loads((tmp_path / "test" / "results.json").read_text())
    first, second = results["models"]
    assert first["name"] == second["name"] == "unet_128 ngf 4"
    assert first["params"] == sum(p.numel() for p in load_generator(unet, "")[0].parameters())
    assert first["macs"] == 24_264_704 and first["metrics"] == second["metrics"]
    forms = ("--backends", "eager", "fused", "onnxruntime")
    done = call("latency.py", *flags[:-4], "--times", 1, *forms, "--results_dir", tmp_path / "time")
    assert "unet_128 ngf 4" in done.succeeded().stdout


def test_it_is_exported(call, unet, tmp_path):
    flags = ("--input_path", unet, "--output_path", tmp_path / "net", "--format", "pth", "onnx")
    call("export.py", *flags).succeeded()
    again, spec = load_generator(tmp_path / "net.pth", "")
    x = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        assert spec.netG == "unet_128" and torch.equal(
            again.eval()(x), load_generator(unet, "")[0].eval()(x)
        )
    assert (tmp_path / "net.onnx").is_file()


def test_it_teaches_a_resnet_by_its_images(call, learning, unet, tmp_path):
    online = ("--distiller", "online", "--lambda_distill", 0, "--student_ngf", 4)
    trained_one = ("--restore_teacher_G_path", unet, "--teacher_freq", 0)
    features = ("--lambda_style", 0, "--lambda_feature", 0)
    flags = (*learning, *online, *trained_one, *features, "--log_dir", tmp_path / "student")
    call("distill.py", *flags).succeeded()
    folder = tmp_path / "student" / "checkpoints"
    assert load_generator(folder / "latest_net_G.pth", "")[1].netG == "mobile_resnet_9blocks"
    # A new teacher that trains along.
    new = ("--teacher_netG", "unet_128", "--teacher_ngf", 4, "--norm", "batch")
    flags = (*learning, *online, *new, "--log_dir", tmp_path / "both")
    call("distill.py", *flags).succeeded()
    folder = tmp_path / "both" / "checkpoints"
    assert load_generator(folder / "latest_net_T.pth", "")[1].netG == "unet_128"


def test_it_teaches_a_unet_layer_by_layer(call, learning, unet, tmp_path):
    flags = ("--restore_teacher_G_path", unet, "--student_netG", "unet_128", "--student_ngf", 2)
    flags = (*learning, *flags, "--norm", "batch", "--log_dir", tmp_path)
    call("distill.py", *flags).succeeded()
    log = map(json.loads, (tmp_path / "log.jsonl").open())
    losses = next(line["losses"] for line in log if "losses" in line)
    assert all(losses[f"G_distill{tap}"] > 0 for tap in range(4))
    adaptor = torch.load(tmp_path / "checkpoints" / "latest_net_A-2.pth", weights_only=True)
    assert adaptor["weight"].shape == (2 * 8 * 4, 2 * 8 * 2, 1, 1)


# --------------------------------------------------------------------------------------------------
# The supernet, from its training to the exported subnet

SPACE = ("--config_set", "4,2;4,2;4;4,2;4;4;4,2")
BEST = ("--criterion", "fid", "--budget", 1e9)


@pytest.fixture(scope="session")
def super_flags(learning, unet) -> tuple[object, ...]:
    network = ("--student_netG", "super_unet_128", "--student_ngf", 4, "--norm", "batch")
    return (*learning, "--restore_teacher_G_path", unet, *network)


@pytest.fixture(scope="session")
def super_unet(trained, super_flags):
    """The checkpoint of a supernet with batch norm, distilled layer by layer."""
    folder = trained("super_unet", "train_supernet.py", *super_flags, *SPACE, "--sandwich", 1)
    return folder / "checkpoints" / "latest_net_G.pth"


@pytest.fixture(scope="session")
def searched(trained, images, super_unet):
    flags = (*images, "--restore_G_path", super_unet, *SPACE, *BEST)
    size = ("--population_size", 3, "--evolution_iters", 1)
    return trained("unets", "evolution_search.py", *flags, *size, folder="--output_dir")


def test_a_supernet_is_trained_and_searched(super_unet, searched):
    _, spec = load_generator(super_unet, "")
    assert spec == GeneratorSpec("super_unet_128", 4, norm="batch")
    lines = [json.loads(line) for line in (searched / "evaluations.jsonl").open()]
    assert len(lines) >= 4
    for line in lines:
        config = spec.parse(line["config_str"])
        macs, params = config_cost(config, spec.architecture, "published", SIDE, SIDE)
        assert (line["macs"], line["params"]) == (macs, params)
        assert line["measured_with"]["calibration"]
    # What a search measures is the calibrated subnet.
    first = spec.parse(lines[0]["config_str"])
    assert spec.needs_statistics(first)


def test_the_subnet_that_was_measured_is_exported(call, images, super_unet, searched, tmp_path):
    """Calibrated on the same images, it has the measured FID; uncalibrated, a worse one."""
    best = json.loads((searched / "summary.json").read_text())["best"][0]
    source = ("--input_path", super_unet, "--config_str", best["config_str"])
    data = (*images[:4], "--load_size", SIDE, "--crop_size", SIDE)
    files = ("--output_path", tmp_path / "net", "--format", "pth")
    call("export.py", *source, *data, *files).succeeded()
    loaded, spec = load_generator(tmp_path / "net.pth", "")
    assert (spec.netG, spec.config_str) == ("sub_unet_128", best["config_str"])
    net, found = load_generator(super_unet, "")
    uncalibrated = found.kind.extract(net, found.parse(best["config_str"]))
    save_network(uncalibrated, tmp_path / "raw.pth", spec)
    flags = (*images, "--restore_G_path", tmp_path / "net.pth", "--compare", tmp_path / "raw.pth")
    call("test.py", *flags, "--results_dir", tmp_path / "test").succeeded()
    right, wrong = json.loads((tmp_path / "test" / "results.json").read_text())["models"]
    assert right["metrics"]["fid"] == pytest.approx(best["metrics"]["fid"], rel=1e-4)
    assert wrong["metrics"]["fid"] > 1.05 * right["metrics"]["fid"]
    x = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        assert not torch.allclose(loaded.eval()(x), uncalibrated.eval()(x), atol=1e-3)


def test_a_supernet_learns_online_and_one_subnet_is_tuned(call, super_flags, super_unet, tmp_path):
    online = ("--distiller", "online", "--teacher_freq", 0, "--tap_loss", "channel")
    online += ("--lambda_style", 0, "--lambda_feature", 0)
    flags = (*super_flags, *SPACE, *online, "--log_dir", tmp_path / "online")
    call("train_supernet.py", *flags).succeeded()
    start = ("--restore_student_G_path", super_unet, "--config_str", "4_2_4_2_4_4_2")
    call("train_supernet.py", *super_flags, *start, "--log_dir", tmp_path / "tuned").succeeded()
    tuned = tmp_path / "tuned" / "checkpoints" / "latest_net_G.pth"
    # It was trained alone, so its statistics are right: no images are needed.
    call("export.py", "--input_path", tuned, "--output_path", tmp_path / "net.pth").succeeded()
    assert load_generator(tmp_path / "net.pth", "")[1].config_str == "4_2_4_2_4_4_2"


# --------------------------------------------------------------------------------------------------
# Refusals


def test_activations_of_another_family_are_not_compared(call, learning, unet, tmp_path):
    out = tmp_path / "out"
    flags = (*learning, "--restore_teacher_G_path", unet, "--student_ngf", 4, "--log_dir", out)
    for more in ((), ("--distiller", "online"), ("--distiller", "online", "--tap_loss", "channel")):
        outcome = call("distill.py", *flags, *more)
        assert outcome.returncode == 2 and not out.exists()
        for word in ("unet_128", "mobile_resnet_9blocks", "--lambda_distill 0", "online"):
            assert word in outcome.stderr


@pytest.mark.parametrize("script", ["train.py", "distill.py", "test.py", "latency.py"])
def test_sizes_that_do_not_fit(call, images, learning, unet, script, tmp_path):
    small = ("--load_size", 100, "--crop_size", 96)
    out = tmp_path / "out"
    new = (*learning, *small, "--netG", "unet_128", "--ngf", 2, "--log_dir", out)
    teacher = ("--restore_teacher_G_path", unet, "--student_ngf", 4, "--log_dir", out)
    tested = (*images, *small, "--restore_G_path", unet, "--results_dir", out)
    outcome = {
        "train.py": lambda: call("train.py", *new),
        "distill.py": lambda: call("distill.py", *learning, *small, *teacher),
        "test.py": lambda: call("test.py", *tested),
        "latency.py": lambda: call("latency.py", *tested),
    }[script]()
    assert outcome.returncode == 2 and not list(out.rglob("*.pth"))
    for word in ("96x96", "128x128", "multiples of 128", "--crop_size"):
        assert word in outcome.stderr


def test_images_that_keep_their_own_size_are_padded(call, images, unet, wide_data, tmp_path):
    flags = (*images, "--restore_G_path", unet, "--preprocess", "scale_width", "--load_size", 64)
    call("test.py", *flags, "--results_dir", tmp_path / "test").succeeded()
    made = list((tmp_path / "test").glob("images/*/*.png"))
    assert made and {Image.open(path).size for path in made} == {(64, 64)}
    call("latency.py", *flags, "--times", 2, "--results_dir", tmp_path / "latency").succeeded()
    (timed,) = json.loads((tmp_path / "latency" / "latency.json").read_text())["all"]
    assert (timed["height"], timed["width"]) == (128, 128)


def test_statistics_need_images(call, images, super_unet, tmp_path):
    source = ("--input_path", super_unet, "--config_str", "_".join("4" * 7))
    outcome = call("export.py", *source, "--output_path", tmp_path / "net.pth")
    assert outcome.returncode == 2 and "--dataroot" in outcome.stderr
    config = ("--config_str", "_".join("4" * 7), "--netG", "super_unet_128")
    flags = (*images, "--restore_G_path", super_unet, *config, "--results_dir", tmp_path / "out")
    outcome = call("test.py", *flags)
    assert outcome.returncode == 2 and "export.py" in outcome.stderr
    assert not list(tmp_path.rglob("*.pth"))


def test_flags_that_a_supernet_of_unets_refuses(call, super_flags, unet, tmp_path):
    flags = (*super_flags, "--log_dir", tmp_path / "out")
    for more, words in (
        (("--config_set", "4,2;4,2"), ("2 lists", "one for all genes")),
        (("--config_set", "4;4;4;4;4;4;4;2"), ("8 lists", "or 7: level1")),
        ((*SPACE, "--config_per_image"), ("--config_per_image", "--norm batch")),
        (("--config_str", "4_4_4_4_4_4_4_4"), ("8 numbers", "needs 7")),
        (("--config_str", "4_4_4_4_4_4_8"), ("level7=8",)),
    ):
        outcome = call("train_supernet.py", *flags, *more)
        assert outcome.returncode == 2 and not list(tmp_path.rglob("*.pth"))
        assert all(word in outcome.stderr for word in words), outcome.stderr


def test_a_unet_is_not_pruned(call, learning, unet, tmp_path):
    flags = ("--restore_teacher_G_path", unet, "--restore_pretrained_G_path", unet)
    flags += ("--student_netG", "unet_128", "--student_ngf", 2, "--norm", "batch")
    outcome = call("distill.py", *learning, *flags, "--log_dir", tmp_path)
    assert outcome.returncode == 2 and "--restore_pretrained_G_path" in outcome.stderr


def test_images_are_not_read_for_a_network_without_need(call, unet, wide_data, tmp_path):
    flags = ("--input_path", unet, "--output_path", tmp_path / "net.pth", "--dataroot", wide_data)
    assert "--dataroot: no effect" in call("export.py", *flags).succeeded().stdout
