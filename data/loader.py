"""Datasets -> batches on a device: decoded once, kept in bounded memory, read ahead by threads.

Threads rather than worker processes: decoding releases Python's lock, nothing is copied between
processes, and memory stays flat.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.transforms import Crops, stacked, to_float
from errors import InputError
from runtime.progress import Bar

# --------------------------------------------------------------------------------------------------
# Decoded images in memory


class ImageStore:
    """Items of a dataset, decoded at first use and kept in the host's memory up to ``max_bytes``.

    Items beyond the bound are decoded each time. They stay on the host even when training runs on a
    GPU: decoding threads then never wait for the device, and its memory belongs to the networks.
    """

    def __init__(self, dataset, max_bytes: float):
        self.dataset = dataset
        self.max_bytes = max_bytes
        self.bytes = 0
        self.full = False
        self._items: dict[int, dict[str, Tensor]] = {}
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = self._items.get(index)
        if item is None:
            item = {key: torch.from_numpy(array) for key, array in self.dataset.load(index).items()}
            size = sum(t.nbytes for t in item.values())
            with self._lock:
                if index not in self._items and self.bytes + size <= self.max_bytes:
                    self._items[index] = item
                    self.bytes += size
                elif index not in self._items:
                    self.full = True
        return item

    def load_all(self, threads: int) -> None:
        """Decode everything now (``load_in_memory``), up to the bound."""
        count, step = len(self.dataset), 8 * max(1, threads)
        with (
            ThreadPoolExecutor(max(1, threads)) as pool,
            Bar(total=count, desc="loading images", unit="img") as bar,
        ):
            for start in range(0, count, step):
                indices = range(start, min(start + step, count))
                list(pool.map(self.__getitem__, indices))
                bar.update(len(indices))
                if self.full:
                    bar.write(
                        f"{len(self._items)} of {count} images fit in `cache_gb`; "
                        "the others are decoded each time",
                        file=sys.stderr,
                    )
                    break


# --------------------------------------------------------------------------------------------------
# Batches


@dataclass
class Batch:
    """A (and B): float32 N C H W in [-1, 1] on the device; names of the N images.

    Names of unpaired images are those of A. ``picture`` makes an image of A, where it is none.
    """

    A: Tensor
    B: Tensor | None
    names: list[str]
    picture: Callable[[Tensor], Tensor] | None = None

    @property
    def shown(self) -> Tensor:
        """A as people see it: float32 N C H W in [-1, 1]."""
        return self.A if self.picture is None else self.picture(self.A)

    def __len__(self) -> int:
        return len(self.names)


class Loader:
    """Batches of a dataset; order and crops of an epoch are a function of (seed, epoch) alone.

    Args:
        dataset:     see `data.datasets`
        batch_size:  images per batch of ONE process
        device:      where batches end up
        crops:       what `Crops` cuts out
        shuffle:     False: in order of the names
        seed:        of order and crops
        threads:     decoding threads
        max_bytes:   of decoded images kept in memory
        rank, world: this process takes images ``rank * batch_size`` onward of every joint batch of
                     ``world * batch_size``
        fill:        when processes share the images, fill the last joint batch so that all take
                     equally many steps (training); False gives every image to exactly one process
                     (evaluation), and a process may get none
        length:      images per epoch; None = each image once. A larger number takes several rounds
                     through the images, each shuffled and cropped anew; a smaller one takes a part
    """

    def __init__(
        self,
        dataset,
        batch_size: int,
        device: torch.device,
        crops: Crops,
        shuffle: bool = False,
        seed: int = 0,
        threads: int = 4,
        max_bytes: float = 4e9,
        rank: int = 0,
        world: int = 1,
        fill: bool = True,
        length: int | None = None,
    ):
        self.dataset, self.batch_size, self.crops = dataset, batch_size, crops
        self.device = torch.device(device)
        self.shuffle, self.seed, self.threads = shuffle, seed, max(1, threads)
        self.rank, self.world, self.fill = rank, world, fill
        self.length = len(dataset) if length is None else length
        self.store = ImageStore(dataset, max_bytes)

    def __len__(self) -> int:
        """Steps per epoch."""
        return -(-self.length // (self.batch_size * self.world))

    def load_all(self) -> None:
        """Decode everything now instead of at first use (``load_in_memory``)."""
        self.store.load_all(self.threads)

    def images(self, steps: int) -> int:
        """Images in the first ``steps`` steps from the start of an epoch, over all processes."""
        joint = self.batch_size * self.world
        whole = len(self) * joint if self.world > 1 and self.fill else self.length
        epochs, rest = divmod(steps, len(self))
        return epochs * whole + min(rest * joint, whole)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step ``start`` on, read ahead by ``threads``."""
        count, images = self.length, len(self.dataset)
        # A place in the epoch is a number v: image v % images, in round v // images through them.
        order = np.arange(-(-count // images) * images).reshape(-1, images)
        draws = self.crops.draw(order.size, self.seed, epoch)
        if self.shuffle:
            rng = np.random.Generator(np.random.Philox(key=[self.seed, 2 * epoch]))
            for once in order:
                rng.shuffle(once)
        order = order.reshape(-1)[:count]
        joint = self.batch_size * self.world
        chunks = [order[i : i + joint] for i in range(start * joint, count, joint)]
        if self.world > 1:
            if self.fill:  # a short last batch takes its missing images from the epoch's start
                chunks = [
                    c if len(c) == joint else np.resize(np.concatenate([c, order]), joint)
                    for c in chunks
                ]
            chunks = [
                c[self.rank * self.batch_size : (self.rank + 1) * self.batch_size] for c in chunks
            ]
            chunks = [c for c in chunks if len(c)]
        with ThreadPoolExecutor(self.threads) as pool:

            def decode(chunk: np.ndarray) -> list:
                return [pool.submit(self.store.__getitem__, int(v % images)) for v in chunk]

            ahead = max(2, -(-2 * self.threads // self.batch_size))
            pending = [decode(chunk) for chunk in chunks[:ahead]]
            try:
                for number, chunk in enumerate(chunks):
                    items = [future.result() for future in pending.pop(0)]
                    if number + ahead < len(chunks):
                        pending.append(decode(chunks[number + ahead]))
                    yield self._collate(items, chunk, draws)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _collate(
        self, items: list[dict[str, Tensor]], chunk: np.ndarray, draws: np.ndarray
    ) -> Batch:
        sides = {}
        for side in items[0]:
            cut = [
                self.crops.apply(item[side], draws[place])
                for item, place in zip(items, chunk, strict=True)
            ]
            if len({t.shape for t in cut}) > 1:
                sizes = sorted({f"{t.shape[2]}x{t.shape[1]}" for t in cut})
                raise InputError(
                    f"images of different sizes ({', '.join(sizes)}) cannot share a batch: "
                    "use `batch_size` 1 or `preprocess` resize_and_crop"
                )
            # uint8 where possible: a quarter of the bytes of float32 to copy to the device.
            pixels = stacked(cut)
            if self.device.type == "cuda":
                # Only copies from pinned memory run while the host continues.
                pixels = pixels.pin_memory().to(self.device, non_blocking=True)
            sides[side] = pixels.to(self.device)
        # Items that are no images say themselves what a network sees of them.
        encode = getattr(self.dataset, "encode", _as_floats)
        sides = encode(sides)
        names = [self.dataset.names[v % len(self.dataset)] for v in chunk]
        picture = getattr(self.dataset, "picture", None)
        return Batch(sides["A"], sides.get("B"), names, picture)


def _as_floats(sides: dict[str, Tensor]) -> dict[str, Tensor]:
    return {side: to_float(pixels) for side, pixels in sides.items()}


class UnpairedLoader:
    """Batches of inputs beside unrelated targets; an epoch is one pass over the inputs.

    Order, crops and flips of the two sides are independent, and each a function of (seed, epoch)
    alone. The targets come in rounds of their own: with more targets than inputs an epoch sees a
    random part of them, with fewer it sees each about equally often.

    Args:
        inputs, targets: datasets of single images
        seed, max_bytes: of both sides together
        settings:        of both, see `Loader`
    """

    def __init__(self, inputs, targets, *, seed: int = 0, max_bytes: float = 4e9, **settings):
        share = max_bytes / (len(inputs) + len(targets))
        other = int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0])
        self.inputs = Loader(inputs, seed=seed, max_bytes=share * len(inputs), **settings)
        self.targets = Loader(
            targets, seed=other, max_bytes=share * len(targets), length=len(inputs), **settings
        )
        self.device = self.inputs.device

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.inputs)

    def images(self, steps: int) -> int:
        """Inputs in the first ``steps`` steps, see `Loader.images`."""
        return self.inputs.images(steps)

    def load_all(self) -> None:
        """Decode everything now instead of at first use (``load_in_memory``)."""
        self.inputs.load_all()
        self.targets.load_all()

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step ``start`` on; names are those of the inputs."""
        with (
            closing(self.inputs.epoch(epoch, start)) as first,
            closing(self.targets.epoch(epoch, start)) as second,
        ):
            for a, b in zip(first, second, strict=True):
                yield Batch(a.A, b.A, a.names)
