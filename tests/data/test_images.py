"""Reading any picture a user may have, and naming the file when it is none."""

import numpy as np
import pytest
from PIL import Image

from data.images import EXTENSIONS, read_image, save_png
from errors import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 16), dtype=np.uint8)


def saved(tmp_path, image: Image.Image, name: str = "image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


# ------------------------------------------------------------------------------------------------------------
# Modes


def test_rgb_is_read_as_it_is(tmp_path):
    image = read_image(saved(tmp_path, Image.fromarray(RGB)))
    assert image.mode == "RGB" and np.array_equal(image, RGB)


def test_grey_is_repeated_or_kept(tmp_path):
    path = saved(tmp_path, Image.fromarray(GREY))
    assert np.array_equal(read_image(path), np.repeat(GREY[:, :, None], 3, 2))
    assert read_image(path, 1).mode == "L" and np.array_equal(read_image(path, 1), GREY)


def test_colour_becomes_grey_when_one_channel_is_asked(tmp_path):
    image = read_image(saved(tmp_path, Image.fromarray(RGB)), 1)
    assert image.mode == "L" and np.array_equal(image, Image.fromarray(RGB).convert("L"))


def test_alpha_is_dropped(tmp_path):
    alpha = np.zeros((12, 16, 1), np.uint8)
    path = saved(tmp_path, Image.fromarray(np.concatenate([RGB, alpha], 2)))
    assert np.array_equal(read_image(path), RGB)
    path = saved(tmp_path, Image.fromarray(np.concatenate([GREY[:, :, None], alpha], 2), "LA"))
    assert np.array_equal(read_image(path, 1), GREY)


def test_palettes_are_looked_up(tmp_path):
    image = Image.fromarray(GREY % 4, "P")
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 8, 7)]
    image.putpalette([v for colour in colours for v in colour])
    assert np.array_equal(read_image(saved(tmp_path, image)), np.array(colours, np.uint8)[GREY % 4])


@pytest.mark.filterwarnings("error")
def test_palettes_with_transparency_are_read_without_a_word(tmp_path):
    alpha = (np.arange(16) * 17).astype(np.uint8)[None, :, None].repeat(12, 0)
    image = Image.fromarray(np.concatenate([RGB // 128 * 255, alpha], 2)).quantize(64)
    path = saved(tmp_path, image)
    with Image.open(path) as stored:
        assert isinstance(stored.info["transparency"], bytes)
    assert np.array_equal(read_image(path), np.asarray(image.convert("RGBA"))[..., :3])


def test_one_bit_is_black_and_white(tmp_path):
    path = saved(tmp_path, Image.fromarray(GREY > 128))
    assert np.array_equal(read_image(path, 1), np.where(GREY > 128, 255, 0))


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.fromarray(RGB).convert("CMYK")
    path = saved(tmp_path, image, "image.tif")
    assert np.array_equal(read_image(path), image.convert("RGB"))


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name):
    deep = (GREY.astype(np.uint16)) * 257
    path = saved(tmp_path, Image.fromarray(deep), name)
    assert Image.open(path).mode.startswith("I")
    assert np.array_equal(read_image(path, 1), GREY)
    assert np.array_equal(read_image(path), np.repeat(GREY[:, :, None], 3, 2))


def test_pixels_without_a_known_range_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(GREY.astype(np.float32)), "float.tif")
    with pytest.raises(InputError, match=f"{path}: floating-point"):
        read_image(path)
    path = saved(tmp_path, Image.fromarray(GREY.astype(np.int32) * 100_000), "int.tif")
    with pytest.raises(InputError, match=f"{path}: 32-bit"):
        read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_read_upright(tmp_path, orientation):
    """What a viewer shows for each of the eight orientations that a camera may write."""
    as_stored = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(as_stored)), exif=exif)
    assert np.array_equal(read_image(path), RGB)


# ------------------------------------------------------------------------------------------------------------
# What is no picture


@pytest.mark.parametrize("name", ["image.webp", "image.tif", "image.png"])
def test_several_frames_are_refused(tmp_path, name):
    frames = [Image.fromarray(np.roll(RGB, i, 0)) for i in range(3)]
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=f"{path}: an animated or multi-page image .3 frames."):
        read_image(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", sorted(EXTENSIONS))
def test_a_file_cut_anywhere_is_named_or_read(tmp_path, suffix):
    """No cut may end in another error than one that names the file; one in the middle must be noticed."""
    size = (40, 33)
    whole = Image.fromarray(np.resize(RGB, (*size, 3)))
    path = saved(tmp_path, whole, f"image{suffix}")
    assert read_image(path).size == whole.size
    content = path.read_bytes()
    for cut in (0, 1, 3, 10, 30, 60, 140, len(content) // 2, len(content) - 400):
        path.write_bytes(content[: max(0, cut)])
        with pytest.raises(InputError, match=f"{path}: "):
            read_image(path)
    for cut in range(1, len(content), max(1, len(content) // 150)):
        path.write_bytes(content[:cut])
        try:
            read_image(path)
        except InputError as error:
            assert str(path) in str(error)


def test_other_files_are_named(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(InputError, match=f"{path}: not an image"):
        read_image(path)
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match=f"{tmp_path}: "):
        read_image(tmp_path)


def test_an_image_too_large_to_be_true_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    path = saved(tmp_path, Image.fromarray(RGB))
    with pytest.raises(InputError, match=f"{path}: unreadable image"):
        read_image(path)


# ------------------------------------------------------------------------------------------------------------
# Writing


@pytest.mark.parametrize("pixels, expected", [(RGB, RGB), (GREY, GREY), (GREY[:, :, None], GREY)])
def test_what_is_written_is_read_back(tmp_path, pixels, expected):
    path = tmp_path / "new" / "folder" / "image.png"
    save_png(path, pixels)
    assert np.array_equal(Image.open(path), expected)
    assert [p.name for p in path.parent.iterdir()] == ["image.png"]
