"""MUNIT's discriminator and the losses of its scores."""

import pytest
import torch
import torch.nn.functional as F

from models.generators import count_parameters
from models.image_scales import ImageScaleDiscriminator
from training.image_scale_losses import fooled, judged


def test_published_figures_and_keys():
    net = ImageScaleDiscriminator(3)
    assert count_parameters(net) == 8_271_171
    assert [count_parameters(patch) for patch in net.cnns] == [2_757_057] * 3
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    assert shapes["cnns.0.0.conv.weight"] == (64, 3, 4, 4)
    assert shapes["cnns.2.3.conv.weight"] == (512, 256, 4, 4)
    assert shapes["cnns.1.4.weight"] == (1, 512, 1, 1) and shapes["cnns.1.4.bias"] == (1,)
    assert len(shapes) == 3 * 5 * 2


def test_scores_are_those_of_the_formulas():
    torch.manual_seed(0)
    net, x = ImageScaleDiscriminator(2, 4).double(), torch.randn(2, 2, 64, 96).double()
    state, seen = net.state_dict(), x
    for index, scores in enumerate(net(x)):
        y = seen
        for layer in range(4):
            name = f"cnns.{index}.{layer}.conv"
            y = F.pad(y, (1, 1, 1, 1), mode="reflect")
            y = F.conv2d(y, state[f"{name}.weight"], state[f"{name}.bias"], stride=2)
            y = torch.where(y > 0, y, 0.2 * y)
        last = f"cnns.{index}.4"
        y = F.conv2d(y, state[f"{last}.weight"], state[f"{last}.bias"])
        assert scores.shape == (2, 1, 64 >> (4 + index), 96 >> (4 + index))
        assert (scores - y).abs().max() < 1e-12
        # A mean over the pixels that are there.
        ones = torch.ones_like(seen)
        sums = [9 * F.avg_pool2d(v, 3, 2, 1) for v in (seen, ones)]
        seen = sums[0] / sums[1]


def test_losses_are_sums_over_scales():
    fake, real = [torch.full((1, 1, 2, 2), v) for v in (0.5, -1.0)], [torch.zeros(1, 1, 3, 3)] * 2
    of_fake, of_real = judged("lsgan", fake, real)
    assert of_fake.item() == pytest.approx(0.25 + 1) and of_real.item() == pytest.approx(2)
    assert fooled("lsgan", fake).item() == pytest.approx(0.25 + 4)
    assert fooled("hinge", fake).item() == pytest.approx(-0.5 + 1)
