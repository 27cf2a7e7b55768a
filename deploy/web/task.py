"""A task of the web page: networks for one kind of drawing, and what to draw with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from data.images import read_image, save_png
from deploy.web.drawings import (
    PALETTES,
    PALETTES_OF,
    TITLES,
    Colour,
    as_web_map,
    example_drawings,
)
from deploy.web.networks import Network, check_network, describe, run_on_image
from errors import InputError
from prepare import builtin
from runtime.files import written_whole

# Longest side in pixels of the outputs in the gallery, and their quality as WebP, 0..100.
THUMBNAIL = 160
QUALITY = 85


@dataclass(frozen=True)
class Task:
    """A task of the page.

    Args:
        name:     names its files and its address, ``?task=NAME``
        mode:     map = coloured areas | edges = black lines on white | photo = images, any colours
        size:     side of an image in pixels, a multiple of 4, at least 8
        networks: the compressed ones, the largest first, then the teacher if there is one
        title:    in words; None = the usual one of the mode
        palette:  the palette that comes first, if it is in ``PALETTES_OF[mode]``
        examples: images to start from instead of the built-in ones; cut to a square and resized.
                  If an image is a pair side by side, the half that the network reads is taken
        together: whether the page starts with all networks side by side where it has room
    """

    name: str
    mode: str
    size: int
    networks: Sequence[Network]
    title: str | None = None
    palette: str = "builtin"
    examples: Sequence[Path] = field(default_factory=tuple)
    together: bool = False

    def check(self) -> None:
        """Raise InputError if the size is wrong or a network does not fit."""
        if self.size < 8 or self.size % 4:
            raise InputError(f"`size` {self.size}: give a multiple of 4, from 8")
        for network in self.networks:
            check_network(network, self.size)

    @property
    def palettes(self) -> list[str]:
        """Names of its palettes, the one to begin with first."""
        return sorted(PALETTES_OF[self.mode], key=lambda name: name != self.palette)

    def drawings(self) -> list[np.ndarray]:
        """What visitors can start from: (size, size, 3) uint8 RGB each.

        Raises:
            InputError: an example cannot be read.
        """
        if self.examples:
            return [_square(read_image(path), self.size, self.mode) for path in self.examples]
        drawings = example_drawings(self.mode, self.size)
        if self.palettes[0] == "maps":
            drawings = [as_web_map(pixels) for pixels in drawings]
        return drawings


def write_task(task: Task, drawings: Sequence[np.ndarray], folder: Path) -> dict:
    """Write a task's networks and examples below ``folder``, and describe them for model.json.

    Beside each drawing lies what the first network makes of it.

    Args:
        drawings: what `Task.drawings` gave
    """
    models, examples = Path("models", task.name), Path("examples", task.name)
    for place in (models, examples):
        (folder / place).mkdir(parents=True)
    networks, gallery = [], []
    for network in task.networks:
        file = models / f"{network.name}.onnx"
        (folder / file).write_bytes(network.path.read_bytes())
        networks.append(describe(network, task.size, file.as_posix()))
    for number, pixels in enumerate(drawings, 1):
        names = [examples / f"{number}{suffix}" for suffix in (".png", "-output.webp")]
        save_png(folder / names[0], pixels)
        _save_thumbnail(folder / names[1], run_on_image(task.networks[0], pixels))
        gallery.append(dict(zip(("drawing", "output"), (n.as_posix() for n in names), strict=True)))
    return {
        "name": task.name,
        "title": task.title or TITLES[task.mode],
        "mode": task.mode,
        "size": task.size,
        "together": task.together,
        "palettes": [
            {"name": name, "colours": [_colour(colour, task.size) for colour in PALETTES[name]]}
            for name in task.palettes
        ],
        "examples": gallery,
        "networks": networks,
    }


def _save_thumbnail(path: Path, pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    with written_whole(path, flush=False) as temporary:
        image.save(temporary, "WEBP", quality=QUALITY)


def _square(image: Image.Image, size: int, mode: str) -> np.ndarray:
    """The middle square of an image, or of an A|B pair the half that the network reads.

    The page does the same with the images that visitors open, see ``openImage`` in web/app.js.

    Returns:
        (size, size, 3) uint8 RGB
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.width == 2 * image.height:
        left = image.width // 2 if mode == "map" else 0
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def _colour(colour: Colour, size: int) -> dict:
    """A colour as model.json stores it, with the width of its outline in pixels."""
    edge = (
        {"edge": colour.edge, "edgeWidth": colour.edge_metres * size / builtin.WINDOW}
        if colour.edge
        else {}
    )
    return {"name": colour.name, "rgb": colour.rgb, **edge}
