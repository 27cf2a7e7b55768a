"""The MUNIT generators: published figures, keys, a second way to compute them, and subnets."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from errors import InputError
from models.cost import config_cost
from models.generators import GeneratorSpec, as_supernet, count_parameters, infer_spec
from models.kinds import KINDS, supernet_beside
from models.layers import SampleNorm, init_weights
from models.munit import MunitConfig, MunitForm, adapted, factors_of, without_style_encoder
from models.styles import (
    InOneStyle,
    InRandomStyles,
    InStylesOf,
    chosen,
    in_one_style,
    random_styles,
)
from models.weights import load_generator, load_supernet, save_network
from subnets.space import SearchSpace

MIXED = "3_2_4_1_2_3_1_4_2_3"
NAMES = [name for name, kind in KINDS.items() if kind.styled]
BARE = MunitForm(style_encoder=False)


def spec_of(netG, ngf=None, config=None, form=MunitForm(), **how):
    return GeneratorSpec(netG, ngf, config, form=form, **how)


def small_spec(netG, **how):
    by_config = KINDS[netG].by_config
    return spec_of(netG, None if by_config else 4, MIXED if by_config else None, **how)


def filled(net, seed=0):
    """With weights of a usual size."""
    torch.manual_seed(seed)
    init_weights(net, "kaiming")
    for name, value in net.named_parameters():
        if name.endswith((".bias", ".beta")):
            torch.nn.init.normal_(value, 0, 0.1)
    return net.eval()


def images(n=2, height=32, width=48, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, height, width, generator=draw) * 2 - 1


def styles(n=2, seed=0):
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------------
# Published figures

RELEASED = "16_16_16_24_56_16_40_40_32_24"
SMALLEST = "_".join(["16"] * 10)
ROWS = [
    ("munit", 64, None, 15_026_187, 77_303_189_762, 71_049_480_194, 77_280_053_248),
    ("super_mobile_munit", 64, None, 5_705_483, 17_668_575_490, 11_414_865_922, 17_616_078_848),
    ("sub_mobile_munit", None, RELEASED, 1_100_347, 2_625_309_250, 2_118_846_466, 2_602_304_000),
    ("sub_mobile_munit", None, SMALLEST, 634_187, 1_548_290_626, 1_041_827_842, 1_535_115_776),
]


@pytest.mark.parametrize("netG, ngf, config, params, published, without, convs", ROWS)
def test_published_figures(netG, ngf, config, params, published, without, convs):
    spec = spec_of(netG, ngf, config)
    size = spec.config, spec.architecture
    assert config_cost(*size) == (published, params)
    assert config_cost(*size, "exact") == (convs, params)
    bare = spec_of(netG, ngf, config, BARE)
    assert config_cost(bare.config, bare.architecture)[0] == without
    with torch.device("meta"):
        assert count_parameters(spec.build()) == params


def test_parameters_of_the_style_encoders():
    for row, style in (("munit", 2_764_936), ("sub_mobile_munit", 175_144)):
        netG, ngf, config, params, *_ = next(r for r in ROWS if r[0] == row)
        bare = spec_of(netG, ngf, config, BARE)
        assert config_cost(bare.config, bare.architecture)[1] == params - style


def test_what_the_published_figure_adds_to_the_convolutions():
    """Instance norms, factors of layer norms and their two means, linear layers, and the pool."""
    spec = spec_of("munit", 64)
    published, convs = (
        config_cost(spec.config, spec.architecture, c)[0] for c in ("published", "exact")
    )
    assert published - convs == 15_728_640 + 6_291_456 + 2 + 1_116_160 + 256
    no_norm = config_cost(spec.config, spec.architecture, "no_norm")[0]
    assert published - no_norm == 15_728_640 + 6_291_456 + 2


@pytest.mark.parametrize("netG", NAMES)
@pytest.mark.parametrize("form", [MunitForm(5, 7), MunitForm(style_encoder=False)])
def test_costs_are_those_of_the_built_network(netG, form):
    spec = small_spec(netG, form=form, input_nc=2, output_nc=4)
    net, counted = spec.build().eval(), []

    def count(module, _, output):
        if isinstance(module, torch.nn.Conv2d):
            counted.append(output[0, 0].numel() * module.weight.numel())

    for module in net.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        style = net.style(torch.zeros(1, 2, 32, 48)) if form.style_encoder else torch.zeros(1, 8)
        net(torch.zeros(1, 2, 32, 48), style=style)
    macs, params = config_cost(spec.config, spec.architecture, "exact", 32, 48)
    assert (macs, params) == (sum(counted), count_parameters(net))


def test_costs_of_arrays_are_those_of_each():
    arch = spec_of("super_mobile_munit", 64).architecture
    genes = np.random.default_rng(0).integers(1, 65, (20, 10))
    channels = arch.channels(genes)
    for convention in ("published", "exact", "no_norm"):
        together = arch.macs(channels, convention, 256, 512)
        each = [
            config_cost(MunitConfig(tuple(map(int, g))), arch, convention, 256, 512) for g in genes
        ]
        found = zip(together, arch.params(channels), strict=True)
        assert [(int(m), int(p)) for m, p in found] == each


def test_the_published_space():
    arch = spec_of("super_mobile_munit", 64).architecture
    space = SearchSpace("channels-64", arch)
    assert space.size == 282_475_249 and space.name == "channels-64"
    assert space.cost(space.largest)[0] == 17_668_575_490
    assert space.cost(space.smallest)[0] == 1_548_290_626
    assert space.holds(MunitConfig.parse(RELEASED))


# --------------------------------------------------------------------------------------------------
# Keys

SHAPES = {
    "enc_style.model.0.conv.weight": (64, 3, 7, 7),
    "enc_style.model.1.conv.weight": (128, 64, 4, 4),
    "enc_style.model.4.conv.bias": (256,),
    "enc_style.model.6.weight": (8, 256, 1, 1),
    "enc_style.model.6.bias": (8,),
    "enc_content.model.0.conv.weight": (64, 3, 7, 7),
    "enc_content.model.1.conv.weight": (128, 64, 4, 4),
    "enc_content.model.2.conv.bias": (256,),
    "dec.model.2.norm.gamma": (128,),
    "dec.model.2.norm.beta": (128,),
    "dec.model.4.norm.gamma": (64,),
    "dec.model.5.conv.weight": (3, 64, 7, 7),
    "dec.model.5.conv.bias": (3,),
    "mlp.model.0.fc.weight": (256, 8),
    "mlp.model.1.fc.weight": (256, 256),
    "mlp.model.2.fc.weight": (4096, 256),
    "mlp.model.2.fc.bias": (4096,),
}
DENSE = {
    "enc_content.model.3.model.0.model.0.conv.weight": (256, 256, 3, 3),
    "enc_content.model.3.model.3.model.1.conv.bias": (256,),
    "dec.model.0.model.3.model.1.conv.weight": (256, 256, 3, 3),
    "dec.model.2.conv.weight": (128, 256, 5, 5),
    "dec.model.4.conv.weight": (64, 128, 5, 5),
}
SEPARABLE = {
    "enc_content.model.3.model.0.model.0.conv.conv.0.weight": (256, 1, 3, 3),
    "enc_content.model.3.model.0.model.0.conv.conv.0.bias": (256,),
    "dec.model.0.model.3.model.1.conv.conv.2.weight": (256, 256, 1, 1),
    "dec.model.2.conv.conv.0.weight": (256, 1, 5, 5),
    "dec.model.2.conv.conv.2.weight": (128, 256, 1, 1),
    "dec.model.4.conv.conv.2.bias": (64,),
}


@pytest.mark.parametrize("netG", ["munit", "super_munit", "mobile_munit", "super_mobile_munit"])
def test_keys_and_shapes_are_the_published_ones(netG):
    separable = KINDS[netG].separable
    with torch.device("meta"):
        state = spec_of(netG, 64).build().state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert (SHAPES | (SEPARABLE if separable else DENSE)).items() <= shapes.items()
    # Weight and bias of 5 + 1 + 3 + 1 + 3 dense layers; of 16 + 2 others, which are one or two; and
    # two layer norms.
    assert len(shapes) == 2 * 13 + 2 * 18 * (2 if separable else 1) + 4


def test_shapes_of_the_released_subnet():
    with torch.device("meta"):
        state = spec_of("sub_mobile_munit", config=RELEASED).build().state_dict()
    # 2 x four blocks of 160 inner channels and a trunk of 96.
    assert state["mlp.model.2.fc.weight"].shape == (2 * 4 * (160 + 96), 256)
    assert state["enc_content.model.3.model.1.model.0.conv.conv.2.weight"].shape == (224, 96, 1, 1)
    assert state["enc_content.model.3.model.2.model.0.conv.conv.2.weight"].shape == (64, 96, 1, 1)
    assert state["dec.model.2.conv.conv.2.weight"].shape == (64, 96, 1, 1)
    assert state["dec.model.4.conv.conv.2.weight"].shape == (24, 64, 1, 1)
    assert state["enc_style.model.4.conv.weight"].shape == (64, 64, 4, 4)


@pytest.mark.parametrize("netG", [name for name in NAMES if KINDS[name].infer])
@pytest.mark.parametrize("form", [MunitForm(), MunitForm(5, 9)])
def test_networks_are_recognised_by_bare_state_dicts(netG, form):
    spec = small_spec(netG, form=form, input_nc=1, output_nc=2)
    state = spec.build().state_dict()
    assert infer_spec(state) == spec and infer_spec(state).inferred
    short = {k: v for k, v in state.items() if not k.startswith("dec.model.5")}
    with pytest.raises(InputError, match=r"not a MUNIT generator: it has no dec\.model\.5\.conv"):
        infer_spec(short)


def test_without_a_style_encoder_its_gene_is_that_of_the_stem():
    spec = spec_of("sub_mobile_munit", config=MIXED, form=BARE)
    state = spec.build().state_dict()
    assert not any(key.startswith("enc_style") for key in state)
    assert infer_spec(state).config_str == "2_" + MIXED[2:] and infer_spec(state).form == BARE
    infer_spec(state).build().load_state_dict(state)


def test_channels_of_no_such_network_are_refused():
    state = dict(spec_of("sub_mobile_munit", config=MIXED).build().state_dict())
    key = "enc_content.model.3.model.1.model.0.conv.conv.2.weight"
    state[key] = torch.zeros(12, *state[key].shape[1:])
    with pytest.raises(InputError, match="no known MUNIT generator has the channels 3_2_8_4_8_12_"):
        infer_spec(state)


def test_released_files_load(tmp_path):
    """Bare state dicts, of which a supernet's looks like a mobile network."""
    state = filled(spec_of("super_mobile_munit", 4).build()).state_dict()
    torch.save(dict(state), tmp_path / "net_G.pth")
    net, found = load_supernet(tmp_path / "net_G.pth", "-")
    assert found == spec_of("super_mobile_munit", 4)
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    wrong = {"style_dim": 9}
    with pytest.raises(InputError, match="`style_dim` 9 contradicts the network, which has 8"):
        load_generator(tmp_path / "net_G.pth", "-", wrong)
    for wrong, words in (
        ({"mlp_dim": 9}, "`teacher_mlp_dim` 9 contradicts the network, which has 256"),
        ({"no_style_encoder": True}, "`teacher_no_style_encoder` contradicts the network"),
        ({"n_res": 5}, "`n_res` 5 contradicts the network, which has 4"),
    ):
        with pytest.raises(InputError, match=words):
            load_generator(tmp_path / "net_G.pth", "-", wrong, "teacher_")
    right = {"style_dim": 8, "mlp_dim": 256, "pad_type": "reflect", "styled": True}
    assert load_generator(tmp_path / "net_G.pth", "-", right)[1] == spec_of("mobile_munit", 4)
    resnet = GeneratorSpec("resnet_6blocks", 2)
    save_network(resnet.build(), tmp_path / "resnet.pth", resnet)
    for wrong, words in (
        (
            {"no_style_encoder": True},
            "`teacher_no_style_encoder` .* resnet_6blocks, which is none",
        ),
        ({"style_dim": 8}, "`style_dim` describes networks that take a style"),
        ({"styled": True}, "`model` munit_test: .* holds resnet_6blocks, which takes no style"),
    ):
        with pytest.raises(InputError, match=words):
            load_generator(tmp_path / "resnet.pth", "-", wrong, "teacher_")
    spec = spec_of("super_munit", 4, form=MunitForm(6))
    save_network(spec.build(), tmp_path / "own.pth", spec)
    assert load_generator(tmp_path / "own.pth", "-")[1] == spec


def test_names_and_what_belongs_together():
    assert supernet_beside("munit") == "super_mobile_munit"
    bare = infer_spec(spec_of("super_munit", 3).build().state_dict())
    assert (bare.netG, as_supernet(bare).netG) == ("munit", "super_munit")
    with pytest.raises(InputError, match="`norm` batch: munit has instance"):
        spec_of("munit", 4, norm="batch").build()
    with pytest.raises(InputError, match="has 8 numbers; a MUNIT generator needs 10"):
        MunitConfig.parse("4_4_4_4_4_4_4_4")
    for form, word in ((MunitForm(0), "style_dim"), (MunitForm(8, 2.5), "mlp_dim")):
        with pytest.raises(InputError, match=f"`{word}`"):
            spec_of("munit", 4, form=form).build()


# --------------------------------------------------------------------------------------------------
# A second way to compute them


def plain(state, x, style=None):
    """The network as a list of formulas, from its state dict alone."""

    def conv(name, y, stride=1, border=0):
        y = F.pad(y, (border,) * 4, mode="reflect")
        if f"{name}.weight" in state:
            return F.conv2d(y, state[f"{name}.weight"], state[f"{name}.bias"], stride)
        depthwise, pointwise = f"{name}.conv.0", f"{name}.conv.2"
        bias = state[f"{depthwise}.bias"]
        y = F.conv2d(y, state[f"{depthwise}.weight"], bias, groups=len(bias))
        return F.conv2d(normed(y), state[f"{pointwise}.weight"], state[f"{pointwise}.bias"])

    def normed(y):
        mean, var = y.mean((2, 3), keepdim=True), y.var((2, 3), keepdim=True, correction=0)
        return (y - mean) / (var + 1e-5).sqrt()

    def layer_normed(name, y):
        n = len(y)
        mean, std = y.reshape(n, -1).mean(1), y.reshape(n, -1).std(1)
        y = (y - mean.view(n, 1, 1, 1)) / (std.view(n, 1, 1, 1) + 1e-5)
        gamma, beta = (state[f"{name}.{v}"].view(1, -1, 1, 1) for v in ("gamma", "beta"))
        return y * gamma + beta

    def linear(index, y):
        return F.linear(y, *(state[f"mlp.model.{index}.fc.{v}"] for v in ("weight", "bias")))

    if style is None:
        y = conv("enc_style.model.0.conv", x, border=3).relu()
        for index in range(1, 5):
            y = conv(f"enc_style.model.{index}.conv", y, 2, 1).relu()
        style = conv("enc_style.model.6", y.mean((2, 3), keepdim=True))[:, :, 0, 0]
    values = linear(2, linear(1, linear(0, style).relu()).relu())

    y = normed(conv("enc_content.model.0.conv", x, border=3)).relu()
    for index in (1, 2):
        y = normed(conv(f"enc_content.model.{index}.conv", y, 2, 1)).relu()
    for block in range(4):
        name = f"enc_content.model.3.model.{block}.model"
        inner = normed(conv(f"{name}.0.conv", y, border=1)).relu()
        y = y + normed(conv(f"{name}.1.conv", inner, border=1))

    def adapted(y):
        nonlocal values
        channels = y.shape[1]
        mean, std, values = values.tensor_split((channels, 2 * channels), dim=1)
        return normed(y) * std[:, :, None, None] + mean[:, :, None, None]

    for block in range(4):
        name = f"dec.model.0.model.{block}.model"
        inner = adapted(conv(f"{name}.0.conv", y, border=1)).relu()
        y = y + adapted(conv(f"{name}.1.conv", inner, border=1))
    assert not values.numel()
    for index in (2, 4):
        y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
        name = f"dec.model.{index}"
        y = layer_normed(f"{name}.norm", conv(f"{name}.conv", y, border=2)).relu()
    return conv("dec.model.5.conv", y, border=3).tanh()


@pytest.mark.parametrize("netG", ["munit", "mobile_munit", "sub_munit", "sub_mobile_munit"])
@pytest.mark.parametrize("given", [False, True])
def test_outputs_are_those_of_the_formulas(netG, given):
    net, x = filled(small_spec(netG).build()).double(), images().double()
    style = styles().double() if given else None
    with torch.no_grad():
        found, wanted = net(x, style), plain(net.state_dict(), x, style)
    assert wanted.std() > 0.05
    assert (found - wanted).abs().max() < 1e-9


def test_an_adaptive_norm_first_shifts_then_scales():
    x, values = images(1), torch.tensor([[1.0, 2, 3, 0.5, 2, 0, 7, 8]])
    factors, (added, multiplied) = factors_of(values, (3, 1))
    y = adapted(F.instance_norm(x), factors)
    assert torch.allclose(y.mean((2, 3)), values[:, :3], atol=1e-5)
    assert torch.allclose(y.std((2, 3), correction=0), values[:, 3:6], atol=1e-3)
    assert (added.item(), multiplied.item()) == (7, 8)


def test_a_layer_norm_is_of_each_image():
    torch.manual_seed(0)
    norm, x = SampleNorm(3), images()
    assert ((norm.gamma >= 0) & (norm.gamma < 1)).all() and not norm.beta.any()
    with torch.no_grad():
        assert torch.equal(norm(x)[:1], norm(x[:1]))
        norm.gamma.fill_(1)
        y = norm(x * 5 + 3)
    assert torch.allclose(y.mean((1, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(y.std((1, 2, 3)), torch.ones(2), atol=1e-4)


def test_the_tap_is_the_content_which_no_style_changes():
    net, x = filled(spec_of("munit", 2).build()), images()
    one, taps = net(x, styles(seed=1), taps=True)
    other, same = net(x, styles(seed=2), taps=True)
    assert not torch.allclose(one, other, atol=1e-2)
    assert torch.equal(taps[0], same[0]) and torch.equal(taps[0], net.tap(x)[0])
    assert taps[0].shape == (2, 8, 8, 12)
    assert KINDS["munit"].taps.widths(MunitConfig.uniform(2)) == (8,)
    assert torch.equal(net(x), net(x, net.style(x)))
    assert torch.equal(net(x, styles(seed=1)), net.decode(net.content(x), styles(seed=1)))


def test_a_network_without_a_style_encoder_needs_styles():
    net, x = filled(spec_of("munit", 2).build()), images(height=20, width=36)
    bare = without_style_encoder(net)
    assert torch.equal(bare(x, styles()), net(x, styles())) and bare.multiple == 4
    assert net.multiple == 16 and hasattr(net, "enc_style")
    with pytest.raises(InputError, match="no style encoder: give it a style"):
        bare(x)
    assert bare.state_dict().keys() == spec_of("munit", 2, form=BARE).build().state_dict().keys()


# --------------------------------------------------------------------------------------------------
# Styles


def test_a_random_style_is_of_its_image_alone():
    x = images(3)
    drawn = random_styles(x, 8)
    assert drawn.shape == (3, 8) and drawn.dtype == torch.float32
    assert torch.equal(random_styles(x.flip(0), 8).flip(0), drawn)
    assert torch.equal(random_styles(x[1:2], 8), drawn[1:2])
    # What is rounded to the same pixels is the same image.
    assert torch.equal(random_styles(x + 1e-7, 8)[0], drawn[0])
    assert not torch.equal(random_styles(x, 8, seed=1), drawn)
    assert len({tuple(row) for row in drawn.tolist()}) == 3
    before = torch.random.get_rng_state()
    many = random_styles(torch.rand(400, 1, 4, 4) * 2 - 1, 8)
    assert abs(many.mean()) < 0.06 and abs(many.std() - 1) < 0.06
    torch.random.set_rng_state(before)


def test_networks_that_bring_their_styles():
    net, x = filled(spec_of("munit", 2).build()), images(height=20, width=36)
    drawn = InRandomStyles(net)
    assert torch.equal(drawn(x), net(x, random_styles(x, 8))) and drawn.multiple == 4
    assert torch.equal(InRandomStyles(net, 3)(x), net(x, random_styles(x, 8, 3)))
    style = styles(1)
    assert torch.equal(InOneStyle(net, style)(x), net(x, style.expand(2, 8)))
    both = styles(2)
    assert torch.equal(InOneStyle(net, both)(x), net(x, both))
    # One image alone is made in the first style.
    assert torch.equal(in_one_style(drawn).style, drawn.samples(3)[:1])
    assert torch.equal(in_one_style(net)(x), net(x))


def test_images_get_styles_of_references():
    net, x = filled(spec_of("munit", 2).build()), images(4, height=20, width=36)
    given = styles(3)
    made = InStylesOf(net, given)
    numbers = chosen(x, 3)
    assert torch.equal(made(x), net(x, given[numbers])) and made.multiple == 4
    # Of the image alone, as drawn styles are; and all as likely.
    assert chosen(x.flip(0), 3)[::-1] == numbers == chosen(x + 1e-7, 3)
    many = np.bincount(chosen(torch.rand(600, 1, 4, 4) * 2 - 1, 3), minlength=3)
    assert (abs(many - 200) < 50).all()
    assert torch.equal(made.samples(2), given[:2]) and len(made.samples(9)) == 3
    assert torch.equal(in_one_style(made)(x), net(x, given[:1].expand(4, 8)))


# --------------------------------------------------------------------------------------------------
# The supernet

CONFIGS = ["_".join(["6"] * 10), "4_5_6_3_2_6_1_5_4_2", "_".join(["1"] * 10), "1_6_3_6_6_6_6_6_6_5"]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("netG", ["super_munit", "super_mobile_munit"])
@pytest.mark.parametrize("given", [False, True])
def test_the_supernet_equals_the_subnet_bit_for_bit(netG, config, given):
    spec = spec_of(netG, 6)
    net, config, x = filled(spec.build()), spec.parse(config), images()
    subnet = spec.kind.extract(net, config).eval()
    style = styles() if given else None
    with torch.no_grad():
        image, taps = net(x, config, style, taps=True)
        assert torch.equal(image, subnet(x, style)) and image.std() > 0.01
        assert torch.equal(taps[0], subnet.content(x))
        assert torch.equal(net.style(x, config.widths()), subnet.style(x))
    assert taps[0].shape[1] == spec.kind.taps.widths(config)[0]
    state = subnet.state_dict()
    assert len(state["mlp.model.2.fc.weight"]) == 2 * sum(config.widths().adaptive)
    found = infer_spec(state)
    assert found.config == config and KINDS[found.netG].family == spec.kind.family


def test_a_subnet_takes_the_first_means_and_the_first_deviations_of_every_norm():
    spec = spec_of("super_mobile_munit", 2)
    net, config = filled(spec.build()), spec.parse("1_1_1_2_1_1_1_2_1_1")
    wide, narrow = net.mlp.model[2].fc, spec.kind.extract(net, config).mlp.model[2].fc
    # Eight channels each; four inside the first two blocks.
    wanted = [*range(4), *range(8, 12), *range(16, 32)] * 2
    wanted = [row + 32 * (index // 24) for index, row in enumerate(wanted)] + [*range(64, 128)]
    assert torch.equal(narrow.weight, wide.weight[wanted])
    assert torch.equal(narrow.bias, wide.bias[wanted])


def test_the_full_width_is_the_mobile_network():
    wide, x = filled(spec_of("super_mobile_munit", 3).build()), images()
    mobile = spec_of("mobile_munit", 3).build().eval()
    mobile.load_state_dict(wide.state_dict())
    with torch.no_grad():
        assert torch.equal(wide(x), mobile(x)) and torch.equal(wide.tap(x)[0], mobile.tap(x)[0])


def test_gradients_reach_what_a_configuration_uses_and_nothing_else():
    spec = spec_of("super_mobile_munit", 4)
    net = filled(spec.build()).train()
    net(images(), spec.parse("_".join(["2"] * 10))).square().sum().backward()
    last = net.mlp.model[2].fc.weight.grad.abs().sum(1).view(8, 2, 16)
    assert (last[:, :, :8] > 0).any(2).all() and not last[:, :, 8:].any()
    gamma = net.dec.model[4].norm.gamma.grad
    assert gamma[:2].any() and not gamma[2:].any()
    with pytest.raises(InputError, match=r"wider than the supernet \(ngf 4\): up1=5"):
        spec.kind.extract(net, spec.parse("4_4_4_4_4_4_4_4_4_5"))


# --------------------------------------------------------------------------------------------------
# Searching a space that is larger than a memory


def test_what_fits_a_budget_is_found_in_parts(monkeypatch):
    arch = spec_of("super_mobile_munit", 6).architecture
    names = "6,4;5;6,3;6,2;4;6,1;5,4;3;2,1;6,5", "6,5,4;6;6;5;4;4;4;3;2;1"
    for name in names:
        space = SearchSpace(name, arch)
        budget = float(np.median(space.macs))
        wanted = space.feasible(budget)
        weights = space.sampling_weights(wanted, 2, "geometric")
        monkeypatch.setattr("subnets.space.MAX_CONFIGS", 1)
        monkeypatch.setattr("subnets.space.PART", 5)
        large = SearchSpace(name, arch)
        assert np.array_equal(large.feasible(budget), wanted) and "macs" not in vars(large)
        assert np.array_equal(large.macs, space.macs)
        assert len(wanted) < space.size and space.describe(budget) == large.describe(budget)
        with pytest.raises(
            InputError, match=f"between {space.macs.min():,} .*{space.macs.max():,}"
        ):
            large.feasible(1)
        monkeypatch.undo()
        # A gene's weight grows from 1 to 2 in equal factors.
        genes = space.genes(wanted)
        expected = np.ones(len(wanted))
        for column, choices in zip(genes.T, space.choices, strict=True):
            rank = {width: n for n, width in enumerate(sorted(choices))}
            steps = max(1, len(choices) - 1)
            expected *= [2 ** (rank[int(width)] / steps) for width in column]
        assert np.allclose(weights, expected / expected.sum())
