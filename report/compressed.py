"""The result of compress.py: figures for programs, a page, and a model card.

    python -m report.compressed --output_dir FOLDER --target TARGET --preset PRESET

All three are made of what the stages left in the folder, and hold the same figures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.datasets import list_images
from models.build import Checkpoint
from prepare.arrange import FACTS
from report.header import Cost, Figure, Header
from report.latency import read_latency
from report.pages import Gallery, write_page
from report.related import read_flags, run_pages
from report.results import read_written
from report.tables import giga, markdown_table, measured, mega, milliseconds, ratio, text_table
from runtime.files import read_json, size_of, write_json, write_text
from subnets.target import Target

RESULTS, PAGE, CARD = "results.json", "index.html", "MODEL_CARD.md"
WEIGHTS = "compressed.pth"

# --------------------------------------------------------------------------------------------------
# Reading


def collect(folder: Path, target: Target, preset: str) -> dict:
    """What results.json holds, from the files of all stages.

    Args:
        folder: of the compression
        target: what was wanted
        preset: the name or file that the stages' flags came from

    Raises:
        InputError: a stage's result is missing or damaged.
    """
    test = read_json(folder / "test" / "results.json")
    latency = read_latency(folder / "latency" / "latency.json")
    search = read_json(folder / "search" / "summary.json")
    tuned = read_json(folder / "finetune" / "results.json")
    flags = read_json(folder / "finetune" / "options.json")
    data = read_json(folder / "data" / FACTS)
    teacher, compressed = (_model(entry, latency) for entry in test["models"])
    best = search["best"][0]
    compressed["config"] = best["config_str"]
    compressed["l1_to_teacher"] = test["models"][1]["l1"]
    teacher["given"] = not (folder / "teacher").is_dir()
    by_time = target.kind == "ms"
    reached = compressed["latency"]["median_ms"] if by_time else compressed["macs"]
    size = [test["height"], test["width"]]
    files = sorted(folder.glob(f"{Path(WEIGHTS).stem}.*"), key=lambda path: path.name != WEIGHTS)
    recorded = Checkpoint(teacher["checkpoint"], "the teacher").open().spec.trained_on
    small = Checkpoint(str(folder / WEIGHTS), "the network").open().spec
    return {
        "dataroot": data["dataroot"],
        "dataset_mode": data["dataset_mode"],
        "direction": flags["direction"],
        "size": size,
        "multiple": small.multiple,
        "images": {
            phase: {"count": _count(folder, data, phase, flags["direction"]), "of": source}
            for phase, source in data["sources"].items()
        },
        "channels": [flags["input_nc"], flags["output_nc"]],
        "target": {
            "text": target.text,
            "kind": target.kind,
            "value": target.value,
            "budget": int(search["budget"]),
            "reached": reached,
            "met": reached <= (target.value if by_time else search["budget"]),
        },
        "teacher": teacher,
        "compressed": compressed,
        "measures": test["measures"],
        "n": test["metrics"]["n"],
        "files": {
            path.name.partition(".")[2]: {"name": path.name, "bytes": size_of(path)}
            for path in files
        },
        "search": {
            "evaluated": search["evaluated"],
            "widths": search["config_set"],
            "measure": search["measure"],
            "n": best["n"],
            "best": best["metrics"][search["criterion"]],
        },
        "finetune": {
            "measure": tuned["measure"],
            **{key: tuned["best"][key] for key in ("epoch", "step", "score")},
        },
        "learning": _learning(flags),
        "preset": preset,
        "seed": flags["seed"],
        "notes": notes(data["sources"], teacher["given"], recorded, flags["direction"], size),
    }


def _count(folder: Path, data: dict, phase: str, direction: str) -> int:
    """How many inputs a phase has."""
    if data["dataset_mode"] == "aligned":
        return data["counts"][phase]
    return len(list_images(folder / "data" / f"{phase}{direction[0]}"))


def _learning(flags: dict) -> dict:
    """The flags of a training that say what a student learned by."""
    wanted = {name: value for name, value in flags.items() if name.startswith("lambda_") and value}
    if flags["distiller"] != "online":
        keys = ("lambda_gan", "lambda_recon", "lambda_distill")
        return {"distiller": flags["distiller"]} | {k: v for k, v in wanted.items() if k in keys}
    keys = ("lambda_gan", "lambda_recon")  # of the teacher
    kept = {k: v for k, v in wanted.items() if k not in keys}
    if flags["restore_D_path"]:
        kept["restore_D_path"] = Path(flags["restore_D_path"]).name
    return {"distiller": "online", "teacher_freq": flags["teacher_freq"]} | kept


def notes(
    sources: Mapping[str, str],
    given: bool,
    made_for: Mapping,
    direction: str,
    size: Sequence[int],
) -> list[str]:
    """What may surprise, or makes figures look better than they are; a line each.

    Args:
        sources:  phase -> phase of the dataset that its images are of
        given:    whether the teacher was trained elsewhere
        made_for: of the teacher, see `GeneratorSpec.trained_on`
        size:     (height, width) of the images [px]
    """
    found = []
    if sources["test"] == "train":
        line = (
            "there is no phase val or test, so the images of the test are held out of train; move "
            "images that nothing has learned from into a folder val to test on those"
        )
        if given:
            line += "; the given teacher may have learned from them, and look too good"
        found.append(line)
    if given and made_for.get("direction", direction) != direction:
        found.append(f"the teacher was trained {made_for['direction']} and gets images {direction}")
    if given and list(made_for.get("size", size)) != list(size):
        height, width = made_for["size"]
        found.append(
            f"the teacher was trained at {width}x{height} and gets images of {size[1]}x{size[0]}; "
            f"--image_size {width} gives it its own"
        )
    return found


def _model(entry: dict, latency: Sequence[dict]) -> dict:
    """A network of the test, with what latency.json says of it: exact MACs, and its time."""
    found = [e for e in latency if e["checkpoint"] == entry["checkpoint"]]
    timed = next((e for e in found if e["backend"] == "eager"), found[0])
    keys = ("backend", "median_ms", "p10_ms", "p90_ms", "times", "device", "threads", "torch")
    return {
        "name": entry["name"],
        "checkpoint": entry["checkpoint"],
        "images": entry["images"],
        "params": entry["params"],
        "macs": entry["macs"],
        "exact_macs": timed["macs"],
        "metrics": entry["metrics"],
        "latency": {key: timed[key] for key in keys},
    }


# --------------------------------------------------------------------------------------------------
# The table


def table(results: dict) -> tuple[list[str], list[list[str]]]:
    """(headings, rows): the teacher, the compressed network, and how many times less it needs."""
    measures = results["measures"]
    headings = ["model", "parameters", "MACs", "exact MACs"]
    headings += [f"{label}, n={results['n']}" for label in measures.values()] + ["time"]
    rows = []
    for label in ("teacher", "compressed"):
        model = results[label]
        rows.append(
            [
                f"{label}: {model['name']}",
                mega(model["params"]),
                giga(model["macs"]),
                giga(model["exact_macs"]),
                *(measured(key, model["metrics"][key]) for key in measures),
                milliseconds(model["latency"]["median_ms"]),
            ]
        )
    pair = [results[label] for label in ("teacher", "compressed")]
    fewer = [ratio(*(model[key] for model in pair)) for key in ("params", "macs", "exact_macs")]
    times = ratio(*(model["latency"]["median_ms"] for model in pair))
    rows.append(["times less", *fewer, *("" for _ in measures), times])
    return headings, rows


def verdict(results: dict) -> str:
    """Whether the target was reached, in one line with both figures."""
    target = results["target"]
    if target["kind"] == "ms":
        found = f"{target['reached']:.4g} ms measured, {target['value']:g} ms wanted"
        found += f" (searched within {giga(target['budget'])} MACs)"
    else:
        found = f"{giga(target['reached'])} MACs, at most {giga(target['budget'])} wanted"
    missed = "" if target["met"] else "MISSED: "
    return f"target {target['text']}: {missed}{found}"


def _remedy(results: dict) -> str:
    """What to do about a time that was missed."""
    target = results["target"]
    wanted = target["value"] ** 2 / target["reached"]
    return (
        f"the chosen network is slower than uniform ones of its MACs; `--target {wanted:.3g}ms` "
        "with another --output_dir aims lower"
    )


def _timing(results: dict) -> str:
    t = results["compressed"]["latency"]
    return (
        f"one image in {t['backend']} PyTorch {t['torch']} on {t['device']}, threads: "
        f"{t['threads']}, median of {t['times']}"
    )


# --------------------------------------------------------------------------------------------------
# The limits, in plain words


def limits(results: dict) -> list[str]:
    """What the figures do not say."""
    n, height, width = results["n"], *results["size"]
    labels = ", ".join(results["measures"].values())
    found = [
        f"Measured on {n} images, once, after all choices were made ({labels}). "
        + ("With so few, small differences say nothing." if n < 1000 else ""),
        f"One training with seed {results['seed']}; another seed gives other figures.",
        f"Made for images of {width}x{height} like those of the data set; others were not tried.",
        "Times are of this machine alone, and of one image at a time.",
    ]
    if "random features" in labels:
        found.append(
            "FID and KID are of random features: they compare the two networks here, and nothing "
            "else. Published figures are on another scale."
        )
    if not results["target"]["met"]:
        found.append(f"The target was not reached: {verdict(results)}.")
    found += [f"{note[0].upper()}{note[1:]}." for note in results["notes"]]
    return [text.strip() for text in found]


# --------------------------------------------------------------------------------------------------
# The model card

_PYTHON = """\
```python
# in the folder of the toolkit
import numpy as np
import torch
from PIL import Image

from models.build import Checkpoint
from models.layers import any_size

net, _ = Checkpoint("{weights}").load()
net.eval()
image = np.atleast_3d(np.asarray(Image.open("in.png").convert("{mode}")))
x = torch.from_numpy(image.transpose(2, 0, 1)[None] / 127.5 - 1).float()  # 1 C H W in [-1, 1]
with torch.inference_mode():
    y = any_size(net, x)[0].permute(1, 2, 0).numpy()
Image.fromarray(((y + 1) * 127.5).astype(np.uint8).squeeze()).save("out.png")
```"""

_ONNX = """\
```python
# onnxruntime alone
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("{onnx}", providers=["CPUExecutionProvider"])
image = np.atleast_3d(np.asarray(Image.open("in.png").convert("{mode}")))
height, width = image.shape[:2]
image = np.pad(image, ((0, -height % {side}), (0, -width % {side}), (0, 0)), mode="edge")
x = (image.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
y = session.run(None, {{"input": x}})[0][0, :, :height, :width].transpose(1, 2, 0)
Image.fromarray(((y + 1) * 127.5).astype(np.uint8).squeeze()).save("out.png")
```"""


def card(results: dict) -> str:
    """The model card, as Markdown."""
    teacher, compressed, search = (results[k] for k in ("teacher", "compressed", "search"))
    images, (height, width) = results["images"], results["size"]
    used = {"train": "learned from", "val": "chosen by", "test": "tested on"}
    counts = ", ".join(
        f"{images[phase]['count']} {use} (from {images[phase]['of']})"
        for phase, use in used.items()
    )
    flags = " ".join(f"--{name} {value}" for name, value in results["learning"].items())
    pairs = "pairs" if results["dataset_mode"] == "aligned" else "images of each side, no pairs"
    lines = [
        f"# {title(results)}",
        "",
        f"A small image-to-image generator, compressed from {teacher['name']} "
        f"({'a given' if teacher['given'] else 'its own'} teacher). {_sentence(verdict(results))}",
        "",
        markdown_table(*table(results)),
        "",
        f"MACs are of one image of {width}x{height}: as published, and exact multiply-accumulates "
        f"of the convolutions. Time: {_timing(results)}.",
        "",
        "## Data",
        "",
        f"`{Path(results['dataroot']).name}`, {results['direction']}, {width}x{height} pixels; "
        f"{pairs}: {counts}.",
        "",
        "## How it was made",
        "",
        f"* Network: {compressed['name']}, {compressed['params']:,} parameters, "
        f"{compressed['macs']:,} MACs ({compressed['exact_macs']:,} exact).",
        f"* Learning: `{flags}`.",
        f"* Search: the best of {search['evaluated']:,} subnets of the widths {search['widths']} "
        f"by {search['measure']} (n={search['n']}).",
        f"* Preset: {results['preset']}.",
        "",
        "## Use",
        "",
        *(f"* `{f['name']}`: {f['bytes'] / 1e6:.2f} MB" for f in results["files"].values()),
        "",
        *_usage(results),
        "## Limits",
        "",
        *(f"* {text}" for text in limits(results)),
    ]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _usage(results: dict) -> list[str]:
    """Examples that run, for images of one or three channels."""
    mode = {1: "L", 3: "RGB"}.get(results["channels"][0])
    if mode is None or results["channels"][1] not in (1, 3):
        return []
    lines = [_PYTHON.format(weights=WEIGHTS, mode=mode), ""]
    onnx = results["files"].get("onnx")
    return lines + (
        [_ONNX.format(onnx=onnx["name"], mode=mode, side=results["multiple"]), ""] if onnx else []
    )


def title(results: dict) -> str:
    smaller = ratio(results["teacher"]["macs"], results["compressed"]["macs"])
    name = Path(results["dataroot"]).name
    return f"{name} {results['direction']}, compressed {smaller}"


# --------------------------------------------------------------------------------------------------
# Writing


def write_result_page(folder: Path, results: dict) -> None:
    """Write the page of a compression from what `collect` returned."""
    test = folder / "test"
    sides = {"input": test / "images" / "real_A"}
    sides |= {label: test / results[label]["images"] for label in ("teacher", "compressed")}
    names = _names(test, sides["compressed"])
    if results["dataset_mode"] == "aligned":
        sides["real"] = test / "images" / "real_B"
    height, width = results["size"]
    note = (
        f"{verdict(results)}; MACs at {width}x{height}, as published and exact; time: "
        f"{_timing(results)}"
    )
    made = run_pages({"teacher": results["teacher"]["checkpoint"]})
    made |= {name: folder / name / "index.html" for name in ("supernet", "search", "finetune")}
    made |= {"test": test / "index.html", "model card": folder / CARD}
    pair = {label: results[label] for label in ("teacher", "compressed")}
    small, teacher = pair["compressed"]["metrics"], pair["teacher"]["metrics"]
    figures = [
        Figure("target", results["target"]["text"], "met" if results["target"]["met"] else "missed")
    ]
    figures += [
        Figure(label, measured(key, small[key]), f"teacher {measured(key, teacher[key])}")
        for key, label in results["measures"].items()
    ]
    header = Header(
        "Compression",
        title(results),
        note,
        {label: model["name"] for label, model in pair.items()},
        figures,
        [
            Cost(label, m["params"], m["macs"], m["exact_macs"], m["latency"]["median_ms"])
            for label, m in pair.items()
        ],
        links={label: page for label, page in made.items() if page.is_file()},
        script="compress.py",
    )
    write_page(
        folder / PAGE,
        header,
        *table(results),
        Gallery(sides, names, aspect=width / height, reference="teacher", outputs=["compressed"]),
        plots={"Search": folder / "search" / "search.png"},
        flags=read_flags(folder, "settings.json"),
        tables={
            "Images": (["use", "count", "from"], _image_rows(results)),
            "Limits": (["what these figures do not say"], [[text] for text in limits(results)]),
        },
    )


def _image_rows(results: dict) -> list[list[str]]:
    return [[k, f"{v['count']:,}", v["of"]] for k, v in results["images"].items()]


def _names(test: Path, images: Path) -> list[str]:
    """Names of the test's images, as its own list has them."""
    below = images.relative_to(test)
    written = [Path(name) for name in read_written(test) or []]
    return sorted(
        os.fspath(path.relative_to(below).with_suffix(""))
        for path in written
        if below in path.parents
    )


def write_compressed(folder: Path, target: Target, preset: str) -> dict:
    """Write the page, the model card and, last, results.json; returns what that holds.

    Arguments and errors as `collect`; also raises InputError where a file cannot be written.
    """
    results = collect(folder, target, preset)
    write_text(folder / CARD, card(results))
    write_result_page(folder, results)
    write_json(folder / RESULTS, results)
    return results


def summary(folder: Path) -> str:
    """The result for a terminal: the table, whether the target was reached, and the files."""
    results = read_json(folder / RESULTS)
    files = ", ".join(
        f"{folder / f['name']} ({f['bytes'] / 1e6:.2f} MB)" for f in results["files"].values()
    )
    lines = [text_table(*table(results)), "", verdict(results)]
    if not results["target"]["met"]:
        lines.append(_remedy(results))
    lines += [f"network: {files}", f"page: {folder / PAGE}, card: {folder / CARD}"]
    return "\n".join(lines)


if __name__ == "__main__":
    from options import run
    from options.compressed import main

    run(main)
