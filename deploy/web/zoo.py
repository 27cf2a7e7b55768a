"""The networks that come with the repository, as tasks of the web page."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from deploy.onnx import export_onnx, require_onnx
from deploy.web.drawings import PALETTES_OF
from deploy.web.networks import Network
from deploy.web.task import Task
from errors import InputError
from models.weights import load_generator
from models.zoo import ROOT, TASK_FILE, zoo_tasks
from runtime.progress import Bar


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
            Network(each.name, flag, made[each.path], each.figures) for each in task.networks
        ]
        pages.append(
            Task(task.name, task.mode, task.size, networks, title=task.title, together=True)
        )
    return pages


def _export(checkpoint: Path, path: Path) -> None:
    """Write one network. It is kept in float16, so weights of float16 lose nothing."""
    net, _ = load_generator(checkpoint, "zoo")
    export_onnx(net, path, fp16=True)


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
