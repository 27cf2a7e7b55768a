"""Networks against the reference, and networks recognised, described and refused by name."""

import re
from dataclasses import replace

import pytest
import torch
from golden_values import VALUES, fill, golden_array, golden_input
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from models.config import ChannelConfig
from models.discriminators import build_discriminator
from models.generators import (
    MAX_WIDTH,
    GeneratorSpec,
    as_supernet,
    count_parameters,
    explain_mismatch,
    infer_spec,
    resolve_spec,
)
from models.kinds import GENERATORS, KINDS, PLAIN

CASES = VALUES["cases"]
DISCRIMINATORS = ("n_layers", "pixel")


def build_case(case: dict) -> torch.nn.Module:
    if case["net"] in DISCRIMINATORS:
        return build_discriminator(case["net"], 6, case["ndf"], case.get("n_layers_D", 3))
    spec = GeneratorSpec(
        case["net"], case.get("ngf"), case.get("config_str"), case.get("input_nc", 3)
    )
    return spec.build()


def meta_state(spec: GeneratorSpec) -> dict:
    """Keys and shapes without memory for the weights."""
    with torch.device("meta"):
        return spec.build().state_dict()


# --------------------------------------------------------------------------------------------------
# Reference values


@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name):
    case = CASES[name]
    net = fill(build_case(case))
    assert [(k, list(v.shape)) for k, v in net.state_dict().items()] == list(
        case["state_dict"].items()
    )
    assert count_parameters(net) == case["n_params"]
    x, golden = golden_input(*case["input_shape"]), torch.from_numpy(golden_array(name))
    config = [ChannelConfig.parse(case["config_str"])] if case["net"].startswith("super") else []
    with torch.no_grad():
        y, exact = net(x, *config), net.double()(x.double(), *config)
    # 1e-5, or the rounding of the reference itself: CPUs with other kernels sum in another order.
    rounding = float((golden - exact).abs().max())
    assert rounding < 1e-3
    torch.testing.assert_close(y, golden, rtol=0, atol=max(1e-5, 2 * rounding))


# --------------------------------------------------------------------------------------------------
# Specs


def test_unknown_and_incomplete_networks_are_refused():
    with pytest.raises(InputError, match=r"`netG` resnet_7blocks.*mobile_resnet_9blocks"):
        GeneratorSpec("resnet_7blocks", 8).build()
    for name in ("sub_mobile_resnet_9blocks", "legacy_sub_mobile_resnet_9blocks"):
        with pytest.raises(InputError, match=f"{name} needs `config_str`"):
            GeneratorSpec(name).build()
    with pytest.raises(InputError, match="`norm` batch"):
        GeneratorSpec("super_mobile_resnet_9blocks", 8, norm="batch").build()


@pytest.mark.parametrize("netG", GENERATORS)
def test_a_spec_survives_as_a_dictionary(netG):
    kind = KINDS[netG]
    # ResNets take six widths for eight.
    own = "_".join("8" * len(kind.config.NAMES))
    config = "8_4_8_4_8_4" if kind.config is ChannelConfig else own
    channels = {"config_str": config} if kind.by_config else {"ngf": 8}
    images = dict(input_nc=1, output_nc=2, norm=kind.norms[-1], dropout_rate=0.5)
    spec = GeneratorSpec(netG, **channels, **images)
    assert GeneratorSpec.from_dict(spec.to_dict()) == spec
    assert spec.is_supernet == netG.startswith("super_")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"upsampling": "bilinear"}, "upsampling, which this version does not know"),
        ({"netG": "resnet_7blocks"}, "`netG` resnet_7blocks"),
        ({"netG": 3}, "`netG` 3"),
        ({"ngf": 10_000_000}, f"`ngf` 10000000 is not a whole number from 1 to {MAX_WIDTH}"),
        ({"ngf": 0}, "`ngf` 0"),
        ({"ngf": 8.0}, "`ngf` 8.0"),
        ({"ngf": None}, "`ngf` None"),
        ({"ngf": True}, "`ngf` True"),
        ({"netG": "sub_mobile_resnet_9blocks", "config_str": "8_8"}, "config string '8_8'"),
        ({"netG": "sub_mobile_resnet_9blocks", "config_str": 8}, "`config_str` 8"),
        ({"netG": "sub_mobile_resnet_9blocks", "config_str": "9999_8_8_8_8_8"}, "9999"),
        ({"output_nc": 0}, "`output_nc` 0"),
        ({"norm": "layer"}, "`norm` 'layer'"),
        ({"dropout_rate": 2.0}, "`dropout_rate` 2.0"),
    ],
    ids=str,
)
def test_a_description_of_no_network_is_refused(changes, words):
    values = GeneratorSpec("mobile_resnet_9blocks", 8).to_dict()
    with pytest.raises(InputError, match=re.escape(words)):
        GeneratorSpec.from_dict(values | changes)


def test_a_description_without_a_kind_is_refused():
    with pytest.raises(InputError, match="netG"):
        GeneratorSpec.from_dict({"ngf": 8})


# --------------------------------------------------------------------------------------------------
# Recognising a network by its state dict

genes = st.integers(1, 9)


@given(
    st.sampled_from(PLAIN),
    genes,
    st.sampled_from([1, 3]),
    st.sampled_from([1, 3]),
    st.sampled_from(["instance", "batch"]),
)
def test_networks_named_by_ngf_are_recognised(netG, ngf, input_nc, output_nc, norm):
    norm = norm if norm in KINDS[netG].norms else KINDS[netG].norms[0]
    spec = GeneratorSpec(netG, ngf, None, input_nc, output_nc, norm)
    assert infer_spec(meta_state(spec)) == spec


@given(st.lists(genes, min_size=8, max_size=8))
def test_subnets_are_recognised(widths):
    spec = GeneratorSpec("sub_mobile_resnet_9blocks", config_str="_".join(map(str, widths)))
    found = infer_spec(meta_state(spec))
    if len(set(widths)) == 1:  # the same network under its shorter name
        assert (found.netG, found.ngf) == ("mobile_resnet_9blocks", widths[0])
    else:
        assert found == spec


@given(st.lists(genes, min_size=6, max_size=6))
def test_legacy_networks_are_recognised(widths):
    spec = GeneratorSpec("legacy_sub_mobile_resnet_9blocks", config_str="_".join(map(str, widths)))
    found = infer_spec(meta_state(spec))
    assert found.config.widths() == spec.config.widths()
    if widths[2] != widths[3]:
        assert found == spec


def test_a_supernet_looks_like_a_mobile_network():
    assert infer_spec(meta_state(GeneratorSpec("super_mobile_resnet_9blocks", 8))) == GeneratorSpec(
        "mobile_resnet_9blocks", 8
    )


def test_other_networks_are_not_recognised():
    with pytest.raises(InputError, match=r"not a ResNet generator: it has no model\.1\.weight"):
        infer_spec({"conv.weight": torch.zeros(1)})
    with torch.device("meta"):
        discriminator = build_discriminator("n_layers", 6, 8)
    with pytest.raises(InputError, match="not a ResNet generator"):
        infer_spec(discriminator.state_dict())


@pytest.mark.parametrize("missing", ["model.1", "model.7", "model.14", "model.17", "model.26"])
def test_an_incomplete_generator_is_not_recognised(missing):
    state = meta_state(GeneratorSpec("mobile_resnet_9blocks", 4))
    state = {key: value for key, value in state.items() if not key.startswith(missing + ".")}
    with pytest.raises(InputError, match=f"it has no {missing}"):
        infer_spec(state)


def test_channels_of_no_known_network_are_listed():
    state = dict(
        meta_state(GeneratorSpec("sub_mobile_resnet_9blocks", config_str="4_4_4_4_4_4_4_4"))
    )
    state["model.11.conv_block.1.conv.2.weight"] = torch.empty(7, 16, 1, 1, device="meta")
    with pytest.raises(InputError, match="4_8_16_16_7_16"):
        infer_spec(state)


# --------------------------------------------------------------------------------------------------
# Flags against a checkpoint

MOBILE = GeneratorSpec("mobile_resnet_9blocks", 8)
SUB = GeneratorSpec("sub_mobile_resnet_9blocks", config_str="8_4_8_4_4_4_8_8")
BARE = replace(MOBILE, inferred=True)  # as the shapes of a released supernet are read
SUPER = GeneratorSpec("super_mobile_resnet_9blocks", 8)
TUNED = replace(SUPER, config_str="8_4_8_4_4_4_8_8")


@pytest.mark.parametrize(
    "found, flag, value, have",
    [
        (MOBILE, "netG", "resnet_9blocks", "mobile_resnet_9blocks"),
        # Its file says that it is no supernet.
        (MOBILE, "netG", "super_mobile_resnet_9blocks", "mobile_resnet_9blocks"),
        (TUNED, "config_str", "4_4_4_4_4_4_4_4", "8_4_8_4_4_4_8_8"),
        (MOBILE, "ngf", 16, "8"),
        (MOBILE, "config_str", "8_8_8_8_8_8_8_4", "8_8_8_8_8_8_8_8"),
        (MOBILE, "input_nc", 1, "3"),
        (MOBILE, "output_nc", 1, "3"),
        (MOBILE, "norm", "batch", "instance"),
        (SUB, "netG", "mobile_resnet_9blocks", "sub_mobile_resnet_9blocks"),
        (SUB, "netG", "super_mobile_resnet_9blocks", "sub_mobile_resnet_9blocks"),
        (SUB, "config_str", "8_4_8_4_4_4_8_4", "8_4_8_4_4_4_8_8"),
        (SUPER, "ngf", 16, "8"),
        (SUPER, "netG", "resnet_9blocks", "super_mobile_resnet_9blocks"),
        (GeneratorSpec("resnet_9blocks", 8), "netG", "mobile_resnet_9blocks", "resnet_9blocks"),
        (GeneratorSpec("resnet_9blocks", 8, norm="batch"), "norm", "instance", "batch"),
    ],
)
def test_a_contradiction_names_flag_file_and_both_values(found, flag, value, have):
    with pytest.raises(InputError) as error:
        resolve_spec(found, {flag: value}, "some/net_G.pth")
    message = str(error.value)
    for part in (f"`{flag}` {value}", "some/net_G.pth", f"{flag} {have}"):
        assert part in message


@pytest.mark.parametrize(
    "found, wanted, expected",
    [
        (MOBILE, {}, MOBILE),
        (MOBILE, {"netG": None, "ngf": None, "config_str": None}, MOBILE),
        (
            MOBILE,
            {"netG": "mobile_resnet_9blocks", "ngf": 8, "input_nc": 3, "norm": "instance"},
            MOBILE,
        ),
        (BARE, {"netG": "super_mobile_resnet_9blocks"}, SUPER),
        # A supernet keeps its spec: the config selects a subnet of it.
        (
            BARE,
            {"netG": "super_mobile_resnet_9blocks", "ngf": 8, "config_str": "4_4_4_4_4_4"},
            SUPER,
        ),
        (SUPER, {"config_str": "4_4_4_4_4_4_4_4"}, SUPER),
        (TUNED, {"config_str": "8_4_8_4_4_4_8_8"}, TUNED),
        (
            MOBILE,
            {"netG": "sub_mobile_resnet_9blocks", "config_str": "8_8_8_8_8_8"},
            GeneratorSpec("sub_mobile_resnet_9blocks", config_str="8_8_8_8_8_8_8_8"),
        ),
        (SUB, {"config_str": "8_4_8_4_8_8"}, SUB),  # six numbers for the same widths
        (SUB, {"ngf": 64}, SUB),  # a network with a config string has no ngf
        (MOBILE, {"norm": "none"}, GeneratorSpec("mobile_resnet_9blocks", 8, norm="none")),
    ],
)
def test_flags_may_say_what_shapes_cannot(found, wanted, expected):
    assert resolve_spec(found, wanted, "net_G.pth") == expected


def test_a_plain_network_may_start_a_supernet():
    """And a fine-tuned supernet the training of any configuration."""
    wanted = {"netG": "super_mobile_resnet_9blocks", "config_str": "4_4_4_4_4_4_4_4"}
    assert resolve_spec(MOBILE, wanted, "net_G.pth", weights_only=True) == SUPER
    assert resolve_spec(TUNED, wanted, "net_G.pth", weights_only=True) == TUNED


@pytest.mark.parametrize(
    "found, expected",
    [
        (BARE, SUPER),
        (SUPER, SUPER),
        (MOBILE, None),
        (SUB, None),
        (replace(SUB, inferred=True), None),
        (GeneratorSpec("resnet_9blocks", 8, inferred=True), None),
    ],
)
def test_what_may_be_a_supernet(found, expected):
    assert as_supernet(found) == expected


@pytest.mark.parametrize("config_str", ["8_8_8_8_8_8", "8_4_8_8_4_8"])
def test_a_legacy_network_may_be_called_by_its_name(config_str):
    """With an inner width equal to the trunk's its shapes are also those of a newer network."""
    legacy = GeneratorSpec("legacy_sub_mobile_resnet_9blocks", config_str=config_str)
    found = infer_spec(meta_state(legacy))
    wanted = {"netG": legacy.netG, "config_str": config_str}
    assert resolve_spec(found, wanted, "net_G.pth").config.widths() == legacy.config.widths()


# --------------------------------------------------------------------------------------------------
# Differences


def test_a_mismatch_is_explained_by_keys_and_shapes():
    net = MOBILE.build()
    state = dict(net.state_dict())
    assert explain_mismatch(state, net) is None
    state["other.weight"] = state.pop("model.1.bias")
    state["model.4.weight"] = torch.zeros(16, 4, 3, 3)
    found = explain_mismatch(state, net)
    assert "1 missing model.1.bias" in found
    assert "1 not expected other.weight" in found
    assert "model.4.weight [16, 4, 3, 3] instead of [16, 8, 3, 3]" in found


def test_a_long_mismatch_stays_one_line():
    found = explain_mismatch({}, MOBILE.build())
    assert found.startswith(f"{len(MOBILE.build().state_dict())} missing ") and found.endswith(
        " ..."
    )
    assert len(found) < 200


def test_names_for_people():
    """Those with a configuration are called by it, though an ``ngf`` may say what they came of."""
    spade = GeneratorSpec("sub_mobile_spade", 64, "_".join(["32"] * 8), 36, norm="batch")
    assert spade.name_at(spade.config) == "sub_mobile_spade " + "_".join(["32"] * 8)
    supernet = GeneratorSpec("super_mobile_resnet_9blocks", 32)
    assert supernet.name_at(supernet.config) == "super_mobile_resnet_9blocks ngf 32"
    narrow = supernet.parse("_".join(["16"] * 8))
    assert supernet.name_at(narrow) == "super_mobile_resnet_9blocks " + "_".join(["16"] * 8)
