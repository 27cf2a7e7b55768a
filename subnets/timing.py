"""Times the networks of a latency table: here, or as files for another device."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from deploy import device_times
from deploy.forms import Unavailable, make_form
from deploy.templates import RUNTIMES, FormMaker
from errors import InputError
from evaluation.speed import measure_side_by_side
from models.inputs import inputs_of
from runtime.files import read_json, write_json
from runtime.machine import device_name, wait
from runtime.progress import Bar
from subnets.latency import LatencyTable, TimingPlan

# Runs of the network that a search chose.
TIMES = 30


def facts(backend: str, device: torch.device) -> dict[str, object]:
    """What the times belong to, see `subnets.latency.LatencyTable`."""
    versions = {"torch": torch.__version__}
    if backend in RUNTIMES:
        package, _ = RUNTIMES[backend]
        versions[package] = importlib.metadata.version(package)
    threads = torch.get_num_threads()
    return {"backend": backend, "device": _name(device), "threads": threads, "versions": versions}


def _name(device: torch.device) -> str:
    return device_times.processor() if device.type == "cpu" else device_name(device)


@torch.inference_mode()
def time_here(plan: TimingPlan, backend: str, device: torch.device) -> dict[str, float]:
    """Milliseconds of every network of a plan, in a form of `deploy.forms.FORMS`.

    Raises:
        InputError: this machine cannot run that form.
    """
    try:
        maker = FormMaker(backend, device)
    except Unavailable as error:
        raise InputError(f"`backend` {backend}: {error}") from None
    items = {item.name: item for item in plan.items}
    # Reused: random numbers take longer than small pieces.
    kept: dict[tuple[int, ...], torch.Tensor] = {}

    def build(name: str) -> Callable[[], object]:
        item = items[name]
        net = item.build().to(device)
        shapes = [each.shape(plan.space.height, plan.space.width) for each in inputs_of(net)]
        for shape in shapes:
            if shape not in kept:
                kept[shape] = torch.rand(shape, device=device) * 2 - 1
        inputs = [kept[shape] for shape in shapes]
        run = maker.make(net, inputs, item.structure)

        def once() -> None:
            run(*inputs)
            wait(device)

        return once

    def progress(order: Sequence[str]) -> Iterator[str]:
        yield from Bar(order, desc="timing", unit="network")

    # A compiler takes far longer than the timing does.
    passes = 1 if backend.startswith("compile") else 3
    return device_times.measure(list(items), build, plan.anchor, passes, progress=progress)


def time_winner(
    table: LatencyTable, net: nn.Module, predicted: float, device: torch.device
) -> dict[str, object]:
    """The real time of a network beside its prediction, where the table is of this machine.

    Args:
        net:    is moved to the device of the table
        device: of the search

    Returns:
        ``predicted_ms``; ``measured_ms``, the median of `TIMES` runs in the table's form; or why
        it was ``not_measured``
    """
    found: dict[str, object] = {"predicted_ms": predicted}
    # A search on a GPU may be for the CPU beside it.
    devices = {_name(each): each for each in (device, torch.device("cpu"))}
    if table.device not in devices:
        here = " and ".join(devices)
        return found | {"not_measured": f"the table is of {table.device}, this is {here}"}
    device = devices[table.device]
    threads = torch.get_num_threads()
    size = table.plan["height"], table.plan["width"]
    # Whatever a generator takes beside images is given, as in the table.
    x, *beside = (torch.rand(each.shape(*size), device=device) * 2 - 1 for each in inputs_of(net))
    torch.set_num_threads(table.threads)
    try:
        form = make_form(table.backend, net.to(device), x, *beside)
        (timing,) = measure_side_by_side([lambda x: form.run(x, *beside)], x, TIMES)
    except Unavailable as error:
        return found | {"not_measured": str(error)}
    finally:
        torch.set_num_threads(threads)
    return found | {"measured_ms": timing["median_ms"]}


def describe_winner(timing: Mapping[str, object]) -> str:
    """What `time_winner` found, in words; "" for nothing."""
    if not timing:
        return ""
    text = f"the best takes {timing['predicted_ms']:.2f} ms as predicted, "
    if "measured_ms" in timing:
        return text + f"{timing['measured_ms']:.2f} ms measured"
    return text + f"not measured: {timing['not_measured']}"


def write_parts(plan: TimingPlan, folder: Path) -> int:
    """Write all networks of a plan as .onnx files, with the script that times them elsewhere.

    Returns:
        bytes written
    """
    try:
        maker = FormMaker("onnxruntime", torch.device("cpu"))
    except Unavailable as error:
        raise InputError(f"`parts_dir`: {error}") from None
    entries = []
    for number, item in enumerate(Bar(plan.items, desc="writing", unit="network")):
        file = f"{number:04d}.onnx"
        net = item.build()
        maker.write(net, item.structure, folder / file)
        shapes = [each.shape(plan.space.height, plan.space.width) for each in inputs_of(net)]
        entries.append({"name": item.name, "file": file, "shapes": shapes})
    shutil.copy(device_times.__file__, folder / "time_parts.py")
    manifest = {"plan": plan.description, "anchor": plan.anchor, "items": entries}
    write_json(folder / device_times.MANIFEST, manifest)
    return sum(path.stat().st_size for path in folder.iterdir())


def read_times(plan: TimingPlan, path: Path) -> tuple[dict[str, float], dict[str, object]]:
    """(milliseconds of every network, facts) of a file that time_parts.py wrote.

    Raises:
        InputError: it is none, or of other networks.
    """
    where = f"`times_path` {path}"
    try:
        found = read_json(path)
    except InputError as error:
        raise InputError(f"`times_path` {error}") from None
    keys = ("backend", "device", "threads", "versions")
    tables = [found.get(key) for key in ("plan", "ms", "versions")]
    if not found.keys() >= {*keys} or not all(isinstance(each, dict) for each in tables):
        raise InputError(f"{where}: not a file of time_parts.py")
    differ = [k for k, v in plan.description.items() if found["plan"].get(k) != v]
    if differ:
        given = ", ".join(f"{name} {found['plan'].get(name)}" for name in differ)
        raise InputError(f"{where}: of other networks ({given}): give the flags of `parts_dir`")
    return found["ms"], {key: found[key] for key in keys}
