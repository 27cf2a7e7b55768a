"""Exported files compute what the network does at any size and batch; so do faster forms."""

import copy
import importlib.util
import shutil
from collections import OrderedDict

import pytest
import torch
from torch import nn

import deploy.int8
import deploy.onnx
import deploy.pt2
from deploy import checks, forms, fused
from deploy.rewrite import crop_transposed, rewrite
from errors import InputError
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.resnet import ResnetGenerator

NEEDED = ("onnx", "onnxscript", "onnxruntime")
HAS_ONNX = all(importlib.util.find_spec(name) for name in NEEDED)
needs_onnx = pytest.mark.skipif(
    not HAS_ONNX, reason="pip install -r requirements-deploy.txt to test ONNX"
)
needs_openvino = pytest.mark.skipif(
    not HAS_ONNX or importlib.util.find_spec("openvino") is None,
    reason="pip install -r requirements-deploy.txt",
)
pytestmark = pytest.mark.usefixtures("converted_once")
FORMATS = [
    pytest.param(deploy.onnx.export_onnx, "onnx", marks=needs_onnx),
    pytest.param(deploy.pt2.export_pt2, "pt2"),
]


def network(config="8_4_8_8_4_8_4_8", seed=1, gain=0.1, **kwargs) -> ResnetGenerator:
    """Small, with weights large enough that outputs use their range."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return init_weights(
            ResnetGenerator(ChannelConfig.parse(config), **kwargs), gain=gain
        ).eval()


def shallow(net: ResnetGenerator) -> ResnetGenerator:
    """``net`` with one of its nine blocks, which are alike: exporters take their time by blocks."""
    for index in net.layout.blocks[1:]:
        net.model[index] = torch.nn.Identity()
    return net


@pytest.fixture(scope="module")
def net() -> ResnetGenerator:
    """The command line's tests export whole networks."""
    return shallow(network())


def reader(path):
    if path.suffix == ".onnx":
        return deploy.onnx.OnnxGenerator(path)
    return torch.export.load(path).module()


# --------------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize("export, suffix", FORMATS)
def test_a_file_computes_what_the_network_computes(tmp_path, net, export, suffix):
    """Also at sizes and batches it was not checked at; inputs beyond [-1, 1] are clamped."""
    path = tmp_path / "new" / f"net.{suffix}"
    exported = export(net, path)
    assert exported.path == path and exported.size == path.stat().st_size
    assert exported.max_difference < 1e-4
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    run = reader(path)
    for shape in ((1, 3, 32, 32), (2, 3, 60, 44), (5, 3, 12, 32)):
        x = torch.randn(shape)
        with torch.inference_mode():
            assert (run(x) - net(x)).abs().max() < 1e-4
    assert not net.training and next(net.parameters()).requires_grad
    if suffix == "onnx":
        check_graph(path)


def check_graph(path):
    """Opset, names, and which sizes are free."""
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {i.domain: i.version for i in model.opset_import}[""] == deploy.onnx.OPSET
    (x,), (y,) = model.graph.input, model.graph.output
    assert (x.name, y.name) == ("input", "output")
    dims = [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim]
    assert dims[1] == 3 and all(isinstance(dims[i], str) for i in (0, 2, 3))


def described(program) -> tuple:
    """Inputs, outputs and nodes of an ONNX program; values are numbered as they come."""
    graph, numbers = program.model.graph, {}

    def number(value) -> int | str | None:
        if value is None or value.name in graph.initializers:
            return value and str(value.const_value.numpy())
        return numbers.setdefault(value.name, len(numbers))

    ends = [(x.name, str(x.shape), number(x)) for x in graph.inputs]
    nodes = [
        (n.op_type, [*map(number, n.inputs)], str(n.attributes), [*map(number, n.outputs)])
        for n in graph
    ]
    return ends, nodes, [(y.name, str(y.shape), number(y)) for y in graph.outputs]


@needs_onnx
def test_a_graph_of_any_size_is_the_one_traced_with_symbols(net, monkeypatch):
    assert deploy.onnx.of_any_size(net) is not None
    found = described(deploy.onnx.onnx_program(net))
    monkeypatch.setattr(deploy.onnx, "of_any_size", lambda net: None)
    again = copy.deepcopy(net)
    again.model[-1] = torch.nn.Sequential(again.model[-1])  # another for `converted_once`
    assert found == described(deploy.onnx.onnx_program(again))


class Normed(torch.nn.Module):
    """A convolution, and what ``by`` makes of its result."""

    def __init__(self, by):
        super().__init__()
        self.conv, self.by = torch.nn.Conv2d(3, 3, 1), by

    def forward(self, x):
        return self.by(self.conv(x))


@needs_onnx
@pytest.mark.parametrize(
    "by, free",
    [
        (lambda x: torch.relu(x), True),
        (lambda x: x[:, :, 1:-1], True),
        (lambda x: x[:, :, : x.shape[2] - 1], False),
        (lambda x: x * x.shape[0], False),
        (lambda x: x / x.std((1, 2, 3), keepdim=True), False),
    ],
    ids=["relu", "cut from the end", "cut by a length", "times the batch", "deviation"],
)
def test_only_what_holds_no_size_is_traced_at_one(by, free):
    """A deviation holds none as PyTorch writes it, and one when it is taken apart."""
    assert (deploy.onnx.of_any_size(Normed(by)) is not None) == free


@pytest.mark.parametrize("export, suffix", FORMATS)
@pytest.mark.parametrize(
    "kwargs",
    [
        dict(separable=False, norm="batch", dropout_rate=0.5),
        dict(input_nc=1, output_nc=1, norm="none"),
    ],
)
def test_every_kind_of_generator(tmp_path, export, suffix, kwargs):
    """Dense and separable, every norm, grey images; dropout is off."""
    net = shallow(network("4_4_4_4_4_4_4_4", **kwargs)).train()
    assert export(net, tmp_path / f"net.{suffix}").max_difference < 1e-4
    assert net.training


@needs_onnx
def test_quantisation_leaves_the_network_as_it_is(tmp_path, net):
    net = copy.deepcopy(net).train()
    deploy.int8.export_int8(net, tmp_path / "net.onnx", [*torch.rand(2, 1, 3, 32, 32)])
    assert net.training


@pytest.mark.parametrize("export, suffix", FORMATS)
def test_half_weights_take_half_the_place(tmp_path, export, suffix):
    net = shallow(network("16_16_64_96_48_48_16_16"))
    half = export(net, tmp_path / f"half.{suffix}", fp16=True)
    weights = sum(p.numel() for p in net.parameters())
    assert 2 * weights < half.size < 3.2 * weights  # bytes; the graph comes on top
    assert 1e-4 < half.max_difference < 0.1
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert (reader(half.path)(x) - checks.rounded(net)(x)).abs().max() < 1e-4


@pytest.mark.parametrize("export, suffix", FORMATS)
def test_a_file_that_differs_is_not_written(tmp_path, net, export, suffix, monkeypatch):
    """Nor is what was there before touched."""
    path = tmp_path / f"net.{suffix}"
    path.write_text("before")
    monkeypatch.setattr(checks, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match=f"net.{suffix} differs from PyTorch by .*not written"):
        export(net, path)
    assert path.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_weights_beyond_float16(net):
    wide = network()
    with torch.no_grad():
        wide.model[1].weight[0, 0, 0, 0] = 1e6
    with pytest.raises(InputError, match=r"`fp16`.*65504"):
        checks.rounded(wide)


def test_outputs_that_are_not_finite_differ_infinitely(net):
    assert checks.max_difference(net, lambda x: net(x) * float("nan")) == float("inf")
    assert checks.max_difference(net, net) == 0


def test_missing_packages_are_named(tmp_path, net, monkeypatch):
    monkeypatch.setattr(deploy.onnx.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"onnx, onnxscript, onnxruntime.*requirements-deploy\.txt"
    ):
        deploy.onnx.export_onnx(net, tmp_path / "net.onnx")
    with pytest.raises(forms.Unavailable, match=r"requirements-deploy\.txt"):
        forms.make_form("onnxruntime", net, torch.zeros(1, 3, 32, 32))
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------
# Faster forms


REWRITES = {
    "last": rewrite,
    "norms": lambda net: rewrite(net, written_norms=True),
    "cropped": crop_transposed,
    "fused": fused.FusedGenerator,
}


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
@pytest.mark.parametrize(
    "kwargs",
    [
        dict(),
        dict(output_nc=1),
        dict(separable=False),
        dict(norm="batch", dropout_rate=0.5),
        dict(norm="none"),
    ],
    ids=str,
)
def test_a_rewritten_network_is_the_same_function(rewrite, kwargs):
    """For any batch and input layout, and for biases and running statistics that are not zero.

    In float64, where rounding hides nothing.
    """
    net = shallow(network(**kwargs)).double()
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if name.endswith(("bias", "running_mean")):
                tensor.normal_()
    faster = rewrite(net)
    for shape in ((1, 3, 32, 32), (2, 3, 36, 52)):
        x = torch.randn(shape, dtype=torch.float64)
        with torch.inference_mode():
            for given in (x, x.contiguous(memory_format=torch.channels_last)):
                assert (faster(given) - net(x)).abs().max() < 1e-10
    assert isinstance(net.model[26], torch.nn.Conv2d) and net.model[1].weight.is_contiguous()


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_a_rewritten_network_keeps_its_digits_on_real_images(rewrite):
    """Flat colours give the first norm channels whose mean is many times their deviation.

    A variance computed from the mean of squares would lose its digits there.
    """
    net = network("16_8_8_8_8_8_8_8", gain=0.3)
    x = torch.full((1, 3, 128, 128), 0.9)
    x[:, :, 40:60] = torch.tensor([0.8, 0.9, 0.7]).view(1, 3, 1, 1)
    x += 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first = net.model[1](net.model[0](x))
        assert (first.mean((2, 3)).abs() / first.std((2, 3))).max() > 20
        exact = copy.deepcopy(net).double()(x.double())
        assert (net(x) - exact).abs().max() < 2e-3
        assert (rewrite(net)(x) - exact).abs().max() < 2e-3


@pytest.mark.parametrize("name", ["eager", "channels_last", "fused", "bf16"])
def test_forms(net, name):
    x = torch.rand(2, 3, 32, 48) * 2 - 1
    form = forms.make_form(name, net, x)
    with torch.inference_mode():
        y, expected = form.run(x), net(x)
    assert y.shape == expected.shape and y.dtype == torch.float32
    assert form.max_difference == pytest.approx((y - expected).abs().max().item(), abs=1e-6)
    assert form.max_difference < (1e-4 if form.exact else 0.3)
    assert form.exact == (name != "bf16")


@needs_onnx
def test_onnxruntime_form(net):
    x = torch.rand(1, 3, 32, 48) * 2 - 1
    form = forms.make_form("onnxruntime", net, x)
    assert form.exact and form.max_difference < 1e-4
    form.release(x)
    assert (form.run(x) - net(x)).abs().max() < 1e-4


@needs_openvino
@pytest.mark.parametrize("name", ["openvino", "openvino_bf16"])
def test_openvino_forms(net, name):
    x = torch.rand(2, 3, 32, 48) * 2 - 1
    try:
        form = forms.make_form(name, net, x)
    except forms.Unavailable as error:
        assert name == "openvino_bf16"
        pytest.skip(f"{error}")
    assert form.exact == (name == "openvino")
    for other in (x, torch.rand(1, 3, 64, 32) * 2 - 1, x.flip(2), x.transpose(2, 3)):
        assert (form.run(other) - net(other)).abs().max() < (1e-4 if form.exact else 0.3)
    # A result is not written over by the next run.
    first = form.run(x)
    kept = first.clone()
    form.run(-x)
    assert torch.equal(first, kept)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what it says without a GPU")
def test_cuda_graphs_need_a_gpu(net):
    with pytest.raises(forms.Unavailable, match="CUDA"):
        forms.make_form("cuda_graph", net, torch.zeros(1, 3, 32, 32))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_cuda_graph_form(net):
    net, x = net.cuda(), (torch.rand(1, 3, 32, 32) * 2 - 1).cuda()
    form = forms.make_form("cuda_graph", net, x)
    with torch.inference_mode():
        assert (form.run(-x) - net(-x)).abs().max() < 1e-3


@pytest.mark.skipif(
    not shutil.which("g++") and not shutil.which("clang++"), reason="needs a C++ compiler"
)
def test_compiled_form():
    """Of a network with each layer that is rewritten for the compiler, which takes its time kernel
    by kernel."""
    layers = [nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.ConvTranspose2d(4, 4, 4, 2, 1)]
    layers += [nn.BatchNorm2d(4), nn.Conv2d(4, 3, 7), nn.Tanh()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = nn.Sequential(OrderedDict(model=nn.Sequential(*layers))).requires_grad_(False).eval()
        init_weights(net, gain=0.1)
        norm = net.model[3]
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 2)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    form = forms.make_form("compile", net, x)
    with torch.inference_mode():
        assert net(x).std() > 0.05
        assert form.max_difference == pytest.approx(
            (form.run(x) - net(x)).abs().max().item(), abs=1e-6
        )
    assert form.exact and form.max_difference < 1e-5


def test_no_compiler(net, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(forms.Unavailable, match=r"C\+\+ compiler"):
        forms.make_form("compile", net, torch.zeros(1, 3, 32, 32))


def test_the_forms_are_the_flag():
    from options.flags import FLAGS

    assert FLAGS["backends"].choices == tuple(forms.FORMS)


def test_specs_of_the_golden_names_are_built():
    """What `rewrite` replaces is where it takes it to be, in every kind of generator."""
    for name in ("resnet_9blocks", "mobile_resnet_9blocks"):
        net = GeneratorSpec(name, 4).build()
        assert net.model[26].kernel_size == (7, 7) and net.model[26].bias is not None
