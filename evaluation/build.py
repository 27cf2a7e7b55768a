"""Builds the feature network and the criteria from the settings of the measures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from data.build import DataSettings, datasets
from evaluation.real import cache_folders, real_statistics
from metrics.criteria import Criterion, FeatureCriterion
from metrics.deeplab import load_deeplab
from metrics.drn import load_drn
from metrics.inception import InceptionFeatures, load_inception
from metrics.labels import LabelStore, ground_truth, read_classes, read_table
from metrics.miou import CityscapesScorer, CocoScorer, SegmentationScorer
from metrics.paired import PairedCriterion


@dataclass(frozen=True)
class MeasureSettings:
    """Which measures are taken of images, and from which files.

    Args:
        fid:             measure FID, and KID where the real statistics hold a sample
        miou:            measure mIoU and pixel accuracy
        pairs:           measure L1, PSNR and SSIM if ``dataset_mode`` is aligned
        real_stat_path:  .npz with the statistics of the real images; None = measured once and
                         cached
        real_stat_setting: what the user calls that path, for messages
        fid_features, fid_dims, fid_weights: see `metrics.inception.load_inception`
        drn_path:        weights of the segmentation network for mIoU
        deeplabv2_path:  the same for ``dataset_mode`` coco, where it must be given; the labels are
                         those of the inputs
        table_path:      table of image names and label maps, see `metrics.labels.read_table`
        cityscapes_path: folder that the paths of the table start from
    """

    fid: bool = True
    miou: bool = False
    pairs: bool = True
    real_stat_path: str | None = None
    real_stat_setting: str = "`real_stat_path`"
    fid_features: str = "inception"
    fid_dims: int = 2048
    fid_weights: str | None = None
    drn_path: str = "drn-d-105_ms_cityscapes.pth"
    table_path: str = "datasets/val_table.txt"
    cityscapes_path: str = "database/cityscapes-origin"
    deeplabv2_path: str | None = None


def feature_net(settings: MeasureSettings, device: torch.device) -> InceptionFeatures:
    """The feature network of FID and KID; errors as `metrics.inception.load_inception`."""
    return load_inception(settings.fid_dims, settings.fid_weights, settings.fid_features, device)


def criteria(
    settings: MeasureSettings, data: DataSettings, device: torch.device
) -> list[Criterion]:
    """The criteria for images generated from ``data``, the deciding one first; may be empty.

    FID is left out, with a warning, for single images without ``real_stat_path``.

    Raises:
        InputError: a file that a measure needs is missing or does not fit, or there are fewer than
            2 real images.
    """
    decisive: list[Criterion] = []
    others: list[Criterion] = []
    if settings.pairs and data.dataset_mode == "aligned":
        others.append(PairedCriterion())
    if settings.miou:
        decisive.append(_segmentation(settings, data, device))
    if not settings.fid:
        return [*decisive, *others]
    if data.dataset_mode == "single" and settings.real_stat_path is None:
        warnings.warn(
            "`dataset_mode` single has no real images to compare with: FID is not measured "
            "(give `real_stat_path`)",
            UserWarning,
            stacklevel=2,
        )
        return [*decisive, *others]
    net = feature_net(settings, device)
    _, real = datasets(data.real_images())
    cache = cache_folders(Path(data.dataroot))
    statistics = real_statistics(
        real,
        net,
        device,
        settings.real_stat_path,
        cache,
        data.num_threads,
        settings.real_stat_setting,
    )
    note = ""
    if settings.real_stat_path is not None:
        note = f"real images of {Path(settings.real_stat_path).name}"
    elif data.resize.crop not in (None, real.resize.crop, statistics.size):
        note = "real images as stored"
    return [*decisive, FeatureCriterion(net, statistics, device, note), *others]


def _segmentation(
    settings: MeasureSettings, data: DataSettings, device: torch.device
) -> SegmentationScorer:
    """mIoU by the segmenter of the dataset; errors as `criteria`."""
    dataset = datasets(data)[0]
    threads = max(1, data.num_threads)
    if data.dataset_mode == "coco":
        labels = LabelStore(dataset.label_files, read_classes, threads=threads)
        return CocoScorer(load_deeplab(settings.deeplabv2_path, device), labels, device)
    table = read_table(settings.table_path, settings.cityscapes_path, data.labelled)
    labels = LabelStore(ground_truth(dataset.names, table), threads=threads)
    return CityscapesScorer(load_drn(settings.drn_path, device), labels, device)


def deciding(judges: Sequence[Criterion]) -> str | None:
    """The metric that decides in a training run; None if there are only L1, PSNR and SSIM."""
    return next((c.keys[0] for c in judges if not isinstance(c, PairedCriterion)), None)
