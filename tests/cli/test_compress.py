"""compress.py: one command from images to a small network, a page and a model card."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from fork_server import Process
from PIL import Image
from processes import ENVIRONMENT, ROOT, Outcome

import gan_compression
from errors import InputError
from models.build import Initialisation, new_generator
from models.generators import GeneratorSpec
from models.weights import save_network
from pipeline.run import run_stage
from pipeline.stages import Stage
from report.compressed import limits, table, verdict
from report.tables import giga, mega

SIZE = 32
PRESET = """
about = "for tests"
widths = "16,8,4"
[images]
size = 32
load_size = 36
[measure]
fid_features = "random"
fid_dims = 64
[training]
batch_size = 2
ndf = 8
print_freq = 1
save_epoch_freq = 1
[teacher]
netG = "resnet_9blocks"
ngf = 16
nepochs = 1
nepochs_decay = 2
[teacher.unpaired]
netG = "resnet_6blocks"
[learning.discriminator]
distiller = "online"
teacher_freq = 0
lambda_distill = 0
[learning.layers]
lambda_distill = 0.5
[learning.images]
distiller = "online"
teacher_freq = 0
lambda_distill = 0
lambda_style = 0
lambda_feature = 0
lambda_l1 = 100
[supernet]
nepochs = 1
nepochs_decay = 2
[search]
population_size = 8
evolution_iters = 2
batch_size = 4
[finetune]
nepochs = 1
nepochs_decay = 2
[latency]
times = 3
"""
# Stage -> what says that it is done.
STAGES = {"check": "data", "images": "data", "teacher": "teacher/results.json"}
STAGES |= {"supernet": "supernet/results.json", "search": "search/index.html"}
STAGES |= {"finetune": "finetune/results.json", "export": "compressed.pth"}
STAGES |= {"test": "test/results.json", "latency": "latency/latency.json", "page": "results.json"}

# --------------------------------------------------------------------------------------------------
# Running it


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("presets") / "tiny.toml"
    path.write_text(PRESET)
    return path


@pytest.fixture(scope="module")
def weights_alone(tmp_path_factory) -> tuple[str, Path]:
    """The same without the ONNX file, whose making takes as long as all that is trained; and half
    the search."""
    path = tmp_path_factory.mktemp("presets") / "pth.toml"
    short = PRESET.replace("population_size = 8", "population_size = 4")
    short = short.replace("evolution_iters = 2", "evolution_iters = 1")
    path.write_text(short + '[export]\nformat = ["pth"]\n')
    return "--preset", path


@pytest.fixture(scope="module")
def forked(tmp_path_factory, fork_server) -> Path:
    """compress.py, whose stages are forked from a Python that has imported everything."""
    path = tmp_path_factory.mktemp("forked") / "compress.py"
    path.write_text(
        "import runpy, sys\n"
        f"sys.executable = {str(fork_server.python)!r}\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(ROOT / 'compress.py')!r}, run_name='__main__')\n"
    )
    return path


@pytest.fixture(scope="module")
def flags(dataset, preset) -> list[str]:
    values = ["--dataroot", dataset, "--direction", "BtoA", "--preset", preset, "--target", "6x"]
    return [*map(str, values), "--gpu_ids", "-1", "--num_threads", "1"]


@pytest.fixture(scope="module")
def compress(cli, forked, flags):
    """``compress(output, *more)``: the tiny compression; later flags win."""

    def run(output: Path, *more: object) -> Outcome:
        # Ten stages, on a machine that may be busy.
        return cli(str(forked), *flags, "--output_dir", output, *more, timeout=900)

    return run


@pytest.fixture(scope="module")
def plain(cli, compress, fork_server, tmp_path_factory) -> Path:
    """The folder that the commands of a dry run make, pasted into a shell."""
    folder = tmp_path_factory.mktemp("plain")
    script = compress(folder / "out", "--dry_run").succeeded().stdout
    assert not (folder / "out").exists()
    (folder / "python").symlink_to(fork_server.python)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=ROOT,
        env=ENVIRONMENT | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder / "out"


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def weights(folder: Path) -> dict:
    return torch.load(folder / "compressed.pth", weights_only=True)


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def without_times(found: dict) -> dict:
    """All but what a clock says, and where it is."""
    found["files"]["onnx"]["bytes"] = found["files"]["pth"]["bytes"] = 0
    for model in (found["teacher"], found["compressed"]):
        model["latency"] = None
        model["checkpoint"] = Path(model["checkpoint"]).name
    return found


# --------------------------------------------------------------------------------------------------
# The commands


GOLDEN = """\
# DATA -> OUT
#
# images    pairs of 32x32, BtoA
#           6 to learn from (of phase train)
#           2 to choose by (held out of train)
#           6 to test on (of phase val)
# teacher   resnet_9blocks ngf 16, trained here: 0.059G MACs, 0.716M parameters
# target    6x: 0.010G MACs, 6.0 times fewer than the teacher
# widths    16,8,4: 6,561 networks of 0.002G to 0.022G MACs, 65.3% of them within the target
# learning  the student learns from the teacher's images, by the features of its discriminator
# preset    PRESET: for tests

set -e
python -m data.check DATA --direction BtoA --load_size 36 --crop_size 32 --num_threads 1
python -m prepare.arrange DATA --val_images 300 --seed 233 --output_dir OUT/data
python train.py IMAGES --load_size 36 --crop_size 32 MACHINE MEASURE TRAIN --netG resnet_9blocks \
--ngf 16 --nepochs 1 --nepochs_decay 2 --seed 233 --log_dir OUT/teacher
python train_supernet.py IMAGES --load_size 36 --crop_size 32 MACHINE MEASURE TRAIN --nepochs 1 \
--nepochs_decay 2 --seed 233 ONLINE --restore_teacher_G_path T/best_net_G.pth \
--restore_D_path T/best_net_D.pth --student_netG super_mobile_resnet_9blocks \
--student_ngf 16 --config_set 16,8,4 --log_dir OUT/supernet
python evolution_search.py IMAGES --load_size 32 --crop_size 32 MACHINE --phase val MEASURE \
--population_size 8 --evolution_iters 2 --batch_size 4 \
--restore_G_path OUT/supernet/checkpoints/best_net_G.pth --config_set 16,8,4 --budget 9867946 \
--seed 233 --output_dir OUT/search
CONFIG=$(python search.py --select 9867946 OUT/search/evaluations.jsonl | cut -d ' ' -f 1)
python train_supernet.py IMAGES --load_size 36 --crop_size 32 MACHINE MEASURE TRAIN --nepochs 1 \
--nepochs_decay 2 --seed 233 ONLINE --restore_teacher_G_path T/best_net_G.pth \
--restore_D_path T/best_net_D.pth --student_netG super_mobile_resnet_9blocks \
--student_ngf 16 \
--restore_student_G_path OUT/supernet/checkpoints/best_net_G.pth --config_str "$CONFIG" \
--log_dir OUT/finetune
python export.py --input_path OUT/finetune/checkpoints/best_net_G.pth --config_str "$CONFIG" \
--output_path OUT/compressed --format onnx pth
python test.py IMAGES --load_size 32 --crop_size 32 MACHINE --phase test COMPARED MEASURE \
--results_dir OUT/test
python latency.py IMAGES --load_size 32 --crop_size 32 MACHINE --phase test COMPARED \
--batch_size 1 --times 3 --macs_convention exact --results_dir OUT/latency
python -m report.compressed --output_dir OUT --target 6x --preset PRESET
"""
SHORT = {
    "COMPARED": "--restore_teacher_G_path T/best_net_G.pth --restore_G_path OUT/compressed.pth",
    "MEASURE": "--fid_features random --fid_dims 64",
    "TRAIN": "--batch_size 2 --ndf 8 --print_freq 1 --save_epoch_freq 1",
    "ONLINE": "--distiller online --teacher_freq 0 --lambda_distill 0",
    "IMAGES": "--dataroot OUT/data --direction BtoA",
    "MACHINE": "--num_threads 1 --gpu_ids -1",
    "T/": "OUT/teacher/checkpoints/",
}


def test_a_dry_run_is_a_script(compress, dataset, preset, tmp_path):
    expected = GOLDEN
    for short, text in SHORT.items():
        expected = re.sub(rf"\b{short}", text, expected)
    for short, path in (("OUT", tmp_path / "out"), ("DATA", dataset), ("PRESET", preset)):
        expected = re.sub(rf"\b{short}\b", str(path), expected)
    done = compress(tmp_path / "out", "--dry_run").succeeded()
    assert done.stdout == expected
    assert not (tmp_path / "out").exists()


def test_the_commands_of_a_dry_run_make_the_same(plain, compress, snapshot):
    """Pasted into a shell, they leave what compress.py leaves: it finds nothing to do."""
    before = snapshot(plain)
    done = compress(plain).succeeded()
    for number, stage in enumerate(STAGES, 1):
        assert f"== {number}/10 {stage}: done ({plain}/{STAGES[stage]}" in done.stdout
    assert done.stdout.count("done (") == 10 and "$ python" not in done.stdout
    after = snapshot(plain)
    assert {k: v for k, v in after.items() if k in before} == before
    assert {Path(k).name for k in after.keys() - before.keys()} == {"settings.json"}
    # The winner is known now.
    config = results(plain)["compressed"]["config"]
    script = compress(plain, "--dry_run").succeeded().stdout
    assert "$CONFIG" not in script and script.count(f"--config_str {config} ") == 2


# --------------------------------------------------------------------------------------------------
# Killed again and again


def _lines(path: Path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]


def begun(process: Process, folder: Path, stage: str) -> bool:
    """Whether a stage has begun, and all but the export made something before its end."""
    if stage in ("teacher", "supernet", "finetune"):
        records = _lines(folder / stage / "log.jsonl")
        return any(r["event"] == "eval" and r["step"] > 2 for r in records)
    if stage == "search":
        return len(_lines(folder / "search" / "evaluations.jsonl")) >= 3
    if stage == "export":
        # As it begins, or its ONNX file would be made twice. A seek would move the place where the
        # process goes on printing.
        return b"$ python export.py" in os.pread(process.out.fileno(), 1 << 20, 0)
    return (folder / "test" / "images").exists()


def test_kill_9_in_every_stage_that_goes_on(plain, spawn, forked, flags, compress, tmp_path):
    """Each time it goes on where it was, and the network is that of an uninterrupted run."""
    out, unfinished = tmp_path / "out", []
    # The others only read, or are started again from their beginning.
    stages = ["teacher", "supernet", "search", "finetune", "export", "test"]
    for stage in stages:
        result = STAGES[stage]
        process = spawn(str(forked), *flags, "--output_dir", out)
        while not begun(process, out, stage):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        process.kill()
        process.communicate()
        if not (out / result).exists():
            unfinished.append(stage)
    assert unfinished == stages
    compress(out).succeeded()
    assert same(weights(out), weights(plain))
    assert without_times(results(out)) == without_times(results(plain))
    assert not list(out.glob("**/*.part")) and not list(out.glob("**/.*.tmp*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number, spawn, forked, flags, tmp_path):
    out = tmp_path / "out"
    process = spawn(str(forked), *flags, "--output_dir", out)
    while not _lines(out / "teacher" / "log.jsonl"):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(number)
    said = process.communicate(60)[0]
    assert process.returncode == 128 + number, said
    assert "the state is saved" in said and "the same command continues" in said
    assert "Traceback" not in said
    assert (out / "teacher" / "checkpoints" / "state.pth").exists() and not (
        out / "supernet"
    ).exists()


def test_a_real_stage_dies_with_a_killed_run(spawn, flags, tmp_path):
    """A stage is a Python as users start it: no training goes on alone, holding its folder."""
    process = spawn("compress.py", *flags, "--output_dir", tmp_path / "out")
    while (stage := _first_stage(process.pid)) is None:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.kill(stage, signal.SIGSTOP)  # so that it does not end by itself
    process.kill()
    process.communicate()
    for _ in range(500):
        if not Path(f"/proc/{stage}").exists():
            return
        time.sleep(0.01)
    os.kill(stage, signal.SIGKILL)
    pytest.fail(f"process {stage} lived on")


def _first_stage(pid: int) -> int | None:
    """The process that checks the images, once it is more than a copy of the one that starts it."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"data.check" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


# --------------------------------------------------------------------------------------------------
# What it leaves


def test_the_figures_agree(plain):
    """Table, page, card and results.json are one set of numbers; the test's own are the same."""
    found = results(plain)
    test = json.loads((plain / "test" / "results.json").read_text())
    for label, entry in zip(("teacher", "compressed"), test["models"], strict=True):
        for key in ("params", "macs", "metrics", "name"):
            assert found[label][key] == entry[key]
    exact = json.loads((plain / "latency" / "latency.json").read_text())["all"]
    assert [found[k]["exact_macs"] for k in ("teacher", "compressed")] == [e["macs"] for e in exact]
    assert [found[k]["latency"]["median_ms"] for k in ("teacher", "compressed")] == [
        e["median_ms"] for e in exact
    ]
    assert all(found[k]["exact_macs"] < found[k]["macs"] for k in ("teacher", "compressed"))
    assert found["n"] == 6 and found["images"]["val"] == {"count": 2, "of": "train"}
    target = found["target"]
    assert target["met"] and target["reached"] == found["compressed"]["macs"] <= target["budget"]
    page, card = (plain / "index.html").read_text(), (plain / "MODEL_CARD.md").read_text()
    headings, rows = table(found)
    for cell in (*headings, *(cell for row in rows for cell in row)):
        assert cell in card, cell
        assert f">{cell}<" in page or not cell, cell
    compressed = found["compressed"]
    assert rows[1][0] == f"compressed: {compressed['name']}" and giga(compressed["macs"]) in rows[1]
    assert mega(found["teacher"]["params"]) in rows[0]
    assert verdict(found) in page and verdict(found)[1:] in card
    for text in limits(found):
        assert text in card
    assert "random features" in " ".join(limits(found))
    for f in found["files"].values():
        assert (plain / f["name"]).stat().st_size == f["bytes"]
        assert f"`{f['name']}`: {f['bytes'] / 1e6:.2f} MB" in card
    assert sorted(found["files"]) == ["onnx", "pth"]
    for image in (plain / "test" / "images" / "compressed").iterdir():
        assert f"test/images/compressed/{image.name}" in page


@pytest.mark.parametrize(
    ("reached", "value", "text"),
    [
        (20.04, 20.0, "target 20ms: MISSED: 20.04 ms measured, 20 ms wanted"),
        (1.9, 20.0, "target 20ms: 1.9 ms measured, 20 ms wanted"),
    ],
)
def test_a_time_that_was_just_missed_reads_so(reached, value, text):
    target = {"text": "20ms", "kind": "ms", "value": value, "budget": 9e6, "reached": reached}
    said = verdict({"target": target | {"met": reached <= value}})
    assert said.startswith(text + " (searched within ")


def test_the_examples_of_the_card_run(plain, dataset, tmp_path):
    """Both ways of using the network give its images of the test."""
    card = (plain / "MODEL_CARD.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", card, re.S)
    assert len(examples) == 2
    image = next((plain / "test" / "images" / "real_A").iterdir())
    expected = Image.open(plain / "test" / "images" / "compressed" / image.name)
    for name in ("compressed.pth", "compressed.onnx"):
        shutil.copy(plain / name, tmp_path)
    shutil.copy(image, tmp_path / "in.png")
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        for example in examples:
            exec(compile(example, "card", "exec"), {})
            made = Image.open("out.png")
            different = [
                abs(a - b) for a, b in zip(made.tobytes(), expected.tobytes(), strict=True)
            ]
            assert made.size == (SIZE, SIZE) and max(different) <= 1
            os.unlink("out.png")
    finally:
        os.chdir(here)


# --------------------------------------------------------------------------------------------------
# A given teacher, and a target in milliseconds


def test_a_given_teacher_is_not_trained(plain, compress, weights_alone, tmp_path):
    """By a time: the widths are timed once, and the measured time of the winner is shown."""
    given = tmp_path / "mine_net_G.pth"
    shutil.copy(plain / "teacher" / "checkpoints" / "best_net_G.pth", given)
    out = tmp_path / "out"
    quick = ("--teacher", given, "--image_size", 64, *weights_alone)
    for _ in range(9):  # other work on the machine moves the range
        refused = compress(out, *quick, "--target", "1e6ms", "--dry_run")
        assert refused.returncode == 2 and refused.stderr.count("error:") == 1
        ends = re.search(r"from ([\d.e+]+)ms to ([\d.e+]+)ms per image", refused.stderr).groups()
        target = f"{(float(ends[0]) * float(ends[1])) ** 0.5:.4g}ms"
        done = compress(out, *quick, "--target", target)
        if done.returncode == 0:
            break
        assert "ms per image" in done.stderr and not out.exists()
    done.succeeded()
    assert not (out / "teacher").exists() and " teacher\n$" not in done.stdout
    supernet, finetune = [s for s in done.stdout.splitlines() if s.startswith("$ python train_s")]
    assert f"--lambda_distill 0.5 --restore_teacher_G_path {given}" in supernet
    assert "beside the teacher, so the student learns layer by layer" in done.stdout
    # Its own discriminator and adaptors go on, and no other.
    best = out / "supernet" / "checkpoints" / "best_net"
    assert f"--restore_D_path {best}_D.pth --restore_A_path {best}_A " in finetune
    assert "restore_D_path" not in supernet and "--distiller" not in done.stdout
    assert "trained at 32x32 and gets images of 64x64" in done.stdout
    found = results(out)
    assert found["teacher"]["given"] and found["teacher"]["checkpoint"] == str(given)
    assert found["target"]["reached"] == found["compressed"]["latency"]["median_ms"]
    assert found["target"]["met"] == (found["target"]["reached"] <= found["target"]["value"])
    assert ("MISSED" in done.stdout) == (not found["target"]["met"])
    assert verdict(found) in done.stdout
    # The budget is remembered: another measurement would be another search.
    budget = json.loads((out / "budget.json").read_text())
    assert found["target"]["budget"] == budget["macs"]
    assert [point["ms"] for point in budget["timing"]] == sorted(p["ms"] for p in budget["timing"])
    again = compress(out, *quick, "--target", target, "--dry_run").succeeded().stdout
    assert f"--budget {budget['macs']} " in again


@pytest.fixture(scope="module")
def horses(tmp_path_factory) -> Path:
    """Images of two sides that are no pairs."""
    root, rng = tmp_path_factory.mktemp("horses"), np.random.default_rng(0)
    for folder, count in {"trainA": 10, "trainB": 12, "testA": 3, "testB": 4}.items():
        (root / folder).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{folder}{i}.png")
    return root


def test_images_without_pairs(horses, compress, weights_alone, tmp_path):
    """Its teacher is one of two that learn both directions; the whole of it runs."""
    done = compress(tmp_path / "out", "--dataroot", horses, *weights_alone).succeeded()
    assert "trained here beside one of the other direction (CycleGAN)" in done.stdout
    assert "resnet_6blocks ngf 16" in done.stdout
    # Half of A and half of B: 8 of 10, 10 of 12. The teacher's epochs are of A, the others' of B.
    assert re.search(r"^teacher +about .* 3 epochs, 12 steps$", done.stdout, re.M), done.stdout
    assert re.search(r"^supernet +about .* 3 epochs, 15 steps$", done.stdout, re.M)
    teacher = tmp_path / "out" / "teacher" / "checkpoints"
    assert results(tmp_path / "out")["teacher"]["checkpoint"] == str(teacher / "latest_net_G_B.pth")
    (supernet,) = [s for s in done.stdout.splitlines() if "train_supernet.py" in s and "_set" in s]
    assert f"--restore_D_path {teacher / 'latest_net_D_B.pth'}" in supernet
    assert "--student_netG super_mobile_resnet_6blocks" in supernet
    found = results(tmp_path / "out")
    assert found["dataset_mode"] == "unaligned" and found["direction"] == "BtoA"
    assert found["compressed"]["name"].startswith("sub_mobile_resnet_6blocks")
    # The inputs are those of B.
    assert found["n"] == 4 and "4 to test on (of phase test)" in done.stdout
    assert found["images"]["test"] == {"count": 4, "of": "test"}
    assert list(found["measures"]) == ["fid", "kid"] and found["compressed"]["l1_to_teacher"] > 0
    assert "no pairs" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_a_given_teacher_without_pairs(plain, horses, compress, tmp_path):
    """The discriminator beside it has seen pairs, and cannot judge images alone."""
    teacher = ("--teacher", plain / "teacher" / "checkpoints" / "best_net_G.pth")
    done = compress(tmp_path / "out", "--dataroot", horses, *teacher, "--dry_run").succeeded()
    assert "train.py" not in done.stdout and "--lambda_distill 0.5" in done.stdout
    assert "best_net_D.pth beside the teacher is of another kind than ours" in done.stdout


def test_a_dataset_of_train_alone(dataset, compress, tmp_path):
    """All three phases come out of it, which the plan says, with the remedy."""
    alone = tmp_path / "d"
    shutil.copytree(dataset / "train", alone / "train")
    script = compress(tmp_path / "out", "--dataroot", alone, "--dry_run").succeeded().stdout
    assert "4 to learn from (of phase train)" in script
    assert "2 to test on (held out of train)" in script
    assert "there is no phase val or test" in script and "into a folder val" in script
    assert f"-m data.check {alone} " in script and "--phase train" in script


def test_a_discriminator_beside_a_given_teacher_is_used(plain, compress, tmp_path):
    for kind in "GD":
        name = f"best_net_{kind}.pth"
        shutil.copy(plain / "teacher" / "checkpoints" / name, tmp_path / name)
    flags = ("--teacher", tmp_path / "best_net_G.pth", "--dry_run")
    script = compress(tmp_path / "out", *flags).succeeded().stdout
    assert f"--restore_D_path {tmp_path / 'best_net_D.pth'}" in script
    assert "by the features of best_net_D.pth beside it" in script
    shutil.copy(tmp_path / "best_net_G.pth", tmp_path / "best_net_D.pth")
    script = compress(tmp_path / "out", *flags).succeeded().stdout
    assert f"--restore_D_path {tmp_path / 'best_net_D.pth'}" not in script
    assert "of another kind than ours" in script


def test_a_teacher_whose_layers_do_not_fit(dataset, compress, tmp_path):
    """Its images alone teach: no layers and no discriminator of its own are needed."""
    spec = GeneratorSpec("mobile_deepest_resnet", 8)
    assert not spec.kind.tapped
    save_network(new_generator(spec, Initialisation()), tmp_path / "deep_net_G.pth", spec)
    flags = ("--teacher", tmp_path / "deep_net_G.pth", "--dry_run")
    script = compress(tmp_path / "out", *flags).succeeded().stdout
    lines = [line for line in script.splitlines() if "train_supernet.py" in line]
    assert len(lines) == 2 and all("--lambda_l1 100" in line for line in lines)
    assert "restore_D_path" not in script and "restore_A_path" not in script
    assert "and its layers do not fit, so the student learns from its images alone" in script


# --------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--target", "12"), ("--target 12", "MACs", "16,8,4", "32x32")),
        (("--target", "900x"), ("--target 900x", "24.1x fewer MACs than the teacher")),
        (("--target", "1ns"), ("--target 1ns", "12x", "20ms")),
        (("--dataroot", "/none"), ("--dataroot /none: no such folder",)),
        (("--teacher", "/none.pth"), ("--teacher /none.pth: no such file",)),
        (("--preset", "fast"), ("--preset fast", "quick, standard, best")),
        (("--direction", "atob"), ("--direction", "AtoB")),
        (("--targt", "12x"), ("unknown flag --targt", "--target")),
        (("--dataset_mode", "unaligned"), ("has 'train' instead of 'trainA'",)),
        (("--student_netG", "super_unet_128"), ("32x32", "128x128", "--image_size")),
        (("--student_netG", "unet_128"), ("--student_netG", "super_unet_128")),
        (("--image_size", "30"), ("--image_size 30", "multiple of 4")),
        (("--image_size", "16"), ("stage teacher", "--crop_size 16", "24 pixels", "--preset")),
    ],
)
def test_what_cannot_work_starts_nothing(more, words, compress, tmp_path):
    done = compress(tmp_path / "out", *more)
    said = done.stderr.replace("no CUDA GPU was found: using the CPU\n", "")
    assert done.returncode == 2 and said.count("\n") == 1, done.stderr
    assert all(word in said for word in words), said
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_compression_is_left_alone(plain, compress, preset, snapshot, tmp_path):
    compress(plain).succeeded()
    before = snapshot(plain)
    other = tmp_path / "other.toml"
    other.write_text(PRESET.replace("population_size = 8", "population_size = 9"))
    for more, words in (
        (("--target", "5x"), "target`? 5x \\(was 6x\\)"),
        (("--preset", other), r"search.population_size. 9 \(was 8\)"),
        (("--seed", "1"), r"seed`? 1 \(was 233\)"),
    ):
        for dry in ((), ("--dry_run",)):
            done = compress(plain, *more, *dry)
            assert done.returncode == 2 and done.stderr.count("error:") == 1
            assert re.search(words, done.stderr), done.stderr
            assert "--output_dir" in done.stderr
    assert snapshot(plain) == before


def test_a_stage_runs_in_any_thread(tmp_path):
    """Python lets the main thread alone handle signals, which a window's worker is not."""
    written = tmp_path / "page.txt"
    stage = Stage("page", "platform", {}, written)
    ended: list[object] = []

    def work():
        try:
            run_stage(stage)
        except InputError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    (error,) = ended
    assert str(written) in str(error)


def test_one_compression_at_a_time(plain, compress):
    """Two runs at once would write the same files."""
    held = os.open(plain, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = compress(plain)
    finally:
        os.close(held)
    assert done.returncode == 2 and "another run is writing there now" in done.stderr


def test_a_stage_that_refuses_says_so(compress, dataset, tmp_path):
    """A broken image is found by the first stage, with its remedy; nothing is trained."""
    broken = tmp_path / "d"
    shutil.copytree(dataset, broken)
    victim = sorted((broken / "val").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:99])
    done = compress(tmp_path / "out", "--dataroot", broken)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert victim.name in done.stdout and "stage check stopped" in done.stderr
    assert not (tmp_path / "out" / "data").exists()


# --------------------------------------------------------------------------------------------------
# From Python. These come last: they claim the folder, and write into it.


def test_it_is_done_from_python_too(plain, compress, dataset, preset, monkeypatch):
    """The same compression: a folder that is done is loaded, and no stage runs."""
    compress(plain).succeeded()
    monkeypatch.setattr("pipeline.run.run_stage", lambda stage: pytest.fail(stage.name))
    how = dict(target="6x", preset=str(preset), direction="BtoA", device="cpu")
    found = gan_compression.compress(dataset, plain, **how)
    assert found.results == results(plain) and found.folder == plain
    assert same(dict(found.generator.net.state_dict()), dict(weights(plain)))
    assert gan_compression.searched(plain)[0]["macs"] <= found.results["compressed"]["macs"]
    with pytest.raises(InputError, match="`output_dir`"):
        gan_compression.compress(dataset, plain, **(how | {"target": "7x"}))


def test_the_notebook_runs(plain, compress, dataset, preset, monkeypatch, capsys):
    """docs/tour.ipynb cell by cell, on the tiny compression instead of its own."""
    compress(plain).succeeded()
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    notebook = json.loads((ROOT / "docs" / "tour.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    names: dict = {}
    with matplotlib.rc_context({"backend": "agg"}):
        for number, cell in enumerate(cells):
            exec(compile(cell, f"tour.ipynb, code cell {number}", "exec"), names)
            if number == 0:
                names |= {"DATA": dataset, "OUT": plain, "TARGET": "6x", "PRESET": str(preset)}
        drawn = [names["plt"].figure(n) for n in names["plt"].get_fignums()]
        assert len(drawn) == 3 and len(drawn[0].axes) == 12 and len(drawn[2].axes) == 5
        names["plt"].close("all")
    assert f"small    {names['small'].generator}" in capsys.readouterr().out
    assert (plain / "small.safetensors").is_file()
