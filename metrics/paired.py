"""How far generated images are from their real partners: L1, PSNR and SSIM.

``python -m metrics.paired A B`` compares images of the same name in two folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.datasets import list_images
from data.images import read_image
from errors import InputError
from runtime.progress import Bar

# --------------------------------------------------------------------------------------------------
# Measures of two images


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each pair, in grey levels: 0 (equal) to 255.

    L1 = mean |a - b| over channels and pixels

    Args:
        a, b: uint8 N C H W

    Returns:
        (N,) float32
    """
    return (a.int() - b.int()).abs().float().mean(dim=(1, 2, 3))


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB; higher is closer.

    PSNR = 10 log10(255^2 / MSE), MSE = mean (a - b)^2 over channels and pixels

    Equal images would have an infinite PSNR. They get the MSE of the smallest possible difference,
    one value off by one level, so that means stay finite (101 dB at 256x256 RGB).

    Args:
        a, b: uint8 N C H W

    Returns:
        (N,) float32
    """
    error = (a.int() - b.int()).square().float().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / error.clamp_min(1 / a[0].numel()))


WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


@cache
def _means(length: int) -> Tensor:
    """A matrix (windows, length) float32 that takes weighted means along a line of pixels.

    Row i holds Gaussian weights, which sum to 1, starting at pixel i.
    """
    size = min(WINDOW, length)
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-(x**2) / (2 * SIGMA**2))
    matrix = torch.zeros(length - size + 1, length, dtype=torch.float64)
    for i, row in enumerate(matrix):
        row[i : i + size] = weights / weights.sum()
    return matrix.float()


def _blurred(x: Tensor) -> Tensor:
    """Weighted means of N H W over every window that lies within the image.

    Matrix products do this three times as fast as one-channel convolutions on a CPU (256x256, one
    thread). On GPUs they are in full float32, where convolutions may use TF32.
    """
    down, across = (_means(length).to(x.device) for length in x.shape[1:])
    return down @ x @ across.T


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (SSIM) of each pair, in -1..1: 1 = equal, about 0 = unrelated images.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 2004, eq. 13: per channel and window

        (2 mu_a mu_b + C1) (2 cov_ab + C2) / ((mu_a^2 + mu_b^2 + C1) (var_a + var_b + C2))

    with values in 0..1, C1 = 0.01^2, C2 = 0.03^2 and moments weighted by an 11x11 Gaussian window
    of sigma 1.5. The mean is taken over channels and over the windows that lie within the image. If
    a side is shorter than 11 pixels, the window is as long as that side.

    Args:
        a, b: uint8 N C H W

    Returns:
        (N,) float32
    """
    count, channels, height, width = a.shape
    # Autocast would compute the means with 8 bits of precision, too few for variances, which are
    # small differences of large values.
    with torch.autocast(a.device.type, enabled=False):
        x, y = (image.reshape(-1, height, width).float() / 255 for image in (a, b))
        moments = _blurred(torch.cat([x, y, x * x, y * y, x * y]))
        mu_x, mu_y, xx, yy, xy = moments.chunk(5)
        variances = xx - mu_x**2 + yy - mu_y**2
        similarity = (2 * mu_x * mu_y + C1) * (2 * (xy - mu_x * mu_y) + C2)
        similarity /= (mu_x**2 + mu_y**2 + C1) * (variances + C2)
        return similarity.view(count, channels, -1).mean(dim=(1, 2))


# --------------------------------------------------------------------------------------------------
# Criterion


class PairedCriterion:
    """A `metrics.criteria.Criterion`: L1, PSNR and SSIM to the real images, as means over images.

    Every batch must come with its real images, uint8 N C H W of the same shape.
    """

    keys = ("l1_real", "psnr", "ssim")
    labels = {"l1_real": "L1 to real", "psnr": "PSNR (dB)", "ssim": "SSIM"}

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        # (N, 3) float32 of each batch. They stay on the device, since reading them would make the
        # CPU wait for the GPU at every batch.
        self.values: list[Tensor] = []

    @torch.inference_mode()
    def update(self, images: Tensor, names: Sequence[str], real: Tensor | None = None) -> None:
        if real is None or real.shape != images.shape:
            found = "none" if real is None else tuple(real.shape)
            raise ValueError(f"wants real images of shape {tuple(images.shape)}, got {found}")
        self.values.append(torch.stack([f(images, real) for f in (l1, psnr, ssim)], 1))

    def state(self) -> Tensor:
        """(n, 3) float32, L1, PSNR and SSIM of each image so far, on the CPU."""
        return torch.cat(self.values).cpu() if self.values else torch.empty(0, 3)

    def merge(self, states: list[Tensor]) -> None:
        self.values = list(states)

    def result(self) -> dict[str, Any]:
        """Means over the images of `l1` (``l1_real``), `psnr` and `ssim`; ``n``, their number.

        Raises:
            InputError: there were no images.
        """
        values = self.state()
        if not len(values):
            raise InputError("L1, PSNR and SSIM need at least one pair of images")
        means = dict(zip(self.keys, values.double().mean(0).tolist(), strict=True))
        return {"n": len(values), **means}


# --------------------------------------------------------------------------------------------------
# Folders


def _by_name(folder: Path) -> dict[str, Path]:
    """Relative path without its ending -> file, for all images below a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    for path in list_images(folder):
        name = str(path.relative_to(folder).with_suffix(""))
        if name in files:
            raise InputError(f"{folder} holds {files[name].name} and {path.name}; rename one")
        files[name] = path
    if not files:
        raise InputError(f"{folder} holds no images")
    return files


def compare_folders(a: Path, b: Path) -> dict[str, Any]:
    """Compare each image below ``a`` with the image of the same name below ``b``.

    Endings may differ. Subfolders are part of the name.

    Returns:
        means over the images: ``l1_real`` in grey levels (0 to 255), ``psnr`` in dB, ``ssim``
        (at most 1); and ``n``, the number of pairs

    Raises:
        InputError: a folder is missing or empty, a name is in one folder only, or two images of the
            same name differ in size.
    """
    files_a, files_b = _by_name(a), _by_name(b)
    alone = sorted(files_a.keys() ^ files_b.keys())
    if alone:
        here, there = (a, b) if alone[0] in files_a else (b, a)
        raise InputError(
            f"{len(alone)} names are in one folder only, first {alone[0]}: {here} has it, {there} "
            "does not; compare folders with equal names"
        )
    criterion = PairedCriterion()
    for name in Bar(sorted(files_a), desc="comparing", unit="img"):
        pair = []
        for path in (files_a[name], files_b[name]):
            pixels = np.asarray(read_image(path)).transpose(2, 0, 1)
            pair.append(torch.from_numpy(pixels.copy())[None])
        if pair[0].shape != pair[1].shape:
            sizes = [f"{image.shape[3]}x{image.shape[2]}" for image in pair]
            raise InputError(
                f"{files_a[name]} is {sizes[0]} but {files_b[name]} is {sizes[1]}; make them equal"
            )
        criterion.update(pair[0], [name], pair[1])
    return criterion.result()


if __name__ == "__main__":
    from options import PairedOptions, run

    def main() -> None:
        opt = PairedOptions.parse()
        found = compare_folders(Path(opt.a), Path(opt.b))
        print(f"L1    {found['l1_real']:.4f} grey levels (0 to 255)")
        print(f"PSNR  {found['psnr']:.4f} dB")
        print(f"SSIM  {found['ssim']:.6f}")
        print(f"n     {found['n']} pairs")

    run(main)
