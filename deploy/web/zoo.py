"""The networks that come with the repository, as tasks of the web page.

A graph takes seconds to export. Tasks often have networks of the same shape, so each graph is
exported once; the others differ in their weights alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from deploy.checks import TOLERANCE, max_difference
from deploy.onnx import OnnxGenerator, export_onnx, require_onnx
from deploy.rewrite import rewrite
from deploy.web.drawings import PALETTES_OF
from deploy.web.networks import Network
from deploy.web.task import Task
from errors import InputError
from models.generators import GeneratorSpec
from models.weights import load_generator
from models.zoo import ROOT, TASK_FILE, zoo_tasks
from runtime.files import written_whole

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
    graphs: dict[GeneratorSpec, object] = {}
    pages = []
    # Colours first: they take less skill than lines.
    for task in sorted(tasks, key=lambda task: modes.index(task.mode)):
        networks = []
        for network in task.networks:
            net, spec = load_generator(network.path, f"zoo/{task.name}")
            path = folder / task.name / f"{network.name}.onnx"
            _write_onnx(net, spec, path, graphs)
            networks.append(Network(network.name, f"zoo/{task.name}", path, network.figures))
        pages.append(
            Task(task.name, task.mode, task.size, networks, title=task.title, together=True)
        )
    return pages


def _write_onnx(net: nn.Module, spec: GeneratorSpec, path: Path, graphs: dict) -> None:
    """Write a generator as ``.onnx``, checked against PyTorch.

    Args:
        graphs: the graphs of networks that were exported before, by their spec; a new one is added
    """
    import onnx

    if spec in graphs:
        model = _with_weights(graphs[spec], net)
        content = _halved(model).SerializeToString()
        if max_difference(net, OnnxGenerator(content)) <= TOLERANCE:
            with written_whole(path, flush=False) as temporary:
                temporary.write_bytes(content)
            return
    export_onnx(net, path)
    graphs[spec] = onnx.load(path)
    onnx.save(_halved(graphs[spec]), path)


def _with_weights(model, net: nn.Module):
    """A copy of a graph with the weights of another network of the same spec."""
    from onnx import ModelProto, numpy_helper

    copy = ModelProto()
    copy.CopyFrom(model)
    state = rewrite(net).state_dict()
    for tensor in copy.graph.initializer:
        weight = state.get(tensor.name.removeprefix("net."))
        if weight is not None:
            tensor.CopyFrom(numpy_helper.from_array(weight.numpy(), tensor.name))
    return copy


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
