"""The SPADE generators: published figures, keys, a second way to compute them, and subnets."""

import itertools
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deploy.onnx import OnnxGenerator, export_onnx
from errors import InputError
from models.calibration import calibrate
from models.config import ConfigSet
from models.cost import config_cost
from models.generators import GeneratorSpec, count_parameters, infer_spec
from models.kinds import KINDS
from models.layers import init_weights
from models.spade import SpadeConfig, SpadeForm, parse_norm_G, write_norm_G
from models.spectral import SpectralConv2d, without_spectral
from models.weights import load_generator, load_supernet, save_network
from subnets.space import SearchSpace

CITY, COCO = (36, "more", 256, 512), (184, "normal", 256, 256)


def spec_of(netG, ngf=None, config=None, form=SpadeForm(), input_nc=5, norm="batch", **how):
    return GeneratorSpec(netG, ngf, config, input_nc, 3, norm, form=form, **how)


def label_map(n=2, height=64, width=128, labels=5, seed=0):
    """One-hot, as a network gets it."""
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.randint(labels, (n, height, width), generator=draw)
    return F.one_hot(numbers, labels).permute(0, 3, 1, 2).float()


def filled(net, seed=0):
    """With weights of a usual size, and running statistics that are not those of a new network."""
    torch.manual_seed(seed)
    init_weights(net, "xavier", 1.0)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


# --------------------------------------------------------------------------------------------------
# Published figures

SPADE, MOBILE, SUB = "spade", "mobile_spade", "sub_mobile_spade"
ROWS = [
    (SPADE, 64, None, CITY, 93_048_003, 281_276_612_608, 281_356_632_064),
    (MOBILE, 64, None, CITY, 70_680_771, 118_603_104_256, 118_817_161_216),
    (MOBILE, 48, None, CITY, 39_975_315, 71_056_281_600, 71_216_824_320),
    (SUB, 48, "32_40_40_32_40_24_32_24", CITY, 21_002_811, 31_114_369_024, 31_206_027_264),
    (SUB, 48, "32_32_48_32_32_32_32_24", CITY, 20_425_019, 31_608_315_904, 31_701_762_048),
    (SUB, 64, "32_32_32_48_32_24_24_32", CITY, 20_174_275, 31_155_085_312, 31_251_300_352),
    (SUB, 64, "32_32_32_32_32_24_24_24", CITY, 17_647_899, 26_027_876_352, 26_110_263_296),
    (SPADE, 64, None, COCO, 97_480_899, 191_140_069_376, 191_180_570_624),
    (MOBILE, 64, None, COCO, 75_113_667, 108_797_788_160, 108_905_431_040),
    (SUB, 64, "40_32_32_40_32_40_24_24", COCO, 25_985_755, 35_415_359_488, 35_460_390_912),
    (SUB, 64, "32_32_32_32_32_24_24_24", COCO, 19_672_539, 31_098_617_856, 31_140_118_528),
    (SUB, 64, "24_24_24_24_24_24_24_24", COCO, 11_873_547, 28_522_967_040, 28_563_333_120),
]


@pytest.mark.parametrize("netG, ngf, config, images, params, exact, published", ROWS)
def test_published_figures(netG, ngf, config, images, params, exact, published):
    input_nc, upsampling, height, width = images
    spec = spec_of(netG, ngf, config, SpadeForm(upsampling), input_nc)
    size = spec.config, spec.architecture
    assert config_cost(*size, "published", height, width) == (published, params)
    assert config_cost(*size, "exact", height, width) == (exact, params)
    with torch.device("meta"):
        assert count_parameters(spec.build()) == params


@pytest.mark.parametrize("netG", [n for n, kind in KINDS.items() if kind.form is SpadeForm])
@pytest.mark.parametrize("upsampling", ["normal", "more", "most"])
@pytest.mark.parametrize("separable_norm", ["instance", "batch", "none"])
def test_costs_are_those_of_the_built_network(netG, upsampling, separable_norm):
    fixed = not (KINDS[netG].elastic or KINDS[netG].by_config)
    if not fixed and (upsampling == "most" or separable_norm != "instance"):
        with pytest.raises(InputError, match=r"supernets and their subnets have"):
            spec_of(netG, 4, "4_3_2_1_4_3_2_1", SpadeForm(upsampling, separable_norm)).build()
        return
    config = "4_3_2_1_4_3_2_1" if KINDS[netG].by_config else None
    spec = spec_of(netG, 4, config, SpadeForm(upsampling, separable_norm))
    net, counted = spec.build().eval(), []

    def count(module, _, output):
        weight = getattr(module, "weight", None)
        if isinstance(module, torch.nn.Conv2d):
            counted.append(output[0, 0].numel() * weight.numel())

    for module in net.modules():
        module.register_forward_hook(count)
    side = 2 * spec.multiple
    macs, params = config_cost(spec.config, spec.architecture, "exact", side, 2 * side)
    if KINDS[netG].elastic:
        counted.append(macs)
    else:
        net(torch.zeros(1, 5, side, 2 * side))
    assert params == count_parameters(net)
    assert macs == sum(counted)


def test_costs_of_arrays_are_those_of_each():
    arch = spec_of("super_mobile_spade", 64, input_nc=36).architecture
    genes = np.random.default_rng(0).integers(1, 65, (20, 8))
    channels = arch.channels(genes)
    for convention in ("published", "exact", "no_norm"):
        together = arch.macs(channels, convention, 256, 512)
        each = [
            config_cost(SpadeConfig(tuple(map(int, g))), arch, convention, 256, 512) for g in genes
        ]
        assert [
            (int(m), int(p)) for m, p in zip(together, arch.params(channels), strict=True)
        ] == each
    no_norm, exact = (arch.macs(channels, c, 256, 512) for c in ("no_norm", "exact"))
    assert (no_norm > exact).all() and (no_norm < together + 10**12).all()


def test_spaces_have_their_published_sizes_and_belong_to_their_family():
    arch = spec_of("super_mobile_spade", 64, input_nc=36).architecture
    sizes = {"channels-48": 15_552, "channels-64": 128_000, "channels-64-coco": 390_625}
    for name, size in {**sizes, "channels-64_2": 5_764_801}.items():
        space = SearchSpace(name, arch, "published", 256, 512)
        assert space.size == size and space.name == name
    space = SearchSpace("channels-64", arch, "published", 256, 512)
    assert space.macs.min() == 26_110_263_296 == space.cost(space.smallest)[0]
    # The name that both families have means the lists of each.
    resnets = ConfigSet.parse("channels-48").choices
    assert ConfigSet.parse("channels-48", SpadeConfig).choices != resnets


def test_grids_are_those_of_the_upsamplings():
    for upsampling, scales in (
        ("normal", (32, 16, 16, 8, 4, 2, 1)),
        ("more", (64, 32, 16, 8, 4, 2, 1)),
        ("most", (128, 64, 32, 16, 8, 4, 2, 1)),
    ):
        net = spec_of("mobile_spade", 2, form=SpadeForm(upsampling)).build().eval()
        seen, side = [], net.multiple
        for name in net.names:
            getattr(net, name).register_forward_hook(
                lambda _, args, __, seen=seen: seen.append(args[0].shape[2:])
            )
        assert net(label_map(1, side, 2 * side)).shape == (1, 3, side, 2 * side)
        assert [(side // s, 2 * side // s) for s in scales] == [tuple(size) for size in seen]
        with pytest.raises(InputError, match=f"multiples of {side}: the nearest"):
            net(label_map(1, side + 4, side))


# --------------------------------------------------------------------------------------------------
# Keys

SHAPES = {
    "fc.weight": (1024, 36, 3, 3),
    "fc.bias": (1024,),
    "head_0.conv_0.weight": (1024, 1024, 3, 3),
    "G_middle_1.conv_1.bias": (1024,),
    "head_0.norm_0.param_free_norm.running_mean": (1024,),
    "head_0.norm_0.param_free_norm.running_var": (1024,),
    "head_0.norm_0.param_free_norm.num_batches_tracked": (),
    "up_0.norm_s.mlp_shared.0.weight": (128, 36, 3, 3),
    "up_0.conv_0.weight": (512, 1024, 3, 3),
    "up_0.conv_1.weight": (512, 512, 3, 3),
    "up_0.conv_s.weight": (512, 1024, 1, 1),
    "up_1.conv_s.weight": (256, 512, 1, 1),
    "up_3.conv_1.weight": (64, 64, 3, 3),
    "up_3.norm_1.param_free_norm.running_mean": (64,),
    "conv_img.weight": (3, 64, 3, 3),
    "conv_img.bias": (3,),
}
DENSE = {"up_0.norm_s.mlp_beta.weight": (1024, 128, 3, 3), "up_0.norm_s.mlp_beta.bias": (1024,)}
SEPARABLE = {
    "up_0.norm_1.mlp_gamma.conv.0.weight": (128, 1, 3, 3),
    "up_0.norm_1.mlp_gamma.conv.0.bias": (128,),
    "up_0.norm_1.mlp_gamma.conv.2.weight": (512, 128, 1, 1),
    "up_0.norm_1.mlp_gamma.conv.2.bias": (512,),
}


@pytest.mark.parametrize("netG", ["spade", "mobile_spade", "super_mobile_spade"])
def test_keys_and_shapes_are_the_published_ones(netG):
    with torch.device("meta"):
        state = spec_of(netG, 64, input_nc=36).build().state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert (SHAPES | (SEPARABLE if KINDS[netG].separable else DENSE)).items() <= shapes.items()
    assert "up_0.conv_s.bias" not in shapes and "head_0.conv_s.weight" not in shapes
    # Seven blocks: convolutions, and norms with three convolutions each, of which the separable
    # ones are two.
    norms, of_norm = 2 * 3 + 3 * 4, 3 + 2 + 2 * (4 if KINDS[netG].separable else 2)
    assert len(shapes) == 4 + 4 * 7 + 4 + norms * of_norm


def test_a_subnets_statistics_keep_the_width_of_its_supernet():
    spec = spec_of("super_mobile_spade", 6)
    config = SpadeConfig((4, 5, 4, 3, 6, 2, 1, 2))
    small = spec.kind.extract(spec.build(), config).state_dict()
    assert small["head_0.norm_0.param_free_norm.running_mean"].shape == (16 * 6,)
    assert small["up_2.norm_1.param_free_norm.running_var"].shape == (2 * 6,)
    assert small["up_2.norm_s.param_free_norm.running_var"].shape == (4 * 6,)
    assert small["head_0.conv_0.weight"].shape == (16 * 5, 16 * 4, 3, 3)
    assert infer_spec(small) == spec.subnet(config) == spec_of("sub_mobile_spade", 6, str(config))
    # Without a supernet they are as wide as its channels.
    alone = spec_of("sub_mobile_spade", None, str(config))
    assert infer_spec(alone.build().state_dict()) == alone
    with pytest.raises(InputError, match=r"wider than the supernet \(ngf 5\): up0=6"):
        spec_of("sub_mobile_spade", 5, str(config)).build()


@pytest.mark.parametrize("netG", [n for n, k in KINDS.items() if k.form is SpadeForm and k.infer])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("form", [SpadeForm(), SpadeForm("most", "batch", True)])
def test_networks_are_recognised_by_bare_state_dicts(netG, norm, form):
    by_config = KINDS[netG].by_config
    if by_config or not KINDS[netG].separable:
        form = SpadeForm(form.num_upsampling_layers, "instance", form.spectral)
    spec = spec_of(netG, None if by_config else 4, "4_3_4_2_3_4_3_1" if by_config else None)
    form = SpadeForm() if by_config else form
    spec = GeneratorSpec(netG, spec.ngf, spec.config_str, 7, 3, norm, form=form)
    state = spec.build().state_dict()
    assert infer_spec(state) == spec and infer_spec(state).inferred
    if not by_config:
        del state["up_2.conv_0.weight_orig" if form.spectral else "up_2.conv_0.weight"]
        with pytest.raises(InputError, match=r"not a SPADE generator: it has no up_2\.conv_0"):
            infer_spec(state)


def test_released_files_load_with_what_shapes_do_not_say(tmp_path):
    spec = spec_of("mobile_spade", 4)
    state = spec.build().state_dict()
    torch.save(dict(state), tmp_path / "net_G.pth")
    net, found = load_generator(tmp_path / "net_G.pth", "--restore_G_path")
    assert found == spec and net.multiple == 64
    wanted = {"num_upsampling_layers": "normal", "norm_G": "spadebatch3x3", "norm": "batch"}
    net, found = load_generator(tmp_path / "net_G.pth", "--restore_G_path", wanted)
    assert found.form == SpadeForm("normal", sync=False) and net.multiple == 32
    net, found = load_supernet(tmp_path / "net_G.pth", "-", {"num_upsampling_layers": "normal"})
    assert found.netG == "super_mobile_spade" and found.multiple == 32
    for wrong, word in (
        ({"num_upsampling_layers": "most"}, "`num_upsampling_layers` most contradicts.*more"),
        ({"norm_G": "spadeinstance3x3"}, "`norm_G` spadeinstance3x3.*spadesyncbatch3x3"),
        ({"norm_G": "spectralspadebatch3x3"}, "contradicts"),
        ({"separable_conv_norm": "batch"}, "`separable_conv_norm` batch"),
    ):
        with pytest.raises(InputError, match=word):
            load_generator(tmp_path / "net_G.pth", "-", wrong)
    # A file of ours says it.
    save_network(net, tmp_path / "own.pth", found)
    again = load_generator(tmp_path / "own.pth", "-")[1]
    assert again == found and again.form.num_upsampling_layers == "normal"
    with pytest.raises(InputError, match="`num_upsampling_layers` more contradicts"):
        load_generator(tmp_path / "own.pth", "-", {"num_upsampling_layers": "more"})
    resnet = GeneratorSpec("resnet_6blocks", 2)
    save_network(resnet.build(), tmp_path / "resnet.pth", resnet)
    with pytest.raises(InputError, match=r"`norm_G` describes SPADE generators, and .* resnet_6"):
        load_generator(tmp_path / "resnet.pth", "-", {"norm_G": "spadebatch3x3"})


def test_a_form_of_a_newer_version_is_refused():
    values = spec_of("spade", 4).to_dict()
    assert GeneratorSpec.from_dict(values) == spec_of("spade", 4)
    values["form"]["latent"] = 256
    with pytest.raises(InputError, match="latent, which this version does not know"):
        GeneratorSpec.from_dict(values)
    assert "form" not in GeneratorSpec("resnet_9blocks", 4).to_dict()
    values["form"] = {"num_upsampling_layers": "all"}
    with pytest.raises(InputError, match="`num_upsampling_layers` 'all'"):
        GeneratorSpec.from_dict(values)


@pytest.mark.parametrize(
    "text, norm, form",
    [
        ("spadesyncbatch3x3", "batch", SpadeForm()),
        ("spectralspadesyncbatch3x3", "batch", SpadeForm(spectral=True)),
        ("spadebatch3x3", "batch", SpadeForm(sync=False)),
        ("spectralspadeinstance3x3", "instance", SpadeForm(spectral=True)),
    ],
)
def test_the_grammar_of_norms(text, norm, form):
    found = parse_norm_G(text)
    assert (found.pop("norm"), SpadeForm(**found)) == (norm, form)
    assert write_norm_G(norm, form) == text


@pytest.mark.parametrize("text", ["", "batch", "spadebatch", "spadelayer3x3", "spadebatch5x5"])
def test_other_norms_are_refused(text):
    with pytest.raises(InputError, match=r"is not \[spectral\]spade.*spectralspadesyncbatch3x3"):
        parse_norm_G(text)


# --------------------------------------------------------------------------------------------------
# A second way to compute them


def plain(state, x, upsampling):
    """The network as a list of formulas, from its state dict alone."""

    def conv(name, y, **how):
        weight = state[f"{name}.weight"]
        return F.conv2d(y, weight, state.get(f"{name}.bias"), padding=weight.shape[2] // 2, **how)

    def modulation(name, y):
        if f"{name}.weight" in state:
            return conv(name, y)
        y = conv(f"{name}.conv.0", y, groups=y.shape[1])
        mean, var = y.mean((2, 3), keepdim=True), y.var((2, 3), keepdim=True, correction=0)
        return conv(f"{name}.conv.2", (y - mean) / (var + 1e-5).sqrt())

    def norm(name, y):
        labels = F.interpolate(x, size=y.shape[2:], mode="nearest")
        seen = conv(f"{name}.mlp_shared.0", labels).relu()
        mean, var = (
            state[f"{name}.param_free_norm.running_{v}"][: y.shape[1]].view(1, -1, 1, 1)
            for v in ("mean", "var")
        )
        y = (y - mean) / (var + 1e-5).sqrt()
        return y * (1 + modulation(f"{name}.mlp_gamma", seen)) + modulation(
            f"{name}.mlp_beta", seen
        )

    def block(name, y):
        out = conv(f"{name}.conv_0", F.leaky_relu(norm(f"{name}.norm_0", y), 0.2))
        out = conv(f"{name}.conv_1", F.leaky_relu(norm(f"{name}.norm_1", out), 0.2))
        around = y
        if f"{name}.conv_s.weight" in state:
            around = conv(f"{name}.conv_s", norm(f"{name}.norm_s", y))
        return around + out

    def up(y):
        return y.repeat_interleave(2, 2).repeat_interleave(2, 3)

    times = {"normal": 5, "more": 6, "most": 7}[upsampling]
    height, width = (side // 2**times for side in x.shape[2:])
    y = conv("fc", F.interpolate(x, size=(height, width), mode="nearest"))
    y = up(block("head_0", y))
    y = block("G_middle_0", y)
    y = block("G_middle_1", y if times == 5 else up(y))
    for name in ("up_0", "up_1", "up_2", "up_3", *(["up_4"] if times == 7 else [])):
        y = block(name, up(y))
    return conv("conv_img", F.leaky_relu(y, 0.2)).tanh()


@pytest.mark.parametrize(
    ("netG", "upsampling", "config"),
    [
        *itertools.product(("spade", "mobile_spade"), ("normal", "more", "most"), (None,)),
        ("sub_mobile_spade", "more", "3_2_4_1_2_3_1_4"),
    ],
)
def test_outputs_are_those_of_the_formulas(netG, upsampling, config):
    net = filled(spec_of(netG, 4, config, SpadeForm(upsampling)).build())
    x = label_map(1, net.multiple, 2 * net.multiple)
    with torch.no_grad():
        found, wanted = net(x), plain(net.state_dict(), x, upsampling)
    assert wanted.std() > 0.05
    assert (found - wanted).abs().max() < 1e-4


def test_taps_are_the_outputs_of_three_blocks():
    net = filled(spec_of("spade", 2).build())
    outputs = {}
    for name in ("head_0", "G_middle_1", "up_1"):
        getattr(net, name).register_forward_hook(
            lambda _, __, output, name=name: outputs.__setitem__(name, output)
        )
    x = label_map()
    image, taps = net(x, taps=True)
    assert torch.equal(image, net(x)) and all(map(torch.equal, taps, outputs.values()))
    assert all(map(torch.equal, net.tap(x), taps))
    widths = KINDS["spade"].taps.widths(SpadeConfig.uniform(2))
    assert [tap.shape[1] for tap in taps] == list(widths) == [32, 32, 8]


# --------------------------------------------------------------------------------------------------
# The supernet

CONFIGS = ["6_6_6_6_6_6_6_6", "4_5_6_3_2_6_1_5", "1_1_1_1_1_1_1_1", "3_6_6_6_6_6_6_6"]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_the_supernet_equals_the_subnet_bit_for_bit(config, norm):
    spec = spec_of("super_mobile_spade", 6, norm=norm)
    net, config, x = filled(spec.build()), spec.parse(config), label_map()
    subnet = spec.kind.extract(net, config).eval()
    with torch.no_grad():
        image, taps = net(x, config, taps=True)
        assert torch.equal(image, subnet(x))
        assert all(map(torch.equal, taps, subnet.tap(x)))
        assert image.std() > 0.01
    assert [tap.shape[1] for tap in taps] == list(spec.kind.taps.widths(config))


def test_the_full_width_is_the_mobile_network():
    wide, x = filled(spec_of("super_mobile_spade", 3).build()), label_map()
    mobile = spec_of("mobile_spade", 3).build().eval()
    mobile.load_state_dict(wide.state_dict())
    with torch.no_grad():
        assert torch.equal(wide(x), mobile(x)) and torch.equal(wide.tap(x)[1], mobile.tap(x)[1])


def test_training_moves_the_statistics_of_the_channels_that_run():
    spec = spec_of("super_mobile_spade", 4)
    net, config = filled(spec.build()).train(), spec.parse("2_2_2_2_2_2_2_2")
    before = net.head_0.norm_0.param_free_norm.running_mean.clone()
    net(label_map(), config)
    moved = net.head_0.norm_0.param_free_norm.running_mean != before
    assert moved[:32].all() and not moved[32:].any()


def test_a_subnet_is_calibrated():
    """Then its batch norms normalise: by the mean over the batches of each one's statistics."""
    spec = spec_of("super_mobile_spade", 4)
    net, config = filled(spec.build()), spec.parse("4_2_3_4_2_3_4_2")
    assert spec.needs_statistics(config)
    subnet = calibrate(spec.kind.extract(net, config), [label_map(seed=1), label_map(seed=2)])
    norm, means = subnet.head_0.norm_0.param_free_norm, []
    hook = norm.register_forward_hook(lambda _, args, __: means.append(args[0].mean((0, 2, 3))))
    with torch.no_grad():
        subnet(label_map(seed=1)), subnet(label_map(seed=2))
    hook.remove()
    assert torch.allclose(norm.running_mean[:64], (means[0] + means[1]) / 2, atol=1e-6)
    assert norm.momentum == 0.1


# --------------------------------------------------------------------------------------------------
# Spectral norm


def test_a_spectral_network_has_keys_of_its_own_and_loses_them():
    form = SpadeForm(spectral=True)
    spec = spec_of("spade", 2, form=form)
    net, x = filled(spec.build()), label_map()
    net.train()(x)
    net.eval()
    state = net.state_dict()
    assert {f"up_0.conv_s.weight_{v}" for v in ("orig", "u", "v")} <= state.keys()
    assert state["up_0.conv_s.weight_u"].shape == (16,)
    assert state["up_0.conv_0.weight_v"].shape == (32 * 9,)
    assert "fc.weight" in state and "up_0.norm_0.mlp_shared.0.weight" in state
    plain_net = spec_of("spade", 2).build().eval()
    plain_net.load_state_dict(without_spectral(state))
    with torch.no_grad():
        assert torch.equal(net(x), plain_net(x))


def test_the_largest_singular_value_becomes_one():
    torch.manual_seed(0)
    conv, reference = SpectralConv2d(5, 7, 3), torch.nn.Conv2d(5, 7, 3)
    with torch.no_grad():
        reference.weight.copy_(conv.weight_orig)
        reference.bias.copy_(conv.bias)
    reference = torch.nn.utils.spectral_norm(reference)
    with torch.no_grad():
        reference.weight_u.copy_(conv.weight_u)
        reference.weight_v.copy_(conv.weight_v)
    assert list(reference.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
    assert sorted(conv.state_dict()) == sorted(reference.state_dict())
    for _ in range(60):
        x = torch.randn(2, 5, 6, 6)
        found, wanted = conv(x), reference(x)
        assert torch.allclose(found, wanted, atol=1e-6)
    for net in (conv, reference):
        net(x).square().sum().backward()
    assert torch.allclose(conv.weight_orig.grad, reference.weight_orig.grad, rtol=1e-4, atol=1e-5)
    conv.eval()
    largest = torch.linalg.svdvals(conv.normalised().detach().flatten(1))[0]
    assert abs(largest - 1) < 1e-3 and torch.equal(conv(x), conv(x))


def test_supernets_have_no_spectral_norm():
    with pytest.raises(InputError, match=re.escape("remove_spectral_norm.py")):
        spec_of("super_mobile_spade", 4, form=SpadeForm(spectral=True)).build()


# --------------------------------------------------------------------------------------------------
# Export


def test_a_subnet_becomes_an_onnx_file_for_images_of_its_multiples(tmp_path):
    pytest.importorskip("onnxruntime")
    spec = spec_of("sub_mobile_spade", 4, "2_3_4_1_2_3_4_2", SpadeForm("normal"))
    net = filled(spec.build())
    exported = export_onnx(net, tmp_path / "net.onnx")
    assert exported.max_difference < 1e-4
    x = label_map(3, 96, 64)
    with torch.no_grad():
        assert (OnnxGenerator(tmp_path / "net.onnx")(x) - net(x)).abs().max() < 1e-4
