"""Which files a dataset holds, what it makes of them, and what it says about a folder that is not
right."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.datasets import (
    DOWNLOADS,
    AlignedDataset,
    SingleDataset,
    Source,
    list_images,
    path_of_side,
    unpaired_datasets,
)
from data.loader import Loader
from data.transforms import Crops, Resize
from errors import InputError

RNG = np.random.default_rng(0)
A = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
B = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
AS_STORED = Resize("none")


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pair(a=A, b=B):
    return np.concatenate([a, b], axis=1)


def aligned(root, direction="AtoB", channels=(3, 3), **source):
    return AlignedDataset(Source(str(root), **source), direction, AS_STORED, channels)


def chw(pixels):
    return pixels.transpose(2, 0, 1)


@pytest.fixture
def root(tmp_path):
    """Three pairs in ``train``, one of them in a folder below, and files that are no images."""
    for name in ("b.png", "a.png", "deep/c.png"):
        write(tmp_path / "train" / name, pair())
    (tmp_path / "train" / ".hidden.png").write_bytes(b"")
    (tmp_path / "train" / "notes.txt").write_text("")
    (tmp_path / "train" / "folder.png").mkdir()
    return tmp_path


# --------------------------------------------------------------------------------------------------
# Pairs


def test_pairs_are_split_in_the_middle(root):
    data = aligned(root)
    assert len(data) == 3 and data.names == ["a", "b", "deep/c"]
    item = data.load(0)
    assert np.array_equal(item["A"], chw(A)) and np.array_equal(item["B"], chw(B))
    assert item["A"].dtype == np.uint8 and item["A"].flags.c_contiguous


def test_the_direction_swaps_them(root):
    item = aligned(root, "BtoA").load(0)
    assert np.array_equal(item["A"], chw(B)) and np.array_equal(item["B"], chw(A))


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (1, 1)])
def test_channels_follow_input_and_target(root, direction, channels):
    item = aligned(root, direction, channels).load(0)
    assert (item["A"].shape[0], item["B"].shape[0]) == channels
    for side, pixels in zip("AB", (A, B) if direction == "AtoB" else (B, A), strict=True):
        grey = np.asarray(Image.fromarray(pixels).convert("L"))[None]
        assert np.array_equal(item[side], grey if item[side].shape[0] == 1 else chw(pixels))


def test_halves_are_resized_apart(tmp_path):
    """No pixel of B may bleed into A."""
    write(tmp_path / "train" / "a.png", pair(np.zeros_like(A), np.full_like(B, 255)))
    item = AlignedDataset(Source(str(tmp_path)), "AtoB", Resize("resize_and_crop", 40, 40)).load(0)
    assert item["A"].shape == (3, 40, 40) and item["A"].max() == 0 and item["B"].min() == 255


@pytest.mark.parametrize(
    "width, height, why",
    [(33, 16, "its width is odd"), (16, 16, "not wider than high"), (16, 32, "not wider")],
)
def test_what_is_no_pair_is_refused(tmp_path, width, height, why):
    write(tmp_path / "train" / "a.png", np.zeros((height, width, 3), np.uint8))
    with pytest.raises(
        InputError,
        match=rf"a\.png is {width}x{height}: not an A\|B pair.*{why}.*`dataset_mode` single",
    ):
        aligned(tmp_path).load(0)


def test_halves_that_are_not_square_are_said_once(tmp_path):
    for name in "ab":
        write(tmp_path / "train" / f"{name}.png", np.zeros((16, 48, 3), np.uint8))
    data = aligned(tmp_path)
    with pytest.warns(UserWarning, match=r"a\.png is 48x16: its halves are not square") as said:
        assert data.load(0)["A"].shape == (3, 16, 24)
        data.load(1)
    assert len(said) == 1


# --------------------------------------------------------------------------------------------------
# Two folders


@pytest.fixture
def two_folders(tmp_path):
    for name in ("a", "deep/b"):
        write(tmp_path / "trainA" / f"{name}.png", A)
        write(tmp_path / "trainB" / f"{name}.bmp", B)
    write(tmp_path / "trainB" / "unused.png", B)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*they are not used")
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_two_folders_are_matched_by_name(two_folders, direction):
    data = aligned(two_folders, direction)
    assert data.names == ["a", "deep/b"]
    expected = (A, B) if direction == "AtoB" else (B, A)
    for index in range(2):
        item = data.load(index)
        assert np.array_equal(item["A"], chw(expected[0])) and np.array_equal(
            item["B"], chw(expected[1])
        )


def test_an_image_without_partner_is_named(two_folders):
    write(two_folders / "trainA" / "alone.png", A)
    with pytest.raises(
        InputError, match=r"1 images of trainA have no partner .* in trainB, first alone"
    ):
        aligned(two_folders)


def test_surplus_partners_are_said(two_folders):
    with pytest.warns(UserWarning, match="trainB has 1 images more than trainA; they are not used"):
        aligned(two_folders)


@pytest.mark.filterwarnings("ignore:.*they are not used")
def test_partners_of_another_size_are_named(two_folders):
    write(two_folders / "trainB" / "a.bmp", B[:8])
    with pytest.raises(InputError, match=r"a\.png is 16x16 but its partner .*a\.bmp is 16x8"):
        aligned(two_folders).load(0)


def test_a_lone_half_of_two_folders_is_listed(two_folders):
    for path in (two_folders / "trainB").rglob("*.*"):
        path.unlink()
    (two_folders / "trainB" / "deep").rmdir()
    (two_folders / "trainB").rmdir()
    with pytest.raises(InputError, match=r"no folder 'train' \(`phase` train\); it has trainA"):
        aligned(two_folders)


# --------------------------------------------------------------------------------------------------
# Two folders that are no pairs


@pytest.fixture
def unpaired_folders(tmp_path):
    """Three images against two, of other names and sizes."""
    for i in range(3):
        write(tmp_path / "trainA" / f"horse{i}.png", A + np.uint8(i))
    for i in range(2):
        write(tmp_path / "trainB" / "deep" / f"zebra{i}.jpg", B[:8])
    return tmp_path


def unpaired(root, direction="AtoB", channels=(3, 3), **source):
    return unpaired_datasets(Source(str(root), **source), direction, AS_STORED, channels)


@pytest.mark.parametrize("channels", [(3, 3), (1, 3), (3, 1)])
def test_unpaired_sides_are_listed_apart(unpaired_folders, channels):
    inputs, targets = unpaired(unpaired_folders, channels=channels)
    assert inputs.names == ["horse0", "horse1", "horse2"] and targets.names == [
        "deep/zebra0",
        "deep/zebra1",
    ]
    assert inputs.load(1)["A"].shape == (channels[0], 16, 16)
    assert targets.load(0)["A"].shape == (channels[1], 8, 16)
    swapped = unpaired(unpaired_folders, "BtoA", channels)
    assert [d.names for d in swapped] == [targets.names, inputs.names]
    assert [d.load(0)["A"].shape[0] for d in swapped] == list(channels)
    if channels == (3, 3):
        assert np.array_equal(swapped[1].load(2)["A"], chw(A + np.uint8(2)))


def test_unpaired_lists_are_two(unpaired_folders, tmp_path):
    assert path_of_side("lists/train2.meta", "A") == "lists/train2A.meta"
    (tmp_path / "x.yA.meta").write_text("horse2.png\nhorse0.png\n")
    meta = str(tmp_path / "x.y.meta")
    with pytest.raises(InputError, match=r"`meta_path` .*x\.yB\.meta: no such file"):
        unpaired(unpaired_folders, meta_path=meta)
    (tmp_path / "x.yB.meta").write_text("deep/zebra1.jpg\n")
    for direction in ("AtoB", "BtoA"):
        sides = unpaired(unpaired_folders, direction, meta_path=meta)
        assert [d.names for d in sides] == [["horse0", "horse2"], ["deep/zebra1"]][
            :: 1 if direction == "AtoB" else -1
        ]
    assert [len(d) for d in unpaired(unpaired_folders, max_size=1)] == [1, 1]


def test_what_is_missing_of_unpaired_data_is_said(unpaired_folders, root):
    with pytest.raises(
        InputError, match=r"has no folder 'testA' \(`phase` test\); it has train, trainA, trainB"
    ):
        unpaired(unpaired_folders, phase="test")
    (root / "trainA").rename(root / "elsewhere")
    with pytest.raises(
        InputError, match=r"has 'train' instead of 'trainA' and 'trainB'.*`dataset_mode` aligned"
    ):
        unpaired(root)


def test_folders_that_share_no_name_may_be_no_pairs(unpaired_folders):
    with pytest.raises(
        InputError, match=r"3 images of trainA have no partner.*`dataset_mode` unaligned"
    ):
        aligned(unpaired_folders)


# --------------------------------------------------------------------------------------------------
# Which files


def test_a_missing_dataroot_is_named(tmp_path):
    for make in (aligned, single):
        with pytest.raises(InputError, match=rf"`dataroot` {tmp_path / 'none'}: no such folder"):
            make(tmp_path / "none")


def test_a_missing_phase_names_those_that_exist(root):
    write(root / "val" / "a.png", pair())
    (root / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"has no folder 'test' \(`phase` test\); it has train, val$"
    ):
        aligned(root, phase="test")


def test_a_dataroot_without_images_says_so(tmp_path):
    with pytest.raises(InputError, match="it holds no folder of images"):
        aligned(tmp_path)


def test_an_empty_folder_names_the_endings(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=rf"{tmp_path / 'train'} holds no images \(.*\.jpg.*\.png"):
        aligned(tmp_path)


def test_meta_path_limits_to_the_names_it_lists(root, tmp_path):
    meta = tmp_path / "list.meta"
    meta.write_text("deep/c.png\n\n b.png \nb.png\n")
    assert aligned(root, meta_path=str(meta)).names == ["b", "deep/c"]


def test_meta_path_with_unknown_names_says_how_many(root, tmp_path):
    meta = tmp_path / "list.meta"
    meta.write_text("a.png\nx.png\ny.png\n")
    with pytest.raises(
        InputError,
        match=rf"`meta_path` {meta} names 2 of 3 files that .*train does not have, first x\.png",
    ):
        aligned(root, meta_path=str(meta))
    meta.write_text("\n")
    with pytest.raises(InputError, match="names no files"):
        aligned(root, meta_path=str(meta))
    with pytest.raises(InputError, match=r"`meta_path` .*none\.meta: no such file"):
        aligned(root, meta_path=str(tmp_path / "none.meta"))


@pytest.mark.parametrize("size, count", [(None, 3), (-1, 3), (2, 2), (9, 3)])
def test_max_size_keeps_the_first(root, size, count):
    assert aligned(root, max_size=size).names == ["a", "b", "deep/c"][:count]


@pytest.mark.parametrize(
    "setting, value, said",
    [
        ("max_size", 0, "`max_dataset_size` 0 leaves no images; give -1"),
        ("meta_path", "", "`meta_path` is empty"),
        ("phase", "", "`phase` is empty"),
    ],
)
def test_settings_that_name_nothing_are_refused(root, setting, value, said):
    with pytest.raises(InputError, match=said):
        aligned(root, **{setting: value})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_lists_may_begin_with_a_byte_order_mark(root, tmp_path, encoding):
    meta = tmp_path / "list.meta"
    meta.write_text("b.png\r\n", encoding=encoding)
    assert aligned(root, meta_path=str(meta)).names == ["b"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_lists_of_another_encoding_are_named(root, tmp_path, encoding):
    meta = tmp_path / "list.meta"
    meta.write_text("größe.png\n", encoding=encoding)
    with pytest.raises(InputError, match=f"`meta_path` {meta}: not UTF-8 text; save it as UTF-8"):
        aligned(root, meta_path=str(meta))


@pytest.mark.parametrize("name, shown", [(b"new\nline", r"new\\nline"), (b"\xff", r"\\udcff")])
def test_names_that_no_list_can_hold_are_refused(root, name, shown):
    write(root / "train" / f"{os.fsdecode(name)}.png", pair())
    with pytest.raises(
        InputError, match=f"1 file names are not one line of UTF-8, first {shown}"
    ) as e:
        aligned(root)
    assert str(e.value).isprintable()


def test_a_missing_download_is_named_with_its_command(tmp_path):
    database = tmp_path / "database"
    with pytest.raises(InputError, match=r"no such folder; download it with .*download\.py maps$"):
        aligned(database / "maps")
    with pytest.raises(InputError, match=r"no such folder$"):
        aligned(database / "mine")


def test_what_is_named_as_a_download_can_be_downloaded():
    table = json.loads((Path(__file__).parents[2] / "scripts" / "downloads.json").read_text())
    for name, command in DOWNLOADS.items():
        if "download.py" in command:
            assert table[command.split()[-1]]["target"] == f"database/{name}"


def test_files_are_sorted_by_their_path(tmp_path):
    for name in ("10.png", "9.png", "B.png", "a.JPG"):
        write(tmp_path / name, A)
    assert [p.name for p in list_images(tmp_path)] == ["10.png", "9.png", "B.png", "a.JPG"]


def test_hidden_folders_are_skipped_and_links_to_folders_followed(tmp_path):
    """A link back to a folder that it lies in is not: it would never end, also by a detour."""
    for name in ("root/a.png", "root/.ipynb_checkpoints/a.png", "elsewhere/deep/b.png"):
        write(tmp_path / name, A)
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "itself").symlink_to(tmp_path / "root")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "broken.png").symlink_to(tmp_path / "none.png")
    found = [str(p.relative_to(tmp_path / "root")) for p in list_images(tmp_path / "root")]
    assert found == ["a.png", "linked/deep/b.png"]


def test_names_that_would_overwrite_each_other_are_refused(tmp_path):
    """``a.png`` and ``a.jpg`` would both be written as ``a.png``: one result would be lost without
    a word."""
    write(tmp_path / "train" / "a.png", pair())
    write(tmp_path / "train" / "a.jpg", pair())
    with pytest.raises(InputError, match=r"a\.(png|jpg)"):
        aligned(tmp_path)


def test_two_partners_of_one_name_are_refused(two_folders):
    write(two_folders / "trainB" / "a.png", A)
    with pytest.raises(InputError, match=r"trainB holds a\.bmp, a\.png, of one name"):
        aligned(two_folders)


# --------------------------------------------------------------------------------------------------
# Arrays


def save_array(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


FIVE = RNG.integers(0, 65536, (16, 16, 5)).astype(np.uint16)


def test_pairs_of_arrays_and_pictures_in_two_folders(tmp_path):
    save_array(tmp_path / "trainA" / "x.npy", FIVE)
    write(tmp_path / "trainB" / "x.png", B)
    item = aligned(tmp_path, channels=(5, 3)).load(0)
    assert item["A"].dtype == np.float32 and np.array_equal(item["B"], chw(B))
    assert np.array_equal((item["A"] * 65535).round(), chw(FIVE))
    turned = aligned(tmp_path, "BtoA", channels=(3, 5)).load(0)
    assert np.array_equal(turned["A"], item["B"]) and np.array_equal(turned["B"], item["A"])
    with pytest.raises(InputError, match=r"x\.npy: 5 channels where 3 are expected"):
        aligned(tmp_path).load(0)


def test_pairs_in_one_array(tmp_path):
    save_array(tmp_path / "train" / "x.npy", pair(FIVE, FIVE[::-1]))
    item = aligned(tmp_path, channels=(5, 5)).load(0)
    assert np.array_equal((item["B"] * 65535).round(), chw(FIVE[::-1]))
    with pytest.raises(InputError, match=r"x\.npy: 5 channels where 1 are expected"):
        aligned(tmp_path, channels=(5, 1)).load(0)


def test_arrays_are_batched_resized_and_flipped(tmp_path):
    """A batch may mix arrays of 8 and of 16 bits."""
    for i in range(4):
        few = FIVE if i else (FIVE // 257).astype(np.uint8)
        save_array(tmp_path / "trainA" / f"{i}.npy", few)
        write(tmp_path / "trainB" / f"{i}.png", B)
    resize = Resize("resize_and_crop", 24, 20)
    data = AlignedDataset(Source(str(tmp_path)), "AtoB", resize, (5, 3))
    loader = Loader(data, 4, "cpu", Crops(resize.crop, random=True, flip=True))
    (batch,) = loader.epoch()
    assert batch.A.shape == (4, 5, 20, 20) and batch.B.shape == (4, 3, 20, 20)
    assert batch.A.dtype == torch.float32 and -1 <= batch.A.min() < batch.A.max() <= 1
    assert loader.store.bytes == sum(
        array.nbytes for i in range(4) for array in data.load(i).values()
    )
    first = resize.pixels((FIVE / 65535).astype(np.float32))
    for plane in range(5):
        expected = Image.fromarray((FIVE[..., plane] / 65535).astype(np.float32))
        expected = np.asarray(expected.resize((24, 24), Image.Resampling.BICUBIC)).clip(0, 1)
        assert np.array_equal(first[..., plane], expected)


# --------------------------------------------------------------------------------------------------
# Single images


def single(root, channels=3, **source):
    return SingleDataset(Source(str(root), **source), AS_STORED, channels)


def test_single_images_have_no_target(root):
    data = single(root)
    assert data.names == ["a", "b", "deep/c"]
    assert set(data.load(0)) == {"A"} and np.array_equal(data.load(0)["A"], chw(pair()))
    assert single(root, 1).load(0)["A"].shape == (1, 16, 32)


def test_single_images_keep_their_sizes_and_can_be_written_to(tmp_path):
    """Whatever they are, down to one pixel."""
    shapes = [(30, 31), (1, 1), (5, 3)]
    for number, shape in enumerate(shapes):
        write(tmp_path / f"{number}.png", RNG.integers(0, 256, (*shape, 3), dtype=np.uint8))
    for channels in (1, 3):
        dataset = SingleDataset(Source(str(tmp_path)), AS_STORED, channels)
        for index, shape in enumerate(shapes):
            image = dataset.load(index)["A"]
            assert image.shape == (channels, *shape)
            assert image.flags.writeable and image.flags.c_contiguous


def test_single_images_may_lie_in_the_dataroot_itself(root):
    assert single(root / "train").names == ["a", "b", "deep/c"]


def test_single_images_of_a_missing_phase_are_looked_for_in_the_dataroot(tmp_path):
    with pytest.raises(InputError, match="no folder 'train'"):
        single(tmp_path)
