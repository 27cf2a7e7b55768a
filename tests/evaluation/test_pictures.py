"""Montages: a column per label, a row per sample, every pixel where it belongs."""

import numpy as np
import torch

from data.images import channel_tiles
from data.loader import Loader
from data.transforms import Crops, to_numpy
from evaluation.pictures import HEADER, montage, montage_of


def images(
    value: int, n: int = 3, height: int = 8, width: int = 10, channels: int = 3
) -> np.ndarray:
    return np.full((n, height, width, channels), value, np.uint8)


def test_shape_and_places():
    columns = {"input": images(10), "output": images(20), "real": images(30)}
    columns["output"][2] = 99
    picture = montage(columns)
    assert (
        picture.shape == (HEADER + 3 * 8 + 2 * 2, 3 * 10 + 2 * 2, 3) and picture.dtype == np.uint8
    )
    assert (picture[HEADER : HEADER + 8, 0:10] == 10).all()
    assert (picture[HEADER + 20 : HEADER + 28, 12:22] == 99).all()
    assert (picture[HEADER + 10 : HEADER + 18, 24:34] == 30).all()
    assert (picture[HEADER:, 10:12] == 255).all()
    assert (picture[:HEADER] < 128).any(axis=(0, 2))[:10].any()  # a label is drawn


def test_sizes_are_brought_to_one():
    picture = montage(
        {"a": images(10, height=8, width=8), "b": images(20, height=16, width=16)}, size=32
    )
    assert picture.shape == (HEADER + 3 * 32 + 4, 2 * 32 + 2, 3)
    assert (picture[HEADER : HEADER + 32, 34:66] == 20).all()


def test_the_aspect_is_kept():
    assert montage({"a": images(1, 1, 8, 16)}, size=32).shape == (HEADER + 16, 32, 3)


def test_grey_images_are_shown():
    picture = montage({"a": images(77, channels=1), "b": images(5)})
    assert (picture[HEADER : HEADER + 8, :10] == 77).all()


def test_other_channels_are_grey_tiles():
    """Each channel whole, in reading order; what is left of the square is white."""
    image = np.stack([np.full((12, 10), value, np.uint8) for value in (10, 20, 30)], axis=2)
    five = np.concatenate([image, image[:, :, :2] + 30], axis=2)
    tiles = channel_tiles(five)
    assert tiles.shape == (12, 10, 3)
    for channel, value in enumerate((10, 20, 30, 40, 50)):
        row, column = divmod(channel, 3)
        part = tiles[4 * row : 4 * row + 4, 10 * column // 3 : 10 * (column + 1) // 3]
        assert (part == value).all(), channel
    assert (tiles[8:] == 255).all() and (tiles[4:8, 6:] == 255).all()
    assert (channel_tiles(image) == image).all()
    assert montage({"a": five[None], "b": image[None]}).shape == (HEADER + 12, 22, 3)
    assert channel_tiles(np.zeros((2, 2, 40), np.uint8)).shape == (2, 2, 3)  # more than pixels


def test_long_labels_are_cut():
    assert (
        montage(
            {"sub_mobile_resnet_9blocks 16_16_40_40_40_64_24_16": images(1), "b": images(2)}
        ).shape[1]
        == 22
    )


def test_tensors_become_pictures():
    x = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    assert to_numpy(x).shape == (2, 4, 5, 3) and to_numpy(x)[1, 2, 3, 0] == x[1, 0, 2, 3]


class Sized:
    """Items of two sizes: only those of the first can share a montage."""

    names = [f"image{i}" for i in range(6)]

    def __init__(self, paired=True):
        self.paired = paired

    def __len__(self):
        return 6

    def load(self, index):
        size = 8 if index != 1 else 12
        a = np.full((3, size, size), 10 * index, np.uint8)
        return {"A": a, "B": 255 - a} if self.paired else {"A": a}


def test_a_montage_shows_input_outputs_and_target():
    loader = Loader(Sized(), 1, torch.device("cpu"), Crops(None, False, False))
    picture = montage_of(loader, {"teacher": lambda x: x, "student": lambda x: -x}, 8, count=3)
    assert picture.shape == (HEADER + 3 * 8 + 4, 4 * 8 + 6, 3)
    rows = [HEADER, HEADER + 10, HEADER + 20]
    for row, value in zip(rows, (0, 20, 30), strict=True):  # the one of another size is left out
        shown = [int(picture[row, column, 0]) for column in (0, 10, 20, 30)]
        assert np.abs(np.array(shown) - [value, value, 255 - value, 255 - value]).max() <= 1


def test_images_without_target_have_no_column_for_it():
    loader = Loader(Sized(paired=False), 1, torch.device("cpu"), Crops(None, False, False))
    assert montage_of(loader, {"G": lambda x: x}, 8, count=2).shape[1] == 2 * 8 + 2
