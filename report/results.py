"""Tests generators: writes their images and figures, and a page that shows them side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from data.images import save_png
from data.loader import Loader
from evaluation.side_by_side import generate, in_several_styles, time_models
from evaluation.tested import Loaded
from metrics.criteria import Criterion, fresh
from report.header import Cost, Figure, Header
from report.pages import Gallery, Pictures, write_page
from report.related import run_pages
from report.tables import csv_table, giga, markdown_table, measured, mega, ratio, text_table
from runtime.files import write_json, write_text

# --------------------------------------------------------------------------------------------------
# The figures, as tables for people and files for programs


def _table(entries: list[dict], reference: dict | None) -> tuple[list[str], list[list[str]]]:
    """(headings, rows): one row per model; with a ``reference``, how much less each one needs."""

    def against(key: str, entry: dict) -> str:
        """How many times less than the reference, as text; "" for the reference itself."""
        if not reference or entry is reference:
            return ""
        parts = [
            e["latency"]["median_ms"] if key == "latency" else e[key] for e in (reference, entry)
        ]
        return f" ({ratio(*parts)})"

    headings = ["model", "network"] if reference else ["model"]
    headings += ["parameters", "MACs"]
    headings += [
        f"{label}, n={entries[0]['metrics']['n']}" for label in entries[0]["measures"].values()
    ]
    headings += [f"L1 to {reference['label']}"] if reference else []
    headings += ["latency"] if entries[0]["latency"] else []
    rows = []
    for entry in entries:
        row = [entry["label"], entry["name"]] if reference else [entry["name"]]
        row.append(mega(entry["params"]) + against("params", entry))
        row.append(giga(entry["macs"]) + against("macs", entry))
        row += [measured(key, entry["metrics"][key]) for key in entry["measures"]]
        if reference:
            row.append("-" if entry["l1"] is None else f"{entry['l1']:.2f}")
        if entry["latency"]:
            row.append(f"{entry['latency']['median_ms']:.1f} ms" + against("latency", entry))
        rows.append(row)
    return headings, rows


def _notes(entries: list[dict], reference: dict | None) -> list[str]:
    """What the numbers of the table mean."""
    first, timing = entries[0], entries[0]["latency"]
    notes = [f"MACs at {first['width']}x{first['height']}, {first['macs_convention']} convention"]
    if reference:
        notes.append(
            f"L1 to {reference['label']}: mean absolute difference of the 8-bit images, in grey "
            "levels (0 to 255)"
        )
    if "l1_real" in first["measures"]:
        notes.append(
            "L1, PSNR and SSIM to real: means over the images, L1 in grey levels (0 to 255)"
        )
    if first["mode"] == "train":
        notes.append(
            "test mode train: batch norms took the statistics of the batch, and dropout was on"
        )
    if tiles := first["tiles"]:
        size, norm = tiles["tile"], tiles["norm"]
        notes.append(
            f"larger images were made in tiles of {size}x{size} that reach {tiles['overlap']} px "
            f"into their neighbours, statistics of instance norms: {norm}"
        )
    if first["styles"]:
        notes.append(f"styles: {first['styles']}")
    bare = [
        f"{entry['label']} {giga(entry['macs_without_style_encoder'])} MACs, "
        f"{mega(entry['params_without_style_encoder'])} parameters"
        for entry in entries
        if entry["macs_without_style_encoder"] is not None
    ]
    if bare:
        notes.append(f"without the style encoder: {', '.join(bare)}")
    if timing:
        notes.append(
            f"latency: one image of {timing['width']}x{timing['height']} on {timing['device']}, "
            f"threads: {timing['threads']}, PyTorch {timing['torch']} (eager), "
            f"median of {timing['times']}"
        )
    return notes


def _spreadsheet(entries: list[dict]) -> str:
    """The text of results.csv: one line per model, with every figure at full precision."""
    plain = [
        "label",
        "name",
        "checkpoint",
        "images",
        "params",
        "macs",
        "macs_convention",
        "height",
        "width",
    ]
    numbers = [
        key for key, value in entries[0]["metrics"].items() if isinstance(value, (int, float))
    ]
    timed = ["median_ms", "p10_ms", "p90_ms", "times", "device", "threads", "torch"]
    headings = [*plain, *numbers, "measured_by", "l1", *(f"latency_{key}" for key in timed)]
    rows = []
    for entry in entries:
        timing = entry["latency"] or {}
        row = [entry[key] for key in plain] + [entry["metrics"][key] for key in numbers]
        row += [
            "; ".join(entry["measures"].values()),
            entry["l1"],
            *(timing.get(key) for key in timed),
        ]
        rows.append(row)
    return csv_table(headings, rows)


def _header(
    entries: list[dict], results: dict, notes: list[str], flags: dict[str, object]
) -> Header:
    """The model under test beside the one that it is compared with.

    Args:
        entries: of all models, in the order of the table
        results: as in results.json; begins with the model under test
    """
    several, first = len(entries) > 1, entries[0]
    checkpoints = {entry["label"]: entry["checkpoint"] for entry in entries}
    figures = []
    for key, label in results["measures"].items():
        beside = ""
        if results["label"] != first["label"]:
            beside = f"{first['label']} {measured(key, first['metrics'][key])}"
        whose = f", {results['label']}" if len(entries) > 2 else ""
        figures.append(Figure(label + whose, measured(key, results["metrics"][key]), beside))
    costs = [
        Cost(
            entry["label"],
            entry["params"],
            entry["macs"],
            entry["exact_macs"],
            entry["latency"] and entry["latency"]["median_ms"],
        )
        for entry in entries
    ]
    others = [entry["label"] for entry in entries[1:]]
    notes = [f"n={results['metrics']['n']} images", *notes]
    return Header(
        "Test",
        f"{', '.join(others)} beside {first['label']}" if several else f"Test of {first['label']}",
        "; ".join(notes if several else [results["checkpoint"], *notes]),
        {entry["label"]: entry["name"] for entry in entries},
        figures,
        costs,
        first["macs_convention"],
        links=run_pages(checkpoints if several else {"run": results["checkpoint"]}),
        script=str(flags.get("script", "")),
    )


# --------------------------------------------------------------------------------------------------
# The images on disk

_WRITTEN = ".images.json"  # every image of the latest test, relative to the folder


def read_written(folder: Path) -> list[str] | None:
    """The images that the latest test wrote into ``folder``, as relative paths.

    None if the folder has no list of them, because another version wrote it, or the list is
    damaged.
    """
    try:
        listed = json.loads((folder / _WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return None
    # A damaged list must not name files outside the folder.
    return [name for name in listed if name.startswith("images/") and ".." not in Path(name).parts]


def _begin_images(
    folder: Path, columns: Iterable[Path], names: list[str], pictures: Iterable[Path]
) -> None:
    """List the images that this test will write, ``names`` in ``columns`` and the ``pictures``, and
    remove all others of an earlier test."""
    paths = [column / f"{name}.png" for column in columns for name in names]
    new = [path.relative_to(folder).as_posix() for path in (*paths, *pictures)]
    for image in set(read_written(folder) or []) - set(new):
        if image.endswith(".png"):
            (folder / image).unlink(missing_ok=True)
    write_json(folder / _WRITTEN, new)


def _measured(judges: Sequence[Criterion], differences: list[float] | None, count: int) -> dict:
    """What results.json says about the ``count`` images of one model; ``differences``: L1 to those
    of the first, None = there are none."""
    metrics, measures = {"n": count}, {}
    for criterion in judges:
        metrics |= criterion.result()
        measures |= criterion.labels
    mean = None if differences is None else sum(differences) / count
    return {"metrics": metrics, "measures": measures, "l1": mean}


def _write_differences(
    path: Path, names: Sequence[str], differences: Mapping[str, Sequence[float]]
) -> None:
    """A line for each image; without ``differences`` no file, also none of an earlier test."""
    if not differences:
        path.unlink(missing_ok=True)
        return
    lines = [list(line) for line in zip(names, *differences.values(), strict=True)]
    write_text(path, csv_table(["name", *(f"l1 {label}" for label in differences)], lines))


# --------------------------------------------------------------------------------------------------
# The whole test


def test_generators(
    folder: Path,
    models: Sequence[Loaded],
    loader: Loader,
    criteria: Sequence[Criterion],
    times: int | None = None,
    teacher: Loaded | None = None,
    flags: dict[str, object] | None = None,
) -> dict:
    """Run generators on the same images, measure them, write a report, and print its table.

    It writes into ``folder``: ``images/{real_A,real_B,fake_B}/<name>.png`` (for several models
    ``images/<label>`` instead of ``fake_B``), ``results.csv``, ``results.md``, ``index.html`` and,
    for several models, ``images.csv`` with one line per image. Where networks take styles it adds
    ``images/styles/<label>.png``, a few inputs in a few styles, and, with reference images,
    ``images/style/<name>.png``, the one whose style an input got. ``results.json`` is written last:
    if it exists, the test is complete. Images of an earlier test in the folder are removed.

    Args:
        models:   what is tested; results.json begins with the figures of the first and then lists
                  all
        loader:   the inputs, and targets if there are any
        criteria: what judges the images; each model gets copies that share the networks
        times:    number of timed runs of each model; None = do not measure time
        teacher:  what the models are compared with; None = the first of ``models``
        flags:    name -> value, listed on the page

    Returns:
        the content of results.json

    Raises:
        InputError: an image cannot be read, a file cannot be written, or a criterion cannot give
            its result.
    """
    everything = [teacher, *models] if teacher else list(models)
    labels = [loaded.label for loaded in everything]
    several = len(everything) > 1
    own = {label: folder / "images" / (label if several else "fake_B") for label in labels}
    sides = {"input": folder / "images" / "real_A", "real": folder / "images" / "real_B"}
    judges = {label: fresh(criteria) for label in labels}
    names = loader.dataset.names
    if "B" not in loader.dataset.load(0):  # no targets
        del sides["real"]
    if everything[0].references:
        sides["style"] = folder / "images" / "style"
    in_styles = {
        each.label: folder / "images" / "styles" / f"{each.label}.png"
        for each in everything
        if each.styled
    }
    _begin_images(folder, [*own.values(), *sides.values()], names, in_styles.values())
    differences = generate(own | sides, everything, loader, judges)
    for each in everything:
        if each.styled:
            save_png(in_styles[each.label], in_several_styles(each, loader))
    timings = time_models(everything, loader, times) if times else [None] * len(everything)

    entries = []
    for loaded, timing in zip(everything, timings, strict=True):
        images = str(own[loaded.label].relative_to(folder))
        found = _measured(judges[loaded.label], differences.get(loaded.label), len(names))
        entries.append(
            asdict(loaded.model)
            | {"label": loaded.label, "images": images, **found, "latency": timing}
        )
    reference = entries[0] if several else None
    results = entries[1 if teacher else 0] | {
        "reference": labels[0] if several else None,
        "models": entries,
    }

    headings, rows = _table(entries, reference)
    notes = _notes(entries, reference)
    write_text(folder / "results.csv", _spreadsheet(entries))
    write_text(
        folder / "results.md", f"{markdown_table(headings, rows)}\n\n" + "; ".join(notes) + "\n"
    )
    _write_differences(folder / "images.csv", names, differences)
    columns = {name: sides[name] for name in ("input", "style") if name in sides}
    columns |= own if several else {"output": own[labels[0]]}
    if "real" in sides:
        columns["real"] = sides["real"]
    aspect = results["width"] / results["height"]
    compared = labels[0] if several else "real"
    outputs = labels[1:] if several else ["output"]
    gallery = Gallery(columns, names, differences, f"L1 to {labels[0]}", aspect, compared, outputs)
    header = _header(entries, results, notes, flags or {})
    pictures = None
    if in_styles:
        heading = "In several styles"
        pictures = Pictures(in_styles, heading, compare=labels[0] if len(in_styles) > 1 else None)
    write_page(
        folder / "index.html", header, headings, rows, gallery, flags=flags, pictures=pictures
    )
    write_json(folder / "results.json", results)
    print(text_table(headings, rows))
    return results
