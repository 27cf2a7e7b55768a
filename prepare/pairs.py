"""A|B pairs: join two images into a pair, cut a pair in two, and write files whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
from PIL import Image

from data.datasets import files_below, printable
from data.images import EXTENSIONS, read_pixels
from errors import InputError
from runtime.files import read_json, write_json, write_text, written_whole
from runtime.progress import Bar

# In a folder of images, what they were made with; hidden, so that it is no part of the data set.
SETTINGS = ".pairs.json"

# --------------------------------------------------------------------------------------------------
# One pair


def join_pair(a: Image.Image, b: Image.Image) -> Image.Image:
    """A and B, both W x H -> an RGB image of 2W x H, with A on the left.

    Raises:
        ValueError: the sizes differ.
    """
    if a.size != b.size:
        raise ValueError(f"A is {a.width}x{a.height}, B is {b.width}x{b.height}")
    pair = Image.new("RGB", (2 * a.width, a.height))
    pair.paste(a, (0, 0))
    pair.paste(b, (a.width, 0))
    return pair


def split_pair(pair: Image.Image) -> tuple[Image.Image, Image.Image]:
    """A pair of 2W x H -> (A, B), its left and its right half, W x H each.

    Raises:
        ValueError: the width is odd, or not greater than the height.
    """
    width, height = pair.size
    if width % 2 or width <= height:
        why = "its width is odd" if width % 2 else "it is not wider than high"
        raise ValueError(f"{width}x{height} is not an A|B pair: {why}")
    return pair.crop((0, 0, width // 2, height)), pair.crop((width // 2, 0, width, height))


# --------------------------------------------------------------------------------------------------
# Files


def as_picture(pixels: np.ndarray, path: Path) -> Image.Image:
    """uint8 H W 3 of a file -> a picture.

    Raises:
        InputError: the file has more than 8 bits, which neither PNGs of colours nor JPEGs keep
            here.
    """
    if pixels.dtype != np.uint8:
        raise InputError(f"{path} has more than 8 bits per channel; save it with 8 bits")
    return Image.fromarray(pixels)


def read_picture(path: Path) -> Image.Image:
    """A file as an RGB picture of the same values.

    Raises:
        InputError: as `data.images.read_pixels` does, or the file has more than 8 bits.
    """
    return as_picture(read_pixels(path), path)


def save_image(image: Image.Image, path: Path) -> None:
    """Write a PNG, or a JPEG if the suffix is ``.jpg``, whole or not at all.

    JPEGs have quality 100 and no chroma subsampling.

    Raises:
        InputError: the file cannot be written (no space, no permission).
    """
    jpeg = path.suffix == ".jpg"
    settings = (
        dict(format="JPEG", quality=100, subsampling=0)
        if jpeg
        else dict(format="PNG", compress_level=1)
    )
    with written_whole(path, flush=False) as temporary:
        image.save(temporary, **settings)


def save_lines(lines: Iterable[str], path: Path) -> None:
    """Write a UTF-8 text file, one item per line, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, "".join(f"{line}\n" for line in lines))


def is_done(path: Path, sources: Iterable[Path]) -> bool:
    """Whether ``path`` exists and is not older than any of the files it is made from."""
    try:
        made = path.stat().st_mtime_ns
        return all(source.stat().st_mtime_ns <= made for source in sources)
    except OSError:
        return False


def claim_folder(folder: Path, settings: dict, targets: Iterable[Path]) -> None:
    """Write down what the images of a folder are made with, before the first of them; or compare.

    A folder that holds ``targets`` and no settings was made before these were written: it is taken
    as it is.

    Args:
        settings: what decides how an image looks, as the user knows it: flag -> JSON value
        targets:  the images to make, of either ending

    Raises:
        InputError: the folder holds images made with others, or cannot be written.
    """
    file = folder / SETTINGS
    if file.exists():
        had = read_json(file)
        if had == settings:
            return
        if any(path.suffix.lower() in EXTENSIONS for path in files_below(folder)):
            keys = [key for key in {**had, **settings} if had.get(key) != settings.get(key)]
            texts = (", ".join(f"{k} {each.get(k)}" for k in keys) for each in (had, settings))
            raise InputError(
                "--output {} holds images made with {}, not with {}: give the same again, or "
                "another --output".format(*map(printable, (folder, *texts)))
            )
    elif any(t.with_suffix(ending).exists() for t in targets for ending in (".png", ".jpg")):
        return
    write_json(file, settings)


# --------------------------------------------------------------------------------------------------
# Many files


def run_all(work: Callable, jobs: list, threads: int, title: str) -> list:
    """``[work(job) for job in jobs]`` on threads, with a progress bar.

    The first error stops the rest and is raised. Only a few jobs are submitted at a time, which
    limits the memory and lets Ctrl-C stop early.

    Args:
        threads: number of threads
        title:   text of the progress bar
    """
    results: list = [None] * len(jobs)
    pending, todo = {}, iter(enumerate(jobs))
    with (
        ThreadPoolExecutor(max(1, threads)) as pool,
        Bar(total=len(jobs), desc=title, unit="img") as bar,
    ):
        try:
            while True:
                while len(pending) < 4 * max(1, threads) and (entry := next(todo, None)):
                    pending[pool.submit(work, entry[1])] = entry[0]
                if not pending:
                    return results
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    results[pending.pop(future)] = future.result()
                    bar.update()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
