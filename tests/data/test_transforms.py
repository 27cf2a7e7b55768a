"""Resizing, cropping and the way between pixels and network values, the reference arrays
included."""

import warnings

import numpy as np
import pytest
import torch
from golden_values import golden_array
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data import transforms
from data.transforms import (
    Crops,
    Resize,
    SizeWarning,
    multiple_of_4,
    to_float,
    to_numpy,
    to_uint8,
)
from errors import InputError


def pixels_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def quiet(call, *args):
    """The result of a call that may say once that a size was rounded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SizeWarning)
        return call(*args)


# --------------------------------------------------------------------------------------------------
# Reference arrays


@pytest.mark.parametrize("half", ["A", "B"])
def test_resized_halves_equal_the_reference_exactly(half):
    pair = golden_array("AB_uint8", "transform.npz")
    width = pair.shape[1] // 2
    image = Image.fromarray(pair[:, :width] if half == "A" else pair[:, width:])
    resize = Resize("resize_and_crop", 64, 64)
    cut = Crops(resize.crop, random=True, flip=False).apply(
        pixels_of(resize(image)), np.array([0.9, 0.9, 0.0])
    )
    expected = golden_array(f"{half}_load64_crop64", "transform.npz")
    assert np.array_equal(to_float(cut).numpy(), expected)


def test_odd_sizes_equal_the_reference_exactly():
    pair = golden_array("AB_uint8", "transform.npz")
    image = Image.fromarray(pair[:149, :197])
    found = to_float(pixels_of(quiet(Resize("none"), image)))
    assert np.array_equal(found.numpy(), golden_array("A_197x149_none", "transform.npz"))


# --------------------------------------------------------------------------------------------------
# Sizes

sizes = st.integers(1, 400)


@given(sizes)
def test_the_nearest_multiple_of_4(size):
    found = multiple_of_4(size)
    assert found % 4 == 0 and found >= 4
    assert abs(found - size) <= 2 or size < 4


@given(
    st.sampled_from(transforms.PREPROCESS),
    sizes,
    sizes,
    sizes,
    sizes,
    st.sampled_from([1.0, 2.0, 0.75]),
)
def test_what_reaches_the_network_is_whole_and_a_multiple_of_4(
    preprocess, load, crop, width, height, aspect
):
    resize = Resize(preprocess, load, crop, aspect)
    target = quiet(resize.target, width, height)
    window = quiet(lambda: resize.crop)
    if window is None:
        assert target[0] % 4 == 0 and target[1] % 4 == 0
    else:
        assert window[0] % 4 == 0 and window[1] % 4 == 0
        assert target[0] >= window[1] and target[1] >= window[0]
        image = torch.zeros(3, target[1], target[0])
        for draw in (np.zeros(3), np.full(3, 1 - 2**-53)):
            assert Crops(window, True, True).apply(image, draw).shape == (3, *window)


@given(st.sampled_from(["none", "scale_width"]), sizes, sizes, sizes)
def test_any_size_is_not_rounded(preprocess, load, width, height):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target = Resize(preprocess, load, load, any_size=True).target(width, height)
    assert target == (
        (width, height) if preprocess == "none" else (load, max(1, round(height * load / width)))
    )


@pytest.mark.parametrize(
    "resize, image, target, crop",
    [
        (Resize("resize_and_crop", 286, 256), (600, 600), (286, 286), (256, 256)),
        (Resize("resize_and_crop", 286, 256), (100, 300), (286, 286), (256, 256)),
        (Resize("resize_and_crop", 512, 512, 2.0), (2048, 1024), (512, 256), (256, 512)),
        (Resize("scale_width", 128, 999), (256, 512), (128, 256), None),
        (Resize("scale_width_and_crop", 128, 64), (256, 512), (128, 256), (64, 64)),
        (Resize("crop", 999, 64), (100, 90), (100, 90), (64, 64)),
        (Resize("crop", 999, 64), (100, 30), (100, 64), (64, 64)),
        (Resize("none", 999, 999), (600, 400), (600, 400), None),
    ],
)
def test_targets(resize, image, target, crop):
    assert resize.target(*image) == target and resize.crop == crop


@pytest.mark.parametrize(
    ("preprocess", "target"),
    [
        ("resize_and_crop", (64, 64)),
        ("scale_width_and_crop", (64, 64)),
        ("crop", (120, 64)),
        ("scale_width", (96, 48)),
        ("none", (120, 60)),
    ],
)
def test_whole_images_are_as_large_as_what_a_training_sees(preprocess, target):
    """Without a margin for random crops; where nothing is cut, as in training."""
    resize = Resize(preprocess, 96, 64)
    assert resize.uncropped().target(120, 60) == target
    assert resize.uncropped().crop == resize.crop
    if "crop" not in preprocess:
        assert resize.uncropped() == resize


def test_an_image_of_the_right_size_is_not_resampled():
    image = Image.new("RGB", (600, 400))
    assert Resize("none")(image) is image


def test_a_size_that_is_rounded_is_said_once(monkeypatch):
    monkeypatch.setattr(transforms, "_warned", False)
    with pytest.warns(SizeWarning, match="an image of 197x149: .* resized to 196x148"):
        Resize("none").target(197, 149)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Resize("none").target(197, 149)


# --------------------------------------------------------------------------------------------------
# Crops


def test_no_crop_is_the_whole_image():
    image = torch.arange(24).view(1, 4, 6)
    assert torch.equal(Crops(None, True, False).apply(image, np.zeros(3)), image)


def test_a_crop_of_the_images_size_is_the_whole_image():
    image = torch.arange(24).view(1, 4, 6)
    for draw in (0.0, 0.5, 0.999):
        assert torch.equal(Crops((4, 6), True, False).apply(image, np.full(3, draw)), image)


def test_without_chance_the_centre_is_cut():
    image = torch.arange(64).view(1, 8, 8)
    assert torch.equal(
        Crops((4, 4), False, False).apply(image, np.full(3, 0.99)), image[:, 2:6, 2:6]
    )


def test_flips_are_left_to_right_and_half_of_all():
    image = torch.arange(12).view(1, 3, 4)
    crops = Crops(None, False, True)
    assert torch.equal(crops.apply(image, np.array([0, 0, 0.49])), image.flip(2))
    assert torch.equal(crops.apply(image, np.array([0, 0, 0.5])), image)
    assert torch.equal(Crops(None, False, False).apply(image, np.zeros(3)), image)
    assert abs((crops.draw(4000, 1, 1)[:, 2] < 0.5).mean() - 0.5) < 0.03


def test_every_position_is_cut_about_as_often():
    image = torch.arange(25).view(1, 5, 5)
    crops = Crops((3, 3), True, False)
    corners = [int(crops.apply(image, draw)[0, 0, 0]) for draw in crops.draw(9000, 0, 0)]
    counts = np.bincount(corners, minlength=25).reshape(5, 5)
    assert counts[:3, :3].min() > 850 and counts.sum() == counts[:3, :3].sum()


def test_draws_depend_on_seed_and_epoch_alone():
    crops = Crops((4, 4), True, True)
    first = crops.draw(10, 1, 2)
    assert np.array_equal(first, crops.draw(10, 1, 2))
    assert not np.array_equal(first, crops.draw(10, 1, 3))
    assert not np.array_equal(first, crops.draw(10, 2, 2))
    assert np.array_equal(first[:5], crops.draw(5, 1, 2))


# --------------------------------------------------------------------------------------------------
# Values


def test_every_byte_survives_the_way_to_the_network_and_back():
    pixels = torch.arange(256, dtype=torch.uint8)
    values = to_float(pixels)
    assert values.min() == -1 and values.max() == 1 and values.dtype == torch.float32
    assert (to_uint8(values).int() - pixels.int()).abs().max() <= 1  # truncation may lose one


def test_outputs_are_truncated_and_clipped():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, 2 * 100.999 / 255 - 1, 2 * 100.001 / 255 - 1])
    assert to_uint8(x).tolist() == [0, 0, 127, 255, 255, 100, 100]


def test_inputs_are_left_alone():
    pixels, x = torch.full((2,), 7, dtype=torch.uint8), torch.zeros(2)
    to_float(pixels), to_uint8(x)
    assert pixels.tolist() == [7, 7] and x.tolist() == [0, 0]


@pytest.mark.parametrize("ratio", [float("inf"), float("nan"), 0.0, -1.0, 1e6])
def test_aspect_ratios_without_a_height_are_refused(ratio):
    with pytest.raises(InputError, match=r"`aspect_ratio` .* leaves no height"):
        Resize(aspect_ratio=ratio)


def test_deep_values_map_as_bytes_do():
    pixels = torch.arange(256, dtype=torch.uint8)
    unit = pixels.float() / 255
    kept = unit.clone()
    assert torch.equal(to_float(unit), to_float(pixels)) and torch.equal(unit, kept)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_channels_become_the_last_axis(channels):
    images = torch.arange(2 * channels, dtype=torch.uint8).view(2, channels, 1, 1)
    assert to_numpy(images)[:, 0, 0].tolist() == images[:, :, 0, 0].tolist()
