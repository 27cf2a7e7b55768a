"""Label maps: files of numbers -> the input of a network, one channel for each label.

A map stays a map of numbers until it is on the device; only there it becomes one-hot.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from errors import InputError

# In a file: a pixel that no label describes.
DONT_CARE = 255
MAX_INSTANCES = 32767

# --------------------------------------------------------------------------------------------------
# Files


def read_numbers(path: Path) -> np.ndarray:
    """The numbers of an image of one channel with 8, 16 or 32 bits, H W int32.

    Raises:
        InputError: missing, damaged, or an image of colours.
    """
    try:
        with Image.open(path) as image:
            mode, numbers = image.mode, np.array(image)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: unreadable image ({reason}); replace it") from None
    # Of a palette, the indices are the numbers.
    if numbers.ndim != 2 or not (mode in ("L", "P") or mode.startswith("I")):
        raise InputError(
            f"{path}: an image of mode {mode} where numbers are expected: one channel of integers, "
            "as PNG with 8 or 16 bits"
        )
    return numbers.astype(np.int32)


# --------------------------------------------------------------------------------------------------
# What a network sees


@dataclass(frozen=True)
class Semantics:
    """What the channels of a network's input are.

    labels:    0 to labels - 1 are labels of their own (``input_nc``)
    dont_care: one channel more, for pixels of no label, which are 255 in files
    instance:  one channel more, the last: 1 at the edges between instances
    """

    labels: int = 35
    dont_care: bool = False
    instance: bool = True

    def __str__(self) -> str:
        more = [", 1 for no label"] * self.dont_care
        more += [", 1 for edges between instances"] * self.instance
        return f"{self.labels} for labels{''.join(more)}"

    @property
    def channels(self) -> int:
        return self.labels + self.dont_care + self.instance

    def checked(self, numbers: np.ndarray, path: Path) -> np.ndarray:
        """Numbers of a file, H W -> uint8 or int16 channels of the same shape.

        Raises:
            InputError: a number that has no channel.
        """
        unknown = (numbers == DONT_CARE) & self.dont_care
        wrong = numbers[((numbers < 0) | (numbers >= self.labels)) & ~unknown]
        if wrong.size:
            remedy = f"give `input_nc`, the number of labels (now {self.labels})"
            if wrong[0] == DONT_CARE:
                remedy = "give `contain_dontcare_label`, if 255 means that no label is known"
            raise InputError(f"{path}: label {wrong[0]} has no channel; {remedy}")
        # The channel after the last label, where there is one.
        numbers = np.where(unknown, self.labels, numbers)
        return numbers.astype(np.uint8 if self.labels < 256 else np.int16)

    def one_hot(self, numbers: Tensor, instances: Tensor | None) -> Tensor:
        """The input of a network, float32 N channels H W of zeros and ones, on their device.

        Args:
            numbers:   N 1 H W of channels
            instances: N 1 H W of any integers; None without ``instance``
        """
        n, _, height, width = numbers.shape
        out = torch.zeros(n, self.channels, height, width, device=numbers.device)
        out.scatter_(1, numbers.long(), 1.0)
        if self.instance:
            out[:, -1:] = instance_edges(instances)
        return out

    def picture(self, x: Tensor) -> Tensor:
        """A coloured map of what `one_hot` made: float32 N 3 H W in [-1, 1], edges white."""
        colours = torch.tensor(_colours(self.labels, self.dont_care), device=x.device)
        image = colours[x[:, : len(colours)].argmax(1)].permute(0, 3, 1, 2)
        return torch.maximum(image, 2 * x[:, -1:] - 1) if self.instance else image


def instance_edges(instances: Tensor) -> Tensor:
    """1 where a pixel's number differs from that of a neighbour above, below or beside it.

    Args:
        instances: N 1 H W of any integers

    Returns:
        float32, the same shape; both sides of a border are 1
    """
    edges = torch.zeros(instances.shape, dtype=torch.bool, device=instances.device)
    beside = instances[..., 1:] != instances[..., :-1]
    below = instances[..., 1:, :] != instances[..., :-1, :]
    edges[..., 1:] |= beside
    edges[..., :-1] |= beside
    edges[..., 1:, :] |= below
    edges[..., :-1, :] |= below
    return edges.float()


@cache
def _colours(labels: int, dont_care: bool) -> list[list[float]]:
    """A colour for each channel, in [-1, 1]: hues by the golden ratio, no label grey."""
    found = []
    for k in range(labels):
        rgb = colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.45 + 0.25 * (k % 3), 0.95 - 0.12 * (k % 4))
        found.append([2 * value - 1 for value in rgb])
    return [*found, *([[-0.4] * 3] if dont_care else [])]
