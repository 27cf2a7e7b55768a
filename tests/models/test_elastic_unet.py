"""The U-Net supernet: it runs a configuration as the subnet cut out of it does, bit for bit."""

import copy
import functools

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from errors import InputError
from models.calibration import calibrate
from models.generators import GeneratorSpec, as_supernet, count_parameters, infer_spec
from models.layers import ElasticJoinedConv2d, init_weights
from models.unet import UNet128Config, UNetGenerator
from models.weights import load_generator, load_supernet, save_network
from subnets.running import runner, subnet_of
from training.build import begin_tuned
from training.image_losses import make_connector
from training.tasks import make_adaptors

WIDTH = 6
configs = st.tuples(*[st.integers(1, WIDTH)] * 7).map(UNet128Config)


@functools.cache
def supernet(norm: str = "instance", netG: str = "super_unet_128"):
    torch.manual_seed(0)
    net = init_weights(GeneratorSpec(netG, WIDTH, norm=norm, dropout_rate=0.5).build(), gain=0.1)
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            nn.init.normal_(value, 0, 0.2)
        if name.endswith("running_var"):
            nn.init.uniform_(value, 0.5, 2)
    return net.eval()


def extract(net, config) -> UNetGenerator:
    return GeneratorSpec("super_unet_128", WIDTH).kind.extract(net, config).eval()


def images(count: int, seed: int = 0, side: int = 128) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@settings(max_examples=10)
@given(configs, st.sampled_from(["instance", "batch", "none"]), st.integers(1, 2))
@torch.no_grad()
def test_a_subnet_equals_its_config_in_the_supernet(config, norm, count):
    net, x = supernet(norm), images(count)
    subnet = extract(net, config)
    inside, inside_taps = net(x, config, taps=True)
    outside, outside_taps = subnet(x, taps=True)
    assert torch.equal(inside, outside) and torch.equal(inside, net(x, config))
    assert all(map(torch.equal, inside_taps, outside_taps))
    assert [block.model[block.start].out_channels for block in subnet.blocks] == [*config.widths()]


@torch.no_grad()
def test_no_config_means_full_width_and_the_keys_are_those_of_the_plain_network():
    net, x = supernet("batch"), images(2)
    plain = GeneratorSpec("unet_128", WIDTH, norm="batch").build().eval()
    plain.load_state_dict(net.state_dict())
    assert torch.equal(net(x), plain(x)) and torch.equal(net(x, net.config), plain(x))
    config = UNet128Config.parse("6_1_5_2_4_3_6")
    assert not torch.allclose(net(x, config), plain(x), atol=1e-3)


@torch.no_grad()
def test_eight_levels_too():
    net, x = supernet("instance", "super_unet_256"), images(1, side=256)
    spec = GeneratorSpec("super_unet_256", WIDTH)
    config = spec.parse("6_1_5_2_4_3_6_2")
    assert torch.equal(net(x, config), spec.kind.extract(net, config).eval()(x))


@settings(max_examples=3, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(configs, min_size=2, max_size=2), st.sampled_from(["instance", "none"]))
def test_masking_equals_slicing_in_outputs_taps_and_gradients(chosen, norm):
    """With the adaptors of the taps, of which two are skip and return side by side."""
    x = images(2).double()
    spec = GeneratorSpec("super_unet_128", WIDTH, norm=norm)
    adaptors = make_adaptors(spec, GeneratorSpec("unet_128", 3), "normal", 0.1)
    nets = [copy.deepcopy(supernet(norm)).double() for _ in range(2)]
    ends = [nn.ModuleList(copy.deepcopy(adaptors)).double() for _ in range(2)]

    def loss(y, taps, adapt):
        adapted = [adaptor(tap) for adaptor, tap in zip(adapt, taps, strict=True)]
        return y.square().sum() + sum(a.square().sum() for a in adapted), [y, *adapted]

    total, masked = loss(*nets[0](x, nets[0].widths_of(chosen), taps=True), ends[0])
    total.backward()
    for index, config in enumerate(chosen):
        one = slice(index, index + 1)
        total, sliced = loss(*nets[1](x[one], config, taps=True), ends[1])
        total.backward()
        for a, b in zip(masked, sliced, strict=True):
            torch.testing.assert_close(a[one], b, rtol=0, atol=1e-9)
    for a, b in zip((nets[0], ends[0]), (nets[1], ends[1]), strict=True):
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=1e-8)


def test_gradients_reach_only_the_channels_of_the_config():
    net = copy.deepcopy(supernet())
    net(images(1), UNet128Config.uniform(2)).sum().backward()
    up = net.blocks[1].model[5].weight.grad  # 2 x 12 channels in, 6 out
    assert up.shape[:2] == (24, 6)
    used = torch.zeros(24, dtype=torch.bool)
    used[:4] = used[12:16] = True
    assert up[used, :2].abs().amax((1, 2, 3)).all()
    assert not up[~used].any() and not up[:, 2:].any()


def test_joined_adaptors_and_connectors_take_the_first_channels_of_either_half():
    whole = nn.Conv2d(8, 3, 1)
    joined = ElasticJoinedConv2d(8, 3, 1)
    joined.load_state_dict(whole.state_dict())
    parts = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 4, 4)
    zeros = torch.zeros(1, 2, 4, 4)
    expected = whole(torch.cat((parts[0], zeros, parts[1], zeros), 1))
    torch.testing.assert_close(joined(torch.cat(parts, 1)), expected)
    assert isinstance(make_connector(8, 3, joined=True)[0], ElasticJoinedConv2d)


# --------------------------------------------------------------------------------------------------
# Batch norms


@pytest.fixture(scope="module")
def trained() -> tuple:
    """A supernet with batch norm whose running statistics are of steps at several widths."""
    net = copy.deepcopy(supernet("batch")).train()
    widths = (WIDTH, 1, 3, 5)
    for step in range(12):
        with torch.no_grad():
            net(images(4, seed=step), UNet128Config.uniform(widths[step % 4]))
    return net.eval(), [images(4, seed=100 + i) for i in range(3)]


def test_a_calibrated_subnet_is_nearer_to_its_batches_than_an_uncalibrated_one(trained):
    """Truth is what it computes in training mode, by the statistics of a large batch."""
    net, batches = trained
    config, unseen = UNet128Config.uniform(2), images(16, seed=7)
    plain, calibrated = extract(net, config), calibrate(extract(net, config), batches)
    truth = extract(net, config)
    for module in truth.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    with torch.no_grad():
        expected = truth(unseen)
        errors = [(each(unseen) - expected).abs().mean() for each in (plain, calibrated)]
    assert errors[1] < errors[0] / 2


def test_statistics_are_the_means_over_batches(trained):
    net, batches = trained
    subnet = calibrate(extract(net, UNet128Config.uniform(3)), batches)
    conv, norm = subnet.blocks[1].model[1:3]
    assert not any(module.training for module in subnet.modules()) and norm.momentum == 0.1
    with torch.no_grad():
        seen = [conv(subnet.blocks[1].activate(subnet.blocks[0].down(x))) for x in batches]
    means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, means)
    torch.testing.assert_close(norm.running_var, variances)


def test_a_supernet_that_is_tuned_begins_with_the_statistics_of_its_configuration(trained):
    net, batches = trained
    config, x = UNet128Config.uniform(2), images(2)
    spec = GeneratorSpec("super_unet_128", WIDTH, str(config), norm="batch")
    net = copy.deepcopy(net)
    begin_tuned(net, spec, lambda: batches)
    with torch.no_grad():
        expected = calibrate(extract(net, config), batches)(x)
        assert torch.equal(extract(net, config)(x), expected)
        assert torch.equal(net(x, config), expected)
    begin_tuned(supernet(), GeneratorSpec("super_unet_128", WIDTH, str(config)), pytest.fail)


def test_only_what_needs_calibration_gets_it(trained):
    net, batches = trained
    asked = []
    config, x = UNet128Config.uniform(2), images(1)
    spec = GeneratorSpec("super_unet_128", WIDTH, norm="batch")
    run = runner(spec, lambda: asked.append(1) or batches)
    with torch.no_grad():
        calibrated = run(net, config)(x)
        run(net, UNet128Config.uniform(1))
        assert len(asked) == 1
        expected = calibrate(extract(net, config), batches)(x)
        assert torch.equal(calibrated, expected)
        # A network that was trained at this configuration alone has the right ones already.
        alone = GeneratorSpec("super_unet_128", WIDTH, str(config), norm="batch")
        fixed = runner(alone, lambda: pytest.fail("calibrated"))(net, config)(x)
        assert torch.equal(fixed, subnet_of(net, config)(x)) and not torch.equal(fixed, expected)
        plain = GeneratorSpec("super_unet_128", WIDTH)
        runner(plain, lambda: pytest.fail("calibrated"))(supernet(), config)(x)


def test_a_supernet_of_resnets_still_refuses_batch_norm():
    with pytest.raises(InputError, match="batch"):
        GeneratorSpec("super_mobile_resnet_9blocks", 4, norm="batch").check()


# --------------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize("norm", ["instance", "batch"])
@torch.no_grad()
def test_they_are_read_back(tmp_path, norm):
    net, spec = supernet(norm), GeneratorSpec("super_unet_128", WIDTH, norm=norm, dropout_rate=0.5)
    save_network(net, tmp_path / "super.pth", spec)
    again, found = load_generator(tmp_path / "super.pth", "flag")
    config, x = UNet128Config.parse("6_1_5_2_4_3_6"), images(1)
    assert found == spec and torch.equal(again.eval()(x, config), net(x, config))
    # Bare weights do not say that they are a supernet's, but may be.
    bare = infer_spec(net.state_dict())
    assert bare.netG == "unet_128" and as_supernet(bare).netG == "super_unet_128"
    torch.save(net.state_dict(), tmp_path / "bare.pth")
    assert load_supernet(tmp_path / "bare.pth", "flag")[1].netG == "super_unet_128"
    subnet = spec.kind.extract(net, config)
    assert subnet.blocks[4].model[7].p == 0.5
    torch.save(subnet.state_dict(), tmp_path / "sub.pth")
    loaded, found = load_generator(tmp_path / "sub.pth", "flag")
    assert found == GeneratorSpec("sub_unet_128", None, str(config), norm=norm)
    assert torch.equal(loaded.eval()(x), net(x, config))
    assert count_parameters(loaded) == count_parameters(subnet)


def test_a_config_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="level3=7"):
        extract(supernet(), UNet128Config.parse("1_1_7_1_1_1_1"))
