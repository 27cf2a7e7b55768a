"""The supernet runs a configuration exactly as the subnet cut out of it does: bit for bit."""

import copy
import functools

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from errors import InputError
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.supernet import SuperMobileResnetGenerator, extract
from models.weights import load_generator, save_network

CHOICES = (64, 56, 48, 40, 32, 24, 16)
configs = st.tuples(*[st.sampled_from(CHOICES)] * 8).map(ChannelConfig)
SPEC = GeneratorSpec("super_mobile_resnet_9blocks", 64)


@functools.cache
def supernet() -> SuperMobileResnetGenerator:
    torch.manual_seed(0)
    net = init_weights(SPEC.build(), gain=0.1)
    for (
        name,
        value,
    ) in net.named_parameters():  # biases too, or slicing them wrongly would go unseen
        if name.endswith("bias"):
            torch.nn.init.normal_(value, 0, 0.1)
    return net.eval()


def random_images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2.4 - 1.2


@given(
    configs, st.sampled_from([(1, 3, 16, 16), (2, 3, 16, 24), (1, 3, 40, 16)]), st.integers(0, 99)
)
@torch.no_grad()
def test_a_subnet_equals_its_config_in_the_supernet(config, shape, seed):
    x = random_images(seed, *shape)
    inside, inside_taps = supernet()(x, config, taps=True)
    outside, outside_taps = extract(supernet(), config)(x, taps=True)
    assert torch.equal(inside, outside)
    assert torch.equal(inside, supernet()(x, config))
    for a, b in zip(inside_taps, outside_taps, strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_they_are_equal_on_a_picture_of_128_pixels():
    config = ChannelConfig.parse("16_24_48_56_40_48_24_16")
    x = random_images(0, 1, 3, 128, 128)
    assert torch.equal(supernet()(x, config), extract(supernet(), config)(x))


@settings(max_examples=3)
@given(configs)
@torch.no_grad()
def test_they_are_equal_after_both_were_written_and_read(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("nets")
    save_network(supernet(), folder / "super.pth", SPEC)
    whole, spec = load_generator(folder / "super.pth", "--restore_G_path")
    assert spec == SPEC
    subnet_spec = GeneratorSpec("sub_mobile_resnet_9blocks", config_str=str(config))
    save_network(extract(whole, config), folder / "sub.pth", subnet_spec)
    subnet, spec = load_generator(folder / "sub.pth", "--restore_G_path")
    assert spec == subnet_spec
    x = random_images(1, 2, 3, 16, 16)
    assert torch.equal(supernet()(x, config), subnet(x))


@torch.no_grad()
def test_no_config_means_full_width():
    x = random_images(0, 1, 3, 16, 16)
    mobile = GeneratorSpec("mobile_resnet_9blocks", 64).build()
    mobile.load_state_dict(supernet().state_dict())
    assert torch.equal(supernet()(x), mobile(x))
    assert torch.equal(supernet()(x), supernet()(x, ChannelConfig.uniform(64)))


@torch.no_grad()
def test_six_genes_select_as_eight_do():
    x = random_images(0, 1, 3, 16, 16)
    six, eight = (
        ChannelConfig.parse("16_24_32_40_48_56"),
        ChannelConfig.parse("16_24_32_40_40_40_48_56"),
    )
    assert torch.equal(supernet()(x, six), supernet()(x, eight))
    assert torch.equal(extract(supernet(), six)(x), supernet()(x, eight))


@pytest.mark.parametrize("norm", ["instance", "none"])
@torch.no_grad()
def test_norm_and_channels_follow_into_the_subnet(norm):
    torch.manual_seed(0)
    net = init_weights(
        GeneratorSpec("super_mobile_resnet_9blocks", 8, None, 1, 2, norm, 0.5).build(), gain=0.2
    )
    config = ChannelConfig.parse("8_4_6_2_8_4_6_8")
    subnet = extract(net, config)
    x = random_images(0, 1, 1, 16, 16)
    assert torch.equal(net.eval()(x, config), subnet.eval()(x))
    assert subnet.model[10].conv_block[4].p == 0.5
    assert subnet.model[26].out_channels == 2


def test_a_subnet_has_weights_of_its_own():
    net = GeneratorSpec("super_mobile_resnet_9blocks", 4).build()
    subnet = extract(net, ChannelConfig.uniform(4))
    torch.nn.init.zeros_(subnet.model[1].weight)
    assert net.model[1].weight.any()
    assert not any(p.grad_fn for p in subnet.parameters())


def test_a_config_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="ngf 64"):
        extract(supernet(), ChannelConfig.parse("64_64_72_64_64_64_64_64"))


def test_gradients_reach_only_the_channels_of_the_config():
    net = GeneratorSpec("super_mobile_resnet_9blocks", 8).build()
    net(torch.rand(1, 3, 16, 16), ChannelConfig.uniform(4)).sum().backward()
    gradient = net.model[4].weight.grad
    assert gradient[:8, :4].abs().sum() > 0
    assert not gradient[8:].any() and not gradient[:, 4:].any()


# --------------------------------------------------------------------------------------------------
# Masking: the same function at full width, with a configuration of its own for every image


def doubled(net: SuperMobileResnetGenerator) -> SuperMobileResnetGenerator:
    """A copy in float64, where the order of sums hardly matters: only the functions may differ."""
    return copy.deepcopy(net).double().requires_grad_(True)


@settings(
    max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # shrinking takes minutes
@given(st.lists(configs, min_size=1, max_size=3), st.integers(0, 99))
def test_masking_equals_slicing_in_outputs_taps_and_gradients(chosen, seed):
    x = random_images(seed, len(chosen), 3, 16, 24).double()
    masked, sliced = doubled(supernet()), doubled(supernet())
    y, taps = masked(x, masked.widths_of(chosen), taps=True)
    (y.square().mean() * len(chosen) + sum(t.square().sum() for t in taps)).backward()
    for index, config in enumerate(chosen):
        y_one, taps_one = sliced(x[index : index + 1], config, taps=True)
        (y_one.square().mean() + sum(t.square().sum() for t in taps_one)).backward()
        torch.testing.assert_close(y[index : index + 1], y_one, rtol=0, atol=1e-10)
        for tap, tap_one in zip(taps, taps_one, strict=True):
            trunk = tap_one.shape[1]
            torch.testing.assert_close(tap[index : index + 1, :trunk], tap_one, rtol=0, atol=1e-10)
            assert not tap[index, trunk:].any()
    scale = max(float(p.grad.abs().max()) for p in sliced.parameters())
    for a, b in zip(masked.parameters(), sliced.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-9 * scale)


def test_masked_gradients_of_unused_channels_are_exactly_zero():
    net = doubled(supernet()).float()
    widths = net.widths_of([ChannelConfig.uniform(16)] * 2)
    net(random_images(0, 2, 3, 16, 16), widths).sum().backward()
    for index in (1, 4, 7):
        gradient = net.model[index].weight.grad
        out = 16 * (1, 2, 4)[(1, 4, 7).index(index)]
        assert gradient[:out].any() and not gradient[out:].any()
    pointwise = net.model[10].conv_block[1].conv[2].weight.grad
    assert pointwise[:64, :64].any() and not pointwise[64:].any() and not pointwise[:, 64:].any()


@torch.no_grad()
def test_masking_in_float32_is_slicing_to_rounding():
    chosen = [ChannelConfig.parse("16_24_48_56_40_48_24_16"), ChannelConfig.uniform(64)]
    x = random_images(3, 2, 3, 64, 64)
    sliced = torch.cat([supernet()(x[i : i + 1], c) for i, c in enumerate(chosen)])
    masked = supernet()(x, supernet().widths_of(chosen))
    torch.testing.assert_close(masked, sliced, rtol=0, atol=2e-4)
