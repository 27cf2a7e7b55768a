"""mIoU of generated street scenes: a segmenter's reading of the photo against the labels it was made from.

Protocol: the generated photo goes through DRN-D-105, its class scores are resized bilinearly to the size of
the Cityscapes ground truth (2048x1024), the best class of each pixel is compared with gtFine's trainIds.

The published figures resized the scores image by image and channel by channel with Pillow's BILINEAR. When
enlarging, that is bilinear interpolation with half-pixel centres and clamped edges, the same as
`F.interpolate(mode='bilinear', align_corners=False)`: on 19 channels of log-probabilities in -24..0, from
256x256 to 2048x1024, the two differ by at most 4e-6, which is float32 rounding. `class_map` below rounds
where Pillow rounds.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from errors import InputError
from metrics.drn import CITYSCAPES_CLASSES, DRNSeg

# Of Cityscapes photos in 0..1, red green blue: what the published DRN weights were trained with.
CITYSCAPES_MEAN = (0.29010095242892997, 0.32808144844279574, 0.28696394422942517)
CITYSCAPES_STD = (0.1829540508368939, 0.18656561047509476, 0.18447508988480435)

# ------------------------------------------------------------------------------------------------------------
# The table: which ground truth belongs to which image.

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff"}


def image_stem(name: str | Path) -> str:
    """The name of an image without folder and image suffix; other dots stay ('d/a.b.png' is 'a.b')."""
    path = Path(name)
    return path.stem if path.suffix.lower() in _IMAGE_SUFFIXES else path.name


def read_table(table_path: str | Path, cityscapes_path: str | Path) -> dict[str, Path]:
    """Image stem -> its gtFine trainIds png, for every line of a table.

    table_path:      text, a line per image: `<name> <gtFine trainIds png> <leftImg8bit png>`
    cityscapes_path: the folder that the paths in the table start from
    returns:         dict keyed by `image_stem(name)`; the files are not looked at yet
    raises:          InputError naming file, line and flag
    """
    table, root = Path(table_path), Path(cityscapes_path)
    if not table.is_file():
        raise InputError(
            f"`table_path` {table}: no such file. It says which ground truth belongs to which image, "
            "a line each: <name> <gtFine trainIds png> <leftImg8bit png>."
        )
    if not root.is_dir():
        raise InputError(
            f"`cityscapes_path` {root}: no such folder. Unpack Cityscapes' gtFine there, or give the folder "
            "that holds it."
        )
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`table_path` {table}: not a text file that can be read ({error})."
        ) from error
    labels: dict[str, Path] = {}
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if not columns:
            continue
        if len(columns) != 3:
            raise InputError(
                f"`table_path` {table}, line {number}: has {len(columns)} columns instead of 3, "
                "<name> <gtFine trainIds png> <leftImg8bit png>."
            )
        stem, label = image_stem(columns[0]), root / columns[1]
        if label.stem.endswith("_labelIds"):
            raise InputError(
                f"`table_path` {table}, line {number}: {columns[1]} holds labelIds; mIoU is defined on "
                "trainIds (made by csCreateTrainIdLabelImgs of cityscapesScripts)."
            )
        if labels.setdefault(stem, label) != label:
            raise InputError(
                f"`table_path` {table}, line {number}: a second label for image {stem!r}."
            )
    if not labels:
        raise InputError(f"`table_path` {table}: is empty.")
    return labels


# ------------------------------------------------------------------------------------------------------------
# Labels: a search compares thousands of networks with the same few hundred, so each is decoded once if memory
# allows.


def _decode(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            mode, label = image.mode, np.array(image)
    except OSError as error:
        raise InputError(
            f"{path}: not an image that can be read ({error}); unpack gtFine again."
        ) from error
    if mode not in ("L", "P"):
        raise InputError(
            f"{path}: is of mode {mode}, not trainIds (8 bits, one channel); check its line in `table_path`."
        )
    return label


class LabelStore:
    """Ground truth by image name, decoded by threads and kept in memory up to a bound.

    names:     the images that will be asked for, with or without folder and suffix
    table:     what `read_table` returned
    max_bytes: of decoded labels to keep; 1 GiB holds the 500 of Cityscapes' val at 2048x1024. What does not
               fit is decoded again whenever it is asked for
    threads:   decoding in parallel (Pillow's decoder releases the interpreter lock)
    raises:    InputError when a name is not in the table or its file does not exist

    To be used by one thread; only the decoding happens in others.
    """

    def __init__(
        self,
        names: Sequence[str],
        table: dict[str, Path],
        max_bytes: int = 1 << 30,
        threads: int = 4,
    ):
        self._paths: dict[str, Path] = {}
        for name in names:
            stem = image_stem(name)
            if stem not in table:
                raise InputError(
                    f"image {stem!r} is not in the table ({len(table)} images, the first is "
                    f"{next(iter(table), None)!r}); `table_path` must be the table of this dataset and phase."
                )
            if not table[stem].is_file():
                raise InputError(
                    f"{table[stem]}: the ground truth of image {stem!r} is missing. Check `cityscapes_path`; "
                    "csCreateTrainIdLabelImgs of cityscapesScripts makes the trainIds files from gtFine."
                )
            self._paths[stem] = table[stem]
        self._max_bytes = max_bytes
        self._kept: dict[str, np.ndarray] = {}
        self._pending: dict[str, Future[np.ndarray]] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="labels")
        self.kept_bytes = 0

    def prefetch(self, names: Sequence[str]) -> None:
        """Start decoding what is not in memory. Ask for these soon: until then the bound ignores them."""
        for stem in map(image_stem, names):
            if stem not in self._kept and stem not in self._pending:
                self._pending[stem] = self._pool.submit(_decode, self._paths[stem])

    def __getitem__(self, name: str) -> np.ndarray:
        """The trainIds of an image: (H, W) uint8. InputError if the file is no such label."""
        stem = image_stem(name)
        if stem in self._kept:
            return self._kept[stem]
        self.prefetch([stem])
        label = self._pending.pop(stem).result()
        # First come, first kept: labels are asked for in the same order over and over, where dropping the
        # least recently used would drop each one just before it is needed again.
        if self.kept_bytes + label.nbytes <= self._max_bytes:
            self._kept[stem] = label
            self.kept_bytes += label.nbytes
        return label


# ------------------------------------------------------------------------------------------------------------
# From class scores to the best class of each pixel of a larger picture, without making the larger scores.
#
# Bilinear interpolation is a convex mix of four scores, the corners of a cell. So
# * where one class leads at all four corners, it leads everywhere between them: most cells need no more;
# * in the others a class whose best corner is below some other class's worst corner leads nowhere: two or
#   three rivals of 19 are left to interpolate.
# Cells are worked out some thousand at a time, so that the values stay in the processor's cache.

# The fastest on a CPU of 500 to 4000; on a GPU larger pieces mean fewer launches.
_CELLS_AT_ONCE = {"cpu": 2000, "cuda": 16384}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch from splitting many short operations between threads.

    On two idle cores a second thread gains nothing here (36 against 31 ms an image), on busy ones operations
    wait for a thread that does not get its turn (65 to 216 ms with one other process running).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _first_largest(planes: Iterable[Tensor]) -> Tensor:
    """Index (uint8) of the largest of equally shaped tensors, elementwise, the first of equals (as NumPy)."""
    planes = iter(planes)
    best = next(planes).clone()
    winner = torch.zeros_like(best, dtype=torch.uint8)
    for index, plane in enumerate(planes, 1):
        winner.masked_fill_(plane > best, index)
        torch.maximum(best, plane, out=best)
    return winner


def _cells_along(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How `new` pixels lie in the `old` + 1 cells between `old` samples and one of padding at either end.

    Pixel i of the new line lies at (i + 0.5) * old / new - 0.5 of the old one (half-pixel centres).

    returns: cell (new,) int64, the cell of each new pixel
             occupied (old+1,) bool, whether any lies in a cell
             members (old+1, M) int64, the new pixels of each cell, the last one repeated where fewer than M
             weight (old+1, M) float64 in 0..1, each member's weight of the cell's right end
    """
    position = (torch.arange(new, dtype=torch.float64, device=device) + 0.5) * old / new - 0.5
    left = position.floor()
    cell = left.long() + 1
    count = torch.bincount(cell, minlength=old + 1)
    phase = torch.arange(int(count.max()), device=device)
    members = (count.cumsum(0) - count)[:, None] + torch.minimum(phase, count[:, None] - 1)
    members.clamp_(min=0)  # empty cells only, which nobody asks about
    return cell, count > 0, members, (position - left)[members]


def _rivals(corners: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Which classes can lead somewhere within a cell.

    corners: four of (C, n), the scores at the corners of n cells
    returns: classes (C, n) int64, the rivals of each cell in ascending order, then zeros
             count (n,) int64, how many rivals
    """
    highest, lowest = reduce(torch.maximum, corners), reduce(torch.minimum, corners)
    possible = highest >= lowest.amax(0)
    rank = possible.cumsum(0) - 1
    classes = torch.zeros_like(rank)
    which, cell = possible.nonzero().unbind(1)
    classes[rank[which, cell], cell] = which
    return classes, possible.sum(0)


def _interpolate(points: Tensor, at: Tensor, stride: int, fy: Tensor, fx: Tensor) -> Tensor:
    """Values (My, Mx, n) float32 within n cells. As Pillow: across, then down, in double, kept in single.

    points: float32; flattened, the upper left corners are at `at` (n,), the lower left ones `stride` later
    fy, fx: (My, 1, n) and (Mx, n) float64, the weights of the lower and of the right corners
    """
    points = points.flatten()
    upper, lower = (
        torch.lerp(points[left].double(), points[left + 1].double(), fx).float().double()
        for left in (at, at + stride)
    )
    return torch.lerp(upper, lower, fy).float()


@_one_thread()
def class_map(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """The best class of each pixel after bilinear enlargement.

    scores:  (C, h, w) float32, C up to 255, on any device
    size:    (H, W), not smaller than (h, w)
    returns: (H, W) uint8 on the same device, argmax over C of the channels as Pillow's BILINEAR resizes them
    raises:  ValueError when `size` is smaller than the scores
    """
    (_, h, w), (height, width) = scores.shape, size
    if height < h or width < w:
        raise ValueError(f"class_map enlarges only: {h}x{w} scores, size {height}x{width}")
    device = scores.device
    cell_y, occupied_y, rows, weight_y = _cells_along(h, height, device)
    cell_x, occupied_x, columns, weight_x = _cells_along(w, width, device)

    leader = _first_largest(scores)
    leader = F.pad(leader[None, None].float(), (1, 1, 1, 1), mode="replicate")[
        0, 0
    ].byte()  # (h+2, w+2)
    corner = leader[:-1, :-1]  # (h+1, w+1): the leader at each cell's upper left
    mixed = (corner != leader[:-1, 1:]) | (corner != leader[1:, :-1]) | (corner != leader[1:, 1:])
    mixed &= occupied_y[:, None] & occupied_x
    best = (
        corner[:, cell_x].index_select(0, cell_y).flatten()
    )  # (H*W,): right except in mixed cells

    points = F.pad(scores[None], (1, 1, 1, 1), mode="replicate")[0].flatten(1)  # (C, (h+2)*(w+2))
    y, x = mixed.nonzero().unbind(1)  # n cells
    at = y * (w + 2) + x
    classes, count = _rivals(
        [points.index_select(1, at + offset) for offset in (0, 1, w + 2, w + 3)]
    )
    order = count.argsort(stable=True)  # cells with as many rivals are worked out together
    step = _CELLS_AT_ONCE[device.type]
    for start in range(0, len(order), step):
        cells = order[start : start + step]
        fy, fx = weight_y[y[cells]].T[:, None], weight_x[x[cells]].T  # (My, 1, n), (Mx, n)
        rivals = classes[: int(count[cells[-1]]), cells]  # (K, n)
        winner = _first_largest(
            _interpolate(points, rival * points.shape[1] + at[cells], w + 2, fy, fx)
            for rival in rivals
        )  # (My, Mx, n), 0..K-1
        winner = rivals.gather(0, winner.flatten(0, 1).long()).view(winner.shape)
        best[rows[y[cells]].T[:, None] * width + columns[x[cells]].T] = winner.byte()
    return best.view(height, width)


# ------------------------------------------------------------------------------------------------------------
# Counting: exact integers, from which every figure follows.


@_one_thread()
def confusion(predicted: Tensor, label: Tensor) -> Tensor:
    """How often each class was read as each class.

    predicted: uint8, any shape, 0..18
    label:     uint8 trainIds, the same shape and device; pixels with other values than 0..18 are left out
    returns:   (19, 19) int64 on the same device, rows the label, columns the prediction
    """
    classes = CITYSCAPES_CLASSES
    # Everything ignored shares one extra row, which is cut off: cheaper than selecting the valid pixels.
    code = label.clamp(max=classes).short() * classes + predicted
    counts = torch.bincount(code.flatten(), minlength=(classes + 1) * classes)
    return counts.view(classes + 1, classes)[:classes]


def summary(counts: Tensor) -> dict[str, float | list[float | None]]:
    """Percentages from a confusion matrix.

    counts:  (C, C) integers, rows the label, columns the prediction
    returns: mIoU, the mean IoU of the classes that exist in label or prediction; accu, the share of pixels
             read right; class_iou, C entries, None for a class that does not exist. All in 0..100;
             intersection over union of class c is n_cc / (sum_j n_cj + sum_i n_ic - n_cc)
    raises:  InputError when nothing was counted
    """
    matrix = counts.cpu().numpy().astype(np.float64)  # exact: counts are far below 2**53
    hits = matrix.diagonal()
    union = matrix.sum(1) + matrix.sum(0) - hits
    if not matrix.any():
        raise InputError(
            "mIoU: no pixel has a label in 0..18; the second column of `table_path` must name trainIds files."
        )
    exists = union > 0
    iou = 100 * hits[exists] / union[exists]
    by_class: list[float | None] = [None] * len(matrix)
    for index, value in zip(exists.nonzero()[0], iou, strict=True):
        by_class[index] = float(value)
    return {
        "mIoU": float(iou.mean()),
        "accu": float(100 * hits.sum() / matrix.sum()),
        "class_iou": by_class,
    }


# ------------------------------------------------------------------------------------------------------------
# The measure: photos in, figures out.


class SegmentationScorer:
    """A criterion (see `metrics.criteria`): accumulates the confusion matrix of generated photos, batch by batch.

    drn:        the segmenter, 19 classes, in eval mode on `device`
    labels:     ground truth for every name that will come
    device:     where the network and the counting run
    batch_size: photos through the network at once

    `counts`, (19, 19) int64 on `device`, and `n`, photos so far, are the whole state: summed over several
    processes they are the state of all together.
    """

    keys = ("mIoU", "accu")
    labels = {"mIoU": "mIoU", "accu": "pixel accuracy"}

    def __init__(
        self,
        drn: DRNSeg,
        labels: LabelStore,
        device: torch.device | str,
        batch_size: int = 8,
    ):
        self.drn = drn
        self.store = labels
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.reset()
        self._mean = torch.tensor(CITYSCAPES_MEAN, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(CITYSCAPES_STD, device=self.device).view(3, 1, 1)

    def reset(self) -> None:
        """Forget all photos; the decoded labels stay."""
        self.counts = torch.zeros((CITYSCAPES_CLASSES,) * 2, dtype=torch.int64, device=self.device)
        self.n = 0

    @torch.inference_mode()
    def update(self, images: Tensor, names: Sequence[str], real: Tensor | None = None) -> None:
        """Score photos.

        images: (N, 3, H, W) uint8, RGB 0..255, on any device, not larger than the labels
        names:  N image names; the labels are looked up by their stems
        raises: InputError when a label cannot be read or is smaller than its photo
        """
        if images.dtype != torch.uint8 or len(images) != len(names):
            raise ValueError(
                f"wants uint8 photos and a name each, got {images.dtype}, {len(images)} and {len(names)}"
            )
        for start in range(0, len(names), self.batch_size):
            batch = names[start : start + self.batch_size]
            self.store.prefetch(batch)  # decoded while the network runs
            photos = images[start : start + self.batch_size].to(self.device).float() / 255
            for scores, name in zip(
                self.drn((photos - self._mean) / self._std), batch, strict=True
            ):
                label = self.store[name]
                if label.shape[0] < scores.shape[1] or label.shape[1] < scores.shape[2]:
                    raise InputError(
                        f"the label of image {image_stem(name)!r} is {label.shape[1]}x{label.shape[0]}, "
                        f"smaller than the photo ({scores.shape[2]}x{scores.shape[1]}). `table_path` must "
                        "name the labels at full size, 2048x1024 in Cityscapes."
                    )
                truth = torch.from_numpy(label).to(self.device)
                self.counts += confusion(class_map(scores, label.shape), truth)
                self.n += 1

    def state(self) -> tuple[Tensor, int]:
        return self.counts.cpu(), self.n

    def merge(self, states: list[tuple[Tensor, int]]) -> None:
        """Take up what several processes have counted."""
        self.counts = sum(counts for counts, _ in states).to(self.device)
        self.n = sum(n for _, n in states)

    def result(self) -> dict[str, float | int | list[float | None]]:
        """Over all photos so far: n, their number, and the figures of `summary`."""
        return {"n": self.n, **summary(self.counts)}
