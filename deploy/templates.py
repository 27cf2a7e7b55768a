"""Many networks of one structure as ``.onnx`` files, of which only the first is exported.

An export takes seconds, and the graph is the same for all widths: only weights, and what belongs to
their sizes, are exchanged.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deploy.forms import FORMS, Unavailable, require_device
from deploy.onnx import OnnxGenerator, onnx_program, require_onnx
from deploy.openvino import OpenVinoGenerator
from deploy.rewrite import rewrite
from errors import InputError

# Forms that run an .onnx file: name -> (package, path -> what runs it).
RUNTIMES: dict[str, tuple[str, Callable[[Path], Callable[[Tensor], Tensor]]]] = {
    "onnxruntime": ("onnxruntime", OnnxGenerator),
    "openvino": ("openvino", OpenVinoGenerator),
    "openvino_bf16": ("openvino", lambda path: OpenVinoGenerator(path, bf16=True)),
}


def _folded(net: nn.Module) -> nn.Module:
    """A frozen copy with its batch norms in the convolutions, where the exporter puts them too."""
    net = rewrite(net)
    for layers in [m for m in net.modules() if isinstance(m, nn.Sequential)]:
        for index, (conv, norm) in enumerate(itertools.pairwise(layers)):
            transposed = isinstance(conv, nn.ConvTranspose2d)
            if isinstance(norm, nn.BatchNorm2d) and (transposed or isinstance(conv, nn.Conv2d)):
                layers[index] = fuse_conv_bn_eval(conv, norm, transpose=transposed)
                layers[index + 1] = nn.Identity()
    return net


class OnnxTemplate:
    """The graph of a network, to be filled with the weights of others of its structure.

    Args:
        net: a generator, or a piece of one (`models.parts.Piece`), in evaluation mode
    """

    def __init__(self, net: nn.Module):
        import onnx

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            onnx_program(_folded(net)).save(str(path), external_data=False)
            self._graph = onnx.load(path)

    def write(self, net: nn.Module, path: Path) -> None:
        """Write ``net``, of the template's structure and of any widths."""
        from onnx import ModelProto, numpy_helper, save

        model = ModelProto()
        model.CopyFrom(self._graph)
        graph = model.graph
        # The exporter calls the network that it exports `net`.
        weights = {f"net.{key}": value for key, value in _folded(net).state_dict().items()}
        for stored in graph.initializer:
            if stored.name in weights:
                stored.CopyFrom(numpy_helper.from_array(weights[stored.name].numpy(), stored.name))
        channels: dict[str, int] = {}
        for number, node in enumerate(graph.node):
            if node.op_type in ("Conv", "ConvTranspose"):
                shape = weights[node.input[1]].shape
                channels[node.output[0]] = shape[node.op_type == "ConvTranspose"]
                for attribute in node.attribute:
                    # Depthwise, or not grouped at all.
                    if attribute.name == "group" and attribute.i > 1:
                        attribute.i = shape[0]
            if node.op_type == "InstanceNormalization":
                count = channels[node.input[0]]
                for place, fill in ((1, torch.ones(count)), (2, torch.zeros(count))):
                    name = f"norm_{number}_{place}"
                    graph.initializer.append(numpy_helper.from_array(fill.numpy(), name))
                    node.input[place] = name
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

    def make(self, net: nn.Module, x: Tensor, structure: str) -> Callable[[Tensor], Tensor]:
        """The form of a network for inputs like ``x``.

        Args:
            structure: equal for networks that differ in widths alone
        """
        if self.name not in RUNTIMES:
            return self._build(net, x)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            self.write(net, structure, path)
            return RUNTIMES[self.name][1](path)

    def write(self, net: nn.Module, structure: str, path: Path) -> None:
        """The .onnx file of a network; ``structure`` as in `make`."""
        if structure not in self._templates:
            self._templates[structure] = OnnxTemplate(net)
        self._templates[structure].write(net, path)
