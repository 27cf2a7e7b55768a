"""scripts/study.sh: the commands that it shows, what it refuses before anything starts, and one
study on a tiny set, killed on its way, continued, and called again."""

import json
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import options
from data.datasets import AlignedDataset, Source
from data.transforms import Resize

ROOT = Path(__file__).resolve().parents[2]
# The teacher of 48 channels leaves 1/40 of its MACs for the smallest named space.
SPACES = ("--ngf", "48", "--space", "test", "--space_b", "test", "--space_c", "test")
TINY = ("--ngf", "16", "--space", "3,2", "--space_b", "3,2", "--space_c", "3,2")


@pytest.fixture(autouse=True)
def quick_python(fork_server, monkeypatch):
    """The script starts Python by the name that the environment gives."""
    monkeypatch.setenv("PYTHON", str(fork_server.python))


def study(*args: object, cwd: object = "/", **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / "study.sh"), *map(str, args)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        cwd=cwd,
    )


def shown(*args: object) -> list[tuple[str, list[str]]]:
    """(script, flags) of the commands of one seed, in their order."""
    done = study("/my data", "--seeds", 5, "--output", "/my out", *args, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("$ python")]
    return [(script, flags) for _, _, script, *flags in map(shlex.split, lines)]


def parsed(*args: object) -> dict[str, object]:
    """Folder of a stage -> its parsed flags."""
    found = {}
    for script, flags in shown(*args):
        if script in options.SCRIPTS:
            opt = options.SCRIPTS[script].parse(flags)
            where = [getattr(opt, name, None) for name in ("log_dir", "output_dir", "results_dir")]
            found[Path(next(filter(None, where))).name] = opt
    return found


# --------------------------------------------------------------------------------------------------
# What it would do


def test_the_recipes(tmp_path):
    stages = parsed("--size", 64, *SPACES, "--direction", "BtoA")
    assert list(stages) == [
        *("teacher", "alone", "layerwise_supernet", "layerwise_search", "layerwise"),
        *("mobile", "distilled", "full_supernet", "full_search", "full"),
        *("tuned", "online_supernet", "online12_search", "online12"),
        *("online40_search", "online40"),
        *("test_abcde", "latency_abcde", "noise1", "noise2"),
    ]
    for opt in stages.values():
        assert (opt.dataroot, opt.direction, opt.crop_size) == ("/my out/data", "BtoA", 64)
    trainings = {name: opt for name, opt in stages.items() if hasattr(opt, "nepochs")}
    for opt in trainings.values():
        assert (opt.phase, opt.load_size, opt.batch_size, opt.ndf, opt.seed) == (
            *("train", 72, 4, 64),
            5,
        )
    epochs = {name: (opt.nepochs, opt.nepochs_decay) for name, opt in trainings.items()}
    assert epochs == {
        **dict.fromkeys(("teacher", "alone", "layerwise"), (100, 200)),
        **dict.fromkeys(("mobile", "distilled", "full"), (100, 200)),
        **dict.fromkeys(("layerwise_supernet", "full_supernet", "online_supernet"), (200, 400)),
        "tuned": (33, 67),
        **dict.fromkeys(("online12", "online40"), (66, 134)),
    }
    teacher = "/my out/seed5/teacher/checkpoints/latest_net"
    tuned = stages["tuned"]
    assert (tuned.restore_G_path, tuned.restore_D_path) == (f"{teacher}_G.pth", f"{teacher}_D.pth")
    assert tuned.ema > 0 and tuned.augment_D and not stages["teacher"].augment_D
    for name in ("online_supernet", "online12", "online40"):
        opt = stages[name]
        assert (opt.distiller, opt.teacher_freq, opt.student_ngf) == ("online", 0, 8)
        assert opt.restore_teacher_G_path == f"{teacher}_G.pth".replace("teacher", "tuned")
        assert opt.restore_D_path == f"{teacher}_D.pth".replace("teacher", "tuned")
        assert (opt.lambda_adversarial > 0) == (name != "online_supernet") != (opt.lambda_ssim > 0)
    # A student goes on with the discriminator and the adaptors of its own training. That of (c) is
    # a mobile teacher's, pruned and distilled before the supernet begins.
    mobile = teacher.replace("teacher", "mobile")
    assert (stages["mobile"].netG, stages["mobile"].ngf) == ("mobile_resnet_9blocks", 72)
    opt = stages["distilled"]
    assert opt.restore_teacher_G_path == opt.restore_pretrained_G_path == f"{mobile}_G.pth"
    assert opt.student_ngf == stages["full_supernet"].student_ngf == 8
    for name, before, taught in (
        ("layerwise", "layerwise_supernet", teacher),
        ("full_supernet", "distilled", mobile),
        ("full", "full_supernet", mobile),
    ):
        opt, before = stages[name], f"/my out/seed5/{before}/checkpoints/latest_net"
        assert opt.restore_teacher_G_path == f"{taught}_G.pth"
        assert opt.restore_student_G_path == f"{before}_G.pth"
        assert (opt.restore_D_path, opt.restore_A_path) == (f"{before}_D.pth", f"{before}_A")
        assert opt.lambda_distill == 0.01
    assert stages["layerwise_supernet"].restore_student_G_path is None
    # The rows learn by their own recipes and are searched on the held-out images within budgets.
    assert stages["layerwise"].distiller == "resnet" and stages["alone"].netG.startswith("mobile")
    budgets = {name: opt.budget for name, opt in stages.items() if name.endswith("_search")}
    macs = 2_012_823_552  # resnet_9blocks of 48 channels at 64 px, by SPEC 5
    assert budgets == {
        "layerwise_search": macs // 12,
        "full_search": macs // 12,
        "online12_search": macs // 12,
        "online40_search": macs // 40,
    }
    assert {stages[name].phase for name in budgets} == {"val"}
    # The test images are seen at the end alone.
    last = ("test_abcde", "latency_abcde", "noise1", "noise2")
    assert [name for name, opt in stages.items() if opt.phase == "test"] == list(last)
    assert stages["latency_abcde"].macs_convention == "exact"
    assert [stages[f"noise{half}"].meta_path for half in (1, 2)] == [
        f"/my out/halves/train{half}.meta" for half in (1, 2)
    ]


def test_rows_and_further_flags():
    """Rows in their own order, each once; further flags come last, and quotes hold words."""
    stages = parsed(
        *("--size", 32, *SPACES, "--rows", "e a e", "--more", "--fid_weights '/my w.pth'"),
        *("--more_train", "--ndf 8 --save_epoch_freq 7", "--more_test", "--num_test 3"),
        *("--more_search", "--population_size 4", "--more_latency", "--times 2"),
        *("--epochs", "1"),
    )
    assert list(stages) == [
        *("teacher", "alone", "tuned", "online_supernet", "online40_search", "online40"),
        *("test_ae", "latency_ae", "noise1", "noise2"),
    ]
    assert all(opt.fid_weights == "/my w.pth" for opt in stages.values())
    assert (stages["teacher"].ndf, stages["online40"].save_epoch_freq) == (8, 7)
    assert (stages["teacher"].nepochs, stages["teacher"].nepochs_decay) == (0, 1)
    assert (stages["test_ae"].num_test, stages["noise2"].num_test) == (3, 3)
    assert (stages["online40_search"].population_size, stages["latency_ae"].times) == (4, 2)
    checkpoints = "/my out/seed5/{}/checkpoints/latest_net_G.pth"
    assert stages["test_ae"].restore_G_path == checkpoints.format("tuned")
    assert stages["test_ae"].compare == [checkpoints.format(row) for row in ("alone", "online40")]
    assert stages["test_ae"].restore_teacher_G_path == checkpoints.format("teacher")


def test_where_the_images_come_from():
    copies = [f for script, f in shown("--size", 64, *SPACES) if script.endswith("_pairs.py")]
    assert copies == [
        shlex.split(f"'/my data' --phase {flags}".replace("OUT", "'/my out'"))
        for flags in (
            "train --size 72 --output OUT/data/train --meta_path OUT/splits/train1.meta",
            "train --size 64 --output OUT/data/val --meta_path OUT/splits/train2.meta",
            "val --size 64 --output OUT/data/test",
        )
    ]
    split = shown("--size", 64, *SPACES, "--held_out", ROOT / "README.md")[0]
    assert split == (
        "scripts/make_split.py",
        ["/my data", "--held_out", str(ROOT / "README.md"), "--output", "/my out/splits"],
    )


def test_relative_paths_start_where_it_is_called(tmp_path):
    """The folders need not be there to be shown."""
    (tmp_path / "list").touch()
    flags = ("--size", 64, *SPACES, "--rows", "a", "--output", "my out", "--held_out", "list")
    done = study("pairs", *flags, cwd=tmp_path, DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stderr.splitlines() if line.startswith("$ python"))
    assert shlex.split(first)[3:] == [
        *(f"{tmp_path}/pairs", "--held_out", f"{tmp_path}/list"),
        *("--output", f"{tmp_path}/my out/splits"),
    ]


def test_the_numbers_of_the_plan(cli):
    """SPEC 5 at 64 px: a twelfth and a fortieth, the widest mobile network within a twelfth."""
    flags = ("--size", 64, "--ngf", 32, "--rows", "a b c d e")
    spaces = ("--space", "24,20,16,12,8,6,4", "--space_b", "32,28,24,20,16,12,8")
    spaces += ("--space_c", ";".join(["24,16"] * 2 + ["24,20,16"] * 4 + ["24,16,12,8"] * 2))
    done = cli("scripts/study_numbers.py", *flags, *spaces).succeeded()
    budgets = [str(907771904 // 12), str(907771904 // 40)]
    assert done.stdout.split() == [*budgets, "14", "24", "32", "24"]
    each = ";".join(["8,4"] * 7 + ["6"])
    done = cli("scripts/study_numbers.py", *flags, "--space", each, *spaces[2:]).succeeded()
    assert done.stdout.split()[3:] == ["8", "32", "24"]
    for wrong in ("8,x", "8,0", "8;4", "", "8.5"):
        done = cli("scripts/study_numbers.py", *flags, "--space", wrong, *spaces[2:])
        assert done.returncode == 2 and f"--space {wrong}" in done.stderr, wrong


# --------------------------------------------------------------------------------------------------
# What it refuses


def test_help():
    for flag in ("--help", "-h"):
        done = study("/nowhere", flag)
        assert (done.returncode, done.stderr) == (0, "") and "--more_latency" in done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ("give the folder of the pairs",)),
        (("DATA",), ("--size is missing", "--size 64")),
        (("DATA", "--size", "66"), ("--size 66", "multiple of 4")),
        (("DATA", "--size", "1e2"), ("--size '1e2'", "from 24 to 4096")),
        (("DATA", "MORE", "--size", "64"), ("DATA and MORE",)),
        (("DATA", "--size"), ("--size needs a value",)),
        (("DATA", "--sizes", "64"), ("unknown flag --sizes", "--help")),
        (("DATA", "--size", "64", "--rows", "a f"), ("--rows 'f'", "a b c d e")),
        (("DATA", "--size", "64", "--rows", " "), ("--rows is empty",)),
        (("DATA", "--size", "64", "--seeds", "1 two"), ("--seeds 'two'",)),
        (("DATA", "--size", "64", "--seeds", ""), ("--seeds is empty",)),
        (("DATA", "--size", "64", "--direction", "atob"), ("--direction 'atob'", "BtoA")),
        (("DATA", "--size", "64", "--epochs", "0"), ("--epochs '0'", "from 1")),
        (("DATA", "--size", "64", "--ngf", "99999999999"), ("--ngf '99999999999'", "1024")),
        (("DATA", "--size", "64", *SPACES, "--ngf", "2", "--rows", "a"), ("--ngf 2", "1/12")),
        (("DATA/train", "--size", "64"), ("DATA/train has no folder train", "trainA")),
        (("DATA", "--size", "64", "--held_out", "/none"), ("--held_out /none: no such file",)),
        (("/none", "--size", "64"), ("/none: no such folder",)),
        (("DATA", "--size", "64", "--more", "--phase 'val"), ("--more: a quote is not closed",)),
        (("DATA", "--size", "64", "--space", "8,x"), ("--space 8,x", "24,20,16")),
        (
            ("DATA", "--size", "64", "--space_b", "channels-32"),
            ("--space_b channels-32", "row b", "1/12", "narrower"),
        ),
        (
            ("DATA", "--size", "64", "--rows", "c", "--space_c", "24"),
            ("--space_c 24", "row c", "1/12", "narrower"),
        ),
        (
            ("DATA", "--size", "64", *SPACES, "--more_test", "--amp bf16"),
            ("stage test, seed 233", "unknown flag --amp", "nothing was started", "--more_test"),
        ),
    ],
)
def test_bad_input_starts_nothing(args, words, dataset, tmp_path):
    args = [arg.replace("DATA", str(dataset)) for arg in args]
    words = [word.replace("DATA", str(dataset)) for word in words]
    done = study(*args, "--output", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stdout == "" and not (tmp_path / "out").exists()


def test_a_folder_of_another_study_is_left_alone(dataset, tmp_path, snapshot):
    (tmp_path / "settings.txt").write_text("--size 32\n--ngf 48\n")
    before = snapshot(tmp_path)
    done = study(dataset, "--size", 64, *SPACES, "--output", tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "other settings, it had: --size 32." in done.stderr
    assert snapshot(tmp_path) == before


def test_another_list_of_the_same_name_is_another_study(dataset, tmp_path):
    names = sorted(path.name for path in (dataset / "train").iterdir())
    held_out, out = tmp_path / "list", tmp_path / "out"
    held_out.write_text("\n".join(names[:3]) + "\n")
    flags = (dataset, "--size", 32, *SPACES, "--rows", "a", "--output", out)
    flags += ("--held_out", held_out)
    out.mkdir()
    (out / "data").touch()  # ends it after the split
    assert "resize_pairs.py" in study(*flags).stderr
    split = (out / "splits" / "train2.meta").read_text()
    held_out.write_text("\n".join(names[1:4]) + "\n")
    done = study(*flags)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "other settings, it had: checksum of --held_out" in done.stderr
    # Older versions wrote no checksum.
    settings = (out / "settings.txt").read_text().splitlines(keepends=True)
    (out / "settings.txt").write_text("".join(x for x in settings if "checksum" not in x))
    done = study(*flags)
    assert "resize_pairs.py" in done.stderr and "make_split.py" not in done.stderr
    assert (out / "splits" / "train2.meta").read_text() == split


# --------------------------------------------------------------------------------------------------
# Copies of the images at their size


@pytest.mark.parametrize("two_folders", [False, True])
def test_copies_are_what_a_training_would_see(two_folders, call, tmp_path, snapshot):
    rng = np.random.default_rng(0)
    for name in ("a", "deep/b", "c"):
        a, b = rng.integers(0, 256, (2, 60, 60, 3), dtype=np.uint8)
        sides = {"trainA": a, "trainB": b} if two_folders else {"train": np.hstack([a, b])}
        for folder, pixels in sides.items():
            path = tmp_path / "pairs" / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (tmp_path / "list.meta").write_text("a.png\ndeep/b.png\n")
    flags = (tmp_path / "pairs", "--phase", "train", "--meta_path", tmp_path / "list.meta")
    flags += ("--size", 36, "--output", tmp_path / "copies" / "train")
    done = call("scripts/resize_pairs.py", *flags).succeeded()
    assert "2 pairs of 36x36, 2 written now" in done.stdout
    wanted = AlignedDataset(
        Source(str(tmp_path / "pairs"), "train", str(tmp_path / "list.meta")),
        *("BtoA", Resize(load_size=36, crop_size=32)),
    )
    found = AlignedDataset(
        Source(str(tmp_path / "copies"), "train"), "BtoA", Resize(load_size=36, crop_size=32)
    )
    assert found.names == wanted.names == ["a", "deep/b"]
    for index in range(2):
        for side in "AB":
            assert (found.load(index)[side] == wanted.load(index)[side]).all()
    before = snapshot(tmp_path)
    done = call("scripts/resize_pairs.py", *flags).succeeded()
    assert "0 written now" in done.stdout and snapshot(tmp_path) == before


def test_copies_that_cannot_be_made(call, dataset, tmp_path):
    for flags, word in (
        ((dataset, "--size", 35), "multiple of 4"),
        ((dataset, "--size", 36, "--phase", "none"), "no folder 'none'"),
        ((dataset, "--size", 36, "--output", dataset / "train" / "x"), "lies in"),
    ):
        done = call("scripts/resize_pairs.py", "--output", tmp_path / "copies", *flags)
        assert done.returncode == 2 and word in done.stderr
    deep = np.zeros((8, 16), np.uint16)
    (tmp_path / "deep" / "train").mkdir(parents=True)
    Image.fromarray(deep).save(tmp_path / "deep" / "train" / "x.png")
    flags = (tmp_path / "deep", "--size", 8, "--output", tmp_path / "copies")
    done = call("scripts/resize_pairs.py", *flags)
    assert done.returncode == 2 and "x.png has more than 8 bits" in done.stderr
    assert not list(tmp_path.glob("copies/*.png"))


# --------------------------------------------------------------------------------------------------
# A whole study


def test_a_study_that_is_killed_goes_on(dataset, tmp_path, snapshot):
    out = tmp_path / "my study"
    flags = [
        *(str(dataset), "--size", "32", "--direction", "BtoA", *TINY, "--output", str(out)),
        *("--seeds", "1", "--rows", "c e", "--epochs", "1", "--count", "3"),
        *("--more", "--fid_features random --fid_dims 64 --num_threads 1 --gpu_ids -1"),
        *("--more_train", "--ndf 8", "--more_latency", "--times 2 --backends eager"),
        *("--more_search", "--population_size 2 --evolution_iters 0"),
    ]
    log = tmp_path / "first.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["bash", str(ROOT / "scripts" / "study.sh"), *flags],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        run = out / "seed1"
        while not (run / "full_supernet" / "log.jsonl").exists():
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) != 0
    assert not (run / "online_supernet").exists() and not (out / "index.html").exists()
    done_before = (run / "teacher", out / "data" / "train", out / "data" / "test")
    before = snapshot(*done_before)

    done = study(*flags)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert snapshot(*done_before) == before
    assert "== teacher, seed 1: done" in done.stdout
    found = json.loads((out / "study.json").read_text())
    rows = {row["row"]: row["seeds"]["1"] for row in found["rows"]}
    assert list(rows) == ["teacher", "mobile", "tuned", "full", "online40"]
    assert (found["n"], found["trained_on"], found["searched_on"]) == (6, 5, 3)
    assert found["measures"]["fid"] == "FID (random features, 64)" and found["size"] == [32, 32]
    assert [[half["n"] for half in each["halves"]] for each in found["noise"]] == [[3, 3]]
    assert len(found["trainings"]) == 8
    assert all(row["exact_macs"] < row["macs"] and row["latency_ms"] > 0 for row in rows.values())
    macs = {name: row["macs"] for name, row in rows.items()}
    assert macs["tuned"] == macs["teacher"] > macs["mobile"]
    assert macs["full"] <= macs["teacher"] / 12 and macs["online40"] <= macs["teacher"] / 40
    # No training and no search has seen a test image; the page shows them all.
    seen = {p.stem for phase in ("train", "val") for p in (out / "data" / phase).glob("*.png")}
    images = [p.stem for p in (out / "data" / "test").glob("*.png")]
    assert len(seen) == 8 and sorted(seen) == sorted(p.stem for p in (dataset / "train").iterdir())
    assert sorted(images) == sorted(p.stem for p in (dataset / "val").iterdir())
    page = (out / "index.html").read_text()
    assert all(f"seed1/test_ce/images/online40/{name}.png" in page for name in images)

    results = snapshot(out / "data", run, out / "splits", out / "halves")
    done = study(*flags)
    assert done.returncode == 0 and done.stdout.count(": done (") == 17, done.stdout
    assert snapshot(out / "data", run, out / "splits", out / "halves") == results
    done = study(*flags, "--size", 64)
    assert done.returncode == 2 and "it had: --size 32" in done.stderr
    done = study(*flags, "--more_train", "--ndf 9")
    assert done.returncode == 2 and "it had: --more_train --ndf 8" in done.stderr


def test_a_split_that_fails_binds_no_folder(dataset, tmp_path):
    """Mistakes in what is held out can be corrected in the same folder."""
    out = tmp_path / "out"
    done = study(dataset, "--size", 32, *SPACES, "--output", out, "--count", 8)
    assert done.returncode == 2 and "--count 8: must be from 2 to 7" in done.stderr
    assert not (out / "settings.txt").exists()
