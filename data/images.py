"""One image file -> uint8 pixels, or an error that names the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from errors import InputError
from runtime.files import written_whole

EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp"}


# ---------------------------------------------------------------------------------------------------------
# Reading


def read_image(path: Path, channels: int = 3) -> Image.Image:
    """Decode an image to mode RGB (``channels`` 3) or L (1), upright by its EXIF orientation.

    16-bit grey is scaled to 8 bits; alpha is dropped; palette and CMYK are converted.

    Raises:
        InputError: missing, truncated, no image, animated, or floating-point pixels; the message names the file.
    """
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise InputError(
                    f"{path}: an animated or multi-page image ({image.n_frames} frames); keep one frame"
                )
            image.load()
            if image.getexif().get(0x0112, 1) != 1:
                image = ImageOps.exif_transpose(image)
            return _to_mode(image, path, "L" if channels == 1 else "RGB")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image; remove it or replace it") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: unreadable image ({error}); remove it or replace it") from None


def _to_mode(image: Image.Image, path: Path, mode: str) -> Image.Image:
    if image.mode == "F":
        raise InputError(
            f"{path}: floating-point pixels have no known range; save it with 8 bits per channel"
        )
    if image.mode.startswith("I"):  # 16 bits per pixel: 65535 -> 255
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise InputError(
                f"{path}: 32-bit pixels have no known range; save it with 8 bits per channel"
            )
        image = Image.fromarray((pixels / 257).round().astype(np.uint8))
    if (
        image.mode == "P" and "transparency" in image.info
    ):  # Pillow warns of other ways, which are the same
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


# ---------------------------------------------------------------------------------------------------------
# Writing


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 pixels, H W 3, H W 1 or H W, as a PNG; whole or not at all.

    Level 1 is three times as fast as the default and makes files a tenth larger.

    Raises:
        InputError: the file cannot be written.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    with written_whole(path, flush=False) as temporary:
        Image.fromarray(pixels).save(temporary, format="png", compress_level=1)
