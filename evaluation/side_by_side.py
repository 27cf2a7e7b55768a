"""Generators on the same inputs: their images, what is measured of them, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from data.images import save_png
from data.loader import Loader
from data.transforms import to_numpy, to_uint8
from evaluation.speed import measure_side_by_side
from evaluation.tested import Loaded
from models.layers import any_size, pad_to_fit
from runtime.progress import Bar


def l1(a: Tensor, b: Tensor) -> list[float]:
    """Mean absolute difference of each image of two uint8 N C H W batches, in grey levels 0..255."""
    return (a.int() - b.int()).abs().double().mean(dim=(1, 2, 3)).tolist()


@torch.inference_mode()
def generate(
    folders: dict[str, Path], models: Sequence[Loaded], loader: Loader, criteria: dict[str, list]
) -> dict[str, list[float]]:
    """Write every model's image of every input as ``<folder>/<name>.png``, and feed them to the criteria as they are written: uint8
    by truncation.

    Args:
        folders:  of ``input``, ``real`` (used where there are targets) and each model's label
        models:   the first is what the others are compared with
        criteria: label -> what judges that model

    Returns label -> `l1` to the first model of each image, in the loader's order; of all models but the first.
    """
    reference, *others = (loaded.label for loaded in models)
    differences: dict[str, list[float]] = {label: [] for label in others}
    with Bar(total=len(loader.dataset), desc="testing", unit="img") as bar:
        for batch in loader.epoch():
            made = {loaded.label: to_uint8(any_size(loaded.net, batch.A)) for loaded in models}
            for label, images in made.items():
                for criterion in criteria[label]:
                    criterion.update(images, batch.names)
            for label in others:
                differences[label] += l1(made[label], made[reference])
            shown = made | {"input": to_uint8(batch.A)}
            if batch.B is not None:
                shown["real"] = to_uint8(batch.B)
            for label, images in shown.items():
                for name, image in zip(batch.names, to_numpy(images), strict=True):
                    save_png(folders[label] / f"{name}.png", image)
            bar.update(len(batch))
    return differences


def time_models(models: Sequence[Loaded], loader: Loader, times: int) -> list[dict]:
    """How long one image, the first, takes each network as it is, in turns; see `measure_side_by_side`."""
    image = pad_to_fit(next(iter(loader.epoch())).A[:1])
    return measure_side_by_side([loaded.net for loaded in models], image, times, warmup=2)
