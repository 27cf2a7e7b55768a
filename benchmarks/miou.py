"""Time the step from class scores to mIoU: metrics.miou against the plain way.

    python benchmarks/miou.py [--images 8] [--threads 2] [--json FILE]

The plain way resizes each of the 19 channels of each image with Pillow, stacks them, and uses
NumPy's argmax and bincount. The two sides take turns on the same images and must count the same.
Times are medians over images.

`smooth` scores have the shape and smoothness of the segmenter's: a 32x32 map enlarged 8 times, then
log-softmax. Their values are random, so the class changes more often than in a street scene.
`noise` scores are not smooth. They are the worst case for this project, which interpolates every
cell then.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.class_map import class_map
from metrics.confusion import confusion, summary

CLASSES, LOW, PHOTO, LABEL = 19, (32, 32), (256, 256), (1024, 2048)

# --------------------------------------------------------------------------------------------------
# What is measured on: scores, and labels that agree with them in part.


def synthetic(images: int, smooth: bool) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Log-probabilities (N, 19, 256, 256) float32, and N labels (1024, 2048) uint8.

    One eighth of each label is 255, which is ignored.
    """
    generator = torch.Generator().manual_seed(0)
    size = LOW if smooth else PHOTO
    scores = 3 * torch.randn(images, CLASSES, *size, generator=generator)
    if smooth:
        scores = F.interpolate(scores, PHOTO, mode="bilinear")
    scores = F.log_softmax(scores, dim=1)
    labels = []
    for one in scores:
        coarse = (one + torch.randn(CLASSES, 1, 1, generator=generator)).argmax(0).byte()
        coarse[: PHOTO[0] // 8] = 255
        full = Image.fromarray(coarse.numpy()).resize(LABEL[::-1], Image.Resampling.NEAREST)
        labels.append(np.array(full))
    return scores, labels


# --------------------------------------------------------------------------------------------------
# The two sides: each takes the scores and the label of an image and returns the (19, 19) counts.


def plain(scores: torch.Tensor, label: np.ndarray) -> np.ndarray:
    channels = [
        Image.fromarray(c).resize(LABEL[::-1], Image.Resampling.BILINEAR) for c in scores.numpy()
    ]
    predicted = np.stack([np.asarray(channel) for channel in channels]).argmax(0)
    valid = label < CLASSES
    code = CLASSES * label[valid].astype(np.int64) + predicted[valid]
    return np.bincount(code, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


@torch.inference_mode()
def ours(scores: torch.Tensor, label: np.ndarray) -> np.ndarray:
    return confusion(class_map(scores, LABEL), torch.from_numpy(label), CLASSES).numpy()


# --------------------------------------------------------------------------------------------------
# Timing and printing.


def compare(images: int, smooth: bool) -> dict[str, float]:
    """Median seconds per image of both sides, their ratio, and the mIoU.

    Raises:
        AssertionError: the two sides count differently.
    """
    scores, labels = synthetic(images, smooth)
    sides = (plain, ours)
    seconds = {side: [] for side in sides}
    counts = {side: np.zeros((CLASSES, CLASSES), np.int64) for side in sides}
    for side in sides:  # warm-up: thread pools, allocator
        side(scores[0], labels[0])
    for one, label in zip(scores, labels, strict=True):
        for side in sides:
            start = time.perf_counter()
            counts[side] += side(one, label)
            seconds[side].append(time.perf_counter() - start)
    assert np.array_equal(counts[plain], counts[ours]), "the two sides disagree"
    miou = {side: summary(torch.from_numpy(counts[side]))["mIoU"] for side in sides}
    assert miou[plain] == miou[ours]
    plain_s, ours_s = np.median(seconds[plain]), np.median(seconds[ours])
    return {"plain_s": plain_s, "ours_s": ours_s, "ratio": plain_s / ours_s, "mIoU": miou[ours]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    figures = {"images": args.images, "threads": args.threads}
    for name, smooth in (("smooth", True), ("noise", False)):
        figures[name] = found = compare(args.images, smooth)
        print(
            f"{name}: plain {found['plain_s']:.3f} s, ours {found['ours_s']:.3f} s per image, "
            f"{found['ratio']:.1f} times as fast; mIoU {found['mIoU']:.4f} on both sides, counts "
            f"identical"
        )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
