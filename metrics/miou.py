"""mIoU of generated street scenes: how well a segmenter recovers the labels they came from.

Protocol (SPEC 5): the generated photo goes through DRN-D-105, its class scores are resized
bilinearly to the size of the Cityscapes ground truth (2048x1024), and the best class of each pixel
is compared with gtFine's trainIds.

For the published figures, the scores were resized image by image and channel by channel with
Pillow's BILINEAR. For enlargement that is bilinear interpolation with half-pixel centres and
clamped edges, the same as `F.interpolate(mode='bilinear', align_corners=False)`. On 19 channels of
log-probabilities in -24..0, from 256x256 to 2048x1024, the two differ by at most 4e-6, which is
float32 rounding. `metrics.class_map` rounds where Pillow rounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from errors import InputError
from metrics.class_map import class_map
from metrics.confusion import confusion, summary
from metrics.drn import CITYSCAPES_CLASSES, DRNSeg
from metrics.labels import LabelStore, image_stem

# Mean and deviation of Cityscapes photos (RGB in 0..1), as in the training of the published DRN.
CITYSCAPES_MEAN = (0.29010095242892997, 0.32808144844279574, 0.28696394422942517)
CITYSCAPES_STD = (0.1829540508368939, 0.18656561047509476, 0.18447508988480435)


class SegmentationScorer:
    """A `metrics.criteria.Criterion` for mIoU: counts the confusion matrix batch by batch.

    Its whole state is `counts`, (19, 19) int64 on `device`, and `n`, the number of photos. The sums
    of both over several processes are the state of all photos together.

    drn:        the segmenter, 19 classes, in eval mode on `device`
    labels:     ground truth for every name that `update` will get
    device:     where the network and the counting run
    batch_size: maximum number of photos in one pass of the network
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

        images: (N, 3, H, W) uint8 RGB on any device, not larger than the labels
        names:  N image names; their stems find the labels
        real:   not used
        raises: InputError if a label cannot be read or is smaller than its photo; ValueError for
                another type or another number of names
        """
        if images.dtype != torch.uint8 or len(images) != len(names):
            raise ValueError(
                f"wants uint8 photos and a name each, got {images.dtype}, {len(images)} and "
                f"{len(names)}"
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
                        f"the label of image {image_stem(name)!r} is "
                        f"{label.shape[1]}x{label.shape[0]}, smaller than the photo "
                        f"({scores.shape[2]}x{scores.shape[1]}). `table_path` must name the labels "
                        "at full size, 2048x1024 in Cityscapes."
                    )
                truth = torch.from_numpy(label).to(self.device)
                self.counts += confusion(class_map(scores, label.shape), truth)
                self.n += 1

    def state(self) -> tuple[Tensor, int]:
        """(counts on the CPU, n)."""
        return self.counts.cpu(), self.n

    def merge(self, states: list[tuple[Tensor, int]]) -> None:
        """Replace counts and n by the totals of several processes."""
        self.counts = sum(counts for counts, _ in states).to(self.device)
        self.n = sum(n for _, n in states)

    def result(self) -> dict[str, float | int | list[float | None]]:
        """The figures of `summary` over all photos so far, and ``n``, their number."""
        return {"n": self.n, **summary(self.counts)}
