"""Parts of networks: together they are the network, layer by layer."""

from dataclasses import replace

import pytest
import torch

from models.cost import config_cost
from models.generators import GeneratorSpec
from models.inputs import inputs_of
from models.layers import init_weights
from models.munit import MunitForm
from models.parts import parts_of, piece, subnet
from models.spade import SpadeForm

NINE = GeneratorSpec("super_mobile_resnet_9blocks", 8)
SIX = GeneratorSpec("super_mobile_resnet_6blocks", 8)
UNET = GeneratorSpec("super_unet_128", 8, norm="batch")
SPADE = GeneratorSpec("super_mobile_spade", 8, input_nc=5, norm="batch")
NORMAL = replace(SPADE, norm="instance", form=SpadeForm("normal"))
MUNIT = GeneratorSpec("super_mobile_munit", 8, form=MunitForm(6, 10, style_encoder=False))
DENSE = replace(MUNIT, netG="super_munit")
EIGHT, TEN = "8_4_6_2_4_6_2_8", "8_4_6_2_4_6_2_8_3_5"


@pytest.mark.parametrize(
    ("spec", "config"),
    [
        *((NINE, EIGHT), (SIX, EIGHT), (UNET, "8_4_6_2_4_6_2")),
        *((SPADE, EIGHT), (NORMAL, EIGHT), (MUNIT, TEN), (DENSE, TEN)),
    ],
    ids=lambda value: getattr(value, "netG", value),
)
def test_the_parts_make_up_the_network(spec, config):
    """Every weight of it is in one part, and each part reads what another one makes."""
    config, size = spec.parse(config), 128
    expected = config_cost(config, spec.architecture, "exact", size, size)[1]
    parameters = 0
    for part in parts_of(spec):
        for use in part.uses:
            net = piece(spec, part, [config.full[gene] for gene in use], part.repeats)
            parameters += sum(p.numel() for p in net.parameters())
    assert parameters == expected


@pytest.mark.parametrize("spec", [NINE, MUNIT], ids=lambda spec: spec.netG)
def test_a_repeated_part_is_a_chain(spec):
    for part in (part for part in parts_of(spec) if part.repeats > 1):
        counts = [
            sum(p.numel() for p in piece(spec, part, (6, 2), n).parameters())
            for n in (1, part.repeats)
        ]
        assert counts[1] == part.repeats * counts[0]
        assert all(len(use) == 2 for use in part.uses)


def filled(spec, config):
    torch.manual_seed(0)
    net = init_weights(subnet(spec, spec.parse(config)), "xavier", 1.0).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return net


def takes(net, *given, height=64, width=128):
    """What a piece says that it takes is what it is given."""
    assert [tuple(x.shape) for x in given] == [
        each.shape(height, width, len(given[0])) for each in inputs_of(net)
    ]
    return given


@torch.inference_mode()
@pytest.mark.parametrize("spec", [SPADE, NORMAL], ids=["more", "normal"])
def test_one_after_another_they_compute_what_a_network_of_label_maps_does(spec):
    net, labels = filled(spec, EIGHT), torch.rand(2, 5, 64, 128)
    pieces = [spec.kind.parts.piece(net, part, 1) for part in parts_of(spec)]
    assert len(pieces) == 9
    (first, *blocks, last), y = pieces, None
    y = first.layers(*takes(first, labels))
    for block in blocks:
        y = block.layers(*takes(block, y, labels))
    assert torch.equal(last.layers(*takes(last, y)), net(labels))
    assert torch.equal(first(labels), first.layers(labels).mean((2, 3)))


@torch.inference_mode()
@pytest.mark.parametrize("spec", [MUNIT, DENSE], ids=lambda spec: spec.netG)
def test_one_after_another_they_compute_what_a_network_of_styles_does(spec):
    net = filled(spec, TEN)
    # The last two blocks do nothing: parts are those of the first place.
    for blocks in (net.enc_content.model[-1].model, net.dec.model[0].model):
        for block in list(blocks)[2:]:
            block.forward = lambda x, *more: x
    x, style = torch.rand(2, 3, 64, 128) * 2 - 1, torch.randn(2, 6)
    pieces = {part.name: spec.kind.parts.piece(net, part, part.repeats) for part in parts_of(spec)}
    hidden, y = pieces["perceptron"](*takes(pieces["perceptron"], style)), x
    assert hidden.shape == (2, 10)
    for name, part in pieces.items():
        if name != "perceptron":
            y = part.layers(*takes(part, y, *([hidden] if name == "decoder" else [])))
    assert (y - net(x, style)).abs().max() < 1e-5 and y.std() > 0.02
