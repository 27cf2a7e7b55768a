"""The shell recipes: every stage's command is valid and says what SPEC 6 and OMGD publish; two
pipelines are run for real."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import options

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(
    p
    for kind in ("pix2pix", "cycle_gan")
    for p in (ROOT / "scripts" / kind).iterdir()
    if p.is_dir() and not p.name.endswith(("_omgd", "_online"))
)
SEARCHED_ONLINE = sorted((ROOT / "scripts" / "pix2pix").glob("*_online"))
OMGD = sorted((ROOT / "scripts" / "pix2pix").glob("*_omgd"))
PIX2PIX = [folder for folder in FOLDERS if folder.parent.name == "pix2pix"]
HORSE2ZEBRA = ROOT / "scripts" / "cycle_gan" / "horse2zebra_fast"
UNPAIRED = [HORSE2ZEBRA.with_name(name) for name in ("horse2zebra", "zebra2horse", "summer2winter")]
# The full pipeline with mIoU, and both without pairs: between them every line of recipes.sh.
VARIED = [ROOT / "scripts" / "pix2pix" / "cityscapes", HORSE2ZEBRA, UNPAIRED[0]]
PHASES = ("train", "val")
CONFIG = "16_16_32_16_16_64_16_24"
NEED_CONFIG = {"finetune", "export", "test_compressed", "test_supernet", "latency_compressed"}
# SPEC 6: teacher, supernet and fine-tuning epochs (constant, decay), batch, lambda_recon,
# lambda_distill, budget, criterion, direction.
RECIPES = {
    "edges2shoes-r": ((5, 15), (10, 30), (5, 15), 4, 100, 1, 4.9e9, "fid", "AtoB"),
    "cityscapes": ((100, 150), (200, 300), None, 1, 100, 1, 5.7e9, "mIoU", "BtoA"),
    "map2sat": ((100, 200), (200, 400), (100, 200), 1, 10, 0.01, 4.6e9, "fid", "BtoA"),
}


@pytest.fixture(autouse=True)
def quick_python(fork_server, monkeypatch):
    """The shell scripts start Python by the name that the environment gives."""
    monkeypatch.setenv("PYTHON", str(fork_server.python))


def shown(folder: Path, stage: str, *args: str, **environment: str) -> dict[str, object]:
    """Script -> parsed flags, of the commands that a stage shows."""
    config = [CONFIG] if stage in NEED_CONFIG and folder not in OMGD else []
    call = ["bash", str(folder / f"{stage}.sh"), *config, *args]
    done = subprocess.run(
        call,
        env=os.environ | {"DRY_RUN": "1"} | environment,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    commands = [
        shlex.split(line)[2:] for line in done.stderr.splitlines() if line.startswith("$ python")
    ]
    return {
        script: options.SCRIPTS[script].parse(flags)
        for script, *flags in commands
        if script in options.SCRIPTS
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_every_stage_shows_a_valid_command(folder):
    stages = {p.stem for p in folder.glob("*.sh")} - {"recipe", "run"}
    needed = {
        "train_supernet",
        "finetune",
        "export",
        "test_full",
        "test_compressed",
        "test_supernet",
        "get_real_stat",
    }
    needed |= {"train_full", "latency_full", "latency_compressed", "search", "evolution_search"}
    if not folder.name.endswith("_fast"):
        needed |= {"train_mobile", "distill", "test_mobile"}
    assert needed <= stages
    for stage in stages:
        assert shown(folder, stage), stage


@pytest.mark.parametrize("folder", PIX2PIX, ids=lambda f: f.name)
def test_the_published_recipes(folder):
    fast = folder.name.endswith("_fast")
    teacher, supernet, finetune, batch, recon, distill, budget, criterion, direction = RECIPES[
        folder.name.removesuffix("_fast")
    ]
    opt = shown(folder, "train_full")["train.py"]
    assert (
        (opt.nepochs, opt.nepochs_decay) == teacher
        and opt.netG == "resnet_9blocks"
        and opt.ngf == 64
    )
    assert (opt.batch_size, opt.lambda_recon, opt.direction) == (batch, recon, direction)
    opt = shown(folder, "train_supernet")["train_supernet.py"]
    assert (opt.nepochs, opt.nepochs_decay, opt.batch_size) == (*supernet, batch)
    assert (opt.lambda_recon, opt.lambda_distill) == (recon, distill)
    assert (opt.student_ngf, opt.config_set) == (
        (64, "channels-64-pix2pix") if fast else (48, "channels-48")
    )
    assert bool(opt.restore_student_G_path) != fast
    opt = shown(folder, "evolution_search")["evolution_search.py"]
    assert (opt.budget, opt.criterion, opt.mutate_prob, opt.phase) == (
        budget,
        criterion,
        0.3,
        "train",
    )
    assert opt.meta_path.endswith("train2.meta")
    if finetune:
        opt = shown(folder, "finetune")["train_supernet.py"]
        assert (opt.nepochs, opt.nepochs_decay, opt.config_str, opt.config_set) == (
            *finetune,
            CONFIG,
            None,
        )
    if not fast:
        opt = shown(folder, "train_mobile")["train.py"]
        assert opt.netG == "mobile_resnet_9blocks" and opt.ngf == (
            64 if folder.name == "edges2shoes-r" else 96
        )
        opt = shown(folder, "distill")["distill.py"]
        assert (opt.nepochs, opt.nepochs_decay) == teacher and opt.restore_pretrained_G_path
    # The environment and flags given last win.
    more = {
        "MORE": "--batch_size 3",
        "MORE_TRAIN_FULL": "--ngf 24",
        "GPU_IDS": "-1",
        "DATAROOT": "/d",
    }
    opt = shown(folder, "train_full", "--ngf", "12", **more)["train.py"]
    assert (opt.batch_size, opt.ngf, opt.gpu_ids, opt.dataroot) == (3, 12, "-1", "/d")
    assert (opt.dataset_mode, opt.gan_mode) == ("aligned", "hinge")
    # A teacher that is given takes the place of the one that would be trained.
    opt = shown(folder, "test_full", TEACHER="/t.pth")["test.py"]
    assert opt.restore_G_path == "/t.pth"
    opt = shown(folder, "train_supernet", TEACHER="/t.pth")["train_supernet.py"]
    assert (opt.restore_teacher_G_path == "/t.pth") == fast


def test_the_published_recipe_of_unpaired_data():
    opt = shown(HORSE2ZEBRA, "train_supernet", TEACHER="/t.pth")["train_supernet.py"]
    assert (opt.dataset_mode, opt.direction, opt.dataroot) == (
        "unaligned",
        "AtoB",
        "database/horse2zebra",
    )
    assert (opt.gan_mode, opt.lambda_recon, opt.lambda_distill, opt.batch_size) == (
        "lsgan",
        10,
        0.01,
        1,
    )
    assert (opt.nepochs, opt.nepochs_decay) == (200, 200)
    assert (opt.config_set, opt.student_ngf) == ("channels-64-cycleGAN", 64)
    assert opt.meta_path.endswith("splits/train1.meta")
    assert opt.restore_teacher_G_path == "/t.pth"
    opt = shown(HORSE2ZEBRA, "evolution_search")["evolution_search.py"]
    assert (opt.budget, opt.mutate_prob, opt.criterion, opt.phase) == (3e9, 0.4, "fid", "train")
    assert opt.meta_path.endswith("splits/train2.meta") and opt.config_set == "channels-64-cycleGAN"
    opt = shown(HORSE2ZEBRA, "finetune")["train_supernet.py"]
    assert (opt.nepochs, opt.nepochs_decay, opt.gan_mode, opt.config_str) == (
        200,
        200,
        "lsgan",
        CONFIG,
    )
    for stage, script in (("test_compressed", "test.py"), ("get_real_stat", "get_real_stat.py")):
        assert shown(HORSE2ZEBRA, stage)[script].dataset_mode == "unaligned"


@pytest.mark.parametrize("folder", UNPAIRED, ids=lambda f: f.name)
def test_the_full_recipes_of_unpaired_data(folder):
    """From images alone: two CycleGANs, then the student of the generator of one direction."""
    direction = "BtoA" if folder.name == "zebra2horse" else "AtoB"
    data = "summer2winter" if folder.name == "summer2winter" else "horse2zebra"
    side, real, out = direction[0], direction[3], f"logs/cycle_gan/{folder.name}"
    teachers = f"logs/cycle_gan/{data}"
    for stage, netG in (("full", "resnet_9blocks"), ("mobile", "mobile_resnet_9blocks")):
        opt = shown(folder, f"train_{stage}")["train.py"]
        assert (opt.model, opt.dataset_mode, opt.direction) == ("cycle_gan", "unaligned", "AtoB")
        assert (opt.netG, opt.ngf, opt.ndf, opt.norm) == (netG, 64, 64, "instance")
        assert (opt.nepochs, opt.nepochs_decay, opt.batch_size) == (100, 100, 1)
        assert (opt.save_epoch_freq, opt.lr, opt.beta1, opt.gan_mode) == (20, 2e-4, 0.5, "lsgan")
        assert (opt.lambda_A, opt.lambda_B, opt.lambda_identity, opt.pool_size) == (10, 10, 0.5, 50)
        assert (opt.dataroot, opt.log_dir) == (f"database/{data}", f"{teachers}/{stage}")
        statistics = (opt.real_stat_path, opt.real_stat_A_path)
        assert statistics == (f"{teachers}/real_stat_B.npz", f"{teachers}/real_stat_A.npz")
    teacher = f"{teachers}/mobile/checkpoints/latest_net_G_{side}.pth"
    opt = shown(folder, "distill")["distill.py"]
    assert opt.restore_teacher_G_path == opt.restore_pretrained_G_path == teacher
    assert opt.restore_D_path == teacher.replace("net_G", "net_D")
    assert (opt.nepochs, opt.nepochs_decay, opt.direction) == (100, 100, direction)
    assert (opt.student_ngf, opt.ndf, opt.gan_mode) == (32, 64, "lsgan")
    assert (opt.lambda_recon, opt.lambda_distill) == (10, 0.01)
    assert opt.meta_path == f"{out}/splits/train1.meta"
    assert opt.real_stat_path == f"{teachers}/real_stat_{real}.npz"
    opt = shown(folder, "train_supernet")["train_supernet.py"]
    assert (opt.config_set, opt.student_ngf, opt.ndf) == ("channels-32", 32, 64)
    assert (opt.nepochs, opt.nepochs_decay, opt.direction) == (200, 200, direction)
    assert opt.restore_teacher_G_path == teacher
    assert opt.restore_student_G_path == f"{out}/distill/checkpoints/latest_net_G.pth"
    assert opt.restore_D_path == f"{out}/distill/checkpoints/latest_net_D.pth"
    opt = shown(folder, "search")["search.py"]
    assert (opt.dataset_mode, opt.dataroot) == ("single", f"database/{data}/train{side}")
    assert opt.meta_path == f"{out}/splits/train2{side}.meta"
    assert (opt.batch_size, opt.criterion, opt.config_set) == (32, "fid", "channels-32")
    assert opt.real_stat_path == f"{teachers}/real_stat_{real}.npz"
    opt = shown(folder, "test_compressed")["test.py"]
    assert (opt.dataset_mode, opt.direction) == ("unaligned", direction)
    assert opt.real_stat_path == f"{teachers}/real_stat_{real}.npz"
    opt = shown(folder, "test_full")["test.py"]
    assert opt.restore_G_path == f"{teachers}/full/checkpoints/latest_net_G_{side}.pth"
    # What is given takes the place of what would be made, and OUT holds all of a run.
    given = {"TEACHER": "/t.pth", "OUT": "/o", f"REAL_STAT_{real}": "/real.npz"}
    opt = shown(folder, "test_full", **given)["test.py"]
    assert (opt.restore_G_path, opt.real_stat_path) == ("/t.pth", "/real.npz")
    assert shown(folder, "train_mobile", OUT="/o")["train.py"].log_dir == "/o/mobile"


# Epochs (constant, decay), batch, lambda_recon, teacher_freq, direction; then by the student's
# width: share_D and lambda_distill. OMGD publishes none for maps.
ONLINE = {
    "edges2shoes-r": ((100, 100), 4, 100, 1, "AtoB", {16: (3, 100), 12: (3, 1000), 8: (3, 1000)}),
    "cityscapes": ((300, 450), 1, 100, 3, "BtoA", {16: (4, 0), 12: (3, 0), 8: (3, 0)}),
    "map2sat": ((100, 200), 4, 10, 1, "BtoA", {16: (3, 100), 12: (3, 1000), 8: (3, 1000)}),
}


@pytest.mark.parametrize("folder", OMGD, ids=lambda f: f.name)
def test_the_recipes_with_two_teachers(folder):
    stages = {p.stem for p in folder.glob("*.sh")} - {"recipe", "run"}
    assert stages == {
        *("train_online", "export", "test_wider", "test_deeper", "test_compressed"),
        *("latency_wider", "latency_compressed", "get_real_stat"),
    }
    assert all(shown(folder, stage) for stage in stages)
    epochs, batch, recon, freq, direction, by_width = ONLINE[folder.name.removesuffix("_omgd")]
    for student, (share, distill) in by_width.items():
        chosen = {} if student == 16 else {"STUDENT_NGF": str(student)}
        opt = shown(folder, "train_online", **chosen)["distill.py"]
        assert (opt.nepochs, opt.nepochs_decay, opt.batch_size) == (*epochs, batch)
        assert (opt.lambda_recon, opt.teacher_freq, opt.direction) == (recon, freq, direction)
        assert (opt.student_netG, opt.student_ngf) == ("mobile_resnet_9blocks", student)
        widths = (64, 16, 128) if student == 16 else (48, 12, 96)
        assert (opt.teacher_ngf, opt.deeper_ngf, opt.ndf) == widths
        kinds = ("mobile_resnet_9blocks", "mobile_deepest_resnet")
        assert (opt.teacher_netG, opt.deeper_netG) == kinds
        assert (opt.share_D, opt.lambda_distill, opt.feature_net) == (share, distill, "vgg16")
        assert opt.distiller == "online" and (distill == 0 or opt.tap_loss == "channel")
        assert (opt.lambda_ssim, opt.lambda_style, opt.lambda_feature) == (10, 1e4, 10)
        assert (opt.lambda_tv, opt.lr, opt.beta1, opt.gan_mode) == (1e-5, 2e-4, 0.5, "hinge")
        assert f"/ngf{student}/" in opt.log_dir
    for width in ("24", "x"):
        done = bash(folder / "train_online.sh", DRY_RUN="1", STUDENT_NGF=width)
        assert done.returncode == 2 and f"STUDENT_NGF {width}" in done.stderr


@pytest.mark.parametrize("folder", OMGD, ids=lambda f: f.name)
def test_all_stages_with_two_teachers_are_shown(folder):
    done = bash(folder / "run.sh", DRY_RUN="1", OUT="/nowhere/my out")
    assert done.returncode == 0, done.stderr
    scripts = [line.split()[2] for line in done.stderr.splitlines() if line.startswith("$ python")]
    tests = ["test.py"] * 3 + ["latency.py"] * 2
    assert scripts == ["distill.py", "export.py", *tests, "scripts/summarise.py"]
    refused = bash(folder / "run.sh", "--ngf", OUT="/nowhere/my out")
    assert refused.returncode == 2 and "--ngf" in refused.stderr


@pytest.mark.parametrize("folder", SEARCHED_ONLINE, ids=lambda f: f.name)
def test_a_search_in_an_online_supernet(folder, tmp_path):
    """The fast pipeline but for how the student learns: the supernet from its teacher's images, the
    winner from real ones, for a third of the epochs."""
    fast = folder.with_name(folder.name.replace("_online", "_fast"))
    assert {p.name for p in folder.iterdir()} == {p.name for p in fast.iterdir()}
    ours, theirs = (shown(f, "evolution_search")["evolution_search.py"] for f in (folder, fast))
    assert (ours.config_set, ours.budget) == (theirs.config_set, theirs.budget)
    supernet = shown(fast, "train_supernet")["train_supernet.py"]
    lengths = {"train_supernet": 1, "finetune": 3}
    for stage, part in lengths.items():
        opt = shown(folder, stage)["train_supernet.py"]
        assert (opt.distiller, opt.teacher_freq, opt.lambda_distill) == ("online", 0, 0)
        assert opt.restore_D_path.endswith("/full/checkpoints/latest_net_D.pth")
        assert opt.nepochs_decay == -(-supernet.nepochs_decay // part)
        assert (opt.student_ngf, opt.batch_size) == (64, 4)
        assert (opt.lambda_ssim > 0) == (stage == "train_supernet")
        assert (opt.lambda_adversarial, opt.ema > 0) == ((stage == "finetune"),) * 2
    assert (opt.lambda_real, opt.student_ndf) == (supernet.lambda_recon, opt.ndf // 2)
    assert opt.augment_D == ["color", "translation", "cutout"]
    teachers = [shown(f, "train_full")["train.py"] for f in (folder, fast)]
    assert [(t.augment_D, t.ema) for t in teachers] == [(opt.augment_D, opt.ema), ([], 0)]
    assert opt.restore_student_G_path.endswith("/supernet/checkpoints/latest_net_G.pth")
    assert (opt.config_str, opt.restore_A_path) == (CONFIG, None)
    # Without the discriminator of a given teacher, VGG-16 looks at the images.
    teacher = tmp_path / "net_G.pth"
    teacher.touch()
    given = {"TEACHER": str(teacher), "VGG_PATH": "/vgg.pth"}
    opt = shown(folder, "train_supernet", **given)["train_supernet.py"]
    assert (opt.feature_net, opt.vgg_path, opt.restore_D_path) == ("vgg16", "/vgg.pth", None)


@pytest.mark.parametrize(
    "stage", ["train_supernet", "finetune", "test_full", "latency_full", "run"]
)
def test_a_teacher_that_is_missing_is_asked_for_at_once(stage, tmp_path):
    call = ["bash", str(HORSE2ZEBRA / f"{stage}.sh"), *([CONFIG] if stage in NEED_CONFIG else [])]
    environment = os.environ | {"OUT": str(tmp_path / "out"), "TEACHER": str(tmp_path / "none.pth")}
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.count("\n") == 1
        and f"TEACHER {tmp_path / 'none.pth'}: no such file" in done.stderr
    )


def test_a_stage_that_needs_a_config_says_so():
    done = subprocess.run(["bash", str(FOLDERS[0] / "export.sh")], capture_output=True, text=True)
    assert done.returncode == 2 and "CONFIG" in done.stderr


# --------------------------------------------------------------------------------------------------
# Arguments, spaces, checks before the first stage


def bash(script: Path, *args: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(script), *args],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        cwd="/",
    )


@pytest.mark.parametrize("folder", [*VARIED, OMGD[0]], ids=lambda f: f.name)
def test_paths_with_spaces(folder):
    """Every path that the environment gives reaches its flag whole."""
    places = {"OUT": "/my out", "DATAROOT": "/my data", "TEACHER": "/my teacher.pth"}
    places |= {"DRN_PATH": "/my drn.pth", "TABLE_DIR": "/my tables", "CITYSCAPES_PATH": "/my city"}
    places |= {
        "VGG_PATH": "/my vgg.pth",
        "HELD_OUT": "/my list.meta",
        "MORE": "--meta_path '/my names.meta'",
    }
    for stage in {p.stem for p in folder.glob("*.sh")} - {"recipe", "run"}:
        for opt in shown(folder, stage, **places).values():
            paths = [value for value in vars(opt).values() if str(value).startswith("/my")]
            assert paths and all(" " in path for path in paths), stage
            assert getattr(opt, "meta_path", None) == (
                None if stage == "export" else "/my names.meta"
            )


@pytest.mark.parametrize("folder", VARIED, ids=lambda f: f.name)
def test_all_stages_are_shown(folder):
    """DRY_RUN=1 run.sh goes through to the summary and makes nothing."""
    out = Path("/nowhere/my out")
    done = bash(folder / "run.sh", DRY_RUN="1", OUT=str(out))
    assert done.returncode == 0, done.stderr
    scripts = [line.split()[2] for line in done.stderr.splitlines() if line.startswith("$ python")]
    assert "evolution_search.py" in scripts or "search.py" in scripts
    assert scripts[-5:-1] == ["test.py", "test.py", "latency.py", "latency.py"]
    assert scripts[-1] == "scripts/summarise.py" and not out.parent.exists()
    # Two are not fine-tuned (published); the others' summaries show what fine-tuning brought.
    assert ("--finetune" in done.stderr.splitlines()[-1]) == ("finetune" in done.stdout)
    assert ("finetune" in done.stdout) == (folder.name not in ("cityscapes", "horse2zebra"))


@pytest.mark.parametrize("closed", ["2>&-", ">&-"])
def test_a_recipe_goes_on_where_nobody_listens(closed):
    script = shlex.quote(str(PIX2PIX[0] / "run.sh"))
    environment = os.environ | {"DRY_RUN": "1", "OUT": "/nowhere/my out"}
    done = subprocess.run(
        ["bash", "-c", f"bash {script} {closed}"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert ("scripts/summarise.py" in done.stderr) == (closed == ">&-")
    assert ("== latency_compressed" in done.stdout) == (closed == "2>&-")


def test_a_flag_that_a_late_stage_refuses_stops_the_first(tmp_path):
    run = PIX2PIX[0].parent / "map2sat_fast" / "run.sh"
    for environment, words in (
        ({"MORE": "--amp bf16"}, ("stage test_full", "unknown flag --amp", "nothing was started")),
        ({"MORE_LATENCY_FULL": "--times 0"}, ("stage latency_full", "--times", "1 or more")),
        ({"MORE": "--phase 'val"}, ("MORE", "quote")),
    ):
        done = bash(run, OUT=str(tmp_path / "out"), **environment)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert all(word in done.stderr for word in words), done.stderr
        assert not (tmp_path / "out").exists() and "== train_full" not in done.stdout


def test_label_to_photo_without_the_segmentation_network(tmp_path):
    """Before anything trains, the way out is named; with it the search goes by FID."""
    folder = PIX2PIX[0].parent / "cityscapes_fast"
    away = {"OUT": str(tmp_path / "out"), "DRN_PATH": str(tmp_path / "none.pth")}
    done = bash(folder / "run.sh", **away)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert str(tmp_path / "none.pth") in done.stderr and "CRITERION=fid" in done.stderr
    Path(away["DRN_PATH"]).touch()
    done = bash(folder / "run.sh", **away, MORE="--no_mIoU")
    assert done.returncode == 2 and "--criterion fid" in done.stderr
    opt = shown(folder, "evolution_search", CRITERION="fid")["evolution_search.py"]
    assert opt.criterion == "fid" and "drn_path" not in opt.explicit


def test_fine_tuning_goes_on_with_what_lies_beside_the_generator(tmp_path):
    folder = PIX2PIX[0].parent / "map2sat_fast"
    checkpoints = tmp_path / "my out" / "supernet" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "best_net_G.pth").touch()
    opt = shown(folder, "finetune", OUT=str(tmp_path / "my out"))["train_supernet.py"]
    assert (opt.restore_D_path, opt.restore_A_path) == (None, None)
    for name in ("best_net_D.pth", "best_net_A-0.pth"):
        (checkpoints / name).touch()
    opt = shown(folder, "finetune", OUT=str(tmp_path / "my out"))["train_supernet.py"]
    assert opt.restore_student_G_path == str(checkpoints / "best_net_G.pth")
    assert opt.restore_D_path == str(checkpoints / "best_net_D.pth")
    assert opt.restore_A_path == str(checkpoints / "best_net_A")


@pytest.mark.parametrize("name", ["demo", "setup", "test", "web_demo"])
def test_scripts_explain_themselves_and_start_nothing(name):
    for flag in ("--help", "-h"):
        done = bash(ROOT / "scripts" / f"{name}.sh", flag)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) >= 2 and "==" not in done.stdout


@pytest.mark.parametrize("folder", VARIED, ids=lambda f: f.name)
def test_recipes_explain_themselves(folder):
    for script in ("run.sh", "finetune.sh"):
        done = bash(folder / script, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert "DATAROOT" in done.stdout and "MORE_<STAGE>" in done.stdout


@pytest.mark.parametrize(
    ("script", "argument"),
    [
        ("demo.sh", "--size=64"),
        ("setup.sh", "prod"),
        ("pix2pix/map2sat_fast/run.sh", "--batch_size"),
    ],
)
def test_arguments_that_scripts_do_not_know(script, argument):
    done = bash(ROOT / "scripts" / script, argument)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert argument in done.stderr and "--help" in done.stderr


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"BUDGET": "abc"}, ("stage search", "--budget", "abc", "nothing was started")),
        ({"GPU": "x"}, ("stage teacher", "--gpu_ids", "nothing was started")),
        ({"SIZE": "33"}, ("33", "multiple of 4")),
    ],
)
def test_the_demo_refuses_what_it_cannot_use(environment, words, tmp_path):
    """A copy of it that installs nothing. Its folder is free for the next try."""
    (tmp_path / "scripts").mkdir()
    for path in (ROOT / "scripts").glob("*.*"):
        (tmp_path / "scripts" / path.name).symlink_to(path)
    for name, text in (("demo.sh", None), ("setup.sh", "exit 0\n")):
        (tmp_path / "scripts" / name).unlink()
        text = (ROOT / "scripts" / name).read_text() if text is None else text
        (tmp_path / "scripts" / name).write_text(text)
    done = bash(tmp_path / "scripts" / "demo.sh", **environment)
    assert done.returncode == 2 and "== teacher" not in done.stdout
    said = [line for line in done.stderr.splitlines() if line and not line.startswith("$ ")]
    assert len(said) == 1 and all(word in said[0] for word in words), done.stderr
    assert not (tmp_path / "logs").exists()


def test_an_environment_without_pip_is_repaired_or_named(tmp_path):
    """A copy of the script meets a .venv that has no pip; no package is installed."""
    (tmp_path / "scripts").mkdir()
    for name in ("setup.sh", "lib.sh"):
        (tmp_path / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    (tmp_path / "requirements.txt").write_text("")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    done = bash(tmp_path / "scripts" / "setup.sh", PYTHON=sys.executable)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert ".venv has no pip" in done.stderr and "remove" in done.stderr
    # ensurepip brings it: the next call of pip works.
    python.write_text(
        '#!/bin/sh\ncase "$*" in *ensurepip*) touch pip;; *--version*) test -e pip;; esac\n'
    )
    done = bash(tmp_path / "scripts" / "setup.sh", PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------------------------------
# Splits


def test_the_published_splits_are_kept():
    lists = {"edges2shoes-r/train2": 2048, "cityscapes/train2": 200, "map2sat/train2": 300}
    lists |= {"horse2zebra/train2A": 120, "horse2zebra/train2B": 120}
    for name, count in lists.items():
        names = (ROOT / "datasets" / "metas" / f"{name}.meta").read_text().split()
        assert len(names) == len(set(names)) == count


@pytest.mark.parametrize(
    ("folder", "images", "rest"),
    [
        ("cityscapes_fast", [f"{i}.jpg" for i in range(2975)], 2775),
        ("map2sat_fast", [f"{i}.jpg" for i in range(1, 1097)], 796),
    ],
)
def test_the_recipes_use_the_published_splits(folder, images, rest, tmp_path):
    """On the datasets' file names: all that is not held out trains the supernet, what is held out
    judges the subnets."""
    (tmp_path / "data" / "train").mkdir(parents=True)
    for name in images:
        (tmp_path / "data" / "train" / name).touch()
    out = tmp_path / "out"
    environment = {"OUT": str(out), "DATAROOT": str(tmp_path / "data")}
    recipe = shlex.quote(str(ROOT / "scripts" / "pix2pix" / folder / "recipe.sh"))
    subprocess.run(
        ["bash", "-c", f"source {recipe}; split"],
        env=os.environ | environment,
        check=True,
        capture_output=True,
    )
    parts = [(out / "splits" / f"train{n}.meta").read_text().split() for n in (1, 2)]
    assert len(parts[0]) == rest and sorted(parts[0] + parts[1]) == sorted(images)
    name = folder.removesuffix("_fast")
    assert set(parts[1]) == set(
        (ROOT / "datasets" / "metas" / name / "train2.meta").read_text().split()
    )


def test_a_whole_pipeline_and_again(tmp_path, dataset):
    """map2sat_online/run.sh from teacher to table on the tiny dataset; a second run does nothing
    twice."""
    names = sorted(p.name for p in (dataset / "train").iterdir())
    (tmp_path / "held_out.meta").write_text("\n".join(names[:3]) + "\n")
    small = "--crop_size 32 --fid_features random --fid_dims 64 --num_threads 1"
    train = "--load_size 36 --batch_size 4 --ndf 8 --nepochs 1 --nepochs_decay 0"
    student = f"{train} --student_ngf 32"
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "DATAROOT": str(dataset),
        "OUT": str(tmp_path / "out"),
        "HELD_OUT": str(tmp_path / "held_out.meta"),
        "GPU_IDS": "-1",
        "BUDGET": "4e7",
        "MORE": small,
        "MORE_TRAIN_FULL": f"{train} --ngf 8",
        "MORE_TRAIN_SUPERNET": f"{student} --config_set channels-32",
        "MORE_EVOLUTION_SEARCH": (
            "--load_size 32 --config_set channels-32 --population_size 4 --evolution_iters 1"
        ),
        "MORE_FINETUNE": student,
        **{
            f"MORE_{a}_{b}": "--load_size 32"
            for a in ("TEST", "LATENCY")
            for b in ("FULL", "COMPRESSED")
        },
    }
    environment["MORE_LATENCY_FULL"] += " --times 3"
    environment["MORE_LATENCY_COMPRESSED"] += " --times 3"
    script = ROOT / "scripts" / "pix2pix" / "map2sat_online" / "run.sh"
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for stage in (
        "train_full",
        "train_supernet",
        "finetune",
        "export",
        "test_compressed",
        "latency_full",
    ):
        assert f"== {stage}\n" in done.stdout
    table = (tmp_path / "out" / "summary.md").read_text()
    assert (
        "teacher: resnet_9blocks ngf 8" in table
        and "random features, 64" in table
        and "n=6" in table
    )
    page = (tmp_path / "out" / "index.html").read_text()
    assert "search/search.png" in page and (tmp_path / "out" / "search" / "search.png").is_file()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.pth")}
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": done (") == 9, done.stdout + done.stderr
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.pth")}


def test_a_whole_pipeline_of_unpaired_images(tmp_path, horses):
    """zebra2horse/run.sh on a tiny dataset: from images to the table, with what lies between."""
    for side in "AB":
        names = sorted(p.name for p in (horses / f"train{side}").iterdir())
        (tmp_path / f"held_out{side}.meta").write_text("\n".join(names[:3]) + "\n")
    at_32 = "--load_size 32"
    train = "--load_size 36 --ndf 8 --batch_size 4 --nepochs 1 --nepochs_decay 0"
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "DATAROOT": str(horses),
        "OUT": str(tmp_path / "out"),
        "HELD_OUT": str(tmp_path / "held_out.meta"),
        "GPU_IDS": "-1",
        "BUDGET": "1.75e6",
        "MORE": "--crop_size 32 --fid_features random --fid_dims 64 --num_threads 1",
        "MORE_GET_REAL_STAT": f"{at_32} --preprocess resize_and_crop",
        "MORE_TRAIN_FULL": f"{train} --ngf 8",
        "MORE_TRAIN_MOBILE": f"{train} --ngf 8",
        "MORE_DISTILL": f"{train} --student_ngf 4",
        "MORE_TRAIN_SUPERNET": f"{train} --student_ngf 4 --config_set 4,3",
        "MORE_SEARCH": f"{at_32} --config_set 4,3",
        **{f"MORE_TEST_{name}": at_32 for name in ("FULL", "COMPRESSED")},
        **{f"MORE_LATENCY_{name}": f"{at_32} --times 3" for name in ("FULL", "COMPRESSED")},
    }
    script = ROOT / "scripts" / "cycle_gan" / "zebra2horse" / "run.sh"
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    out = tmp_path / "out"
    # Statistics of all real images: horses, since zebras become horses here.
    with np.load(out / "real_stat_A.npz") as real:
        assert int(real["n"]) == sum(len(list((horses / f"{p}A").iterdir())) for p in PHASES)
    results = json.loads((out / "results" / "compressed" / "results.json").read_text())
    assert "real_stat_A.npz" in json.dumps(results) and results["metrics"]["n"] == 5
    searched = [json.loads(line) for line in (out / "search.jsonl").read_text().splitlines()]
    assert len(searched) > 3 and all(r["n"] == 3 and r["macs"] <= 1.75e6 for r in searched)
    table = (out / "summary.md").read_text()
    assert "teacher: resnet_9blocks ngf 8" in table
    assert "compressed: sub_mobile_resnet_9blocks" in table
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": done (") == 12, done.stdout + done.stderr


def test_statistics_are_of_all_real_images_of_a_side(tmp_path, horses):
    """Made again they are of what there is then; nothing but links is taken away."""
    data, out = tmp_path / "my data", tmp_path / "my out"
    for phase in PHASES:
        for side in "AB":
            (data / f"{phase}{side}").mkdir(parents=True)
            for path in (horses / f"{phase}{side}").iterdir():
                (data / f"{phase}{side}" / path.name).write_bytes(path.read_bytes())
    small = "--fid_features random --fid_dims 64 --num_threads 1"
    for removed in (0, 2):
        for path in sorted((data / "trainA").iterdir())[:removed]:
            path.unlink()
        done = bash(
            UNPAIRED[0] / "get_real_stat.sh",
            *small.split(),
            **{"DATAROOT": str(data), "OUT": str(out), "GPU_IDS": "-1"},
        )
        assert done.returncode == 0, done.stderr
        with np.load(out / "real_stat_A.npz") as a, np.load(out / "real_stat_B.npz") as b:
            assert (int(a["n"]), int(b["n"])) == (15 - removed, 17)
        (out / "real_A" / "kept.txt").touch()
    assert (out / "real_A" / "kept.txt").exists()


def test_a_side_without_images_is_named(tmp_path, horses):
    (tmp_path / "trainA").symlink_to(horses / "trainA")
    done = bash(UNPAIRED[0] / "get_real_stat.sh", DATAROOT=str(tmp_path), OUT=str(tmp_path / "out"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"{tmp_path}/valA: no such folder" in done.stderr


def test_two_teachers_from_training_to_table_and_again(tmp_path, dataset):
    """map2sat_omgd/run.sh on the tiny dataset, with features that need no download."""
    images = "--crop_size 32 --fid_features random --fid_dims 64 --num_threads 1"
    tested = "--load_size 32"
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "DATAROOT": str(dataset),
        "OUT": str(tmp_path / "out"),
        "GPU_IDS": "-1",
        "STUDENT_NGF": "8",
        "MORE": images,
        "MORE_TRAIN_ONLINE": "--load_size 36 --nepochs 1 --nepochs_decay 0 --ndf 8 --teacher_ngf 9 "
        "--deeper_ngf 2 --feature_net discriminator",
        **{f"MORE_TEST_{name}": tested for name in ("WIDER", "DEEPER", "COMPRESSED")},
        **{f"MORE_LATENCY_{name}": f"{tested} --times 3" for name in ("WIDER", "COMPRESSED")},
    }
    script = ROOT / "scripts" / "pix2pix" / "map2sat_omgd" / "run.sh"
    for done_before in (0, 7):
        done = subprocess.run(
            ["bash", str(script)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert done.stdout.count(": done (") == done_before
    out = tmp_path / "out" / "ngf8"
    table = (out / "summary.md").read_text()
    assert "teacher: mobile_resnet_9blocks ngf 9" in table
    assert "compressed: mobile_resnet_9blocks ngf 8" in table and "n=6" in table
    deeper = json.loads((out / "results" / "deeper" / "results.json").read_text())
    assert deeper["name"] == "mobile_deepest_resnet ngf 2"


# --------------------------------------------------------------------------------------------------
# Results of other settings


def dry(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """run.sh, which shows what it would do."""
    environment = os.environ | {"DRY_RUN": "1"} | environment
    call = ["bash", str(folder / "run.sh")]
    return subprocess.run(call, env=environment, capture_output=True, text=True)


def test_a_finished_search_is_not_taken_for_one_of_another_budget(tmp_path):
    recipe, search = ROOT / "scripts" / "pix2pix" / "map2sat_fast", tmp_path / "search"
    search.mkdir()
    (search / "summary.json").write_text(json.dumps({"best": [{"config_str": CONFIG}]}))
    done, kept = search / "done", tmp_path / "results" / "compressed.config"
    done.write_text("BUDGET 4.6e9, CRITERION fid\n")
    same = dry(recipe, OUT=str(tmp_path))
    assert same.returncode == 0, same.stderr
    for environment in ({"BUDGET": "3e9"}, {"CRITERION": "mIoU"}):
        other = dry(recipe, OUT=str(tmp_path), **environment)
        assert other.returncode == 2 and other.stderr.count("\n") == 1, other.stderr
        assert f"{search} was made with BUDGET 4.6e9, CRITERION fid, not" in other.stderr
        assert next(iter(environment.values())) in other.stderr and "another OUT" in other.stderr
    # A search that was done again may find another subnet.
    kept.parent.mkdir()
    for config, code in ((CONFIG, 0), ("_".join(["16"] * 8), 2)):
        kept.write_text(f"{config}\n")
        found = dry(recipe, OUT=str(tmp_path))
        assert found.returncode == code, found.stderr
    assert f"{tmp_path}/results/compressed was made with {config}" in found.stderr
    # Folders of earlier versions say nothing.
    done.write_text("")
    kept.unlink()
    assert dry(recipe, OUT=str(tmp_path), BUDGET="3e9").returncode == 0
