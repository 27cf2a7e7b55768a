"""Subnets of a supernet as functions that are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from torch import Tensor, nn

from models.calibration import calibrate
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.styles import random_styles

# (supernet, configuration) -> the function A -> output of that subnet.
Run = Callable[[nn.Module, ChannelConfig], Callable[[Tensor], Tensor]]


def subnet_of(net: nn.Module, config: ChannelConfig) -> Callable[[Tensor], Tensor]:
    """One subnet of a supernet, run inside it."""
    return lambda x: net(x, config)


def subnet_in_random_styles(net: nn.Module, config: ChannelConfig) -> Callable[[Tensor], Tensor]:
    """The same of a supernet whose images are made in styles: see `models.styles`."""
    return lambda x: net(x, config, random_styles(x, net.style_dim))


def runner(spec: GeneratorSpec, batches: Callable[[], Iterable[Tensor]]) -> Run:
    """How subnets of ``spec`` are run: `subnet_of`, or `subnet_in_random_styles`, or, where their
    batch norms need statistics of their own, each cut out and calibrated.

    Args:
        batches: inputs to calibrate on, see `models.calibration`; asked for once, when needed, and
                 gone through for each subnet
    """
    if spec.kind.styled:
        return subnet_in_random_styles
    batches = cache(batches)

    def run(net: nn.Module, config: ChannelConfig) -> Callable[[Tensor], Tensor]:
        if not spec.needs_statistics(config):
            return subnet_of(net, config)
        return calibrate(spec.kind.extract(net, config), batches())

    return run
