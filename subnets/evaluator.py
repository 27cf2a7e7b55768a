"""(generator, config) -> metrics, the same for training, search, test and export; and the statistics of the real images.

Inputs are decoded once and stay uint8 in memory; generator, quantisation and feature network run in one pass on the device.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from data.loader import Loader
from data.transforms import to_uint8
from errors import InputError
from metrics.frechet import Statistics, load_statistics, save_statistics
from metrics.inception import InceptionFeatures
from models.layers import any_size
from training import distributed

Generate = Callable[[Tensor], Tensor]


# ---------------------------------------------------------------------------------------------------------
# Evaluator


class Evaluator:
    """Measures generators on a fixed set of inputs.

    Args:
        loader:   inputs, in order
        criteria: see `metrics.criteria`
        shared:   the loader gives each process of the run its share of the images: put everyone's together
        bf16:     run generator and feature network in bfloat16 (``--amp bf16``); their results differ a little, see docs/search.md
    """

    def __init__(self, loader: Loader, criteria: list, bf16: bool = False, shared: bool = False):
        self.loader, self.criteria, self.bf16, self.shared = loader, criteria, bf16, shared

    @property
    def label(self) -> str:
        return ", ".join(c.label for c in self.criteria)

    @torch.inference_mode()
    def outputs(self, generate: Generate, limit: int | None = None) -> Iterator[tuple[Tensor, list[str]]]:
        """uint8 N C H W on the device, and names, batch by batch; ``limit`` stops after at least so many images."""
        done = 0
        for batch in self.loader.epoch():
            yield to_uint8(any_size(generate, batch.A)), batch.names
            done += len(batch)
            if limit is not None and done >= limit:
                return

    def __call__(self, generate: Generate) -> dict:
        """All metrics of a generator: the criteria's keys, ``n`` images, ``seconds``."""
        start = time.monotonic()
        for criterion in self.criteria:
            criterion.reset()
        with torch.autocast(self.loader.device.type, torch.bfloat16, enabled=self.bf16):
            for images, names in self.outputs(generate):
                for criterion in self.criteria:
                    criterion.update(images, names)
        metrics: dict = {}
        for criterion in self.criteria:
            if self.shared:
                criterion.merge(distributed.gather_objects(criterion.state()))
            metrics |= criterion.result()
        return metrics | {"seconds": round(time.monotonic() - start, 3)}


# ---------------------------------------------------------------------------------------------------------
# Statistics of the real images: as stored in their files (SPEC 5), made once and kept beside the dataset


def _target_batches(dataset, threads: int, batch: int = 16) -> Iterator[Tensor]:
    """uint8 N C H W of the targets of a dataset (``B``, or ``A`` where there is no B); a batch ends where the size changes."""
    side = "B" if "B" in dataset.load(0) else "A"
    pending: list[Tensor] = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(dataset), 4 * batch):  # bounded read-ahead
            chunk = range(start, min(start + 4 * batch, len(dataset)))
            for item in pool.map(dataset.load, chunk):
                image = torch.from_numpy(item[side])
                if pending and (pending[0].shape != image.shape or len(pending) == batch):
                    yield torch.stack(pending)
                    pending = []
                pending.append(image)
    if pending:
        yield torch.stack(pending)


def measure_real(dataset, net: InceptionFeatures, device: torch.device, threads: int = 4) -> Statistics:
    """Statistics of a dataset's targets. InputError for fewer than 2 images."""
    if len(dataset) < 2:
        raise InputError(f"FID needs at least 2 real images and {dataset.folder} gives {len(dataset)}")
    features = []
    with tqdm(total=len(dataset), desc="real statistics", unit="img", dynamic_ncols=True) as bar:
        for images in _target_batches(dataset, threads):
            features.append(net(images.to(device)))
            bar.update(len(images))
    return Statistics.of_features(torch.cat(features))


def _fingerprint(dataset, net: InceptionFeatures) -> str:
    """Eight hex digits that change with the files, the side and the features."""
    digest = hashlib.sha256(
        f"{net.label} {getattr(dataset, 'direction', '')} {dataset.channels} {dataset.resize}".encode()
    )
    for path in dataset.files:
        info = path.stat()
        digest.update(f"{path.relative_to(dataset.folder)} {info.st_size} {info.st_mtime_ns}\n".encode())
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
        path:    ``--real_stat_path``; None = the cache
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
        except OSError:
            continue
    return statistics
