"""Networks of other widths in the graph of one that was exported."""

import functools

import pytest
import torch

from deploy.templates import FormMaker, OnnxTemplate
from models.generators import GeneratorSpec
from models.inputs import inputs_of
from models.joint_norm import JointBatchNorm2d
from models.layers import init_weights
from models.munit import MunitForm
from models.parts import parts_of, piece, subnet
from models.spade import SpadeBlock, SpadeForm

pytest.importorskip("onnxruntime")


RESNET = GeneratorSpec("super_mobile_resnet_6blocks", 8)
UNET = GeneratorSpec("super_unet_128", 8, norm="batch")
SPADE = GeneratorSpec("super_mobile_spade", 8, input_nc=5, norm="batch", form=SpadeForm("normal"))
MUNIT = GeneratorSpec("super_mobile_munit", 8, form=MunitForm(6, 10))


def filled(net: torch.nn.Module) -> torch.nn.Module:
    """With running statistics unlike each other, but for those of norms that see the same."""
    init_weights(net, gain=0.1)
    for module in net.modules():
        if isinstance(module, JointBatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    for block in (m for m in net.modules() if isinstance(m, SpadeBlock) and m.shortcut):
        around, main = block.norm_s.param_free_norm, block.norm_0.param_free_norm
        around.load_state_dict(main.state_dict())
    return net.eval().requires_grad_(False)


@functools.cache
def maker_of(spec: GeneratorSpec) -> FormMaker:
    """The same for all tests: an export takes seconds."""
    return FormMaker("onnxruntime", torch.device("cpu"))


def difference(maker: FormMaker, net: torch.nn.Module, structure: str, size=(64, 64)) -> float:
    inputs = [torch.rand(each.shape(*size)) * 2 - 1 for each in inputs_of(net)]
    wanted = net(*inputs)
    # Means of channels differ little from each other.
    assert wanted.std() > (0.01 if wanted.dim() == 4 else 1e-3)
    return (maker.make(net, inputs, structure)(*inputs) - wanted).abs().max().item()


@pytest.mark.parametrize(
    ("spec", "configs"),
    [
        (RESNET, ("4_4_4_4_4_4_4_4", "2_3_4_5_6_7_8_1")),
        (UNET, ("2_2_2_2_2_2_2", "1_4_2_3_5_2_1")),
        (SPADE, ("2_2_2_2_2_2_2_2", "1_3_4_5_6_7_8_1")),
        (MUNIT, ("2_2_2_2_2_2_2_2_2_2", "1_3_4_5_6_7_8_1_3_4")),
    ],
    ids=lambda value: getattr(value, "netG", ""),
)
def test_the_file_computes_what_pytorch_computes(spec, configs):
    """The second network has every width other than the exported one's."""
    maker = maker_of(spec)
    size = max(64, spec.multiple)
    for config in configs:
        net = filled(subnet(spec, spec.parse(config)))
        assert difference(maker, net, "net", (size, size)) < 1e-4


@pytest.mark.parametrize(
    ("spec", "name", "widths"),
    [
        (RESNET, "up2", ((4, 3), (3, 5))),
        (RESNET, "last", ((4,), (3,))),
        (SPADE, "up_1", ((4, 3), (3, 5))),
        (MUNIT, "decoder", ((4, 3), (3, 5))),
        (MUNIT, "perceptron", ((), ())),
    ],
)
def test_pieces_are_networks_too(spec, name, widths):
    maker = maker_of(spec)
    (part,) = (part for part in parts_of(spec) if part.name == name)
    for each in widths:
        net = filled(piece(spec, part, each, part.repeats))
        assert difference(maker, net, name) < 1e-4


def test_networks_of_another_structure_are_refused(tmp_path):
    parts = {part.name: part for part in parts_of(MUNIT)}
    template = OnnxTemplate(piece(MUNIT, parts["perceptron"], ()))
    with pytest.raises(ValueError, match="another structure"):
        template.write(piece(MUNIT, parts["stem"], (2,)), tmp_path / "x.onnx")


def test_nothing_of_the_template_is_left(tmp_path):
    onnx = pytest.importorskip("onnx")
    wide, narrow = (subnet(RESNET, RESNET.parse("_".join([width] * 8))) for width in "82")
    for name, net in (("n", narrow), ("w", wide)):
        maker_of(RESNET).write(net, "net", tmp_path / f"{name}.onnx")
    found = onnx.load(tmp_path / "n.onnx").graph
    used = {name for node in found.node for name in node.input}
    assert {stored.name for stored in found.initializer} <= used
    assert (tmp_path / "n.onnx").stat().st_size < 210_000 < (tmp_path / "w.onnx").stat().st_size
