"""The small networks that come with the repository: one folder of ``zoo/`` for each task.

A folder holds ``task.json`` and the checkpoints that it names, in float16; they compute in float32.
``scripts/zoo.sh`` makes them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from errors import InputError
from runtime.files import write_text, written_whole

ROOT = Path(__file__).resolve().parents[1] / "zoo"
TASK_FILE = "task.json"


@dataclass(frozen=True)
class ZooNetwork:
    """A checkpoint and what was measured with it.

    Args:
        name:    ``12x``, ``40x`` (how many times fewer MACs than the teacher) or ``teacher``
        path:    its ``.pth`` file; `models.weights.load_generator` reads it without more flags
        figures: name of a measure -> value: ``macs`` and ``params``, and on ``n`` images that
            nothing was chosen by ``fid``, ``kid``, ``l1_real``, ``psnr`` and ``ssim``
    """

    name: str
    path: Path
    figures: dict[str, float]


@dataclass(frozen=True)
class ZooTask:
    """What the networks of one folder do.

    Args:
        name:      the folder's name, such as ``map2aerial``
        title:     in words
        mode:      how the web page draws its inputs, see `deploy.web.drawings.PALETTES_OF`
        kind:      the built-in dataset that they learned from, see `prepare.builtin.KINDS`
        direction: ``AtoB`` or ``BtoA``
        size:      side of an image in pixels
        networks:  the compressed ones, the largest first, and the teacher last
    """

    name: str
    title: str
    mode: str
    kind: str
    direction: str
    size: int
    networks: tuple[ZooNetwork, ...]


def read_task(folder: Path) -> ZooTask:
    """The task of a folder.

    Raises:
        InputError: ``task.json`` or a checkpoint is missing or damaged.
    """
    path = folder / TASK_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        networks = tuple(
            ZooNetwork(network["name"], folder / network["file"], dict(network["figures"]))
            for network in facts["networks"]
        )
        task = ZooTask(
            folder.name,
            *(str(facts[key]) for key in ("title", "mode", "kind", "direction")),
            int(facts["size"]),
            networks,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); "
            "get the repository's folder zoo/ again"
        ) from None
    for network in networks:
        if not network.path.is_file():
            raise InputError(
                f"{network.path}: not there, but {path} names it; get the repository's folder "
                "zoo/ again"
            )
    return task


def zoo_tasks(root: Path = ROOT) -> list[ZooTask]:
    """All tasks below ``root``, by name; none if the folder does not exist."""
    return [read_task(path.parent) for path in sorted(root.glob(f"*/{TASK_FILE}"))]


def write_task(
    folder: Path, facts: Mapping[str, object], checkpoints: Sequence[tuple[Path, dict]]
) -> ZooTask:
    """Write a task's folder: copies of its checkpoints, then ``task.json``.

    Args:
        facts:       title, mode, kind, direction and size of `ZooTask`
        checkpoints: in the order of `ZooTask.networks`; a file's stem becomes the network's name
    """
    folder.mkdir(parents=True, exist_ok=True)
    networks = []
    for path, figures in checkpoints:
        with written_whole(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)
        networks.append({"name": path.stem, "file": path.name, "figures": figures})
    write_text(folder / TASK_FILE, json.dumps({**facts, "networks": networks}, indent=1) + "\n")
    return read_task(folder)
