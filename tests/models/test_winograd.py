"""Winograd's convolution is the convolution, within rounding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.generators import GeneratorSpec
from models.layers import init_weights
from models.winograd import WinogradConv2d, with_winograd


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(1, 5),
    st.booleans(),
)
@torch.no_grad()
def test_equals_the_direct_convolution(n, channels, out, rows, columns, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, out, 3, bias=bias)
    x = torch.randn(n, channels, 4 * rows + 2, 4 * columns + 2)
    torch.testing.assert_close(WinogradConv2d(conv)(x), conv(x), rtol=0, atol=2e-5)


@torch.no_grad()
def test_other_sizes_go_the_direct_way():
    conv = nn.Conv2d(4, 5, 3)
    x = torch.randn(1, 4, 9, 12)
    assert torch.equal(WinogradConv2d(conv)(x), conv(x))


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 36, 48)])
@torch.no_grad()
def test_a_teacher_keeps_its_taps(shape):
    torch.manual_seed(0)
    teacher = init_weights(GeneratorSpec("resnet_9blocks", 32).build()).eval()
    fast = with_winograd(teacher)
    assert sum(isinstance(m, WinogradConv2d) for m in fast.modules()) == 18
    assert not any(isinstance(m, WinogradConv2d) for m in teacher.modules())
    x = torch.rand(shape) * 2 - 1
    for found, expected in zip(fast.tap(x), teacher.tap(x), strict=True):
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    torch.testing.assert_close(fast(x), teacher(x), rtol=0, atol=1e-4)


def test_narrow_networks_stay_as_they_are():
    fast = with_winograd(GeneratorSpec("resnet_9blocks", 16).build())
    assert not any(isinstance(m, WinogradConv2d) for m in fast.modules())
