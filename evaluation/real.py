"""Feature statistics of the real images, measured once and cached."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.transforms import Crops, to_float, to_uint8
from errors import InputError
from metrics.fid import measure_images
from metrics.frechet import Statistics, load_statistics, save_statistics
from metrics.inception import InceptionFeatures

# --------------------------------------------------------------------------------------------------
# Measuring


def measure_real(
    dataset,
    net: InceptionFeatures,
    device: torch.device,
    threads: int = 4,
    crop: tuple[int, int] | None = None,
) -> Statistics:
    """Statistics of a dataset's targets (``B``, or ``A`` where there is no B).

    Args:
        dataset: see `data.datasets`; images are measured at the size that it gives them
        net:     the feature network, on ``device``
        threads: number of threads that decode images
        crop:    (height, width) in pixels of the centre crop, as for inputs; None = the whole image

    Raises:
        InputError: fewer than 2 images, or an unreadable image.
    """
    if len(dataset) < 2:
        raise InputError(
            f"FID needs at least 2 real images and {dataset.folder} gives {len(dataset)}"
        )
    side = "B" if "B" in dataset.load(0) else "A"
    centre = Crops(crop, random=False, flip=False)

    def load(index: int) -> Tensor:
        image = centre.apply(torch.from_numpy(dataset.load(index)[side]), np.zeros(3))
        return image if image.dtype == torch.uint8 else to_uint8(to_float(image))

    return measure_images(load, len(dataset), net, device, threads, "real statistics")


# --------------------------------------------------------------------------------------------------
# Caching


def cache_folders(dataroot: Path) -> tuple[Path, ...]:
    """Folders for cached statistics, the preferred one first: beside the dataset, the user's cache.

    A shared temporary folder is not among them, because anyone could put wrong statistics there.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if not base:
        try:
            base = Path.home() / ".cache"
        except RuntimeError:  # neither HOME nor an entry of this user in the system's list
            return (dataroot / ".statistics",)
    return dataroot / ".statistics", Path(base) / "gan-compression" / "statistics"


def _trusted(path: Path, dataset_folder: Path) -> bool:
    """Whether nobody but those who could also change the images can have written the file."""
    if not hasattr(os, "getuid"):
        return True
    info = path.stat()
    owners = {os.getuid(), 0, dataset_folder.stat().st_uid}
    return info.st_uid in owners and not info.st_mode & 0o002


def _fingerprint(dataset, net: InceptionFeatures) -> str:
    """Eight hex digits that depend on the files, the direction, the size, the features and their
    weights."""
    direction = getattr(dataset, "direction", "")
    # The leading number is the version of the cached files: raise it when their content changes.
    settings = f"2 {net.label}{net.origin} {direction} {dataset.channels} {dataset.resize}"
    digest = hashlib.sha256(settings.encode())
    for path in [*dataset.files, *(getattr(dataset, "files_b", None) or ())]:
        info, name = path.stat(), os.fsencode(os.path.relpath(path, dataset.folder))
        digest.update(name + f" {info.st_size} {info.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:8]


def real_statistics(
    dataset,
    net: InceptionFeatures,
    device: torch.device,
    path: str | None = None,
    cache: tuple[Path, ...] = (),
    threads: int = 4,
    setting: str = "`real_stat_path`",
) -> Statistics:
    """Statistics to compare with: from ``path``, from the cache, or measured now and cached.

    Args:
        dataset: real images, at the size at which they are measured
        net:     the feature network, on ``device``
        path:    a file of statistics; None = use the cache
        cache:   folders of the cache; new statistics go into the first that can be written. A file
                 that another user could have written is not used
        threads: number of threads that decode images
        setting: what the user calls ``path``, for messages

    Raises:
        InputError: ``path`` cannot be used, or there are fewer than 2 real images.
    """
    if path is not None:
        return load_statistics(Path(path), net.dims, net.label, setting)
    name = f"{dataset.folder.name}_{_fingerprint(dataset, net)}_{net.dims}.npz"
    for folder in cache:
        # If the file is damaged or unreadable, the images are measured again.
        with contextlib.suppress(InputError, OSError):
            if (folder / name).is_file() and _trusted(folder / name, dataset.folder):
                return load_statistics(folder / name, net.dims, net.label)
    statistics = measure_real(dataset, net, device, threads, dataset.resize.crop)
    for folder in cache:
        with contextlib.suppress(InputError, OSError):
            save_statistics(folder / name, statistics, net.label)
            break
    return statistics
