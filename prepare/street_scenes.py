"""The built-in data set of label maps: invented street scenes, in the folders of Cityscapes.

Every scene is a street seen along its middle: sky, houses, trees, sidewalks, cars and people, drawn
from the same shapes as a photo, as labels and as numbers of instances. So the labels decide the
photo but for colours, windows and texture. It needs no download and can have any size:

    write_street_scenes("database/streets", train=400, val=100, height=256)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data.images import save_png
from runtime.files import written_whole

# Labels as in Cityscapes, and the class that mIoU counts each as.
ROAD, SIDEWALK, BUILDING, POLE, SIGN, TREE, GRASS = 7, 8, 11, 17, 20, 21, 22
SKY, PERSON, CAR = 23, 24, 26
CLASSES = {ROAD: 0, SIDEWALK: 1, BUILDING: 2, POLE: 5, SIGN: 7, TREE: 8, GRASS: 9}
CLASSES |= {SKY: 10, PERSON: 11, CAR: 13}
# Labels whose things are counted one by one.
COUNTED = (PERSON, CAR)

Colour = tuple[float, float, float]
# Corners, as shares of the image's height; the middle of the horizon is (0, 0).
Shape = list[tuple[float, float]]

# --------------------------------------------------------------------------------------------------
# A scene as shapes


class _Canvas:
    """A photo, its labels and its instances, drawn together.

    Drawn at twice the size, so that the photo's edges are soft after reduction.
    """

    def __init__(self, height: int, horizon: float):
        self.scale, width = 2 * height, 4 * height
        self.origin = width, round(horizon * self.scale)
        size = (2 * width, self.scale)
        self.photo = Image.new("RGB", size)
        self.labels, self.instances = Image.new("L", size, SKY), Image.new("I", size, SKY)
        self.draws = [ImageDraw.Draw(i) for i in (self.photo, self.labels, self.instances)]
        self.counts = dict.fromkeys(COUNTED, 0)

    def points(self, shape: Shape) -> Shape:
        return [
            (self.origin[0] + x * self.scale, self.origin[1] + y * self.scale) for x, y in shape
        ]

    def begin(self, label: int) -> int:
        """The number of a new thing of a label."""
        if label not in COUNTED:
            return label
        self.counts[label] += 1
        return 1000 * label + self.counts[label] - 1

    def add(self, shape: Shape, colour: Colour, label: int, number: int, round_: bool = False):
        """A part of a thing: a polygon, or the ellipse in a box of two corners."""
        fills = (tuple(int(255 * min(max(c, 0), 1)) for c in colour), label, number)
        for draw, fill in zip(self.draws, fills, strict=True):
            (draw.ellipse if round_ else draw.polygon)(self.points(shape), fill=fill)

    def paint(self, shape: Shape, colour: Colour):
        """Colour alone."""
        fill = tuple(int(255 * min(max(c, 0), 1)) for c in colour)
        self.draws[0].polygon(self.points(shape), fill=fill)


def _box(left: float, top: float, right: float, bottom: float) -> Shape:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(c * factor for c in colour)


def _houses(canvas: _Canvas, rng: np.random.Generator, kerb: float) -> None:
    """Both sides, the farthest first; at depth z a metre is 1/z of the image's height."""
    for side in (-1, 1):
        for z in np.linspace(26, 5, 7):
            if rng.random() < 0.12:
                continue
            near, far = z - 3.0, z
            top = -rng.uniform(6, 15)
            wall = tuple(rng.uniform(0.35, 0.85, 3) * np.array([1, 0.93, 0.85]))
            x = side * (kerb + 2.5)
            face = [(x / far, top / far), (x / near, top / near), (x / near, 1.6 / near)]
            canvas.add([*face, (x / far, 1.6 / far)], _shade(wall, 0.75), BUILDING, BUILDING)
            front = sorted((x / far, (x + side * 9) / far))
            canvas.add(_box(front[0], top / far, front[1], 1.6 / far), wall, BUILDING, BUILDING)
            glass = tuple(rng.uniform(0.15, 0.4, 3))
            for floor in np.arange(top + 1, -0.5, 2.4):
                for at in np.arange(near + 0.4, far - 0.6, 0.9):
                    a, b = at, at + 0.45
                    window = [(x / a, floor / a), (x / b, floor / b)]
                    window += [(x / b, (floor + 1.3) / b), (x / a, (floor + 1.3) / a)]
                    canvas.paint(window, glass)


def _trees(canvas: _Canvas, rng: np.random.Generator, kerb: float) -> None:
    for z in sorted(rng.uniform(5, 22, rng.integers(0, 7)), reverse=True):
        x = rng.choice((-1, 1)) * (kerb + rng.uniform(0.6, 1.6)) / z
        size, green = rng.uniform(1.2, 2.2) / z, rng.uniform(0.25, 0.5)
        canvas.add(_box(x - 0.12 / z, -2 / z, x + 0.12 / z, 1.6 / z), (0.3, 0.2, 0.1), TREE, TREE)
        middle = -rng.uniform(2.6, 4) / z
        for _ in range(5):
            dx, dy = rng.normal(0, size / 3, 2)
            tint = green + rng.uniform(-0.08, 0.08)
            corners = [(x + dx - size, middle + dy - size), (x + dx + size, middle + dy + size)]
            canvas.add(corners, (0.6 * tint, tint, 0.4 * tint), TREE, TREE, True)


def _posts(canvas: _Canvas, rng: np.random.Generator, kerb: float) -> None:
    for z in sorted(rng.uniform(4, 15, rng.integers(0, 5)), reverse=True):
        x = rng.choice((-1, 1)) * (kerb + 0.4) / z
        grey = (0.45, 0.45, 0.48)
        canvas.add(_box(x - 0.05 / z, -2.4 / z, x + 0.05 / z, 1.6 / z), grey, POLE, POLE)
        if rng.random() < 0.7:
            colour = ((0.8, 0.1, 0.1), (0.1, 0.2, 0.7), (0.9, 0.8, 0.1))[rng.integers(3)]
            canvas.add(_box(x - 0.4 / z, -2.6 / z, x + 0.4 / z, -1.8 / z), colour, SIGN, SIGN)


def _car(canvas: _Canvas, rng: np.random.Generator, z: float, lane: float) -> None:
    x, ground, number = lane / z, 1.6 / z, canvas.begin(CAR)
    paint = tuple(rng.choice([rng.uniform(0, 1, 3), np.full(3, rng.uniform(0.1, 0.95))]))
    for part, colour in (
        (_box(x - 0.9 / z, ground - 1.0 / z, x + 0.9 / z, ground - 0.2 / z), paint),
        (
            [
                *((x - 0.75 / z, ground - 1.0 / z), (x - 0.55 / z, ground - 1.5 / z)),
                *((x + 0.55 / z, ground - 1.5 / z), (x + 0.75 / z, ground - 1.0 / z)),
            ],
            _shade(paint, 0.85),
        ),
        (_box(x - 0.85 / z, ground - 0.2 / z, x - 0.6 / z, ground), (0.08,) * 3),
        (_box(x + 0.6 / z, ground - 0.2 / z, x + 0.85 / z, ground), (0.08,) * 3),
    ):
        canvas.add(part, colour, CAR, number)
    canvas.paint(
        _box(x - 0.55 / z, ground - 1.4 / z, x + 0.55 / z, ground - 1.05 / z), (0.2, 0.25, 0.3)
    )
    for left in (-0.85, 0.6):
        lamp = _box(x + left / z, ground - 0.8 / z, x + (left + 0.25) / z, ground - 0.6 / z)
        canvas.paint(lamp, (0.75, 0.1, 0.08))


def _person(canvas: _Canvas, rng: np.random.Generator, z: float, lane: float) -> None:
    x, ground, number = lane / z, 1.6 / z, canvas.begin(PERSON)
    shirt, legs = tuple(rng.uniform(0.1, 0.9, 3)), tuple(rng.uniform(0.1, 0.4, 3))
    canvas.add(_box(x - 0.18 / z, ground - 0.8 / z, x + 0.18 / z, ground), legs, PERSON, number)
    torso = _box(x - 0.25 / z, ground - 1.4 / z, x + 0.25 / z, ground - 0.75 / z)
    canvas.add(torso, shirt, PERSON, number)
    head = [(x - 0.13 / z, ground - 1.7 / z), (x + 0.13 / z, ground - 1.38 / z)]
    canvas.add(head, (0.85, 0.65, 0.5), PERSON, number, True)


def _ground(canvas: _Canvas, rng: np.random.Generator, kerb: float) -> None:
    def strip(left: float, right: float, near: float = 1.6, far: float = 60.0) -> Shape:
        bottom = 1.6 / near
        away = [(left / far, 1.6 / far), (right / far, 1.6 / far)]
        return [*away, (right * bottom / 1.6, bottom), (left * bottom / 1.6, bottom)]

    green = rng.uniform(0.35, 0.5)
    canvas.add(strip(-60, 60), (0.7 * green, green, 0.4 * green), GRASS, GRASS)
    slab, tar = rng.uniform(0.5, 0.65), rng.uniform(0.25, 0.4)
    canvas.add(strip(-kerb - 2.5, kerb + 2.5), (slab, slab, 0.97 * slab), SIDEWALK, SIDEWALK)
    canvas.add(strip(-kerb, kerb), (tar, tar, 1.03 * tar), ROAD, ROAD)
    for z in np.geomspace(2, 40, 14):
        canvas.paint(strip(-0.08, 0.08, z, 1.13 * z), (0.85,) * 3)


def _sky(canvas: _Canvas, rng: np.random.Generator) -> None:
    high = np.array([0.35, 0.5, 0.8]) * rng.uniform(0.8, 1.2)
    width, height = canvas.photo.size
    down = np.linspace(0, 1, height)[:, None, None] ** 0.8
    sky = high * (1 - down) + np.array([0.85, 0.88, 0.92]) * down
    pixels = (255 * sky.clip(0, 1)).astype(np.uint8).repeat(width, 1)
    canvas.photo.paste(Image.fromarray(pixels))


def render_scene(seed: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene, twice as wide as high; the same for equal arguments.

    Returns:
        photo (H W 3 uint8), labels (H W uint8), and instances (H W uint16): as in Cityscapes, of
        things that are counted 1000 times the label and more, else the label
    """
    rng = np.random.default_rng([seed, 1])
    canvas = _Canvas(height, rng.uniform(0.4, 0.5))
    kerb = rng.uniform(3, 5)
    _sky(canvas, rng)
    _ground(canvas, rng, kerb)
    _houses(canvas, rng, kerb)
    _trees(canvas, rng, kerb)
    _posts(canvas, rng, kerb)
    things: list[tuple[float, float, Callable]] = []
    for z in rng.uniform(3.5, 20, rng.integers(1, 7)):
        lane = rng.choice((-1, 1)) * rng.choice((kerb / 2, kerb - 1))
        things.append((z, lane, _car))
    for z in rng.uniform(3, 14, rng.integers(0, 6)):
        things.append((z, rng.choice((-1, 1)) * (kerb + rng.uniform(0.4, 2)), _person))
    for z, lane, draw in sorted(things, key=lambda thing: -thing[0]):
        draw(canvas, rng, z, lane)
    size = (2 * height, height)
    photo = np.asarray(canvas.photo.resize(size, Image.Resampling.BOX)).astype(np.float32)
    # Light across the image, and texture.
    light = 1 + 0.12 * np.linspace(-1, 1, size[0]) * rng.uniform(-1, 1)
    photo = photo * light[None, :, None] + rng.normal(0, 4, (height, 2 * height, 1))
    labels, instances = (
        np.asarray(image.resize(size, Image.Resampling.NEAREST))
        for image in (canvas.labels, canvas.instances)
    )
    return photo.clip(0, 255).astype(np.uint8), labels, instances.astype(np.uint16)


# --------------------------------------------------------------------------------------------------
# On disk


def write_street_scenes(
    root: Path, train: int, val: int, height: int, tick: Callable[[], None] = lambda: None
) -> None:
    """Write scenes as Cityscapes has them, and tables for mIoU, as scripts/prepare_cityscapes.py
    does.

    Files that are there are kept: run it again to continue.

    Args:
        tick: called after each scene
    """
    classes = np.full(256, 255, np.uint8)
    classes[list(CLASSES)] = list(CLASSES.values())
    for phase, count, first in (("train", train, 0), ("val", val, 1_000_000)):
        lines = []
        for index in range(count):
            city = f"{phase}town"
            name = f"{city}_{index:06d}_000019"
            truth = f"gtFine/{phase}/{city}/{name}_gtFine"
            photo_path = f"leftImg8bit/{phase}/{city}/{name}_leftImg8bit.png"
            lines.append(f"{index} {truth}_trainIds.png {photo_path}\n")
            # Written last.
            if not (root / photo_path).exists():
                photo, labels, instances = render_scene(first + index, height)
                for folder in (root / truth, root / photo_path):
                    folder.parent.mkdir(parents=True, exist_ok=True)
                save_png(root / f"{truth}_labelIds.png", labels)
                save_png(root / f"{truth}_trainIds.png", classes[labels])
                with written_whole(root / f"{truth}_instanceIds.png", flush=False) as temporary:
                    Image.fromarray(instances).save(temporary, format="png")
                save_png(root / photo_path, photo)
            tick()
        if count:
            with written_whole(root / f"{phase}_table.txt") as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
