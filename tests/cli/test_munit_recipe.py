"""The shell recipe of MUNIT: every stage's command is valid and says what is published."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import options

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "scripts" / "munit" / "edges2shoes-r-unaligned_fast"
CONFIG = "16_16_16_24_56_16_40_40_32_24"
STAGES = sorted(p.stem for p in FOLDER.glob("*.sh") if p.stem not in ("recipe", "run"))
NEED_CONFIG = {"export", "test_compressed", "test_supernet", "latency_compressed"}


def shown(stage: str, *args: str, **environment: str) -> dict:
    """Script -> parsed flags, of the commands that a stage shows."""
    done = subprocess.run(
        ["bash", str(FOLDER / f"{stage}.sh"), *args],
        env=os.environ | {"DRY_RUN": "1", "PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    lines = [line[2:] for line in done.stderr.splitlines() if line.startswith("$ ")]
    commands = [shlex.split(line)[1:] for line in lines]
    return {c[0]: options.SCRIPTS[c[0]].parse(c[1:]) for c in commands if c[0] in options.SCRIPTS}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_valid_commands(stage):
    assert shown(stage, *([CONFIG] if stage in NEED_CONFIG else []))


def test_the_flags_are_the_published_ones():
    found = shown("train_full")
    opt = found["train.py"]
    assert (opt.netG, opt.ngf, opt.netD, opt.ndf, opt.num_D) == ("munit", 64, "ms_image", 64, 3)
    assert (opt.batch_size, opt.lr, opt.beta1, opt.beta2) == (1, 1e-4, 0.5, 0.999)
    assert (opt.weight_decay, opt.gan_mode, opt.init_type) == (1e-4, "lsgan", "kaiming")
    assert (opt.lr_policy, opt.scheduler_counter, opt.gamma) == ("step", "iter", 0.5)
    assert (opt.lr_decay_steps, opt.niters, opt.nepochs) == (100_000, 1_000_000, 21)
    assert (opt.load_size, opt.crop_size, opt.no_flip) == (256, 256, False)
    assert (opt.lambda_rec_x, opt.lambda_rec_s, opt.lambda_rec_c, opt.lambda_gan) == (10, 1, 1, 1)
    sides = found["assemble.py"]
    assert sides.restore_G_A_path.endswith("latest_net_G_A.pth") and sides.direction == "AtoB"

    opt = shown("train_supernet")["train_supernet.py"]
    assert (opt.student_netG, opt.student_ngf, opt.teacher_ngf) == ("super_mobile_munit", 64, 64)
    assert (opt.lr_decay_steps, opt.niters, opt.nepochs) == (200_000, 2_000_000, 42)
    assert (opt.style_encoder_step, str(opt.config_set)) == (2, "channels-64")
    assert opt.restore_teacher_G_path == sides.output_path
    opt = shown("evolution_search")["evolution_search.py"]
    assert (opt.budget, opt.batch_size) == (2.7e9, 32)
    # Of 7 widths, each is twice as likely as the next wider one.
    assert (opt.weighted_sample, opt.weight_strategy) == (2**-6, "geometric")


def test_what_the_environment_gives():
    found = shown("train_full", REAL_STAT_A="a.npz", REAL_STAT_B="b.npz")["train.py"]
    assert (found.real_stat_path, found.real_stat_A_path) == ("b.npz", "a.npz")
    found = shown("train_supernet", TEACHER="t.pth", MORE="--ndf 8", OUT="/o")["train_supernet.py"]
    assert (found.restore_teacher_G_path, found.ndf, found.log_dir) == ("t.pth", 8, "/o/supernet")


def test_the_whole_recipe_in_order():
    done = subprocess.run(
        ["bash", str(FOLDER / "run.sh")],
        env=os.environ | {"DRY_RUN": "1", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    stages = [line[3:] for line in done.stdout.splitlines() if line.startswith("== ")]
    first = ["train_full", "assemble", "train_supernet", "search", "export"]
    assert stages == [
        *first,
        *(f"{w}_{n}" for w in ("test", "latency") for n in ("full", "compressed")),
    ]
