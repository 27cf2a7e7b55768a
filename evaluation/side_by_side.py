"""Generators on the same inputs: their images, their measures and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from data.images import save_png
from data.loader import Loader
from data.transforms import to_numpy, to_uint8
from evaluation.evaluator import stored_pixels
from evaluation.speed import measure_side_by_side
from evaluation.tested import Loaded
from metrics.criteria import Criterion
from metrics.paired import l1
from models.layers import any_size, multiple_of, pad_to_fit
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
                  targets) and those of the models
        models:   the others are compared with the first
        criteria: label -> what judges that model

    Returns:
        label -> `l1` distance of each output to that of the first model, in grey levels (0 to 255),
        in the order of the loader. The first model has no entry.

    Raises:
        InputError: an image cannot be read or written.
    """
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
