"""The networks of the web page: which ``.onnx`` files fit, and what the page says about them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from data.transforms import to_float, to_numpy, to_uint8
from deploy.onnx import require_onnx
from errors import InputError
from models.cost import config_cost
from models.generators import GeneratorSpec, infer_spec


@dataclass(frozen=True)
class Network:
    """A network of the page and its ``.onnx`` file.

    Args:
        name:    ``teacher``, ``compressed``, or how many times fewer MACs than the teacher it has,
                 such as ``12x``; the name of its file on the page
        flag:    the flag that gave the file, for messages
        path:    the file
        figures: name of a measure, such as ``fid`` -> value, for the page to show
    """

    name: str
    flag: str
    path: Path
    figures: dict[str, float] = field(default_factory=dict, hash=False)

    @property
    def label(self) -> str:
        """What the page calls it: ``12x`` is "12× compressed"."""
        times = re.fullmatch(r"(\d+)x", self.name)
        return f"{times[1]}× compressed" if times else self.name.capitalize()


def run_on_image(network: Network, pixels: np.ndarray) -> np.ndarray:
    """What a network makes of an image, with the values that the page shows.

    Args:
        pixels: (H, W, 3) uint8 RGB

    Returns:
        (H, W, 3) uint8 RGB

    Raises:
        InputError: as `open_onnx`.
    """
    session = open_onnx(network.path, network.flag)
    x = to_float(torch.from_numpy(pixels.copy()).permute(2, 0, 1))[None]
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return to_numpy(to_uint8(torch.from_numpy(y)))[0]


def open_onnx(path: Path, flag: str):
    """Open a network for colour images as an ONNX Runtime session.

    Raises:
        InputError: a package or the file is missing, ONNX Runtime cannot read it, or the network
            does not have one float32 input N 3 H W and one output.
    """
    require_onnx("onnxruntime", "onnx")
    import onnxruntime

    if not path.is_file():
        raise InputError(f"{flag} {path}: no such file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's exceptions share no other base class
        raise InputError(
            f"{flag} {path}: not a network that ONNX Runtime reads ({type(error).__name__}); "
            "write one with export.py `format` onnx"
        ) from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{flag} {path}: has {len(inputs)} inputs and {len(outputs)} outputs; "
            "the page needs one image in and one out"
        )
    (x,) = inputs
    if x.type != "tensor(float)" or len(x.shape) != 4:
        raise InputError(
            f"{flag} {path}: takes {x.type} of shape {x.shape}; "
            "the page gives float32 images, N 3 H W"
        )
    if isinstance(x.shape[1], int) and x.shape[1] != 3:
        raise InputError(
            f"{flag} {path}: takes images of {x.shape[1]} channels; "
            "the page draws in colour, give a network of 3 channels"
        )
    return session


def fixed_size(path: Path, flag: str) -> int | None:
    """The only image side in pixels that a network accepts; None if it accepts any.

    Raises:
        InputError: the network accepts no square images, or as `open_onnx`.
    """
    height, width = open_onnx(path, flag).get_inputs()[0].shape[2:]
    sides = {side for side in (height, width) if isinstance(side, int)}
    if len(sides) == 2:
        raise InputError(
            f"{flag} {path}: takes images of {height}x{width} pixels; the page's are square"
        )
    return sides.pop() if sides else None


def check_network(network: Network, size: int) -> None:
    """Run a network once as the page will, on an input of (1, 3, size, size) float32.

    Raises:
        InputError: the network cannot be opened or run, keeps weights in a second file, or its
            output is not finite or has another shape than its input.
    """
    session = open_onnx(network.path, network.flag)
    import onnx

    stored = onnx.load(network.path, load_external_data=False).graph.initializer
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in stored):
        raise InputError(
            f"{network.flag} {network.path}: keeps its weights in a second file, and the page "
            "takes one; save it as a single file"
        )
    x = np.linspace(-1, 1, 3 * size * size, dtype=np.float32).reshape(1, 3, size, size)
    try:
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
    except Exception as error:
        raise InputError(
            f"{network.flag} {network.path}: does not run at {size}x{size} pixels "
            f"({type(error).__name__}); give the size it was made for with `size`"
        ) from None
    if y.shape != x.shape:
        raise InputError(
            f"{network.flag} {network.path}: turns {list(x.shape)} into {list(y.shape)}; "
            "give a network of colour images, 3 channels out"
        )
    if not np.isfinite(y).all():
        raise InputError(
            f"{network.flag} {network.path}: its output is not finite; export it again"
        )


def read_spec(path: Path) -> tuple[GeneratorSpec | None, int]:
    """Recognise the generator in an ``.onnx`` file by the shapes of its weights.

    Returns:
        (spec, parameters): the spec is None if it is no generator of this project; parameters
        counts the weights and biases of all convolutions
    """
    import onnx

    graph = onnx.load(path).graph
    # Of weights in 8 bits, `deploy.int8` stores steps and zero points beside them.
    sizes = {
        tensor.name.removesuffix(":int8"): tuple(tensor.dims)
        for tensor in graph.initializer
        if not tensor.name.endswith((":scale", ":zero"))
    }
    casts = {
        node.output[0]: node.input[0].removesuffix(":int8")
        for node in graph.node
        if node.op_type in ("Cast", "DequantizeLinear")
    }
    names = {name for node in graph.node if "Conv" in node.op_type for name in node.input[1:]}
    shapes = [sizes.get(casts.get(name, name), (0,)) for name in names]
    state = {
        f"model.{name.partition('model.')[2]}": torch.empty(shape, device="meta")
        for name, shape in sizes.items()
        if "model." in name
    }
    # The last convolution, see `deploy.rewrite.RowSummedConv2d`.
    for name in [name for name in state if name.endswith(".rows.weight")]:
        out, channels, *_ = state.pop(name).shape
        state[name.replace(".rows", "")] = torch.empty(out // 7, channels, 7, 7, device="meta")
    try:
        spec = infer_spec(state)
    except InputError:
        spec = None
    return spec, sum(int(np.prod(shape)) for shape in shapes)


def describe(network: Network, size: int, file: str) -> dict:
    """The facts about a network that the page shows, as model.json stores them.

    ``bytes`` is the size of the file, ``digest`` the start of its SHA-256. ``macs`` are counted at
    ``size`` x ``size`` pixels in the published convention; they and ``config`` are None if the
    network is not recognised.

    Args:
        file: its name below the page's folder
    """
    spec, parameters = read_spec(network.path)
    macs = None
    if spec is not None:
        macs, parameters = config_cost(spec.config, spec.architecture, "published", size, size)
    content = network.path.read_bytes()
    return {
        "name": network.name,
        "label": network.label,
        "file": file,
        "bytes": len(content),
        "digest": hashlib.sha256(content).hexdigest()[:16],
        "parameters": parameters,
        "macs": macs,
        "config": None
        if spec is None
        else str(spec.config)
        if spec.config_str
        else f"{spec.netG}, ngf {spec.ngf}",
        "figures": network.figures,
    }
