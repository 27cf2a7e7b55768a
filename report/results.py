"""Testing a generator: its images, its numbers, and a page that shows both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from data.images import save_png
from data.loader import Loader
from data.transforms import to_uint8
from report.pages import write_page
from report.pictures import to_numpy
from report.tables import giga, mega, text_table
from training.logs import write_json


@dataclass(frozen=True)
class TestedModel:
    """What is tested and what it costs."""

    __test__ = False  # not a pytest class

    name: str  # e.g. sub_mobile_resnet_9blocks 16_16_40_40_40_64_24_16
    checkpoint: str
    macs: int
    params: int
    macs_convention: str
    height: int  # pixels that MACs are counted at
    width: int


@torch.inference_mode()
def test_generator(folder: Path, net: nn.Module, model: TestedModel, loader: Loader, criteria: list) -> dict:
    """Write ``images/{real_A,fake_B,real_B}/<name>.png``, ``results.json`` and ``index.html``; print a table; return the results.

    The images are measured as they are written: uint8 by truncation.
    """
    images = folder / "images"
    for criterion in criteria:
        criterion.reset()
    with tqdm(total=len(loader.dataset), desc="testing", unit="img", dynamic_ncols=True) as bar:
        for batch in loader.epoch():
            fake = to_uint8(net(batch.A))
            for criterion in criteria:
                criterion.update(fake, batch.names)
            sides = {"real_A": to_uint8(batch.A), "fake_B": fake}
            if batch.B is not None:
                sides["real_B"] = to_uint8(batch.B)
            for side, pixels in sides.items():
                for name, image in zip(batch.names, to_numpy(pixels), strict=True):
                    save_png(images / side / f"{name}.png", image)
            bar.update(len(batch))
    names = loader.dataset.names
    metrics = {"n": len(names)}
    for criterion in criteria:
        metrics |= criterion.result()
    results = asdict(model) | {"metrics": metrics, "measures": {c.keys[0]: c.label for c in criteria}}
    write_json(folder / "results.json", results)

    headings = ["model", "parameters", "MACs", *(c.label for c in criteria), "n"]
    values = [f"{metrics[c.keys[0]]:.2f}" for c in criteria]
    rows = [[model.name, mega(model.params), giga(model.macs), *values, str(len(names))]]
    note = f"{model.checkpoint}; MACs at {model.width}x{model.height}, {model.macs_convention} convention"
    columns = {"input": images / "real_A", "output": images / "fake_B"}
    if (images / "real_B").is_dir():
        columns["real"] = images / "real_B"
    write_page(folder / "index.html", "Test results", note, headings, rows, columns, names)
    print(text_table(headings, rows))
    return results
