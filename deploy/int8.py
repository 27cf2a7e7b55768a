"""A generator as an ``.onnx`` file whose convolutions are in 8 bits (QDQ), without training.

Weights are int8 with one scale per output channel, inputs of convolutions int8 with one scale per
tensor; all zero points are 0, as TensorRT wants them. What a convolution puts out stays in float32:
instance norms divide it by its deviation in one image, and would make its rounding large.

Two things are chosen by the error of the output, on images that the ranges were not measured on:
how far the ranges of activations reach (`CALIBRATIONS`), and which layers stay in float32.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deploy.checks import sample, shapes_for
from deploy.onnx import OnnxGenerator, export_onnx, open_session, require_onnx
from errors import InputError
from models.inputs import input_channels
from runtime.files import written_whole
from runtime.progress import Bar

CONVOLUTIONS = ("Conv", "ConvTranspose")

# The largest number in 8 bits. -128 is not used: numbers are symmetric.
LEVELS = 127

# Of the histogram of a tensor's magnitudes.
BINS = 8192

# Of every so many images, one chooses and the others calibrate.
CHOOSING = 4

# How many of the choosing images measure what each layer adds to the error.
RANKING = 8

# Root mean square of the output's error, in grey levels, that needs no layer in float32. Measured:
# at 1.5 FID rises by less than 1% (docs/deploy.md).
MAX_ERROR = 1.5


# --------------------------------------------------------------------------------------------------
# Ranges of activations


@dataclass(frozen=True)
class Magnitudes:
    """The magnitudes of a tensor's values on the images: the largest, and counts in `BINS` equal
    steps from 0 to it."""

    largest: float
    counts: np.ndarray

    def share(self, share: float) -> float:
        """What this share of all values does not exceed."""
        reached = np.cumsum(self.counts) >= share * self.counts.sum()
        return float(self.largest * (np.argmax(reached) + 1) / BINS)

    def least_squares(self) -> float:
        """The end of the range that loses least: sum over values of (x - clamp(round(x/s)) s)^2."""
        middles = (np.arange(BINS) + 0.5) / BINS * self.largest
        ends = np.linspace(0.2, 1, 81) * self.largest
        losses = []
        for end in ends:
            step = max(end / LEVELS, np.finfo(np.float32).tiny)
            rounded = np.minimum(np.round(middles / step), LEVELS) * step
            losses.append(float((self.counts * (middles - rounded) ** 2).sum()))
        return float(ends[int(np.argmin(losses))])


# Name -> how far a range reaches.
CALIBRATIONS: dict[str, Callable[[Magnitudes], float]] = {
    "largest value": lambda found: found.largest,
    "99.999% of values": lambda found: found.share(0.99999),
    "99.99% of values": lambda found: found.share(0.9999),
    "99.9% of values": lambda found: found.share(0.999),
    "least squares": Magnitudes.least_squares,
}


def measure(model, images: Sequence[Tensor]) -> dict[str, Magnitudes]:
    """Name of the input of a convolution -> its magnitudes on ``images``.

    The network runs twice on each image; the activations of one image are in memory at a time.
    """
    import onnx

    names = list(dict.fromkeys(node.input[0] for node in convolutions(model)))
    watched = copy.deepcopy(model)
    known = {output.name for output in watched.graph.output}
    for name in names:
        if name not in known:
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            watched.graph.output.append(value)
    session = open_session(watched.SerializeToString())
    largest, counts = dict.fromkeys(names, 0.0), {name: np.zeros(BINS) for name in names}
    for x in Bar(images, desc="calibrating", unit="img"):
        for name, value in zip(names, session.run(names, {"input": x.numpy()}), strict=True):
            largest[name] = max(largest[name], float(np.abs(value).max()))
    for x in images:
        for name, value in zip(names, session.run(names, {"input": x.numpy()}), strict=True):
            end = largest[name] or 1.0
            counts[name] += np.histogram(np.abs(value), BINS, (0.0, end))[0]
    return {name: Magnitudes(largest[name], counts[name]) for name in names}


# --------------------------------------------------------------------------------------------------
# The graph


def convolutions(model) -> list:
    """The convolutions of an ONNX model, in the order in which they run."""
    return [node for node in model.graph.node if node.op_type in CONVOLUTIONS]


def layer_of(node) -> str:
    """A convolution's name in the network, from the name of its weight: ``model.10.conv``."""
    name = node.input[1].removeprefix("net.").removesuffix(".weight")
    # Of `deploy.rewrite.RowSummedConv2d`.
    return name.removesuffix(".rows")


def in_8_bits(model, ends: Mapping[str, float], plain: Collection[str] = ()):
    """A copy of an ONNX model with its convolutions between quantised inputs and weights.

    Args:
        model: its convolutions have float32 weights among the initializers
        ends:  name of a convolution's input -> how far its range reaches, > 0
        plain: weights, by name, of the convolutions that stay as they are
    """
    from onnx import helper, numpy_helper

    model = copy.deepcopy(model)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes, made = [], set()

    def scaled(name: str, values: np.ndarray) -> list[str]:
        """The names of a scale, float32, and its zero points, kept as initializers."""
        parts = {f"{name}:scale": values, f"{name}:zero": np.zeros(values.shape, np.int8)}
        graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in parts.items())
        return list(parts)

    for node in graph.node:
        if node.op_type in CONVOLUTIONS and node.input[1] not in plain:
            x, w = node.input[:2]
            if x not in made:
                scale = scaled(x, np.array(step_of(ends[x])))
                nodes.append(helper.make_node("QuantizeLinear", [x, *scale], [f"{x}:int8"]))
                nodes.append(
                    helper.make_node("DequantizeLinear", [f"{x}:int8", *scale], [f"{x}:8"])
                )
            if w not in made:
                axis = 0 if node.op_type == "Conv" else 1
                values, steps = rounded_weight(numpy_helper.to_array(weights[w]), axis)
                graph.initializer.append(numpy_helper.from_array(values, f"{w}:int8"))
                parts = [f"{w}:int8", *scaled(w, steps)]
                nodes.append(helper.make_node("DequantizeLinear", parts, [f"{w}:8"], axis=axis))
            made |= {x, w}
            node.input[0], node.input[1] = f"{x}:8", f"{w}:8"
        nodes.append(node)
    nodes = [copy.deepcopy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [copy.deepcopy(tensor) for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def step_of(end: float | np.ndarray) -> np.ndarray:
    """The step between two of the numbers that reach up to ``end``, float32; never 0."""
    return np.maximum(np.float32(end) / np.float32(LEVELS), np.finfo(np.float32).tiny)


def rounded_weight(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """(int8 of the weight's shape, float32 step of each output channel) of a float32 weight.

    Args:
        axis: of the output channels
    """
    others = tuple(d for d in range(weight.ndim) if d != axis)
    steps = step_of(np.abs(weight).max(others))
    shape = [-1 if d == axis else 1 for d in range(weight.ndim)]
    return np.clip(np.round(weight / steps.reshape(shape)), -LEVELS, LEVELS).astype(np.int8), steps


# --------------------------------------------------------------------------------------------------
# Choosing


@dataclass
class Errors:
    """Errors of a model's variants against the outputs of the float32 network.

    Args:
        model:   an ONNX model in float32
        images:  inputs, 1 C H W each
        targets: the network's outputs of them
    """

    model: object
    images: Sequence[Tensor]
    targets: Sequence[Tensor]

    def of(self, ends: Mapping[str, float], plain: Collection[str] = (), images: int = 0) -> float:
        """Mean square of the difference in grey levels (255 = the range of the outputs).

        ``ends`` and ``plain`` as of `in_8_bits`; ``images``: only so many, 0 = all.
        """
        run = OnnxGenerator(in_8_bits(self.model, ends, plain).SerializeToString())
        pairs = list(zip(self.images, self.targets, strict=True))[: images or None]
        losses = [((run(x) - y) * 127.5).square().mean() for x, y in pairs]
        return float(torch.stack(losses).mean())


def sensitive(
    errors: Errors, ends: Mapping[str, float], found: float, limit: float
) -> tuple[list[str], float]:
    """The layers to leave in float32, so that the mean square is at most ``limit``.

    Each layer alone is put in 8 bits. In the order of the errors that this makes, the first layers
    stay in float32: the fewest that are enough.

    Args:
        found: the mean square with all layers in 8 bits

    Returns:
        (the names of their weights, the mean square that is left)
    """
    if found <= limit:
        return [], found
    names = list(dict.fromkeys(node.input[1] for node in convolutions(errors.model)))
    alone = {
        name: errors.of(ends, [n for n in names if n != name], RANKING)
        for name in Bar(names, desc="layers", unit="layer")
    }
    order = sorted(names, key=alone.get, reverse=True)
    # Errors nearly add up, which tells where to begin.
    total = sum(alone.values())
    rest = [found * (1 - sum(alone[n] for n in order[:k]) / total) for k in range(len(order) + 1)]
    count = next((k for k in range(1, len(rest)) if rest[k] <= limit), len(order))
    measured = {0: found, len(order): 0.0}

    def at(k: int) -> float:
        if k not in measured:
            measured[k] = errors.of(ends, order[:k])
        return measured[k]

    while at(count) > limit:
        count += 1
    while at(count - 1) <= limit:
        count -= 1
    return order[:count], at(count)


# --------------------------------------------------------------------------------------------------
# Export


@dataclass(frozen=True)
class Quantised:
    """A file that was written.

    size:        of the file in bytes
    calibration: the best of `CALIBRATIONS`
    tried:       root mean square of the difference from the outputs of the float32 network with
                 each of them and all layers in 8 bits, in grey levels (0 to 255)
    plain:       layers that stayed in float32, by their names in the network
    layers:      number of all convolutions
    rms, mean, largest: root mean square, mean and largest absolute difference from the float32
                 network, in grey levels
    calibrated, images: number of images that gave the ranges; number of those that gave the
                 differences, which are others
    """

    path: Path
    size: int
    calibration: str
    plain: tuple[str, ...]
    layers: int
    rms: float
    mean: float
    largest: float
    calibrated: int
    images: int
    tried: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        other = f"{self.images} other image{'s' * (self.images > 1)}"
        kept = f", in float32: {', '.join(self.plain)}" if self.plain else ""
        return (
            f"{self.size / 1e6:.2f} MB, {self.layers - len(self.plain)} of {self.layers} "
            f"convolutions in 8 bits{kept}; ranges: {self.calibration}, of {self.calibrated} "
            f"images; differs by {self.mean:.2f} of 255 levels on average, {self.rms:.2f} in root "
            f"mean square and {self.largest:.0f} at most, on {other}"
        )


def _prepared(source: Path, folder: Path):
    """The ONNX model of a file, with batch norms folded into the convolutions before them."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shapes are not needed, and not every version can infer them.
    quant_pre_process(source, folder / "prepared.onnx", skip_symbolic_shape=True)
    return onnx.load(folder / "prepared.onnx")


@torch.inference_mode()
def export_int8(
    net: nn.Module,
    path: Path,
    images: Iterable[Tensor],
    exported: Path | None = None,
    max_error: float = MAX_ERROR,
) -> Quantised:
    """Write ``net`` as `deploy.onnx.export_onnx` does, with its convolutions in 8 bits.

    Args:
        net:       a generator on the CPU; left as it is
        path:      the file to write, whole or not at all
        images:    typical inputs, 1 C H W float32 in [-1, 1] each, two or more; every fourth one
                   (of two or three: the last) chooses, the ranges of activations are measured on
                   the others. All are kept in memory
        exported:  what `deploy.onnx.export_onnx` wrote of ``net`` in float32; without it the
                   network is exported again
        max_error: root mean square of the output's error on the choosing images, in grey levels;
                   the fewest layers stay in float32 that make it at most this. inf = none stays

    Raises:
        InputError: a package is missing, there are fewer than two images, the output of the file is
            not finite at one of `shapes_for`, or the file cannot be written.
    """
    require_onnx()
    images = list(images)
    if len(images) < 2:
        raise InputError(
            f"`int8`: {len(images)} images; it needs two or more, some for the ranges and others "
            "to compare on; see `dataroot`, `phase` and `max_dataset_size`"
        )
    every = min(CHOOSING, len(images))
    chosen = images[every - 1 :: every]
    given = [x for i, x in enumerate(images) if i % every != every - 1]
    net = copy.deepcopy(net).float().eval()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder, written_whole(path) as temporary:
            folder = Path(folder)
            exported = exported or export_onnx(net, folder / "net.onnx").path
            model = _prepared(exported, folder)
            targets = [net(x) for x in chosen]
            errors, found = Errors(model, chosen, targets), measure(model, given)
            ends = {how: {n: end(m) for n, m in found.items()} for how, end in CALIBRATIONS.items()}
            tried = {how: errors.of(each) for how, each in ends.items()}
            best = min(tried, key=tried.get)
            plain, _ = sensitive(errors, ends[best], tried[best], max_error**2)
            temporary.write_bytes(in_8_bits(model, ends[best], plain).SerializeToString())
            run = OnnxGenerator(temporary)
            for shape in shapes_for(net):
                x = sample(shape[0], input_channels(net), *shape[1:])
                if not bool(torch.isfinite(run(x)).all()):
                    raise InputError(
                        f"{path} is not finite at {shape[2]}x{shape[1]}: it was not written"
                    )
            differences = [(run(x) - y).abs() * 127.5 for x, y in zip(chosen, targets, strict=True)]
    finally:
        logging.disable(level)
    nodes = convolutions(model)
    return Quantised(
        path=path,
        size=path.stat().st_size,
        calibration=best,
        plain=tuple(dict.fromkeys(layer_of(node) for node in nodes if node.input[1] in plain)),
        layers=len(nodes),
        rms=float(torch.stack([d.square().mean() for d in differences]).mean()) ** 0.5,
        mean=float(torch.stack([d.mean() for d in differences]).mean()),
        largest=max(float(d.max()) for d in differences),
        calibrated=len(given),
        images=len(chosen),
        tried={how: value**0.5 for how, value in tried.items()},
    )
