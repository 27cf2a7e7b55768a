"""Initialisers, norms and elastic layers."""

import pytest
import torch
from golden_values import golden_input
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models.generators import GeneratorSpec
from models.layers import (
    ElasticConv2d,
    ElasticConvTranspose2d,
    ElasticDepthwiseConv2d,
    ElasticInstanceNorm2d,
    any_size,
    init_weights,
    make_norm,
    pad_to_fit,
    set_dropout,
)


def convolutions(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]


def test_normal_weights_have_the_gain_as_deviation_and_biases_are_zero():
    torch.manual_seed(0)
    net = init_weights(GeneratorSpec("resnet_9blocks", 8).build())
    for conv in convolutions(net):
        assert abs(conv.weight.std() / 0.02 - 1) < 0.15
        assert abs(conv.weight.mean()) < 0.002
        assert not conv.bias.any()
    every = torch.cat([c.weight.flatten() for c in convolutions(net)])
    assert abs(every.std() / 0.02 - 1) < 0.01
    # Normal, not uniform of the same deviation: a fifth of the draws is beyond 1.28 deviations.
    assert abs((every.abs() > 1.2816 * 0.02).float().mean() - 0.2) < 0.01


def test_batch_norm_starts_near_one():
    torch.manual_seed(0)
    net = init_weights(GeneratorSpec("resnet_9blocks", 8, norm="batch").build(), gain=0.02)
    scales = torch.cat([m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
    assert abs(scales.mean() - 1) < 0.01 and abs(scales.std() / 0.02 - 1) < 0.2
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    "kind, deviation",
    [("xavier", 0.02 * (2 / (9 * 40 + 9 * 60)) ** 0.5), ("kaiming", (2 / (9 * 40)) ** 0.5)],
)
def test_the_other_initialisers_scale_by_fan(kind, deviation):
    torch.manual_seed(0)
    conv = init_weights(nn.Conv2d(40, 60, 3), kind)
    assert abs(conv.weight.std() / deviation - 1) < 0.03
    assert not conv.bias.any()


def test_orthogonal_rows_are_orthogonal():
    torch.manual_seed(0)
    rows = init_weights(nn.Conv2d(8, 16, 3), "orthogonal", gain=0.5).weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, 0.25 * torch.eye(16), atol=1e-5, rtol=0)


def test_unknown_norms_are_refused():
    with pytest.raises(ValueError, match="layer"):
        make_norm("layer", 4)


def test_elastic_layers_use_their_first_channels():
    x = golden_input(1, 3, 7, 9)
    conv, up = ElasticConv2d(5, 8, 3), ElasticConvTranspose2d(5, 8, 3)
    depthwise = ElasticDepthwiseConv2d(5, 5, 3, groups=5)
    f = nn.functional
    with torch.no_grad():
        assert torch.equal(conv(x, 6), f.conv2d(x, conv.weight[:6, :3], conv.bias[:6]))
        assert torch.equal(up(x, 6), f.conv_transpose2d(x, up.weight[:3, :6], up.bias[:6]))
        assert torch.equal(
            depthwise(x), f.conv2d(x, depthwise.weight[:3], depthwise.bias[:3], groups=3)
        )
        assert conv(x).shape[1] == up(x).shape[1] == 8
        assert torch.equal(ElasticInstanceNorm2d()(x), nn.InstanceNorm2d(3)(x))


def test_dropout_can_be_changed_later():
    net = GeneratorSpec("super_mobile_resnet_9blocks", 4).build()
    set_dropout(net, 0.25)
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.25}


# --------------------------------------------------------------------------------------------------
# Any size

sides = st.integers(1, 33)


@given(sides, sides)
def test_images_are_padded_by_their_edges_as_little_as_possible(height, width):
    x = torch.randn(2, 3, height, width)
    padded = pad_to_fit(x)
    assert torch.equal(padded[..., :height, :width], x)
    assert (padded[..., height:, :width] == x[..., -1:, :]).all()
    assert (padded[..., width:] == padded[..., width - 1 : width]).all()
    for side, found in zip((height, width), padded.shape[2:], strict=True):
        assert found % 4 == 0 and found >= 8 and (found - side < 4 or found == 8)
    assert any_size(lambda x: 2 * x, x).shape == x.shape


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (13, 30)])
def test_a_generator_runs_at_any_size(size):
    net = GeneratorSpec("sub_mobile_resnet_9blocks", config_str="2_2_2_2_2_2_2_2").build().eval()
    x = torch.rand(1, 3, *size)
    with torch.inference_mode():
        y = any_size(net, x)
        assert y.shape == x.shape
        if size == (8, 8):
            assert torch.equal(y, net(x))


def test_a_network_of_larger_steps_gets_them():
    net = GeneratorSpec("unet_128", 2).build().eval()
    x = torch.rand(1, 3, 70, 130)
    with torch.inference_mode():
        y = any_size(net, x)
        assert torch.equal(y, net(pad_to_fit(x, 128))[..., :70, :130])
