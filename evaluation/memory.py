"""Generators on images that may not fit into memory: what a pass needs, said before it is tried.

The estimate is `models.cost.Costs.values` in float32. Weights, the images of a loader, and what
measures hold are not in it: they are there before a pass begins, and so not free.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from errors import InputError
from evaluation.tested import Loaded
from models.config import ChannelConfig
from models.cost import config_values
from models.generators import GeneratorSpec
from models.layers import multiple_of
from models.tiles import Tiled, Tiling
from runtime.machine import free_memory

# Tiles that are proposed are multiples of this [px], or of what the network needs, and need this
# share of what is free: estimates are not exact.
ROUND, SHARE = 64, 0.75


def gigabytes(count: float) -> str:
    """Bytes as text in GB (10^9 bytes)."""
    return f"{count / 1e9:.3g} GB"


class Watched:
    """A generator that says before a pass that memory will not do, and how tiles would help.

    It warns once for each larger size. If memory does run out, that ends in the same advice.

    Args:
        net:    N C H W float32 in [-1, 1] with H and W multiples of its ``multiple``
        spec:   what it is
        config: its channels; None = those of ``spec``
        tiling: cut images that are larger than a tile; None = never

    Raises:
        InputError: the network cannot run on such tiles; from a call: memory ran out.
    """

    def __init__(
        self,
        net: Callable[[Tensor], Tensor],
        spec: GeneratorSpec,
        tiling: Tiling | None = None,
        config: ChannelConfig | None = None,
    ):
        self.net = net if tiling is None else Tiled(net, tiling)
        self.multiple, self.tiling = multiple_of(net), tiling
        self.costs, self.config = spec.architecture, spec.config if config is None else config
        self.images = spec.input_nc + spec.output_nc
        self._warned = 0

    def bytes_of_pass(self, height: int, width: int, tile: int | None = None) -> int:
        """What a pass over one image needs, in bytes; in tiles, if it is larger than ``tile``."""
        beside = 0
        if tile is not None and max(height, width) > tile:
            # The whole image stays, and the whole output grows; a copy of each is made of both.
            beside = 4 * 2 * self.images * height * width
            height, width = min(height, tile), min(width, tile)
        return beside + 4 * config_values(self.config, self.costs, height, width)

    def tile_within(
        self, height: int, width: int, limit: float, images: int = 1, below: float = math.inf
    ) -> int | None:
        """The largest tile, ``below`` a size, that needs at most ``limit`` bytes for so many images
        and leaves room for an overlap; None if there is none."""
        step, overlap = self._steps()
        # As large as the image it would be no tile.
        largest = (min(max(height, width), below) - 1) // step * step
        for tile in range(int(largest), 2 * overlap, -step):
            if images * self.bytes_of_pass(height, width, tile) <= limit:
                return tile
        return None

    def _steps(self) -> tuple[int, int]:
        """Tiles are proposed in steps of, with an overlap of [px]."""
        step = max(ROUND, self.multiple)
        return step, step if self.tiling is None else self.tiling.overlap

    def __call__(self, x: Tensor) -> Tensor:
        images, _, height, width = x.shape
        tile = self.tiling and self.tiling.tile
        needed, free = images * self.bytes_of_pass(height, width, tile), None
        if needed > self._warned:
            free = free_memory(x.device)
        if free is not None and needed > free:
            self._warned = needed
            warnings.warn(
                f"{self._what(x)}: about {gigabytes(needed)} of memory are needed for activations "
                f"and {gigabytes(free)} are free: {self._advice(x, SHARE * free)}",
                stacklevel=2,
            )
        try:
            return self.net(x)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        # Outside the handler: the traceback of the error would keep its tensors.
        if x.device.type == "cuda":
            torch.cuda.empty_cache()
        free, below = free_memory(x.device), math.inf
        limit = math.inf if free is None else SHARE * free
        # The estimate may be wrong: what is proposed is far less than what was tried.
        if tile is not None and max(height, width) > tile:
            below = 0.75 * tile
        else:
            limit = min(limit, needed / 2)
        raise InputError(
            f"{self._what(x)}: memory ran out, about {gigabytes(needed)} are needed for "
            f"activations: {self._advice(x, limit, below)}"
        )

    def _what(self, x: Tensor) -> str:
        images, _, height, width = x.shape
        size = f"{width}x{height} pixels"
        what = f"an image of {size}" if images == 1 else f"{images} images of {size} at once"
        if self.tiling is not None and max(height, width) > self.tiling.tile:
            what += f" in tiles of {self.tiling.tile}"
        return what

    def _advice(self, x: Tensor, limit: float, below: float = math.inf) -> str:
        images, _, height, width = x.shape
        tile, fewer = self.tile_within(height, width, limit, images, below), ""
        if tile is None and images > 1:
            images, fewer = 1, "`batch_size` 1 and "
            tile = self.tile_within(height, width, limit, below=below)
        if tile is None:
            return "no tile is small enough: give smaller images or a smaller network"
        _, overlap = self._steps()
        wide = f" `overlap` {overlap}" if self.tiling is None and overlap != ROUND else ""
        needed = images * self.bytes_of_pass(height, width, tile)
        return f"give {fewer}`tile` {tile}{wide}, which needs about {gigabytes(needed)}"


def watched(loaded: Loaded, tiling: Tiling | None) -> Loaded:
    """A network under test that runs in tiles, if any are given, and watches its memory."""
    net = Watched(loaded.net, loaded.spec, tiling, loaded.config)
    return replace(loaded, net=net, model=replace(loaded.model, tiles=tiling))


def _is_out_of_memory(error: BaseException) -> bool:
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in said for words in ("can't allocate memory", "bad_alloc", "out of memory")
    )
