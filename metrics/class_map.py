"""Class scores -> the best class of each pixel of a larger image.

The enlarged scores are never computed as a whole. Bilinear interpolation is a convex combination of
four scores, those at the corners of a cell. So

* if one class is best at all four corners, it is best everywhere in the cell. Most cells need no
  more work;
* in the other cells, a class is best nowhere if its highest corner is below the lowest corner of
  another class. Of 19 classes, two or three rivals are left to interpolate.

Cells are processed in groups that are small enough for the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from runtime.machine import device_for_float64

# Cells per group. On a CPU, 2000 was the fastest of 500 to 4000; on a GPU, larger groups mean fewer
# kernel launches.
_CELLS_AT_ONCE = {"cpu": 2000, "gpu": 16384}


@contextmanager
def one_thread() -> Iterator[None]:
    """Run a block or function on one thread, so that PyTorch does not split short operations.

    On two idle cores a second thread gains nothing here (36 against 31 ms per image). On busy cores
    operations wait for a thread that is not scheduled (65 to 216 ms with one other process
    running).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _first_largest(planes: Iterable[Tensor]) -> Tensor:
    """Index (uint8) of the largest of tensors of one shape, per element; the first if equal."""
    planes = iter(planes)
    best = next(planes).clone()
    winner = torch.zeros_like(best, dtype=torch.uint8)
    for index, plane in enumerate(planes, 1):
        winner.masked_fill_(plane > best, index)
        torch.maximum(best, plane, out=best)
    return winner


def _cells_along(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which cell between `old` samples each of `new` pixels falls into, along one axis.

    One sample of padding at either end makes `old` + 1 cells. Pixel i is at position
    (i + 0.5) * old / new - 0.5 among the samples (half-pixel centres).

    returns: cell (new,) int64, the cell of each new pixel
             occupied (old+1,) bool, whether a cell holds any pixel
             members (old+1, M) int64, the new pixels in each cell; the last one is repeated if
             there are fewer than M
             weight (old+1, M) float64 in 0..1, the weight of the cell's right end for each member
    """
    position = (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * old / new - 0.5
    left = position.floor()
    cell = left.long() + 1
    count = torch.bincount(cell, minlength=old + 1)
    phase = torch.arange(int(count.max()), device=device)
    members = (count.cumsum(0) - count)[:, None] + torch.minimum(phase, count[:, None] - 1)
    members.clamp_(min=0)  # changes only empty cells, which are never read
    return cell, count > 0, members, (position - left)[members]


def _rivals(corners: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Which classes can be the best somewhere within a cell.

    corners: four tensors (C, n), the scores at the corners of n cells
    returns: classes (C, n) int64, the rivals of each cell in ascending order, then zeros
             count (n,) int64, the number of rivals of each cell
    """
    highest, lowest = reduce(torch.maximum, corners), reduce(torch.minimum, corners)
    possible = highest >= lowest.amax(0)
    rank = possible.cumsum(0) - 1
    classes = torch.zeros_like(rank)
    which, cell = possible.nonzero().unbind(1)
    classes[rank[which, cell], cell] = which
    return classes, possible.sum(0)


def _interpolate(points: Tensor, at: Tensor, stride: int, fy: Tensor, fx: Tensor) -> Tensor:
    """Interpolated values (My, Mx, n) float32 within n cells.

    As Pillow does it: horizontally, then vertically, each in float64 and rounded to float32.

    points: float32 scores, flattened for indexing
    at:     (n,) int64, index of each cell's upper left corner; the lower left one is `stride` later
    fy, fx: (My, 1, n) and (Mx, n) float64, the weights of the lower and of the right corners
    """
    points = points.flatten()
    upper, lower = (
        torch.lerp(points[left].double(), points[left + 1].double(), fx).float().double()
        for left in (at, at + stride)
    )
    return torch.lerp(upper, lower, fy).float()


@one_thread()
def class_map(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The best class of each pixel after bilinear enlargement.

    scores:  (C, h, w) float32, C up to 255, on any device
    size:    (H, W), not smaller than (h, w)
    returns: (H, W) uint8 on the same device: argmax over C of the channels as Pillow's BILINEAR
             resizes them
    raises:  ValueError when `size` is smaller than the scores
    """
    (_, h, w), (height, width) = scores.shape, size
    if height < h or width < w:
        raise ValueError(f"class_map enlarges only: {h}x{w} scores, size {height}x{width}")
    given, device = scores.device, device_for_float64(scores.device)
    scores = scores.to(device)
    cell_y, occupied_y, rows, weight_y = _cells_along(h, height, device)
    cell_x, occupied_x, columns, weight_x = _cells_along(w, width, device)

    leader = _first_largest(scores)
    padded = F.pad(leader[None, None].float(), (1, 1, 1, 1), mode="replicate")
    leader = padded[0, 0].byte()  # (h+2, w+2)
    corner = leader[:-1, :-1]  # (h+1, w+1): the leader at each cell's upper left
    mixed = (corner != leader[:-1, 1:]) | (corner != leader[1:, :-1]) | (corner != leader[1:, 1:])
    mixed &= occupied_y[:, None] & occupied_x
    # (H*W,): correct except in mixed cells.
    best = corner[:, cell_x].index_select(0, cell_y).flatten()

    points = F.pad(scores[None], (1, 1, 1, 1), mode="replicate")[0].flatten(1)  # (C, (h+2)*(w+2))
    y, x = mixed.nonzero().unbind(1)  # n cells
    at = y * (w + 2) + x
    classes, count = _rivals(
        [points.index_select(1, at + offset) for offset in (0, 1, w + 2, w + 3)]
    )
    # Cells with the same number of rivals are processed together.
    order = count.argsort(stable=True)
    step = _CELLS_AT_ONCE["cpu" if device.type == "cpu" else "gpu"]
    for start in range(0, len(order), step):
        cells = order[start : start + step]
        # (My, 1, n), (Mx, n)
        fy, fx = weight_y[y[cells]].T[:, None], weight_x[x[cells]].T
        rivals = classes[: int(count[cells[-1]]), cells]  # (K, n)
        winner = _first_largest(
            _interpolate(points, rival * points.shape[1] + at[cells], w + 2, fy, fx)
            for rival in rivals
        )  # (My, Mx, n), 0..K-1
        winner = rivals.gather(0, winner.flatten(0, 1).long()).view(winner.shape)
        best[rows[y[cells]].T[:, None] * width + columns[x[cells]].T] = winner.byte()
    return best.view(height, width).to(given)
