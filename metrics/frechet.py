"""Frechet distance between feature sets, exact and in float64, without a matrix square root.

tr sqrt(S_fake S_real) is the sum of the square roots of the eigenvalues of S_fake S_real. Apart
from zeros, these are also the eigenvalues of a symmetric positive semi-definite matrix, so they are
real and not negative:

* X S_real X^T (n x n) if there are at most as many images as features, where X (n, d) holds the
  centred features / sqrt(n - 1);
* L^T S_fake L (d x d) otherwise, where S_real = L L^T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from errors import InputError
from runtime.files import written_whole
from runtime.machine import device_for_float64

# --------------------------------------------------------------------------------------------------
# Statistics of the real images


# Maximum number of feature vectors kept with the statistics, for KID: 16 MB at 2048 features.
SAMPLE = 2000


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of the features of images, on one device.

    Attributes:
        mu:     (d,) float64, mean
        sigma:  (d, d) float64, covariance
        n:      number of images; None if a file does not say
        sample: (m, d) float32, up to `SAMPLE` of the feature vectors, evenly spaced; None if a file
                holds none
        size:   (height, width) of all images in pixels; None if they differed or a file does not
                say
    """

    mu: Tensor
    sigma: Tensor
    n: int | None = None
    sample: Tensor | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def of_features(cls, features: Tensor, size: tuple[int, int] | None = None) -> Statistics:
        """Statistics of features, the covariance divided by n - 1.

        Args:
            features: (n, d) of any float type
            size:     (height, width) of all images, if they had one size

        Raises:
            InputError: fewer than 2 images.
        """
        centred, mu = _centre(features)
        rows = torch.linspace(0, len(features) - 1, min(SAMPLE, len(features))).round().long()
        sample = features[rows.to(features.device)].float()
        return cls(mu, centred.T @ centred, len(features), sample, size)

    @property
    def dims(self) -> int:
        """Number of features d."""
        return self.mu.numel()

    def to(self, device: torch.device | str) -> Statistics:
        """The same statistics on ``device``, or on the CPU if that device has no float64."""
        device = device_for_float64(torch.device(device))
        sample = None if self.sample is None else self.sample.to(device)
        return replace(self, mu=self.mu.to(device), sigma=self.sigma.to(device), sample=sample)

    @cached_property
    def factor(self) -> Tensor:
        """L (d, d) float64 with sigma = L L^T, for any rank of sigma; computed once."""
        values, vectors = _solve(torch.linalg.eigh, self.sigma)
        return vectors * values.clamp_min(0).sqrt()


def _solve(solver: Callable, matrix: Tensor):
    """``solver(matrix)`` on the matrix's device, or on the CPU if it fails there.

    The solvers of GPUs fail on some ill-conditioned matrices that LAPACK solves.
    """
    try:
        return solver(matrix)
    except RuntimeError:  # a torch.linalg.LinAlgError, or a missing kernel
        found = solver(matrix.cpu())
    if isinstance(found, Tensor):
        return found.to(matrix.device)
    return tuple(part.to(matrix.device) for part in found)


def _centre(features: Tensor) -> tuple[Tensor, Tensor]:
    """(centred features / sqrt(n - 1), mean) in float64; on the CPU if the device lacks float64."""
    n = len(features)
    if n < 2:
        raise InputError(
            f"FID needs at least 2 images and got {n}: give more images (check `phase`, "
            "`num_test`, `meta_path`, `max_dataset_size`)"
        )
    features = features.to(device_for_float64(features.device)).double()
    mu = features.mean(dim=0)
    return (features - mu) / (n - 1) ** 0.5, mu


# --------------------------------------------------------------------------------------------------
# Distance


def frechet_distance(fake: Tensor, real: Statistics) -> float:
    """Squared Frechet distance, >= 0, between two Gaussians fitted to features.

    Heusel et al., "GANs trained by a two time-scale update rule", NeurIPS 2017, eq. 6:

    d^2 = |mu_fake - mu_real|^2 + tr(S_fake + S_real - 2 sqrt(S_fake S_real))

    Args:
        fake: (n, d) features of the generated images, any float type, on the device of ``real``
        real: statistics of the real images

    Raises:
        InputError: fewer than 2 images, another number of features than in the statistics, or
            features that are not finite.
    """
    _same_dims(fake.shape[1], real.dims)
    x, mu = _centre(fake)  # (n, d)
    if not torch.isfinite(x).all():
        raise InputError(
            "the generated images have features that are not finite: the generator has diverged"
        )
    n, d = x.shape
    if n <= d:
        gram = x @ real.sigma @ x.T
    else:
        product = x @ real.factor
        gram = product.T @ product
    return _distance(mu, x.square().sum(), real, gram)


def statistics_distance(a: Statistics, b: Statistics) -> float:
    """`frechet_distance` between two sets of images, from their statistics on one device.

    Raises:
        InputError: the two have different numbers of features.
    """
    _same_dims(a.dims, b.dims)
    return _distance(a.mu, a.sigma.trace(), b, b.factor.T @ a.sigma @ b.factor)


def _same_dims(fake: int, real: int) -> None:
    if fake != real:
        raise InputError(
            f"the statistics of the real images have {real} features and the generated images "
            f"{fake}: make them with the same `fid_dims`, or leave `real_stat_path` out to have "
            "them made"
        )


def _distance(mu: Tensor, trace: Tensor, real: Statistics, gram: Tensor) -> float:
    """The distance from ``real`` to a side with mean ``mu`` and ``trace`` of the covariance.

    Args:
        gram: matrix with the eigenvalues of S_fake S_real
    """
    # The matrix is symmetric up to rounding, and eigvalsh reads one triangle only. The mean of both
    # triangles has a smaller error.
    eigenvalues = _solve(torch.linalg.eigvalsh, (gram + gram.T) / 2)
    root = eigenvalues.clamp_min(0).sqrt().sum()
    distance = (mu - real.mu).square().sum() + trace + real.sigma.trace() - 2 * root
    return max(0.0, distance.item())


# --------------------------------------------------------------------------------------------------
# Files: the ``.npz`` format of other tools (``mu``, ``sigma``), with additions of this project


def save_statistics(path: Path, statistics: Statistics, features: str) -> None:
    """Write an .npz file, whole or not at all.

    It holds ``mu`` (d,) and ``sigma`` (d, d) in float64, ``n`` (int64, -1 = unknown), ``features``
    (the name of the feature network), and, if known, ``sample`` (m, d) in float32 and ``size``
    (height and width, int64).

    Raises:
        InputError: the file cannot be written.
    """
    known = {"sample": statistics.sample, "size": statistics.size}
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            mu=statistics.mu.cpu().numpy(),
            sigma=statistics.sigma.cpu().numpy(),
            n=np.int64(-1 if statistics.n is None else statistics.n),
            features=np.array(features),
            **{
                key: value.cpu().numpy() if isinstance(value, Tensor) else np.array(value)
                for key, value in known.items()
                if value is not None
            },
        )


def load_statistics(
    path: Path, dims: int | None, features: str | None = None, setting: str = "`real_stat_path`"
) -> Statistics:
    """Read statistics made by `save_statistics` or by tools that write mu and sigma (pytorch-fid).

    Args:
        dims:     number of features that the file must have; None = any
        features: name of the feature network; a file that names another one is refused. None = any
        setting:  the setting that gave the path, for messages

    Raises:
        InputError: the file is missing or damaged, has no mu and sigma, has values that are not
            finite real numbers, or was made with other features.
    """
    what = f"{setting} {path}".strip()
    remedy = "make it with get_real_stat.py" + (" or leave it out" if setting else "")
    if not path.is_file():
        raise InputError(f"{what}: no such file; {remedy}")
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in ("mu", "sigma", "sample") if key in data}
            n = int(data["n"]) if "n" in data else -1
            made_with = str(data["features"]) if "features" in data else None
            size = tuple(map(int, data["size"])) if "size" in data else None
        shapes = {key: array.shape for key, array in arrays.items()}
        d = shapes["mu"][0] if len(shapes["mu"]) == 1 else 0
        m = shapes.get("sample", (2,))[0]
        fits = shapes["sigma"] == (d, d) and shapes.get("sample", (m, d)) == (m, d) and m >= 2
    except Exception as error:  # NumPy, zipfile and zlib share no useful base class
        raise InputError(
            f"{what}: not an .npz file with mu and sigma, or damaged ({type(error).__name__}); "
            f"{remedy}"
        ) from None
    if d < 1 or not fits or (size is not None and (len(size) != 2 or min(size) < 1)):
        raise InputError(f"{what}: holds arrays that do not fit together ({shapes}); {remedy}")
    if dims and d != dims:
        raise InputError(
            f"{what}: made with {d} features, this run uses {dims} (`fid_dims`); {remedy}"
        )
    if features and made_with and made_with != features:
        raise InputError(f"{what}: made with '{made_with}', this run uses '{features}'; {remedy}")
    tensors = {}
    for key, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise InputError(f"{what}: its {key} is of type {array.dtype}, not numbers; {remedy}")
        # NumPy converts the type, since PyTorch reads neither other byte orders nor long doubles.
        tensor = torch.from_numpy(array.astype(np.float64))
        if not torch.isfinite(tensor).all():
            raise InputError(f"{what}: its {key} holds numbers that are not finite; {remedy}")
        tensors[key] = tensor.float() if key == "sample" else tensor
    return Statistics(**tensors, n=n if n > 0 else None, size=size)
