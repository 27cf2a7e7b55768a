"""How long a network takes on this machine."""

from __future__ import annotations

import platform
import time

import torch
from torch import Tensor, nn


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def measure_latency(net: nn.Module, x: Tensor, times: int, warmup: int = 10) -> dict:
    """Milliseconds of ``net(x)``: median, 10th and 90th percentile of ``times`` runs after a warm-up; and on what."""
    for _ in range(min(warmup, times)):
        net(x)
    milliseconds = []
    for _ in range(times):
        _wait(x.device)
        start = time.perf_counter()
        net(x)
        _wait(x.device)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    quantiles = torch.tensor(milliseconds, dtype=torch.float64).quantile(
        torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    )
    low, median, high = quantiles.tolist()
    on_gpu = x.device.type == "cuda"
    return {
        "median_ms": median,
        "p10_ms": low,
        "p90_ms": high,
        "times": times,
        "batch": x.shape[0],
        "height": x.shape[2],
        "width": x.shape[3],
        "device": torch.cuda.get_device_name(x.device) if on_gpu else f"CPU ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
