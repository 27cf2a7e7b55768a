"""The geometry of both renderings.

Window coordinates are in metres: x to the right, y down; the image shows [0, WINDOW]^2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from prepare.builtin.palette import COARSE, GARDEN, WINDOW

# --------------------------------------------------------------------------------------------------
# Geometry


class Road:
    """A stretch of street.

    line:  (n, 2) float, its centre line in metres
    width: of the carriageway in metres
    major: whether it is a main road
    shade: factor on the brightness of the asphalt, about 1
    """

    def __init__(self, line: np.ndarray, width: float, major: bool, shade: float) -> None:
        self.line, self.width, self.major, self.shade = line, width, major, shade
        self.normal = _normals(line)

    def band(self, extra: float = 0.0) -> np.ndarray:
        """The outline (2n, 2) of the carriageway, widened by `extra` metres in total."""
        return self.stripe(self.width + extra, 0.0)

    def stripe(self, width: float, offset: float) -> np.ndarray:
        """The outline (2n, 2) of a stripe, `width` metres wide, `offset` metres off the centre."""
        near, far = (
            self.line + self.normal * (offset + width / 2),
            self.line + self.normal * (offset - width / 2),
        )
        return np.concatenate([near, far[::-1]])


@dataclass
class Frame:
    """The coordinates (u, v) of the street grid: turned, and bent by a sine along each axis.

    angle: in radians
    bend:  (2, 3) float, one row per axis: amplitude in metres, radians per metre, phase in radians
    """

    angle: float
    bend: np.ndarray

    def world(self, uv: np.ndarray) -> np.ndarray:
        """Grid coordinates (..., 2) -> window coordinates (..., 2), both in metres."""
        uv = np.asarray(uv, np.float64)
        u, v = uv[..., 0], uv[..., 1]
        (amp_u, wave_u, phase_u), (amp_v, wave_v, phase_v) = self.bend
        bent_u = u + amp_u * np.sin(wave_u * v + phase_u)
        bent_v = v + amp_v * np.sin(wave_v * u + phase_v)
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.stack([c * bent_u - s * bent_v, s * bent_u + c * bent_v], -1) + WINDOW / 2


@dataclass
class Scene:
    """Everything that is drawn, in window coordinates unless stated otherwise.

    Polygons and lines are (n, 2) arrays in metres. Buildings, cars and trees are one array each.
    """

    frame: Frame
    # (2,) unit vector towards the light
    sun: np.ndarray
    character: str = "suburb"
    roads: list[Road] = field(default_factory=list)
    waters: list[np.ndarray] = field(default_factory=list)
    land: list[tuple[int, np.ndarray]] = field(default_factory=list)
    # Dryness 0..255 of a garden, and its outline
    tints: list[tuple[int, np.ndarray]] = field(default_factory=list)
    drives: list[np.ndarray] = field(default_factory=list)
    paths: list[np.ndarray] = field(default_factory=list)
    pitches: list[np.ndarray] = field(default_factory=list)
    # Painted lines of parking bays
    bays: list[np.ndarray] = field(default_factory=list)
    # Buildings asked for, in grid coordinates: (u, v, whether along u, half length, half depth,
    # height, roof, colour, shade)
    boxes: list[tuple] = field(default_factory=list)
    # Cars in bays, in grid coordinates: (u, v, whether along u)
    parked: list[tuple] = field(default_factory=list)
    # Of the buildings that were placed
    corners: np.ndarray = field(default_factory=lambda: np.zeros((0, 4, 2)))
    # Of the same buildings: height in metres, roof (GABLE | HIP | FLAT), colour, shade
    styles: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    # x, y, unit axis x and y, colour
    cars: np.ndarray = field(default_factory=lambda: np.zeros((0, 5)))
    # x, y, radius, tint 0..1
    trees: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    # Garden trees asked for, in grid coordinates: (u, v, radius)
    wishes: list[tuple] = field(default_factory=list)


def _normals(line: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 2) perpendicular to a line (n, 2), at each of its points."""
    step = np.empty_like(line)
    step[1:-1] = line[2:] - line[:-2]
    step[0], step[-1] = line[1] - line[0], line[-1] - line[-2]
    step /= np.maximum(np.sqrt((step * step).sum(1, keepdims=True)), 1e-9)
    return np.stack([-step[:, 1], step[:, 0]], 1)


def ribbon(line: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """The outline (2n, 2) of a band along a line (n, 2); its width in metres may vary by point."""
    half = _normals(line) * (np.broadcast_to(width, len(line))[:, None] / 2)
    return np.concatenate([line + half, (line - half)[::-1]])


def outline(u0: float, u1: float, v0: float, v1: float, n: int = 5) -> np.ndarray:
    """A rectangle in grid coordinates as a polygon (4n, 2), which can follow bent streets."""
    t = np.linspace(0, 1, n, endpoint=False)
    u, v, one = u0 + (u1 - u0) * t, v0 + (v1 - v0) * t, np.ones(n)
    sides = [(u, v0 * one), (u1 * one, v), ((u0 + u1) - u, v1 * one), (u0 * one, (v0 + v1) - v)]
    return np.concatenate([np.stack(side, 1) for side in sides])


def blob_outline(
    rng: np.random.Generator, centre: tuple[float, float], radius: float, wobble: float = 0.18
) -> np.ndarray:
    """A smooth closed outline (48, 2) of about `radius` metres."""
    phi = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    r = np.ones(48)
    for k in (2, 3, 5):
        r += wobble / k * 2 * rng.uniform(0.3, 1) * np.sin(k * phi + rng.uniform(0, 6.28))
    return np.stack([centre[0] + radius * r * np.cos(phi), centre[1] + radius * r * np.sin(phi)], 1)


def in_window(points: np.ndarray, margin: float) -> np.ndarray:
    """(n,) bool: which points (n, 2) lie in the window or less than `margin` metres outside."""
    return ((points > -margin) & (points < WINDOW + margin)).all(1)


def rectangles(centre: np.ndarray, axis: np.ndarray, half_long, half_wide) -> np.ndarray:
    """Corners (n, 4, 2), in order, of rectangles.

    Args:
        centre: (n, 2)
        axis:   (n, 2), unit vectors along the long side
        half_long, half_wide: half the length and half the width in metres, one number or (n,)
    """
    long = axis * np.reshape(half_long, (-1, 1))
    wide = np.stack([-axis[:, 1], axis[:, 0]], 1) * np.reshape(half_wide, (-1, 1))
    return np.stack(
        [centre - long - wide, centre + long - wide, centre + long + wide, centre - long + wide], 1
    )


# --------------------------------------------------------------------------------------------------
# The coarse raster says what lies at a place, so that houses avoid roads and trees stand in woods


def fill_polygons(draw: ImageDraw.ImageDraw, polygons, fill, scale: float) -> None:
    """Fill polygons given in metres: an (n, m, 2) array or a list of (m, 2) arrays.

    ``scale`` is in pixels per metre.
    """
    if isinstance(polygons, np.ndarray):
        polygons = (polygons * scale - 0.5).reshape(len(polygons), 2 * polygons.shape[1]).tolist()
    else:
        polygons = [(p * scale - 0.5).ravel().tolist() for p in polygons]
    for points in polygons:
        draw.polygon(points, fill=fill)


def draw_land(scene: Scene, pixels: int) -> Image.Image:
    """The kind of ground of each pixel: an "L" image with values from GARDEN to BANK."""
    image = Image.new("L", (pixels, pixels), GARDEN)
    draw = ImageDraw.Draw(image)
    for kind, polygon in scene.land:
        fill_polygons(draw, [polygon], kind, pixels / WINDOW)
    return image


def coarse_mask(polygons: list[np.ndarray]) -> np.ndarray:
    """(COARSE, COARSE) bool: where any of the polygons lies."""
    image = Image.new("L", (COARSE, COARSE), 0)
    fill_polygons(ImageDraw.Draw(image), polygons, 1, COARSE / WINDOW)
    return np.asarray(image) > 0


def value_at(raster: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of a coarse raster at points (..., 2) in metres; outside, those of the border."""
    index = np.clip((points * (COARSE / WINDOW)).astype(np.int64), 0, COARSE - 1)
    return raster[index[..., 1], index[..., 0]]
