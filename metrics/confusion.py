"""The confusion matrix of a segmentation in exact integers, and the figures computed from it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from errors import InputError
from metrics.class_map import one_thread


@one_thread()
def confusion(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """Count how often each true class was predicted as each class.

    predicted: uint8 in 0..classes-1, any shape
    label:     uint8, the same shape and device; pixels with values of no class are ignored
    classes:   number of classes C, at most 255
    returns:   (C, C) int64 on the same device, rows the label, columns the prediction
    """
    # All ignored pixels go into one extra row, which is cut off: faster than selecting pixels.
    cells = (classes + 1) * classes
    code = label.clamp(max=classes).to(torch.int16 if cells < 1 << 15 else torch.int32)
    counts = torch.bincount((code * classes + predicted).flatten(), minlength=cells)
    return counts.view(classes + 1, classes)[:classes]


def summary(
    counts: Tensor, remedy: str = "check the labels"
) -> dict[str, float | list[float | None]]:
    """Percentages from a confusion matrix.

    counts:  (C, C) integers, rows the label, columns the prediction
    remedy:  what the user can do if nothing was counted
    returns: all in 0..100: ``mIoU``, the mean IoU of the classes that occur in labels or
             predictions; ``accu``, the share of correct pixels; ``class_iou``, C entries, None for
             a class that does not occur. The intersection over union (IoU) of class c is
             n_cc / (sum_j n_cj + sum_i n_ic - n_cc)
    raises:  InputError when nothing was counted
    """
    matrix = counts.cpu().numpy().astype(np.float64)  # exact: counts are far below 2**53
    hits = matrix.diagonal()
    union = matrix.sum(1) + matrix.sum(0) - hits
    if not matrix.any():
        raise InputError(f"mIoU: no pixel has a label in 0..{len(matrix) - 1}; {remedy}")
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
