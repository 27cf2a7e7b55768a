"""Criteria that judge images. All have one interface and take the images batch by batch."""

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

# Metric -> whether a lower value is better.
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
    """Collects what it needs from each batch of images, and computes metrics at the end.

    Attributes:
        keys:   names of its metrics, the deciding one first
        labels: key -> name of that metric in a table
    """

    keys: tuple[str, ...]
    labels: Mapping[str, str]

    def reset(self) -> None:
        """Forget all images.

        It must replace what was collected, not change it in place: `fresh` relies on that.
        """

    def update(self, images: Tensor, names: Sequence[str], real: Tensor | None = None) -> None:
        """Add generated images.

        Args:
            images: uint8 N C H W on the device
            names:  names of the N images
            real:   uint8 N C H W on the device, the real images that the outputs should match; None
                    if there are no pairs
        """

    def result(self) -> dict[str, Any]:
        """The value of each key over all images so far, and ``n``, their number."""

    def state(self) -> Any:
        """Everything collected, on the CPU, to combine processes that share the images."""

    def merge(self, states: list) -> None:
        """Replace what was collected by the combined `state` values of all processes."""


def fresh(criteria: Sequence[Criterion]) -> list[Criterion]:
    """Copies of the criteria for other images. They share the networks and hold no images yet."""
    copies = [copy.copy(criterion) for criterion in criteria]
    for criterion in copies:
        criterion.reset()
    return copies


def require(criteria: Sequence[Criterion], key: str) -> None:
    """Raise InputError if ``key`` is not among the metrics of the criteria."""
    measured = [k for criterion in criteria for k in criterion.keys]
    if key not in measured:
        remedy = "leave `no_mIoU` out, or give `criterion` fid"
        if key == "fid":
            remedy = "leave `no_fid` out, and give `real_stat_path` where there are no real images"
        raise InputError(f"`criterion` {key} is not measured in this run: {remedy}")


class FeatureCriterion:
    """FID against statistics of real images, and KID if those statistics hold a sample.

    It warns once if the real images had another size than the generated ones: the distance then
    measures the difference in size too.

    Args:
        net:    the feature network
        real:   statistics of the real images, from the same features
        device: where the features are kept and compared
        note:   what the labels say about the real images; "" = nothing
    """

    def __init__(
        self, net: InceptionFeatures, real: Statistics, device: torch.device, note: str = ""
    ):
        self.net, self.real = net, real.to(device)
        self.keys = ("fid", "kid") if self.real.sample is not None else ("fid",)
        what = f"{net.label}; {note}" if note else net.label
        self.labels = {key: f"{key.upper()} ({what})" for key in self.keys}
        # Copies share this set, so that one warning serves for several models.
        self.sizes_seen: set[tuple[int, int]] = set()
        self.reset()

    @property
    def label(self) -> str:
        """The name of FID in tables."""
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
        """(n, dims) float32 features of all images so far, on the CPU."""
        return torch.cat(self.features).cpu() if self.features else torch.empty(0, self.net.dims)

    def merge(self, states: list[Tensor]) -> None:
        self.features = [state.to(self.real.mu.device) for state in states]

    def result(self) -> dict[str, Any]:
        """``fid``, >= 0, ``n``, and ``kid`` if the real statistics hold a sample.

        Raises:
            InputError: fewer than 2 images, or features that are not finite.
        """
        empty = torch.empty(0, self.net.dims)
        features = torch.cat(self.features or [empty]).to(self.real.mu.device)
        result = {"fid": frechet_distance(features, self.real), "n": len(features)}
        if "kid" in self.keys:
            result["kid"] = kernel_distance(features, self.real.sample)
        return result
