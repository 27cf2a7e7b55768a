"""Generators on the same inputs: their images, their measures and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.images import channel_tiles, save_png
from data.loader import Loader
from data.transforms import to_numpy, to_uint8
from evaluation.evaluator import stored_pixels
from evaluation.memory import watched
from evaluation.pictures import fitted, montage, samples
from evaluation.speed import measure_side_by_side
from evaluation.tested import Loaded
from metrics.criteria import Criterion
from metrics.paired import l1
from models.layers import any_size, multiple_of, pad_to_fit
from models.styles import InOneStyle, chosen
from runtime.progress import Bar


@torch.inference_mode()
def generate(
    folders: dict[str, Path],
    models: Sequence[Loaded],
    loader: Loader,
    criteria: dict[str, list[Criterion]],
) -> dict[str, list[float]]:
    """Write the output of every model for every input, and feed it to the model's criteria.

    Images are ``<folder>/<name>.png``. Outputs become uint8 by truncation (SPEC 5); inputs and real
    images are written as they were read.

    Args:
        folders:  folder of each label; the labels are ``input``, ``real`` (needed only if there are
                  targets), ``style`` (only with reference images: the one that each output has the
                  style of) and those of the models
        models:   the others are compared with the first
        criteria: label -> what judges that model

    Returns:
        label -> `l1` distance of each output to that of the first model, in grey levels (0 to 255),
        in the order of the loader. The first model has no entry.

    Raises:
        InputError: an image cannot be read or written.
    """
    references = models[0].references
    reference, *others = (loaded.label for loaded in models)
    differences: dict[str, list[float]] = {label: [] for label in others}
    with Bar(total=len(loader.dataset), desc="testing", unit="img") as bar:
        for batch in loader.epoch():
            made = {loaded.label: to_uint8(any_size(loaded.net, batch.A)) for loaded in models}
            real = None if batch.B is None else stored_pixels(batch.B)
            for label, images in made.items():
                for criterion in criteria[label]:
                    criterion.update(images, batch.names, real)
            for label in others:
                differences[label] += l1(made[label], made[reference]).tolist()
            shown = made | {"input": stored_pixels(batch.shown)}
            if real is not None:
                shown["real"] = real
            if references is not None:
                # Chosen by what a network is given.
                given = pad_to_fit(batch.A, multiple_of(models[0].net))
                numbers = chosen(given, len(references))
                for name, picture in zip(batch.names, references.pictures(numbers), strict=True):
                    save_png(folders["style"] / f"{name}.png", picture)
            for label, images in shown.items():
                for name, image in zip(batch.names, to_numpy(images), strict=True):
                    save_png(folders[label] / f"{name}.png", image)
            bar.update(len(batch))
    return differences


def time_models(models: Sequence[Loaded], loader: Loader, times: int) -> list[dict]:
    """Time each network on the first image, ``times`` runs each; see `measure_side_by_side`."""
    nets = [loaded.net for loaded in models]
    image = pad_to_fit(next(iter(loader.epoch())).A[:1], multiple_of(*nets))
    return measure_side_by_side(nets, image, times, warmup=2)


# What a picture of `in_several_styles` shows.
ROWS, STYLES = 4, 5


def in_several_styles(loaded: Loaded, loader: Loader) -> np.ndarray:
    """A picture of the first inputs, a row each, in the first styles that a network may take, a
    column each. Above them stand the reference images, where styles are theirs.

    Returns:
        (H', W', 3) uint8 RGB
    """
    references, styles = loaded.references, loaded.styled.samples(STYLES)
    names = references.names[:STYLES] if references else [f"style {n + 1}" for n in range(STYLES)]
    # Numbers keep names apart that would be cut to the same.
    labels = [f"{n + 1} {name}" for n, name in enumerate(names)] if references else names
    nets = {
        label: watched(
            replace(loaded, net=InOneStyle(loaded.styled.net, style[None]).eval()),
            loaded.model.tiles,
        ).net
        for label, style in zip(labels, styles, strict=True)
    }
    columns = {
        label: np.stack([channel_tiles(image) for image in column])
        for label, column in samples(loader, nets, ROWS).items()
    }
    height, width = columns["input"].shape[1:3]
    if references:
        above = dict(zip(labels, references.pictures(range(len(labels))), strict=True))
        blank = np.full((height, width, 3), 255, np.uint8)
        for label, column in columns.items():
            top = fitted(above[label], height, width) if label in above else blank
            columns[label] = np.concatenate([top[None], column])
    return montage(columns, min(width, 256))
