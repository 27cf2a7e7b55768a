"""Images in tiles: for sizes at which the activations of a whole pass do not fit into memory.

A tile owns a part of the image and reaches ``overlap`` pixels into the parts of its neighbours.
Tiles start at multiples of what the network needs, so that its layers of stride 2 see the same
grid as in a whole pass.

What the border of a tile can reach is cropped, and what is left of two neighbours is blended. So
the result is that of a whole pass, but for rounding, if

* no norm takes its statistics from the image: `measures_images` is false; and
* ``overlap`` is at least the network's ``reach``, see `models.layout.Layout.reach`.

Every output pixel of a U-Net depends on the whole image: its tiles only blend.

An instance norm and a layer norm take mean and variance of what they are given, a tile here.
`Tiling.norm` says what they take instead. A network that chooses a style for an image makes all
tiles of the image in that style.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from models.layers import SampleNorm, multiple_of
from models.spade import PlainInstanceNorm2d
from models.styles import in_their_styles
from runtime.machine import device_for_float64

TILE_NORMS = ("own", "image", "pooled", "exact")


@dataclass(frozen=True)
class Tiling:
    """How an image is cut.

    tile:    height and width of a tile [px]; an image that fits is one tile
    overlap: how far a tile reaches into its neighbours' parts [px]: two neighbours share at least
             twice as much
    norm:    statistics of the norms that measure images. own: of the tile | image: of the whole
             image, scaled down to fit one tile | pooled: of all tiles together, from a first pass
             with ``own`` | exact: of the whole image, one norm after the other
    """

    tile: int
    overlap: int = 64
    norm: str = "pooled"

    def check(self, net: Callable[[Tensor], Tensor]) -> None:
        """InputError, with values that fit, unless the network can run on such tiles."""
        multiple = multiple_of(net)
        if self.norm not in TILE_NORMS:
            raise InputError(f"`tile_norm` {self.norm} is not one of {', '.join(TILE_NORMS)}")
        least = {"tile": max(8, multiple), "overlap": 0}
        for name, value in (("tile", self.tile), ("overlap", self.overlap)):
            if value % multiple or value < least[name]:
                near = max(least[name], round(value / multiple) * multiple)
                raise InputError(
                    f"`{name}` {value}: this network needs a multiple of {multiple} pixels, "
                    f"{least[name]} or more; the nearest is {near}"
                )
        if 2 * self.overlap >= self.tile:
            most = (self.tile - 1) // 2 // multiple * multiple
            raise InputError(
                f"`overlap` {self.overlap} is half of `tile` {self.tile} or more: a tile would "
                f"have no part of its own; give an `overlap` of {most} at most, or a `tile` of "
                f"{2 * self.overlap + multiple} at least"
            )
        if self.norm == "exact" and measures_images(net):
            self._check_exact(getattr(net, "reach", None), multiple)

    def _check_exact(self, reach: int | None, multiple: int) -> None:
        if reach is None:
            raise InputError(
                "`tile_norm` exact: tiles of this network differ by more than their norms, since "
                "a pixel depends on the whole image or on an unknown part of it; use another"
            )
        if self.overlap < reach:
            least = math.ceil(reach / multiple) * multiple
            raise InputError(
                f"`tile_norm` exact: a pixel depends on others as far as {reach} px away; give "
                f"an `overlap` of {least} or more"
            )


# --------------------------------------------------------------------------------------------------
# Where tiles are and how much they count


def tile_starts(length: int, tile: int, overlap: int, multiple: int = 4) -> list[int]:
    """Where tiles start along one side: as few as possible, spread evenly.

    Args:
        length, tile, overlap: [px], multiples of ``multiple``; ``2 * overlap < tile``

    Returns:
        rising multiples of ``multiple``, from 0 to ``length - tile``; [0] if one tile is enough
    """
    if length <= tile:
        return [0]
    last = (length - tile) // multiple
    gaps = math.ceil(last / ((tile - 2 * overlap) // multiple))
    return [index * last // gaps * multiple for index in range(gaps + 1)]


def tile_weights(starts: list[int], tile: int, overlap: int, crop: int) -> list[Tensor]:
    """How much each pixel of each tile counts along one side.

    From one tile to the next a raised cosine rises, centred in what they share:
    ``(1 - cos(pi t)) / 2`` with t from 0 to 1 over ``2 * (overlap - crop)`` pixels. It is a step
    if ``crop`` is all of ``overlap``. A weight is the rise at the start of a tile less the rise at
    the start of the next, so that the weights of a pixel sum to 1.

    Args:
        crop: pixels at the border of a tile that do not count, up to ``overlap``

    Returns:
        of each tile: float64 of its ``tile`` pixels, in [0, 1]
    """
    pixels = torch.arange(starts[-1] + tile, dtype=torch.float64) + 0.5
    width = 2 * (overlap - crop)
    rises = [torch.ones_like(pixels)]
    for before, after in pairwise(starts):
        from_centre = pixels - (before + tile + after) / 2
        if width:
            share = (from_centre / width + 0.5).clamp(0, 1)
            rises.append((1 - torch.cos(math.pi * share)) / 2)
        else:
            rises.append((from_centre > 0).double())
    rises.append(torch.zeros_like(pixels))
    return [
        (rise - following)[start : start + tile]
        for start, rise, following in zip(starts, rises[:-1], rises[1:], strict=True)
    ]


def border_to_crop(net: Callable[[Tensor], Tensor], overlap: int) -> int:
    """Pixels of a tile's border that do not count: those that it reaches, if that is known and
    leaves any; else half of ``overlap``."""
    reach = getattr(net, "reach", None)
    return overlap // 2 if reach is None or reach > overlap else reach


# --------------------------------------------------------------------------------------------------
# Norms that take their statistics from the image


def measuring_norms(net: Callable[[Tensor], Tensor]) -> list[nn.Module]:
    """The norms, in the order of the network, whose statistics are those of their input."""
    if not isinstance(net, nn.Module):
        return []
    kept = (nn.InstanceNorm2d, nn.BatchNorm2d)
    return [
        module
        for module in net.modules()
        if isinstance(module, SampleNorm | PlainInstanceNorm2d)
        or (isinstance(module, kept) and (module.training or not module.track_running_stats))
    ]


def measures_images(net: Callable[[Tensor], Tensor]) -> bool:
    """Whether what a network makes of a pixel depends on the whole image through its norms."""
    return bool(measuring_norms(net))


@contextmanager
def _replaced(norms: Iterable[nn.Module], forward: Callable[[nn.Module, Tensor], Tensor]):
    """In this context norms compute ``forward(norm, x)``."""
    norms = list(norms)
    for norm in norms:
        # An attribute of the object stands before the method of its class.
        norm.forward = partial(forward, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class Moments:
    """Count, mean and variance of parts of a tensor taken together (Chan et al. 1979).

    They are float64 and of the shape that ``part`` has after the mean over ``dims``.
    """

    def __init__(self, dims: tuple[int, ...]):
        self.dims, self.count, self.mean, self.squares = dims, 0, 0.0, 0.0

    def add(self, part: Tensor) -> None:
        found = torch.var_mean(part, self.dims, correction=0, keepdim=True)
        where = device_for_float64(part.device)
        variance, mean = (each.to(where, torch.float64) for each in found)
        count = math.prod(part.shape[dim] for dim in self.dims)
        total, moved = self.count + count, mean - self.mean
        self.squares = self.squares + count * variance
        self.squares = self.squares + moved**2 * (self.count * count / total)
        self.mean = self.mean + moved * (count / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        return self.squares / self.count

    @property
    def deviation(self) -> Tensor:
        """The unbiased one."""
        return (self.squares / (self.count - 1)).sqrt()


def _normalised(norm: nn.Module, x: Tensor, moments: Moments) -> Tensor:
    """What ``norm`` makes of ``x`` by given statistics."""
    if isinstance(norm, SampleNorm):
        return norm.by(x, moments.mean.to(x), moments.deviation.to(x))
    scale = (moments.variance + norm.eps).rsqrt().to(x)
    made = (x - moments.mean.to(x)).mul_(scale)
    if norm.weight is None:
        return made
    weight, bias = (each[: x.shape[1], None, None] for each in (norm.weight, norm.bias))
    return made.mul_(weight).add_(bias)


def _axes(norm: nn.Module) -> tuple[int, ...]:
    """The dimensions of N C H W that a norm takes its mean over."""
    if isinstance(norm, SampleNorm):
        return (1, 2, 3)
    return (0, 2, 3) if isinstance(norm, nn.BatchNorm2d) else (2, 3)


def measure_statistics(
    net: Callable[[Tensor], Tensor], inputs: Iterable[Tensor]
) -> dict[nn.Module, Moments]:
    """Norm -> statistics of all that it normalises while ``net`` runs on ``inputs`` as it is.

    They are those of each image of a batch for instance and layer norms, of the whole batch for
    batch norms.
    """
    found = {norm: Moments(_axes(norm)) for norm in measuring_norms(net)}

    def measure(norm: nn.Module, x: Tensor) -> Tensor:
        found[norm].add(x)
        return type(norm).forward(norm, x)

    with _replaced(found, measure):
        for x in inputs if found else ():
            net(x)
    return found


def fixed_statistics(found: Mapping[nn.Module, Moments]):
    """A context in which norms take given statistics."""
    return _replaced(found, lambda norm, x: _normalised(norm, x, found[norm]))


# --------------------------------------------------------------------------------------------------
# The network in tiles


class _Measured(Exception):
    """What is wanted of this pass is known."""


@dataclass(frozen=True)
class _Part:
    """A tile: where it is in the image, its own part within it, and how much its pixels count."""

    rows: slice
    columns: slice
    own: tuple[slice, slice]
    weights: tuple[Tensor, Tensor]

    @property
    def height(self) -> int:
        return self.rows.stop - self.rows.start

    @property
    def weight(self) -> Tensor:
        """H W. All of these at once would need more memory than the image."""
        down, right = self.weights
        return down[:, None] * right


class Tiled:
    """A network that runs on tiles what does not fit one, and everything else as it is.

    Args:
        net: of N C H W float in [-1, 1] with H and W multiples of ``multiple``

    Raises:
        InputError: it cannot run on such tiles, see `Tiling.check`.
    """

    def __init__(self, net: Callable[[Tensor], Tensor], tiling: Tiling):
        tiling.check(net)
        self.net, self.tiling, self.multiple = net, tiling, multiple_of(net)
        if tiling.norm != Tiling.norm and not measures_images(net):
            warnings.warn(
                f"`tile_norm` {tiling.norm}: no effect, no norm of this network takes its "
                "statistics from images",
                stacklevel=3,
            )

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """N C H W -> the same size of the output; memory as for a tile, and for the output."""
        if max(x.shape[2:]) <= self.tiling.tile:
            return self.net(x)
        parts, net = self._parts(x), in_their_styles(self.net, x)
        with fixed_statistics(self._statistics(net, x, parts)):
            return self._blended(net, x, parts)

    def _parts(self, x: Tensor) -> list[_Part]:
        tile, overlap, multiple = self.tiling.tile, self.tiling.overlap, self.multiple
        crop, sides = border_to_crop(self.net, overlap), []
        for length in x.shape[2:]:
            size, starts = min(tile, length), tile_starts(length, tile, overlap, multiple)
            weights = tile_weights(starts, size, overlap, crop)
            middles = [
                (before + size + after) // 2 // multiple * multiple
                for before, after in pairwise(starts)
            ]
            bounds = zip([0, *middles], [*middles, length], strict=True)
            own = [slice(a - s, b - s) for s, (a, b) in zip(starts, bounds, strict=True)]
            places = [slice(start, start + size) for start in starts]
            sides.append(list(zip(places, own, weights, strict=True)))
        return [
            _Part(rows, columns, (own_rows, own_columns), (down, right))
            for rows, own_rows, down in sides[0]
            for columns, own_columns, right in sides[1]
        ]

    def _blended(self, net: Callable[[Tensor], Tensor], x: Tensor, parts: list[_Part]) -> Tensor:
        blended = None
        for part in parts:
            made = net(x[..., part.rows, part.columns])
            if blended is None:
                blended = made.new_zeros(*made.shape[:2], *x.shape[2:])
            blended[..., part.rows, part.columns] += made * part.weight.to(made)
        return blended

    def _scaled_down(self, x: Tensor) -> Tensor:
        """The image at the size of a tile, or as near below as its shape and the network allow."""
        scale, least = self.tiling.tile / max(x.shape[2:]), max(8, self.multiple)
        size = [
            max(least, round(side * scale / self.multiple) * self.multiple) for side in x.shape[2:]
        ]
        return F.interpolate(x, size, mode="bilinear", antialias=True)

    def _statistics(
        self, net: Callable[[Tensor], Tensor], x: Tensor, parts: list[_Part]
    ) -> dict[nn.Module, Moments]:
        if self.tiling.norm == "own":
            return {}
        if self.tiling.norm == "exact":
            return self._one_by_one(net, x, parts)
        if self.tiling.norm == "image":
            return measure_statistics(net, [self._scaled_down(x)])
        return measure_statistics(net, (x[..., p.rows, p.columns] for p in parts))

    def _one_by_one(
        self, net: Callable[[Tensor], Tensor], x: Tensor, parts: list[_Part]
    ) -> dict[nn.Module, Moments]:
        """Statistics of the whole image: of each norm in turn, once those before it are known."""
        norms, found = measuring_norms(net), {}

        def measure(norm: nn.Module, x: Tensor) -> Tensor:
            if norm in found:
                return _normalised(norm, x, found[norm])
            # A pixel counts once: in the part that its tile owns, at the resolution of this layer.
            scale = part.height // x.shape[2]
            rows, columns = (slice(own.start // scale, own.stop // scale) for own in part.own)
            moments.setdefault(norm, Moments(_axes(norm))).add(x[..., rows, columns])
            raise _Measured

        with _replaced(norms, measure):
            while len(found) < len(norms):
                moments: dict[nn.Module, Moments] = {}
                for part in parts:
                    with suppress(_Measured):
                        net(x[..., part.rows, part.columns])
                found |= moments
                if not moments:  # what is left is not run
                    break
        return found
