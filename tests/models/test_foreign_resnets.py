"""ResNets of pix2pix and CycleGAN in PyTorch are recognised from the file alone, and compute the
same. The reference is built here, from what is known of their layout."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from errors import InputError
from evaluation.tested import TestSettings, load_tested
from models.build import Checkpoint
from models.config import ChannelConfig
from models.cost import config_cost
from models.generators import count_parameters
from models.supernet import SuperMobileResnetGenerator, extract
from models.weights import load_generator

FLAG = "--restore_G_path"


def reference(ngf: int, blocks: int, norm: str, dropout: bool) -> nn.Sequential:
    """Their generator."""
    bias = norm == "instance"

    def normalise(channels: int) -> nn.Module:
        if norm == "batch":
            return nn.BatchNorm2d(channels)
        return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)

    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, ngf, 7, bias=bias), normalise(ngf), nn.ReLU()]
    for width in (ngf, 2 * ngf):
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), normalise(2 * width), nn.ReLU()]
    trunk = 4 * ngf

    def half() -> list[nn.Module]:
        conv = nn.Conv2d(trunk, trunk, 3, bias=bias)
        return [nn.ReflectionPad2d(1), conv, normalise(trunk)]

    for _ in range(blocks):
        layers.append(Residual([*half(), nn.ReLU(), *[nn.Dropout(0.5)] * dropout, *half()]))
    for width in (4 * ngf, 2 * ngf):
        up = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1, bias=bias)
        layers += [up, normalise(width // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(ngf, 3, 7), nn.Tanh())


class Residual(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv_block(x)


def written(net: nn.Module, path, prefix: str = "model.", old: bool = False) -> str:
    """The path of its weights; ``old``: with the statistics that instance norms once kept."""
    state = OrderedDict((prefix + key, value) for key, value in net.state_dict().items())
    if old:
        state[f"{prefix}2.running_mean"] = torch.zeros(net[1].out_channels)
        state[f"{prefix}2.running_var"] = torch.ones(net[1].out_channels)
        state[f"{prefix}2.num_batches_tracked"] = torch.tensor(7)
    torch.save(state, path)
    return str(path)


def settled(net: nn.Module) -> nn.Module:
    """``net`` with weights and statistics as after a training: nothing is 0 or 1."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.2, 0.6)
    return net.eval()


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("blocks", [6, 9])
@pytest.mark.parametrize("dropout", [False, True])
@torch.no_grad()
def test_their_files_load_and_compute_the_same(blocks, norm, dropout, tmp_path):
    torch.manual_seed(blocks)
    ngf = 5 if dropout else 8
    theirs = settled(reference(ngf, blocks, norm, dropout))
    name = "latest_net_G_A.pth" if dropout else "latest_net_G.pth"
    path = written(theirs, tmp_path / name, prefix="module.model." if dropout else "model.")
    ours, spec = load_generator(path, FLAG)
    assert (spec.netG, spec.ngf, spec.norm) == (f"resnet_{blocks}blocks", ngf, norm)
    x = torch.rand(2, 3, 20, 28) * 2 - 1
    torch.testing.assert_close(ours.eval()(x), theirs(x), rtol=0, atol=1e-5)
    assert config_cost(spec.config, spec.architecture)[1] == count_parameters(theirs)


@torch.no_grad()
def test_an_old_file_holds_statistics_of_instance_norms(tmp_path):
    theirs = reference(4, 6, "instance", False)
    path = written(theirs, tmp_path / "latest_net_G_B.pth", old=True)
    ours, spec = load_generator(path, FLAG)
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert spec.norm == "instance"
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)


@torch.no_grad()
def test_mode_train_is_their_test_without_eval(tmp_path):
    theirs = settled(reference(4, 6, "batch", True))
    path = written(theirs, tmp_path / "latest_net_G.pth")
    x = torch.rand(3, 3, 16, 16) * 2 - 1

    def ours(**settings):
        made = TestSettings([Checkpoint(path)], None, (3, 3), None, "exact", (16, 16), **settings)
        return load_tested(made, torch.device("cpu"))[1][0]

    evaluated = ours()
    assert evaluated.model.mode == "eval"
    torch.testing.assert_close(evaluated.net(x), theirs(x), rtol=0, atol=1e-5)
    theirs.train()
    for module in theirs.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    without_dropout = ours(mode="train")
    assert without_dropout.model.mode == "train"
    torch.testing.assert_close(without_dropout.net(x), theirs(x), rtol=0, atol=1e-5)
    for module in theirs.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    torch.manual_seed(1)
    with_dropout = ours(mode="train", dropout_rate=0.5).net
    drawn = []
    for net in (with_dropout, theirs):
        torch.manual_seed(1)
        drawn.append(net(x))
    torch.testing.assert_close(*drawn, rtol=0, atol=1e-5)


@pytest.mark.parametrize("blocks", [7, 12])
def test_another_depth_is_named(blocks, tmp_path):
    path = written(reference(4, blocks, "instance", False), tmp_path / "latest_net_G.pth")
    with pytest.raises(InputError, match=f"of {blocks} blocks; known are those of 6 and 9"):
        load_generator(path, FLAG)


@torch.no_grad()
def test_a_supernet_of_six_blocks_is_its_subnets():
    torch.manual_seed(0)
    supernet = SuperMobileResnetGenerator(8, blocks=6).eval()
    config = ChannelConfig.parse("4_8_6_3_8_5_7_2")
    x = torch.rand(2, 3, 16, 20) * 2 - 1
    y, taps = supernet(x, config, taps=True)
    subnet = extract(supernet, config)
    expected, expected_taps = subnet(x, taps=True)
    assert torch.equal(y, expected)
    assert [torch.equal(a, b) for a, b in zip(taps, expected_taps, strict=True)] == [True] * 4
    masked = supernet(x, supernet.widths_of([config]))
    torch.testing.assert_close(masked, y, rtol=0, atol=1e-5)
    assert len(subnet.model) == 10 + 6 + 6 + 3
