"""The aerial photo of a scene. ``k`` is always the scale of a drawing in pixels per metre."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from prepare.builtin.palette import (
    ASPHALT,
    ASPHALT_MAJOR,
    CARS,
    CONCRETE,
    FLAT,
    FLAT_ROOFS,
    GABLE,
    GARDEN,
    GRAVEL,
    GROUND_A,
    GROUND_B,
    HIP,
    KERB,
    PAINT_WHITE,
    PAINT_YELLOW,
    PITCHED_ROOFS,
    SHORE,
    SIDEWALK,
    SUN_ELEVATION,
    TEXTURE,
    TREE_DARK,
    TREE_LIGHT,
    WATER_DEEP,
    WATER_SHALLOW,
    WINDOW,
)
from prepare.builtin.scene import (
    Road,
    Scene,
    coarse_mask,
    draw_land,
    fill_polygons,
    rectangles,
    ribbon,
    value_at,
)

# --------------------------------------------------------------------------------------------------
# Part 1: ground, water, streets and roofs in flat or mottled colours, before light and shadow


class _Noise:
    """Smooth random fields (pixels, pixels) float32, with mean 0 and deviation about 1.

    A cell is a fixed fraction of the window, so a texture has the same place and size at every
    resolution. Only ``grain`` is one random number per pixel.
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
    """A colour, 0..255, times ``factor``, as the tuple of integers that PIL needs."""
    return tuple(int(min(255, max(0, c * factor))) for c in colour)


def _paint_ground(scene: Scene, noise: _Noise, pixels: int) -> Image.Image:
    """The ground: each kind is a mix of its two colours, by noise and by the dryness of gardens."""
    land = np.asarray(draw_land(scene, pixels)).astype(np.intp)
    dryness = Image.new("L", (pixels, pixels), 110)
    draw = ImageDraw.Draw(dryness)
    for value, polygon in scene.tints:
        fill_polygons(draw, [polygon], value, pixels / WINDOW)
    mix = np.asarray(dryness, np.float32) * np.float32(0.6 / 255) + np.float32(0.2)
    mix = np.where(land == GARDEN, mix, np.float32(0.5))
    mix = np.clip(mix + 0.16 * noise.low[0] + 0.15 * noise.mid, 0, 1)
    gain = 1 + TEXTURE[land] * (0.7 * noise.fine + 0.5 * noise.grain + 0.3 * noise.mid)
    first, spread = GROUND_A.T, (GROUND_B - GROUND_A).T
    return _merge([(first[c][land] + spread[c][land] * mix) * gain for c in range(3)])


def _merge(planes: list[np.ndarray]) -> Image.Image:
    """Three float planes (pixels, pixels), clipped to 0..255, as an RGB image.

    Colours are computed plane by plane, since numpy is several times slower on a last axis of
    length 3.
    """
    return Image.merge(
        "RGB", [Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8)) for plane in planes]
    )


def _paint_water(image: Image.Image, scene: Scene, noise: _Noise) -> None:
    """Dark water with a paler, shallow edge, ripples, and a shore of mud and sand around it."""
    if not scene.waters:
        return
    pixels, k = image.width, image.width / WINDOW
    mask = Image.new("L", image.size, 0)
    fill_polygons(ImageDraw.Draw(mask), scene.waters, 255, k)
    inside = (
        np.asarray(mask.filter(ImageFilter.GaussianBlur(3.2 * k)), np.float32) / 255
        + 0.025 * noise.fine
    )
    deep = np.clip((inside - 0.45) / 0.5, 0, 1)
    # Ripples are the fine noise, squeezed along one axis.
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
    """Cut a line (n, 2) into dashes of `on` metres with gaps of `off` metres.

    Returns:
        middles and unit axes of the dashes, (m, 2) each
    """
    step = np.diff(line, axis=0)
    run = np.concatenate([[0], np.cumsum(np.sqrt((step * step).sum(1)))])
    start = np.arange(0, run[-1] - on, on + off)
    a, b = (np.stack([np.interp(start + d, run, line[:, k]) for k in (0, 1)], 1) for d in (0, on))
    return (a + b) / 2, (b - a) / np.maximum(np.sqrt(((b - a) ** 2).sum(1, keepdims=True)), 1e-9)


def _marks(
    road: Road, on: float, off: float, width: float, shift: float, hidden: np.ndarray
) -> np.ndarray:
    """Painted dashes (m, 4, 2), `shift` metres off the centre line of a road.

    There are none where the coarse raster `hidden` is true. See `_dashes` for `on` and `off`.
    """
    centre, axis = _dashes(road.line, on, off)
    centre = centre + shift * np.stack([-axis[:, 1], axis[:, 0]], 1)
    shown = ~value_at(hidden, centre)
    return rectangles(centre[shown], axis[shown], on / 2, width / 2)


def _paint_streets(draw: ImageDraw.ImageDraw, scene: Scene, k: float) -> None:
    """Pavements, asphalt with worn lanes, and lane marks.

    Each layer is drawn for all streets before the next one, so that crossings stay open.
    """
    minor = [road for road in scene.roads if not road.major]
    major = [road for road in scene.roads if road.major]
    for roads in (minor, major):
        fill_polygons(draw, [road.band(4.6) for road in roads], SIDEWALK, k)
    for roads in (minor, major):
        fill_polygons(draw, [road.band(0.9) for road in roads], KERB, k)
    for road in minor + major:
        base = ASPHALT_MAJOR if road.major else ASPHALT
        fill_polygons(draw, [road.band()], _tone(base, road.shade), k)
        lanes = (-0.375, -0.125, 0.125, 0.375) if road.major else (-0.16, 0.16)
        worn = [road.stripe(1.5, road.width * lane) for lane in lanes]
        fill_polygons(draw, worn, _tone(base, road.shade * 1.06), k)
    lattice = coarse_mask([road.band(3) for road in minor])
    crossing = coarse_mask([road.band(3) for road in major])
    for i, road in enumerate(major):
        others = coarse_mask([r.band(2) for j, r in enumerate(major) if j != i])
        for side in (-1, 1):
            fill_polygons(
                draw, _marks(road, 3, 4.5, 0.5, side * road.width / 4, others), PAINT_WHITE, k
            )
            fill_polygons(
                draw, _marks(road, 4, 0, 0.4, side * 0.4, others | lattice), PAINT_YELLOW, k
            )
    for road in minor:
        fill_polygons(draw, _marks(road, 2.5, 5, 0.35, 0, crossing), _tone(PAINT_WHITE, 0.8), k)


def _paint_pitch(draw: ImageDraw.ImageDraw, pitch: np.ndarray, k: float) -> None:
    """A mown playing field with white lines; `pitch` is (4, 2)."""
    a, b, c, d = pitch
    if np.abs(b - a).sum() < np.abs(c - b).sum():
        a, b, c, d = b, c, d, a
    for i in range(8):
        s, t = i / 8, (i + 1) / 8
        stripe = np.stack([a + (b - a) * s, a + (b - a) * t, d + (c - d) * t, d + (c - d) * s])
        fill_polygons(draw, [stripe], (92, 128, 62) if i % 2 else (104, 140, 70), k)
    middle = (a + c) / 2
    frame = [a, b, c, d]
    lines = [np.stack([frame[i], frame[(i + 1) % 4]]) for i in range(4)] + [
        np.stack([(a + b) / 2, (c + d) / 2])
    ]
    lines = [middle + (line - middle) * 0.92 for line in lines]
    phi = np.linspace(0, 2 * np.pi, 25)[:, None]
    long, wide = (b - a) / np.linalg.norm(b - a), (d - a) / np.linalg.norm(d - a)
    lines.append(middle + 4.2 * (np.cos(phi) * long + np.sin(phi) * wide))
    fill_polygons(draw, [ribbon(line, 0.45) for line in lines], (222, 228, 212), k)


def _pitched_faces(
    corners: np.ndarray, hip: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split footprints (n, 4, 2), with the ridge along the first side, into roof faces.

    Args:
        hip: (n,) bool, whether a roof is hipped

    Returns:
        the two long faces (n, 2, 4, 2), the two ends (n, 2, 3, 2) that only hipped roofs have, and
        the ridges (n, 2, 2)
    """
    a, b, c, d = (corners[:, i] for i in range(4))
    long, wide = b - a, d - a
    ratio = np.sqrt((wide * wide).sum(1) / np.maximum((long * long).sum(1), 1e-9))
    inset = np.where(hip, np.minimum(0.5, 0.5 * ratio), 0.0)[:, None]
    left, right = (a + d) / 2 + long * inset, (b + c) / 2 - long * inset
    sides = np.stack([np.stack([a, b, right, left], 1), np.stack([d, c, right, left], 1)], 1)
    ends = np.stack([np.stack([a, d, left], 1), np.stack([b, c, right], 1)], 1)
    return sides, ends, np.stack([left, right], 1)


def _paint_pitched_roofs(draw: ImageDraw.ImageDraw, scene: Scene, k: float) -> None:
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
    # House by house, since a wing must cover part of its house
    for n in range(len(corners)):
        for face in range(4 if roof[n] == HIP else 2):
            draw.polygon(points[face][n], fill=tuple(colours[face][n]))
    axis = ridges[:, 1] - ridges[:, 0]
    length = np.sqrt((axis * axis).sum(1))
    pale = np.clip(base * 1.2, 0, 255).astype(int).tolist()
    along = (corners[:, 1] - corners[:, 0]) / np.sqrt(
        ((corners[:, 1] - corners[:, 0]) ** 2).sum(1, keepdims=True)
    )
    strips = rectangles(ridges.mean(1), along, length / 2, 0.2)
    for n in np.flatnonzero(length > 1):
        fill_polygons(draw, strips[n : n + 1], tuple(pale[n]), k)
    tall = (height > 6.2) & (roof == GABLE)
    stacks = rectangles((ridges[:, 0] * 0.72 + ridges[:, 1] * 0.28)[tall], along[tall], 0.5, 0.5)
    fill_polygons(draw, stacks - scene.sun * 0.9, (70, 62, 58), k)
    fill_polygons(draw, stacks, (156, 136, 124), k)


def _paint_flat_roofs(draw: ImageDraw.ImageDraw, scene: Scene, k: float) -> None:
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
    """One flat roof: a light parapet, its shadow, the deck, and some roof units with shadows."""
    middle = corners.mean(0)
    long, wide = corners[1] - corners[0], corners[3] - corners[0]
    size = np.sqrt((long * long).sum()), np.sqrt((wide * wide).sum())
    inner = corners.copy()
    for vector, length in ((long, size[0]), (wide, size[1])):
        near = ((corners - middle) @ vector) < 0
        inner += np.where(near[:, None], 0.7, -0.7) * (vector / length)
    fill_polygons(draw, [corners], _tone(colour, 1.12), k)
    fill_polygons(draw, [inner], _tone(colour, 0.72), k)
    fill_polygons(
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
        fill_polygons(draw, [box - sun * 1.2], _tone(colour, 0.6), k)
        fill_polygons(draw, [box], _tone((188, 188, 186), 0.85 + 0.3 * a), k)


def _paint_cars(draw: ImageDraw.ImageDraw, scene: Scene, k: float) -> None:
    """Cars with a shadow, a body and a darker windscreen band."""
    if not len(scene.cars):
        return
    centre, axis = scene.cars[:, :2], scene.cars[:, 2:4]
    body = rectangles(centre, axis, 2.25, 0.95)
    glass = rectangles(centre + axis * 0.5, axis, 0.45, 0.75)
    fill_polygons(draw, body - scene.sun * 0.7, (56, 56, 60), k)
    for i, colour in enumerate(scene.cars[:, 4].astype(int)):
        fill_polygons(draw, body[i : i + 1], CARS[colour], k)
    fill_polygons(draw, glass, (58, 62, 68), k)


# --------------------------------------------------------------------------------------------------
# Part 2: shadows, trees, and the camera


def _building_shadows(scene: Scene, pixels: int) -> np.ndarray:
    """The shade of buildings, (pixels, pixels) float32, from 0 (none) to 1 (full)."""
    k = pixels / WINDOW
    image = Image.new("L", (pixels, pixels), 0)
    draw = ImageDraw.Draw(image)
    if len(scene.corners):
        throw = -scene.sun * scene.styles[:, :1] * (0.72 / np.tan(SUN_ELEVATION))
        moved = scene.corners + throw[:, None]
        fill_polygons(draw, moved, 255, k)
        # The area between each wall and the end of its shadow
        for i in range(4):
            j = (i + 1) % 4
            sweep = np.stack(
                [scene.corners[:, i], scene.corners[:, j], moved[:, j], moved[:, i]], 1
            )
            fill_polygons(draw, sweep, 255, k)
        fill_polygons(draw, scene.corners, 0, k)
    soft = image.filter(ImageFilter.BoxBlur(max(0.5, 0.3 * k)))
    return np.asarray(soft, np.float32) * np.float32(1 / 255)


def _tree_heights(scene: Scene, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Height of the highest crown in metres and its tint (0..1): two (pixels, pixels) float32."""
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
    """A field (pixels, pixels) moved by whole pixels, with zeros where nothing moves in."""
    out = np.zeros_like(field)
    h, w = field.shape
    out[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = field[
        max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out


def _light(flat: Image.Image, scene: Scene, noise: _Noise) -> list[np.ndarray]:
    """Add shadows and trees to the flat picture.

    Returns:
        three colour planes (pixels, pixels) float32, about 0..255
    """
    pixels = flat.width
    k = pixels / WINDOW
    height, tint = _tree_heights(scene, pixels)
    rough = height + (0.55 * noise.fine + 0.25 * noise.grain) * (height > 0)
    crown = np.clip((rough - 0.7) * 1.6, 0, 1)
    shadow = _building_shadows(scene, pixels)
    for reach in (1.4, 2.8):
        dx, dy = (round(float(c)) for c in -scene.sun * reach * k)
        shadow = np.maximum(shadow, 0.92 * _shifted(crown, dx, dy))

    # The slope of a crown towards the sun sets its brightness, which also shows the leaves.
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
    # Only the sky lights the shade, so it is darker and a little bluer.
    for plane, depth, dark, light in zip(
        flat.split(), (0.55, 0.52, 0.45), TREE_DARK, TREE_LIGHT, strict=True
    ):
        ground = np.asarray(plane, np.float32) * (1 - depth * shadow)
        planes.append(ground * bare + (dark + (light - dark) * tint) * lit)
    return planes


def _reduce(plane: np.ndarray, factor: int) -> np.ndarray:
    """Mean over squares of factor x factor pixels; both sides must be multiples of factor."""
    total = sum(plane[i::factor, j::factor] for i in range(factor) for j in range(factor))
    return total * np.float32(1 / factor**2)


def draw_photo(scene: Scene, seed: int, size: int, factor: int) -> np.ndarray:
    """The aerial photo of a scene.

    Args:
        seed:   of the texture and the camera, not negative
        size:   height and width in pixels
        factor: the photo is drawn `factor` times as large and then reduced

    Returns:
        (size, size, 3) uint8 RGB
    """
    pixels = size * factor
    k = pixels / WINDOW
    noise = _Noise(seed, pixels)
    image = _paint_ground(scene, noise, pixels)
    draw = ImageDraw.Draw(image)
    fill_polygons(draw, scene.drives, CONCRETE, k)
    fill_polygons(draw, [ribbon(bay, 0.35) for bay in scene.bays], _tone(PAINT_WHITE, 0.86), k)
    fill_polygons(draw, [ribbon(path, 2.6) for path in scene.paths], GRAVEL, k)
    for pitch in scene.pitches:
        _paint_pitch(draw, pitch, k)
    _paint_water(image, scene, noise)
    _paint_streets(draw, scene, k)
    _paint_cars(draw, scene, k)
    _paint_pitched_roofs(draw, scene, k)
    _paint_flat_roofs(draw, scene, k)

    gain = 1 + 0.035 * noise.low[1] + 0.03 * noise.mid + 0.03 * noise.fine + 0.02 * noise.grain
    photo = np.stack([_reduce(plane * gain, factor) for plane in _light(image, scene, noise)], -1)
    # The camera: a slight haze, one exposure per scene, and sensor noise per pixel of the final
    # image.
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    exposure, warmth = rng.uniform(0.96, 1.05), rng.uniform(-0.02, 0.02)
    photo = (
        photo * (np.array([1 + warmth, 1.0, 1 - warmth], np.float32) * np.float32(1.03 * exposure))
        + 13
    )
    photo = photo + 2.0 * rng.standard_normal((size, size, 1), np.float32)
    photo = photo + 1.2 * rng.standard_normal((size, size, 3), np.float32)
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8)
