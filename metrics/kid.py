"""Kernel Inception Distance.

Source: Binkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", ICLR 2018 (arXiv
1801.01401). It is unbiased, so that sets of a few hundred images can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from errors import InputError
from runtime.machine import device_for_float64

# Maximum number of images per subset.
SUBSET = 1000
# Number of subsets to average over when a set is larger than one subset.
SUBSETS = 100


def _mmd2(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared MMD of (m, d) and (n, d) float64 with the kernel (x.y / d + 1)^3 (eq. 4)."""
    m, n, d = len(x), len(y), x.shape[1]
    kxx, kyy, kxy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (kxx.sum() - kxx.trace()) / (m * (m - 1)) + (kyy.sum() - kyy.trace()) / (n * (n - 1))
    return within - 2 * kxy.mean()


def kernel_distance(fake: Tensor, real: Tensor) -> float:
    """KID between two sets of features: the unbiased squared MMD of eq. 4.

    The kernel is (x.y / d + 1)^3. The expected value is 0 for equal distributions, so single values
    may be slightly negative. Sets of up to 1000 images are compared as a whole, larger ones by the
    mean over 100 random subsets of 1000 images, drawn with a fixed seed.

    Args:
        fake, real: (n, d) and (m, d) of any float type, on one device

    Raises:
        InputError: a set has fewer than 2 images.
    """
    if min(len(fake), len(real)) < 2:
        raise InputError(f"KID needs at least 2 images a side and got {len(fake)} and {len(real)}")
    device = device_for_float64(fake.device)
    fake, real = fake.to(device).double(), real.to(device).double()
    if max(len(fake), len(real)) <= SUBSET:
        return _mmd2(fake, real).item()
    generator = torch.Generator().manual_seed(0)

    def subset(features: Tensor) -> Tensor:
        return features[
            torch.randperm(len(features), generator=generator)[:SUBSET].to(features.device)
        ]

    return torch.stack([_mmd2(subset(fake), subset(real)) for _ in range(SUBSETS)]).mean().item()
