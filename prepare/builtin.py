"""The built-in dataset: procedural street maps with the matching aerial photos.

Every pair is drawn from one invented piece of town, about 190 metres across: streets, blocks, houses, parks
and water.  The street map and the photo are two renderings of that same geometry, so the photo follows from
the map up to roof colours, trees in gardens, cars and texture.  That makes a data set that needs no download,
can have any size, and is still a fair stand-in for the "maps" data set of pix2pix.

    photo, street_map = render_pair(seed=7, size=256)
    write_builtin_dataset("database/builtin", train=400, val=100, size=256)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from errors import InputError
from runtime.files import write_text, written_whole
from runtime.progress import Bar

__all__ = ["render_pair", "write_builtin_dataset"]

# ------------------------------------------------------------------------------------------------------------
# Constants: the size of the world, the kinds of ground, and all colours (RGB, 0..255).
# ------------------------------------------------------------------------------------------------------------

WINDOW = 190.0  # metres shown across an image, whatever its size in pixels
COARSE = 256  # pixels across of the raster that decides where things may stand; independent of the image size

GARDEN, PAVED, PARK, WOOD, BARE, PARKING, BANK = range(7)

# The photo mixes two colours per kind of ground by noise; `TEXTURE` is the strength of its fine grain.
GROUND_A = np.array(
    [
        (108, 121, 80),
        (170, 166, 158),
        (104, 128, 76),
        (66, 82, 52),
        (188, 171, 144),
        (134, 133, 133),
        (102, 117, 76),
    ],
    np.float32,
)
GROUND_B = np.array(
    [
        (150, 147, 114),
        (150, 147, 142),
        (132, 143, 96),
        (88, 97, 66),
        (174, 158, 131),
        (121, 121, 122),
        (140, 138, 104),
    ],
    np.float32,
)
TEXTURE = np.array([0.075, 0.03, 0.06, 0.12, 0.06, 0.03, 0.09], np.float32)

MAP_GROUND = [
    (236, 232, 224),
    (228, 225, 231),
    (200, 224, 172),
    (174, 207, 148),
    (238, 224, 198),
    (219, 222, 232),
    (207, 226, 186),
]
MAP_WATER, MAP_PATH, MAP_PITCH, MAP_PITCH_EDGE = (
    (163, 198, 226),
    (249, 247, 238),
    (166, 214, 180),
    (138, 192, 156),
)
MAP_BUILDING, MAP_BUILDING_EDGE = (209, 205, 199), (188, 183, 176)
MAP_ROAD, MAP_ROAD_CASING = (255, 255, 255), (200, 194, 184)
MAP_MAJOR, MAP_MAJOR_CASING = (252, 222, 128), (217, 173, 84)

ASPHALT, ASPHALT_MAJOR, SIDEWALK, KERB = (
    (136, 136, 139),
    (118, 119, 123),
    (190, 186, 179),
    (158, 156, 153),
)
PAINT_WHITE, PAINT_YELLOW, CONCRETE, GRAVEL = (
    (224, 223, 216),
    (206, 172, 84),
    (172, 168, 160),
    (184, 170, 142),
)
WATER_DEEP, WATER_SHALLOW, SHORE = (38, 60, 70), (74, 90, 86), (158, 146, 118)
TREE_DARK, TREE_LIGHT = (62, 80, 50), (98, 111, 70)

PITCHED_ROOFS = [
    (140, 117, 104),
    (130, 123, 117),
    (108, 107, 110),
    (154, 113, 96),
    (152, 133, 112),
    (124, 102, 92),
    (158, 156, 152),
]
FLAT_ROOFS = [(178, 176, 172), (150, 149, 148), (126, 125, 126), (196, 193, 186), (160, 150, 138)]
CARS = [
    (226, 226, 226),
    (204, 206, 208),
    (66, 68, 72),
    (48, 49, 52),
    (128, 131, 136),
    (168, 170, 172),
    (132, 58, 52),
    (66, 84, 116),
]

GABLE, HIP, FLAT = range(3)

SUN_ELEVATION = np.deg2rad(47.0)
SUN_AZIMUTH = np.deg2rad(
    218.0
)  # where the light comes from, in image axes (x right, y down): upper left

# How likely each block use is, by the character of the scene.
USES = ("houses", "terraces", "flats", "commerce", "park", "lot")
CHARACTERS = {
    "suburb": (0.78, 0.06, 0.02, 0.03, 0.09, 0.02),
    "town": (0.30, 0.34, 0.14, 0.09, 0.09, 0.04),
    "centre": (0.00, 0.18, 0.46, 0.20, 0.12, 0.04),
    "works": (0.12, 0.06, 0.08, 0.54, 0.06, 0.14),
    "green": (0.44, 0.10, 0.06, 0.04, 0.34, 0.02),
}
CHARACTER_WEIGHTS = (0.36, 0.25, 0.13, 0.10, 0.16)


# ------------------------------------------------------------------------------------------------------------
# Scene: the geometry that both renderings share, in metres (x right, y down, the window is [0, WINDOW]^2).
# ------------------------------------------------------------------------------------------------------------


class _Road:
    """A stretch of street: its centre line, (n, 2) float, and the width of its carriageway, in metres."""

    def __init__(self, line: np.ndarray, width: float, major: bool, shade: float) -> None:
        self.line, self.width, self.major, self.shade = line, width, major, shade
        self.normal = _normals(line)

    def band(self, extra: float = 0.0) -> np.ndarray:
        """The outline (2n, 2) of the carriageway, made `extra` metres wider."""
        return self.stripe(self.width + extra, 0.0)

    def stripe(self, width: float, offset: float) -> np.ndarray:
        """The outline (2n, 2) of a stripe of `width` metres, `offset` metres beside the centre line."""
        near, far = (
            self.line + self.normal * (offset + width / 2),
            self.line + self.normal * (offset - width / 2),
        )
        return np.concatenate([near, far[::-1]])


@dataclass
class _Frame:
    """The street grid's own coordinates (u, v): turned by `angle`, and bent by a sine along each axis."""

    angle: float
    bend: np.ndarray  # (2, 3): amplitude in metres, wave number per metre, phase; one row per axis

    def world(self, uv: np.ndarray) -> np.ndarray:
        """Grid coordinates (..., 2) to window coordinates (..., 2), both in metres."""
        uv = np.asarray(uv, np.float64)
        u, v = uv[..., 0], uv[..., 1]
        (amp_u, wave_u, phase_u), (amp_v, wave_v, phase_v) = self.bend
        bent_u = u + amp_u * np.sin(wave_u * v + phase_u)
        bent_v = v + amp_v * np.sin(wave_v * u + phase_v)
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.stack([c * bent_u - s * bent_v, s * bent_u + c * bent_v], -1) + WINDOW / 2


@dataclass
class _Scene:
    """All that is drawn: polygons and lines as (n, 2) arrays; buildings, cars and trees as one array each."""

    frame: _Frame
    sun: np.ndarray  # (2,) unit vector towards the light
    character: str = "suburb"
    roads: list[_Road] = field(default_factory=list)
    waters: list[np.ndarray] = field(default_factory=list)
    land: list[tuple[int, np.ndarray]] = field(default_factory=list)
    tints: list[tuple[int, np.ndarray]] = field(
        default_factory=list
    )  # dryness 0..255 of one garden
    drives: list[np.ndarray] = field(default_factory=list)
    paths: list[np.ndarray] = field(default_factory=list)
    pitches: list[np.ndarray] = field(default_factory=list)
    bays: list[np.ndarray] = field(default_factory=list)  # painted lines of parking bays
    # Boxes are placed by rows of (u, v, along u?, half length, half depth, height, roof, colour, shade).
    boxes: list[tuple] = field(default_factory=list)
    parked: list[tuple] = field(default_factory=list)  # cars in bays: (u, v, along u?)
    corners: np.ndarray = field(
        default_factory=lambda: np.zeros((0, 4, 2))
    )  # of the buildings that stand
    styles: np.ndarray = field(
        default_factory=lambda: np.zeros((0, 4))
    )  # height, roof, colour, shade
    cars: np.ndarray = field(
        default_factory=lambda: np.zeros((0, 5))
    )  # x, y, axis x, axis y, colour
    trees: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))  # x, y, radius, tint 0..1
    wishes: list[tuple] = field(
        default_factory=list
    )  # garden trees asked for, in grid coordinates: (u, v, radius)


def _normals(line: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 2) across a line (n, 2)."""
    step = np.empty_like(line)
    step[1:-1] = line[2:] - line[:-2]
    step[0], step[-1] = line[1] - line[0], line[-1] - line[-2]
    step /= np.maximum(np.sqrt((step * step).sum(1, keepdims=True)), 1e-9)
    return np.stack([-step[:, 1], step[:, 0]], 1)


def _ribbon(line: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """The outline (2n, 2) of a band along a line (n, 2); its width, in metres, may differ by point."""
    half = _normals(line) * (np.broadcast_to(width, len(line))[:, None] / 2)
    return np.concatenate([line + half, (line - half)[::-1]])


def _outline(u0: float, u1: float, v0: float, v1: float, n: int = 5) -> np.ndarray:
    """A rectangle in grid coordinates as a polygon of 4n points, so that it can follow bent streets."""
    t = np.linspace(0, 1, n, endpoint=False)
    u, v, one = u0 + (u1 - u0) * t, v0 + (v1 - v0) * t, np.ones(n)
    sides = [(u, v0 * one), (u1 * one, v), ((u0 + u1) - u, v1 * one), (u0 * one, (v0 + v1) - v)]
    return np.concatenate([np.stack(side, 1) for side in sides])


def _blob(
    rng: np.random.Generator, centre: tuple[float, float], radius: float, wobble: float = 0.18
) -> np.ndarray:
    """A smooth closed outline (48, 2) of about `radius` metres."""
    phi = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    r = np.ones(48)
    for k in (2, 3, 5):
        r += wobble / k * 2 * rng.uniform(0.3, 1) * np.sin(k * phi + rng.uniform(0, 6.28))
    return np.stack([centre[0] + radius * r * np.cos(phi), centre[1] + radius * r * np.sin(phi)], 1)


# ------------------------------------------------------------------------------------------------------------
# Coarse raster: looks up what lies at a place, so that houses avoid roads and trees stand in the woods.
# ------------------------------------------------------------------------------------------------------------


def _polygons(draw: ImageDraw.ImageDraw, polygons, fill, scale: float) -> None:
    """Fill polygons given in metres; `polygons` is an (n, m, 2) array or a list of (m, 2) arrays."""
    if isinstance(polygons, np.ndarray):
        polygons = (polygons * scale - 0.5).reshape(len(polygons), 2 * polygons.shape[1]).tolist()
    else:
        polygons = [(p * scale - 0.5).ravel().tolist() for p in polygons]
    for points in polygons:
        draw.polygon(points, fill=fill)


def _draw_land(scene: _Scene, pixels: int) -> Image.Image:
    """The kind of ground per pixel, an "L" image of the values GARDEN .. BANK."""
    image = Image.new("L", (pixels, pixels), GARDEN)
    draw = ImageDraw.Draw(image)
    for kind, polygon in scene.land:
        _polygons(draw, [polygon], kind, pixels / WINDOW)
    return image


def _coarse_mask(polygons: list[np.ndarray]) -> np.ndarray:
    """(COARSE, COARSE) bool: the places that any of the polygons covers."""
    image = Image.new("L", (COARSE, COARSE), 0)
    _polygons(ImageDraw.Draw(image), polygons, 1, COARSE / WINDOW)
    return np.asarray(image) > 0


def _at(raster: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of a coarse raster at points (..., 2) in metres; the border is continued outwards."""
    index = np.clip((points * (COARSE / WINDOW)).astype(np.int64), 0, COARSE - 1)
    return raster[index[..., 1], index[..., 0]]


# ------------------------------------------------------------------------------------------------------------
# Water and streets: the skeleton of a scene, laid out before the blocks are filled.
# ------------------------------------------------------------------------------------------------------------


def _add_water(scene: _Scene, rng: np.random.Generator) -> None:
    """A river, a lake or a coast in four scenes of ten, with a green strip along it."""
    kind = rng.choice(4, p=(0.58, 0.22, 0.10, 0.10))  # dry, a river, a lake, a coast
    if kind == 0:
        return
    if kind == 2:
        centre = rng.uniform(0.1, 0.9, 2) * WINDOW
        lake = _blob(rng, tuple(centre), rng.uniform(38, 66))
        green = centre + (lake - centre) * 1.28
        scene.land.append((BANK, green))
        scene.waters.append(lake)
        return
    turn = rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    t = np.linspace(-220, 220, 56)
    sway = rng.uniform(8, 24) * np.sin(
        t / rng.uniform(34, 60) + rng.uniform(0, 6.28)
    ) + rng.uniform(-50, 50)
    line = WINDOW / 2 + t[:, None] * along + sway[:, None] * across
    if kind == 1:
        width = rng.uniform(26, 48) * (1 + 0.12 * np.sin(t / 23 + rng.uniform(0, 6.28)))
        scene.land.append((BANK, _ribbon(line, width + rng.uniform(16, 30))))
        scene.waters.append(_ribbon(line, width))
    else:
        line = line + across * 60  # keeps most of the window dry
        far = line[::-1] + across * 400
        scene.land.append((BANK, np.concatenate([line - across * rng.uniform(9, 18), far])))
        scene.waters.append(np.concatenate([line, far]))


def _grid_lines(rng: np.random.Generator, spacing: float) -> np.ndarray:
    """Where the streets of one direction lie, in metres from the centre: from below -190 to above 190."""
    gaps = spacing * rng.uniform(0.82, 1.2, 12)
    lines = np.cumsum(gaps)
    return lines - lines[5] + rng.uniform(-0.5, 0.5) * spacing


def _stretches(line: np.ndarray, keep: np.ndarray) -> list[np.ndarray]:
    """The unbroken stretches of a line (n, 2) whose points are to be kept, (n,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.astype(np.int8), [0]])))
    return [line[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 3]


def _near(points: np.ndarray, margin: float) -> np.ndarray:
    """(n,) bool: which points (n, 2) lie in the window or less than `margin` metres outside."""
    return ((points > -margin) & (points < WINDOW + margin)).all(1)


def _add_streets(scene: _Scene, rng: np.random.Generator, shores: list[tuple]) -> list[tuple]:
    """Lay the grid and the major roads.

    `shores` are the green strips with the water inside them, where small streets end.  Returns the blocks
    inside the pavements: (u0, u1, v0, v1) in metres.
    """
    us, vs = _grid_lines(rng, rng.uniform(56, 72)), _grid_lines(rng, rng.uniform(64, 92))
    minor = rng.uniform(7.0, 9.0)
    width_u, width_v = np.full(12, minor), np.full(12, minor)
    style = rng.choice(
        4, p=(0.24, 0.34, 0.14, 0.28)
    )  # no major road, one, two crossing, a free curve
    if style in (1, 2):
        width_u[np.argmin(np.abs(us - rng.uniform(-60, 60)))] = rng.uniform(14, 18)
    if style == 2:
        width_v[np.argmin(np.abs(vs - rng.uniform(-60, 60)))] = rng.uniform(12, 16)
    if rng.random() < 0.5:
        us, vs, width_u, width_v = vs, us, width_v, width_u
    wet = _coarse_mask([shore for _, shore in shores])

    # A street is missing between two blocks now and then: those two make one big block.
    gone = rng.random((12, 12)) < 0.10
    gone[width_u > 10] = False
    for lines, others, widths, axis in ((us, vs, width_u, 0), (vs, us, width_v, 1)):
        for i, at in enumerate(lines):
            cuts = np.flatnonzero(gone[i]) if axis == 0 else ()
            for a, b in zip([0, *(c + 1 for c in cuts)], [*cuts, 11], strict=True):
                if b <= a:
                    continue
                n = int((others[b] - others[a]) / 4) + 2
                uv = np.stack([np.full(n, at), np.linspace(others[a], others[b], n)], 1)
                line = scene.frame.world(uv if axis == 0 else uv[:, ::-1])
                major = widths[i] > 10
                # A small street ends at the green strip along the water; a major road crosses it on a bridge.
                for piece in _stretches(line, _near(line, 30) & (major | ~_at(wet, line))):
                    scene.roads.append(_Road(piece, widths[i], major, rng.uniform(0.93, 1.07)))
    if style == 3:
        turn, t = rng.uniform(0, 2 * np.pi), np.linspace(-230, 230, 70)
        sway = rng.uniform(0, 30) * np.sin(
            t / rng.uniform(50, 90) + rng.uniform(0, 6.28)
        ) + rng.uniform(-55, 55)
        line = np.stack(
            [t * np.cos(turn) - sway * np.sin(turn), t * np.sin(turn) + sway * np.cos(turn)], 1
        )
        line, width, shade = line + WINDOW / 2, rng.uniform(14, 18), rng.uniform(0.95, 1.05)
        scene.roads += [
            _Road(piece, width, True, shade) for piece in _stretches(line, _near(line, 30))
        ]
    return _blocks(us, vs, width_u, width_v, gone)


def _blocks(
    us: np.ndarray, vs: np.ndarray, width_u: np.ndarray, width_v: np.ndarray, gone: np.ndarray
) -> list[tuple]:
    """The rectangles between the streets, less the pavements; two become one where a street is gone."""
    walk, blocks = 2.6, []
    for j in range(11):
        i = 0
        while i < 11:
            last = i
            while last < 10 and gone[last + 1, j]:
                last += 1
            blocks.append(
                (
                    us[i] + width_u[i] / 2 + walk,
                    us[last + 1] - width_u[last + 1] / 2 - walk,
                    vs[j] + width_v[j] / 2 + walk,
                    vs[j + 1] - width_v[j + 1] / 2 - walk,
                )
            )
            i = last + 1
    return blocks


# ------------------------------------------------------------------------------------------------------------
# Blocks: what stands between the streets.  All positions are grid coordinates in metres.
# ------------------------------------------------------------------------------------------------------------


def _rows(block: tuple, along_u: bool) -> list[tuple]:
    """The two long sides of a block, each as (start, step along, step inwards), 2-vectors (u, v)."""
    u0, u1, v0, v1 = block
    if along_u:
        return [((u0, v0), (1, 0), (0, 1)), ((u0, v1), (1, 0), (0, -1))]
    return [((u0, v0), (0, 1), (1, 0)), ((u1, v0), (0, 1), (-1, 0))]


def _quad(row: tuple, t0: float, t1: float, d0: float, d1: float) -> np.ndarray:
    """The rectangle (4, 2) from t0 to t1 along a row and from d0 to d1 inwards."""
    (pu, pv), (au, av), (iu, iv) = row
    corners = ((t0, d0), (t1, d0), (t1, d1), (t0, d1))
    return np.array([(pu + au * t + iu * d, pv + av * t + iv * d) for t, d in corners])


def _point(row: tuple, t: float, d: float) -> tuple[float, float]:
    """The place t metres along a row and d metres inwards."""
    (pu, pv), (au, av), (iu, iv) = row
    return pu + au * t + iu * d, pv + av * t + iv * d


def _houses(scene: _Scene, rng: np.random.Generator, block: tuple, terraced: bool) -> None:
    """Two rows of houses back to back, detached or wall to wall, each with a garden behind."""
    u0, u1, v0, v1 = block
    along_u = (u1 - u0) > (v1 - v0)
    length, depth = (u1 - u0, v1 - v0) if along_u else (v1 - v0, u1 - u0)
    pitch = rng.uniform(6.5, 9.0) if terraced else rng.uniform(13.5, 18.5)
    setback = rng.uniform(1.5, 3.5) if terraced else rng.uniform(4.0, 6.5)
    house_depth = min(rng.uniform(9.5, 12.0), depth / 2 - setback - 3)
    roof = rng.choice(3, p=(0.6, 0.2, 0.2)) if terraced else rng.choice(2, p=(0.6, 0.4))
    common, leafy = rng.integers(7), rng.uniform(0.4, 1.7)
    if house_depth < 5:
        return
    for row in _rows(block, along_u):
        margin = rng.uniform(0.5, 3)
        count = max(1, int((length - 2 * margin) / pitch))
        step = (length - 2 * margin) / count
        for i in range(count):
            t = margin + (i + 0.5) * step
            x = rng.random(10)
            scene.tints.append(
                (int(255 * x[0]), _quad(row, t - step / 2, t + step / 2, 0, depth / 2))
            )
            if terraced and x[9] < 0.04:
                continue
            long = step if terraced else min(step - 3.4, 8.6 + 3.4 * x[1])
            deep = house_depth if terraced else house_depth * (0.82 + 0.25 * x[2])
            back = setback if terraced else setback + 1.6 * (x[3] - 0.5)
            colour = common if x[4] < 0.45 else int(x[4] * 997) % 7
            shift = 0.0 if terraced else 0.9
            style = (5.8 + 1.6 * x[5], roof, colour, 0.88 + 0.24 * x[6])
            scene.boxes.append(
                (*_point(row, t + shift, back + deep / 2), along_u, long / 2, deep / 2, *style)
            )
            if not terraced:
                drive = t - step / 2 + 0.7
                scene.drives.append(
                    _quad(row, drive, drive + 2.6, -0.5, back + deep * (0.3 + 0.5 * x[7]))
                )
                if x[8] < 0.4:  # a wing towards the garden
                    wing = long * 0.26
                    place = _point(
                        row, t + shift + (x[9] - 0.5) * (long - 2 * wing), back + deep + 0.6
                    )
                    scene.boxes.append((*place, along_u, wing, deep * 0.32, *style))
            for _ in range(rng.poisson(leafy)):
                y = rng.random(3)
                place = _point(
                    row,
                    t + (y[0] - 0.5) * step,
                    back + deep + 3 + y[1] * max(depth / 2 - back - deep - 4, 0),
                )
                scene.wishes.append((*place, 1.7 + 2.2 * y[2]))


def _flats(scene: _Scene, rng: np.random.Generator, block: tuple) -> None:
    """Big apartment buildings: a ring around a courtyard, or parallel slabs."""
    u0, u1, v0, v1 = block
    colour, pitched = rng.integers(7), rng.random() < 0.35
    high, roof, gap = rng.uniform(11, 18), HIP if pitched else FLAT, rng.uniform(1.5, 4.0)
    if rng.random() < 0.55 and min(u1 - u0, v1 - v0) > 44:
        scene.land.append((GARDEN, _outline(u0 + 16, u1 - 16, v0 + 16, v1 - 16)))
        deep = rng.uniform(11, 13)
        for along_u in (True, False):
            length = (u1 - u0) if along_u else (v1 - v0) - 2 * (deep + gap)
            for row in _rows(block, along_u):
                start = 0 if along_u else deep + gap
                pieces = max(1, int(length / rng.uniform(20, 34)))
                for i in range(pieces):
                    part = length / pieces
                    style = (
                        high * rng.uniform(0.85, 1.1),
                        roof,
                        (colour + rng.integers(2)) % 7,
                        rng.uniform(0.9, 1.1),
                    )
                    half = part / 2 - (0.0 if rng.random() < 0.6 else 1.5)
                    place = _point(row, start + (i + 0.5) * part, gap + deep / 2)
                    scene.boxes.append((*place, along_u, half, deep / 2, *style))
        for _ in range(int(rng.integers(3, 9))):
            scene.wishes.append(
                (rng.uniform(u0 + 18, u1 - 18), rng.uniform(v0 + 18, v1 - 18), rng.uniform(2.2, 4))
            )
        return
    along_u = bool(rng.random() < 0.5)
    length, depth = (u1 - u0, v1 - v0) if along_u else (v1 - v0, u1 - u0)
    row = _rows(block, along_u)[0]
    scene.land.append((GARDEN, _outline(u0, u1, v0, v1)))
    count = max(1, int(depth / rng.uniform(24, 30)))
    for i in range(count):
        d = (i + 0.5) * depth / count
        style = (high, roof, colour, rng.uniform(0.94, 1.06))
        scene.boxes.append((*_point(row, length / 2, d - 3), along_u, length / 2 - 5, 6, *style))
        scene.land.append((PARKING, _quad(row, 3, length - 3, d + 5, d + 10)))
        for t in np.arange(5, length - 5, 2.8):
            if rng.random() < 0.6:
                scene.parked.append((*_point(row, t + 0.5, d + 7.6), not along_u))
        for t in np.arange(6, length - 4, rng.uniform(8, 12)):
            scene.wishes.append((*_point(row, t, d - 11.5), rng.uniform(1.8, 3.4)))


def _commerce(scene: _Scene, rng: np.random.Generator, block: tuple) -> None:
    """One to three halls with flat roofs beside a car park."""
    u0, u1, v0, v1 = block
    along_u = (u1 - u0) > (v1 - v0)
    length, depth = (u1 - u0, v1 - v0) if along_u else (v1 - v0, u1 - u0)
    scene.land.append((PAVED, _outline(u0, u1, v0, v1)))
    row = _rows(block, along_u)[int(rng.integers(2))]
    hall = depth * rng.uniform(0.42, 0.6)
    halls = int(rng.integers(1, 4))
    cuts = np.sort(np.concatenate([[0, length], rng.uniform(0.25, 0.75, halls - 1) * length]))
    for a, b in pairwise(cuts):
        if b - a < 12:
            continue
        deep = hall * rng.uniform(0.75, 1.0)
        style = (rng.uniform(7, 11), FLAT, rng.integers(7), rng.uniform(0.92, 1.08))
        place = _point(row, (a + b) / 2, 3 + deep / 2)
        scene.boxes.append((*place, along_u, (b - a) / 2 - 2.5, deep / 2, *style))
    near, full = hall + 7, rng.uniform(0.25, 0.8)
    if depth - near < 9:
        return
    scene.land.append((PARKING, _quad(row, 2, length - 2, near, depth - 1.5)))
    for d in np.arange(near + 0.5, depth - 6, 11.5 if rng.random() < 0.5 else 14):
        for t in np.arange(4, length - 5, 2.8):
            scene.bays.append(np.array([_point(row, t, d), _point(row, t, d + 5)]))
            if rng.random() < full:
                scene.parked.append((*_point(row, t + 1.4, d + 2.5), not along_u))
    for t in np.arange(6, length - 4, rng.uniform(9, 15)):
        scene.wishes.append((*_point(row, t, depth - 0.5), rng.uniform(1.6, 2.6)))


def _park(scene: _Scene, rng: np.random.Generator, block: tuple) -> None:
    """A lawn with woods, paths, and now and then a pond or a playing field."""
    u0, u1, v0, v1 = block
    world, wide, high = scene.frame.world, u1 - u0, v1 - v0
    scene.land.append((PARK, world(_outline(u0, u1, v0, v1))))
    for _ in range(int(rng.integers(1, 4))):
        centre = (rng.uniform(u0 + 12, u1 - 12), rng.uniform(v0 + 12, v1 - 12))
        blob = _blob(rng, centre, rng.uniform(9, 20), 0.3)
        scene.land.append((WOOD, world(np.clip(blob, (u0 + 2, v0 + 2), (u1 - 2, v1 - 2)))))
    extra = rng.random()
    middle = (
        rng.uniform(u0 + 0.4 * wide, u1 - 0.4 * wide),
        rng.uniform(v0 + 0.4 * high, v1 - 0.4 * high),
    )
    if extra < 0.32 and min(wide, high) > 40:
        a, b = (19, 12) if wide > high else (12, 19)
        spot = _outline(middle[0] - a, middle[0] + a, middle[1] - b, middle[1] + b, 1)
        scene.land.append((PARK, world(spot + (spot - np.array(middle)) * 0.12)))
        scene.pitches.append(world(spot))
    elif extra < 0.6:
        pond = _blob(rng, middle, rng.uniform(9, 15), 0.25)
        scene.waters.append(world(pond))
    t = np.linspace(0, 1, 24)
    for _ in range(int(rng.integers(1, 4))):
        flip, a, b, sway = (
            rng.random() < 0.5,
            rng.uniform(0.1, 0.9),
            rng.uniform(0.1, 0.9),
            rng.uniform(-0.12, 0.12),
        )
        s = a + (b - a) * t + sway * np.sin(np.pi * 2 * t)
        line = np.stack([t, s] if flip else [s, t], 1)
        scene.paths.append(world(np.array((u0, v0)) + line * (wide, high)))


def _fill_block(scene: _Scene, rng: np.random.Generator, block: tuple) -> None:
    """Choose the use of one block and fill it."""
    u0, u1, v0, v1 = block
    use = rng.choice(USES, p=CHARACTERS[scene.character])
    start = len(scene.land)
    if min(u1 - u0, v1 - v0) < 26:  # a sliver beside a wide road stays grass
        return
    if use == "park":
        _park(scene, rng, block)
        return
    if use in ("houses", "terraces"):
        _houses(scene, rng, block, use == "terraces")
    elif use == "flats":
        scene.land.append((PAVED, _outline(u0, u1, v0, v1)))
        _flats(scene, rng, block)
    elif use == "commerce":
        _commerce(scene, rng, block)
    else:
        scene.land.append((BARE, _outline(u0, u1, v0, v1)))
        for _ in range(int(rng.integers(2, 8))):
            scene.wishes.append((rng.uniform(u0, u1), rng.uniform(v0, v1), rng.uniform(1.5, 3)))
    for i in range(start, len(scene.land)):
        scene.land[i] = (scene.land[i][0], scene.frame.world(scene.land[i][1]))


# ------------------------------------------------------------------------------------------------------------
# Standing objects: buildings, cars and trees, kept only where nothing is in their way.
# ------------------------------------------------------------------------------------------------------------


def _turned_boxes(
    frame: _Frame, uv: np.ndarray, along_u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Window places (n, 2) of grid places, and the unit axes (n, 2) that follow the street there."""
    step = np.where(along_u[:, None], (1.0, 0.0), (0.0, 1.0))
    axis = frame.world(uv + step) - frame.world(uv - step)
    return frame.world(uv), axis / np.sqrt((axis * axis).sum(1, keepdims=True))


def _rectangles(centre: np.ndarray, axis: np.ndarray, half_long, half_wide) -> np.ndarray:
    """Corners (n, 4, 2), in order around, of rectangles with unit axes (n, 2)."""
    long = axis * np.reshape(half_long, (-1, 1))
    wide = np.stack([-axis[:, 1], axis[:, 0]], 1) * np.reshape(half_wide, (-1, 1))
    return np.stack(
        [centre - long - wide, centre + long - wide, centre + long + wide, centre - long + wide], 1
    )


def _place_buildings(scene: _Scene, blocked: np.ndarray) -> None:
    """Keep the buildings that touch neither road nor water."""
    if not scene.boxes:
        return
    rows = np.array(scene.boxes, np.float64)
    centre, axis = _turned_boxes(scene.frame, rows[:, :2], rows[:, 2] > 0)
    long, wide = rows[:, 3], rows[:, 4]
    swap = wide > long  # the first axis is the ridge of a pitched roof: the longer one
    axis[swap] = np.stack([-axis[swap, 1], axis[swap, 0]], 1)
    corners = _rectangles(centre, axis, np.maximum(long, wide), np.minimum(long, wide))
    middles = (corners + np.roll(corners, 1, 1)) / 2
    probes = np.concatenate([corners, middles, (corners + centre[:, None]) / 2], 1)
    free = ~_at(blocked, probes).any(1) & _near(centre, 25)
    scene.corners, scene.styles = corners[free], rows[free, 5:9]


def _place_cars(
    scene: _Scene, rng: np.random.Generator, footprints: np.ndarray, wet: np.ndarray
) -> None:
    """Cars in the bays, at the kerbs, and a few under way on the major roads."""
    places, axes = [], []
    if scene.parked:
        rows = np.array(scene.parked, np.float64)
        centre, axis = _turned_boxes(scene.frame, rows[:, :2], rows[:, 2] > 0)
        places.append(centre)
        axes.append(axis)
    fill = {"suburb": 0.11, "green": 0.11, "town": 0.26, "centre": 0.30, "works": 0.14}[
        scene.character
    ]
    majors = _coarse_mask([r.band(8) for r in scene.roads if r.major])
    for road in scene.roads:
        step = np.diff(road.line, axis=0)
        run = np.concatenate([[0], np.cumsum(np.sqrt((step * step).sum(1)))])
        at = np.arange(12, run[-1] - 12, 6.2)
        for side in (-1, 1):
            t = at[rng.random(len(at)) < (0.08 if road.major else fill)] + rng.uniform(-0.4, 0.4)
            if not len(t):
                continue
            x, y = (np.interp(t, run, road.line[:, k]) for k in (0, 1))
            tx, ty = (np.interp(t, run[1:], step[:, k]) for k in (0, 1))
            axis = np.stack([tx, ty], 1) / np.sqrt(tx * tx + ty * ty)[:, None]
            shift = road.width / 4 if road.major else road.width / 2 - 1.15
            centre = np.stack([x, y], 1) + side * shift * np.stack([-axis[:, 1], axis[:, 0]], 1)
            keep = np.ones(len(t), bool) if road.major else ~_at(majors, centre)
            places.append(centre[keep])
            axes.append(axis[keep])
    if not places:
        return
    centre, axis = np.concatenate(places), np.concatenate(axes)
    shown = _near(centre, 3) & ~_at(footprints, centre)
    shown[: len(scene.parked)] &= ~_at(majors | wet, centre[: len(scene.parked)])
    colour = rng.integers(len(CARS), size=len(centre))
    scene.cars = np.column_stack([centre, axis, colour])[shown]


def _place_trees(scene: _Scene, rng: np.random.Generator, solid: np.ndarray) -> None:
    """Trees in woods, in parks, along the water, in gardens and along the streets."""
    spacing = 5.0
    n = int(WINDOW / spacing) + 2
    spots = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2) * spacing
    spots = spots + rng.uniform(-2.2, 2.2, spots.shape)
    kind = _at(np.asarray(_draw_land(scene, COARSE)), spots)
    share = np.array([0.0, 0.0, 0.05, 0.93, 0.02, 0.0, 0.24])[kind]
    chosen = rng.random(len(spots)) < share
    rows = [np.column_stack([spots, rng.uniform(2.3, 4.2, len(spots))])[chosen]]
    if scene.wishes:
        wishes = np.array(scene.wishes)
        rows.append(np.column_stack([scene.frame.world(wishes[:, :2]), wishes[:, 2]]))
    avenue = rng.random() < 0.45
    for road in scene.roads:
        if not avenue or len(road.line) < 6:
            continue
        stride = int(rng.integers(3, 6))
        for side in (-1, 1):
            line = (road.line + road.normal * (side * (road.width / 2 + 2.2)))[2:-2:stride]
            rows.append(
                np.column_stack([line, rng.uniform(1.7, 2.9, len(line))])[
                    rng.random(len(line)) < 0.55
                ]
            )
    trees = np.concatenate(rows)
    trees = trees[_near(trees[:, :2], 5) & ~_at(solid, trees[:, :2])]
    scene.trees = np.column_stack([trees, rng.random(len(trees))])


def _make_scene(seed: int) -> _Scene:
    """Invent one piece of town from the seed alone, so that a scene is the same at every image size."""
    rng = np.random.Generator(np.random.PCG64(seed))
    angle = 0.0 if rng.random() < 0.2 else rng.uniform(-np.pi / 4, np.pi / 4)
    amplitude = rng.uniform(4, 13, 2) * (rng.random() < 0.45)
    bend = np.stack([amplitude, 2 * np.pi / rng.uniform(240, 400, 2), rng.uniform(0, 6.28, 2)], 1)
    turn = SUN_AZIMUTH + rng.uniform(-0.1, 0.1)
    scene = _Scene(_Frame(angle, bend), np.array([np.cos(turn), np.sin(turn)]))
    scene.character = str(rng.choice(list(CHARACTERS), p=CHARACTER_WEIGHTS))
    _add_water(scene, rng)
    shores, scene.land = scene.land, []
    blocks = np.array(_add_streets(scene, rng, shores))
    corners = scene.frame.world(blocks[:, [[0, 2], [1, 2], [1, 3], [0, 3]]])
    for block in blocks[((corners.max(1) > 0) & (corners.min(1) < WINDOW)).all(1)].tolist():
        _fill_block(scene, rng, block)
    scene.land += shores
    if scene.tints:
        lots = scene.frame.world(np.stack([lot for _, lot in scene.tints]))
        scene.tints = [(value, lot) for (value, _), lot in zip(scene.tints, lots, strict=True)]
    if scene.bays:
        scene.bays = list(scene.frame.world(np.stack(scene.bays)))

    wet = _coarse_mask(scene.waters)
    lanes = _coarse_mask([r.band(1.5) for r in scene.roads])
    wide = _coarse_mask([r.band(6) for r in scene.roads if r.major])
    shore = _coarse_mask([p for _, p in shores])
    scene.pitches = [p for p in scene.pitches if not _at(lanes | wet | shore, p).any()]
    fields = _coarse_mask(scene.pitches)
    if scene.drives:
        drives = scene.frame.world(np.stack(scene.drives))
        scene.drives = list(drives[~_at(shore | wet, drives).any(1)])
    _place_buildings(scene, lanes | wet | shore | wide)
    footprints = _coarse_mask(list(scene.corners))
    _place_cars(scene, rng, footprints, wet)
    _place_trees(scene, rng, lanes | wet | footprints | fields)
    return scene


# ------------------------------------------------------------------------------------------------------------
# Street map: flat colours, drawn large and reduced.
# ------------------------------------------------------------------------------------------------------------


def _draw_map(scene: _Scene, pixels: int) -> Image.Image:
    """The street map, an RGB image of (pixels, pixels)."""
    k = pixels / WINDOW
    lut = np.array(MAP_GROUND, np.uint8)
    image = Image.fromarray(lut[np.asarray(_draw_land(scene, pixels))])
    draw = ImageDraw.Draw(image)
    _polygons(draw, [_ribbon(path, 2.4) for path in scene.paths], MAP_PATH, k)
    for pitch in scene.pitches:
        middle = pitch.mean(0)
        _polygons(draw, [pitch], MAP_PITCH_EDGE, k)
        _polygons(draw, [middle + (pitch - middle) * 0.93], MAP_PITCH, k)
    _polygons(draw, scene.waters, MAP_WATER, k)
    if len(scene.corners):
        middle = scene.corners.mean(1, keepdims=True)
        reach = np.abs(scene.corners - middle).max((1, 2), keepdims=True)
        _polygons(draw, scene.corners, MAP_BUILDING_EDGE, k)
        _polygons(draw, middle + (scene.corners - middle) * (1 - 0.55 / reach), MAP_BUILDING, k)
    for major, casing, fill in (
        (False, MAP_ROAD_CASING, MAP_ROAD),
        (True, MAP_MAJOR_CASING, MAP_MAJOR),
    ):
        lines = [road for road in scene.roads if road.major == major]
        _polygons(draw, [road.band(2) for road in lines], casing, k)
        _polygons(draw, [road.band() for road in lines], fill, k)
    return image


# ------------------------------------------------------------------------------------------------------------
# Photo, part 1: ground, water, streets and roofs as flat or mottled colour, before light and shadow.
# ------------------------------------------------------------------------------------------------------------


class _Noise:
    """Smooth random fields (pixels, pixels) float32 of zero mean and about unit deviation.

    The cells are a fixed share of the window, so that a texture keeps its place and size at any resolution.
    """

    def __init__(self, seed: int, pixels: int) -> None:
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self.low = [self._field(rng, 7, pixels) for _ in range(2)]
        self.mid = self._field(rng, 44, pixels)
        self.fine = self._field(rng, 190, pixels)
        self.grain = rng.standard_normal((pixels, pixels), np.float32)

    @staticmethod
    def _field(rng: np.random.Generator, cells: int, pixels: int) -> np.ndarray:
        image = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
        values = np.asarray(image.resize((pixels, pixels), Image.Resampling.BICUBIC))
        return values * np.float32(1.3)


def _tone(colour, factor: float = 1.0) -> tuple[int, int, int]:
    """A colour made lighter or darker, as PIL wants it."""
    return tuple(int(min(255, max(0, c * factor))) for c in colour)


def _paint_ground(scene: _Scene, noise: _Noise, pixels: int) -> Image.Image:
    """Lawns, yards and bare soil, each mixed from its two colours by noise and by the dryness of a garden."""
    land = np.asarray(_draw_land(scene, pixels)).astype(np.intp)
    dryness = Image.new("L", (pixels, pixels), 110)
    draw = ImageDraw.Draw(dryness)
    for value, polygon in scene.tints:
        _polygons(draw, [polygon], value, pixels / WINDOW)
    mix = np.asarray(dryness, np.float32) * np.float32(0.6 / 255) + np.float32(0.2)
    mix = np.where(land == GARDEN, mix, np.float32(0.5))
    mix = np.clip(mix + 0.16 * noise.low[0] + 0.15 * noise.mid, 0, 1)
    gain = 1 + TEXTURE[land] * (0.7 * noise.fine + 0.5 * noise.grain + 0.3 * noise.mid)
    first, spread = GROUND_A.T, (GROUND_B - GROUND_A).T
    return _merge([(first[c][land] + spread[c][land] * mix) * gain for c in range(3)])


def _merge(planes: list[np.ndarray]) -> Image.Image:
    """Three float planes (pixels, pixels), 0..255, as an RGB image.

    Colour arithmetic is done plane by plane because numpy is several times slower on a last axis of length 3.
    """
    return Image.merge(
        "RGB", [Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8)) for plane in planes]
    )


def _paint_water(image: Image.Image, scene: _Scene, noise: _Noise) -> None:
    """Dark water with a paler, shallow edge, ripples, and a shore of mud and sand around it."""
    if not scene.waters:
        return
    pixels, k = image.width, image.width / WINDOW
    mask = Image.new("L", image.size, 0)
    _polygons(ImageDraw.Draw(mask), scene.waters, 255, k)
    inside = (
        np.asarray(mask.filter(ImageFilter.GaussianBlur(3.2 * k)), np.float32) / 255
        + 0.025 * noise.fine
    )
    deep = np.clip((inside - 0.45) / 0.5, 0, 1)
    # Ripples run across the wind: the fine noise, squeezed along one axis.
    squeezed = Image.fromarray(noise.fine).resize((pixels, pixels * 2), Image.Resampling.BILINEAR)
    ripple = np.asarray(squeezed)[::4][: pixels // 2]
    ripple = np.concatenate([ripple, ripple[::-1]])[:pixels]
    shine = 1 + 0.05 * noise.low[1] + 0.055 * ripple + 0.03 * noise.grain
    edge = np.clip((inside - 0.40) * 14, 0, 1)
    grit = (1 + 0.06 * noise.fine + 0.05 * noise.grain) * (1 - edge)
    shine *= edge
    layer = [
        sand * grit + (shallow + (dark - shallow) * deep) * shine
        for sand, shallow, dark in zip(SHORE, WATER_SHALLOW, WATER_DEEP, strict=True)
    ]
    alpha = (np.clip((inside - 0.14) * 6, 0, 1) * 255).astype(np.uint8)
    image.paste(_merge(layer), (0, 0), Image.fromarray(alpha))


def _dashes(line: np.ndarray, on: float, off: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut a line (n, 2) into dashes of `on` and gaps of `off` metres: middles and unit axes, both (m, 2)."""
    step = np.diff(line, axis=0)
    run = np.concatenate([[0], np.cumsum(np.sqrt((step * step).sum(1)))])
    start = np.arange(0, run[-1] - on, on + off)
    a, b = (np.stack([np.interp(start + d, run, line[:, k]) for k in (0, 1)], 1) for d in (0, on))
    return (a + b) / 2, (b - a) / np.maximum(np.sqrt(((b - a) ** 2).sum(1, keepdims=True)), 1e-9)


def _marks(
    road: _Road, on: float, off: float, width: float, shift: float, hidden: np.ndarray
) -> np.ndarray:
    """Painted dashes (m, 4, 2) `shift` metres beside a road's centre line, none where `hidden` is set."""
    centre, axis = _dashes(road.line, on, off)
    centre = centre + shift * np.stack([-axis[:, 1], axis[:, 0]], 1)
    shown = ~_at(hidden, centre)
    return _rectangles(centre[shown], axis[shown], on / 2, width / 2)


def _paint_streets(draw: ImageDraw.ImageDraw, scene: _Scene, k: float) -> None:
    """Pavements, asphalt with worn lanes, and lane marks; layer by layer, so that crossings stay open."""
    minor = [road for road in scene.roads if not road.major]
    major = [road for road in scene.roads if road.major]
    for roads in (minor, major):
        _polygons(draw, [road.band(4.6) for road in roads], SIDEWALK, k)
    for roads in (minor, major):
        _polygons(draw, [road.band(0.9) for road in roads], KERB, k)
    for road in minor + major:
        base = ASPHALT_MAJOR if road.major else ASPHALT
        _polygons(draw, [road.band()], _tone(base, road.shade), k)
        lanes = (-0.375, -0.125, 0.125, 0.375) if road.major else (-0.16, 0.16)
        worn = [road.stripe(1.5, road.width * lane) for lane in lanes]
        _polygons(draw, worn, _tone(base, road.shade * 1.06), k)
    lattice = _coarse_mask([road.band(3) for road in minor])
    crossing = _coarse_mask([road.band(3) for road in major])
    for i, road in enumerate(major):
        others = _coarse_mask([r.band(2) for j, r in enumerate(major) if j != i])
        for side in (-1, 1):
            _polygons(
                draw, _marks(road, 3, 4.5, 0.5, side * road.width / 4, others), PAINT_WHITE, k
            )
            _polygons(draw, _marks(road, 4, 0, 0.4, side * 0.4, others | lattice), PAINT_YELLOW, k)
    for road in minor:
        _polygons(draw, _marks(road, 2.5, 5, 0.35, 0, crossing), _tone(PAINT_WHITE, 0.8), k)


def _paint_pitch(draw: ImageDraw.ImageDraw, pitch: np.ndarray, k: float) -> None:
    """A mown playing field with white lines; `pitch` is (4, 2)."""
    a, b, c, d = pitch
    if np.abs(b - a).sum() < np.abs(c - b).sum():
        a, b, c, d = b, c, d, a
    for i in range(8):
        s, t = i / 8, (i + 1) / 8
        stripe = np.stack([a + (b - a) * s, a + (b - a) * t, d + (c - d) * t, d + (c - d) * s])
        _polygons(draw, [stripe], (92, 128, 62) if i % 2 else (104, 140, 70), k)
    middle = (a + c) / 2
    frame = [a, b, c, d]
    lines = [np.stack([frame[i], frame[(i + 1) % 4]]) for i in range(4)] + [
        np.stack([(a + b) / 2, (c + d) / 2])
    ]
    lines = [middle + (line - middle) * 0.92 for line in lines]
    phi = np.linspace(0, 2 * np.pi, 25)[:, None]
    long, wide = (b - a) / np.linalg.norm(b - a), (d - a) / np.linalg.norm(d - a)
    lines.append(middle + 4.2 * (np.cos(phi) * long + np.sin(phi) * wide))
    _polygons(draw, [_ribbon(line, 0.45) for line in lines], (222, 228, 212), k)


def _pitched_faces(
    corners: np.ndarray, hip: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split footprints (n, 4, 2), ridge along the first side, into roof faces.

    Returns the two long faces (n, 2, 4, 2), the two ends (n, 2, 3, 2) that only hipped roofs have, and the
    ridges (n, 2, 2).
    """
    a, b, c, d = (corners[:, i] for i in range(4))
    long, wide = b - a, d - a
    ratio = np.sqrt((wide * wide).sum(1) / np.maximum((long * long).sum(1), 1e-9))
    inset = np.where(hip, np.minimum(0.5, 0.5 * ratio), 0.0)[:, None]
    left, right = (a + d) / 2 + long * inset, (b + c) / 2 - long * inset
    sides = np.stack([np.stack([a, b, right, left], 1), np.stack([d, c, right, left], 1)], 1)
    ends = np.stack([np.stack([a, d, left], 1), np.stack([b, c, right], 1)], 1)
    return sides, ends, np.stack([left, right], 1)


def _paint_pitched_roofs(draw: ImageDraw.ImageDraw, scene: _Scene, k: float) -> None:
    """Roofs with a lit and a dark side, a pale ridge, and a chimney on some."""
    chosen = scene.styles[:, 1] != FLAT
    if not chosen.any():
        return
    corners, (height, roof, colour, shade) = scene.corners[chosen], scene.styles[chosen].T
    sides, ends, ridges = _pitched_faces(corners, roof == HIP)
    middle = corners.mean(1, keepdims=True)
    faces = [(sides[:, 0], 0, 1), (sides[:, 1], 3, 2), (ends[:, 0], 0, 3), (ends[:, 1], 1, 2)]
    base = np.array(PITCHED_ROOFS, np.float64)[colour.astype(int)] * shade[:, None]
    points, colours = [], []
    for polygon, i, j in faces:
        outward = (corners[:, i] + corners[:, j]) / 2 - middle[:, 0]
        facing = (outward @ scene.sun) / np.sqrt((outward * outward).sum(1))
        points.append((polygon * k - 0.5).reshape(len(polygon), 2 * polygon.shape[1]).tolist())
        colours.append(np.clip(base * (0.96 + 0.32 * facing)[:, None], 0, 255).astype(int).tolist())
    for n in range(len(corners)):  # house by house: a wing lies over its house
        for face in range(4 if roof[n] == HIP else 2):
            draw.polygon(points[face][n], fill=tuple(colours[face][n]))
    axis = ridges[:, 1] - ridges[:, 0]
    length = np.sqrt((axis * axis).sum(1))
    pale = np.clip(base * 1.2, 0, 255).astype(int).tolist()
    along = (corners[:, 1] - corners[:, 0]) / np.sqrt(
        ((corners[:, 1] - corners[:, 0]) ** 2).sum(1, keepdims=True)
    )
    strips = _rectangles(ridges.mean(1), along, length / 2, 0.2)
    for n in np.flatnonzero(length > 1):
        _polygons(draw, strips[n : n + 1], tuple(pale[n]), k)
    tall = (height > 6.2) & (roof == GABLE)
    stacks = _rectangles((ridges[:, 0] * 0.72 + ridges[:, 1] * 0.28)[tall], along[tall], 0.5, 0.5)
    _polygons(draw, stacks - scene.sun * 0.9, (70, 62, 58), k)
    _polygons(draw, stacks, (156, 136, 124), k)


def _paint_flat_roofs(draw: ImageDraw.ImageDraw, scene: _Scene, k: float) -> None:
    """Flat roofs, each with a palette colour of its own."""
    for index, (corners, (_, roof, colour, shade)) in enumerate(
        zip(scene.corners, scene.styles, strict=True)
    ):
        if roof == FLAT:
            _paint_flat_roof(
                draw, corners, _tone(FLAT_ROOFS[int(colour) % 5], shade), index, scene.sun, k
            )


def _paint_flat_roof(
    draw: ImageDraw.ImageDraw, corners: np.ndarray, colour, index: int, sun: np.ndarray, k: float
) -> None:
    """One flat roof: a light parapet, its inner shadow, the deck, and a few boxes of plant with shadows."""
    middle = corners.mean(0)
    long, wide = corners[1] - corners[0], corners[3] - corners[0]
    size = np.sqrt((long * long).sum()), np.sqrt((wide * wide).sum())
    inner = corners.copy()
    for vector, length in ((long, size[0]), (wide, size[1])):
        near = ((corners - middle) @ vector) < 0
        inner += np.where(near[:, None], 0.7, -0.7) * (vector / length)
    _polygons(draw, [corners], _tone(colour, 1.12), k)
    _polygons(draw, [inner], _tone(colour, 0.72), k)
    _polygons(
        draw,
        [np.where(((corners - middle) @ sun > 0)[:, None], inner - sun * 0.6, inner)],
        colour,
        k,
    )
    spots = np.random.Generator(np.random.PCG64(index)).random((6, 4))
    count = min(6, int(size[0] * size[1] / 110))
    for x, y, a, b in spots[:count]:
        place = corners[0] + long * (0.15 + 0.7 * x) + wide * (0.2 + 0.6 * y)
        half_long, half_wide = long / size[0] * (0.7 + 1.5 * a), wide / size[1] * (0.7 + 0.9 * b)
        box = place + np.stack(
            [
                -half_long - half_wide,
                half_long - half_wide,
                half_long + half_wide,
                half_wide - half_long,
            ]
        )
        _polygons(draw, [box - sun * 1.2], _tone(colour, 0.6), k)
        _polygons(draw, [box], _tone((188, 188, 186), 0.85 + 0.3 * a), k)


def _paint_cars(draw: ImageDraw.ImageDraw, scene: _Scene, k: float) -> None:
    """Cars with a shadow, a body and a darker windscreen band."""
    if not len(scene.cars):
        return
    centre, axis = scene.cars[:, :2], scene.cars[:, 2:4]
    body = _rectangles(centre, axis, 2.25, 0.95)
    glass = _rectangles(centre + axis * 0.5, axis, 0.45, 0.75)
    _polygons(draw, body - scene.sun * 0.7, (56, 56, 60), k)
    for i, colour in enumerate(scene.cars[:, 4].astype(int)):
        _polygons(draw, body[i : i + 1], CARS[colour], k)
    _polygons(draw, glass, (58, 62, 68), k)


# ------------------------------------------------------------------------------------------------------------
# Photo, part 2: shadows, trees, and the camera.
# ------------------------------------------------------------------------------------------------------------


def _building_shadows(scene: _Scene, pixels: int) -> np.ndarray:
    """How much each place is shaded by buildings, (pixels, pixels) float32 in [0, 1]."""
    k = pixels / WINDOW
    image = Image.new("L", (pixels, pixels), 0)
    draw = ImageDraw.Draw(image)
    if len(scene.corners):
        throw = -scene.sun * scene.styles[:, :1] * (0.72 / np.tan(SUN_ELEVATION))
        moved = scene.corners + throw[:, None]
        _polygons(draw, moved, 255, k)
        for i in range(4):  # the sweep of each wall
            j = (i + 1) % 4
            sweep = np.stack(
                [scene.corners[:, i], scene.corners[:, j], moved[:, j], moved[:, i]], 1
            )
            _polygons(draw, sweep, 255, k)
        _polygons(draw, scene.corners, 0, k)
    soft = image.filter(ImageFilter.BoxBlur(max(0.5, 0.3 * k)))
    return np.asarray(soft, np.float32) * np.float32(1 / 255)


def _tree_heights(scene: _Scene, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """The crowns' height in metres and the tint of the highest crown: two (pixels, pixels) float32."""
    k = pixels / WINDOW
    height, tint = np.zeros((pixels, pixels), np.float32), np.zeros((pixels, pixels), np.float32)
    domes: dict[int, np.ndarray] = {}
    for x, y, radius, shade in scene.trees.tolist():
        size = max(1, round(radius * k))
        if size not in domes:
            t = np.arange(-size, size + 1, dtype=np.float32) / (size + 0.5)
            square = t[:, None] ** 2 + t[None, :] ** 2
            domes[size] = np.sqrt(np.maximum(1 - square, 0)) * np.float32(size / k)
        left, top = round(x * k) - size, round(y * k) - size
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + 2 * size + 1, pixels), min(top + 2 * size + 1, pixels)
        if x0 >= x1 or y0 >= y1:
            continue
        dome = domes[size][y0 - top : y1 - top, x0 - left : x1 - left]
        patch = height[y0:y1, x0:x1]
        higher = dome > patch
        np.copyto(patch, dome, where=higher)
        np.copyto(tint[y0:y1, x0:x1], np.float32(shade), where=higher)
    return height, tint


def _shifted(field: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """The field moved by whole pixels; what comes in is zero."""
    out = np.zeros_like(field)
    h, w = field.shape
    out[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = field[
        max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out


def _light(flat: Image.Image, scene: _Scene, noise: _Noise) -> list[np.ndarray]:
    """Add shadows and trees to the flat picture; three planes (pixels, pixels) float32, about 0..255."""
    pixels = flat.width
    k = pixels / WINDOW
    height, tint = _tree_heights(scene, pixels)
    rough = height + (0.55 * noise.fine + 0.25 * noise.grain) * (height > 0)
    crown = np.clip((rough - 0.7) * 1.6, 0, 1)
    shadow = _building_shadows(scene, pixels)
    for reach in (1.4, 2.8):
        dx, dy = (round(float(c)) for c in -scene.sun * reach * k)
        shadow = np.maximum(shadow, 0.92 * _shifted(crown, dx, dy))

    # Crowns are shaded by their slope towards the sun, which also brings out the leaves.
    slope_x, slope_y = np.zeros_like(rough), np.zeros_like(rough)
    slope_x[:, 1:-1], slope_y[1:-1] = (
        (rough[:, 2:] - rough[:, :-2]) * (k / 2),
        (rough[2:] - rough[:-2]) * (k / 2),
    )
    sun_x, sun_y = (float(c) * 0.30 for c in scene.sun)
    lit = np.clip(0.98 - (slope_x * sun_x + slope_y * sun_y), 0.42, 1.55)
    lit *= (1 + 0.07 * noise.fine + 0.06 * noise.grain) * crown
    bare = 1 - crown
    planes = []
    # Shade is lit by the sky alone: darker, and a little bluer.
    for plane, depth, dark, light in zip(
        flat.split(), (0.55, 0.52, 0.45), TREE_DARK, TREE_LIGHT, strict=True
    ):
        ground = np.asarray(plane, np.float32) * (1 - depth * shadow)
        planes.append(ground * bare + (dark + (light - dark) * tint) * lit)
    return planes


def _reduce(plane: np.ndarray, factor: int) -> np.ndarray:
    """Mean over squares of factor x factor pixels."""
    total = sum(plane[i::factor, j::factor] for i in range(factor) for j in range(factor))
    return total * np.float32(1 / factor**2)


def _draw_photo(scene: _Scene, seed: int, size: int, factor: int) -> np.ndarray:
    """The aerial photo, (size, size, 3) uint8, drawn `factor` times as large and reduced."""
    pixels = size * factor
    k = pixels / WINDOW
    noise = _Noise(seed, pixels)
    image = _paint_ground(scene, noise, pixels)
    draw = ImageDraw.Draw(image)
    _polygons(draw, scene.drives, CONCRETE, k)
    _polygons(draw, [_ribbon(bay, 0.35) for bay in scene.bays], _tone(PAINT_WHITE, 0.86), k)
    _polygons(draw, [_ribbon(path, 2.6) for path in scene.paths], GRAVEL, k)
    for pitch in scene.pitches:
        _paint_pitch(draw, pitch, k)
    _paint_water(image, scene, noise)
    _paint_streets(draw, scene, k)
    _paint_cars(draw, scene, k)
    _paint_pitched_roofs(draw, scene, k)
    _paint_flat_roofs(draw, scene, k)

    gain = 1 + 0.035 * noise.low[1] + 0.03 * noise.mid + 0.03 * noise.fine + 0.02 * noise.grain
    photo = np.stack([_reduce(plane * gain, factor) for plane in _light(image, scene, noise)], -1)
    # The camera: a slight haze, one exposure per scene, and sensor noise per pixel of the final image.
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    exposure, warmth = rng.uniform(0.96, 1.05), rng.uniform(-0.02, 0.02)
    photo = (
        photo * (np.array([1 + warmth, 1.0, 1 - warmth], np.float32) * np.float32(1.03 * exposure))
        + 13
    )
    photo = photo + 2.0 * rng.standard_normal((size, size, 1), np.float32)
    photo = photo + 1.2 * rng.standard_normal((size, size, 3), np.float32)
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8)


def render_pair(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene as an aerial photo and as a street map.

    Args:
        seed: a non-negative integer that names the scene; the same scene is drawn at every size.
        size: height and width of both images in pixels, at least 32.

    Returns:
        (photo, street_map), each (size, size, 3) uint8 RGB in [0, 255].
    """
    if size < 32:
        raise InputError(f"size must be at least 32 pixels, not {size}")
    scene = _make_scene(seed)
    factor = 4 if size <= 80 else 2
    street_map = np.asarray(_draw_map(scene, size * factor).reduce(factor))
    return _draw_photo(scene, seed, size, factor), street_map


# ------------------------------------------------------------------------------------------------------------
# Dataset on disk: A|B pairs as PNG files, written by several processes, resumable and never half written.
# ------------------------------------------------------------------------------------------------------------

VERSION = 1  # of the drawing; raised when the same seed would give another picture
PARAMETERS = "builtin.json"
PHASES = ("train", "val")
MANY = 48  # images from which starting a process pool pays


def _scene_seed(seed: int, phase: str, index: int) -> int:
    """The scene of one image: a 64-bit hash of its place, so that a bigger data set only adds images."""
    state = np.random.SeedSequence([seed, PHASES.index(phase), index]).generate_state(1, np.uint64)
    return int(state[0])


def _write_pair(path: Path, seed: int, size: int) -> None:
    """Draw one scene into `path`: the photo (A) left, the map (B) right, 2 * size by size pixels."""
    pair = Image.fromarray(np.concatenate(render_pair(seed, size), axis=1))
    with written_whole(path, flush=False) as temporary:
        pair.save(temporary, format="PNG", compress_level=4)


def _write_pairs(jobs: list[tuple[Path, int]], size: int) -> int:
    """Write several images, (path, scene seed) each; returns how many."""
    for path, seed in jobs:
        _write_pair(path, seed, size)
    return len(jobs)


def _is_complete(path: Path, size: int) -> bool:
    """Whether `path` is an image of the right size; reads its header only."""
    try:
        with Image.open(path) as image:
            return image.size == (2 * size, size)
    except OSError:
        return False


def _claim_folder(root: Path, size: int, seed: int) -> None:
    """Make the folders, and record the parameters or compare them with the recorded ones."""
    wanted = {"generator": "builtin", "version": VERSION, "size": size, "seed": seed}
    record = root / PARAMETERS
    if record.exists():
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(
                f"{record} is not readable as JSON ({error}); choose another folder"
            ) from error
        if found != wanted:
            keys = ("size", "seed", "version")
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


def _run_jobs(jobs: list[tuple[Path, int]], size: int, workers: int) -> Iterator[int]:
    """Write all images and yield after each few how many were written."""
    if workers < 2 or len(jobs) < MANY:
        for job in jobs:
            yield _write_pairs([job], size)
        return
    chunk = 8
    pool = ProcessPoolExecutor(min(workers, len(jobs) // chunk + 1))
    try:
        parts = [
            pool.submit(_write_pairs, jobs[i : i + chunk], size) for i in range(0, len(jobs), chunk)
        ]
        for part in as_completed(parts):
            yield part.result()
    finally:
        pool.shutdown(
            wait=True, cancel_futures=True
        )  # on an error the rest is not worth waiting for


def write_builtin_dataset(
    root: str | os.PathLike,
    train: int = 400,
    val: int = 100,
    size: int = 256,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Write the data set as A|B pairs: `root`/train/00000.png ..., `root`/val/00000.png ...

    Each file is an RGB PNG, 2 * size wide and size high: the photo (A) on the left, the street map (B) on the
    right.  Image i of a phase depends on (seed, phase, i, size) alone, so a bigger count adds files and
    changes none.
    Files that are already complete are kept; `root`/builtin.json records the parameters.

    Args:
        root: the folder to fill; made if need be.
        train: number of training images, at least 1.
        val: number of validation images, at least 1.
        size: height and width of one half in pixels, at least 32 and a multiple of 4.
        seed: a non-negative integer; another seed gives other scenes.
        workers: processes to draw with; all cores by default, 0 draws in the calling process.
        progress: whether to show a progress bar with the rate on stderr.

    Raises:
        InputError: a ValueError, for a bad argument, or when `root` holds images of other parameters.
        OSError: if the folder cannot be written.
    """
    if size < 32 or size % 4:
        raise InputError(f"size must be at least 32 pixels and a multiple of 4, not {size}")
    if train < 1 or val < 1:
        raise InputError(
            f"the counts of images must be at least 1, not train {train} and val {val}"
        )
    if seed < 0:
        raise InputError(f"seed must not be negative, as {seed} is")
    root = Path(root)
    _claim_folder(root, size, seed)
    jobs = []
    for phase, count in zip(PHASES, (train, val), strict=True):
        for i in range(count):
            path = root / phase / f"{i:05d}.png"
            if not _is_complete(path, size):
                jobs.append((path, _scene_seed(seed, phase, i)))
    kept = train + val - len(jobs)
    workers = (os.cpu_count() or 1) if workers is None else workers
    with Bar(
        total=train + val, initial=kept, unit="pair", desc="drawing maps", disable=not progress
    ) as bar:
        for done in _run_jobs(jobs, size, workers):
            bar.update(done)
