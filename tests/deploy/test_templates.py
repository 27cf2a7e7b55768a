"""Networks of other widths in the graph of one that was exported."""

import pytest
import torch

from deploy.templates import FormMaker, OnnxTemplate
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.parts import parts_of, piece

pytest.importorskip("onnxruntime")


def filled(net: torch.nn.Module) -> torch.nn.Module:
    return init_weights(net, gain=0.2).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("spec", "configs"),
    [
        (
            GeneratorSpec("super_mobile_resnet_6blocks", 8),
            ("4_4_4_4_4_4_4_4", "2_3_4_5_6_7_8_1"),
        ),
        (
            GeneratorSpec("super_unet_128", 8, norm="batch"),
            ("2_2_2_2_2_2_2", "1_4_2_3_5_2_1"),
        ),
    ],
)
def test_the_file_computes_what_pytorch_computes(spec, configs):
    """The second network has every width other than the exported one's."""
    maker = FormMaker("onnxruntime", torch.device("cpu"))
    size = spec.kind.multiple * (16 if spec.kind.multiple == 4 else 1)
    x = torch.rand(1, 3, size, size) * 2 - 1
    for config in configs:
        net = filled(spec.subnet(spec.parse(config)).build())
        run = maker.make(net, x, "net")
        assert (run(x) - net(x)).abs().max() < 1e-4
        assert net(x).std() > 0.01


def test_pieces_are_networks_too():
    spec = GeneratorSpec("super_mobile_resnet_9blocks", 8)
    maker = FormMaker("onnxruntime", torch.device("cpu"))
    by_name = {part.name: part for part in parts_of(spec)}
    for name, channels, widths in (("up2", (8, 6), ((4, 3), (3, 5))), ("last", (4, 3), (4, 3))):
        for count, width in zip(channels, widths, strict=True):
            width = width if isinstance(width, tuple) else (width,)
            net = filled(piece(spec, by_name[name], width))
            x = torch.randn(1, count, 12, 20)
            assert (maker.make(net, x, name)(x) - net(x)).abs().max() < 1e-4


def test_nothing_of_the_template_is_left(tmp_path):
    onnx = pytest.importorskip("onnx")
    spec = GeneratorSpec("super_mobile_resnet_6blocks", 8)
    wide, narrow = (spec.subnet(spec.parse("_".join([width] * 8))).build().eval() for width in "82")
    template = OnnxTemplate(wide)
    template.write(narrow, tmp_path / "n.onnx")
    template.write(wide, tmp_path / "w.onnx")
    found = onnx.load(tmp_path / "n.onnx").graph
    used = {name for node in found.node for name in node.input}
    assert {stored.name for stored in found.initializer} <= used
    assert (tmp_path / "n.onnx").stat().st_size < 210_000 < (tmp_path / "w.onnx").stat().st_size
