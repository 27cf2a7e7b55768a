"""Statistics of the real images: as stored in their files (SPEC 5), made once and kept beside the dataset."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from data.transforms import to_float, to_uint8
from errors import InputError
from metrics.frechet import Statistics, load_statistics, save_statistics
from metrics.inception import InceptionFeatures
from runtime.machine import device_for_float64
from runtime.progress import Bar


def _target_batches(dataset, threads: int, batch: int = 16) -> Iterator[Tensor]:
    """uint8 N C H W of the targets of a dataset (``B``, or ``A`` where there is no B); a batch ends where the size changes."""
    side = "B" if "B" in dataset.load(0) else "A"
    pending: list[Tensor] = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(dataset), 4 * batch):  # bounded read-ahead
            chunk = range(start, min(start + 4 * batch, len(dataset)))
            for item in pool.map(dataset.load, chunk):
                image = torch.from_numpy(item[side])
                if image.dtype != torch.uint8:
                    image = to_uint8(to_float(image))
                if pending and (pending[0].shape != image.shape or len(pending) == batch):
                    yield torch.stack(pending)
                    pending = []
                pending.append(image)
    if pending:
        yield torch.stack(pending)


def measure_real(
    dataset, net: InceptionFeatures, device: torch.device, threads: int = 4
) -> Statistics:
    """Statistics of a dataset's targets. InputError for fewer than 2 images."""
    if len(dataset) < 2:
        raise InputError(
            f"FID needs at least 2 real images and {dataset.folder} gives {len(dataset)}"
        )
    features = []
    with Bar(total=len(dataset), desc="real statistics", unit="img") as bar:
        for images in _target_batches(dataset, threads):
            features.append(net(images.to(device)))
            bar.update(len(images))
    return Statistics.of_features(torch.cat(features).to(device_for_float64(device)))


def _fingerprint(dataset, net: InceptionFeatures) -> str:
    """Eight hex digits that change with the files, the side and the features."""
    digest = hashlib.sha256(
        f"{net.label} {getattr(dataset, 'direction', '')} {dataset.channels} {dataset.resize}".encode()
    )
    for path in dataset.files:
        info = path.stat()
        digest.update(
            f"{path.relative_to(dataset.folder)} {info.st_size} {info.st_mtime_ns}\n".encode()
        )
    return digest.hexdigest()[:8]


def real_statistics(
    dataset,
    net: InceptionFeatures,
    device: torch.device,
    path: str | None = None,
    cache: tuple[Path, Path] | None = None,
    threads: int = 4,
) -> Statistics:
    """Statistics to compare with: from ``path``, from the cache, or measured now and cached.

    Args:
        dataset: real images as they are stored
        path:    ``real_stat_path``; None = the cache
        cache:   folders to keep them in: beside the dataset, and the one to use when that cannot be written
    """
    if path is not None:
        return load_statistics(Path(path), net.dims, net.label)
    name = f"{dataset.folder.name}_{_fingerprint(dataset, net)}_{net.dims}.npz"
    for folder in cache or ():
        if (folder / name).is_file():
            with contextlib.suppress(InputError):  # damaged: measured again
                return load_statistics(folder / name, net.dims, net.label)
    statistics = measure_real(dataset, net, device, threads)
    for folder in cache or ():
        try:
            save_statistics(folder / name, statistics, net.label)
            break
        except InputError:
            continue
    return statistics
