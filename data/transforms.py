"""What happens to an image between its file and the network (SPEC 3).

Two halves: a deterministic one (`Resize`: decoded pixels at the size that is kept in memory) and a
random one (`Crops`: crop and flip, drawn without state from seed, epoch and index, so that a
resumed or parallel run sees the same pixels).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from errors import InputError

PREPROCESS = ("resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none")


class SizeWarning(UserWarning):
    """An image was resized to a multiple of 4; shown once per run."""


def multiple_of_4(size: int) -> int:
    """The nearest multiple of 4, at least 4 (a generator halves its input twice)."""
    return max(4, round(size / 4) * 4)


# --------------------------------------------------------------------------------------------------
# Deterministic half


@dataclass(frozen=True)
class Resize:
    """PIL image -> PIL image at the size that is kept in memory (bicubic).

    Args:
        preprocess:   resize_and_crop: to load_size | scale_width(_and_crop): width to load_size,
                      keeping the aspect | crop, none: size kept. All but the cropping ones end at a
                      multiple of 4, unless any_size.
        load_size:    pixels
        crop_size:    pixels; the size that reaches the network for the cropping kinds
        aspect_ratio: width / height of what load_size and crop_size describe: the height is divided
                      by it
        any_size:     uncropped images stay as large as they come out, for a network that pads them
                      (`models.layers.any_size`)

    Raises:
        InputError: an ``aspect_ratio`` that leaves no height.
    """

    preprocess: str = "resize_and_crop"
    load_size: int = 286
    crop_size: int = 256
    aspect_ratio: float = 1.0
    any_size: bool = False

    def __post_init__(self):
        ratio = self.aspect_ratio
        sizes = (self.load_size, self.crop_size)
        if not (math.isfinite(ratio) and ratio > 0 and min(sizes) / ratio >= 1):
            raise InputError(
                f"`aspect_ratio` {ratio:g} leaves no height at `load_size` {self.load_size} and "
                f"`crop_size` {self.crop_size}; give width / height, e.g. 2"
            )

    @property
    def crop(self) -> tuple[int, int] | None:
        """(height, width) cut out by `Crops`, multiples of 4; None when the whole image is used."""
        if "crop" not in self.preprocess:
            return None
        height, width = round(self.crop_size / self.aspect_ratio), self.crop_size
        if (multiple_of_4(height), multiple_of_4(width)) != (height, width):
            _warn_once(f"`crop_size` {self.crop_size}", (width, height))
        return multiple_of_4(height), multiple_of_4(width)

    def target(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that an image of the given size is resized to."""
        if self.preprocess == "resize_and_crop":
            size = self.load_size, round(self.load_size / self.aspect_ratio)
        elif self.preprocess.startswith("scale_width"):
            size = self.load_size, round(height * self.load_size / width)
        else:
            size = width, height
        crop = self.crop
        if crop is None and self.any_size:
            return max(1, size[0]), max(1, size[1])
        if crop is None:
            rounded = multiple_of_4(size[0]), multiple_of_4(size[1])
            if rounded != size:
                _warn_once(f"an image of {size[0]}x{size[1]}", size)
            return rounded
        # Smaller than the crop: enlarged to it, so that a crop is always whole.
        return max(size[0], crop[1]), max(size[1], crop[0])

    def uncropped(self) -> Resize:
        """The same without a margin to cut crops from. Where nothing is cut, images stay the same
        as those of a training."""
        return replace(self, load_size=self.crop_size) if "crop" in self.preprocess else self

    def __call__(self, image: Image.Image) -> Image.Image:
        target = self.target(*image.size)
        return image if target == image.size else image.resize(target, Image.Resampling.BICUBIC)

    def pixels(self, pixels: np.ndarray) -> np.ndarray:
        """H W C of any number of channels, uint8 or float32 in [0, 1] -> the same at `target`."""
        height, width, channels = pixels.shape
        if self.target(width, height) == (width, height):
            return pixels
        if channels == 3 and pixels.dtype == np.uint8:
            return np.asarray(self(Image.fromarray(pixels)))
        planes = [np.asarray(self(Image.fromarray(plane))) for plane in pixels.transpose(2, 0, 1)]
        # Bicubic overshoots; Pillow clips integers only.
        return np.stack(planes, axis=2).clip(0, 255 if pixels.dtype == np.uint8 else 1)

    def numbers(self, numbers: np.ndarray) -> np.ndarray:
        """H W of uint8, int16 or int32 that name things -> the same at `target`: each pixel is that
        of the nearest one, none is mixed."""
        height, width = numbers.shape
        target = self.target(width, height)
        if target == (width, height):
            return numbers
        kind = numbers.dtype
        wide = numbers if kind == np.uint8 else numbers.astype(np.int32)
        resized = Image.fromarray(wide).resize(target, Image.Resampling.NEAREST)
        return np.asarray(resized).astype(kind)


_warned = False


def _warn_once(what: str, size: tuple[int, int]) -> None:
    global _warned
    if not _warned:
        _warned = True
        rounded = f"{multiple_of_4(size[0])}x{multiple_of_4(size[1])}"
        warnings.warn(
            f"{what}: sizes must be multiples of 4; resized to {rounded} (shown once)",
            SizeWarning,
            stacklevel=3,
        )


# --------------------------------------------------------------------------------------------------
# Random half


@dataclass(frozen=True)
class Crops:
    """Where to cut and whether to flip, for every image of an epoch.

    Draws are a function of (seed, epoch, index) alone: ``numpy`` Philox keyed by seed and epoch.
    """

    # (height, width), None = no crop
    size: tuple[int, int] | None
    # False: cut from the centre
    random: bool
    flip: bool

    def draw(self, count: int, seed: int, epoch: int) -> np.ndarray:
        """(count, 3) float64 in [0, 1): row, column, flip of each image."""
        return np.random.Generator(np.random.Philox(key=[seed, 2 * epoch + 1])).random((count, 3))

    def apply(self, image: Tensor, draw: np.ndarray) -> Tensor:
        """C H W of any type -> C h w, cropped and flipped; the same draw treats A and B alike."""
        if self.size is not None:
            height, width = self.size
            row, column = image.shape[1] - height, image.shape[2] - width
            row, column = (
                (int(draw[0] * (row + 1)), int(draw[1] * (column + 1)))
                if self.random
                else (row // 2, column // 2)
            )
            image = image[:, row : row + height, column : column + width]
        return image.flip(2) if self.flip and draw[2] < 0.5 else image


# --------------------------------------------------------------------------------------------------
# Pixels <-> network values


def to_float(pixels: Tensor) -> Tensor:
    """uint8 0..255, or float32 0..1 -> float32 in [-1, 1]."""
    unit = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.clone()
    return unit.sub_(0.5).div_(0.5)


def stacked(images: list[Tensor]) -> Tensor:
    """C H W each -> N C H W; uint8 if all are, else float32 0..1."""
    if len({image.dtype for image in images}) > 1:
        images = [i.float() / 255 if i.dtype == torch.uint8 else i for i in images]
    return torch.stack(images)


def to_uint8(x: Tensor) -> Tensor:
    """[-1, 1] -> uint8 by truncation of (x + 1) / 2 * 255, for writing and measuring (SPEC 5)."""
    return ((x.float() + 1) / 2 * 255).clamp_(0, 255).to(torch.uint8)


def to_numpy(images: Tensor) -> np.ndarray:
    """uint8 N C H W -> N H W C."""
    return images.permute(0, 2, 3, 1).cpu().numpy()
