"""U-Nets: keys and outputs of the published networks, cost, recognition, sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deploy.checks import TOLERANCE
from deploy.fused import FusedGenerator
from deploy.onnx import OnnxGenerator, export_onnx
from deploy.pt2 import export_pt2
from deploy.rewrite import rewrite
from errors import InputError
from metrics.macs import print_costs
from models.cost import CONVENTIONS, config_cost
from models.generators import GeneratorSpec, as_supernet, count_parameters, infer_spec
from models.layers import init_weights, set_dropout
from models.unet import UNet128Config, UNet256Config, UNetArchitecture, UNetBlock, nested
from models.weights import load_generator, save_network
from subnets.space import SearchSpace

LEVELS = {"unet_256": 8, "unet_128": 7}


# --------------------------------------------------------------------------------------------------
# The published network, written down once more from its description


class Block(nn.Module):
    """A level as it is described: its LeakyReLU works in place on what is concatenated."""

    def __init__(self, outer, inner, inside=None, image=None, norm="batch", dropout=0.0):
        super().__init__()
        channels = image[0] if image else outer
        bias = norm == "instance"

        def normed(width):
            if norm == "batch":
                return nn.BatchNorm2d(width)
            return nn.InstanceNorm2d(width, affine=False, track_running_stats=False)

        self.image = image
        down = nn.Conv2d(channels, inner, 4, 2, 1, bias=bias)
        read = inner if inside is None else inner * 2
        if image:
            up = nn.ConvTranspose2d(read, image[1], 4, 2, 1)
            layers = [down, inside, nn.ReLU(True), up, nn.Tanh()]
        elif inside is None:
            up = nn.ConvTranspose2d(read, outer, 4, 2, 1, bias=bias)
            layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, normed(outer)]
        else:
            up = nn.ConvTranspose2d(read, outer, 4, 2, 1, bias=bias)
            layers = [nn.LeakyReLU(0.2, True), down, normed(inner), inside]
            layers += [nn.ReLU(True), up, normed(outer)]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x) if self.image else torch.cat([x, self.model(x)], 1)


class Published(nn.Module):
    def __init__(self, levels, n, norm, input_nc=3, output_nc=3, dropout=0.0):
        super().__init__()
        block = Block(8 * n, 8 * n, norm=norm)
        for _ in range(levels - 5):
            block = Block(8 * n, 8 * n, block, norm=norm, dropout=dropout)
        for outer in (4, 2, 1):
            block = Block(outer * n, 2 * outer * n, block, norm=norm)
        self.model = Block(None, n, block, (input_nc, output_nc), norm)

    def forward(self, x):
        return self.model(x)


def published(levels, n, norm, **kwargs) -> Published:
    return drawn(Published(levels, n, norm, **kwargs))


def drawn(net: nn.Module) -> nn.Module:
    """With weights, biases and running statistics that show in its images."""
    torch.manual_seed(0)
    init_weights(net, gain=0.1)
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if name.endswith("bias") or name.endswith("running_mean"):
            nn.init.normal_(value, 0, 0.2)
        if name.endswith("running_var"):
            nn.init.uniform_(value, 0.5, 2)
    return net.eval()


def images(*shape, seed=1) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


CASES = [("unet_256", 8, "batch"), ("unet_256", 4, "instance"), ("unet_256", 16, "instance")]
CASES += [("unet_128", 8, "instance"), ("unet_128", 12, "batch"), ("unet_128", 4, "batch")]


@pytest.mark.parametrize(("netG", "n", "norm"), CASES)
@torch.no_grad()
def test_it_equals_the_published_network(tmp_path, netG, n, norm):
    """Recognised from the bare state dict, with the same outputs."""
    theirs, side = published(LEVELS[netG], n, norm), 2 ** LEVELS[netG]
    torch.save(theirs.state_dict(), tmp_path / "latest_net_G.pth")
    ours, spec = load_generator(tmp_path / "latest_net_G.pth", "flag")
    assert spec == GeneratorSpec(netG, n, norm=norm) and spec.inferred
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for shape in ((1, 3, side, side), (2, 3, side, 2 * side)):
        x = images(*shape)
        expected = theirs(x)
        assert expected.std() > 0.05
        torch.testing.assert_close(ours.eval()(x), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_skip_is_the_activated_tensor():
    """What a block hands to the ReLU outside, of which no image tells."""
    theirs, outside = published(7, 4, "batch"), []
    theirs.model.model[1].register_forward_hook(lambda m, i, o: outside.append(o.clone()))
    ours = GeneratorSpec("unet_128", 4, norm="batch").build().eval()
    ours.load_state_dict(theirs.state_dict())
    ours.model.model[2].register_forward_hook(lambda m, i, o: outside.append(i[0].clone()))
    x = images(1, 3, 128, 128)
    theirs(x), ours(x)
    torch.testing.assert_close(*outside, rtol=0, atol=1e-5)
    skip = outside[0][:, :4]
    torch.testing.assert_close(skip, nn.functional.leaky_relu(ours.model.model[0](x), 0.2))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@torch.no_grad()
def test_files_as_they_are_found(tmp_path, norm):
    """From parallel training, of other channels, with statistics that instance norm never used."""
    theirs = published(7, 4, norm, input_nc=1, output_nc=2)
    state = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    if norm == "instance":
        for level in range(1, 6):
            place = "module.model.model.1.model" + ".3.model" * (level - 1)
            for norms in (2, 6):
                state[f"{place}.{norms}.running_mean"] = torch.randn(4)
                state[f"{place}.{norms}.running_var"] = torch.rand(4)
    torch.save(state, tmp_path / "net.pth")
    ours, spec = load_generator(tmp_path / "net.pth", "flag")
    assert spec == GeneratorSpec("unet_128", 4, None, 1, 2, norm)
    x = images(1, 1, 128, 128)
    torch.testing.assert_close(ours.eval()(x), theirs(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("netG", "layers"), [("unet_256", 3), ("unet_128", 2)])
def test_dropout_is_where_the_published_network_has_it(netG, layers):
    """After the norm of the levels of full width but the outermost and innermost of those."""
    ours = GeneratorSpec(netG, 2, norm="batch", dropout_rate=0.5).build()
    theirs = published(LEVELS[netG], 2, "batch", dropout=0.5)
    places = [
        {name: m.p for name, m in net.named_modules() if isinstance(m, nn.Dropout)}
        for net in (ours, theirs)
    ]
    assert places[0] == places[1] and len(places[0]) == layers
    assert [*ours.state_dict()] == [*GeneratorSpec(netG, 2, norm="batch").build().state_dict()]
    x = images(1, 3, 2 ** LEVELS[netG], 2 ** LEVELS[netG])
    with torch.no_grad():
        assert not torch.equal(ours.train()(x), ours(x))
        set_dropout(ours, 0.0)
        assert torch.equal(ours(x), ours(x))


@torch.no_grad()
def test_taps_are_those_of_the_description():
    theirs = published(8, 4, "batch")
    ours = GeneratorSpec("unet_256", 4, norm="batch").build().eval()
    ours.load_state_dict(theirs.state_dict())
    names = ("model.model.1.model.3.model.0", "model.model.1.model.3.model.3.model.3.model.0")
    names += ("model.model.1.model.3.model.3.model.4", "model.model.1.model.4")
    expected = {}
    for name in names:
        layer = theirs.get_submodule(name)
        # Clones: later layers work in place on some of them.
        layer.register_forward_hook(
            lambda m, i, o, name=name: expected.update({name: o.clone()}) and None
        )
    x = images(2, 3, 256, 256)
    theirs(x)
    y, taps = ours(x, taps=True)
    assert [tap.shape[1:] for tap in taps] == [
        (8, 64, 64),
        (32, 16, 16),
        (64, 16, 16),
        (16, 64, 64),
    ]
    for name, tap, again in zip(names, taps, ours.tap(x), strict=True):
        torch.testing.assert_close(tap, expected[name], rtol=0, atol=1e-5)
        assert torch.equal(tap, again)
    assert torch.equal(y, ours(x))


# --------------------------------------------------------------------------------------------------
# What is no such network


def test_what_is_not_recognised_says_why():
    state = published(7, 4, "batch").state_dict()
    other = published(6, 4, "batch").state_dict()
    odd = dict(state) | {"model.model.1.model.1.weight": torch.zeros(9, 4, 4, 4)}
    without = {k: v for k, v in state.items() if k != "model.model.3.weight"}
    for found, words in (
        (other, "halves images 6 times, not 7 or 8"),
        (odd, "no known U-Net has the channels 4_9_16_32_32_32_32"),
        (without, "it has no model.model.3.weight"),
    ):
        with pytest.raises(InputError, match=words):
            infer_spec(found)


def test_a_resnet_is_no_unet(tmp_path):
    spec = GeneratorSpec("resnet_9blocks", 4)
    assert infer_spec(spec.build().state_dict()) == spec
    save_network(GeneratorSpec("unet_128", 4).build(), tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"resnet_9blocks contradicts.*holds unet_128"):
        load_generator(tmp_path / "net.pth", "flag", {"netG": "resnet_9blocks"})


def test_sizes_that_do_not_fit_name_the_nearest_that_does():
    net = GeneratorSpec("unet_128", 2).build()
    for size, nearest in (((256, 96), "128x256"), ((300, 330), "384x256"), ((8, 8), "128x128")):
        with pytest.raises(InputError, match=rf"{size[1]}x{size[0]} .* 128: .*{nearest}"):
            net(torch.zeros(1, 3, *size))


# --------------------------------------------------------------------------------------------------
# Cost


@pytest.mark.parametrize(
    ("ngf", "params", "exact", "no_norm"),
    [
        (8, 852_307, 111_017_984, 332_988_416),
        (12, 1_915_899, 235_634_688, 706_756_608),
        (16, 3_404_451, 406_323_200, 1_218_707_456),
        (32, 13_608_259, 1_549_795_328, 4_648_337_408),
        (48, 30_611_427, 3_430_416_384, 10_288_889_856),
        (64, 54_413_955, 6_048_186_368, 18_140_364_800),
    ],
)
def test_published_integers(ngf, params, exact, no_norm, capsys):
    spec = GeneratorSpec("unet_256", ngf, norm="batch")
    costs = {c: config_cost(spec.config, spec.architecture, c) for c in CONVENTIONS}
    assert costs == {
        "exact": (exact, params),
        "no_norm": (no_norm, params),
        "published": (no_norm, params),
    }
    print_costs(["unet_256"], 256, ngf, "batch")
    printed = capsys.readouterr().out.replace(",", "")
    assert all(str(number) in printed for number in (params, exact, no_norm))


architectures = st.builds(
    UNetArchitecture,
    levels=st.sampled_from([7, 8]),
    input_nc=st.sampled_from([1, 3]),
    output_nc=st.sampled_from([1, 3]),
    norm=st.sampled_from(["instance", "batch", "none"]),
)


def on_meta(ngf, arch):
    name = {8: "unet_256", 7: "unet_128"}[arch.levels]
    with torch.device("meta"):
        return GeneratorSpec(name, ngf, None, arch.input_nc, arch.output_nc, arch.norm).build()


@settings(max_examples=10)
@given(st.integers(1, 40), architectures, st.sampled_from([(1, 1), (1, 2)]))
def test_cost_is_that_of_the_network(ngf, arch, times):
    """The exact one as PyTorch counts it; the others by hooks: transposed convolutions at their
    outputs, and an operation per element of an instance norm."""
    net, size = on_meta(ngf, arch).eval(), [t << arch.levels for t in times]
    config, counts = arch.config.uniform(ngf), {"no_norm": 0, "norm": 0}
    assert config_cost(config, arch)[1] == count_parameters(net)
    x = torch.empty(1, arch.input_nc, *size, device="meta")
    with FlopCounterMode(display=False) as counter:
        net(x)
    assert config_cost(config, arch, "exact", *size)[0] * 2 == counter.get_total_flops()

    def count(module, inputs, output):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            per_output = module.weight.numel() // module.out_channels
            counts["no_norm"] += per_output * output.numel()
        elif isinstance(module, nn.InstanceNorm2d):
            counts["norm"] += output.numel()

    for module in net.modules():
        module.register_forward_hook(count)
    net(x)
    assert config_cost(config, arch, "no_norm", *size)[0] == counts["no_norm"]
    assert config_cost(config, arch, "published", *size)[0] == sum(counts.values())


@given(st.data(), architectures, st.sampled_from(CONVENTIONS))
def test_arrays_equal_one_by_one(data, arch, convention):
    row = st.lists(st.integers(1, 96), min_size=arch.levels, max_size=arch.levels)
    genes = np.array(data.draw(st.lists(row, min_size=1, max_size=5)), dtype=np.int16)
    channels = arch.channels(genes)
    macs, params = arch.macs(channels, convention, 256, 512), arch.params(channels)
    assert macs.dtype == params.dtype == np.int64
    each = [config_cost(arch.config(tuple(map(int, r))), arch, convention, 256, 512) for r in genes]
    assert list(zip(macs.tolist(), params.tolist(), strict=True)) == each


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="published"):
        config_cost(UNet128Config.uniform(4), UNetArchitecture(7), "torchprofile")


# --------------------------------------------------------------------------------------------------
# Configurations and spaces of them


def test_a_configuration_has_a_gene_per_level():
    config = UNet256Config.parse("1_2_3_4_5_6_7_8")
    assert config.widths() == (1, 4, 12, 32, 40, 48, 56, 64)
    assert UNet256Config.of_widths(config.widths()) == config
    assert UNet256Config.of_widths((1, 4, 12, 33, 40, 48, 56, 64)) is None
    assert UNet128Config.uniform(4) == UNet128Config((4,) * 7)
    for bad, words in (("1_2_3", "3 numbers; a U-Net of 7"), ("0" + "_1" * 6, "positive")):
        with pytest.raises(InputError, match=words):
            UNet128Config.parse(bad)


def test_a_space_counts_what_its_configurations_cost():
    arch = UNetArchitecture(7, norm="instance")
    space = SearchSpace("4,2;4,2;4;4,2;4;4;4,3", arch, height=128, width=256)
    assert space.size == 16 and space.largest == UNet128Config.uniform(4)
    for number in range(space.size):
        config = space.config(number)
        assert space.number(config) == number and isinstance(config, UNet128Config)
        assert space.cost(config) == config_cost(config, arch, "published", 128, 256)
        assert space.macs[number] == space.cost(config)[0]
    with pytest.raises(InputError, match=r"level2 3 is none of 4, 2"):
        space.number(UNet128Config.parse("4_3_4_4_4_4_4"))


def test_named_spaces_of_one_list_serve_any_number_of_genes():
    assert SearchSpace("channels-32", UNetArchitecture(7)).shape == (3,) * 7
    with pytest.raises(InputError, match=r"channels-48 is for networks of 8 genes, not of 7"):
        SearchSpace("channels-48", UNetArchitecture(7))
    with pytest.raises(InputError, match=r"8 lists of widths; .* or 7: level1"):
        SearchSpace(";".join(["8"] * 7 + ["4"]), UNetArchitecture(7))


# --------------------------------------------------------------------------------------------------
# Among the other generators


def test_it_is_no_supernet():
    assert as_supernet(GeneratorSpec("resnet_9blocks", 4, inferred=True)) is None


@pytest.mark.parametrize("norm", ["batch", "instance"])
@torch.inference_mode()
def test_faster_forms_compute_the_same(norm):
    net, x = published(7, 4, norm).double(), images(2, 3, 128, 256).double()
    ours = GeneratorSpec("unet_128", 4, norm=norm).build().double().eval()
    ours.load_state_dict(net.state_dict())
    for form in (rewrite(ours), rewrite(ours, written_norms=True), FusedGenerator(ours)):
        assert (form(x) - ours(x)).abs().max() < 1e-9
    assert (ours(x) - ours(x.flip(0))).abs().max() > 1e-2


def shallow(norm: str) -> nn.Module:
    """Three levels, of which the innermost is as wide as the one around it: compilers and exporters
    take their time level by level. tests/cli export all seven."""
    net = GeneratorSpec("unet_128", 2, norm=norm).build()
    net.model, net.multiple = nested(UNetBlock, (4, 8, 8), 3, 3, norm, 0.0), 8
    return drawn(net)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_exported_files_compute_the_same(tmp_path, norm):
    net = shallow(norm)
    for export, name in ((export_onnx, "net.onnx"), (export_pt2, "net.pt2")):
        assert export(net, tmp_path / name).max_difference < TOLERANCE / 10
    x = images(1, 3, 24, 8)
    with torch.no_grad():
        assert net(x).std() > 0.05
        assert (OnnxGenerator(tmp_path / "net.onnx")(x) - net(x)).abs().max() < 1e-4
