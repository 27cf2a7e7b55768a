"""Pictures of outputs: labelled columns of images, one row per sample."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from data.images import channel_tiles
from data.loader import Loader
from data.transforms import to_numpy, to_uint8
from models.layers import any_size

HEADER = 18  # pixels above the images for the labels


def montage(columns: dict[str, np.ndarray], size: int | None = None) -> np.ndarray:
    """A picture of images side by side.

    Args:
        columns: label -> (N, H, W, C) uint8 images of the same N samples; `channel_tiles` says how
                 channels are shown
        size:    width of each image in the picture, in pixels; None = as it is

    Returns:
        (H', W', 3) uint8 RGB: a header with the labels, then one row per sample
    """
    cells = {}
    for label, images in columns.items():
        images = np.stack([channel_tiles(image) for image in images])
        if size is not None and images.shape[2] != size:
            height = round(images.shape[1] * size / images.shape[2])
            images = np.stack([_resized(image, size, height) for image in images])
        cells[label] = images
    count, height, width = next(iter(cells.values())).shape[:3]
    gap = 2
    picture = Image.new(
        "RGB", (len(cells) * (width + gap) - gap, HEADER + count * (height + gap) - gap), "white"
    )
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for column, (label, images) in enumerate(cells.items()):
        left = column * (width + gap)
        while draw.textlength(label, font=font) > width and len(label) > 4:
            label = label[:-2] + "…"
        draw.text((left + 2, 2), label, fill="black", font=font)
        for row, image in enumerate(images):
            picture.paste(
                Image.fromarray(np.ascontiguousarray(image)), (left, HEADER + row * (height + gap))
            )
    return np.asarray(picture)


def fitted(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A uint8 H W C image, scaled to fit a white frame of ``height`` x ``width`` x 3."""
    picture = Image.fromarray(np.ascontiguousarray(channel_tiles(image)))
    scale = min(height / picture.height, width / picture.width)
    size = [max(1, round(side * scale)) for side in picture.size]
    frame = Image.new("RGB", (width, height), "white")
    place = (width - size[0]) // 2, (height - size[1]) // 2
    frame.paste(picture.resize(size, Image.Resampling.LANCZOS), place)
    return np.asarray(frame)


def _resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def montage_of(
    loader: Loader, generators: dict[str, Callable[[Tensor], Tensor]], size: int, count: int = 8
) -> np.ndarray:
    """A `montage` of what `samples` gives, each image ``size`` pixels wide."""
    return montage(samples(loader, generators, count), size)


@torch.inference_mode()
def samples(
    loader: Loader, generators: dict[str, Callable[[Tensor], Tensor]], count: int = 8
) -> dict[str, np.ndarray]:
    """The input, the output of each generator, and the real image if there is one, of the first
    samples that have the same size as the very first one.

    Args:
        generators: label -> function from N C H W float32 in [-1, 1] to the same of the output
        count:      maximum number of samples

    Returns:
        label -> (N, H, W, C) uint8
    """
    columns: dict[str, list[np.ndarray]] = {}
    shape, done = None, 0
    for batch in loader.epoch():
        shape = shape or batch.A.shape[2:]
        if batch.A.shape[2:] != shape:
            continue
        left = count - done
        shown = {"input": batch.shown[:left]} | {
            label: any_size(generate, batch.A[:left]) for label, generate in generators.items()
        }
        if batch.B is not None:
            shown["real"] = batch.B[:left]
        for label, images in shown.items():
            columns.setdefault(label, []).append(to_numpy(to_uint8(images)))
        done += len(batch)
        if done >= count:
            break
    return {label: np.concatenate(parts) for label, parts in columns.items()}
