"""How much time and memory networks need on this machine, measured side by side."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from deploy.forms import Form
from runtime.machine import device_name, wait
from runtime.progress import Bar

# --------------------------------------------------------------------------------------------------
# Time


@torch.inference_mode()
def measure_side_by_side(
    runs: Sequence[Callable[[Tensor], object]], x: Tensor, times: int, warmup: int = 10
) -> list[dict]:
    """Time each ``run(x)`` ``times`` times, after a warm-up.

    The runs take turns, and each turn starts with a different one. So other load on the machine
    slows all of them alike.

    Args:
        runs:   functions of ``x``
        x:      N C H W, on the device where the runs work
        times:  timed calls of each run
        warmup: untimed calls of each run before that, at most ``times``

    Returns:
        a dict for each run: median, 10th and 90th percentile in milliseconds per call
        (``median_ms``, ``p10_ms``, ``p90_ms``), ``times``, ``batch``, ``height``, ``width``,
        ``device``, ``threads`` and ``torch`` (its version)
    """
    milliseconds: list[list[float]] = [[] for _ in runs]
    for turn in Bar(range(-min(warmup, times), times), desc="timing", unit="turn", leave=False):
        for step in range(len(runs)):
            index = (turn + step) % len(runs)
            wait(x.device)
            start = time.perf_counter()
            runs[index](x)
            wait(x.device)
            if turn >= 0:
                milliseconds[index].append(1e3 * (time.perf_counter() - start))
    facts = {
        "times": times,
        "batch": x.shape[0],
        "height": x.shape[2],
        "width": x.shape[3],
        "device": device_name(x.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    found = []
    for values in milliseconds:
        quantiles = torch.tensor(values, dtype=torch.float64).quantile(
            torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
        )
        low, median, high = quantiles.tolist()
        found.append({"median_ms": median, "p10_ms": low, "p90_ms": high} | facts)
    return found


# --------------------------------------------------------------------------------------------------
# Memory


def _resident(field: str) -> int:
    """``VmRSS`` (resident memory now) or ``VmHWM`` (its peak) of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field}")


@torch.inference_mode()
def peak_memory(form: Form, x: Tensor) -> int | None:
    """Peak memory of one run in bytes, without weights and input.

    Args:
        x: N C H W, on the device of the form

    Returns:
        bytes; None if the system does not report it (CPUs outside Linux)
    """
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
        form.run(x)
        torch.cuda.synchronize(x.device)
        return torch.cuda.max_memory_allocated(x.device) - before + form.held
    if form.release:
        form.release(x)
    try:
        with contextlib.suppress(OSError, AttributeError):
            # Return memory freed by earlier runs to the system, so that it counts when used again.
            ctypes.CDLL(None).malloc_trim(0)
        # Reset the peak (VmHWM).
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        form.run(x)
        return max(_resident("VmHWM") - before, 0)
    except OSError:
        return None
