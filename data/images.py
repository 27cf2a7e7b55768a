"""One image file -> pixels, or an error that names the file.

Files of 8 bits stay uint8. Files of more bits become float32 from 0 to 1, so that nothing is lost.
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from errors import InputError
from runtime.files import written_whole

PICTURES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp"}
EXTENSIONS = PICTURES | {".npy"}

# --------------------------------------------------------------------------------------------------
# Reading


def read_pixels(path: Path, channels: int = 3) -> np.ndarray:
    """Decode a file to ``channels`` channels, turned upright by its EXIF orientation.

    For 1 or 3 channels, grey and colour are converted into each other, alpha is dropped, and
    palettes and CMYK are converted. For other counts the file must hold exactly that many: an array
    in ``.npy`` (height x width x channels), a TIFF with as many pages, or alpha as the second or
    fourth channel.

    Returns:
        H W C: uint8 0..255; float32 0..1 if the file holds 16-bit integers (0..65535) or
        floating-point numbers, which must be from 0 to 1.

    Raises:
        InputError: missing, damaged, no image, animated, of another number of channels, or of
            numbers without a known range; the message names the file.
    """
    with _naming(path):
        pixels = _read_array(path) if path.suffix.lower() == ".npy" else _decode(path, channels)
        return to_channels(_to_unit(pixels, path), channels, path)


def picture_pixels(image: Image.Image, channels: int = 3) -> np.ndarray:
    """What `read_pixels` makes of a file, of a picture in memory; of its current frame if it has
    several.

    Raises:
        InputError: as `read_pixels` does; the message names the file if the picture has one.
    """
    path = Path(getattr(image, "filename", "") or "the picture")
    with _naming(path):
        return to_channels(_to_unit(_decode_frame(image, path, channels), path), channels, path)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What decoders raise becomes an `InputError` that names the file."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image; remove it or replace it") from None
    # The decoders raise many types for damaged data, TypeError and MemoryError among them.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: unreadable image ({reason}); remove it or replace it") from None


def read_image(path: Path, channels: int = 3) -> Image.Image:
    """A file as a picture of 8 bits per channel, mode RGB (``channels`` 3) or L (1); see
    `read_pixels`.

    Raises:
        InputError: as `read_pixels` does.
    """
    pixels = read_pixels(path, channels)
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def _read_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, H W C."""
    # Mapped first: a header that promises more than the file holds is noticed before memory is
    # taken.
    array = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not array.size:
        shape = " x ".join(map(str, array.shape)) or "none"
        raise InputError(f"{path}: an array of shape {shape}; save height x width x channels")
    return array


def _decode(path: Path, channels: int) -> np.ndarray:
    """The pixels of a picture as stored, H W C; 8-bit ones in the mode that ``channels`` 1 or 3
    asks for.
    """
    with Image.open(path) as image:
        # The further pictures of an MPO, a JPEG of a phone or camera, are previews or depths.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames > 1 and (image.format != "TIFF" or channels in (1, 3)):
            raise InputError(
                f"{path}: an animated or multi-page image ({frames} frames); keep one frame"
            )
        pages = []
        for frame in range(frames):
            if frames > 1:
                image.seek(frame)
            pages.append(_decode_frame(image, path, channels))
    if len({page.shape for page in pages}) > 1:
        raise InputError(f"{path}: its pages differ in size; make them equal")
    return pages[0] if frames == 1 else np.concatenate(pages, 2)


def _decode_frame(image: Image.Image, path: Path, channels: int) -> np.ndarray:
    """The current frame of an open picture, as `_decode` returns it."""
    low = _low_bytes(path, image)
    image.load()
    high = _as_array(_upright(image), path, channels)
    if low is not None and high.shape[2] > 1:
        low = _as_array(_upright(low), path, channels)
        high = high.astype(np.uint16) * 256 + low
    return high


def _as_array(image: Image.Image, path: Path, channels: int) -> np.ndarray:
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise InputError(
                f"{path}: 32-bit pixels have no known range; save it with 8 or 16 bits per channel"
            )
        return pixels.astype(np.uint16)[:, :, None]
    if channels in (1, 3) and image.mode != "F":
        # Pillow warns of other ways to drop the transparency of a palette, which give the same.
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        mode = "L" if channels == 1 else "RGB"
        image = image if image.mode == mode else image.convert(mode)
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _low_bytes(path: Path, image: Image.Image) -> Image.Image | None:
    """The low bytes of a picture with several 16-bit channels; None for other pictures.

    Pillow keeps the high bytes only. Told the opposite byte order, it reads the low bytes instead.
    """
    # A picture that is loaded has no tiles left, and one that was made in memory never had any.
    tiles = getattr(image, "tile", ())
    kinds = [t.args if isinstance(t.args, str) else t.args[0] for t in tiles]
    if getattr(image, "filename", None) == "":  # opened from bytes: there is no file to read again
        return None
    if not kinds or not all(re.fullmatch("RGBA?;16[BLN]", kind) for kind in kinds):
        return None
    native = "L" if sys.byteorder == "little" else "B"
    other = {"L": "B", "B": "L", "N": "B" if native == "L" else "L"}[kinds[0][-1]]
    with Image.open(path) as low:
        low.seek(image.tell())
        low.tile = [
            t._replace(
                args=kind[:-1] + other
                if isinstance(t.args, str)
                else (kind[:-1] + other, *t.args[1:])
            )
            for t, kind in zip(low.tile, kinds, strict=True)
        ]
        low.load()
        return low.copy()


def _upright(image: Image.Image) -> Image.Image:
    turned = image.getexif().get(0x0112, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _to_unit(pixels: np.ndarray, path: Path) -> np.ndarray:
    """uint8 as it is, everything else float32 from 0 to 1."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        return (pixels / np.float64(65535)).astype(np.float32)
    if pixels.dtype.kind != "f":
        raise InputError(
            f"{path}: {pixels.dtype} pixels have no known range; save uint8, uint16 or "
            "floating-point numbers from 0 to 1"
        )
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"{path}: floating-point pixels must be from 0 to 1, these are from {low:g} to "
            f"{high:g}; "
            "scale them, or save it with 8 or 16 bits per channel"
        )
    return pixels.astype(np.float32)


def to_channels(pixels: np.ndarray, channels: int, path: Path) -> np.ndarray:
    """H W C of ``path`` -> H W ``channels``: grey to colour, colour to grey, or InputError."""
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if (found, channels) == (1, 3):
        return np.repeat(pixels, 3, axis=2)
    if (found, channels) == (3, 1):  # the weights of ITU-R 601, as Pillow's mode L
        if pixels.dtype == np.uint8:
            return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
        return pixels @ np.array([[0.299], [0.587], [0.114]], np.float32)
    raise InputError(
        f"{path}: {found} channels where {channels} are expected (arrays are height x width x "
        "channels); "
        f"set `input_nc` or `output_nc` to what the files hold"
    )


# --------------------------------------------------------------------------------------------------
# Writing


def channel_tiles(image: np.ndarray) -> np.ndarray:
    """One uint8 (H, W, C) image of any number of channels as (H, W, 3).

    Grey and colour are shown as such. Other channels have no colours of their own: each becomes a
    reduced grey tile, and the tiles fill a square from left to right and down.
    """
    height, width, channels = image.shape
    if channels == 3:
        return image
    if channels == 1:
        return np.repeat(image, 3, axis=2)
    side = math.ceil(math.sqrt(channels))
    cells = Image.new("RGB", (width, height), "white")
    for channel in range(channels):
        row, column = divmod(channel, side)
        left, top = column * width // side, row * height // side
        right, bottom = (column + 1) * width // side, (row + 1) * height // side
        tile = Image.fromarray(np.ascontiguousarray(image[:, :, channel]))
        tile = tile.resize((max(1, right - left), max(1, bottom - top)), Image.Resampling.BOX)
        cells.paste(tile.convert("RGB"), (left, top))
    return np.asarray(cells)


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 pixels, H W C or H W, as a PNG; whole or not at all.

    Of other channel counts than 1 and 3 see `channel_tiles`. Level 1 is three times as fast as the
    default and makes files a tenth larger.

    Raises:
        InputError: the file cannot be written.
    """
    if pixels.ndim == 3:
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else channel_tiles(pixels)
    with written_whole(path, flush=False) as temporary:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.save(temporary, format="png", compress_level=1)
