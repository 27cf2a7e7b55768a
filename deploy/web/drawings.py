"""What visitors of the web page draw with and start from: palettes and example drawings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

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
    "edges": "Edges to shoes",
}
# Scenes of the built-in data set that show most kinds of areas.
_SCENES = (4, 17, 13, 12, 10, 31, 41, 11, 2, 28)


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


def _shoe(size: int) -> np.ndarray:
    """The outline of a trainer, (size, size, 3) uint8: black lines on white."""
    upper = [
        (0.10, 0.62),
        (0.11, 0.45),
        (0.15, 0.33),
        (0.24, 0.31),
        (0.30, 0.37),
        (0.38, 0.40),
        (0.46, 0.36),
    ]
    upper += [(0.56, 0.43), (0.68, 0.52), (0.82, 0.56), (0.91, 0.61), (0.93, 0.67)]
    sole = [(0.10, 0.62), (0.09, 0.68), (0.10, 0.74), (0.30, 0.755), (0.60, 0.76), (0.86, 0.75)]
    sole += [(0.935, 0.72)]
    vamp = [(0.24, 0.31), (0.26, 0.40), (0.33, 0.46), (0.42, 0.48), (0.50, 0.54), (0.56, 0.62)]
    vamp += [(0.58, 0.69)]
    lines = [
        upper,
        sole,
        [(0.935, 0.72), (0.94, 0.69), (0.93, 0.67)],
        [(0.10, 0.66), (0.26, 0.67), (0.40, 0.685), (0.60, 0.69), (0.80, 0.68), (0.93, 0.67)],
        vamp,
        [(0.12, 0.45), (0.19, 0.46), (0.24, 0.52), (0.25, 0.67)],
        [(0.70, 0.53), (0.69, 0.60), (0.71, 0.68)],
        *(
            [(x + d, y + 0.7 * d) for x, y in [(0.42, 0.48), (0.47, 0.45), (0.52, 0.41)]]
            for d in (0, 0.045, 0.09)
        ),
        [(0.30, 0.62), (0.38, 0.61), (0.47, 0.57), (0.54, 0.50)],
    ]
    scale = 4 * size
    image = Image.new("RGB", (scale, scale), "white")
    draw = ImageDraw.Draw(image)
    for line in lines:
        points = [(x * scale, y * scale) for x, y in _smooth(np.array(line))]
        draw.line(points, fill="black", width=max(4, round(scale * 0.007)), joint="curve")
    return np.asarray(image.reduce(4))


def _smooth(points: np.ndarray) -> np.ndarray:
    """A Catmull-Rom curve through ``points`` (n, 2), as (12 (n - 1) + 1, 2) points."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(
            b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        )
    return np.concatenate([*pieces, points[-1:]])


def example_drawings(mode: str, size: int) -> list[np.ndarray]:
    """The built-in images that a page can start from.

    Args:
        mode: a key of `PALETTES_OF`
        size: height and width in pixels, at least 8

    Returns:
        images, (size, size, 3) uint8 RGB each
    """
    if mode == "edges":
        return [_shoe(size)]
    # `render_pair` needs at least 32 pixels: smaller images are drawn at four times the size.
    factor = 1 if size >= 64 else 4
    photos_and_maps = [builtin.render_pair(scene, size * factor) for scene in _SCENES]
    images = [pair[0 if mode == "photo" else 1] for pair in photos_and_maps]
    return [np.asarray(Image.fromarray(pixels).reduce(factor)) for pixels in images]
