"""The comparison of networks by time: a table, latency.json and latency.png; reads them too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.forms import Form
from evaluation.tested import TestedModel
from report.plots import new_figure, save_figure
from report.tables import giga, ratio, text_table
from runtime.files import read_json, write_json

TIMES = ("median_ms", "p10_ms", "p90_ms")

# --------------------------------------------------------------------------------------------------
# Reading


def read_latency(path: Path) -> list[dict]:
    """The entries of a latency.json, one per network and form, with times per image.

    The file itself has times per batch. `of_what` says what they are times of.

    Raises:
        InputError: the file cannot be read, or is damaged.
    """
    found = read_json(path)
    return [_per_image(entry) for entry in found.get("all", [found])]


def _per_image(entry: dict) -> dict:
    return entry | {key: entry[key] / entry.get("batch", 1) for key in TIMES if key in entry}


def of_what(timing: dict, size: Sequence[int]) -> str:
    """``one image``, ``an image in batches of 8``, ``one image of 64x32``: what a time is of.

    Args:
        timing: from `read_latency`
        size:   (height, width) that the reader expects [px]
    """
    batch = timing.get("batch", 1)
    text = "one image" if batch == 1 else f"an image in batches of {batch}"
    timed = [timing.get(key, side) for key, side in zip(("height", "width"), size, strict=True)]
    return text if timed == list(size) else f"{text} of {timed[1]}x{timed[0]}"


def exact_macs(tested: dict, timing: dict | None) -> int | None:
    """Multiply-accumulates of the convolutions that are really done; None where nothing says it.

    Args:
        tested: of results.json. Older ones lack them, so they are taken from
        timing: of latency.json, if that counted them so. Older ones do not say how they counted;
                then another number than that of ``tested`` is the exact one.
    """
    if tested.get("exact_macs") is not None:
        return tested["exact_macs"]
    if not timing or "macs" not in timing:
        return None
    same = timing["macs"] == tested["macs"]
    counted = timing.get("macs_convention", "unknown" if same else "exact")
    return timing["macs"] if counted == "exact" else None


# --------------------------------------------------------------------------------------------------
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
    """Draw the median time per image as a bar, and the 10th to 90th percentile as a line.

    Each model has one colour.
    """
    figure, axes = new_figure(7.5, 1.6 + 0.42 * len(entries))
    models = list(dict.fromkeys(entry["checkpoint"] for entry in entries))
    labels = []
    for row, entry in enumerate(entries):
        median, low, high = (_per_image(entry)[key] for key in TIMES)
        color = f"C{models.index(entry['checkpoint'])}"
        spread = [[median - low], [high - median]]
        axes.barh(row, median, xerr=spread, color=color, ecolor="#444444", capsize=3)
        labels.append(
            f"{entry['model']}\n{entry['backend']}{'' if entry['exact'] else ' (not exact)'}"
        )
    axes.set_yticks(range(len(entries)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("ms per image")
    first = entries[0]
    axes.set_title(
        f"{first['width']}x{first['height']}, batch {first['batch']}, {first['device']}, "
        f"threads: {first['threads']}; median of {first['times']}, line: 10% to 90%",
        fontsize=8,
    )
    save_figure(figure, path)


def write_comparison(
    folder: Path, timed: Sequence[Timed], timings: Sequence[dict], memory: Sequence[int | None]
) -> str:
    """Write latency.json and latency.png into ``folder``, and return the table as text.

    Ratios are the value of the first entry divided by that of each entry: how many times fewer
    MACs, how many times faster. The table and the file name the first entry. latency.json has the
    fields of the first entry, and all entries under ``all``.

    Args:
        timed:   the models and their forms, at least one
        timings: of each, from `evaluation.speed.measure_side_by_side`
        memory:  of each, from `evaluation.speed.peak_memory`, in bytes

    Raises:
        InputError: a file cannot be written.
    """
    entries = []
    for each, timing, peak in zip(timed, timings, memory, strict=True):
        facts = {
            "model": each.model.name,
            "macs": each.model.macs,
            "macs_convention": each.model.macs_convention,
            # By the flags. Images that keep their own size are timed at that instead.
            "macs_size": [each.model.height, each.model.width],
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
        for name in ("macs_without_style_encoder", "params_without_style_encoder"):
            if (value := getattr(each.model, name)) is not None:
                facts[name] = value
        entries.append(facts | timing)
    first = entries[0]
    reference = f"{first['model']} in {first['backend']}"
    _plot(folder / "latency.png", entries)
    # This file is written last: if it exists, the comparison is complete.
    write_json(folder / "latency.json", first | {"ratios_against": reference, "all": entries})
    headings = ["model", "backend", "median ms", "p10", "p90", "MACs", "fewer MACs", "faster"]
    headings += ["peak MB", "differs by"]
    table = text_table(headings, [_row(entry, first) for entry in entries])
    if len(entries) == 1:
        return table
    return f"{table}\nfewer MACs, faster: against {reference}"
