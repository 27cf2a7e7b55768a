"""Making pairs: from two folders and back, and from a tree like that of Cityscapes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets import AlignedDataset, Source, unpaired_datasets
from data.transforms import Resize
from errors import InputError
from metrics.labels import read_table
from prepare.pairs import SETTINGS, is_done, join_pair, run_all, save_image, split_pair

REPOSITORY = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)


def script(name):
    """A file of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


combine, split, cityscapes = (
    script("combine_pairs"),
    script("split_pairs"),
    script("prepare_cityscapes"),
)
make_split, resize = script("make_split"), script("resize_pairs")


def noise(width=24, height=16):
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def write(path, image=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or noise()).save(path)


def pixels(path):
    return np.asarray(Image.open(path))


def tree(folder):
    """Its files; without that of the settings."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != SETTINGS)
    return sorted(str(p.relative_to(folder)) for p in files)


# --------------------------------------------------------------------------------------------------
# Pairs


def test_join_and_split_are_inverse():
    a, b = noise(), noise()
    pair = join_pair(a, b)
    assert pair.size == (48, 16)
    assert [np.asarray(half).tobytes() for half in split_pair(pair)] == [a.tobytes(), b.tobytes()]
    with pytest.raises(ValueError, match="24x16, B is 8x8"):
        join_pair(a, noise(8, 8))
    for wrong in (noise(25), noise(16)):
        with pytest.raises(ValueError, match=r"not an A\|B pair"):
            split_pair(wrong)


def test_images_are_written_whole_or_not_at_all(tmp_path):
    class Broken:
        def save(self, path, **_):
            path.write_bytes(b"half")
            raise OSError("no space")

    with pytest.raises(InputError, match=r"x\.png could not be written \(no space\)"):
        save_image(Broken(), tmp_path / "x.png")
    assert not tree(tmp_path)


def test_the_first_error_stops_the_rest():
    done = []

    def work(job):
        if job == 5:
            raise InputError("five")
        done.append(job)

    with pytest.raises(InputError, match="five"):
        run_all(work, list(range(1000)), 2, "")
    assert len(done) < 100
    assert (
        run_all(lambda job: job * 2, [3, 1, 2], 2, "") == [6, 2, 4]
        and run_all(done.append, [], 2, "") == []
    )


def test_older_results_are_made_again(tmp_path):
    write(tmp_path / "source.png")
    assert not is_done(tmp_path / "made.png", [tmp_path / "source.png"])
    write(tmp_path / "made.png")
    assert is_done(tmp_path / "made.png", [tmp_path / "source.png"])
    os.utime(tmp_path / "made.png", (0, 0))
    assert not is_done(tmp_path / "made.png", [tmp_path / "source.png"])


# --------------------------------------------------------------------------------------------------
# Two folders -> pairs -> two folders


@pytest.fixture
def two(tmp_path):
    for side in "AB":
        for name in ("train/x", "train/y.z", "val/x"):
            write(tmp_path / side / f"{name}.{'png' if side == 'A' else 'bmp'}")
    return tmp_path


def test_combine_and_split_are_inverse(two, capsys):
    combine.main([str(two / "A"), str(two / "B"), "--output", str(two / "pairs")])
    assert tree(two / "pairs") == ["train/x.png", "train/y.z.png", "val/x.png"]
    split.main([str(two / "pairs"), "--output", str(two / "halves")])
    assert len(tree(two / "halves")) == 6
    for name in ("x", "y.z"):
        for side, ending in (("A", "png"), ("B", "bmp")):
            made = pixels(two / "halves" / f"train{side}" / f"{name}.png")
            assert np.array_equal(made, pixels(two / side / "train" / f"{name}.{ending}"))
    first = AlignedDataset(Source(str(two / "pairs")), "AtoB", Resize("none"))
    second = AlignedDataset(Source(str(two / "halves")), "AtoB", Resize("none"))
    assert first.names == second.names == ["x", "y.z"]
    assert all(np.array_equal(first.load(0)[side], second.load(0)[side]) for side in "AB")
    capsys.readouterr()
    combine.main([str(two / "A"), str(two / "B"), "--output", str(two / "pairs")])
    split.main([str(two / "pairs"), "--output", str(two / "halves")])
    said = capsys.readouterr().out
    assert "3 pairs, 0 written now" in said and "3 pairs cut in two, 0 now" in said


def test_pairs_without_phases_and_as_jpeg(tmp_path):
    write(tmp_path / "pairs" / "x.png", noise(48))
    split.main([str(tmp_path / "pairs"), "--output", str(tmp_path / "out"), "--format", "jpg"])
    assert tree(tmp_path / "out") == ["A/x.jpg", "B/x.jpg"]


def combine_says(two, says, *more):
    with pytest.raises(InputError, match=says) as caught:
        combine.main([str(two / "A"), str(two / "B"), "--output", str(two / "pairs"), *more])
    assert "\n" not in str(caught.value)


def test_what_combine_refuses(two):
    with pytest.raises(InputError, match=r"--output .* lies in"):
        combine.main([str(two / "A"), str(two / "B"), "--output", str(two / "A" / "pairs")])
    write(two / "A" / "train" / "alone.png")
    combine_says(two, "1 images have no partner.*first train/alone.*--skip_unmatched")
    write(two / "B" / "train" / "alone.png", noise(8, 8))
    combine_says(two, r"alone\.png and .*A is 24x16, B is 8x8; make the sizes equal")
    (two / "B" / "train" / "alone.png").write_bytes(b"")
    combine_says(two, "alone.png: not an image")
    write(two / "B" / "train" / "x.png")
    combine_says(two, "2 images called train/x")
    (two / "B").rename(two / "C")
    combine_says(two, "B .*: no such folder")
    (two / "B").mkdir()
    combine_says(two, "B .* holds no images")
    write(two / "B" / "other.png")
    combine_says(two, "share no name")


@pytest.mark.parametrize(
    ("main", "first", "other", "says"),
    [
        (resize.main, "D --size 8", "D --size 12", "with --size 8, not with --size 12: give"),
        (combine.main, "A B", "B A", r"with A .*A, B .*B, not with A .*B, B .*A: give"),
        (combine.main, "A B", "A B --format jpg", "with --format png, not with --format jpg: give"),
        (split.main, "P", "P --format jpg", "with --format png, not with --format jpg: give"),
    ],
)
def test_a_folder_made_with_other_settings_is_left_alone(
    tmp_path, monkeypatch, main, first, other, says
):
    for name, width in (("A/x.png", 16), ("B/x.png", 16), ("P/x.png", 32), ("D/train/x.png", 32)):
        write(tmp_path / name, noise(width))
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"

    def made():
        return {path: (out / path).read_bytes() for path in tree(out)}

    main([*first.split(), "--output", "out"])
    before = made()
    with pytest.raises(InputError, match=f"--output out holds images made {says}"):
        main([*other.split(), "--output", "out"])
    assert made() == before
    main([*first.split(), "--output", str(out)])  # the same folder by another name
    # Of an earlier version, which wrote no settings: as it was.
    (out / SETTINGS).unlink()
    main([*first.split(), "--output", "out"])
    assert made() == before and not (out / SETTINGS).exists()
    # Nothing there to be mixed.
    for path in before:
        (out / path).unlink()
    main([*first.split(), "--output", "out"])
    assert made() == before
    for path in before:
        (out / path).unlink()
    main([*other.split(), "--output", "out"])
    assert made() and made() != before


@pytest.mark.parametrize("made", ["pairs", "halves"])
def test_more_than_eight_bits_are_not_cut_off(tmp_path, made):
    deep = Image.fromarray(np.zeros((8, 16), np.uint16))
    for side in "AB":
        write(tmp_path / side / "x.png", deep)
    main, folders = (combine.main, "AB") if made == "pairs" else (split.main, "A")
    with pytest.raises(InputError, match=r"x\.png has more than 8 bits per channel"):
        main([*(str(tmp_path / folder) for folder in folders), "--output", str(tmp_path / "out")])
    assert not list(tmp_path.glob("out/**/*.png"))


def test_images_without_a_partner_can_be_left_out(two, capsys):
    write(two / "A" / "train" / "alone.png")
    combine.main(
        [str(two / "A"), str(two / "B"), "--output", str(two / "pairs"), "--skip_unmatched"]
    )
    assert (
        "1 images without a partner are left out" in capsys.readouterr().out
        and len(tree(two / "pairs")) == 3
    )


def test_what_split_refuses(tmp_path):
    def says(words, output=tmp_path / "out"):
        with pytest.raises(InputError, match=words):
            split.main([str(tmp_path / "pairs"), "--output", str(output)])

    says("no such folder")
    (tmp_path / "pairs").mkdir()
    says("holds no images")
    says("lies in", tmp_path / "pairs" / "out")
    write(tmp_path / "pairs" / "x.png", noise(25))
    says("x.png: 25x16 is not an A|B pair: its width is odd")
    write(tmp_path / "pairs" / "x.png", noise(48))
    write(tmp_path / "pairs" / "x.bmp", noise(48))
    says("would both become")


# --------------------------------------------------------------------------------------------------
# A held-out split


def lists(folder):
    return {p.name: p.read_text().split("\n")[:-1] for p in sorted(folder.iterdir())}


@pytest.mark.parametrize("layout", ["train", "trainA"])
def test_a_part_of_train_is_held_out(tmp_path, layout):
    """Of pairs, and of two folders of equal names, which are listed by the names of A."""
    names = ["a.png", "b c.png", "d.png", "deep/e.png"]
    for name in names:
        write(tmp_path / layout / name, noise(32, 16))
        if layout == "trainA":
            write(tmp_path / "trainB" / name, noise(32, 16))
    make_split.main([str(tmp_path), "--count", "2", "--output", str(tmp_path / "drawn")])
    drawn = lists(tmp_path / "drawn")
    assert set(drawn) == {"train1.meta", "train2.meta"} and len(drawn["train2.meta"]) == 2
    assert sorted(drawn["train1.meta"] + drawn["train2.meta"]) == names
    make_split.main([str(tmp_path), "--count", "2", "--output", str(tmp_path / "again")])
    assert lists(tmp_path / "again") == drawn
    for seed in range(5):
        make_split.main(
            [
                str(tmp_path),
                "--count",
                "2",
                "--seed",
                str(seed),
                "--output",
                str(tmp_path / "other"),
            ]
        )
        if lists(tmp_path / "other") != drawn:
            break
    else:
        pytest.fail("five seeds drew the same two of four names")
    held_out = ["--held_out", str(tmp_path / "drawn" / "train2.meta")]
    make_split.main([str(tmp_path), *held_out, "--output", str(tmp_path / "given")])
    assert lists(tmp_path / "given") == drawn
    for number in (1, 2):
        source = Source(str(tmp_path), meta_path=str(tmp_path / "drawn" / f"train{number}.meta"))
        assert len(AlignedDataset(source, "AtoB", Resize("none"))) == 2


def test_of_unpaired_data_both_sides_are_split(tmp_path):
    for side, count in (("A", 5), ("B", 7)):
        for i in range(count):
            write(tmp_path / f"train{side}" / f"{side}{i}.png")
    (tmp_path / "heldA.meta").write_text("A3.png\nA1.png\n")
    (tmp_path / "heldB.meta").write_text("B0.png\nB6.png\nB2.png\n")
    mode = ["--dataset_mode", "unaligned", "--output", str(tmp_path / "out")]
    make_split.main([str(tmp_path), "--held_out", str(tmp_path / "held.meta"), *mode])
    assert lists(tmp_path / "out") == {
        "train1A.meta": ["A0.png", "A2.png", "A4.png"],
        "train1B.meta": ["B1.png", "B3.png", "B4.png", "B5.png"],
        "train2A.meta": ["A1.png", "A3.png"],
        "train2B.meta": ["B0.png", "B2.png", "B6.png"],
    }
    source = Source(str(tmp_path), meta_path=str(tmp_path / "out" / "train2.meta"))
    assert [len(d) for d in unpaired_datasets(source, "AtoB", Resize("none"))] == [2, 3]
    make_split.main([str(tmp_path), "--count", "4", *mode])
    assert {k: len(v) for k, v in lists(tmp_path / "out").items()} == {
        **{"train1A.meta": 1, "train1B.meta": 3, "train2A.meta": 4, "train2B.meta": 4}
    }


def test_what_a_split_refuses(tmp_path):
    def says(words, *more):
        with pytest.raises(InputError, match=words):
            make_split.main([str(tmp_path), *more, "--output", str(tmp_path / "out")])
        assert not (tmp_path / "out").exists()

    says("train holds no images", "--count", "2")
    for side, count in (("A", 5), ("B", 3)):
        for i in range(count):
            write(tmp_path / f"train{side}" / f"{i}.png")
    unaligned = ("--dataset_mode", "unaligned")
    says("--count 3: must be from 2 to 2, .*trainB holds 3 images", "--count", "3", *unaligned)
    (tmp_path / "xA.meta").write_text("4.png\n")
    (tmp_path / "xB.meta").write_text("4.png\n")
    says(
        "xB.meta names 1 files that .*trainB does not have, first 4",
        "--held_out",
        str(tmp_path / "x.meta"),
        *unaligned,
    )
    says("x.meta: no such file", "--held_out", str(tmp_path / "x.meta"))
    for content, words in (
        (b"", "x.meta: names no files"),
        (b"\n \n", "x.meta: names no files"),
        ("größe.png".encode("latin-1"), "x.meta: not UTF-8"),
        (
            b"".join(b"%d.png\n" % i for i in range(5)),
            "names all images of .*trainA; none would be",
        ),
    ):
        (tmp_path / "x.meta").write_bytes(content)
        says(words, "--held_out", str(tmp_path / "x.meta"))
    write(tmp_path / "trainA" / "new\nline.png")
    says("file names are not one line of UTF-8", "--count", "2")


# --------------------------------------------------------------------------------------------------
# Cityscapes


def add_frame(root, phase, city, frame, labels):
    name = f"{city}_{frame:06d}_000019"
    folder = root / "gtFine" / phase / city
    write(folder / f"{name}_gtFine_labelIds.png", Image.fromarray(labels))
    write(
        folder / f"{name}_gtFine_color.png",
        Image.fromarray(np.dstack([labels * 5] * 3)).convert("RGBA"),
    )
    write(root / "leftImg8bit" / phase / city / f"{name}_leftImg8bit.png", noise(64, 32))


@pytest.fixture
def root(tmp_path):
    """Three frames to train on, in two cities, and one to measure on; every label id occurs."""
    root = tmp_path / "origin"
    labels = np.resize(np.arange(34, dtype=np.uint8), (32, 64))
    for city, frame in (("bremen", 0), ("aachen", 1), ("aachen", 0)):
        add_frame(root, "train", city, frame, labels)
    add_frame(root, "val", "ulm", 0, labels)
    return root


def prepare(root, *more):
    out = root.parent
    cityscapes.main(
        [
            str(root),
            "--output",
            str(out / "pairs"),
            "--tables",
            str(out / "tables"),
            "--size",
            "16",
            *more,
        ]
    )


def test_the_classes_are_the_official_ones():
    classes = {
        **{
            "road": (7, 0),
            "sidewalk": (8, 1),
            "building": (11, 2),
            "wall": (12, 3),
            "fence": (13, 4),
        },
        **{
            "pole": (17, 5),
            "traffic light": (19, 6),
            "traffic sign": (20, 7),
            "vegetation": (21, 8),
        },
        **{
            "terrain": (22, 9),
            "sky": (23, 10),
            "person": (24, 11),
            "rider": (25, 12),
            "car": (26, 13),
        },
        **{
            "truck": (27, 14),
            "bus": (28, 15),
            "train": (31, 16),
            "motorcycle": (32, 17),
            "bicycle": (33, 18),
        },
    }
    assert dict(classes.values()) == cityscapes.TRAIN_IDS
    made = cityscapes.to_train_ids(np.arange(34, dtype=np.uint8))
    assert made.dtype == np.uint8 and sorted(made[made != 255]) == list(range(19))
    assert (made == 255).sum() == 34 - 19 and made[0] == 255 and made[26] == 13


def test_cityscapes_becomes_pairs_and_tables(root):
    prepare(root)
    pairs, tables = root.parent / "pairs", root.parent / "tables"
    assert tree(pairs) == [
        "train/0.jpg",
        "train/1.jpg",
        "train/2.jpg",
        "train_table.txt",
        "val/0.jpg",
        "val_table.txt",
    ]
    lines = (tables / "train_table.txt").read_text().splitlines()
    assert lines[1] == (
        "1 gtFine/train/aachen/aachen_000001_000019_gtFine_trainIds.png "
        "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png"
    )
    assert [line.split("/")[2] for line in lines] == ["aachen", "aachen", "bremen"]

    table = read_table(tables / "train_table.txt", root)
    assert set(table) == set(AlignedDataset(Source(str(pairs)), "BtoA", Resize("none")).names)
    made = pixels(table["1"])
    labels = pixels(str(table["1"]).replace("trainIds", "labelIds"))
    assert made.dtype == np.uint8 and np.array_equal(made, cityscapes.to_train_ids(labels))

    pair = pixels(pairs / "train" / "1.jpg").astype(int)
    photo = Image.open(root / lines[1].split()[2]).resize((16, 16), Image.Resampling.BICUBIC)
    assert pair.shape == (16, 32, 3) and np.abs(pair[:, :16] - np.asarray(photo)).mean() < 2
    legend = Image.fromarray(labels * 5).resize((16, 16), Image.Resampling.NEAREST)
    assert np.abs(pair[:, 16:] - np.asarray(legend)[:, :, None]).mean() < 2


def test_it_goes_on_where_it_stopped(root, capsys):
    prepare(root)
    (root.parent / "pairs" / "train" / "1.jpg").unlink()
    kept = (root.parent / "pairs" / "train" / "2.jpg").stat().st_mtime_ns
    ids = next((root / "gtFine" / "val").rglob("*trainIds.png"))
    ids.unlink()
    capsys.readouterr()
    prepare(root)
    said = capsys.readouterr().out
    assert "3 pairs, 1 written now" in said and "1 pairs, 1 written now" in said
    assert (root.parent / "pairs" / "train" / "2.jpg").stat().st_mtime_ns == kept and ids.is_file()


def test_train_ids_that_are_there_are_kept_and_do_for_label_ids(root):
    ids = root / "gtFine/val/ulm/ulm_000000_000019_gtFine_trainIds.png"
    write(ids, Image.fromarray(np.full((32, 64), 3, np.uint8)))
    (root / "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png").unlink()
    prepare(root)
    assert (pixels(ids) == 3).all()


def test_numbers_never_change_their_meaning(root):
    prepare(root, "--first", "1")
    assert (root.parent / "pairs" / "train" / "3.jpg").is_file()
    with pytest.raises(InputError, match=r"train_table\.txt numbers other frames"):
        prepare(root)
    add_frame(root, "train", "aachen", 7, np.zeros((32, 64), np.uint8))
    with pytest.raises(InputError, match="choose another --output"):
        prepare(root, "--first", "1")
    (root.parent / "pairs" / "train_table.txt").unlink()
    with pytest.raises(InputError, match="unknown frames"):
        prepare(root, "--first", "1")


def test_what_is_missing_is_said(root):
    def says(words, *more):
        with pytest.raises(InputError, match=words) as caught:
            prepare(root, *more)
        assert "\n" not in str(caught.value)

    says("--size 10", "--size", "10")
    label = root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    good = label.read_bytes()
    label.write_bytes(good[:100])
    says("labelIds.png: unreadable")
    write(label, Image.fromarray(np.full((32, 64), 200, np.uint8)))
    says("not label ids .*values to 200")
    write(label, noise(64, 32))
    says("not label ids .mode RGB")
    label.unlink()
    says("labelIds.png and 0 more are missing; unpack gtFine_trainvaltest.zip")
    label.write_bytes(good)
    (root / "leftImg8bit" / "val").rename(root / "elsewhere")
    says("leftImg8bit.png and 0 more are missing; unpack leftImg8bit_trainvaltest.zip")
    (root / "gtFine" / "val").rename(root / "gtFine" / "test")
    says("val: no such folder")
    (root / "gtFine" / "val").mkdir()
    says("holds no <city>")
    root.rename(root.parent / "moved")
    says("origin: no such folder")


def test_a_command_from_outside(tmp_path):
    command = [
        sys.executable,
        str(REPOSITORY / "scripts" / "combine_pairs.py"),
        "no",
        "where",
        "--output",
        "x",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: A no: no such folder\n") and not tree(
        tmp_path
    )
