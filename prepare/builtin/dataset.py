"""Renders pairs, and writes whole data sets of them as PNG files.

Several processes draw. An interrupted run can be resumed, and no file is ever half written.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from errors import InputError
from prepare.builtin.layout import make_scene
from prepare.builtin.photo import draw_photo
from prepare.builtin.product_photo import render_object_pair
from prepare.builtin.street_map import draw_map
from runtime.files import write_text, written_whole
from runtime.progress import Bar

# --------------------------------------------------------------------------------------------------
# One pair


def render_pair(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene as an aerial photo and as a street map.

    Args:
        seed: a non-negative integer that names the scene; it is the same scene at every size
        size: height and width of both images in pixels, at least 32

    Returns:
        (photo, street_map), each (size, size, 3) uint8 RGB in [0, 255]

    Raises:
        InputError: ``size`` is below 32.
    """
    if size < 32:
        raise InputError(f"size must be at least 32 pixels, not {size}")
    scene = make_scene(seed)
    factor = 4 if size <= 80 else 2
    street_map = np.asarray(draw_map(scene, size * factor).reduce(factor))
    return draw_photo(scene, seed, size, factor), street_map


# What a data set can show -> who draws its pairs: (A, B) of a seed and a size
KINDS: dict[str, Callable[[int, int], tuple[np.ndarray, np.ndarray]]] = {
    "map": render_pair,
    "object": render_object_pair,
}

# --------------------------------------------------------------------------------------------------
# Files

# Name of the drawing in its record, and its version. Raise that when the same seed gives another
# picture.
RECORDS = {
    "map": {"generator": "builtin", "version": 1},
    "object": {"generator": "builtin object", "version": 1},
}
PARAMETERS = "builtin.json"
PHASES = ("train", "val")
# Number of images from which a process pool pays for its start
MANY = 48


def picture_seed(seed: int, phase: str, index: int) -> int:
    """Seed of one pair: a 64-bit hash of its position in the data set.

    It does not depend on the size of the data set, so a larger one only adds images.

    Args:
        seed:  seed of the data set, not negative
        phase: one of `PHASES`
        index: number of the image in its phase, from 0
    """
    state = np.random.SeedSequence([seed, PHASES.index(phase), index]).generate_state(1, np.uint64)
    return int(state[0])


def _write_pair(path: Path, seed: int, size: int, kind: str) -> None:
    """Draw one pair into `path`, 2 * size wide: A on the left, B on the right."""
    pair = Image.fromarray(np.concatenate(KINDS[kind](seed, size), axis=1))
    with written_whole(path, flush=False) as temporary:
        pair.save(temporary, format="PNG", compress_level=4)


def _write_pairs(jobs: list[tuple[Path, int]], size: int, kind: str) -> int:
    """Write several images, (path, seed of the picture) each; return their number."""
    for path, seed in jobs:
        _write_pair(path, seed, size, kind)
    return len(jobs)


def _is_complete(path: Path, size: int) -> bool:
    """Whether `path` is an image of the right size; reads its header only."""
    try:
        with Image.open(path) as image:
            return image.size == (2 * size, size)
    except OSError:
        return False


def _claim_folder(root: Path, size: int, seed: int, kind: str) -> None:
    """Make the folders and record the parameters, or compare them with those recorded there.

    Raises:
        InputError: `root` holds other images, or images of other parameters.
    """
    wanted = {**RECORDS[kind], "size": size, "seed": seed}
    record = root / PARAMETERS
    if record.exists():
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(
                f"{record} is not readable as JSON ({error}); choose another folder"
            ) from error
        if found != wanted:
            keys = ("generator", "size", "seed", "version")
            there = ", ".join(
                f"{key} {found.get(key) if isinstance(found, dict) else None}" for key in keys
            )
            asked = ", ".join(f"{key} {wanted[key]}" for key in keys)
            raise InputError(
                f"{root} holds a data set of {there}, not of {asked}; choose another folder"
            )
    elif any(next((root / phase).glob("*.png"), None) for phase in PHASES):
        raise InputError(
            f"{root} holds images that are not of the built-in data set; choose another folder"
        )
    for phase in PHASES:
        (root / phase).mkdir(parents=True, exist_ok=True)
    if not record.exists():
        write_text(record, json.dumps(wanted, indent=2) + "\n")


def _run_jobs(jobs: list[tuple[Path, int]], size: int, kind: str, workers: int) -> Iterator[int]:
    """Write all images; after each group, yield the number of images in it."""
    write = partial(_write_pairs, size=size, kind=kind)
    if workers < 2 or len(jobs) < MANY:
        for job in jobs:
            yield write([job])
        return
    chunk = 8
    with _noted_ctrl_c() as stop:
        # Ctrl-C reaches every process. Those that draw finish what they draw, about a second.
        deaf = dict(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
        pool = ProcessPoolExecutor(min(workers, len(jobs) // chunk + 1), **deaf)
        try:
            # A few at a time: there is little to undo when Ctrl-C comes.
            parts = (jobs[i : i + chunk] for i in range(0, len(jobs), chunk))
            pending: set[Future] = set()
            while not stop.is_set():
                while len(pending) < 2 * workers and (part := next(parts, None)):
                    pending.add(pool.submit(write, part))
                if not pending:
                    break
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        finally:
            # After an error, do not wait for the rest
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _noted_ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; KeyboardInterrupt comes at the end. At any other moment it could
    leave a lock of a pool taken, and its end would never come."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, lambda *_: noted.set())
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)
    if noted.is_set():
        raise KeyboardInterrupt


def write_builtin_dataset(
    root: str | os.PathLike,
    train: int = 400,
    val: int = 100,
    size: int = 256,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
    kind: str = "map",
) -> None:
    """Write the data set as A|B pairs: `root`/train/00000.png ..., `root`/val/00000.png ...

    Each file is an RGB PNG, 2 * size wide and size high, A on the left and B on the right. Of kind
    ``map``, A is the photo and B the street map; of kind ``object``, A is the lines and B the
    photo. Image i of a phase depends only on (kind, seed, phase, i, size), so a larger count adds
    files and changes none. Complete files are kept. `root`/builtin.json records the parameters.

    Args:
        root:     the folder to fill; created if missing
        train:    number of training images, at least 1
        val:      number of validation images, at least 1
        size:     height and width of each half in pixels, at least 32 and a multiple of 4
        seed:     a non-negative integer; another seed gives other pictures
        workers:  number of processes; None = number of cores, below 2 = draw in this process
        progress: show a progress bar on stderr
        kind:     one of `KINDS`

    Raises:
        InputError: an argument is wrong, `root` holds other images or images of other parameters,
            or a file cannot be written.
        OSError: a folder cannot be made.
    """
    if size < 32 or size % 4:
        raise InputError(f"size must be at least 32 pixels and a multiple of 4, not {size}")
    if train < 1 or val < 1:
        raise InputError(
            f"the numbers of images must be at least 1, not train {train} and val {val}"
        )
    if seed < 0:
        raise InputError(f"seed {seed} is negative; give 0 or more")
    if kind not in KINDS:
        raise InputError(f"there is no built-in data set {kind!r}; it is one of {', '.join(KINDS)}")
    root = Path(root)
    _claim_folder(root, size, seed, kind)
    jobs = []
    for phase, count in zip(PHASES, (train, val), strict=True):
        for i in range(count):
            path = root / phase / f"{i:05d}.png"
            if not _is_complete(path, size):
                jobs.append((path, picture_seed(seed, phase, i)))
    kept = train + val - len(jobs)
    workers = (os.cpu_count() or 1) if workers is None else workers
    with Bar(
        total=train + val, initial=kept, unit="pair", desc=f"drawing {kind}s", disable=not progress
    ) as bar:
        for done in _run_jobs(jobs, size, kind, workers):
            bar.update(done)
