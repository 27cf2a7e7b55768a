"""Discriminators: their outputs are pinned in test_generators; here their layout."""

import pytest
import torch
from torch import nn

from models.discriminators import build_discriminator


def test_the_default_is_a_70_pixel_patchgan():
    """A score depends on 70 pixels each way: the gradient of one score says which."""
    net = build_discriminator("n_layers", 6, ndf=4, norm="none")
    x = torch.randn(1, 6, 128, 128, requires_grad=True)
    scores = net(x)
    scores[0, 0, 7, 7].backward()
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 70
    assert scores.shape == (1, 1, 14, 14)


def test_channels_double_up_to_eight_times():
    net = build_discriminator("n_layers", 3, ndf=2, n_layers=5)
    assert [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)] == [
        2,
        4,
        8,
        16,
        16,
        16,
        1,
    ]


def test_nothing_follows_the_first_conv_but_its_activation():
    net = build_discriminator("n_layers", 6, ndf=4)
    assert isinstance(net.model[1], nn.LeakyReLU)
    assert sum(isinstance(m, nn.InstanceNorm2d) for m in net.modules()) == 3


@pytest.mark.parametrize("name", ["n_layers", "pixel"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_every_norm_builds(name, norm):
    net = build_discriminator(name, 4, ndf=4, norm=norm)
    assert net(torch.randn(2, 4, 32, 32)).isfinite().all()
    biases = [m.bias is not None for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert biases[0] and all(biases) == (norm != "batch")


def test_the_pixel_discriminator_judges_each_pixel_by_itself():
    net = build_discriminator("pixel", 3, ndf=4, norm="none")
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(net(x)[:, :, 2:3, 5:6], net(x[:, :, 2:3, 5:6]))
