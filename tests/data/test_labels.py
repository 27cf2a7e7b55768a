"""Label maps: from files of numbers to one-hot batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from data.build import (
    DataSettings,
    calibration_batches,
    datasets,
    inference_loader,
    training_loader,
)
from data.labels import Semantics, instance_edges, read_numbers
from data.transforms import Resize
from errors import InputError
from evaluation.pictures import montage_of

CPU = torch.device("cpu")
HEIGHT, WIDTH = 16, 32


def save(path, numbers, kind=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(numbers).astype(kind)).save(path)


def scene(seed, labels=35):
    """A photo whose red is 7 times the label, labels and instances, in blocks of 4 pixels."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, labels, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1)
    instances = rng.integers(0, 40_000, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1)
    return np.stack([7 * numbers, numbers, numbers], 2), numbers, instances


@pytest.fixture
def city(tmp_path):
    for phase, count in (("train", 12), ("val", 3)):
        for k in range(count):
            photo, numbers, instances = scene(k)
            name = f"{phase}/ulm/ulm_{k}_000019"
            save(tmp_path / f"leftImg8bit/{name}_leftImg8bit.png", photo)
            save(tmp_path / f"gtFine/{name}_gtFine_labelIds.png", numbers)
            save(tmp_path / f"gtFine/{name}_gtFine_instanceIds.png", instances, np.uint16)
            save(tmp_path / f"gtFine/{name}_gtFine_color.png", photo)
    return tmp_path


@pytest.fixture
def coco(tmp_path):
    for folder, names in (("train", "ab"), ("val", "c")):
        for k, name in enumerate(names):
            photo, numbers, instances = scene(k, 182)
            photo = np.clip(photo, 0, 255)
            save(tmp_path / f"{folder}_img/{name}.png", photo)
            save(tmp_path / f"{folder}_label/{name}.png", np.where(numbers == 3, 255, numbers))
            save(tmp_path / f"{folder}_inst/{name}.png", instances % 256)
    for kind, array in zip(("img", "label", "inst"), scene(9, 30), strict=True):
        save(tmp_path / f"train_{kind}_portrait" / "d.png", array % 256)
    return tmp_path


def settings(root, mode="cityscapes", **how):
    usual = dict(preprocess="scale_width", load_size=WIDTH, crop_size=WIDTH, aspect_ratio=2.0)
    usual |= dict(input_nc=35, batch_size=2, num_threads=1)
    if mode == "coco":
        usual |= dict(input_nc=182, dont_care=True)
    return DataSettings(str(root), mode, **(usual | how))


# --------------------------------------------------------------------------------------------------
# Numbers


def test_both_sides_of_a_border_are_edges():
    edges = instance_edges(torch.tensor([[[[1, 1], [1, 2]]]]))
    assert edges.tolist() == [[[[0, 1], [1, 1]]]]
    wide = instance_edges(torch.tensor([[[[5, 5, 5, 7, 7, 7]]]], dtype=torch.int16))
    assert wide.tolist() == [[[[0, 0, 1, 1, 0, 0]]]]
    assert instance_edges(torch.zeros(1, 1, 3, 4)).sum() == 0


def test_no_label_becomes_the_channel_after_the_last(tmp_path):
    semantics = Semantics(5, dont_care=True, instance=False)
    numbers = semantics.checked(np.array([[0, 4, 255]]), tmp_path)
    assert numbers.dtype == np.uint8 and numbers.tolist() == [[0, 4, 5]]
    one_hot = semantics.one_hot(torch.from_numpy(numbers)[None, None], None)
    assert one_hot.shape == (1, 6, 1, 3) and one_hot.dtype == torch.float32
    assert one_hot[0, :, 0].argmax(0).tolist() == [0, 4, 5] and one_hot.sum() == 3


@pytest.mark.parametrize(
    "semantics, channels",
    [
        (Semantics(35), 36),
        (Semantics(182, True), 184),
        (Semantics(35, instance=False), 35),
    ],
)
def test_channels(semantics, channels):
    assert semantics.channels == channels


@pytest.mark.parametrize(
    "numbers, dont_care, says",
    [
        ([[0, 255]], False, r"x\.png: label 255 has no channel; give `contain_dontcare_label`"),
        ([[0, 5]], True, r"label 5 has no channel; give `input_nc`.*\(now 5\)"),
        ([[-1, 5]], False, "label -1 has no channel"),
    ],
)
def test_labels_without_a_channel_are_named(numbers, dont_care, says, tmp_path):
    with pytest.raises(InputError, match=says):
        Semantics(5, dont_care).checked(np.array(numbers), tmp_path / "x.png")


def test_files_of_numbers(tmp_path):
    numbers = np.array([[0, 1000], [26_001, 40_000]])
    save(tmp_path / "16.png", numbers, np.uint16)
    assert read_numbers(tmp_path / "16.png").tolist() == numbers.tolist()
    palette = Image.fromarray(np.array([[3, 1]], np.uint8), "P")
    palette.putpalette([9] * 768)
    palette.save(tmp_path / "p.png")
    assert read_numbers(tmp_path / "p.png").tolist() == [[3, 1]]
    save(tmp_path / "rgb.png", np.zeros((2, 2, 3)))
    with pytest.raises(InputError, match=r"rgb\.png: an image of mode RGB where numbers"):
        read_numbers(tmp_path / "rgb.png")
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        read_numbers(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"bad\.png: unreadable image"):
        read_numbers(tmp_path / "bad.png")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_resizing_numbers_mixes_none(kind):
    numbers = np.random.default_rng(0).choice([0, 7, 100], (20, 40)).astype(kind)
    resize = Resize("scale_width", 24, 24, 2.0)
    small = resize.numbers(numbers)
    assert small.shape == (12, 24) and small.dtype == kind
    wanted = Image.fromarray(numbers.astype(np.uint8)).resize((24, 12), Image.Resampling.NEAREST)
    assert np.array_equal(small, np.asarray(wanted))


# --------------------------------------------------------------------------------------------------
# Scenes


def test_a_batch_is_one_hot_with_edges_and_fits_its_photo(city):
    loader = inference_loader(settings(city, phase="val"), CPU)
    (first, last) = loader.epoch()
    assert first.A.shape == (2, 36, HEIGHT, WIDTH) and len(last) == 1
    assert first.names == [f"ulm/ulm_{k}_000019_leftImg8bit" for k in (0, 1)]
    for index, (x, photo) in enumerate(zip(first.A, first.B, strict=True)):
        pixels, numbers, instances = scene(index)
        assert (
            torch.equal(x[:35].argmax(0), torch.from_numpy(numbers))
            and x[:35].sum() == x[0].numel()
        )
        assert torch.equal(x[35:], instance_edges(torch.from_numpy(instances)[None, None])[0])
        assert torch.equal(
            ((photo[0] + 1) * 127.5).round().long(), torch.from_numpy(pixels[..., 0])
        )
    assert datasets(settings(city, phase="val", instance=False))[0].load(0).keys() == {
        "labels",
        "B",
    }


def test_frames_come_in_the_order_of_their_numbers(city):
    names = datasets(settings(city))[0].names
    assert [int(name.split("_")[1]) for name in names] == list(range(12))


def test_crops_and_flips_are_those_of_the_photo(city):
    how = dict(preprocess="resize_and_crop", load_size=WIDTH, crop_size=16)
    loader = training_loader(settings(city, **how), CPU)
    seen = set()
    for epoch in range(3):
        for batch in loader.epoch(epoch):
            labels = batch.A[:, :35].argmax(1)
            assert torch.equal(((batch.B[:, 0] + 1) * 127.5).round().long(), 7 * labels)
            assert labels.shape == (2, 8, 16)
            seen |= {tuple(map(tuple, numbers.tolist())) for numbers in labels}
    assert len(seen) > 25


def test_edges_are_made_after_the_cut(city):
    """A border that the cut goes along is none."""
    how = dict(preprocess="crop", crop_size=4, aspect_ratio=1.0, flip=False)
    for batch in training_loader(settings(city, **how), CPU).epoch():
        edges = batch.A[:, 35:]
        one_block = batch.A[:, :35].amax((2, 3)).sum(1) == 1
        assert edges[one_block & (edges.amax((1, 2, 3)) == 0)].sum() == 0
        assert batch.A.shape == (2, 36, 4, 4)
    whole = instance_edges(torch.from_numpy(scene(0)[2])[None, None])
    assert whole[..., :4, :4].sum() > 0  # its block ends there
    assert instance_edges(torch.from_numpy(scene(0)[2])[None, None, :4, :4]).sum() == 0


def test_coco_has_no_label_and_upright_photos(coco):
    how = dict(preprocess="resize_and_crop", load_size=16, crop_size=16, aspect_ratio=1.0)
    found = datasets(settings(coco, "coco", **how))[0]
    assert [name.split("/")[-1] for name in found.names] == ["a", "b", "d"]
    # What is kept of a dataset names its files by the folder that holds them all.
    assert all(path.is_relative_to(found.folder) for path in found.files)
    assert len(datasets(settings(coco, "coco", portraits=False, **how))[0]) == 2
    (batch,) = inference_loader(settings(coco, "coco", phase="val", **how), CPU).epoch()
    assert batch.A.shape == (1, 184, 16, 16) and batch.A[:, :183].sum() == 256
    assert (batch.A[:, 182].sum() > 0) == (scene(0, 182)[1] == 3).any()
    assert batch.names == ["c"]


def test_lists_name_photos_or_all_three_files(city, tmp_path):
    (tmp_path / "one.meta").write_text("ulm/ulm_7_000019_leftImg8bit.png\n")
    chosen = datasets(settings(city, meta_path=str(tmp_path / "one.meta")))[0]
    assert chosen.names == ["ulm/ulm_7_000019_leftImg8bit"]
    line = (
        "gtFine/train/ulm/ulm_5_000019_gtFine_labelIds.png "
        "leftImg8bit/train/ulm/ulm_5_000019_leftImg8bit.png "
        "gtFine/train/ulm/ulm_5_000019_gtFine_instanceIds.png\n"
    )
    (tmp_path / "three.meta").write_text(line)
    chosen = datasets(settings(city, meta_path=str(tmp_path / "three.meta")))[0]
    assert chosen.names == ["ulm/ulm_5_000019_leftImg8bit"]
    for text, says in (
        ("ulm/none.png\n", r"`meta_path` .* names 1 of 1 photos .* first ulm/none\.png"),
        (line.replace("ulm_5", "ulm_55"), r"ulm_55_000019_leftImg8bit\.png: no such file"),
    ):
        (tmp_path / "bad.meta").write_text(text)
        with pytest.raises(InputError, match=says):
            datasets(settings(city, meta_path=str(tmp_path / "bad.meta")))


def test_what_is_missing_is_named(city, tmp_path):
    frame = city / "gtFine/train/ulm/ulm_3_000019_gtFine"
    with pytest.raises(InputError, match=r"has no folder gtFine/test \(`phase` test\)"):
        datasets(settings(city, phase="test"))
    with pytest.raises(InputError, match=r"x: no such folder"):
        datasets(settings(tmp_path / "x"))
    kept = frame.with_name(f"{frame.name}_labelIds.png")
    kept.rename(kept.with_name("ulm_99_000019_gtFine_labelIds.png"))
    with pytest.raises(InputError, match=r"are no scene: their names differ.*`no_pairing_check`"):
        datasets(settings(city))
    assert len(datasets(settings(city, check_pairs=False))[0]) == 12
    frame.with_name(f"{frame.name}_instanceIds.png").unlink()
    with pytest.raises(InputError, match=r"12 photo, 12 labels, 11 instances.*`no_instance`"):
        datasets(settings(city))
    assert len(datasets(settings(city, instance=False, check_pairs=False))[0]) == 12
    small = city / "leftImg8bit/val/ulm/ulm_0_000019_leftImg8bit.png"
    save(small, np.zeros((8, 8, 3)))
    with pytest.raises(InputError, match=r"labelIds\.png is 32x16 but its photo .* is 8x8"):
        datasets(settings(city, phase="val"))[0].load(0)
    save(small, scene(0)[0])
    data = settings(city, phase="val", aspect_ratio=1.0)
    with pytest.raises(InputError, match="comes out at 32x16 pixels, not at the 32x32 of"):
        datasets(data)[0].load(0)


def test_what_is_recorded_and_what_is_compared(city):
    given = settings(city)
    assert given.channels == (36, 3) and given.network_size == (HEIGHT, WIDTH)
    assert given.described == {"size": [HEIGHT, WIDTH]}
    assert given.has_phase("val") and not given.has_phase("test")
    published = replace(given, preprocess="resize_and_crop", crop_size=256, aspect_ratio=1.0)
    assert published.real_images().preprocess == "resize_and_crop"
    inputs = calibration_batches(given, CPU)
    for _ in range(2):
        (batch,) = inputs
        assert batch.shape == (12, 36, HEIGHT, WIDTH)


def test_pictures_show_coloured_labels(city):
    loader = inference_loader(settings(city, phase="val"), CPU)
    batch = next(iter(loader.epoch()))
    picture = batch.shown
    assert picture.shape == (2, 3, HEIGHT, WIDTH) and picture.abs().max() <= 1
    edges = batch.A[:, 35:].expand(-1, 3, -1, -1) == 1
    assert (picture[edges] == 1).all()
    colours = {tuple(c) for c in picture.permute(0, 2, 3, 1)[~edges[:, 0]].tolist()}
    assert len(colours) == len(torch.unique(batch.A[:, :35].argmax(1)[~edges[:, 0]]))
    shown = montage_of(loader, {"out": lambda x: x[:, :3] * 2 - 1}, WIDTH, 2)
    assert shown.shape[2] == 3 and shown.shape[1] >= 3 * WIDTH
