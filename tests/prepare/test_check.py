"""The check of a dataset: what it counts, finds and says to do, and that its verdict is training's
own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets import AlignedDataset, Source
from data.transforms import Resize
from errors import InputError
from options.check import main
from prepare.check import Usage, check_dataset, format_report, look

REPOSITORY = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
AS_STORED = Usage(resize=Resize("none"))


def noise(width=32, height=16):
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def write(path, image=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or noise()).save(path, **more)


@pytest.fixture
def root(tmp_path):
    """Three pairs to train on and two to measure on."""
    for i in range(3):
        write(tmp_path / "train" / f"{i}.png")
    for i in range(2):
        write(tmp_path / "val" / f"{i}.png")
    return tmp_path


def check(root, usage=AS_STORED):
    return check_dataset(root, usage, threads=2, progress=False)


def only_problem(root, usage=AS_STORED):
    """The single problem of a dataset, as the lines that are printed."""
    report = check(root, usage)
    assert not report.ready and len(report.all_problems) == 1, report.all_problems
    text = format_report(report, usage)
    assert text.endswith("\n1 problem") and "\n    -> " in text
    return text[text.index("\nproblems") :]


def notes(root, usage=AS_STORED):
    report = check(root, usage)
    assert report.ready, report.all_problems
    return format_report(report, usage)


# --------------------------------------------------------------------------------------------------
# A good dataset


def test_pairs_are_counted_by_phase(root):
    report = check(root)
    assert report.ready and not report.notes
    assert [(p.name, p.layout, p.count) for p in report.phases] == [
        ("train", "A|B", 3),
        ("val", "A|B", 2),
    ]
    train = report.phases[0]
    assert dict(train.sizes) == {(16, 16): 3} and dict(train.modes) == {"RGB": 3}
    assert train.bytes == 3 * 2 * 3 * 16 * 16
    assert format_report(report, AS_STORED).endswith("ready to train: train 3, val 2")


def test_what_the_options_do_is_said(root):
    usage = Usage(direction="BtoA", resize=Resize(load_size=24, crop_size=20), cache_bytes=1)
    report = check(root, usage)
    assert dict(report.phases[0].shapes) == {(20, 20): 3}
    assert report.phases[0].bytes == 3 * 2 * 3 * 24 * 24
    assert report.phases[1].bytes == 2 * 2 * 3 * 20 * 20, (
        "measuring takes val to the size of the crop"
    )
    text = format_report(report, usage)
    for said in (
        "input is B (right)",
        "resized to 24",
        "random 20",
        "train needs",
        "enlarged, the smallest from 16x16",
    ):
        assert said in text


def test_two_folders(tmp_path):
    for side in "AB":
        for i in range(2):
            write(tmp_path / f"train{side}" / f"{i}.png")
            write(tmp_path / f"val{side}" / f"{i}.jpg")
    report = check(tmp_path)
    assert report.ready
    assert [(p.name, p.layout, p.count) for p in report.phases] == [
        ("train", "folders A, B", 2),
        ("val", "folders A, B", 2),
    ]


@pytest.mark.parametrize("folder", ["", "test"])
def test_single_images(tmp_path, folder):
    write(tmp_path / folder / "a.png", noise(15, 40))
    report = check(tmp_path, replace(AS_STORED, dataset_mode="single"))
    assert report.ready and [(p.name, p.count) for p in report.phases] == [(folder or ".", 1)]


def test_one_phase_on_request(root):
    write(root / "val" / "bad.png", noise(31))
    assert check(root, replace(AS_STORED, phase="train")).ready
    assert not check(root, replace(AS_STORED, phase="val")).ready


# --------------------------------------------------------------------------------------------------
# Problems, each with its remedy


def damaged(path):
    write(path)
    path.write_bytes(path.read_bytes()[:-200])


def animated(path):
    write(path.with_suffix(".webp"), noise(), save_all=True, append_images=[noise()])


BAD = {
    "truncated": (damaged, ["unreadable image", "x.png", "remove it or replace it"]),
    "empty": (lambda p: p.write_bytes(b""), ["not an image: 1 file", "x.png"]),
    "text": (lambda p: p.write_text("hello"), ["not an image", "x.png"]),
    "animated": (animated, ["animated", "x.webp", "keep one frame"]),
    "float": (
        lambda p: Image.fromarray(np.full((16, 32), 2, np.float32)).save(p.with_suffix(".tif")),
        ["floating-point pixels must be from 0 to 1", "8 or 16 bits"],
    ),
    "odd": (lambda p: write(p, noise(31)), ["odd width", "31x16", "even width"]),
    "square": (lambda p: write(p, noise(16)), ["not wider than high", "combine_pairs", "single"]),
    "twice": (
        lambda p: write(p.with_name("0.jpg")),
        ["of the same name", "train/0.jpg, train/0.png", "rename"],
    ),
    "dangling": (lambda p: p.symlink_to("/nowhere/x.png"), ["broken links", "train/x.png"]),
}


@pytest.mark.parametrize(("spoil", "said"), BAD.values(), ids=BAD)
def test_a_bad_file_is_named_with_its_remedy(root, spoil, said):
    spoil(root / "train" / "x.png")
    text = only_problem(root)
    for words in said:
        assert words in text


def test_files_of_one_trouble_are_gathered_and_abridged(root):
    for i in range(9):
        (root / "train" / f"x{i}.png").write_bytes(b"")
    text = only_problem(root)
    assert "not an image: 9 files" in text and "and 4 more" in text


def test_the_check_agrees_with_training(root):
    """What is called ready loads; what the dataset refuses is called a problem."""
    for name, (spoil, _) in BAD.items():
        folder = root / name
        write(folder / "train" / "0.png")
        for i in range(2):
            write(folder / "val" / f"{i}.png")
        assert check(folder).ready
        spoil(folder / "train" / "x.png")
        assert not check(folder).ready
        if name == "dangling":
            continue
        with pytest.raises(InputError):
            data = AlignedDataset(Source(str(folder)), "AtoB", Resize("none"))
            for index in range(len(data)):
                data.load(index)


def test_partners(tmp_path):
    for side in "AB":
        write(tmp_path / f"train{side}" / "0.png")
        for i in range(2):
            write(tmp_path / f"val{side}" / f"{i}.png")
    write(tmp_path / "trainB" / "unused.png")
    assert "in trainB without a partner in trainA, not used: 1 file" in notes(tmp_path)
    write(tmp_path / "trainA" / "alone.png")
    assert "in trainA without a partner of the same name in trainB: 1 file" in only_problem(
        tmp_path
    )
    write(tmp_path / "trainB" / "alone.jpg", noise(20, 20))
    assert "A and B differ in size: 1 pair" in only_problem(tmp_path)


def test_missing_phases(root):
    (root / "val").rename(root / "test")
    assert "rename the folder 'test' to 'val'" in only_problem(root)
    (root / "test").rename(root / "train0")
    assert "`no_fid`" in only_problem(root)
    (root / "train").rename(root / "val")
    assert "found: train0, val" in only_problem(root)
    assert "no folder 'other'" in only_problem(root, replace(AS_STORED, phase="other"))


def test_one_side_without_the_other(root):
    (root / "train").rename(root / "trainA")
    text = only_problem(root)
    assert "trainA but no trainB" in text and str(root / "trainB") in text
    (root / "trainA").rename(root / "train")
    write(root / "testA" / "0.png")
    assert "testA has no other side" in notes(root)


def test_no_images_at_all(tmp_path):
    (tmp_path / "train").mkdir()
    assert "has no folder with images" in only_problem(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        check(tmp_path / "nowhere")


def test_folders_of_another_plan_get_a_command(cli, root):
    """Images without phases, sides above phases, val alone: what to do is said in full."""
    (root / "train").rename(root / "kept")
    assert "into train; to measure only, give `phase` val" in only_problem(root)
    (root / "kept").rename(root / "train")
    flat = root / "train"
    text = only_problem(flat)
    assert "3 images in" in text and "move them to train, some of them to val" in text
    assert "move them to trainA and trainB" in only_problem(flat, UNALIGNED)
    sides = root / "sides"
    for side in "AB":
        for i in range(2):
            write(sides / side / "train" / f"{i}.png", noise(16))
            write(sides / side / "val" / f"{i}.png", noise(16))
    text = only_problem(sides)
    assert "with train, val in each" in text
    assert "rename A/train to trainA, A/val to valA, B likewise" in only_problem(sides, UNALIGNED)
    command = text[text.index("-> ") :].splitlines()[0].split("python ")[1].split()
    cli(*command).succeeded()
    assert check(root / "sides-pairs").ready
    plain = root / "plain"
    for side in "AB":
        write(plain / side / "0.png", noise(16))
    assert f"--output {root / 'plain-pairs' / 'train'}" in only_problem(plain)
    assert "rename A to trainA" in only_problem(plain, UNALIGNED)


def test_one_image_is_too_few_to_measure(root):
    (root / "val" / "1.png").unlink()
    text = only_problem(root)
    assert "val: 1 image to measure on: FID needs at least 2" in text and "`no_fid`" in text
    assert check(root, replace(AS_STORED, phase="val")).ready


@pytest.mark.parametrize("name", [b"\xff.png", b"new\nline.png"])
def test_names_that_training_refuses_are_problems(root, name):
    write(root / "train" / os.fsdecode(name))
    text = only_problem(root)
    assert "not one line of UTF-8" in text and "rename them" in text
    text.encode()
    (root / "train" / os.fsdecode(name)).write_bytes(b"")
    only_problem(root).encode()


def test_a_missing_download_is_named_with_its_command(tmp_path):
    with pytest.raises(InputError, match=r"download it with python scripts/download\.py facades"):
        check(tmp_path / "database" / "facades")


def test_arrays_and_their_memory(tmp_path):
    usage = replace(AS_STORED, channels=(5, 3))
    for phase in ("train", "val"):
        for i in range(2):
            write(tmp_path / f"{phase}B" / f"{i}.png", noise(16, 16))
            (tmp_path / f"{phase}A").mkdir(exist_ok=True)
            deep = RNG.integers(0, 65536, (16, 16, 5)).astype(np.uint16)
            np.save(tmp_path / f"{phase}A" / f"{i}.npy", deep)
    report = check(tmp_path, usage)
    assert report.ready and dict(report.phases[0].modes) == {"uint16 x 5": 2, "RGB": 2}
    assert report.phases[0].bytes == 2 * 16 * 16 * (5 * 4 + 3)
    turned = replace(usage, channels=(3, 5), direction="BtoA")
    assert check(tmp_path, turned).phases[0].bytes == report.phases[0].bytes
    assert "5 channels where 3" in check(tmp_path).all_problems[0].what


def test_sizes_that_cannot_share_a_batch(root):
    write(root / "train" / "big.png", noise(64, 32))
    assert check(root).ready
    text = only_problem(root, replace(AS_STORED, batch_size=2))
    assert "2 sizes (16x16, 32x32)" in text and "`batch_size` 1" in text
    assert check(root, Usage(resize=Resize(load_size=16, crop_size=16), batch_size=2)).ready


def test_lists_of_names(root, tmp_path):
    meta = tmp_path / "names.meta"
    meta.write_text("0.png\n2.png\n")
    assert "train: `meta_path` takes 2 of them" in notes(
        root, replace(AS_STORED, meta_path=str(meta))
    )
    meta.write_text("0.png\n7.png\n")
    report = check(root, replace(AS_STORED, meta_path=str(meta)))
    assert [p.what for p in report.all_problems if "7.png" in p.what]


# --------------------------------------------------------------------------------------------------
# Two folders that are no pairs

UNALIGNED = replace(AS_STORED, dataset_mode="unaligned")


@pytest.fixture
def unpaired(tmp_path):
    """Three images against two to train on, two against two to measure on, of other names and
    sizes."""
    for folder, count in {"trainA": 3, "trainB": 2, "valA": 2, "valB": 2}.items():
        for i in range(count):
            write(
                tmp_path / folder / f"{folder}{i}.png",
                noise(16, 20) if folder[-1] == "B" else noise(24, 24),
            )
    return tmp_path


def test_unpaired_sides_are_counted_apart(unpaired):
    usage = replace(
        UNALIGNED, channels=(3, 1), direction="BtoA", resize=Resize(load_size=24, crop_size=20)
    )
    report = check(unpaired, usage)
    assert report.ready and not report.notes
    assert [(p.name, p.layout, p.count, p.bytes) for p in report.phases] == [
        ("trainA", "unpaired", 3, 3 * 1 * 24 * 24),
        ("trainB", "unpaired", 2, 2 * 3 * 24 * 24),
        ("valA", "unpaired", 2, 2 * 20 * 20),
        ("valB", "unpaired", 2, 6 * 20 * 20),
    ]
    text = format_report(report, usage)
    assert "the inputs are side B, outputs should look like side A" in text
    assert text.endswith("ready to train: trainA 3, trainB 2, valA 2, valB 2")
    only = check(unpaired, replace(UNALIGNED, phase="val"))
    assert [p.name for p in only.phases] == ["valA", "valB"]


def test_problems_of_unpaired_sides(unpaired):
    (unpaired / "trainB" / "x.png").write_bytes(b"")
    text = only_problem(unpaired, UNALIGNED)
    assert "trainB: not an image: 1 file" in text and "trainB/x.png" in text
    (unpaired / "trainB" / "x.png").unlink()
    for side in "AB":
        (unpaired / f"val{side}").rename(unpaired / f"test{side}")
    assert "rename 'testA' and 'testB'" in only_problem(unpaired, UNALIGNED)
    (unpaired / "testA").rename(unpaired / "valA")
    text = only_problem(unpaired, UNALIGNED)
    assert "there is valA but no valB" in text and str(unpaired / "valB") in text
    assert "no folders 'otherA' and 'otherB'" in only_problem(
        unpaired, replace(UNALIGNED, phase="other")
    )


def test_folders_that_share_no_name_may_be_no_pairs(unpaired):
    report = check(unpaired)
    assert not report.ready
    assert (
        format_report(report, AS_STORED).count(
            "or give `dataset_mode` unaligned if these are not pairs"
        )
        == 2
    )


def test_pairs_are_not_taken_for_unpaired(root):
    assert "found: train, val\n    -> for A|B pairs give `dataset_mode` aligned" in only_problem(
        root, UNALIGNED
    )


def test_unpaired_lists_of_names(unpaired):
    (unpaired / "xA.meta").write_text("trainA1.png\n")
    (unpaired / "xB.meta").write_text("trainB0.png\ntrainB1.png\n")
    usage = replace(UNALIGNED, meta_path=str(unpaired / "x.meta"))
    text = notes(unpaired, usage)
    assert (
        "trainA: `meta_path` takes 1 of them" in text
        and "trainB: `meta_path` takes 2 of them" in text
    )
    (unpaired / "xB.meta").write_text("trainA0.png\n")
    assert "trainA0.png" in only_problem(unpaired, usage)


def test_unpaired_images_of_val_that_are_trained_on_are_found(unpaired):
    (unpaired / "valB" / "same.png").write_bytes((unpaired / "trainB" / "trainB1.png").read_bytes())
    text = notes(unpaired, UNALIGNED)
    assert "in valB and, byte for byte, in trainB too: 1 file" in text and "valB/same.png" in text


# --------------------------------------------------------------------------------------------------
# What works but may not be meant


def test_unusual_ways_of_storing_are_mentioned(root):
    write(
        root / "train" / "16.png", Image.fromarray(np.arange(512, dtype=np.uint16).reshape(16, 32))
    )
    write(root / "train" / "alpha.png", noise().convert("RGBA"))
    write(root / "train" / "palette.png", noise().convert("P"))
    write(root / "train" / "grey.png", noise().convert("L"))
    write(root / "train" / "cmyk.jpg", noise().convert("CMYK"))
    write(root / "train" / "blank.png", Image.new("RGB", (32, 16), "red"))
    (root / "train" / "list.txt").write_text("")
    text = notes(root)
    for said in (
        "16 bits",
        "transparency",
        "palette",
        "grey among coloured",
        "CMYK",
        "one colour only",
        "1 .txt",
    ):
        assert said in text


def test_sizes_that_change_are_mentioned(root):
    write(root / "train" / "wide.png", noise(62, 16))
    assert "nearest multiple of 4: 1 image" in notes(root)
    assert "multiple of 4" not in notes(root, Usage("single", resize=Resize("none")))
    assert "enlarged" not in notes(root, Usage(resize=Resize(load_size=18, crop_size=16)))
    text = notes(root, Usage(resize=Resize(load_size=16, crop_size=16)))
    assert "lose their proportions, e.g. 31x16 -> 16x16: 1 image" in text


def test_images_of_val_that_are_trained_on_are_found(root):
    (root / "val" / "same.png").write_bytes((root / "train" / "1.png").read_bytes())
    text = notes(root)
    assert "in val and, byte for byte, in train too: 1 file" in text and "val/same.png" in text


def test_one_file(root, tmp_path):
    facts = look(root / "train" / "0.png")
    assert (facts.size, facts.mode, facts.problem) == ((32, 16), "RGB", None)
    assert look(tmp_path / "nothing.png").problem == "no such file"


# --------------------------------------------------------------------------------------------------
# The command


def test_the_command_prints_the_verdict(root, capsys):
    main([str(root), "--preprocess", "none"])
    assert capsys.readouterr().out.endswith("ready to train: train 3, val 2\n")


def test_the_command_takes_the_flag_of_the_other_scripts(root, capsys):
    main(["--dataroot", str(root), "--preprocess", "none"])
    assert capsys.readouterr().out.endswith("ready to train: train 3, val 2\n")
    for wrong in ([], [str(root), "--dataroot", str(root)]):
        with pytest.raises(SystemExit) as stop:
            main(wrong)
        assert stop.value.code == 2 and "once" in capsys.readouterr().err


def test_the_command_ends_with_two_on_a_problem(cli, root):
    (root / "train" / "x.png").write_bytes(b"")
    done = cli("data.check", root)
    assert done.returncode == 2 and done.stdout.endswith("\n1 problem\n")
    assert done.stderr.splitlines()[-1].startswith(f"error: {root} is not ready to train")
    assert "Traceback" not in done.stderr
