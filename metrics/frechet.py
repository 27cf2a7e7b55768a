"""Frechet distance between feature sets, exactly and in float64, without a matrix square root.

tr sqrt(S_fake S_real) is the sum of the square roots of the eigenvalues of S_fake S_real. Those eigenvalues are also the ones of a
symmetric matrix: X S_real X^T (n x n) with X the centred features / sqrt(n - 1) when there are fewer images than features, and
L^T S_fake L (d x d) with S_real = L L^T otherwise. Never complex, never negative, never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from errors import InputError
from runtime.files import written_whole

# ---------------------------------------------------------------------------------------------------------
# Statistics of the real images


# Feature vectors kept with the statistics, for KID: 16 MB at 2048 features.
SAMPLE = 2000


@dataclass(frozen=True)
class Statistics:
    """Mean (d,) and covariance (d, d) of features, float64 tensors on one device.

    ``n`` images (None if a file does not say); ``sample``: up to `SAMPLE` of their feature vectors, evenly spaced, float32 (m, d), or None.
    """

    mu: Tensor
    sigma: Tensor
    n: int | None = None
    sample: Tensor | None = None

    @classmethod
    def of_features(cls, features: Tensor) -> Statistics:
        """From (n, d) features; covariance over n - 1. InputError for fewer than 2 images."""
        centred, mu = _centre(features)
        rows = torch.linspace(0, len(features) - 1, min(SAMPLE, len(features))).round().long()
        return cls(
            mu, centred.T @ centred, len(features), features[rows.to(features.device)].float()
        )

    @property
    def dims(self) -> int:
        return self.mu.numel()

    def to(self, device) -> Statistics:
        sample = None if self.sample is None else self.sample.to(device)
        return Statistics(self.mu.to(device), self.sigma.to(device), self.n, sample)

    @cached_property
    def factor(self) -> Tensor:
        """L (d, d) with sigma = L L^T; computed once, whatever the rank."""
        values, vectors = torch.linalg.eigh(self.sigma)
        return vectors * values.clamp_min(0).sqrt()


def _centre(features: Tensor) -> tuple[Tensor, Tensor]:
    """(centred features / sqrt(n - 1), mean) in float64."""
    n = len(features)
    if n < 2:
        raise InputError(
            f"FID needs at least 2 images and got {n}: give more images (check `phase`, `num_test`, `meta_path`)"
        )
    features = features.double()
    mu = features.mean(dim=0)
    return (features - mu) / (n - 1) ** 0.5, mu


# ---------------------------------------------------------------------------------------------------------
# Distance


def frechet_distance(fake: Tensor, real: Statistics) -> float:
    """Squared Frechet distance of two Gaussians fitted to features (Heusel et al. 2017, eq. 6); >= 0.

    Args:
        fake: (n, d) features of the generated images, any float type, on the device of ``real``
        real: statistics of the real images

    Raises:
        InputError: fewer than 2 images, or features of another size than the statistics.
    """
    if fake.shape[1] != real.dims:
        raise InputError(
            f"the statistics of the real images have {real.dims} features and the generated images {fake.shape[1]}: "
            "make them with the same `fid_dims`, or leave `real_stat_path` out to have them made"
        )
    x, mu = _centre(fake)  # (n, d)
    n, d = x.shape
    if n <= d:
        gram = x @ real.sigma @ x.T
    else:
        product = x @ real.factor
        gram = product.T @ product
    # Symmetric up to rounding; eigvalsh reads one triangle, so averaging the two halves the error.
    eigenvalues = torch.linalg.eigvalsh((gram + gram.T) / 2)
    trace_root = eigenvalues.clamp_min(0).sqrt().sum()
    if not torch.isfinite(eigenvalues).all():
        raise InputError(
            "the generated images have features that are not finite: the generator has diverged"
        )
    distance = (
        (mu - real.mu).square().sum() + x.square().sum() + real.sigma.trace() - 2 * trace_root
    )
    return max(0.0, distance.item())


# ---------------------------------------------------------------------------------------------------------
# Files: the ``.npz`` format of the existing tools (``mu``, ``sigma``), with what we know beside it


def save_statistics(path: Path, statistics: Statistics, features: str) -> None:
    """Write ``mu`` and ``sigma`` (float64), and beside them ``n``, the name of the feature network and ``sample``; atomic."""
    sample = {} if statistics.sample is None else {"sample": statistics.sample.cpu().numpy()}
    # NumPy appends .npz to names of other suffixes, not to open files.
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            mu=statistics.mu.cpu().numpy(),
            sigma=statistics.sigma.cpu().numpy(),
            n=np.int64(-1 if statistics.n is None else statistics.n),
            features=np.array(features),
            **sample,
        )


def load_statistics(path: Path, dims: int, features: str | None = None) -> Statistics:
    """Read statistics made by `save_statistics`, by pytorch-fid or by the existing implementation.

    Raises:
        InputError: missing or unreadable file, no mu and sigma, another number of features than ``dims``, or features of another
            network than ``features`` where the file says which it used.
    """
    if not path.is_file():
        raise InputError(
            f"`real_stat_path` {path}: no such file; make it with get_real_stat.py or leave the flag out"
        )
    try:
        with np.load(path, allow_pickle=False) as data:
            mu, sigma = data["mu"], data["sigma"]
            n = int(data["n"]) if "n" in data else -1
            made_with = str(data["features"]) if "features" in data else None
            sample = torch.from_numpy(data["sample"]) if "sample" in data else None
    except Exception as error:  # NumPy, zipfile and zlib share no useful base class
        raise InputError(
            f"`real_stat_path` {path}: not an .npz file with mu and sigma, or damaged ({type(error).__name__}); "
            "make it with get_real_stat.py or leave the flag out"
        ) from None
    if mu.shape != (dims,) or sigma.shape != (dims, dims):
        raise InputError(
            f"`real_stat_path` {path}: made with {mu.shape[0] if mu.ndim else 0} features, this run uses {dims} (`fid_dims`); "
            "make them again with get_real_stat.py or leave the flag out"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise InputError(
            f"`real_stat_path` {path}: holds numbers that are not finite; make it again with get_real_stat.py"
        )
    if features and made_with and made_with != features:
        raise InputError(
            f"`real_stat_path` {path}: made with '{made_with}', this run uses '{features}'; "
            "make them again with get_real_stat.py or leave the flag out"
        )
    return Statistics(
        torch.from_numpy(mu).double(),
        torch.from_numpy(sigma).double(),
        n if n > 0 else None,
        sample,
    )
