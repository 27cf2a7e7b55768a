"""Training in 8 bits: the numbers, the gradients, and that a file stays that of a plain network."""

import copy

import pytest
import torch
from torch import nn

from models.generators import GeneratorSpec
from models.layers import init_weights
from training.quantisation import (
    MOMENTUM,
    QuantisedConv2d,
    QuantisedConvTranspose2d,
    Ranges,
    fake_quantised,
    quantise,
)


def generator(netG: str = "mobile_resnet_6blocks", norm: str = "instance") -> nn.Module:
    torch.manual_seed(1)
    return init_weights(GeneratorSpec(netG, 4, None, 3, 3, norm, 0.0).build(), "kaiming", 1.0)


def test_rounding_by_hand():
    x = torch.tensor([-3.0, -1.27, -0.014, 0.0, 0.004, 0.006, 1.0, 1.2651, 9.0])
    expected = torch.tensor([-1.27, -1.27, -0.01, 0.0, 0.0, 0.01, 1.0, 1.27, 1.27])
    assert torch.allclose(fake_quantised(x, torch.tensor(1.27)), expected, atol=1e-6)


def test_each_channel_has_its_own_step():
    torch.manual_seed(0)
    w = torch.randn(3, 2, 2, 2) * torch.tensor([1.0, 100.0, 0.0]).view(3, 1, 1, 1)
    largest = w.abs().amax((1, 2, 3))
    found = fake_quantised(w, largest, 0)
    for channel in range(2):
        step = largest[channel] / 127
        assert torch.allclose(found[channel], torch.round(w[channel] / step) * step, rtol=1e-5)
    assert not found[2].any()


def test_gradients_pass_inside_the_range_alone():
    x = torch.tensor([-2.0, -0.99, 0.0, 0.3, 0.99, 1.5], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    (fake_quantised(x, torch.tensor(1.0)) * weights).sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 5.0, 0.0]


def test_low_precision_keeps_its_type():
    x = torch.randn(4).bfloat16()
    assert fake_quantised(x, torch.tensor(1.0)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "conv, kind, axis",
    [
        (nn.Conv2d(2, 3, 3, padding=1, stride=2), QuantisedConv2d, 0),
        (nn.Conv2d(4, 4, 3, groups=4, bias=False), QuantisedConv2d, 0),
        (nn.ConvTranspose2d(2, 3, 3, 2, 1, 1), QuantisedConvTranspose2d, 1),
    ],
)
def test_a_layer_is_the_plain_one_on_rounded_numbers(conv, kind, axis):
    layer = kind(copy.deepcopy(conv)).eval()
    x = torch.randn(2, conv.in_channels, 8, 8)
    layer.largest.fill_(1.5)
    expected = copy.deepcopy(conv)
    others = [d for d in range(4) if d != axis]
    largest = conv.weight.detach().abs().amax(others)
    expected.weight.data = fake_quantised(conv.weight.detach(), largest, axis)
    assert torch.equal(layer(x), expected(fake_quantised(x, torch.tensor(1.5))))
    assert set(layer.state_dict()) == set(conv.state_dict())


def test_ranges_follow_in_training_alone():
    layer = QuantisedConv2d(nn.Conv2d(1, 1, 1))
    layer(torch.full((1, 1, 2, 2), -4.0))
    assert layer.largest == 4
    layer(torch.full((1, 1, 2, 2), 2.0))
    assert layer.largest.item() == pytest.approx(4 - MOMENTUM * 2)
    before = layer.largest.clone()
    layer.eval()(torch.full((1, 1, 2, 2), 100.0))
    assert torch.equal(layer.largest, before)


@pytest.mark.parametrize("netG", ["mobile_resnet_6blocks", "resnet_6blocks", "unet_128"])
def test_a_file_stays_that_of_a_plain_network(netG):
    net = generator(netG)
    plain = copy.deepcopy(net)
    size = 128 if netG == "unet_128" else 32
    x = torch.rand(2, 3, size, size) * 2 - 1
    quantise(net, [x])
    assert net.training
    state, expected = net.state_dict(), plain.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state)
    ranges = Ranges(net).state_dict()
    count = sum(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in plain.modules())
    assert len(ranges) == count and all(value > 0 for value in ranges.values())
    with torch.inference_mode():
        difference = (net.eval()(x) - plain.eval()(x)).abs().mean()
    assert 1e-4 < difference < 0.3


def test_ranges_begin_as_the_mean_over_batches():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    nn.init.ones_(net[0].weight), nn.init.zeros_(net[0].bias)
    quantise(net, [torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 3.0)])
    assert [float(v) for v in Ranges(net).state_dict().values()] == pytest.approx([2.0, 2.0])


def test_flat_images_have_finite_gradients():
    """In 8 bits a flat image leaves flat channels, and every instance norm behind them would
    multiply the gradient by 316."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(layer for _ in range(20) for layer in (nn.Conv2d(3, 3, 1), nn.InstanceNorm2d(3)))
    )
    quantise(net, [torch.rand(2, 3, 32, 32) * 2 - 1])
    weights = torch.randn(1, 3, 32, 32)
    (net(torch.full((1, 3, 32, 32), 0.25)) * weights).mean().backward()
    norms = torch.stack([p.grad.norm() for p in net.parameters() if p.grad is not None])
    assert torch.isfinite(norms).all() and norms.max() < 100
    # Where there is something to see, gradients pass.
    net.zero_grad()
    (net(torch.rand(1, 3, 32, 32)) * weights).mean().backward()
    assert net[0].weight.grad.norm() > 1e-4


def test_ranges_are_restored():
    net, other = generator(), generator()
    quantise(net, [torch.rand(1, 3, 32, 32)])
    quantise(other, [torch.rand(1, 3, 32, 32) * 3])
    Ranges(other).load_state_dict(Ranges(net).state_dict())
    assert Ranges(other).state_dict() == Ranges(net).state_dict()
