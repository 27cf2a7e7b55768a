"""Draws an object of `prepare.builtin.objects`: its lines, and a photo as shops show them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter

from errors import InputError
from prepare.builtin.objects import Part, make_object

# Width of a line, as a fraction of the image's side
LINE = 0.009
# From the object to the light: left, above and in front
LIGHT = np.array([-0.45, -0.62, 0.64])
# Half way between the light and the eye, where highlights are
_SUM = LIGHT + np.array([0.0, 0.0, 1.0])
HALF = _SUM / np.linalg.norm(_SUM)
AMBIENT, DIFFUSE = 0.50, 0.62


def _mask(outline: np.ndarray, pixels: int) -> np.ndarray:
    """Where the polygon is, (pixels, pixels) bool."""
    image = Image.new("1", (pixels, pixels))
    ImageDraw.Draw(image).polygon([tuple(point) for point in outline * pixels], fill=1)
    return np.array(image)


def _masks(parts: list[Part], pixels: int) -> dict[str, np.ndarray]:
    """Each part's own area, in front of others or not."""
    masks: dict[str, np.ndarray] = {}
    for part in parts:
        mask = _mask(part.outline, pixels)
        masks[part.name] = mask & masks[part.inside] if part.inside else mask
    return masks


def _strokes(lines: list[np.ndarray], pixels: int, width: float) -> np.ndarray:
    """Where lines of ``width`` (in pixels) run, (pixels, pixels) bool."""
    image = Image.new("1", (pixels, pixels))
    draw = ImageDraw.Draw(image)
    for line in lines:
        draw.line(
            [tuple(p) for p in line * pixels], fill=1, width=max(1, round(width)), joint="curve"
        )
    return np.array(image)


def _dashes(line: np.ndarray, length: float) -> list[np.ndarray]:
    """Every second piece of a line, each about ``length`` long (fraction of the side)."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)])
    count = max(2, int(along[-1] / length))
    at = np.linspace(0, along[-1], count + 1)
    points = np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], 1)
    return [points[i : i + 2] for i in range(0, count, 2)]


def draw_lines(parts: list[Part], size: int) -> np.ndarray:
    """The object in black lines on white.

    Returns:
        (size, size, 3) uint8
    """
    pixels = 4 * size
    masks = _masks(parts, pixels)
    ink = np.zeros((pixels, pixels), bool)
    width = LINE * pixels
    for part in parts:
        ink &= ~masks[part.name]
        edge = _strokes([np.concatenate([part.outline, part.outline[:1]])], pixels, width)
        ink |= edge & masks[part.inside] if part.inside else edge
        threads = [dash for line in part.stitch for dash in _dashes(line, 0.022)]
        ink |= _strokes([*part.seams, *threads], pixels, 0.75 * width) & masks[part.name]
    grey = Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).reduce(4)
    return np.repeat(np.asarray(grey)[..., None], 3, 2)


def _texture(part: Part, noise: np.ndarray, pixels: int) -> np.ndarray:
    """Factor of a surface's brightness, (pixels, pixels) float32, about 1."""
    grain = noise
    if part.material.weave:
        y, x = np.mgrid[:pixels, :pixels].astype(np.float32) / pixels
        threads = np.sin(2 * np.pi * 64 * (x + y)) * np.sin(2 * np.pi * 64 * (x - y))
        grain = 0.6 * threads + 0.6 * noise
    return 1 + part.material.grain * grain


def _shaded(part: Part, mask: np.ndarray, noise: np.ndarray, pixels: int) -> np.ndarray:
    """A part's colours under the light, (pixels, pixels, 3) float32, 0..255; valid in its mask."""
    depth = distance_transform_edt(mask).astype(np.float32)
    reach = part.material.bulge * pixels
    inward = np.clip(depth / reach, 0, 1)
    # A quarter of a circle at the edge, flat where it is farther away than ``bulge``
    height = reach * np.sqrt(np.clip(1 - (1 - inward) ** 2, 0, 1))
    height = gaussian_filter(height, 0.010 * pixels)
    slope_y, slope_x = np.gradient(height)
    normal = np.stack([-slope_x, -slope_y, np.full_like(height, 1.1)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = AMBIENT + DIFFUSE * np.clip(normal @ LIGHT.astype(np.float32), 0, None)
    light *= 0.86 + 0.14 * np.clip(depth / (0.012 * pixels), 0, 1)
    colour = np.array(part.colour, np.float32) * (light * _texture(part, noise, pixels))[..., None]
    shine = np.clip(normal @ HALF.astype(np.float32), 0, None) ** 24
    gloss = part.material.gloss * shine[..., None]
    return colour + (255 - colour) * np.clip(0.65 * gloss, 0, 1)


def draw_product_photo(parts: list[Part], seed: int, size: int) -> np.ndarray:
    """The object before a bright wall, with a soft shadow on the ground.

    Returns:
        (size, size, 3) uint8
    """
    factor = 4 if size <= 80 else 2
    pixels = size * factor
    rng = np.random.Generator(np.random.PCG64([seed, 4]))
    noise = rng.standard_normal((size, size), np.float32)
    noise = np.asarray(Image.fromarray(noise).resize((pixels, pixels), Image.Resampling.BICUBIC))
    masks = _masks(parts, pixels)
    whole = np.any(list(masks.values()), axis=0)
    y = np.linspace(0, 1, pixels, dtype=np.float32)[:, None, None]
    image = np.broadcast_to(252 - 10 * y**2, (pixels, pixels, 3)).copy()
    image *= 1 - 0.42 * _ground_shadow(whole, pixels)[..., None]
    for part in parts:
        mask = masks[part.name]
        if not mask.any():
            continue
        # What lies in front darkens what is behind it a little, toward the lower right.
        cast = gaussian_filter(mask.astype(np.float32), 0.008 * pixels)
        cast = np.roll(cast, (round(0.008 * pixels), round(0.006 * pixels)), (0, 1))
        image *= 1 - 0.30 * (cast * whole)[..., None]
        colour = _shaded(part, mask, noise, pixels)
        if part.seams:
            seam = gaussian_filter(
                _strokes(list(part.seams), pixels, 0.006 * pixels) * 1.0, 0.003 * pixels
            )
            colour *= 1 - 0.55 * np.clip(seam, 0, 1)[..., None]
        threads = [dash for line in part.stitch for dash in _dashes(line, 0.022)]
        if threads:
            thread = _strokes(threads, pixels, 0.007 * pixels)
            colour[thread] = 0.35 * colour[thread] + 0.65 * np.array([232, 222, 200], np.float32)
        image[mask] = colour[mask]
    image = Image.fromarray(np.clip(image + 0.5, 0, 255).astype(np.uint8)).reduce(factor)
    return np.asarray(image)


def _ground_shadow(whole: np.ndarray, pixels: int) -> np.ndarray:
    """Strength of the shadow below the object, (pixels, pixels) float32, 0..1."""
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    if not rows.size:
        return np.zeros((pixels, pixels), np.float32)
    middle, half = (columns[0] + columns[-1]) / 2, max(1.0, (columns[-1] - columns[0]) / 2)
    y, x = np.mgrid[:pixels, :pixels].astype(np.float32)
    ground = rows[-1] - 0.004 * pixels
    across, up = (x - middle) / half, (y - ground) / (0.045 * pixels)
    return np.clip(1.15 - across**2, 0, 1) * np.exp(-(up**2))


def render_object_pair(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one object as lines and as a photo.

    Args:
        seed: a non-negative integer that names the object; it is the same at every size
        size: height and width of both images in pixels, at least 32

    Returns:
        (lines, photo), each (size, size, 3) uint8 RGB in [0, 255]

    Raises:
        InputError: ``size`` is below 32.
    """
    if size < 32:
        raise InputError(f"size must be at least 32 pixels, not {size}")
    parts = make_object(seed)
    return draw_lines(parts, size), draw_product_photo(parts, seed, size)
