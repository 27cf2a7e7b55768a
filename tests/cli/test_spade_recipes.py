"""The recipes of gaugan: every stage's command is valid, and says what is published."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_recipes import ROOT, bash, quick_python, shown

from data.datasets import read_names

__all__ = ["quick_python"]  # a fixture that all tests here use

FOLDERS = sorted(p for p in (ROOT / "scripts" / "gaugan").iterdir() if p.is_dir())
CITY, CITY_FAST, COCO = FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_every_stage_shows_a_valid_command(folder):
    stages = {p.stem for p in folder.glob("*.sh")} - {"recipe", "run"}
    needed = {"train_full", "train_supernet", "search", "evolution_search", "finetune", "export"}
    needed |= {"test_full", "test_compressed", "test_supernet", "get_real_stat", "latency_full"}
    needed |= set() if folder.name.endswith("_fast") else {"train_mobile", "distill"}
    assert needed <= stages
    for stage in stages:
        assert shown(folder, stage), stage


@pytest.mark.parametrize(
    "folder, teacher, supernet, batch, upsampling",
    [
        (CITY, (100, 100), (100, 100), 16, "more"),
        (CITY_FAST, (100, 100), (200, 200), 16, "more"),
        (COCO, (100, 0), (100, 0), 32, "normal"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_published_recipes(folder, teacher, supernet, batch, upsampling):
    fast = folder is not CITY
    both = shown(folder, "train_full")
    opt = both["train.py"]
    assert (opt.model, opt.netG, opt.ngf, opt.norm_G) == (
        *("spade", "spade", 64),
        "spectralspadesyncbatch3x3",
    )
    assert (opt.nepochs, opt.nepochs_decay, opt.batch_size) == (*teacher, batch)
    assert (opt.num_upsampling_layers, opt.netD, opt.ndf, opt.no_TTUR) == (
        *(upsampling, "multi_scale"),
        *(64, False),
    )
    assert (opt.lambda_feat, opt.lambda_vgg, opt.lambda_gan, opt.gan_mode) == (10, 10, 1, "hinge")
    assert (opt.lr, opt.init_type, opt.norm_D, opt.num_D) == (2e-4, "xavier", "spectralinstance", 2)
    plain = both["remove_spectral_norm.py"].output_path
    opt = shown(folder, "train_supernet")["train_supernet.py"]
    assert (opt.nepochs, opt.nepochs_decay, opt.batch_size, opt.lambda_distill) == (
        *supernet,
        *(batch, 10),
    )
    assert (opt.student_netG, opt.student_ngf, opt.config_set) == (
        *("super_mobile_spade", 64 if fast else 48),
        "channels-64" if fast else "channels-48",
    )
    if fast:
        assert opt.restore_teacher_G_path == plain and opt.restore_D_path is None
    assert opt.meta_path.endswith("splits/train1.meta")
    opt = shown(folder, "evolution_search")["evolution_search.py"]
    assert opt.budget == {CITY: 35e9, CITY_FAST: 32e9, COCO: 36e9}[folder]
    assert (opt.criterion, opt.no_fid) == ("mIoU", True)
    opt = shown(folder, "search")["search.py"]
    if folder is COCO:
        assert (opt.budget, opt.max_dataset_size) == (40e9, 200)
    opt = shown(folder, "finetune")["train_supernet.py"]
    assert (opt.nepochs, opt.nepochs_decay) == teacher and opt.meta_path is None


def test_the_full_pipeline_starts_from_the_mobile_teacher():
    mobile = shown(CITY, "train_mobile")
    assert mobile["train.py"].netG == "mobile_spade"
    plain = mobile["remove_spectral_norm.py"].output_path
    opt = shown(CITY, "distill")["distill.py"]
    assert opt.restore_teacher_G_path == opt.restore_pretrained_G_path == plain
    assert (opt.student_netG, opt.student_ngf, opt.distiller) == ("mobile_spade", 48, "spade")
    assert opt.restore_D_path.endswith("mobile/checkpoints/latest_net_D.pth")


def test_images_are_those_of_the_dataset():
    city = shown(CITY_FAST, "test_full")["test.py"]
    assert (city.load_size, city.crop_size, city.aspect_ratio, city.input_nc) == (512, 512, 2, 35)
    assert city.table_path.endswith("cityscapes/val_table.txt")
    coco, test = (shown(COCO, s) for s in ("train_full", "test_full"))
    coco, test = coco["train.py"], test["test.py"]
    assert (coco.load_size, coco.crop_size, test.load_size) == (286, 256, 256)
    assert coco.contain_dontcare_label and test.input_nc == 182


def test_coco_without_the_segmentation_network(tmp_path):
    away = {"OUT": str(tmp_path / "out"), "DEEPLABV2_PATH": str(tmp_path / "none.pth")}
    done = bash(COCO / "run.sh", **away)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    for word in (str(tmp_path / "none.pth"), "download.py deeplab-cocostuff", "CRITERION=fid"):
        assert word in done.stderr
    assert shown(COCO, "search", **away)["search.py"].deeplabv2_path.endswith("none.pth")
    opt = shown(COCO, "evolution_search", CRITERION="fid")["evolution_search.py"]
    assert (opt.criterion, opt.no_fid) == ("fid", False) and "deeplabv2_path" not in opt.explicit


def test_the_published_split_names_frames_by_number(cli, tmp_path):
    names = [f"{city}/{city}_{i:06d}_000019" for city in ("aachen", "bonn") for i in range(3)]
    for name in names:
        for end in (
            "gtFine/train/{}_gtFine_labelIds.png",
            "gtFine/train/{}_gtFine_instanceIds.png",
            "leftImg8bit/train/{}_leftImg8bit.png",
        ):
            path = tmp_path / end.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 8), np.uint8)).save(path)
    (tmp_path / "held.meta").write_text("4.jpg\n1.jpg\n")

    def split(*how):
        more = ("--dataset_mode", "cityscapes", "--output", tmp_path / "splits")
        cli("scripts/make_split.py", tmp_path, *how, *more).succeeded()
        return [set(read_names(Path(tmp_path, f"splits/train{n}.meta"))) for n in (1, 2)]

    every = [f"{name}_leftImg8bit.png" for name in names]
    rest, held = split("--held_out", tmp_path / "held.meta")
    assert held == {every[1], every[4]} and rest == set(every) - held
    rest, held = split("--count", "2")
    assert len(held) == 2 and rest | held == set(every)
