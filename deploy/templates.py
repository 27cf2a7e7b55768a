"""Many networks of one structure as ``.onnx`` files, of which only the first is exported.

An export takes seconds, and the graph is the same for all widths: only weights, and what belongs to
their sizes, are exchanged.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deploy.forms import FORMS, Run, Unavailable, require_device
from deploy.onnx import OnnxGenerator, onnx_program, require_onnx
from deploy.openvino import OpenVinoGenerator
from deploy.rewrite import replace_layers, rewrite
from errors import InputError
from models.inputs import Input, inputs_of
from models.layers import SampleNorm
from models.spade import SpadeBlock

# Forms that run an .onnx file: name -> (package, path -> what runs it).
RUNTIMES: dict[str, tuple[str, Callable[[Path], Run]]] = {
    "onnxruntime": ("onnxruntime", OnnxGenerator),
    "openvino": ("openvino", OpenVinoGenerator),
    "openvino_bf16": ("openvino", lambda path: OpenVinoGenerator(path, bf16=True)),
}


class _StoredSampleNorm(SampleNorm):
    """A `SampleNorm` with its factors in the shape that they are computed with: a file keeps their
    names then."""

    def __init__(self, norm: SampleNorm):
        super().__init__(len(norm.gamma), norm.eps)
        for name, values in zip(("gamma", "beta"), norm.factors(len(norm.gamma)), strict=True):
            setattr(self, name, nn.Parameter(values.detach().clone(), requires_grad=False))

    def factors(self, channels: int) -> tuple[Tensor, Tensor]:
        return self.gamma, self.beta


def _folded(net: nn.Module) -> nn.Module:
    """A frozen copy with its batch norms in the convolutions, where the exporter puts them too."""
    net = rewrite(net)
    replace_layers(net, SampleNorm, _StoredSampleNorm)
    for layers in [m for m in net.modules() if isinstance(m, nn.Sequential)]:
        for index, (conv, norm) in enumerate(itertools.pairwise(layers)):
            transposed = isinstance(conv, nn.ConvTranspose2d)
            if isinstance(norm, nn.BatchNorm2d) and (transposed or isinstance(conv, nn.Conv2d)):
                layers[index] = fuse_conv_bn_eval(conv, norm, transpose=transposed)
                layers[index + 1] = nn.Identity()
    for block in [m for m in net.modules() if isinstance(m, SpadeBlock)]:
        norm = block.norm_1.param_free_norm
        if isinstance(norm, nn.BatchNorm2d):
            block.conv_0 = fuse_conv_bn_eval(block.conv_0, norm)
            block.norm_1.param_free_norm = nn.Identity()
            around, main = block.norm_s if block.shortcut else None, block.norm_0
            # Both see the same; a file has one of two that are the same.
            if around and _equal(around.param_free_norm, main.param_free_norm):
                around.param_free_norm = main.param_free_norm
    return net


def _equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def _structure(net: nn.Module) -> list[type]:
    return [type(module) for module in net.modules()]


def _told_apart(net: nn.Module) -> nn.Module:
    """A network without two tensors of equal values, which the exporter would store as one."""
    random = torch.Generator().manual_seed(0)
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
    return net


# What a template knows of a tensor besides its values: its channels; or, of a factor of channels
# without pixels, which output of a Split it is.
Output = tuple[int, int]


class _Sizes:
    """Follows the channels of tensors through a graph, node by node.

    Args:
        graph:   of an .onnx file
        weights: name -> the tensor that is stored in it
        inputs:  of the network
    """

    # What makes as many channels as it gets.
    KEPT = frozenset(
        (
            *("Add", "BatchNormalization", "Div", "InstanceNormalization", "LeakyRelu", "Mul"),
            *("Pad", "Relu", "Resize", "Sigmoid", "Slice", "Sub", "Tanh"),
        )
    )
    # What leaves a factor of channels one.
    STILL = frozenset(("Reshape", "Squeeze", "Unsqueeze"))

    def __init__(self, graph, weights: Mapping[str, Tensor], inputs: Sequence[Input]):
        self.weights = weights
        given = zip(graph.input, inputs, strict=True)
        self.channels = {value.name: each.channels for value, each in given if each.scale}
        self.splits: dict[str, Output] = {}
        # (number of a Split, its output) -> size
        self.found: dict[Output, int] = {}

    def follow(self, number: int, node) -> None:
        """Learn of what the ``number``-th node makes."""
        kind, (output, *_) = node.op_type, node.output
        if kind in ("Conv", "ConvTranspose"):
            self.channels[output] = self.weights[node.input[1]].shape[kind == "ConvTranspose"]
        elif kind == "Split":
            self.splits |= {name: (number, n) for n, name in enumerate(node.output)}
        elif kind == "Concat":
            each = [self.channels.get(name) for name in node.input]
            if all(each):
                self.channels[output] = sum(each)
        elif kind in self.STILL and node.input[0] in self.splits:
            self.splits[output] = self.splits[node.input[0]]
        elif kind in self.KEPT:
            known = [self.channels[name] for name in node.input if name in self.channels]
            if known:
                self.channels[output] = known[0]
                factors = (self.splits[name] for name in node.input if name in self.splits)
                self.found |= dict.fromkeys(factors, known[0])


class OnnxTemplate:
    """The graph of a network, to be filled with the weights of others of its structure.

    Args:
        net: a generator, or a piece of one (`models.parts.Piece`), in evaluation mode
    """

    def __init__(self, net: nn.Module):
        import onnx

        net = _told_apart(_folded(net))
        self._structure = _structure(net)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            program = onnx_program(net)
            program.save(str(path), external_data=False)
            self._graph = onnx.load(path)

    def write(self, net: nn.Module, path: Path) -> None:
        """Write ``net``, of the template's structure and of any widths.

        Raises:
            ValueError: it is of another structure.
        """
        from onnx import ModelProto, numpy_helper, save

        folded = _folded(net)
        if _structure(folded) != self._structure:
            raise ValueError("a network of another structure than the template's")
        model = ModelProto()
        model.CopyFrom(self._graph)
        graph = model.graph
        # The exporter calls the network that it exports `net`.
        weights = {f"net.{key}": value for key, value in folded.state_dict().items()}
        for stored in graph.initializer:
            if stored.name in weights:
                stored.CopyFrom(numpy_helper.from_array(weights[stored.name].numpy(), stored.name))
        sizes = _Sizes(graph, weights, inputs_of(net))

        def store(values: Tensor, number: int, place: int) -> None:
            name = f"of_{number}_{place}"
            graph.initializer.append(numpy_helper.from_array(values.numpy(), name))
            graph.node[number].input[place] = name

        for number, node in enumerate(graph.node):
            sizes.follow(number, node)
            count = sizes.channels.get(node.output[0])
            for attribute in node.attribute:
                # Depthwise, or not grouped at all.
                if node.op_type == "Conv" and attribute.name == "group" and attribute.i > 1:
                    attribute.i = count
            if node.op_type in ("BatchNormalization", "InstanceNormalization"):
                for place, fill in ((1, torch.ones(count)), (2, torch.zeros(count))):
                    if node.input[place] not in weights:
                        store(fill, number, place)
        for number, node in enumerate(graph.node):
            if node.op_type == "Split":
                outputs = range(len(node.output))
                store(torch.tensor([sizes.found[number, n] for n in outputs]), number, 1)
        used = {name for node in graph.node for name in node.input}
        kept = [stored for stored in graph.initializer if stored.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        # Shapes inside were those of the template.
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[1].ClearField("dim_value")
            value.type.tensor_type.shape.dim[1].dim_param = f"{value.name}_channels"
        save(model, path)


class FormMaker:
    """Makes one form of many networks.

    Args:
        name: a key of `deploy.forms.FORMS`

    Raises:
        Unavailable: this machine cannot run it.
    """

    def __init__(self, name: str, device: torch.device):
        require_device(name, device)
        self.name, self._build = name, FORMS[name].build
        self._templates: dict[str, OnnxTemplate] = {}
        if name in RUNTIMES:
            try:
                require_onnx()
                require_onnx(RUNTIMES[name][0])
            except InputError as error:
                raise Unavailable(str(error)) from None

    def make(self, net: nn.Module, inputs: Sequence[Tensor], structure: str) -> Run:
        """The form of a network for inputs like these.

        Args:
            structure: equal for networks that differ in widths alone
        """
        if self.name not in RUNTIMES:
            return self._build(net, *inputs)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            self.write(net, structure, path)
            return RUNTIMES[self.name][1](path)

    def write(self, net: nn.Module, structure: str, path: Path) -> None:
        """The .onnx file of a network; ``structure`` as in `make`."""
        if structure not in self._templates:
            self._templates[structure] = OnnxTemplate(net)
        self._templates[structure].write(net, path)
