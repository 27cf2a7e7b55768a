"""How long networks take on this machine, side by side: table, latency.json and latency.png."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from deploy.fast import Form
from report.plots import new_figure, save_figure
from report.tables import giga, ratio, text_table
from report.tested import TestedModel
from training.logs import write_json

# ---------------------------------------------------------------------------------------------------------
# Time


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def measure_side_by_side(
    runs: Sequence[Callable[[Tensor], object]], x: Tensor, times: int, warmup: int = 10
) -> list[dict]:
    """Milliseconds of each ``run(x)``: median, 10th and 90th percentile of ``times`` runs after a warm-up; and on what.

    The runs take turns, each turn beginning with another of them, so that whatever else the machine does hits all alike.
    """
    milliseconds: list[list[float]] = [[] for _ in runs]
    for turn in range(-min(warmup, times), times):
        for step in range(len(runs)):
            index = (turn + step) % len(runs)
            _wait(x.device)
            start = time.perf_counter()
            runs[index](x)
            _wait(x.device)
            if turn >= 0:
                milliseconds[index].append(1e3 * (time.perf_counter() - start))
    on_gpu = x.device.type == "cuda"
    facts = {
        "times": times,
        "batch": x.shape[0],
        "height": x.shape[2],
        "width": x.shape[3],
        "device": torch.cuda.get_device_name(x.device) if on_gpu else f"CPU ({platform.machine()})",
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


def measure_latency(net: nn.Module, x: Tensor, times: int, warmup: int = 10) -> dict:
    """`measure_side_by_side` of one network."""
    return measure_side_by_side([net], x, times, warmup)[0]


# ---------------------------------------------------------------------------------------------------------
# Memory


def _resident(field: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field}")


@torch.inference_mode()
def peak_memory(form: Form, x: Tensor) -> int | None:
    """Bytes that one run needs at its peak beyond weights and input; None where the system does not tell (CPUs outside Linux)."""
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
        form.run(x)
        torch.cuda.synchronize(x.device)
        return torch.cuda.max_memory_allocated(x.device) - before
    if form.release:
        form.release(x)
    try:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(
                0
            )  # what earlier runs freed goes back to the system, and counts again
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before = _resident("VmRSS")
        form.run(x)
        return max(_resident("VmHWM") - before, 0)
    except OSError:
        return None


# ---------------------------------------------------------------------------------------------------------
# Writing


@dataclass(frozen=True)
class Timed:
    """One line of the comparison: a model in one form."""

    model: TestedModel
    form: Form


def _row(entry: dict, first: dict) -> list[str]:
    memory = entry["peak_memory_bytes"]
    return [
        entry["model"],
        entry["backend"],
        f"{entry['median_ms']:.2f}",
        f"{entry['p10_ms']:.2f}",
        f"{entry['p90_ms']:.2f}",
        giga(entry["macs"]),
        ratio(first["macs"], entry["macs"]),
        ratio(first["median_ms"], entry["median_ms"]),
        "-" if memory is None else f"{memory / 1e6:.0f}",
        f"{entry['max_difference']:.0e}" + ("" if entry["exact"] else " (not exact)"),
    ]


def _plot(path: Path, entries: list[dict]) -> None:
    """Median time per image of each entry as a bar, from the 10th to the 90th percentile as a line; coloured by model."""
    figure, axes = new_figure(7.5, 1.6 + 0.42 * len(entries))
    models = list(dict.fromkeys(entry["checkpoint"] for entry in entries))
    labels = []
    for row, entry in enumerate(entries):
        median, low, high = (entry[key] / entry["batch"] for key in ("median_ms", "p10_ms", "p90_ms"))
        color = f"C{models.index(entry['checkpoint'])}"
        spread = [[median - low], [high - median]]
        axes.barh(row, median, xerr=spread, color=color, ecolor="#444444", capsize=3)
        labels.append(f"{entry['model']}\n{entry['backend']}{'' if entry['exact'] else ' (not exact)'}")
    axes.set_yticks(range(len(entries)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("ms per image")
    first = entries[0]
    axes.set_title(
        f"{first['width']}x{first['height']}, batch {first['batch']}, {first['device']}, threads: {first['threads']}; "
        f"median of {first['times']}, line: 10% to 90%",
        fontsize=8,
    )
    save_figure(figure, path)


def write_comparison(
    folder: Path, timed: Sequence[Timed], timings: Sequence[dict], memory: Sequence[int | None]
) -> str:
    """Write latency.json (the first entry's fields, and all entries under ``all``) and latency.png; returns the table.

    Ratios are the first entry's value over each one's: how many times fewer MACs, and how many times faster.

    Args:
        timed, timings, memory: of equal length, from `measure_side_by_side` and `peak_memory`
    """
    entries = []
    for each, timing, peak in zip(timed, timings, memory, strict=True):
        facts = {
            "model": each.model.name,
            "macs": each.model.macs,
            "params": each.model.params,
            "checkpoint": each.model.checkpoint,
            "backend": each.form.name,
            "exact": each.form.exact,
            "max_difference": each.form.max_difference,
            "setup_seconds": each.form.setup_seconds,
            "peak_memory_bytes": peak,
            "macs_ratio": timed[0].model.macs / each.model.macs,
            "time_ratio": timings[0]["median_ms"] / timing["median_ms"],
        }
        entries.append(facts | timing)
    write_json(folder / "latency.json", entries[0] | {"all": entries})
    _plot(folder / "latency.png", entries)
    headings = ["model", "backend", "median ms", "p10", "p90", "MACs", "fewer MACs", "faster", "peak MB"]
    headings += ["differs by"]
    return text_table(headings, [_row(entry, entries[0]) for entry in entries])
