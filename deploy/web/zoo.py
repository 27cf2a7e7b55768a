"""The networks that come with the repository, as tasks of the web page."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from deploy.onnx import export_onnx, require_onnx
from deploy.web.drawings import PALETTES_OF
from deploy.web.networks import Network
from deploy.web.task import Task
from errors import InputError
from models.weights import load_generator
from models.zoo import ROOT, TASK_FILE, zoo_tasks
from runtime.progress import Bar

# Weights of fewer values stay in float32: they take no room.
FEW = 256


def zoo_page(folder: Path, root: Path = ROOT) -> list[Task]:
    """The tasks of a zoo, with their networks as ``.onnx`` files.

    Args:
        folder: where to write the ``.onnx`` files
        root:   the zoo, see `models.zoo`

    Raises:
        InputError: there is no task, a file is missing or damaged, or a package is missing.
    """
    require_onnx()
    tasks = zoo_tasks(root)
    if not tasks:
        raise InputError(
            f"{root}: no networks there; get the repository's folder zoo/ again, or give MODEL.onnx"
        )
    modes = list(PALETTES_OF)
    for task in tasks:
        if task.mode not in modes:
            raise InputError(
                f"{root / task.name / TASK_FILE}: mode is {task.mode!r}; the page knows "
                f"{', '.join(modes)}"
            )
    # Colours first: they take less skill than lines.
    tasks.sort(key=lambda task: modes.index(task.mode))
    made = {
        network.path: folder / task.name / f"{network.name}.onnx"
        for task in tasks
        for network in task.networks
    }
    _export_all(made)
    pages = []
    for task in tasks:
        flag = f"zoo/{task.name}"
        networks = [
            Network(each.name, flag, made[each.path], _shown(each.figures))
            for each in task.networks
        ]
        pages.append(
            Task(task.name, task.mode, task.size, networks, title=task.title, together=True)
        )
    return pages


def _shown(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures that the page shows; it counts parameters and MACs itself."""
    return {name: figures[name] for name in ("fid",) if name in figures}


def _export(checkpoint: Path, path: Path) -> None:
    """Write one network, its weights in float16."""
    import onnx

    net, _ = load_generator(checkpoint, "zoo")
    export_onnx(net, path)
    # Not by `fp16` of the export: the exporter turns small weights back into float32.
    onnx.save(_halved(onnx.load(path)), path)


def _export_all(made: Mapping[Path, Path]) -> None:
    """Write all networks, in a process for each core: an export takes seconds of one.

    Args:
        made: checkpoint -> the ``.onnx`` file to write
    """
    for path in made.values():
        path.parent.mkdir(exist_ok=True)
    workers = min(os.cpu_count() or 1, len(made))
    # Forked processes would share the locks of this one's threads.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        done = [pool.submit(_export, *pair) for pair in made.items()]
        for each in Bar(as_completed(done), total=len(done), desc="exporting", unit="network"):
            each.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _halved(model):
    """A copy of a graph without notes, which stores weights as float16 where that loses nothing.

    Nodes cast them to float32 when the network is loaded, so it computes the same. The checkpoints
    of a zoo are in float16: of those every weight can be stored so.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    copy = ModelProto()
    copy.CopyFrom(model)
    casts = {}
    for tensor in copy.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < FEW:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            casts[tensor.name] = f"{tensor.name}.float32"
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for node in copy.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = casts.get(name, name)
        # Where in PyTorch's source a node comes from
        del node.metadata_props[:]
    nodes = [
        helper.make_node("Cast", [name], [cast], to=TensorProto.FLOAT)
        for name, cast in casts.items()
    ]
    nodes += copy.graph.node
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy
