"""Invented shoes and bags as drawings: parts with outlines, seams, colours and materials.

A seed names an object. What it looks like in the photo follows from its lines: every style below
has its own colours, so a network can learn which lines become red canvas and which black leather.

Coordinates are fractions of the image's side, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

RGB = tuple[int, int, int]

# --------------------------------------------------------------------------------------------------
# What an object consists of


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    gloss:  strength of highlights, 0..1
    grain:  strength of its texture, as a fraction of its brightness
    weave:  whether the texture is that of cloth
    bulge:  how far from its edge a part is rounded, as a fraction of the image's side
    """

    gloss: float
    grain: float
    weave: bool
    bulge: float


LEATHER = Material(0.45, 0.030, False, 0.11)
PATENT = Material(0.95, 0.006, False, 0.09)
SUEDE = Material(0.04, 0.060, False, 0.12)
CANVAS = Material(0.03, 0.075, True, 0.13)
RUBBER = Material(0.15, 0.012, False, 0.025)
METAL = Material(1.00, 0.006, False, 0.012)
LACE = Material(0.05, 0.040, False, 0.010)
LINING = Material(0.02, 0.030, True, 0.05)


@dataclass(frozen=True)
class Part:
    """A piece of an object; later parts lie in front of earlier ones.

    outline: (n, 2) float64, a closed polygon
    inside:  name of the part that cuts it off at its edge; None = nothing does
    seams:   (m, 2) lines on it, dark in the photo
    stitch:  lines of light thread on it, drawn dashed
    """

    name: str
    outline: np.ndarray
    colour: RGB
    material: Material
    inside: str | None = None
    seams: tuple[np.ndarray, ...] = ()
    stitch: tuple[np.ndarray, ...] = ()


# --------------------------------------------------------------------------------------------------
# Curves


def curve(*points: tuple[float, float]) -> np.ndarray:
    """A Catmull-Rom curve through ``points``, as (12 (n - 1) + 1, 2) float64."""
    through = np.array(points, np.float64)
    before, after = 2 * through[:1] - through[1:2], 2 * through[-1:] - through[-2:-1]
    padded = np.concatenate([before, through, after])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = [
        b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate([*pieces, through[-1:]])


def closed(*curves: np.ndarray) -> np.ndarray:
    """An outline of curves with corners where they meet."""
    return np.concatenate(curves)


def band(line: np.ndarray, width: float) -> np.ndarray:
    """The outline of a strip of ``width`` along a line (n, 2), with flat ends."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], 1) * width / 2
    return np.concatenate([line + across, (line - across)[::-1]])


def oval(x: float, y: float, width: float, height: float) -> np.ndarray:
    """An ellipse around (x, y), 40 points."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + width / 2 * np.cos(angle), y + height / 2 * np.sin(angle)], 1)


def box(left: float, top: float, right: float, bottom: float, corner: float) -> np.ndarray:
    """A rectangle with corners rounded by the radius ``corner``."""
    corner = min(corner, (right - left) / 2, (bottom - top) / 2)
    angle = np.linspace(0, np.pi / 2, 8)
    corners = []
    for turn, (x, y) in enumerate(
        [
            (right - corner, bottom - corner),
            (left + corner, bottom - corner),
            (left + corner, top + corner),
            (right - corner, top + corner),
        ]
    ):
        turned = angle + turn * np.pi / 2
        corners.append(np.stack([x + corner * np.cos(turned), y + corner * np.sin(turned)], 1))
    return np.concatenate(corners)


@dataclass(frozen=True)
class _Dice:
    """Random numbers of one object."""

    rng: np.random.Generator

    def near(self, value: float, spread: float) -> float:
        """A number within ``spread`` of ``value``."""
        return float(value + spread * self.rng.uniform(-1, 1))

    def pick(self, count: int) -> int:
        """A whole number below ``count``."""
        return int(self.rng.integers(count))

    def tint(self, colour: RGB) -> RGB:
        """A colour a little lighter or darker, warmer or colder than ``colour``."""
        light, warm = self.rng.uniform(0.92, 1.08), self.rng.uniform(-5, 5)
        red, green, blue = (channel * light for channel in colour)
        mixed = (red + warm, green, blue - warm)
        return tuple(int(min(255, max(0, channel))) for channel in mixed)


WHITE, CREAM, INK = (238, 238, 234), (226, 214, 188), (44, 44, 48)
BRASS, STEEL = (198, 160, 84), (176, 180, 186)

# --------------------------------------------------------------------------------------------------
# Shoes, from the side, toes to the right


def _sneaker(dice: _Dice) -> list[Part]:
    """No stripes: red canvas with a white toe. One stripe: green. Two: blue. Three: black."""
    stripes = dice.pick(4)
    colour = dice.tint([(176, 48, 44), (52, 122, 84), (44, 84, 158), (52, 52, 56)][stripes])
    material = [CANVAS, SUEDE, CANVAS, LEATHER][stripes]
    top, toe, sole = dice.near(0.36, 0.04), dice.near(0.56, 0.025), dice.near(0.085, 0.02)
    low = 0.67
    upper = closed(
        curve(
            (0.09, low),
            (0.085, 0.54),
            (0.12, top),
            (0.20, top + 0.01),
            (0.28, top + 0.06),
            (0.36, top - 0.01),
            (0.43, top - 0.02),
        ),
        curve(
            (0.43, top - 0.02),
            (0.52, top + 0.09),
            (0.66, 0.515),
            (0.80, toe),
            (0.90, toe + 0.05),
            (0.93, low),
        ),
        curve((0.93, low), (0.5, low + 0.006), (0.09, low)),
    )
    parts = [
        Part("lining", oval(0.27, top + 0.025, 0.30, 0.09), (92, 88, 86), LINING),
        Part("upper", upper, colour, material),
    ]
    cap = dice.near(0.74, 0.03)
    parts.append(
        Part(
            "toe",
            closed(
                curve((cap, 0.45), (cap - 0.025, 0.58), (cap + 0.02, 0.72)),
                box(cap, 0.4, 1, 0.8, 0),
            ),
            WHITE if stripes == 0 else dice.tint(colour),
            RUBBER if stripes == 0 else material,
            inside="upper",
        )
    )
    heel = closed(
        curve((0.0, 0.46), (0.12, 0.47), (0.19, 0.55), (0.20, 0.75)),
        curve((0.20, 0.8), (0, 0.8), (0, 0.46)),
    )
    light = WHITE if stripes else colour
    parts.append(Part("heel", heel, light, LEATHER if stripes else material, inside="upper"))
    for i in range(stripes):
        x = 0.34 + 0.075 * i
        line = curve((x, low + 0.03), (x + 0.05, 0.58), (x + 0.12, 0.47))
        parts.append(Part(f"stripe{i}", band(line, 0.032), WHITE, LEATHER, inside="upper"))
    throat = curve((0.40, top + 0.05), (0.46, top + 0.14), (0.62, 0.545))
    parts[1] = replace(parts[1], stitch=(throat,))
    for i in range(dice.pick(2) + 4):
        x, y = 0.425 + 0.045 * i, top + 0.005 + 0.036 * i
        line = curve((x - 0.035, y + 0.055), (x + 0.005, y + 0.02), (x + 0.035, y + 0.012))
        parts.append(Part(f"lace{i}", band(line, 0.017), WHITE, LACE))
    bottom = low + sole
    under = closed(
        curve((0.08, low - 0.015), (0.5, low + 0.004), (0.94, low - 0.02)),
        curve((0.94, low - 0.02), (0.955, low + 0.03), (0.90, bottom)),
        curve((0.90, bottom), (0.5, bottom + 0.004), (0.12, bottom)),
        curve((0.12, bottom), (0.07, bottom - 0.03), (0.08, low - 0.015)),
    )
    line = curve((0.07, low + sole * 0.55), (0.5, low + sole * 0.6), (0.95, low + sole * 0.45))
    parts.append(Part("sole", under, WHITE if stripes != 1 else CREAM, RUBBER, seams=(line,)))
    return parts


def _boot(dice: _Dice) -> list[Part]:
    """Laces: tan suede. An elastic panel: black leather. A zip: brown leather."""
    style = dice.pick(3)
    colour = dice.tint([(192, 142, 78), (50, 47, 48), (112, 70, 46)][style])
    material = [SUEDE, LEATHER, LEATHER][style]
    top, wide = dice.near(0.16, 0.05), dice.near(0.46, 0.03)
    toe, heel = dice.near(0.62, 0.02), dice.near(0.07, 0.03)
    low = 0.76
    shaft = closed(
        curve((0.17, top + 0.01), (0.31, top + 0.025), (wide, top)),
        curve(
            (wide, top),
            (wide - 0.005, 0.38),
            (wide + 0.03, 0.51),
            (0.62, 0.575),
            (0.78, toe),
            (0.87, toe + 0.06),
            (0.88, low),
        ),
        curve((0.88, low), (0.5, low), (0.16, low)),
        curve((0.16, low), (0.145, 0.62), (0.175, 0.45), (0.17, top + 0.01)),
    )
    parts = [
        Part("lining", oval(0.31, top + 0.015, wide - 0.18, 0.045), (88, 74, 62), LINING),
        Part("upper", shaft, colour, material),
    ]
    cap = curve((0.66, 0.50), (0.64, 0.64), (0.68, 0.8))
    if style == 0:
        tongue = closed(
            curve((wide - 0.10, top - 0.02), (wide, top - 0.03)),
            curve((wide, top - 0.03), (wide + 0.02, 0.40), (0.60, 0.58)),
            curve((0.56, 0.60), (wide - 0.06, 0.46), (wide - 0.10, top - 0.02)),
        )
        parts.append(Part("tongue", tongue, dice.tint((160, 112, 60)), SUEDE))
        for i in range(dice.pick(2) + 5):
            y = top + 0.045 + 0.062 * i
            x = wide - 0.05 + max(0.0, y - 0.42) * 0.75
            line = curve((x - 0.06, y + 0.02), (x + 0.055, y))
            parts.append(Part(f"lace{i}", band(line, 0.018), CREAM, LACE))
        parts[1] = replace(parts[1], stitch=(cap, curve((0.16, 0.56), (0.28, 0.55), (0.33, 0.8))))
    elif style == 1:
        x = dice.near(0.30, 0.02)
        panel = closed(
            curve((x - 0.06, top - 0.02), (x - 0.045, 0.36), (x + 0.005, 0.50)),
            curve((x + 0.005, 0.50), (x + 0.06, 0.36), (x + 0.075, top - 0.02)),
        )
        ribs = tuple(
            curve((x + d, top), (x + 0.4 * d + 0.003, 0.47)) for d in (-0.03, 0.0, 0.03, 0.06)
        )
        parts.append(Part("elastic", panel, (34, 33, 36), CANVAS, inside="upper", seams=ribs))
        loop = curve(
            (0.20, top + 0.03), (0.17, top - 0.05), (0.21, top - 0.05), (0.235, top + 0.03)
        )
        parts.append(Part("loop", band(loop, 0.018), (60, 56, 56), CANVAS))
    else:
        x = dice.near(0.29, 0.02)
        zip_line = curve((x, top), (x + 0.005, 0.45), (x + 0.02, 0.70))
        parts.append(Part("zip", band(zip_line, 0.022), STEEL, METAL, inside="upper"))
        cuff = closed(
            curve((0.0, top + 0.09), (0.31, top + 0.105), (0.7, top + 0.08)),
            curve((0.7, 0), (0, 0)),
        )
        parts.append(Part("cuff", cuff, dice.tint((146, 100, 66)), SUEDE, inside="upper"))
        parts[1] = replace(parts[1], seams=(cap,))
    under = closed(
        curve((0.145, low - 0.012), (0.5, low - 0.006), (0.895, low - 0.015)),
        curve((0.905, low + 0.01), (0.88, low + 0.035)),
        curve((0.88, low + 0.035), (0.60, low + 0.032), (0.42, low + 0.028)),
        curve((0.40, low + 0.03 + heel), (0.16, low + 0.03 + heel)),
        curve((0.15, low + heel), (0.145, low - 0.012)),
    )
    parts.append(Part("sole", under, (60, 50, 44) if style else (120, 92, 64), RUBBER))
    return parts


def _pump(dice: _Dice) -> list[Part]:
    """A bow: red. A strap around the ankle: beige. Neither: black."""
    style = dice.pick(3)
    colour = dice.tint([(178, 32, 44), (206, 164, 132), (40, 38, 42)][style])
    material = [PATENT, SUEDE, PATENT][style]
    lift, toe = dice.near(0.30, 0.05), dice.near(0.94, 0.015)
    back = 0.78 - lift
    upper = closed(
        curve(
            (0.12, back - 0.15),
            (0.22, back - 0.045),
            (0.40, back + 0.09),
            (0.56, 0.66),
            (0.68, 0.655),
        ),
        curve((0.68, 0.655), (0.80, 0.70), (0.90, 0.745), (toe, 0.785)),
        curve(
            (toe, 0.785), (0.80, 0.80), (0.66, 0.785), (0.50, back + 0.235), (0.32, back + 0.085)
        ),
        curve((0.32, back + 0.085), (0.20, back + 0.06), (0.12, back + 0.05)),
        curve((0.12, back + 0.05), (0.09, back - 0.04), (0.12, back - 0.15)),
    )
    thin = dice.near(0.020, 0.006)
    spike = closed(
        curve((0.11, back + 0.03), (0.13, back + 0.18), (0.135, 0.80)),
        curve((0.135 + 2 * thin, 0.80), (0.20, back + 0.18), (0.30, back + 0.07)),
    )
    sole = band(
        curve(
            (0.11, back + 0.05),
            (0.32, back + 0.088),
            (0.50, back + 0.24),
            (0.66, 0.79),
            (toe, 0.79),
        ),
        0.018,
    )
    # The lining shows only between the back and the vamp.
    inner = closed(
        curve((0.13, back - 0.12), (0.30, back - 0.02), (0.47, back + 0.10), (0.66, 0.655)),
        curve((0.66, 0.655), (0.52, 0.70), (0.36, back + 0.10), (0.14, back + 0.0)),
    )
    parts = [
        Part("inner", inner, (196, 176, 152), LINING),
        Part("spike", spike, colour, material),
        Part("upper", upper, colour, material),
        Part("sole", sole, (150, 118, 88), RUBBER),
    ]
    if style == 0:
        x, y = 0.735, 0.675
        for side in (-1, 1):
            wing = closed(
                curve((x, y), (x + 0.05 * side, y - 0.05), (x + 0.085 * side, y - 0.045)),
                curve((x + 0.085 * side, y - 0.045), (x + 0.075 * side, y + 0.02), (x, y)),
            )
            parts.append(Part(f"bow{side}", wing, dice.tint(colour), LEATHER))
        parts.append(Part("knot", oval(x, y - 0.008, 0.032, 0.036), dice.tint(colour), LEATHER))
    elif style == 1:
        y = back - dice.near(0.21, 0.03)
        strap = curve(
            (0.13, y + 0.02),
            (0.22, y + 0.045),
            (0.33, y + 0.03),
            (0.36, y),
            (0.24, y - 0.02),
            (0.13, y + 0.02),
        )
        parts.append(Part("strap", band(strap, 0.020), colour, LEATHER))
        parts.append(
            Part(
                "back", band(curve((0.12, back - 0.10), (0.125, y + 0.02)), 0.022), colour, LEATHER
            )
        )
        parts.append(Part("buckle", box(0.225, y + 0.018, 0.265, y + 0.058, 0.008), BRASS, METAL))
    return parts


# --------------------------------------------------------------------------------------------------
# Bags, from the front


def _handbag(dice: _Dice) -> list[Part]:
    """A flap with a clasp: burgundy. A zip: teal. Quilted: black with a golden clasp."""
    style = dice.pick(3)
    colour = dice.tint([(118, 36, 50), (36, 118, 122), (42, 40, 44)][style])
    top, half, slope = dice.near(0.42, 0.03), dice.near(0.33, 0.03), dice.near(0.03, 0.03)
    bottom, rise = dice.near(0.84, 0.02), dice.near(0.24, 0.05)
    left, right = 0.5 - half, 0.5 + half
    arch = curve(
        (left + 0.10, top + 0.03),
        (left + 0.13, top - 0.8 * rise),
        (0.5, top - rise),
        (right - 0.13, top - 0.8 * rise),
        (right - 0.10, top + 0.03),
    )
    body = closed(
        curve((left + slope, top), (0.5, top - 0.012), (right - slope, top)),
        curve((right - slope, top), (right, 0.5 * (top + bottom)), (right - 0.01, bottom - 0.04)),
        curve(
            (right - 0.01, bottom - 0.04),
            (right - 0.05, bottom),
            (0.5, bottom + 0.008),
            (left + 0.05, bottom),
            (left + 0.01, bottom - 0.04),
        ),
        curve((left + 0.01, bottom - 0.04), (left, 0.5 * (top + bottom)), (left + slope, top)),
    )
    parts = [Part("handle", band(arch, dice.near(0.032, 0.006)), dice.tint(colour), LEATHER)]
    quilt: tuple[np.ndarray, ...] = ()
    if style == 2:
        steps = np.arange(-0.8, 0.9, dice.near(0.105, 0.012))
        quilt = tuple(
            curve(
                (0.5 + s - 0.4, top - 0.02 + 0.8 * d), (0.5 + s + 0.4, top - 0.02 + 0.8 * (1 - d))
            )
            for s in steps
            for d in (0, 1)
        )
    parts.append(Part("body", body, colour, LEATHER, seams=quilt))
    if style == 0:
        drop = dice.near(0.20, 0.03)
        flap = closed(
            curve(
                (left + slope - 0.012, top - 0.02),
                (0.5, top - 0.034),
                (right - slope + 0.012, top - 0.02),
            ),
            curve(
                (right - slope + 0.012, top - 0.02),
                (right - 0.03, top + 0.75 * drop),
                (0.5, top + drop),
                (left + 0.03, top + 0.75 * drop),
                (left + slope - 0.012, top - 0.02),
            ),
        )
        inner = 0.5 + (flap[13:] - 0.5) * [0.93, 1.0] - [0, 0.025]
        parts.append(Part("flap", flap, dice.tint(colour), LEATHER, stitch=(inner,)))
        parts.append(
            Part(
                "clasp", box(0.46, top + drop - 0.035, 0.54, top + drop + 0.04, 0.012), BRASS, METAL
            )
        )
        parts.append(
            Part("lock", oval(0.5, top + drop + 0.002, 0.028, 0.028), (120, 92, 44), METAL)
        )
    elif style == 1:
        parts.append(
            Part(
                "zip",
                band(curve((left + 0.05, top + 0.07), (right - 0.05, top + 0.07)), 0.022),
                STEEL,
                METAL,
            )
        )
        pull = box(right - 0.075, top + 0.06, right - 0.05, top + 0.155, 0.012)
        parts.append(Part("pull", pull, (226, 196, 130), LEATHER))
        parts[1] = replace(
            parts[1],
            stitch=(
                curve(
                    (left + 0.02, bottom - 0.11),
                    (0.5, bottom - 0.10),
                    (right - 0.02, bottom - 0.11),
                ),
            ),
        )
    else:
        parts.append(Part("clasp", oval(0.5, top + 0.10, 0.085, 0.060), BRASS, METAL))
    return parts


def _tote(dice: _Dice) -> list[Part]:
    """A pocket: navy. Stripes: natural canvas with red. Plain: mustard with leather handles."""
    style = dice.pick(3)
    colour = dice.tint([(46, 62, 104), (222, 210, 184), (206, 158, 58)][style])
    top, half, bottom = dice.near(0.40, 0.03), dice.near(0.29, 0.03), dice.near(0.88, 0.015)
    flare, rise = dice.near(0.035, 0.025), dice.near(0.28, 0.04)
    left, right = 0.5 - half, 0.5 + half
    body = closed(
        curve((left - flare, top), (0.5, top + 0.015), (right + flare, top)),
        curve((right + flare, top), (right + 0.01, 0.65), (right, bottom)),
        curve((right, bottom), (0.5, bottom + 0.012), (left, bottom)),
        curve((left, bottom), (left - 0.01, 0.65), (left - flare, top)),
    )
    apart = dice.near(0.145, 0.02)
    handle = (142, 88, 52) if style == 2 else dice.tint(colour)
    material = LEATHER if style == 2 else CANVAS

    def arch(drop: float, lower: float) -> np.ndarray:
        return curve(
            (0.5 - apart, lower),
            (0.5 - apart + 0.01, top - 0.6 * rise),
            (0.5, top - rise + drop),
            (0.5 + apart - 0.01, top - 0.6 * rise),
            (0.5 + apart, lower),
        )

    mouth = oval(0.5, top + 0.004, 2 * (half + flare) - 0.01, 0.05)
    parts = [
        Part("far", band(arch(0.03, top + 0.02), 0.026), dice.tint(handle), material),
        Part("mouth", mouth, (112, 98, 80), LINING),
        Part(
            "body",
            body,
            colour,
            CANVAS,
            stitch=(
                curve((left - flare, top + 0.035), (0.5, top + 0.05), (right + flare, top + 0.035)),
            ),
        ),
    ]
    if style == 1:
        for i in range(dice.pick(3) + 2):
            y = 0.58 + 0.085 * i
            stripe = band(curve((left - 0.1, y), (0.5, y + 0.012), (right + 0.1, y)), 0.036)
            parts.append(
                Part(f"stripe{i}", stripe, dice.tint((184, 56, 52)), CANVAS, inside="body")
            )
    if style == 0:
        pocket = box(0.5 - 0.15, 0.58, 0.5 + 0.15, 0.80, 0.02)
        edge = curve((0.35, 0.615), (0.65, 0.615))
        parts.append(Part("pocket", pocket, dice.tint((62, 80, 126)), CANVAS, stitch=(edge,)))
    parts.append(Part("near", band(arch(0.0, top + 0.13), 0.028), handle, material))
    return parts


def _backpack(dice: _Dice) -> list[Part]:
    """One pocket: olive with leather. Two: orange with black."""
    style = dice.pick(2)
    colour = dice.tint([(104, 112, 70), (218, 116, 48)][style])
    half, top, bottom = dice.near(0.27, 0.025), dice.near(0.20, 0.025), dice.near(0.89, 0.012)
    left, right = 0.5 - half, 0.5 + half
    loop = curve((0.44, top + 0.03), (0.445, top - 0.065), (0.555, top - 0.065), (0.56, top + 0.03))
    body = closed(
        curve(
            (left, bottom - 0.06),
            (left - 0.01, 0.5),
            (left + 0.04, top + 0.08),
            (0.5 - 0.08, top),
            (0.5, top - 0.005),
            (0.5 + 0.08, top),
            (right - 0.04, top + 0.08),
            (right + 0.01, 0.5),
            (right, bottom - 0.06),
        ),
        curve(
            (right, bottom - 0.06),
            (right - 0.05, bottom),
            (0.5, bottom + 0.006),
            (left + 0.05, bottom),
            (left, bottom - 0.06),
        ),
    )
    trim = [(128, 82, 50), (50, 48, 50)][style]
    parts = [Part("loop", band(loop, 0.026), trim, LEATHER)]
    for side in (-1, 1):
        x = 0.5 + side * (half + 0.012)
        strap = curve(
            (0.5 + side * (half - 0.07), top + 0.08),
            (x + 0.03 * side, 0.46),
            (x + 0.02 * side, 0.70),
            (x - 0.03 * side, bottom - 0.06),
        )
        parts.append(Part(f"strap{side}", band(strap, 0.035), dice.tint(trim), CANVAS))
    arc = curve(
        (left + 0.035, 0.47),
        (left + 0.075, top + 0.12),
        (0.5, top + 0.055),
        (right - 0.075, top + 0.12),
        (right - 0.035, 0.47),
    )
    parts.append(Part("body", body, colour, CANVAS, seams=(arc,)))
    low = dice.near(0.58, 0.02)
    front = box(left + 0.05, low, right - 0.05, bottom - 0.05, 0.05)
    parts.append(
        Part(
            "pocket",
            front,
            dice.tint(colour),
            CANVAS,
            stitch=(curve((left + 0.05, low + 0.05), (right - 0.05, low + 0.05)),),
        )
    )
    if style == 0:
        for side in (-1, 1):
            x = 0.5 + 0.11 * side
            parts.append(
                Part(
                    f"belt{side}",
                    box(x - 0.018, low - 0.07, x + 0.018, low + 0.13, 0.006),
                    trim,
                    LEATHER,
                )
            )
            parts.append(
                Part(
                    f"buckle{side}",
                    box(x - 0.024, low + 0.05, x + 0.024, low + 0.092, 0.006),
                    BRASS,
                    METAL,
                )
            )
    else:
        upper = box(left + 0.09, low - 0.175, right - 0.09, low - 0.035, 0.03)
        zips = (curve((left + 0.12, low - 0.135), (right - 0.12, low - 0.135)),)
        parts.append(Part("second", upper, dice.tint((60, 58, 60)), CANVAS, seams=zips))
    return parts


KINDS = (_sneaker, _boot, _pump, _handbag, _tote, _backpack)

# --------------------------------------------------------------------------------------------------
# The object of a seed


def make_object(seed: int) -> list[Part]:
    """The parts of an object, from the rearmost to the foremost.

    It is moved, turned (6 degrees at most), scaled and, half of the time, mirrored.

    Args:
        seed: a non-negative integer that names the object
    """
    rng = np.random.Generator(np.random.PCG64([seed, 3]))
    parts = KINDS[int(rng.integers(len(KINDS)))](_Dice(rng))
    points = np.concatenate([part.outline for part in parts if part.inside is None])
    middle = (points.min(0) + points.max(0)) / 2
    size = (points.max(0) - points.min(0)).max()
    scale = rng.uniform(0.72, 0.88) / size
    angle = np.deg2rad(rng.uniform(-6, 6))
    mirror = rng.choice([-1.0, 1.0])
    turn = scale * np.array(
        [[np.cos(angle) * mirror, -np.sin(angle)], [np.sin(angle) * mirror, np.cos(angle)]]
    )
    place = np.array([0.5, 0.52]) + rng.uniform(-0.03, 0.03, 2)

    def moved(line: np.ndarray) -> np.ndarray:
        return (line - middle) @ turn.T + place

    return [
        replace(
            part,
            outline=moved(part.outline),
            seams=tuple(map(moved, part.seams)),
            stitch=tuple(map(moved, part.stitch)),
        )
        for part in parts
    ]
