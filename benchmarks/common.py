"""What the benchmarks share: flags, images, timing and reports.

A benchmark times both sides of a comparison in one run and reports the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from data.build import DataSettings, inference_loader
from evaluation.build import MeasureSettings, criteria
from evaluation.evaluator import Evaluator


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the flags of every benchmark: ``--device`` and ``--json``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu or cuda (default: cuda if there is a GPU)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return parser


def add_images(parser: argparse.ArgumentParser, phase: str, images: int, size: int) -> None:
    """Add flags for the images that generators are measured on.

    ``phase``, ``images`` (a count) and ``size`` [px] are the defaults of the flags.
    """
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--direction", default="BtoA")
    parser.add_argument("--phase", default=phase)
    parser.add_argument("--meta_path")
    parser.add_argument("--images", type=int, default=images, help="images for FID")
    parser.add_argument("--size", type=int, default=size, help="side of an image [px]")


def add_features(parser: argparse.ArgumentParser, features: str, dims: int) -> None:
    """Add flags for the feature network of FID; the arguments are their defaults."""
    parser.add_argument("--fid_features", default=features)
    parser.add_argument("--fid_dims", type=int, default=dims)
    parser.add_argument("--fid_weights")


def data_of(opt: argparse.Namespace, **changes) -> DataSettings:
    """Settings of the images of `add_images`: scaled to ``--size``, not cropped.

    ``changes`` replace fields of `DataSettings`.
    """
    settings = dict(
        dataroot=opt.dataroot,
        direction=opt.direction,
        phase=getattr(opt, "phase", "val"),
        meta_path=getattr(opt, "meta_path", None),
        max_dataset_size=opt.images,
        load_size=opt.size,
        crop_size=opt.size,
        batch_size=10,
    )
    return DataSettings(**settings | changes)


def evaluator_of(
    opt: argparse.Namespace, data: DataSettings, device: torch.device, bf16: bool = False
) -> Evaluator:
    """An evaluator of FID on the images of ``data``, against real images of the same size.

    ``bf16``: run the generators in bfloat16.
    """
    measures = MeasureSettings(
        pairs=False,
        fid_features=opt.fid_features,
        fid_dims=opt.fid_dims,
        fid_weights=opt.fid_weights,
    )
    loader = inference_loader(data, device)
    return Evaluator(loader, criteria(measures, data, device), bf16)


def seconds(
    function: Callable[[], object], device: str, repeats: int = 3, warmup: int = 1
) -> float:
    """Median wall time [s] of ``repeats`` calls, after ``warmup`` calls that are not timed."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    for _ in range(warmup):
        function()
    times = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        function()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def machine(device: str) -> dict:
    """Facts for a report: device, CPU threads, PyTorch version, load average of the last minute."""
    name = (
        torch.cuda.get_device_name()
        if device.startswith("cuda")
        else platform.processor() or platform.machine()
    )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_at_start": load,
    }


def report(title: str, rows: list[dict], facts: dict, path: Path | None) -> None:
    """Print rows as a table, and write them to ``path`` as JSON if there is one.

    Args:
        rows:  at least one; all have the keys of the first
        facts: printed above the table and written beside the rows
    """
    from report.tables import text_table

    keys = list(rows[0])
    cells = [
        [f"{row[k]:.4g}" if isinstance(row[k], float) else str(row[k]) for k in keys]
        for row in rows
    ]
    about = ", ".join(f"{k}: {v}" for k, v in facts.items())
    print(f"{title}\n{about}\n\n{text_table(keys, cells)}\n")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"title": title, **facts, "rows": rows}, indent=1) + "\n")
