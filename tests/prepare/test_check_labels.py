"""The check of label maps: what it finds and says to do, and that its verdict is training's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data.build import DataSettings, datasets
from data.labels import Semantics
from data.transforms import Resize
from errors import InputError
from options.check import main
from prepare.arrange import find_mode
from prepare.check import Usage, check_dataset, format_report
from prepare.check_labels import check_labelled

CITY = Usage("cityscapes", resize=Resize("scale_width", 32, 32, 2.0), semantics=Semantics(35))
STUFF = Usage("coco", resize=Resize(load_size=24, crop_size=16), semantics=Semantics(182, True))


def save(path, pixels, kind=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels).astype(kind)).save(path)


def city_scene(root, phase, number, labels=34, size=(16, 32)):
    rng = np.random.default_rng(number)
    name = f"{phase}/ulm/ulm_{number:06d}_000019"
    paths = {
        "photo": root / f"leftImg8bit/{name}_leftImg8bit.png",
        "labels": root / f"gtFine/{name}_gtFine_labelIds.png",
        "instances": root / f"gtFine/{name}_gtFine_instanceIds.png",
    }
    save(paths["photo"], rng.integers(0, 256, (*size, 3)))
    save(paths["labels"], rng.integers(0, labels, size))
    save(paths["instances"], rng.integers(0, 30_000, size), np.uint16)
    return paths


@pytest.fixture
def city(tmp_path):
    for phase, count in (("train", 3), ("val", 2)):
        for number in range(count):
            city_scene(tmp_path, phase, number + (phase == "val") * 50)
    return tmp_path


@pytest.fixture
def stuff(tmp_path):
    rng = np.random.default_rng(0)
    for phase, names in (("train", "abc"), ("val", "de")):
        for name in names:
            end = "_portrait" if name == "c" else ""
            save(tmp_path / f"{phase}_img{end}/{name}.jpg", rng.integers(0, 256, (20, 30, 3)))
            save(tmp_path / f"{phase}_label{end}/{name}.png", rng.choice([3, 181, 255], (20, 30)))
            save(tmp_path / f"{phase}_inst{end}/{name}.png", rng.integers(0, 9, (20, 30)))
    return tmp_path


def check(root, usage):
    return check_labelled(root, usage, threads=2, progress=False)


def training_reads(root, usage) -> bool:
    """Whether training can read every scene of both phases."""
    s, r = usage.semantics, usage.resize
    how = dict(preprocess=r.preprocess, load_size=r.load_size, crop_size=r.crop_size)
    how |= dict(aspect_ratio=r.aspect_ratio, input_nc=s.labels, dont_care=s.dont_care)
    how |= dict(instance=s.instance, check_pairs=usage.check_pairs)
    settings = DataSettings(str(root), usage.dataset_mode, **how)
    try:
        for wanted in (settings, settings.for_validation()):
            dataset = datasets(wanted)[0]
            for index in range(len(dataset)):
                dataset.load(index)
    except InputError:
        return False
    return True


def only_problem(root, usage):
    """The single problem of a dataset, as the lines that are printed; training refuses it too."""
    report = check(root, usage)
    assert len(report.all_problems) == 1, report.all_problems
    assert not training_reads(root, usage)
    text = format_report(report, usage)
    assert text.endswith("\n1 problem") and "\n    -> " in text
    return text[text.index("\nproblems") :]


# --------------------------------------------------------------------------------------------------
# Good datasets


def test_scenes_of_cityscapes_are_counted(city):
    save(city / "gtFine/train/ulm/ulm_000000_000019_gtFine_color.png", np.zeros((16, 32, 3)))
    report = check(city, CITY)
    assert report.ready and training_reads(city, CITY)
    assert [(p.name, p.layout, p.count) for p in report.phases] == [
        ("train", "labels", 3),
        ("val", "labels", 2),
    ]
    train = report.phases[0]
    assert dict(train.sizes) == dict(train.shapes) == {(32, 16): 3}
    # 8-bit labels, 16-bit instances and three bytes of the photo, as training keeps them.
    settings = DataSettings(str(city), "cityscapes", preprocess="scale_width", load_size=32)
    item = datasets(replace(settings, crop_size=32, aspect_ratio=2.0, input_nc=35))[0].load(0)
    assert train.bytes == 3 * sum(array.nbytes for array in item.values()) == 3 * 6 * 16 * 32
    text = format_report(report, CITY)
    assert "36 channels: 35 for labels, 1 for edges between instances" in text
    assert "train: labels that occur: 34 of 35" in text
    assert text.endswith("ready to train: train 3, val 2")


def test_scenes_of_coco_are_counted(stuff):
    report = check(stuff, STUFF)
    assert report.ready and training_reads(stuff, STUFF)
    assert [(p.name, p.count) for p in report.phases] == [("train", 3), ("val", 2)]
    assert dict(report.phases[0].shapes) == {(16, 16): 3}
    text = format_report(report, STUFF)
    assert "upright photos among them: 1" in text and "labels that occur: 2 of 182" in text
    report = check(stuff, replace(STUFF, portraits=False))
    assert report.ready and report.phases[0].count == 2


def test_a_list_is_compared_with_the_photos(stuff, tmp_path):
    (tmp_path / "list.meta").write_text("b.jpg\n")
    usage = replace(STUFF, meta_path=str(tmp_path / "list.meta"))
    assert "`meta_path` takes 1 of them" in format_report(check(stuff, usage), usage)
    (tmp_path / "list.meta").write_text("b.jpg\nx.jpg\n")
    (problem,) = check(stuff, usage).all_problems
    assert "names 1 of 2 photos" in problem.what and "x.jpg" in problem.what
    # Three paths may name files of other folders: they are looked at too.
    (stuff / "other").mkdir()
    save(stuff / "other/z.png", np.full((20, 30), 200))
    save(stuff / "other/i.png", np.zeros((20, 30)))
    save(stuff / "other/p.png", np.zeros((20, 30, 3)))
    (tmp_path / "list.meta").write_text("other/z.png other/p.png other/i.png\n")
    usage = replace(usage, check_pairs=False)
    (problem,) = check(stuff, usage).all_problems
    assert problem.what.startswith("label 200 without a channel") and "other/z.png" in problem.files


# --------------------------------------------------------------------------------------------------
# Problems: each is one of training too, and is said with its files


def broken(paths):
    paths["labels"].write_bytes(b"no image")


def colours(paths):
    save(paths["labels"], np.zeros((16, 32, 3)))


def smaller(paths):
    save(paths["instances"], np.zeros((8, 16)))


def beyond(paths):
    save(paths["labels"], np.arange(512).reshape(16, 32) % 38)


def no_label(paths):
    save(paths["labels"], np.full((16, 32), 255))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (broken, ("unreadable image", "replace it", "000001_000019_gtFine_labelIds.png")),
        (colours, ("mode RGB where numbers are expected", "gtFine_labelIds.png")),
        (smaller, ("instanceIds.png", "16x8 beside 32x16", "make them equal")),
        (beyond, ("labels 35, 36, 37 without a channel: 1 file", "`input_nc`", "now 35")),
        (no_label, ("label 255 without a channel", "`contain_dontcare_label`")),
        (
            lambda paths: paths["photo"].write_bytes(b""),
            ("leftImg8bit.png", "not an image", "replace it"),
        ),
        (lambda paths: paths["photo"].unlink(), ("labels without photos", "labelIds.png")),
    ],
)
def test_a_bad_file_is_named(city, damage, words):
    usage = replace(CITY, semantics=Semantics(35, instance=damage is smaller))
    damage(city_scene(city, "train", 1))
    text = only_problem(city, usage)
    assert "train: " in text and all(word in text for word in words), text


def test_too_many_instances_are_a_problem(stuff, monkeypatch):
    for room in ("data.labelled", "prepare.check_labels"):
        monkeypatch.setattr(f"{room}.MAX_INSTANCES", 9)
    assert check(stuff, STUFF).ready and training_reads(stuff, STUFF)
    save(stuff / "val_inst/d.png", np.arange(600).reshape(20, 30) % 10)
    text = only_problem(stuff, STUFF)
    assert "more than 9 instances (10): 1 file" in text and "val_inst/d.png" in text


def test_missing_instances_say_that_they_can_be_done_without(city):
    for path in (city / "gtFine/val").rglob("*instanceIds.png"):
        path.unlink()
    report = check(city, CITY)
    assert [p.what for p in report.all_problems] == [
        "photos without instances of the same name: 2 files",
        "labels without instances of the same name: 2 files",
    ]
    assert all("`no_instance`" in p.fix for p in report.all_problems)
    without = replace(CITY, semantics=Semantics(35, instance=False))
    assert check(city, without).ready and training_reads(city, without)


def test_names_that_differ_are_a_problem_unless_the_order_decides(stuff):
    (stuff / "val_inst/d.png").rename(stuff / "val_inst/c.png")
    report = check(stuff, STUFF)
    assert not report.ready and not training_reads(stuff, STUFF)
    assert "instances without photos of the same name: 1 file" in format_report(report, STUFF)
    by_order = replace(STUFF, check_pairs=False)
    assert check(stuff, by_order).ready and training_reads(stuff, by_order)
    (stuff / "val_inst/c.png").unlink()
    assert "2 photo, 2 labels, 1 instances" in only_problem(stuff, by_order)


def test_scenes_of_another_shape_are_named(city):
    city_scene(city, "val", 51, size=(20, 32))
    text = only_problem(city, CITY)
    assert "come out at 32x20, not at the 32x16" in text and "1 scene" in text
    assert "`preprocess` resize_and_crop" in text


def test_phases_that_are_missing_are_named(city, stuff):
    for path in (city / "leftImg8bit/val", city / "gtFine/val"):
        path.rename(path.with_name("test"))
    (problem,) = check(city, CITY).all_problems
    assert problem.what == "there are no labels and photos of phase 'val'; found: test, train"
    assert "gtFine/val" in problem.fix and "leftImg8bit/val" in problem.fix
    assert check(city, replace(CITY, phase="test")).ready


def test_one_scene_is_too_few_to_measure_on(stuff):
    for kind, end in (("img", "jpg"), ("label", "png"), ("inst", "png")):
        (stuff / f"val_{kind}/d.{end}").unlink()
    (problem,) = check(stuff, STUFF).all_problems
    assert "FID needs at least 2" in problem.what


# --------------------------------------------------------------------------------------------------
# The command, and those that label maps are not for


def test_the_command_knows_the_flags_of_each_mode(stuff, capsys):
    main([str(stuff), "--dataset_mode", "coco", "--num_threads", "1"])
    out = capsys.readouterr().out
    assert "184 channels: 182 for labels, 1 for no label, 1 for edges between instances" in out
    assert "resized to 286, then a random 256 is cut out" in out and "ready to train" in out
    with pytest.raises(InputError, match="not ready"):
        main([str(stuff), "--dataset_mode", "cityscapes"])
    out = capsys.readouterr().out
    assert "there are no folders of cityscapes, but those of coco" in out
    assert "-> give --dataset_mode coco" in out


@pytest.mark.parametrize("mode", ["aligned", "unaligned"])
def test_other_modes_name_the_mode_of_label_maps(city, mode):
    (problem,) = check_dataset(city, Usage(mode), progress=False).all_problems
    assert problem.fix == "give `dataset_mode` cityscapes"


def test_compress_names_the_recipe_of_label_maps(stuff):
    with pytest.raises(InputError, match=r"label maps as coco.*bash scripts/gaugan/coco_fast/run"):
        find_mode(stuff)
