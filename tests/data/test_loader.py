"""Batches: the same for the same seed and epoch, wherever one starts and however many processes share them."""

import itertools
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.loader import ImageStore, Loader, UnpairedLoader
from data.transforms import Crops
from errors import InputError


class Numbered:
    """Item i is an image full of i with a mark in its corner; B is its negative. Counts how often each is decoded."""

    def __init__(self, count: int, sizes=((8, 8),), paired: bool = True):
        self.names = [f"image{i}" for i in range(count)]
        self.sizes, self.paired = sizes, paired
        self.decoded = [0] * count
        self.lock = threading.Lock()

    def __len__(self):
        return len(self.names)

    def load(self, index):
        with self.lock:
            self.decoded[index] += 1
        height, width = self.sizes[index % len(self.sizes)]
        image = np.full((3, height, width), index % 256, np.uint8)
        image[0] += np.arange(height * width, dtype=np.uint8).reshape(height, width)
        return {"A": image, "B": 255 - image} if self.paired else {"A": image}


def make(
    count=10, batch_size=3, shuffle=True, crops=Crops((4, 4), True, True), dataset=None, **kwargs
):
    return Loader(
        dataset or Numbered(count), batch_size, torch.device("cpu"), crops, shuffle, **kwargs
    )


def same(first, second) -> bool:
    return all(
        a.names == b.names and torch.equal(a.A, b.A) and torch.equal(a.B, b.B)
        for a, b in itertools.zip_longest(first, second)
    )


# --------------------------------------------------------------------------------------------------
# Order


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0, 2**31),
    st.integers(0, 500),
    st.integers(1, 4),
)
def test_an_epoch_is_a_function_of_seed_and_epoch(count, batch_size, seed, epoch, threads):
    first = list(make(count, batch_size, seed=seed).epoch(epoch))
    assert same(
        first, list(make(count, batch_size, seed=seed, threads=threads, max_bytes=0).epoch(epoch))
    )
    names = [name for batch in first for name in batch.names]
    assert sorted(names) == sorted(f"image{i}" for i in range(count))
    assert len(first) == len(make(count, batch_size)) == -(-count // batch_size)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 13))
def test_starting_late_gives_the_rest(count, batch_size, start):
    whole = list(make(count, batch_size).epoch(3))
    assert same(list(make(count, batch_size).epoch(3, start)), whole[start:])


def test_epochs_and_seeds_differ():
    loader = make(50, 50)
    names = [next(loader.epoch(e)).names for e in (1, 2)]
    assert names[0] != names[1] and names[0] != next(make(50, 50, seed=1).epoch(1)).names
    crops = [next(make(20, 20, shuffle=False).epoch(e)).A for e in (1, 2)]
    assert not torch.equal(crops[0], crops[1])


def test_without_shuffling_names_are_in_order():
    names = [n for batch in make(7, 3, shuffle=False).epoch(4) for n in batch.names]
    assert names == [f"image{i}" for i in range(7)]


def test_values_are_the_images():
    loader = make(5, 2, shuffle=False, crops=Crops(None, False, False))
    for batch in loader.epoch():
        for i, name in enumerate(batch.names):
            item = loader.dataset.load(int(name.removeprefix("image")))
            expected = torch.from_numpy(item["A"]).float() / 127.5 - 1
            torch.testing.assert_close(batch.A[i], expected, rtol=0, atol=1e-6)
    assert len(batch) == 1 and batch.A.dtype == torch.float32 and batch.A.shape == (1, 3, 8, 8)


def test_a_and_b_are_cut_and_flipped_alike():
    for batch in make(30, 4).epoch(1):
        torch.testing.assert_close(batch.A, -batch.B, rtol=0, atol=1e-6)


def test_images_without_target_have_none():
    batch = next(make(dataset=Numbered(3, paired=False)).epoch())
    assert batch.B is None and len(batch) == 3


# --------------------------------------------------------------------------------------------------
# Two sides that are no pairs


class Marked(Numbered):
    """An image's first pixel says which it is; below it a ramp tells where it was cut and whether it was flipped."""

    def load(self, index):
        image = super().load(index)["A"]
        image[1] = index
        return {"A": image}


def unpaired(
    inputs=7, targets=5, batch_size=2, shuffle=True, crops=Crops((4, 4), True, True), **kwargs
):
    settings = dict(batch_size=batch_size, device=torch.device("cpu"), crops=crops, shuffle=shuffle)
    return UnpairedLoader(Marked(inputs), Marked(targets), **settings, **kwargs)


def numbers(images: torch.Tensor) -> list[int]:
    """Which images these are."""
    return ((images[:, 1, 0, 0] + 1) * 127.5).round().int().tolist()


def cut(image: torch.Tensor) -> list:
    """Where an image was cut and whether it was flipped, without which image it is."""
    ramp = ((image[0] - image[0, 0, 0]) * 127.5).round()
    return [*ramp.flatten().tolist(), float(image[0, 0, 0] - image[1, 0, 0])]


counts = st.integers(1, 12)


@given(
    counts, counts, st.integers(1, 4), st.integers(0, 2**40), st.integers(0, 300), st.integers(0, 6)
)
def test_an_unpaired_epoch_is_a_function_of_seed_and_epoch(
    inputs, targets, batch_size, seed, epoch, start
):
    whole = list(unpaired(inputs, targets, batch_size, seed=seed).epoch(epoch))
    again = unpaired(inputs, targets, batch_size, seed=seed, threads=1, max_bytes=0)
    assert same(whole[start:], list(again.epoch(epoch, start)))
    assert len(whole) == len(again) == -(-inputs // batch_size)


@given(counts, counts, st.integers(1, 4), st.integers(0, 9))
def test_every_input_comes_once_and_targets_as_evenly_as_they_can(
    inputs, targets, batch_size, epoch
):
    batches = list(unpaired(inputs, targets, batch_size).epoch(epoch))
    a, b = (
        [n for batch in batches for n in numbers(side(batch))]
        for side in (lambda x: x.A, lambda x: x.B)
    )
    assert sorted(a) == list(range(inputs)) and len(b) == inputs
    assert [n for batch in batches for n in batch.names] == [f"image{n}" for n in a]
    times = np.bincount(b, minlength=targets)
    assert times.max() - times.min() <= 1
    for start in range(0, inputs, targets):  # every round through them holds each once
        assert len(set(b[start : start + targets])) == len(b[start : start + targets])


def test_the_sides_are_drawn_independently():
    """Sides of one length, of the same images: neither order nor cuts nor flips of one follow from the other's."""
    loader = unpaired(200, 200, 200)
    first, second = (next(loader.epoch(epoch)) for epoch in (1, 2))
    pairs = [list(zip(numbers(b.A), numbers(b.B), strict=True)) for b in (first, second)]
    assert sum(a == b for a, b in pairs[0]) < 8  # 1 on average
    assert len(set(pairs[0]) & set(pairs[1])) < 8
    alike = sum(cut(a) == cut(b) for a, b in zip(first.A, first.B, strict=True))
    assert alike < 20  # of 25 places and 2 ways round: 4 on average
    flips = [
        [bool(image[0, 0, 1] < image[0, 0, 0]) for image in side] for side in (first.A, first.B)
    ]
    both = np.mean(np.equal(*flips))
    assert 0.35 < both < 0.65


def test_a_target_that_comes_again_is_cut_anew():
    batch = next(unpaired(40, 1, 40).epoch(1))
    assert len({tuple(cut(image)) for image in batch.B}) > 20


def test_serial_targets_come_in_order_over_and_over():
    batches = list(unpaired(7, 3, 2, shuffle=False).epoch(4))
    assert [n for batch in batches for n in numbers(batch.A)] == [0, 1, 2, 3, 4, 5, 6]
    assert [n for batch in batches for n in numbers(batch.B)] == [0, 1, 2, 0, 1, 2, 0]


@given(counts, counts, st.integers(1, 3), st.integers(2, 3))
def test_processes_share_unpaired_batches(inputs, targets, batch_size, world):
    parts = [
        list(unpaired(inputs, targets, batch_size, rank=r, world=world).epoch(1))
        for r in range(world)
    ]
    for step, batch in enumerate(unpaired(inputs, targets, batch_size * world).epoch(1)):
        assert {len(part[step]) for part in parts} == {batch_size}
        for side in ("A", "B"):
            together = torch.cat([getattr(part[step], side) for part in parts])
            assert torch.equal(together[: len(batch)], getattr(batch, side))


@given(st.integers(0, 3000))
def test_both_sides_together_keep_to_the_bound(bound):
    loader = unpaired(9, 4, max_bytes=bound)
    for epoch in range(6):
        list(loader.epoch(epoch))
    assert loader.inputs.store.bytes + loader.targets.store.bytes <= bound


def test_unpaired_images_are_decoded_now_on_request():
    loader = unpaired(9, 4)
    loader.load_all()
    assert loader.inputs.dataset.decoded == [1] * 9 and loader.targets.dataset.decoded == [1] * 4


def test_an_abandoned_unpaired_epoch_leaves_no_threads():
    before = threading.active_count()
    batches = unpaired(50, 50).epoch()
    next(batches)
    batches.close()
    assert threading.active_count() == before


# --------------------------------------------------------------------------------------------------
# Several processes


@given(st.integers(1, 25), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_every_joint_batch(count, batch_size, world, start):
    parts = [
        list(make(count, batch_size, rank=r, world=world).epoch(1, start)) for r in range(world)
    ]
    joint = list(make(count, batch_size * world).epoch(1, start))
    assert {len(part) for part in parts} == {len(joint)}
    for step, batch in enumerate(joint):
        names = [name for part in parts for name in part[step].names]
        if len(batch) == batch_size * world:
            assert names == batch.names
            together = torch.cat([part[step].A for part in parts])
            assert torch.equal(together, batch.A)
        # Every process has as much to do, and nothing of the epoch is left out.
        if world > 1:
            assert {len(part[step]) for part in parts} == {batch_size}
        assert names[: len(batch)] == batch.names


@given(st.integers(1, 25), st.integers(1, 4), st.integers(2, 4))
def test_every_image_is_measured_by_exactly_one_process(count, batch_size, world):
    """Measuring must not see an image twice, as filling up the last batch would."""
    loaders = [
        make(count, batch_size, shuffle=False, rank=r, world=world, fill=False)
        for r in range(world)
    ]
    names = [name for loader in loaders for batch in loader.epoch() for name in batch.names]
    assert sorted(names) == sorted(f"image{i}" for i in range(count))


# --------------------------------------------------------------------------------------------------
# Memory


def test_images_are_decoded_once_within_the_bound():
    loader = make(6, 2)
    for epoch in range(3):
        list(loader.epoch(epoch))
    assert loader.dataset.decoded == [1] * 6
    assert loader.store.bytes == 6 * 2 * 3 * 64


@given(st.integers(0, 4000))
def test_the_bound_holds(bound):
    loader = make(10, 3, max_bytes=bound)
    for epoch in range(2):
        list(loader.epoch(epoch))
    kept = sum(t.numel() for item in loader.store._items.values() for t in item.values())
    assert kept == loader.store.bytes <= bound
    assert kept == min(10, bound // 384) * 384  # and it is made use of


def test_the_bound_holds_with_many_threads():
    store = ImageStore(Numbered(64), 10 * 384 + 5)
    threads = [threading.Thread(target=lambda: [store[i] for i in range(64)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.bytes == 10 * 384 == 384 * len(store._items)


def test_load_all_decodes_everything_now():
    loader = make(6, 2)
    loader.store.load_all(3)
    assert loader.dataset.decoded == [1] * 6
    list(loader.epoch())
    assert loader.dataset.decoded == [1] * 6


def test_load_all_stops_at_the_bound():
    """What cannot be kept need not be decoded: with a bound of two images, most of 400 must stay untouched."""

    class Slow(Numbered):
        def load(self, index):
            time.sleep(0.001)
            return super().load(index)

    store = ImageStore(Slow(400), 2 * 384 + 5)
    store.load_all(2)
    assert store.bytes == 2 * 384
    assert sum(store.dataset.decoded) < 200


def test_images_are_kept_on_the_host_whatever_the_device():
    loader = Loader(Numbered(4), 2, torch.device("meta"), Crops((4, 4), True, True))
    assert [(b.A.device.type, b.B.device.type) for b in loader.epoch()] == [("meta", "meta")] * 2
    kept = [t.device.type for item in loader.store._items.values() for t in item.values()]
    assert kept == ["cpu"] * 8


def test_an_abandoned_epoch_leaves_no_threads():
    before = threading.active_count()
    batches = make(50, 2).epoch()
    next(batches)
    batches.close()
    assert threading.active_count() == before


# --------------------------------------------------------------------------------------------------
# Refusals


def test_images_of_different_sizes_cannot_share_a_batch():
    loader = make(
        dataset=Numbered(4, ((8, 8), (8, 12))), crops=Crops(None, False, False), shuffle=False
    )
    with pytest.raises(
        InputError, match=r"different sizes \(12x8, 8x8\).*`batch_size` 1 or `preprocess`"
    ):
        list(loader.epoch())
    alone = make(
        4, 1, dataset=Numbered(4, ((8, 8), (8, 12))), crops=Crops(None, False, False), shuffle=False
    )
    assert [b.A.shape[3] for b in alone.epoch()] == [8, 12, 8, 12]


def test_an_error_of_the_dataset_reaches_the_caller():
    class Broken(Numbered):
        def load(self, index):
            raise InputError("a.png: not an image")

    with pytest.raises(InputError, match=r"a\.png"):
        list(make(dataset=Broken(4)).epoch())


@pytest.mark.parametrize("world", [1, 3])
@given(
    count=st.integers(1, 12),
    batch_size=st.integers(1, 5),
    start=st.integers(0, 30),
    steps=st.integers(0, 30),
)
def test_images_of_steps_are_counted_over_epochs_and_processes(
    world, count, batch_size, start, steps
):
    loaders = [make(count, batch_size, rank=rank, world=world) for rank in range(world)]
    per_step = [
        sum(map(len, parts)) for parts in zip(*(loader.epoch() for loader in loaders), strict=True)
    ]
    counted = loaders[0].images(start + steps) - loaders[0].images(start)
    assert counted == sum(per_step[(start + i) % len(per_step)] for i in range(steps))
