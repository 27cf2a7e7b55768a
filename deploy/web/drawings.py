"""What visitors of the web page draw with and start from: palettes and example drawings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from prepare import builtin


@dataclass(frozen=True)
class Colour:
    """A colour of a palette.

    rgb:         red, green, blue, 0..255
    edge:        RGB of the outline that shapes of this colour get, as on the maps; None = none
    edge_metres: width of that outline in metres
    """

    name: str
    rgb: tuple[int, int, int]
    edge: tuple[int, int, int] | None = None
    edge_metres: float = 0.0


# The first colour of a palette is the background. The window is `builtin.WINDOW` metres wide.
PALETTES = {
    "builtin": (
        Colour("Gardens", builtin.MAP_GROUND[builtin.GARDEN]),
        Colour("Street", builtin.MAP_ROAD, builtin.MAP_ROAD_CASING, 1.0),
        Colour("Main road", builtin.MAP_MAJOR, builtin.MAP_MAJOR_CASING, 1.0),
        Colour("Building", builtin.MAP_BUILDING, builtin.MAP_BUILDING_EDGE, 0.55),
        Colour("Park", builtin.MAP_GROUND[builtin.PARK]),
        Colour("Trees", builtin.MAP_GROUND[builtin.WOOD]),
        Colour("Water", builtin.MAP_WATER),
        Colour("Parking", builtin.MAP_GROUND[builtin.PARKING]),
        Colour("Bare soil", builtin.MAP_GROUND[builtin.BARE]),
        Colour("Paved", builtin.MAP_GROUND[builtin.PAVED]),
        Colour("Sports pitch", builtin.MAP_PITCH, builtin.MAP_PITCH_EDGE, 1.0),
        Colour("Path", builtin.MAP_PATH),
    ),
    # Web maps as in the pix2pix data set "maps".
    "maps": (
        Colour("Ground", (233, 229, 220)),
        Colour("Street", (255, 255, 255), (222, 217, 208), 1.0),
        Colour("Highway", (248, 160, 36), (216, 134, 24), 1.0),
        Colour("Main road", (255, 225, 104), (228, 196, 90), 1.0),
        Colour("Block", (244, 243, 236)),
        Colour("Park", (203, 223, 172)),
        Colour("Water", (177, 208, 255)),
        Colour("Sports ground", (188, 212, 188)),
        Colour("Public building", (232, 220, 188)),
    ),
    "colours": (
        Colour("White", (255, 255, 255)),
        Colour("Black", (20, 20, 20)),
        Colour("Grey", (128, 128, 128)),
        Colour("Brown", (121, 85, 58)),
        Colour("Skin", (224, 172, 138)),
        Colour("Red", (200, 50, 40)),
        Colour("Orange", (235, 145, 50)),
        Colour("Yellow", (240, 210, 80)),
        Colour("Grass", (96, 140, 60)),
        Colour("Leaves", (45, 90, 45)),
        Colour("Sky", (135, 185, 230)),
        Colour("Blue", (45, 85, 165)),
    ),
    "edges": (Colour("Paper", (255, 255, 255)), Colour("Ink", (0, 0, 0))),
}
# Mode of the page -> the palettes that it offers, the default first.
PALETTES_OF = {
    "map": ("builtin", "maps", "colours"),
    "photo": ("colours",),
    "edges": ("edges",),
}
# Colour of the built-in maps -> the matching colour of web maps.
_AS_WEB_MAP = {
    "Gardens": "Ground",
    "Street": "Street",
    "Main road": "Main road",
    "Building": "Block",
    "Park": "Park",
    "Trees": "Park",
    "Water": "Water",
    "Parking": "Ground",
    "Bare soil": "Public building",
    "Paved": "Block",
    "Sports pitch": "Sports ground",
    "Path": "Block",
}
TITLES = {
    "map": "Street map to aerial photo",
    "photo": "Image to image",
    "edges": "Lines to shoes and bags",
}
# Scenes of the built-in maps that show most kinds of areas, and objects of most kinds
_SCENES = (4, 17, 13, 12, 10, 31, 41, 11, 2, 28)
_OBJECTS = (6, 22, 3, 1, 5, 54, 9, 23, 2, 0)
# Mode of the page -> built-in data set, which half of its pairs, and their seeds
_EXAMPLES = {
    "map": ("map", 1, _SCENES),
    "photo": ("map", 0, _SCENES),
    "edges": ("object", 0, _OBJECTS),
}


def as_web_map(pixels: np.ndarray) -> np.ndarray:
    """Recolour a built-in map as a web map, by the palette colour nearest to each pixel.

    Args:
        pixels: (H, W, 3) uint8 RGB

    Returns:
        (H, W, 3) uint8 RGB
    """
    colours = {colour.name: colour for colour in PALETTES["maps"]}
    pairs = []
    for colour in PALETTES["builtin"]:
        other = colours[_AS_WEB_MAP[colour.name]]
        pairs.append((colour.rgb, other.rgb))
        if colour.edge:
            pairs.append((colour.edge, other.edge or other.rgb))
    old, new = (np.array(side, np.int32) for side in zip(*pairs, strict=True))
    distances = np.stack([((pixels - colour) ** 2).sum(2) for colour in old])
    return new[distances.argmin(0)].astype(np.uint8)


def example_drawings(mode: str, size: int) -> list[np.ndarray]:
    """The built-in images that a page can start from.

    Args:
        mode: a key of `PALETTES_OF`
        size: height and width in pixels, at least 8

    Returns:
        images, (size, size, 3) uint8 RGB each
    """
    # `KINDS` need at least 32 pixels: smaller images are drawn at four times the size.
    factor = 1 if size >= 64 else 4
    kind, half, seeds = _EXAMPLES[mode]
    images = [builtin.KINDS[kind](seed, size * factor)[half] for seed in seeds]
    return [np.asarray(Image.fromarray(pixels).reduce(factor)) for pixels in images]
