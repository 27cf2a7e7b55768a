"""Reading any picture a user may have, and naming the file when it is none."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data.images import PICTURES, channel_tiles, picture_pixels, read_image, read_pixels, save_png
from errors import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 16), dtype=np.uint8)


def saved(tmp_path, image: Image.Image, name: str = "image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


# --------------------------------------------------------------------------------------------------
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
    with pytest.raises(InputError, match=f"{path}: floating-point pixels must be from 0 to 1"):
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


# --------------------------------------------------------------------------------------------------
# What is no picture


@pytest.mark.parametrize("name", ["image.webp", "image.tif", "image.png"])
def test_several_frames_are_refused(tmp_path, name):
    frames = [Image.fromarray(np.roll(RGB, i, 0)) for i in range(3)]
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=f"{path}: an animated or multi-page image .3 frames."):
        read_image(path)


def test_the_picture_of_a_jpeg_with_a_second_one_in_it_is_read(tmp_path):
    """As phones and cameras write them (MPO)."""
    preview = Image.fromarray(RGB[::2, ::2])
    options = dict(format="MPO", save_all=True, append_images=[preview], quality=100)
    path = saved(tmp_path, Image.fromarray(RGB), "image.jpg", **options)
    with Image.open(path) as stored:
        assert stored.format == "MPO" and stored.n_frames == 2
    alone = saved(tmp_path, Image.fromarray(RGB), "alone.jpg", quality=100)
    assert np.array_equal(read_image(path), read_image(alone))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", sorted(PICTURES))
def test_a_file_cut_anywhere_is_named_or_read(tmp_path, suffix):
    """No cut may end in another error than one that names the file; one in the middle must be
    noticed."""
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", sorted(PICTURES))
def test_a_file_with_wrong_bytes_is_named_or_read(tmp_path, suffix):
    """Decoders raise TypeError and others for a damaged head; none of them may get through."""
    path = saved(tmp_path, Image.fromarray(np.resize(RGB, (40, 33, 3))), f"image{suffix}")
    content, rng = path.read_bytes(), np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.choice([*range(200), *range(-200, 0)], 3):
            damaged[place % len(damaged)] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_image(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_a_tiff_whose_offset_is_no_number_is_named(tmp_path):
    """Pillow ends in a TypeError where the field StripOffsets is said to be text."""
    path = saved(tmp_path, Image.fromarray(RGB), "image.tif")
    content, field = path.read_bytes(), struct.pack("<HH", 273, 4)
    assert field in content
    path.write_bytes(content.replace(field, struct.pack("<HH", 273, 2)))
    with pytest.raises(InputError, match=f"{path}: unreadable image .*; remove it or replace it"):
        read_image(path)


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


# --------------------------------------------------------------------------------------------------
# More than 8 bits, and other channels than 1 and 3


def array_file(tmp_path, array):
    np.save(tmp_path / "array.npy", array)
    return tmp_path / "array.npy"


def deep_png(path, pixels):
    """uint16 H W C -> PNG of 16 bits per channel, which Pillow cannot write."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content)
    return path


DEEP = RNG.integers(0, 65536, (12, 16, 4)).astype(np.uint16)
FIVE = RNG.integers(0, 256, (12, 16, 5), dtype=np.uint8)


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_a_picture_is_read_as_its_file_is(tmp_path, name):
    path = tmp_path / "deep.png"
    deep_png(path, DEEP[..., :3]) if name == "colour" else saved(
        tmp_path, Image.fromarray(DEEP[..., 0]), "deep.png"
    )
    expected = read_pixels(path)
    with Image.open(path) as image:
        assert np.array_equal(picture_pixels(image), expected)
        loaded = image.copy()
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        opened = image.copy()
    # Of 16-bit colours, Pillow itself keeps the high bytes alone.
    kept = (DEEP[..., :3] >> 8).astype(np.uint8) if name == "colour" else expected
    for picture in (loaded, opened):
        assert np.array_equal(picture_pixels(picture), kept)
    with pytest.raises(InputError, match="the picture: 3 channels where 5 are expected"):
        picture_pixels(Image.fromarray(RGB), 5)


@pytest.mark.parametrize(
    "array, expected",
    [
        (FIVE, FIVE),
        (FIVE > 100, (FIVE > 100) * np.uint8(255)),
        (FIVE.astype(np.uint16) * 257, FIVE / np.float32(255)),
        (FIVE.astype(">u2") * 257, FIVE / np.float32(255)),
        (FIVE / 255, FIVE / np.float32(255)),
        (np.asfortranarray(FIVE), FIVE),
    ],
    ids=["uint8", "bool", "uint16", "big-endian", "float64", "column-major"],
)
def test_arrays_keep_their_channels_and_precision(tmp_path, array, expected):
    pixels = read_pixels(array_file(tmp_path, array), 5)
    assert pixels.dtype == expected.dtype
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-7)


def test_arrays_are_grey_or_colour_as_pictures_are(tmp_path):
    path = array_file(tmp_path, GREY)
    assert np.array_equal(read_pixels(path, 1), GREY[:, :, None])
    assert np.array_equal(read_image(path), np.repeat(GREY[:, :, None], 3, 2))
    path = array_file(tmp_path, RGB)
    assert np.array_equal(read_image(path, 1), Image.fromarray(RGB).convert("L"))
    deep = read_pixels(array_file(tmp_path, RGB / 255), 1)
    assert np.abs(deep[:, :, 0] * 255 - np.asarray(read_image(path, 1))).max() < 1.01


@pytest.mark.parametrize(
    "array, said",
    [
        (FIVE, "5 channels where 3 are expected.*`input_nc`"),
        (FIVE[0, 0], "an array of shape 5; save height x width x channels"),
        (np.zeros((0, 4, 3), np.uint8), "an array of shape 0 x 4 x 3"),
        (RGB.astype(np.int64), "int64 pixels have no known range; save uint8, uint16 or"),
        (RGB.astype(np.complex64), "complex64 pixels"),
        (RGB / 127.5 - 1, "must be from 0 to 1, these are from -1 to 1; scale them"),
        (np.full((4, 4), np.nan), "must be from 0 to 1, these are from nan to nan"),
        (np.array([[{}]]), "unreadable image"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, said):
    path = array_file(tmp_path, array)
    with pytest.raises(InputError, match=f"^{path}: .*{said}"):
        read_pixels(path)


def test_an_array_cut_anywhere_is_named(tmp_path):
    path = array_file(tmp_path, FIVE)
    content = path.read_bytes()
    for cut in [0, 5, 9, 60, 127, 128, 129, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=f"{path}: unreadable image"):
            read_pixels(path, 5)


def deep_tiff(path, pixels, order):
    """uint16 H W C -> uncompressed TIFF of 16 bits per channel."""
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    bits = 8 + len(data)
    fields = {
        256: width,
        257: height,
        259: 1,
        262: 2,
        273: 8,
        277: channels,
        278: height,
        279: len(data),
    }
    fields = {k: (4, 1, v) for k, v in fields.items()} | {258: (3, channels, bits)}
    if channels == 4:
        fields[338] = (4, 1, 2)
    content = (b"II" if order == "<" else b"MM") + struct.pack(
        f"{order}HI", 42, bits + 2 * channels
    )
    content += data + struct.pack(f"{order}{channels}H", *[16] * channels)
    content += struct.pack(f"{order}H", len(fields))
    for tag, field in sorted(fields.items()):
        content += struct.pack(f"{order}HHII", tag, *field)
    path.write_bytes(content + bytes(4))
    return path


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", ["png", "<", ">"])
def test_sixteen_bit_colour_keeps_its_bits(tmp_path, channels, kind):
    deep = DEEP[:, :, :channels]
    path = tmp_path / f"deep.{'png' if kind == 'png' else 'tif'}"
    deep_png(path, deep) if kind == "png" else deep_tiff(path, deep, kind)
    pixels = read_pixels(path, channels)
    assert pixels.dtype == np.float32
    assert np.array_equal((pixels * 65535).round(), deep)
    assert np.array_equal(read_pixels(path), pixels[:, :, :3])
    expected = np.asarray(Image.fromarray((pixels[:, :, :3] * 255).round().astype(np.uint8)))
    assert np.array_equal(read_image(path), expected)
    assert read_pixels(path, 1).dtype == np.uint8, "grey of deep colour has 8 bits"


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_sixteen_bit_grey_keeps_its_bits(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(DEEP[:, :, 0]), name)
    pixels = read_pixels(path, 1)
    assert np.array_equal((pixels[:, :, 0] * 65535).round(), DEEP[:, :, 0])
    assert np.array_equal(read_pixels(path, 3), np.repeat(pixels, 3, 2))


def test_pages_of_a_tiff_are_channels(tmp_path):
    pages = [Image.fromarray(np.ascontiguousarray(FIVE[:, :, c])) for c in range(5)]
    path = saved(tmp_path, pages[0], "five.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(read_pixels(path, 5), FIVE)
    with pytest.raises(InputError, match=f"{path}: 5 channels where 4"):
        read_pixels(path, 4)
    small = pages[1].resize((8, 8))
    path = saved(tmp_path, pages[0], "sizes.tif", save_all=True, append_images=[small])
    with pytest.raises(InputError, match="its pages differ in size"):
        read_pixels(path, 2)


def test_alpha_is_a_channel_where_that_is_asked(tmp_path):
    path = saved(tmp_path, Image.fromarray(FIVE[:, :, :4]))
    assert np.array_equal(read_pixels(path, 4), FIVE[:, :, :4])
    path = saved(tmp_path, Image.fromarray(FIVE[:, :, :2]))
    assert np.array_equal(read_pixels(path, 2), FIVE[:, :, :2])


# --------------------------------------------------------------------------------------------------
# Writing


def test_other_channels_are_shown_as_tiles(tmp_path):
    """As in the pictures of evaluations, so that a test's page shows all of them too."""
    for count in (2, 5):
        save_png(tmp_path / "tiles.png", FIVE[:, :, :count])
        written = np.asarray(Image.open(tmp_path / "tiles.png"))
        assert np.array_equal(written, channel_tiles(FIVE[:, :, :count]))


@pytest.mark.parametrize("pixels, expected", [(RGB, RGB), (GREY, GREY), (GREY[:, :, None], GREY)])
def test_what_is_written_is_read_back(tmp_path, pixels, expected):
    path = tmp_path / "new" / "folder" / "image.png"
    save_png(path, pixels)
    assert np.array_equal(Image.open(path), expected)
    assert [p.name for p in path.parent.iterdir()] == ["image.png"]
