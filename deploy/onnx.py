"""A generator as one ``.onnx`` file, which ONNX Runtime runs without PyTorch, from any language.

Opset `OPSET`, float32 input and output. The graph is that of `deploy.rewrite.rewrite`: the same
function, with a last convolution that CPU kernels run three times as fast.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deploy.checks import Exported, max_difference, require_equal, rounded, sample_inputs
from deploy.pt2 import dynamic_shapes, exported_form, traced, traced_inputs, traced_size
from deploy.rewrite import rewrite
from errors import InputError
from models.layers import multiple_of
from runtime.files import written_whole

# The opset that the exporter writes without conversion.
OPSET = 18
# Names of what a file takes: images, and styles where its network makes images in these. Files of
# parts of networks, which are timed and not kept, call so whatever they take.
INPUTS = "input", "style"
# Weights of fewer values stay in float32: they take no room.
FEW = 256


# --------------------------------------------------------------------------------------------------
# Optional packages


def require_onnx(*packages: str) -> None:
    """Raise InputError, which says what to install, if a package is missing.

    Args:
        packages: names of modules; none = all that an export needs
    """
    missing = [
        name
        for name in packages or ("onnx", "onnxscript", "onnxruntime")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise InputError(
            f"ONNX needs {', '.join(missing)}, not installed here: "
            "pip install -r requirements-deploy.txt"
        )


# --------------------------------------------------------------------------------------------------
# Running a file


def open_session(model: Path | bytes):
    """A session of ONNX Runtime on the CPU, of a file or of what a file holds.

    It uses the number of threads that PyTorch uses now.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads must not spin after a run: PyTorch may need the cores next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class OnnxGenerator:
    """An ``.onnx`` file, or its bytes, that runs in ONNX Runtime on the CPU.

    Called with N C H W float32 on the CPU, it returns N output_nc H W float32. A file that takes
    styles is called with these too, N style_dim float32. It uses the number of threads that PyTorch
    uses when this object is created.
    """

    def __init__(self, model: Path | bytes):
        import onnxruntime

        self._session = open_session(model)
        self._shrink = onnxruntime.RunOptions()
        self._shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, *inputs: Tensor) -> Tensor:
        given = {n: x.numpy() for n, x in zip(INPUTS, inputs, strict=False)}
        return torch.from_numpy(self._session.run(None, given)[0])

    def release(self, x: Tensor) -> None:
        """Run once on ``x``, then return the memory kept for later runs to the system."""
        self._session.run(None, {"input": x.numpy()}, self._shrink)


# --------------------------------------------------------------------------------------------------
# Export


# Operations that become the same nodes whatever the height and width of what they are given, in
# both PyTorch and ONNX. A standard deviation is not one: it divides by the number of values.
OF_ANY_SIZE = {
    "aten.add.Tensor",
    "aten.alias.default",
    "aten.batch_norm.default",
    "aten.cat.default",
    "aten.clamp.default",
    "aten.contiguous.default",
    "aten.conv2d.default",
    "aten.conv_transpose2d.input",
    "aten.dropout.default",
    "aten.instance_norm.default",
    "aten.leaky_relu.default",
    "aten.leaky_relu_.default",
    "aten.linear.default",
    "aten.mul.Tensor",
    "aten.pad.default",
    "aten.relu.default",
    "aten.relu_.default",
    "aten.slice.Tensor",
    "aten.sub.Tensor",
    "aten.tanh.default",
    "aten.unsqueeze.default",
    "aten.upsample_nearest2d.vec",
}


def of_any_size(net: nn.Module) -> torch.export.ExportedProgram | None:
    """``net`` traced at one size, if the program is that of all sizes; else None.

    With numbers for sizes, all that follows takes a half to a third of the time that it takes with
    symbols. A program holds no size if a trace at another one, of another batch, is the same text,
    of operations of `OF_ANY_SIZE` alone.
    """
    module, (height, width), step = traced(rewrite(net)), traced_size(net), multiple_of(net)
    program = torch.export.export(module, traced_inputs(net))
    calls = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    if not calls <= OF_ANY_SIZE:
        return None
    inputs = sample_inputs(net, height + step, width + 2 * step, 3)
    other = torch.export.export(module, inputs)
    return program if program.graph_module.code == other.graph_module.code else None


def name_sizes(program, net: nn.Module) -> None:
    """Let an ONNX program traced at one size take all: its batch, heights and widths get the names
    that `dynamic_shapes` gives them, and what was between has no shape any more."""
    from onnx_ir import Shape

    graph, step = program.model.graph, multiple_of(net)
    for value in (value for node in graph.all_nodes() for value in node.outputs):
        if value not in graph.outputs:
            value.shape = None
    for value in (*graph.inputs, *graph.outputs):
        dims = ["batch", *value.shape[1:]]
        sides = zip(("height", "width"), traced_size(net), value.shape[2:], strict=False)
        for place, (name, whole, side) in enumerate(sides, 2):
            times, rest = divmod(int(side) * step, whole)
            known = f"{times}*{name}{step}" if times > 1 else f"{name}{step}"
            dims[place] = f"{value.name}_{name}" if rest else known
        value.shape = Shape(dims)


def onnx_program(net: nn.Module):
    """The ONNX program of ``net``. Messages of the exporter about itself are not shown."""
    inputs = traced_inputs(net)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fixed = of_any_size(net)
            source = (traced(rewrite(net)), inputs) if fixed is None else (fixed,)
            program = torch.onnx.export(
                *source,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(INPUTS[: len(inputs)]),
                output_names=["output"],
                dynamic_shapes=dynamic_shapes(net) if fixed is None else None,
                verbose=False,
            )
    finally:
        logging.disable(level)
    if fixed is not None:
        name_sizes(program, net)
    return program


def halve_weights(path: Path) -> None:
    """Store the weights of a file as float16 where that loses nothing.

    Nodes cast them to float32 when it is loaded, so it computes the same. The exporter's notes on
    where a node comes from, longer than a small network, are left out. (A network with casts of its
    own would not do: the exporter turns small weights back into float32.)

    Args:
        path: an ``.onnx`` file, written again
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph, casts = model.graph, {}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < FEW:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            casts[tensor.name] = f"{tensor.name}.float32"
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = casts.get(name, name)
        del node.metadata_props[:]
    nodes = [helper.make_node("Cast", [k], [v], to=TensorProto.FLOAT) for k, v in casts.items()]
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)


def export_onnx(net: nn.Module, path: Path, fp16: bool = False) -> Exported:
    """Write ``net`` as one file with dynamic batch, height and width.

    Input ``input``: N C H W float32, H and W multiples of 4 (of a U-Net: of what it needs); values
    outside [-1, 1] are clamped.
    Input ``style``, of a generator of images in styles alone: N style_dim float32, see
    `deploy.pt2.exported_form`.
    Output ``output``: N output_nc H W float32 in [-1, 1]. Before the file gets its name, it is run
    in ONNX Runtime and compared with PyTorch at several sizes.

    Args:
        net:  a generator; not changed
        path: the file to write, whole or not at all
        fp16: store the weights as float16: half the size, still computes in float32

    Returns:
        the file, with its largest difference from ``net`` in float32. With ``fp16`` this includes
        the rounding of the weights.

    Raises:
        InputError: a package is missing, the file differs from PyTorch by more than `TOLERANCE`
            (with ``fp16``: from the network with rounded weights), a weight is too large for
            float16, or the file cannot be written.
    """
    require_onnx()
    plain = exported_form(net)
    stored = rounded(plain) if fp16 else plain
    program = onnx_program(stored)
    with written_whole(path) as temporary:
        program.save(str(temporary), external_data=False)
        if fp16:
            halve_weights(temporary)
        run: Callable[..., Tensor] = OnnxGenerator(temporary)
        require_equal(max_difference(stored, run), str(path))
        difference = max_difference(plain, run)
    return Exported(path, path.stat().st_size, difference)
