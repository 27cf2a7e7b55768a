"""Reference images, whose styles others are made in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.build import DataSettings, inference_loader
from data.datasets import list_images
from data.loader import Loader
from data.transforms import to_float, to_numpy
from errors import InputError
from evaluation.evaluator import stored_pixels
from models.layers import pad_to_fit
from models.munit import MunitGenerator


@dataclass(frozen=True)
class References:
    """Images that give styles, in the order of their names.

    loader: of one image per batch, as networks take inputs; see `read_references`
    """

    loader: Loader

    @property
    def names(self) -> list[str]:
        return self.loader.dataset.names

    @property
    def folder(self) -> Path:
        return self.loader.dataset.folder

    def __len__(self) -> int:
        return len(self.loader.dataset)

    @torch.inference_mode()
    def styles(self, net: MunitGenerator) -> Tensor:
        """The style that a network on the loader's device finds in each: float32 N style_dim."""
        # The style encoder needs larger multiples than the images that are made.
        images = (pad_to_fit(batch.A, net.multiple) for batch in self.loader.epoch())
        return torch.cat([net.style(image) for image in images])

    def pictures(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """Those of these numbers, as a network sees them: H W C uint8 each."""
        crops, centre = self.loader.crops, np.zeros(3)
        cut = (crops.apply(self.loader.store[number]["A"], centre) for number in numbers)
        return [to_numpy(stored_pixels(to_float(pixels[None])))[0] for pixels in cut]


def read_references(settings: DataSettings, device: torch.device) -> References:
    """The images of the folder ``phase`` of ``dataroot``.

    Raises:
        InputError: opened by `ref_root`: there is no such folder, or no image in it.
    """
    folder = Path(settings.dataroot) / settings.phase
    if not folder.is_dir():
        raise InputError(f"`ref_root` {folder}: no such folder; give one of images in the style")
    if not list_images(folder):
        raise InputError(f"`ref_root` {folder} holds no images, whose styles others would get")
    return References(inference_loader(settings, device, 1))
