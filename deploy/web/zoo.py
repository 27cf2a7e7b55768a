"""The networks that come with the repository, as tasks of the web page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from deploy.checks import max_difference, require_equal
from deploy.onnx import OnnxGenerator, halve_weights, require_onnx
from deploy.templates import OnnxTemplate
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
    write = _Writer()
    pages = []
    for task in Bar(tasks, desc="networks of the page", unit="task"):
        networks = []
        for network in task.networks:
            path = folder / task.name / f"{network.name}.onnx"
            write(network.path, path)
            networks.append(
                Network(network.name, f"zoo/{task.name}", path, _shown(network.figures))
            )
        pages.append(
            Task(task.name, task.mode, task.size, networks, title=task.title, together=True)
        )
    return pages


def _shown(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures that the page shows; it counts parameters and MACs itself."""
    return {name: figures[name] for name in ("fid",) if name in figures}


class _Writer:
    """Writes checkpoints as ``.onnx``. An export takes seconds, so networks that differ in widths
    alone share one."""

    def __init__(self) -> None:
        self._templates: dict[tuple[type, ...], OnnxTemplate] = {}

    def __call__(self, checkpoint: Path, path: Path) -> None:
        """Write one, with weights of float16 as the zoo's are, and compare it with PyTorch.

        Raises:
            InputError: the checkpoint is damaged, or the file differs from it.
        """
        net, _ = load_generator(checkpoint, "zoo")
        net.eval()
        structure = tuple(type(module) for module in net.modules())
        if structure not in self._templates:
            self._templates[structure] = OnnxTemplate(net)
        path.parent.mkdir(exist_ok=True)
        self._templates[structure].write(net, path)
        halve_weights(path)
        require_equal(max_difference(net, OnnxGenerator(path)), str(path))
