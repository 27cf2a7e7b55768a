"""Criteria that judge images: all share one interface and are fed batch by batch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from errors import InputError
from metrics.frechet import Statistics, frechet_distance
from metrics.inception import InceptionFeatures
from metrics.kid import kernel_distance

LOWER_IS_BETTER = {
    "fid": True,
    "kid": True,
    "mIoU": False,
    "accu": False,
    "l1_real": True,
    "psnr": False,
    "ssim": False,
}


class Criterion(Protocol):
    """Gathers what it needs of images, batch by batch, and gives metrics at the end.

    Attributes:
        keys:   the metrics it yields, the deciding one first
        labels: key -> how that metric must be named in a table
    """

    keys: tuple[str, ...]
    labels: Mapping[str, str]

    def reset(self) -> None:
        """Forget all images. What was gathered is replaced, not changed: `fresh` relies on it."""

    def update(self, images: Tensor, names: Sequence[str], real: Tensor | None = None) -> None:
        """Add generated images.

        Args:
            images: uint8 N C H W on the device
            names:  of the N images
            real:   uint8 N C H W on the device, the images they should have become; None where
                    there are no pairs
        """

    def result(self) -> dict[str, Any]:
        """``n``, the number of images so far, and a number for each key."""

    def state(self) -> Any:
        """Everything gathered, on the CPU, to combine processes that share the images."""

    def merge(self, states: list) -> None:
        """Replace what was gathered by the `state` of all processes together."""


def fresh(criteria: Sequence[Criterion]) -> list[Criterion]:
    """Criteria of the same kind for other images: they share networks and have gathered nothing."""
    copies = [copy.copy(criterion) for criterion in criteria]
    for criterion in copies:
        criterion.reset()
    return copies


def require(criteria: Sequence[Criterion], key: str) -> None:
    """InputError unless ``key`` is among the metrics of the criteria."""
    measured = [k for criterion in criteria for k in criterion.keys]
    if key not in measured:
        remedy = "leave `no_mIoU` out, or give `criterion` fid"
        if key == "fid":
            remedy = "leave `no_fid` out, and give `real_stat_path` where there are no real images"
        raise InputError(f"`criterion` {key} is not measured in this run: {remedy}")


class FeatureCriterion:
    """FID of generated images against statistics of real ones, and KID where those hold a sample.

    Args:
        net:  the feature network
        real: statistics of the real images, made with the same features
        note: what the labels say about the real images, if anything

    Where the real images had another size than the generated ones, a warning says so once: the
    distance then measures the enlargement too.
    """

    def __init__(
        self, net: InceptionFeatures, real: Statistics, device: torch.device, note: str = ""
    ):
        self.net, self.real = net, real.to(device)
        self.keys = ("fid", "kid") if self.real.sample is not None else ("fid",)
        what = f"{net.label}; {note}" if note else net.label
        self.labels = {key: f"{key.upper()} ({what})" for key in self.keys}
        # Shared by copies, so that several models are warned about once.
        self.sizes_seen: set[tuple[int, int]] = set()
        self.reset()

    @property
    def label(self) -> str:
        return self.labels["fid"]

    def reset(self) -> None:
        self.features: list[Tensor] = []

    def update(self, images: Tensor, names: Sequence[str], real: Tensor | None = None) -> None:
        self._compare_sizes(tuple(images.shape[2:]))
        self.features.append(self.net(images))

    def _compare_sizes(self, size: tuple[int, int]) -> None:
        if not self.sizes_seen and self.real.size not in (None, size):
            (height, width), (real_height, real_width) = size, self.real.size
            warnings.warn(
                f"FID compares outputs of {width}x{height} with real images of "
                f"{real_width}x{real_height}: it measures the difference in size too. For "
                f"statistics at {width}x{height} give get_real_stat.py the run's `preprocess`, "
                "`load_size` and `crop_size`, and its file as `real_stat_path`",
                UserWarning,
                stacklevel=3,
            )
        self.sizes_seen.add(size)

    def state(self) -> Tensor:
        return torch.cat(self.features).cpu() if self.features else torch.empty(0, self.net.dims)

    def merge(self, states: list[Tensor]) -> None:
        self.features = [state.to(self.real.mu.device) for state in states]

    def result(self) -> dict[str, Any]:
        empty = torch.empty(0, self.net.dims)
        features = torch.cat(self.features or [empty]).to(self.real.mu.device)
        result = {"fid": frechet_distance(features, self.real), "n": len(features)}
        if "kid" in self.keys:
            result["kid"] = kernel_distance(features, self.real.sample)
        return result
