"""What users get wrong: every script ends with code 2 and one line that names the file or the flag,
and touches nothing."""

import pickle
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.generators import GeneratorSpec

SIZE = 32
NARROWEST = "16_16_16_16_16_16_16_16"
LARGEST = "32_32_32_32_32_32_32_32"

# --------------------------------------------------------------------------------------------------
# Refusing


def the_one_line(outcome) -> str:
    """The message of a script that refused: its last line on stderr, after progress bars at
    most."""
    assert outcome.returncode == 2, outcome
    assert "Traceback" not in outcome.stdout + outcome.stderr
    assert "error" not in outcome.stdout.lower()
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    messages = [line for line in lines if re.match(r"(\w+\.py: )?error: ", line)]
    assert messages == lines[-1:], outcome.stderr
    assert messages[0].isprintable(), "control characters"
    assert all(re.search(r"\d+/\d+ \[", line) for line in lines[:-1]), "more than bars and one line"
    return messages[0]


@dataclass
class World:
    """What the cases start from, and the folder that they may write to."""

    call: object
    snapshot: object
    tmp: Path
    dataset: Path
    flags: dict[str, tuple]  # script -> all it needs, without where it writes to
    teacher: Path
    supernet: Path
    narrow: Path
    watched: tuple[Path, ...]

    @property
    def out(self) -> Path:
        return self.tmp / "out"

    def refuse(
        self, script: str, *args: object, words: tuple[str, ...], defaults: bool = True
    ) -> str:
        """Run a script that must refuse with ``words`` in its message and leave every file as it
        was."""
        where = {
            "evolution_search.py": ("--output_dir", self.out),
            "search.py": ("--output_path", self.out / "all.jsonl"),
            "export.py": ("--output_path", self.out / "net_G.pth"),
            "get_real_stat.py": ("--output_path", self.out / "real.npz"),
            "test.py": ("--results_dir", self.out),
            "latency.py": ("--results_dir", self.out),
        }
        written = {"--output_dir", "--output_path", "--results_dir", "--log_dir"} & set(
            map(str, args)
        )
        start = () if written else where.get(script, ("--log_dir", self.out))
        before = self.snapshot(*self.watched, self.tmp)
        outcome = self.call(script, *(self.flags[script] if defaults else ()), *start, *args)
        after = self.snapshot(*self.watched, self.tmp)
        line = the_one_line(outcome)
        for word in words:
            assert str(word) in line
        assert {k: after.get(k) for k in before} == before, "files were touched"
        assert not [k for k in after if ".tmp" in Path(k).name], "left behind"
        return line


@pytest.fixture
def world(
    call,
    snapshot,
    tmp_path,
    dataset,
    inference_flags,
    data_flags,
    teacher_flags,
    student_flags,
    search_flags,
    teacher,
    supernet_pth,
    narrow_pth,
) -> World:
    test = (*inference_flags, "--restore_G_path", narrow_pth)
    flags = {
        "train.py": teacher_flags,
        "distill.py": (*student_flags, "--student_ngf", 8),
        "train_supernet.py": (*student_flags, "--restore_student_G_path", supernet_pth),
        "evolution_search.py": (*search_flags, "--population_size", 2, "--evolution_iters", 1),
        "search.py": search_flags,
        "export.py": ("--input_path", supernet_pth),
        "test.py": test,
        "latency.py": test,
        "get_real_stat.py": data_flags,
    }
    checkpoint = teacher / "checkpoints" / "latest_net_G.pth"
    return World(
        call,
        snapshot,
        tmp_path,
        dataset,
        flags,
        checkpoint,
        supernet_pth,
        narrow_pth,
        (dataset, teacher, supernet_pth.parent, narrow_pth.parent),
    )


def write_images(folder: Path, *sizes: tuple[int, int]) -> None:
    """Noise, (width, height) each: 0.png, 1.png ..."""
    folder.mkdir(parents=True)
    for number, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


PAIR = (2 * SIZE, SIZE)


# --------------------------------------------------------------------------------------------------
# Data


@pytest.mark.parametrize("script", ["train.py", "test.py", "get_real_stat.py", "search.py"])
def test_missing_dataroot(world, script):
    root = world.tmp / "nowhere"
    words = ("--dataroot", str(root), "no such folder")
    extra = ("--budget", 1e9) if script == "search.py" else ()
    world.refuse(script, "--dataroot", root, *extra, words=words)


def test_empty_dataroot(world):
    root = world.tmp / "data"
    root.mkdir()
    world.refuse(
        "train.py", "--dataroot", root, words=("--dataroot", str(root), "no folder of images")
    )
    (root / "train").mkdir()
    words = ("--dataroot", str(root / "train"), "no images")
    world.refuse("train.py", "--dataroot", root, words=words)


def test_missing_phase(world):
    """The phases that exist are named."""
    words = ("--phase tests", str(world.dataset), "it has train, val")
    world.refuse("test.py", "--phase", "tests", words=words)


def test_no_images_to_validate_on(world):
    write_images(world.tmp / "data" / "train", PAIR)
    words = ("--dataroot", "'val'", "--no_fid")
    world.refuse("train.py", "--dataroot", world.tmp / "data", words=words)


@pytest.mark.parametrize("script", ["train.py", "test.py", "get_real_stat.py"])
@pytest.mark.parametrize(
    ("size", "why"),
    [((63, 32), "odd"), ((32, 32), "not wider than high"), ((32, 64), "not wider than high")],
)
def test_images_that_are_no_pairs(world, script, size, why):
    phase = "train" if script == "train.py" else "val"
    folder = world.tmp / "data" / phase
    write_images(folder, PAIR, PAIR, size)
    no_fid = () if script == "get_real_stat.py" else ("--no_fid",)
    words = (str(folder / "2.png"), f"{size[0]}x{size[1]}", why)
    world.refuse(script, "--dataroot", world.tmp / "data", *no_fid, words=words)


def test_two_folders_that_do_not_match(world):
    """An image without a partner, and a partner of another size."""
    root = world.tmp / "data"
    write_images(root / "trainA", *[(SIZE, SIZE)] * 3)
    write_images(root / "trainB", *[(SIZE, SIZE)] * 2)
    words = ("--dataroot", str(root), "1 images of trainA", "trainB", "first 2")
    world.refuse("train.py", "--dataroot", root, "--no_fid", words=words)
    Image.new("RGB", (SIZE + 4, SIZE)).save(root / "trainB" / "2.png")
    words = (str(root / "trainA" / "2.png"), "32x32", str(root / "trainB" / "2.png"), "36x32")
    world.refuse("train.py", "--dataroot", root, "--no_fid", words=words)


def test_two_folders_of_which_the_second_holds_more(world):
    """Whether it is refused or not, it must not pass in silence: the pairs may be others than the
    user thinks."""
    root = world.tmp / "data"
    write_images(root / "trainA", *[(SIZE, SIZE)] * 2)
    write_images(root / "trainB", *[(SIZE, SIZE)] * 3)
    flags = (*world.flags["train.py"], "--dataroot", root, "--log_dir", world.out, "--no_fid")
    outcome = world.call("train.py", *flags)
    assert "trainB" in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("script", ["train.py", "test.py", "get_real_stat.py"])
def test_a_truncated_image(world, script):
    root = world.tmp / "data"
    shutil.copytree(world.dataset, root)
    for phase in ("train", "val"):
        path = root / phase / "00003.png"
        path.write_bytes(path.read_bytes()[:-500])
    no_fid = () if script == "get_real_stat.py" else ("--no_fid",)
    world.refuse(script, "--dataroot", root, *no_fid, words=("00003.png", "truncated"))


@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_a_text_file_named_jpg(world, script):
    root = world.tmp / "data"
    shutil.copytree(world.dataset, root)
    for phase in ("train", "val"):
        (root / phase / "00002b.jpg").write_text("no picture")
    world.refuse(script, "--dataroot", root, "--no_fid", words=("00002b.jpg", "not an image"))


def test_a_meta_path_that_is_wrong(world):
    missing = world.tmp / "names.txt"
    world.refuse(
        "train.py", "--meta_path", missing, words=("--meta_path", str(missing), "no such file")
    )
    missing.write_text("00000.png\nnothing.png\n")
    words = ("--meta_path", str(missing), "1 of 2", "nothing.png")
    world.refuse("train.py", "--meta_path", missing, words=words)


# --------------------------------------------------------------------------------------------------
# Configurations and budgets

WRONG_CONFIGS = {
    "16_16_16": "3 numbers",
    "16_16_16_16_16_16_16_16_16": "9 numbers",
    "0_16_16_16_16_16_16_16": "positive",
    "16_16_16_16_16_16_16_-8": "positive",
    "16_16_x_16_16_16_16_16": "not whole numbers",
    "16_16.5_16_16_16_16_16_16": "not whole numbers",
    "": "not whole numbers",
    "16_16_16_16_16_16_16_40": "wider than the supernet (ngf 32): up2=40",
    "64_16_16_64_16_16_16_16": "wider than the supernet (ngf 32): stem=64, inner0-2=64",
}


@pytest.mark.parametrize("config", WRONG_CONFIGS)
@pytest.mark.parametrize("script", ["export.py", "train_supernet.py"])
def test_wrong_config_strings(world, script, config):
    words = (f"'{config}'", "config", WRONG_CONFIGS[config])
    world.refuse(script, "--config_str", config, words=words)
    assert not world.out.exists() or not list(world.out.iterdir())


def test_a_config_string_that_starts_with_a_dash(world):
    world.refuse("export.py", "--config_str", "-8_16_16_16_16_16_16_16", words=("--config_str",))
    words = ("'-8_16_16_16_16_16_16_16'", "positive")
    world.refuse("export.py", "--config_str=-8_16_16_16_16_16_16_16", words=words)


def test_a_config_outside_the_search_space(world):
    words = (
        "'16_16_8_16_16_16_16_16'",
        "--config_set channels-32",
        "trunk 8 is none of 32, 24, 16",
    )
    flags = ("--config_set", "channels-32", "--config_str", "16_16_8_16_16_16_16_16")
    world.refuse("train_supernet.py", *flags, words=words)


def test_a_search_space_wider_than_the_supernet(world):
    words = ("--config_set channels-48 is wider than the supernet (ngf 32)", "stem=48, down1=48")
    world.refuse("search.py", "--config_set", "channels-48", words=words)
    world.refuse("train_supernet.py", "--config_set", "channels-48", words=words)
    words = ("--config_set 16;16;16;40,8;16;16;16;16", ": inner0-2=40;", "above 32")
    words += ("--student_ngf 40",)
    typed = ("--config_set", "16;16;16;8,40;16;16;16;16")
    for script in ("search.py", "evolution_search.py", "train_supernet.py"):
        world.refuse(script, *typed, words=words)


def test_search_spaces_that_are_none(world):
    path = world.tmp / "space.txt"
    path.write_text("24,16\n" * 3)
    cases = {
        "24,16x": ("'16x' is not a whole number", "24,20,16"),
        "24,16,24": ("24 is listed twice",),
        "24;16": ("2 lists", "stem, down1, trunk"),
        path: (path.name, "3 lists"),
        world.tmp / "none.txt": ("none.txt", "channels-32", "file"),
    }
    for script in ("search.py", "evolution_search.py", "train_supernet.py"):
        for space, words in cases.items():
            world.refuse(script, "--config_set", space, words=("--config_set", *words))


@pytest.mark.parametrize("script", ["evolution_search.py", "search.py"])
def test_a_budget_that_no_subnet_meets(world, script):
    """The smallest and the largest possible are named."""
    words = ("--budget", "22,196,224", NARROWEST, "77,422,592", LARGEST, "32x32")
    world.refuse(script, "--budget", 2.2e7, words=words)
    assert not [p for p in world.tmp.rglob("*") if p.is_file()]


def test_a_budget_below_the_largest_space_is_answered_at_once(world):
    """5,764,801 configurations."""
    path = world.tmp / "wide.pth"
    torch.save(GeneratorSpec("mobile_resnet_9blocks", 64).build().state_dict(), path)
    flags = ("--config_set", "channels-64-pix2pix", "--restore_G_path", path, "--budget", 1)
    start = time.monotonic()
    world.refuse(
        "evolution_search.py", *flags, words=("--budget 1", NARROWEST, "_".join(["64"] * 8))
    )
    assert time.monotonic() - start < 10


# --------------------------------------------------------------------------------------------------
# Measures


def test_fid_of_a_single_image(world):
    words = ("FID needs at least 2", "1")
    world.refuse("test.py", "--num_test", 1, words=words)
    world.refuse("get_real_stat.py", "--max_dataset_size", 1, words=words)
    statistics = world.tmp / "real.npz"
    world.call(
        "get_real_stat.py", *world.flags["get_real_stat.py"], "--output_path", statistics
    ).succeeded()
    world.refuse("test.py", "--num_test", 1, "--real_stat_path", statistics, words=words)


@pytest.mark.parametrize("script", ["test.py", "evolution_search.py", "train.py"])
def test_statistics_of_another_feature_size(world, script):
    path = world.tmp / "real.npz"
    np.savez(path, mu=np.zeros(192), sigma=np.eye(192))
    words = ("--real_stat_path", str(path), "192 features", "uses 64", "--fid_dims")
    world.refuse(script, "--real_stat_path", path, words=words)


def test_statistics_of_other_features(world):
    """Ours say what they were made with; a number of another scale would be wrong without a sign of
    it."""
    path = world.tmp / "real.npz"
    np.savez(path, mu=np.zeros(64), sigma=np.eye(64), n=9, features="Inception, 64 features")
    words = ("--real_stat_path", str(path), "Inception, 64 features", "random")
    world.refuse("test.py", "--real_stat_path", path, words=words)


def test_statistics_that_are_none(world):
    path = world.tmp / "real.npz"
    world.refuse(
        "test.py", "--real_stat_path", path, words=("--real_stat_path", str(path), "no such file")
    )
    path.write_text("no statistics")
    line = world.refuse("test.py", "--real_stat_path", path, words=("--real_stat_path", str(path)))
    assert "allow_pickle" not in line
    np.savez(path, mu=np.zeros(64), sigma=np.eye(64))
    path.write_bytes(path.read_bytes()[:-100])
    world.refuse("test.py", "--real_stat_path", path, words=("--real_stat_path", str(path)))


def test_a_refused_search_leaves_its_folder_to_the_next(world):
    """What was wrong is mended and the same folder given again: nothing was searched there yet."""
    flags = ("--budget", 3e7)
    world.refuse("evolution_search.py", *flags, "--num_test", 1, words=("FID needs at least 2",))
    script = "evolution_search.py"
    world.call(script, *world.flags[script], *flags, "--output_dir", world.out).succeeded()
    assert (world.out / "summary.json").exists()


# --------------------------------------------------------------------------------------------------
# Checkpoints


def damaged_checkpoints(world) -> dict[str, tuple[Path, str]]:
    """What is wrong -> file, what the message must say."""
    folder = world.tmp / "checkpoints"
    folder.mkdir()
    data = world.narrow.read_bytes()
    (folder / "cut.pth").write_bytes(data[: len(data) // 2])
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.pth").write_text("no weights")
    torch.save(torch.nn.Conv2d(3, 3, 3), folder / "pickled.pth")
    torch.save({"epoch": 3, "lr": 0.1}, folder / "other.pth")
    state = torch.load(world.narrow, weights_only=True)
    key = "model.13.conv_block.1.conv.0.weight"
    torch.save({k: v for k, v in state.items() if k != key}, folder / "missing.pth")
    torch.save({**state, key: state[key][:-1]}, folder / "shape.pth")
    torch.save({**state, "model.99.weight": state[key]}, folder / "extra.pth")
    discriminator = world.teacher.with_name("latest_net_D.pth")
    found = {
        "none": "no such file",
        "cut": "not a readable checkpoint",
        "empty": "not a readable checkpoint",
        "text": "not a readable checkpoint",
        "pickled": "pickled objects",
        "other": "not a state dict",
        "missing": f"missing {key}",
        "shape": f"{key} [",
        "extra": "not expected model.99.weight",
    }
    return {name: (folder / f"{name}.pth", text) for name, text in found.items()} | {
        "discriminator": (discriminator, "model.1.weight"),
        "state": (world.teacher.with_name("state.pth"), "not a state dict"),
    }


def test_checkpoints_that_are_none(world):
    for path, text in damaged_checkpoints(world).values():
        words = ("--restore_G_path", str(path), text)
        world.refuse("test.py", "--restore_G_path", path, words=words)


@pytest.mark.parametrize("name", ["none", "cut", "text", "discriminator"])
def test_every_script_that_reads_a_checkpoint_names_its_flag(world, name):
    path, text = damaged_checkpoints(world)[name]
    config = ("--config_str", NARROWEST)
    cases = (
        ("train.py", "--restore_G_path", ()),
        ("distill.py", "--restore_teacher_G_path", ()),
        ("distill.py", "--restore_pretrained_G_path", ()),
        ("train_supernet.py", "--restore_student_G_path", config),
        ("evolution_search.py", "--restore_G_path", ()),
        ("export.py", "--input_path", config),
    )
    for script, flag, more in cases:
        world.refuse(script, flag, path, *more, words=(flag, str(path), text))
    if name != "discriminator":
        world.refuse(
            "train.py", "--restore_D_path", path, words=("--restore_D_path", str(path), text)
        )
        world.refuse("train.py", "--restore_O_path", path, words=("--restore_O_path",))


def test_checkpoints_of_another_network(world):
    """Keys or shapes that differ, or the kind of network, are named."""
    words = (
        "--restore_G_path",
        str(world.narrow),
        "another network",
        "model.1.weight [",
        "[36, 3, 7, 7]",
    )
    world.refuse("train.py", "--restore_G_path", world.narrow, words=words)
    words = (
        "--restore_D_path",
        str(world.narrow),
        "missing model.0.weight",
        "not expected model.1.weight",
    )
    world.refuse("train.py", "--restore_D_path", world.narrow, words=words)
    words = ("--restore_G_path", str(world.narrow), "sub_mobile_resnet_9blocks", "not a supernet")
    world.refuse("search.py", "--restore_G_path", world.narrow, words=words)
    words = ("--config_str", str(world.narrow), "contradicts")
    world.refuse(
        "export.py",
        "--input_path",
        world.narrow,
        "--config_str",
        "24_16_16_16_16_16_16_16",
        words=words,
    )
    words = ("--restore_teacher_G_path", str(world.supernet), "supernet", "export")
    world.refuse("distill.py", "--restore_teacher_G_path", world.supernet, words=words)
    prune = ("--restore_pretrained_G_path", world.teacher)
    words = ("--restore_pretrained_G_path", "wider", "model.1.weight", "--student_ngf")
    world.refuse("distill.py", *prune, "--student_ngf", 48, words=words)
    words = ("--restore_pretrained_G_path", "--pretrained_netG", "--student_netG")
    world.refuse("distill.py", *prune, "--student_netG", "resnet_9blocks", words=words)


@pytest.mark.parametrize("script", ["test.py", "latency.py"])
def test_models_that_cannot_be_compared(world, script):
    grey = world.tmp / "grey.pth"
    spec = GeneratorSpec("sub_mobile_resnet_9blocks", None, NARROWEST, 1, 3)
    torch.save(dict(spec.build().state_dict()), grey)
    again = world.narrow.parent / ".." / world.narrow.parent.name / world.narrow.name
    for flag in ("--restore_G_path", "--compare", "--restore_teacher_G_path"):
        words = (flag, str(grey), "1 to 3", "--input_nc 1")
        world.refuse(script, flag, grey, words=words)
        world.refuse(script, flag, world.tmp / "none.pth", words=(flag, "none.pth: no such file"))
        if flag != "--restore_G_path":
            world.refuse(
                script, flag, again, words=(flag, "the same checkpoint", str(world.narrow))
            )
    words = ("--compare", str(world.teacher), "the same checkpoint")
    world.refuse(script, "--compare", world.teacher, world.teacher, words=words)
    words = ("--restore_teacher_G_path", str(world.supernet), "supernet", "export")
    world.refuse(script, "--restore_teacher_G_path", world.supernet, words=words)


@pytest.mark.parametrize("script", ["evolution_search.py", "search.py"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("old.pkl", "pickles are not read"),
        ("none.jsonl", "no such file"),
        ("other.jsonl", "not a file of evaluations"),
    ],
)
def test_restoring_what_are_no_evaluations(world, script, name, text):
    """Pickles can run code, and this one does."""

    class Bomb:
        def __reduce__(self):
            return Path.touch, (world.tmp / "exploded",)

    (world.tmp / "old.pkl").write_bytes(pickle.dumps(Bomb()))
    (world.tmp / "other.jsonl").write_text('{"some": "thing"}\n')
    world.refuse(script, "--restore_pkl_path", world.tmp / name, words=(world.tmp / name, text))
    assert not (world.tmp / "exploded").exists()


# --------------------------------------------------------------------------------------------------
# Where to write, and flags

OUTPUTS = {
    # script -> flag, what is written to below a folder that cannot be
    "train.py": ("--log_dir", "run"),
    "distill.py": ("--log_dir", "run"),
    "train_supernet.py": ("--log_dir", "run"),
    "evolution_search.py": ("--output_dir", "search"),
    "search.py": ("--output_path", "all.jsonl"),
    "export.py": ("--output_path", "net_G.pth"),
    "test.py": ("--results_dir", "results"),
    "latency.py": ("--results_dir", "results"),
    "get_real_stat.py": ("--output_path", "real.npz"),
}
CONFIG = {
    "export.py": ("--config_str", NARROWEST),
    "train_supernet.py": ("--config_str", NARROWEST),
}


@pytest.mark.parametrize("script", OUTPUTS)
def test_output_that_cannot_be_written(world, script):
    """The folder is a file, or below one."""
    flag, name = OUTPUTS[script]
    file = world.tmp / "file"
    file.write_text("mine")
    words = (flag, str(file), "cannot be written")
    for path in (file / name, file / "deeper" / name):
        world.refuse(script, *CONFIG.get(script, ()), flag, path, words=words)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("script", ["export.py", "get_real_stat.py", "search.py"])
def test_an_output_file_that_is_a_folder(world, script):
    folder = world.tmp / "folder.npz"
    folder.mkdir()
    words = ("--output_path", str(folder))
    world.refuse(script, *CONFIG.get(script, ()), "--output_path", folder, words=words)


def test_unknown_flags(world):
    """The nearest that exists is suggested."""
    cases = (
        ("train.py", ("--log_dirr", "x"), ("--log_dirr", "did you mean --log_dir?")),
        ("train.py", ("--n_epochs=3",), ("--n_epochs", "did you mean --nepochs?")),
        ("test.py", ("--restore_G", "x"), ("--restore_G", "did you mean --restore_G_path?")),
        ("evolution_search.py", ("--evolution_iter", 3), ("did you mean --evolution_iters?",)),
        ("export.py", ("--zzz",), ("--zzz", "--help")),
        ("train.py", ("stray",), ("stray",)),
    )
    for script, args, words in cases:
        assert world.refuse(script, *CONFIG.get(script, ()), *args, words=words).startswith(
            f"{script}: "
        )


def test_values_that_flags_do_not_take(world):
    cases = (
        ("train.py", ("--ngf", "wide"), ("--ngf", "'wide'", "whole number")),
        ("train.py", ("--ngf", -3), ("--ngf", "-3", "1 or more")),
        ("train.py", ("--batch_size", 0), ("--batch_size", "1 or more")),
        ("train.py", ("--lr", "nan"), ("--lr", "nan")),
        ("train.py", ("--netG", "unet"), ("--netG", "'unet'", "resnet_9blocks")),
        ("train.py", ("--gpu_ids", "cpu"), ("--gpu_ids", "'cpu'", "-1")),
        ("train.py", ("--nepochs", 0, "--nepochs_decay", 0), ("--nepochs", "nothing to train")),
        ("train.py", ("--load_size", 32, "--crop_size", 64), ("--crop_size 64", "--load_size 32")),
        ("test.py", ("--num_test", "many"), ("--num_test", "many")),
        ("test.py", ("--direction", "BA"), ("--direction", "AtoB", "BtoA")),
        ("search.py", ("--budget", "abc"), ("--budget", "'abc'")),
        ("search.py", ("--num_splits", 2, "--split", 2), ("--split 2", "--num_splits 2")),
        (
            "search.py",
            ("--config_set", "channels-33"),
            ("--config_set", "channels-33", "channels-32"),
        ),
        ("evolution_search.py", ("--mutate_prob", 1.5), ("--mutate_prob", "1.5", "0 to 1")),
        ("evolution_search.py", ("--no_fid", "--criterion", "fid"), ("--no_fid", "--criterion")),
        ("train_supernet.py", (), ("--config_set", "--config_str")),
    )
    for script, args, words in cases:
        world.refuse(script, *args, words=words)


def test_required_flags_are_named(world):
    required = {
        "train.py": ("--dataroot",),
        "distill.py": ("--dataroot", "--restore_teacher_G_path"),
        "train_supernet.py": ("--dataroot", "--restore_teacher_G_path"),
        "export.py": ("--input_path",),
        "search.py": ("--dataroot", "--restore_G_path"),
        "evolution_search.py": ("--dataroot", "--restore_G_path"),
        "test.py": ("--dataroot", "--restore_G_path"),
        "latency.py": ("--dataroot", "--restore_G_path"),
        "get_real_stat.py": ("--dataroot",),
    }
    for script, words in required.items():
        world.refuse(script, words=("required", *words), defaults=False)
    assert not world.out.exists()


def test_a_folder_that_holds_a_run_with_other_settings(world, teacher, evolution):
    """The flags that differ are named, with both values; options.json stays that of the run."""
    teacher = shutil.copytree(teacher, world.tmp / "teacher")
    words = ("--log_dir", str(teacher), "--lr 0.01 (was 0.0002)")
    world.refuse("train.py", "--log_dir", teacher, "--lr", 0.01, words=words)
    words = ("--log_dir", str(teacher), "a run of train.py")
    world.refuse("distill.py", "--log_dir", teacher, words=words)
    search = world.tmp / "search"
    shutil.copytree(evolution, search)
    words = ("--output_dir", str(search), "--population_size 2 (was 8)", "--budget")
    world.refuse("evolution_search.py", "--output_dir", search, "--budget", 3e7, words=words)
    # Other scripts leave the run's pages and results alone.
    words = ("--results_dir", str(teacher), "a run of train.py")
    world.refuse("test.py", "--results_dir", teacher, words=words)
    world.refuse("latency.py", "--results_dir", teacher, words=words)
    words = ("--output_dir", str(teacher), "a run of train.py")
    world.refuse("evolution_search.py", "--output_dir", teacher, words=words)
    words = ("--log_dir", str(search), "a run of evolution_search.py")
    world.refuse("train.py", "--log_dir", search, words=words)


# --------------------------------------------------------------------------------------------------
# The same as processes, for some


@pytest.mark.parametrize("case", ["dataroot", "budget", "truncated", "output", "flag"])
def test_real_processes(cli, fresh_cli, snapshot, teacher, dataset, world, case):
    """Two of them by a Python that starts as users start it: before and after reading images."""
    root = world.tmp / "data"
    if case == "truncated":
        shutil.copytree(dataset, root)
        path = root / "train" / "00005.png"
        path.write_bytes(path.read_bytes()[:-500])
    (world.tmp / "file").write_text("mine")
    out = ("--log_dir", world.out)
    script, args, words = {
        "dataroot": ("train.py", ("--dataroot", root, *out), ("--dataroot", str(root))),
        "budget": (
            "evolution_search.py",
            ("--budget", 1e6, "--output_dir", world.out),
            ("--budget 1e+06", "22,196,224", "77,422,592"),
        ),
        "truncated": (
            "train.py",
            ("--dataroot", root, "--no_fid", *out),
            ("00005.png", "truncated"),
        ),
        "output": (
            "test.py",
            ("--results_dir", world.tmp / "file" / "results"),
            ("--results_dir",),
        ),
        "flag": ("train.py", ("--log_dirr", world.out), ("did you mean --log_dir?",)),
    }[case]
    before = snapshot(teacher, dataset, world.tmp)
    run = fresh_cli if case in ("flag", "truncated") else cli
    outcome = run(script, *world.flags[script], *args)
    line = the_one_line(outcome)
    assert all(word in line for word in words)
    after = snapshot(teacher, dataset, world.tmp)
    assert {k: after.get(k) for k in before} == before
    assert outcome.seconds < 20, "an answer within seconds"


def test_sizes_that_are_no_multiple_of_4(cli, world):
    """No reason to refuse: the images are brought to the nearest size that is, and one line says
    so."""
    write_images(world.tmp / "data" / "val", (60, 30), (60, 30), (72, 36))
    flags = (
        "--dataroot",
        world.tmp / "data",
        "--preprocess",
        "none",
        "--batch_size",
        1,
        "--no_fid",
    )
    outcome = cli(
        "test.py", *world.flags["test.py"], *flags, "--results_dir", world.out
    ).succeeded()
    printed = outcome.stdout + outcome.stderr
    assert printed.lower().count("warning") == 1
    line = next(line for line in printed.splitlines() if "warning" in line)
    assert "30x30" in line
    assert "multiples of 4" in line
    assert "32x32" in line
    sizes = [Image.open(world.out / "images" / "fake_B" / f"{i}.png").size for i in range(3)]
    assert sizes == [(32, 32), (32, 32), (36, 36)]
    assert line.startswith("warning: "), "a line of its own, not the end of a progress bar's"


def test_a_folder_of_images_of_any_size(cli, world):
    """Outputs are as large as inputs; that there is no FID is all that needs saying."""
    sizes = [(60, 30), (31, 33), (5, 3), (40, 40)]
    write_images(world.tmp / "data", *sizes)
    flags = ("--dataroot", world.tmp / "data", "--dataset_mode", "single", "--preprocess", "none")
    flags += ("--batch_size", 1, "--results_dir", world.out)
    outcome = cli("test.py", *world.flags["test.py"], *flags).succeeded()
    warnings = [line for line in outcome.stderr.splitlines() if "warning" in line.lower()]
    assert all("FID is not measured" in line for line in warnings) and len(warnings) <= 1
    found = [Image.open(world.out / "images" / "fake_B" / f"{i}.png").size for i in range(4)]
    assert found == sizes
