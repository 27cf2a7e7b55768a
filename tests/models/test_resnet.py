"""The generator itself: taps, norms, channels, and that inputs are clamped."""

import pytest
import torch
from golden_values import golden_input

from models.config import ChannelConfig
from models.generators import GENERATORS, GeneratorSpec
from models.kinds import KINDS, RESNET_TAPS
from models.layers import init_weights
from models.resnet import ResnetGenerator

CONFIG = ChannelConfig.parse("4_3_4_2_3_4_5_6")


@pytest.fixture(params=[True, False], ids=["separable", "dense"])
def net(request):
    torch.manual_seed(0)
    return init_weights(ResnetGenerator(CONFIG, separable=request.param), gain=0.2).eval()


def test_taps_are_the_activations_of_the_same_pass(net):
    x = golden_input(2, 3, 16, 20)
    with torch.no_grad():
        y, taps = net(x, taps=True)
        assert torch.equal(y, net(x))
        alone = net.tap(x)
        expected = [net.model[: index + 1](x) for index in (9, 12, 15, 18)]
    assert [t.shape for t in taps] == [(2, 16, 4, 5)] * 4
    for a, b, c in zip(taps, alone, expected, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_inputs_are_clamped(net):
    x = 3 * golden_input(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(net(x), net(x.clamp(-1, 1)))
        assert not torch.equal(net(x), net(x / 3))
        for a, b in zip(net.tap(x), net.tap(x.clamp(-1, 1)), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("netG", [n for n in GENERATORS if KINDS[n].taps == RESNET_TAPS])
def test_every_norm_builds_and_runs(netG, norm):
    if netG.startswith("super") and norm == "batch":
        pytest.skip("a supernet has no batch norm")
    by_config = netG.startswith(("sub_", "legacy_"))
    spec = GeneratorSpec(
        netG, None if by_config else 4, "4_3_4_2_3_4" if by_config else None, 1, 1, norm, 0.5
    )
    net = init_weights(spec.build())
    y = net(torch.zeros(2, 1, 16, 16))
    assert y.shape == (2, 1, 16, 16) and y.isfinite().all()
    # A conv before batch norm has no bias; the last one always has.
    assert ("model.1.bias" in net.state_dict()) == (norm != "batch")
    assert f"model.{net.layout.last}.bias" in net.state_dict()
    assert ("model.2.running_mean" in net.state_dict()) == (norm == "batch")


def test_dropout_is_where_the_spec_says_and_off_in_evaluation():
    net = init_weights(
        GeneratorSpec("mobile_resnet_9blocks", 4, dropout_rate=0.5).build(), gain=0.2
    )
    x = golden_input(1, 3, 16, 16)
    assert [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)] == [0.5] * 9
    with torch.no_grad():
        assert not torch.equal(net(x), net(x))
        net.eval()
        assert torch.equal(net(x), net(x))
