"""Invents a piece of town from a seed: water, streets, blocks, and what stands on them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from prepare.builtin.palette import (
    BANK,
    BARE,
    CARS,
    CHARACTER_WEIGHTS,
    CHARACTERS,
    COARSE,
    FLAT,
    GARDEN,
    HIP,
    PARK,
    PARKING,
    PAVED,
    SUN_AZIMUTH,
    USES,
    WINDOW,
    WOOD,
)
from prepare.builtin.scene import (
    Frame,
    Road,
    Scene,
    blob_outline,
    coarse_mask,
    draw_land,
    in_window,
    outline,
    rectangles,
    ribbon,
    value_at,
)

# --------------------------------------------------------------------------------------------------
# Water and streets, which are laid out before the blocks are filled


def _add_water(scene: Scene, rng: np.random.Generator) -> None:
    """A river, a lake or a coast in four scenes of ten, with a green strip along it."""
    # 0 no water, 1 a river, 2 a lake, 3 a coast
    kind = rng.choice(4, p=(0.58, 0.22, 0.10, 0.10))
    if kind == 0:
        return
    if kind == 2:
        centre = rng.uniform(0.1, 0.9, 2) * WINDOW
        lake = blob_outline(rng, tuple(centre), rng.uniform(38, 66))
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
        scene.land.append((BANK, ribbon(line, width + rng.uniform(16, 30))))
        scene.waters.append(ribbon(line, width))
    else:
        # Moves the coast away from the centre, so that most of the window stays dry
        line = line + across * 60
        far = line[::-1] + across * 400
        scene.land.append((BANK, np.concatenate([line - across * rng.uniform(9, 18), far])))
        scene.waters.append(np.concatenate([line, far]))


def _grid_lines(rng: np.random.Generator, spacing: float) -> np.ndarray:
    """Positions (12,) of the streets of one direction, in metres from the centre.

    They reach from below -190 to above 190.
    """
    gaps = spacing * rng.uniform(0.82, 1.2, 12)
    lines = np.cumsum(gaps)
    return lines - lines[5] + rng.uniform(-0.5, 0.5) * spacing


def _stretches(line: np.ndarray, keep: np.ndarray) -> list[np.ndarray]:
    """The unbroken stretches of a line (n, 2) where ``keep``, (n,) bool, is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.astype(np.int8), [0]])))
    return [line[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 3]


def _add_streets(scene: Scene, rng: np.random.Generator, shores: list[tuple]) -> list[tuple]:
    """Lay the street grid and the major roads.

    Args:
        shores: (kind of ground, outline) of the green strips with the water inside them, where
                small streets end

    Returns:
        the blocks inside the pavements, (u0, u1, v0, v1) each, grid coordinates in metres
    """
    us, vs = _grid_lines(rng, rng.uniform(56, 72)), _grid_lines(rng, rng.uniform(64, 92))
    minor = rng.uniform(7.0, 9.0)
    width_u, width_v = np.full(12, minor), np.full(12, minor)
    # 0 no major road, 1 one, 2 two that cross, 3 a free curve
    style = rng.choice(4, p=(0.24, 0.34, 0.14, 0.28))
    if style in (1, 2):
        width_u[np.argmin(np.abs(us - rng.uniform(-60, 60)))] = rng.uniform(14, 18)
    if style == 2:
        width_v[np.argmin(np.abs(vs - rng.uniform(-60, 60)))] = rng.uniform(12, 16)
    if rng.random() < 0.5:
        us, vs, width_u, width_v = vs, us, width_v, width_u
    wet = coarse_mask([shore for _, shore in shores])

    # One street in ten between two blocks is left out, which makes one big block of them.
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
                # A small street ends at the green strip along the water; a major road crosses it on
                # a bridge.
                for piece in _stretches(line, in_window(line, 30) & (major | ~value_at(wet, line))):
                    scene.roads.append(Road(piece, widths[i], major, rng.uniform(0.93, 1.07)))
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
            Road(piece, width, True, shade) for piece in _stretches(line, in_window(line, 30))
        ]
    return _blocks(us, vs, width_u, width_v, gone)


def _blocks(
    us: np.ndarray, vs: np.ndarray, width_u: np.ndarray, width_v: np.ndarray, gone: np.ndarray
) -> list[tuple]:
    """The blocks between the streets, without the pavements; see `_add_streets`.

    Two blocks become one where the street between them is gone.
    """
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


# --------------------------------------------------------------------------------------------------
# Blocks: what stands between the streets. All positions are grid coordinates in metres.


def _rows(block: tuple, along_u: bool) -> list[tuple]:
    """The two sides of a block along one axis: (start, unit along, unit inwards), (u, v) each."""
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
    """The point t metres along a row and d metres inwards."""
    (pu, pv), (au, av), (iu, iv) = row
    return pu + au * t + iu * d, pv + av * t + iv * d


def _houses(scene: Scene, rng: np.random.Generator, block: tuple, terraced: bool) -> None:
    """Two rows of houses, back to back, each with a garden; detached, or wall to wall."""
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
                # A wing towards the garden
                if x[8] < 0.4:
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


def _flats(scene: Scene, rng: np.random.Generator, block: tuple) -> None:
    """Big apartment buildings: a ring around a courtyard, or parallel slabs."""
    u0, u1, v0, v1 = block
    colour, pitched = rng.integers(7), rng.random() < 0.35
    high, roof, gap = rng.uniform(11, 18), HIP if pitched else FLAT, rng.uniform(1.5, 4.0)
    if rng.random() < 0.55 and min(u1 - u0, v1 - v0) > 44:
        scene.land.append((GARDEN, outline(u0 + 16, u1 - 16, v0 + 16, v1 - 16)))
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
    scene.land.append((GARDEN, outline(u0, u1, v0, v1)))
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


def _commerce(scene: Scene, rng: np.random.Generator, block: tuple) -> None:
    """One to three halls with flat roofs beside a car park."""
    u0, u1, v0, v1 = block
    along_u = (u1 - u0) > (v1 - v0)
    length, depth = (u1 - u0, v1 - v0) if along_u else (v1 - v0, u1 - u0)
    scene.land.append((PAVED, outline(u0, u1, v0, v1)))
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


def _park(scene: Scene, rng: np.random.Generator, block: tuple) -> None:
    """A lawn with woods, paths, and sometimes a pond or a playing field."""
    u0, u1, v0, v1 = block
    world, wide, high = scene.frame.world, u1 - u0, v1 - v0
    scene.land.append((PARK, world(outline(u0, u1, v0, v1))))
    for _ in range(int(rng.integers(1, 4))):
        centre = (rng.uniform(u0 + 12, u1 - 12), rng.uniform(v0 + 12, v1 - 12))
        blob = blob_outline(rng, centre, rng.uniform(9, 20), 0.3)
        scene.land.append((WOOD, world(np.clip(blob, (u0 + 2, v0 + 2), (u1 - 2, v1 - 2)))))
    extra = rng.random()
    middle = (
        rng.uniform(u0 + 0.4 * wide, u1 - 0.4 * wide),
        rng.uniform(v0 + 0.4 * high, v1 - 0.4 * high),
    )
    if extra < 0.32 and min(wide, high) > 40:
        a, b = (19, 12) if wide > high else (12, 19)
        spot = outline(middle[0] - a, middle[0] + a, middle[1] - b, middle[1] + b, 1)
        scene.land.append((PARK, world(spot + (spot - np.array(middle)) * 0.12)))
        scene.pitches.append(world(spot))
    elif extra < 0.6:
        pond = blob_outline(rng, middle, rng.uniform(9, 15), 0.25)
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


def _fill_block(scene: Scene, rng: np.random.Generator, block: tuple) -> None:
    """Choose the use of one block and fill it."""
    u0, u1, v0, v1 = block
    use = rng.choice(USES, p=CHARACTERS[scene.character])
    start = len(scene.land)
    # A narrow block beside a wide road stays grass
    if min(u1 - u0, v1 - v0) < 26:
        return
    if use == "park":
        _park(scene, rng, block)
        return
    if use in ("houses", "terraces"):
        _houses(scene, rng, block, use == "terraces")
    elif use == "flats":
        scene.land.append((PAVED, outline(u0, u1, v0, v1)))
        _flats(scene, rng, block)
    elif use == "commerce":
        _commerce(scene, rng, block)
    else:
        scene.land.append((BARE, outline(u0, u1, v0, v1)))
        for _ in range(int(rng.integers(2, 8))):
            scene.wishes.append((rng.uniform(u0, u1), rng.uniform(v0, v1), rng.uniform(1.5, 3)))
    for i in range(start, len(scene.land)):
        scene.land[i] = (scene.land[i][0], scene.frame.world(scene.land[i][1]))


# --------------------------------------------------------------------------------------------------
# Objects: buildings, cars and trees, kept only where nothing is in their way


def _turned_boxes(
    frame: Frame, uv: np.ndarray, along_u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Window coordinates (n, 2) of grid coordinates, and unit axes (n, 2) along the street."""
    step = np.where(along_u[:, None], (1.0, 0.0), (0.0, 1.0))
    axis = frame.world(uv + step) - frame.world(uv - step)
    return frame.world(uv), axis / np.sqrt((axis * axis).sum(1, keepdims=True))


def _place_buildings(scene: Scene, blocked: np.ndarray) -> None:
    """Keep the buildings that touch nothing ``blocked``: no road and no water."""
    if not scene.boxes:
        return
    rows = np.array(scene.boxes, np.float64)
    centre, axis = _turned_boxes(scene.frame, rows[:, :2], rows[:, 2] > 0)
    long, wide = rows[:, 3], rows[:, 4]
    # The first axis must be the longer one: the ridge of a pitched roof follows it
    swap = wide > long
    axis[swap] = np.stack([-axis[swap, 1], axis[swap, 0]], 1)
    corners = rectangles(centre, axis, np.maximum(long, wide), np.minimum(long, wide))
    middles = (corners + np.roll(corners, 1, 1)) / 2
    probes = np.concatenate([corners, middles, (corners + centre[:, None]) / 2], 1)
    free = ~value_at(blocked, probes).any(1) & in_window(centre, 25)
    scene.corners, scene.styles = corners[free], rows[free, 5:9]


def _place_cars(
    scene: Scene, rng: np.random.Generator, footprints: np.ndarray, wet: np.ndarray
) -> None:
    """Cars in the bays, at the kerbs, and a few driving on the major roads."""
    places, axes = [], []
    if scene.parked:
        rows = np.array(scene.parked, np.float64)
        centre, axis = _turned_boxes(scene.frame, rows[:, :2], rows[:, 2] > 0)
        places.append(centre)
        axes.append(axis)
    fill = {"suburb": 0.11, "green": 0.11, "town": 0.26, "centre": 0.30, "works": 0.14}[
        scene.character
    ]
    majors = coarse_mask([r.band(8) for r in scene.roads if r.major])
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
            keep = np.ones(len(t), bool) if road.major else ~value_at(majors, centre)
            places.append(centre[keep])
            axes.append(axis[keep])
    if not places:
        return
    centre, axis = np.concatenate(places), np.concatenate(axes)
    shown = in_window(centre, 3) & ~value_at(footprints, centre)
    shown[: len(scene.parked)] &= ~value_at(majors | wet, centre[: len(scene.parked)])
    colour = rng.integers(len(CARS), size=len(centre))
    scene.cars = np.column_stack([centre, axis, colour])[shown]


def _place_trees(scene: Scene, rng: np.random.Generator, solid: np.ndarray) -> None:
    """Trees in woods, in parks, along the water, in gardens and along the streets."""
    spacing = 5.0
    n = int(WINDOW / spacing) + 2
    spots = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2) * spacing
    spots = spots + rng.uniform(-2.2, 2.2, spots.shape)
    kind = value_at(np.asarray(draw_land(scene, COARSE)), spots)
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
    trees = trees[in_window(trees[:, :2], 5) & ~value_at(solid, trees[:, :2])]
    scene.trees = np.column_stack([trees, rng.random(len(trees))])


def make_scene(seed: int) -> Scene:
    """Invent one piece of town.

    It depends on the seed only, so the scene is the same at every image size.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    angle = 0.0 if rng.random() < 0.2 else rng.uniform(-np.pi / 4, np.pi / 4)
    amplitude = rng.uniform(4, 13, 2) * (rng.random() < 0.45)
    bend = np.stack([amplitude, 2 * np.pi / rng.uniform(240, 400, 2), rng.uniform(0, 6.28, 2)], 1)
    turn = SUN_AZIMUTH + rng.uniform(-0.1, 0.1)
    scene = Scene(Frame(angle, bend), np.array([np.cos(turn), np.sin(turn)]))
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

    wet = coarse_mask(scene.waters)
    lanes = coarse_mask([r.band(1.5) for r in scene.roads])
    wide = coarse_mask([r.band(6) for r in scene.roads if r.major])
    shore = coarse_mask([p for _, p in shores])
    scene.pitches = [p for p in scene.pitches if not value_at(lanes | wet | shore, p).any()]
    fields = coarse_mask(scene.pitches)
    if scene.drives:
        drives = scene.frame.world(np.stack(scene.drives))
        scene.drives = list(drives[~value_at(shore | wet, drives).any(1)])
    _place_buildings(scene, lanes | wet | shore | wide)
    footprints = coarse_mask(list(scene.corners))
    _place_cars(scene, rng, footprints, wet)
    _place_trees(scene, rng, lanes | wet | footprints | fields)
    return scene
