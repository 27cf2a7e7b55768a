"""mIoU of photos made of labels: how well a segmenter recovers the labels they came from.

Cityscapes (SPEC 5): the generated photo goes through DRN-D-105, its class scores are resized
bilinearly to the size of the ground truth (2048x1024), and the best class of each pixel is compared
with gtFine's trainIds.

For the published figures, the scores were resized image by image and channel by channel with
Pillow's BILINEAR. For enlargement that is bilinear interpolation with half-pixel centres and
clamped edges, the same as `F.interpolate(mode='bilinear', align_corners=False)`. On 19 channels of
log-probabilities in -24..0, from 256x256 to 2048x1024, the two differ by at most 4e-6, which is
float32 rounding. `metrics.class_map` rounds where Pillow rounds.

COCO-Stuff: the photo is resized bicubically to the size of its label first, goes through DeepLabV2,
and the logits are resized bilinearly to that size. The label is the map that the photo was made of.
Published is that the photo is resized bicubically; that Pillow does it, on 8 bits, is assumed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from errors import InputError
from metrics.class_map import class_map
from metrics.confusion import confusion, summary
from metrics.deeplab import COCO_CLASSES, DeepLabV2
from metrics.drn import CITYSCAPES_CLASSES, DRNSeg
from metrics.labels import LabelStore, image_stem

# --------------------------------------------------------------------------------------------------
# What all datasets share


class SegmentationScorer:
    """A `metrics.criteria.Criterion` for mIoU: counts the confusion matrix batch by batch.

    Its whole state is `counts`, (C, C) int64 on `device`, and `n`, the number of photos. The sums
    of both over several processes are the state of all photos together. A dataset has its own
    `predict`, and `of_batch` where its segmenter takes several photos at once.

    labels:     ground truth for every name that `update` will get
    device:     where the network and the counting run
    classes:    number of classes C
    remedy:     what the user can do if no pixel has a label of a class
    batch_size: number of photos that `of_batch` gets at most
    """

    keys = ("mIoU", "accu")
    labels = {"mIoU": "mIoU", "accu": "pixel accuracy"}

    def __init__(
        self,
        labels: LabelStore,
        device: torch.device | str,
        classes: int,
        remedy: str,
        batch_size: int = 8,
    ):
        self.store = labels
        self.device = torch.device(device)
        self.classes, self.remedy = classes, remedy
        self.batch_size = batch_size
        self.reset()

    def reset(self) -> None:
        """Forget all photos; the decoded labels stay."""
        self.counts = torch.zeros((self.classes,) * 2, dtype=torch.int64, device=self.device)
        self.n = 0

    def of_batch(self, photos: Tensor) -> Iterable[Tensor]:
        """(N, 3, H, W) uint8 on the device -> what `predict` gets of each photo."""
        return photos

    def predict(self, one: Tensor, size: tuple[int, int], name: str) -> Tensor:
        """The best class of each pixel.

        one:     of `of_batch`
        size:    (H, W) of the label
        name:    of the image, for messages
        returns: (H, W) uint8 on the device
        """
        raise NotImplementedError

    @torch.inference_mode()
    def update(self, images: Tensor, names: Sequence[str], real: Tensor | None = None) -> None:
        """Score photos.

        images: (N, 3, H, W) uint8 RGB on any device
        names:  N image names, of which the store has labels
        real:   not used
        raises: InputError if a label cannot be read or its size does not do; ValueError for another
                type or another number of names
        """
        if images.dtype != torch.uint8 or len(images) != len(names):
            raise ValueError(
                f"wants uint8 photos and a name each, got {images.dtype}, {len(images)} and "
                f"{len(names)}"
            )
        for start in range(0, len(names), self.batch_size):
            batch = names[start : start + self.batch_size]
            self.store.prefetch(batch)  # decoded while the network runs
            photos = images[start : start + self.batch_size].to(self.device)
            for one, name in zip(self.of_batch(photos), batch, strict=True):
                label = self.store[name]
                predicted = self.predict(one, label.shape, name)
                truth = torch.from_numpy(label).to(self.device)
                self.counts += confusion(predicted, truth, self.classes)
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
        return {"n": self.n, **summary(self.counts, self.remedy)}


# --------------------------------------------------------------------------------------------------
# Cityscapes

# Mean and deviation of Cityscapes photos (RGB in 0..1), as in the training of the published DRN.
CITYSCAPES_MEAN = (0.29010095242892997, 0.32808144844279574, 0.28696394422942517)
CITYSCAPES_STD = (0.1829540508368939, 0.18656561047509476, 0.18447508988480435)


class CityscapesScorer(SegmentationScorer):
    """`SegmentationScorer` of street scenes. Photos must not be larger than the labels.

    drn: the segmenter, 19 classes, in eval mode on `device`
    """

    def __init__(
        self, drn: DRNSeg, labels: LabelStore, device: torch.device | str, batch_size: int = 8
    ):
        remedy = "the second column of `table_path` must name trainIds files."
        super().__init__(labels, device, CITYSCAPES_CLASSES, remedy, batch_size)
        self.drn = drn
        self._mean = torch.tensor(CITYSCAPES_MEAN, device=self.device).view(3, 1, 1)
        self._std = torch.tensor(CITYSCAPES_STD, device=self.device).view(3, 1, 1)

    def of_batch(self, photos: Tensor) -> Tensor:
        """Log-probabilities, (N, 19, H, W) float32."""
        return self.drn((photos.float() / 255 - self._mean) / self._std)

    def predict(self, one: Tensor, size: tuple[int, int], name: str) -> Tensor:
        if size[0] < one.shape[1] or size[1] < one.shape[2]:
            raise InputError(
                f"the label of image {image_stem(name)!r} is {size[1]}x{size[0]}, smaller than the "
                f"photo ({one.shape[2]}x{one.shape[1]}). `table_path` must name the labels at full "
                "size, 2048x1024 in Cityscapes."
            )
        return class_map(one, size)


# --------------------------------------------------------------------------------------------------
# COCO-Stuff

# What the published DeepLab was trained to have subtracted: blue, green and red in 0..255.
COCO_MEAN_BGR = (104.008, 116.669, 122.675)


class CocoScorer(SegmentationScorer):
    """`SegmentationScorer` of COCO-Stuff. Labels have any sizes, so photos go one by one.

    deeplab: the segmenter, 182 classes, in eval mode on `device`
    """

    def __init__(self, deeplab: DeepLabV2, labels: LabelStore, device: torch.device | str):
        remedy = "the label maps of `dataroot` must hold those of COCO-Stuff"
        super().__init__(labels, device, COCO_CLASSES, remedy)
        self.deeplab = deeplab
        self._mean = torch.tensor(COCO_MEAN_BGR, device=self.device).view(3, 1, 1)

    def predict(self, one: Tensor, size: tuple[int, int], name: str) -> Tensor:
        photo = Image.fromarray(one.permute(1, 2, 0).cpu().numpy())
        photo = photo.resize(size[::-1], Image.Resampling.BICUBIC)
        bgr = torch.from_numpy(np.array(photo)).to(self.device).permute(2, 0, 1).flip(0).float()
        return class_map(self.deeplab((bgr - self._mean)[None])[0], size)
