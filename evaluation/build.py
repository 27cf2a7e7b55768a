"""Settings of the measures -> feature network and criteria."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from data.build import DataSettings, datasets
from evaluation.real import cache_folders, real_statistics
from metrics.criteria import Criterion, FeatureCriterion
from metrics.drn import load_drn
from metrics.inception import InceptionFeatures, load_inception
from metrics.labels import LabelStore, read_table
from metrics.miou import SegmentationScorer
from metrics.paired import PairedCriterion


@dataclass(frozen=True)
class MeasureSettings:
    """What images are judged by.

    Args:
        fid, miou:      whether they are measured
        pairs:          whether L1, PSNR and SSIM are, where outputs have partners
        real_stat_path: .npz with the statistics of the real images; None = made once and kept
        fid_features, fid_dims, fid_weights: see `metrics.inception.load_inception`
        drn_path:       weights of the segmentation network
        table_path:     image name, label map and photo of each image
        cityscapes_path: folder that the paths of the table start from
    """

    fid: bool = True
    miou: bool = False
    pairs: bool = True
    real_stat_path: str | None = None
    fid_features: str = "inception"
    fid_dims: int = 2048
    fid_weights: str | None = None
    drn_path: str = "drn-d-105_ms_cityscapes.pth"
    table_path: str = "datasets/val_table.txt"
    cityscapes_path: str = "database/cityscapes-origin"


def feature_net(settings: MeasureSettings, device: torch.device) -> InceptionFeatures:
    return load_inception(settings.fid_dims, settings.fid_weights, settings.fid_features, device)


def criteria(
    settings: MeasureSettings, data: DataSettings, device: torch.device
) -> list[Criterion]:
    """What generated images of ``data`` are judged by, the deciding one first; may be empty."""
    decisive: list[Criterion] = []
    others: list[Criterion] = []
    if settings.pairs and data.dataset_mode == "aligned":
        others.append(PairedCriterion())
    if settings.miou:
        names = datasets(data)[0].names
        table = read_table(settings.table_path, settings.cityscapes_path)
        labels = LabelStore(names, table, threads=max(1, data.num_threads))
        decisive.append(SegmentationScorer(load_drn(settings.drn_path, device), labels, device))
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
        real, net, device, settings.real_stat_path, cache, data.num_threads
    )
    note = ""
    if settings.real_stat_path is not None:
        note = f"real images of {Path(settings.real_stat_path).name}"
    elif data.resize.crop not in (None, real.resize.crop, statistics.size):
        note = "real images as stored"
    return [*decisive, FeatureCriterion(net, statistics, device, note), *others]


def deciding(judges: Sequence[Criterion]) -> str | None:
    """The metric that a training run is judged by; None where nothing but pairs is compared."""
    return next((c.keys[0] for c in judges if not isinstance(c, PairedCriterion)), None)
