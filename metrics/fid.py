"""FID and KID between two sets of images.

``python -m metrics.fid A B`` compares two sides, each a folder or a file of statistics (.npz).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.datasets import list_images
from data.images import read_image
from errors import InputError
from metrics.frechet import Statistics, load_statistics, statistics_distance
from metrics.inception import InceptionFeatures, load_inception
from metrics.kid import kernel_distance
from runtime.progress import Bar

# --------------------------------------------------------------------------------------------------
# Images -> statistics


def _batches(
    load: Callable[[int], Tensor], count: int, threads: int, batch: int
) -> Iterator[Tensor]:
    """Batches of images in order, uint8 N C H W; a batch ends early where the size changes."""
    pending: list[Tensor] = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, count, 4 * batch):  # bounded read-ahead
            for image in pool.map(load, range(start, min(start + 4 * batch, count))):
                if pending and (pending[0].shape != image.shape or len(pending) == batch):
                    yield torch.stack(pending)
                    pending = []
                pending.append(image)
    if pending:
        yield torch.stack(pending)


def measure_images(
    load: Callable[[int], Tensor],
    count: int,
    net: InceptionFeatures,
    device: torch.device,
    threads: int = 4,
    description: str = "features",
    batch: int = 16,
) -> Statistics:
    """Feature statistics of ``count`` images.

    Args:
        load:        index in 0..count-1 -> uint8 C H W of any size; called from several threads
        net:         the feature network, on ``device``
        threads:     number of threads that decode images
        description: text of the progress bar
        batch:       maximum number of images in one pass of the network

    Raises:
        InputError: fewer than 2 images, or whatever ``load`` raises.
    """
    features, sizes = [], set()
    with Bar(total=count, desc=description, unit="img") as bar:
        for images in _batches(load, count, threads, batch):
            features.append(net(images.to(device)))
            sizes.add(tuple(images.shape[2:]))
            bar.update(len(images))
    size = sizes.pop() if len(sizes) == 1 else None
    return Statistics.of_features(torch.cat(features), size)


def statistics_of(
    path: Path, net: InceptionFeatures, device: torch.device, threads: int = 4
) -> Statistics:
    """Statistics of the images in a folder, as they are stored, or those in an .npz file.

    Returns:
        statistics on ``device``, or on the CPU if the device has no float64

    Raises:
        InputError: the folder or file does not exist, the folder has fewer than 2 images, an image
            is unreadable, or the file was made with other features.
    """
    if not path.is_dir():
        return load_statistics(path, net.dims, net.label, setting="").to(device)
    files = list_images(path)
    if len(files) < 2:
        raise InputError(f"FID needs at least 2 images a side and {path} holds {len(files)}")

    def load(index: int) -> Tensor:
        return torch.from_numpy(np.asarray(read_image(files[index])).transpose(2, 0, 1).copy())

    return measure_images(load, len(files), net, device, threads, path.name).to(device)


# --------------------------------------------------------------------------------------------------
# Two sets


def compare(
    a: Path, b: Path, net: InceptionFeatures, device: torch.device, threads: int = 4
) -> dict[str, Any]:
    """FID and KID between two sides, each a folder of images or an .npz file of statistics.

    KID uses up to 2000 images per side, evenly spaced.

    Returns:
        ``fid``, >= 0
        ``kid``; None if a file holds no feature vectors
        ``n``, the number of images of each side; None if a file does not say
        ``size``, (height, width) of the images of each side; None if they differ within the side or
        a file does not say

    Raises:
        InputError: as `statistics_of`.
    """
    # Check both before minutes are spent on one.
    for path in (a, b):
        if not path.exists():
            raise InputError(f"{path}: no such folder or .npz file")
    x, y = (statistics_of(path, net, device, threads) for path in (a, b))
    sampled = x.sample is not None and y.sample is not None
    return {
        "fid": statistics_distance(x, y),
        "kid": kernel_distance(x.sample, y.sample) if sampled else None,
        "n": (x.n, y.n),
        "size": (x.size, y.size),
    }


def describe(found: dict[str, Any], features: str) -> str:
    """The result of `compare` as lines for the terminal; ``features`` names the features."""
    kid = "not measured: a file holds no feature vectors"
    counts = " and ".join("unknown" if n is None else str(n) for n in found["n"])
    sizes = " and ".join(f"{s[1]}x{s[0]}" if s else "mixed or unknown" for s in found["size"])
    lines = [
        f"FID       {found['fid']:.4f}",
        f"KID       {kid if found['kid'] is None else format(found['kid'], '.6f')}",
        f"n         {counts} images",
        f"size      {sizes}",
        f"features  {features}",
    ]
    if None not in found["size"] and found["size"][0] != found["size"][1]:
        lines.append("The sizes differ: both measures include the effect of the enlargement.")
    return "\n".join(lines)


if __name__ == "__main__":
    from options import FidOptions, run, settings

    def main() -> None:
        opt = FidOptions.parse()
        device = settings.start_machine(opt)
        net = load_inception(opt.fid_dims, opt.fid_weights, opt.fid_features, device)
        found = compare(Path(opt.a), Path(opt.b), net, device, opt.num_threads)
        print(describe(found, net.label))

    run(main)
