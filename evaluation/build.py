"""Settings of the measures -> feature network and criteria."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from data.build import DataSettings, datasets
from evaluation.real import real_statistics
from metrics.criteria import FeatureCriterion
from metrics.drn import load_drn
from metrics.inception import InceptionFeatures, load_inception
from metrics.miou import LabelStore, SegmentationScorer, read_table


@dataclass(frozen=True)
class MeasureSettings:
    """What images are judged by.

    Args:
        fid, miou:      what is measured
        real_stat_path: .npz with the statistics of the real images; None = made once and kept
        fid_features, fid_dims, fid_weights: see `metrics.inception.load_inception`
        drn_path:       weights of the segmentation network
        table_path:     image name, label map and photo of each image
        cityscapes_path: folder that the paths of the table start from
    """

    fid: bool = True
    miou: bool = False
    real_stat_path: str | None = None
    fid_features: str = "inception"
    fid_dims: int = 2048
    fid_weights: str | None = None
    drn_path: str = "drn-d-105_ms_cityscapes.pth"
    table_path: str = "datasets/val_table.txt"
    cityscapes_path: str = "database/cityscapes-origin"


def feature_net(settings: MeasureSettings, device: torch.device) -> InceptionFeatures:
    return load_inception(settings.fid_dims, settings.fid_weights, settings.fid_features, device)


def criteria(settings: MeasureSettings, data: DataSettings, device: torch.device) -> list:
    """What generated images of ``data`` are judged by, the deciding one first; may be empty."""
    found: list = []
    if settings.miou:
        names = datasets(data)[0].names
        table = read_table(settings.table_path, settings.cityscapes_path)
        labels = LabelStore(names, table, threads=max(1, data.num_threads))
        found.append(SegmentationScorer(load_drn(settings.drn_path, device), labels, device))
    if not settings.fid:
        return found
    if data.dataset_mode == "single" and settings.real_stat_path is None:
        print(
            "single images have no real images to compare with: FID is not measured "
            "(real_stat_path gives statistics to compare with)"
        )
        return found
    net = feature_net(settings, device)
    _, real = datasets(data.as_stored())
    cache = (Path(data.dataroot) / ".statistics", _user_cache() / "statistics")
    statistics = real_statistics(
        real, net, device, settings.real_stat_path, cache, data.num_threads
    )
    return [*found, FeatureCriterion(net, statistics, device)]


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "gan-compression"
    if os.access(Path(base).parent, os.W_OK):
        return path
    return Path(tempfile.gettempdir()) / "gan-compression"
