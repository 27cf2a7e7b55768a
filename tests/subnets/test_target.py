"""Targets in three units, and the MACs that each allows."""

import numpy as np
import pytest
import torch

from errors import InputError
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from subnets.space import SearchSpace
from subnets.target import Target, budget_for, cost, time_widths, uniform_configs

SPACE = SearchSpace("32,24,16,8", height=32, width=64)
LEAST, MOST = int(SPACE.macs.min()), int(SPACE.macs.max())


def never():
    raise AssertionError("nothing needs to be timed")


def budget(text: str, teacher: int = 10 * MOST, timed=never):
    return budget_for(Target.parse(text), teacher, SPACE, timed)


def test_three_units():
    assert Target.parse("12x") == Target("12x", "times", 12)
    assert Target.parse("4.6e9") == Target("4.6e9", "macs", 4.6e9)
    assert Target.parse(" 20 ms ") == Target("20 ms", "ms", 20)
    assert budget("12x").macs == 10 * MOST // 12
    assert budget(f"{LEAST}").macs == LEAST
    for wrong in ("", "x", "twelve", "12y", "-3x", "0", "nan", "inf", "1e999ms", "12 x x"):
        with pytest.raises(InputError, match=r"`target`.*12x.*4.6e9.*20ms"):
            Target.parse(wrong)


@pytest.mark.parametrize("text", ["5x", "1000x", "1", f"{MOST + 1}", "4.6e15"])
def test_what_no_network_reaches_is_refused_with_the_range(text):
    with pytest.raises(InputError) as refused:
        budget(text)
    said = str(refused.value)
    assert f"`target` {text}" in said and "32,24,16,8 at 64x32" in said
    if not text.endswith("x"):
        assert f"from {LEAST:,} to {MOST:,} MACs" in said
        return
    low, high = said.split("from ")[1].split("x fewer")[0].split("x to ")
    # Both ends of the range can be given.
    assert LEAST <= budget(f"{low}x").macs <= MOST and LEAST <= budget(f"{high}x").macs <= MOST
    assert float(low) == pytest.approx(10, rel=0.01)
    assert float(high) == pytest.approx(10 * MOST / LEAST, rel=0.01)


def test_a_time_is_interpolated_between_measured_networks():
    macs = [LEAST, (LEAST + MOST) // 2, MOST]
    points = [{"config": "", "macs": m, "ms": ms} for m, ms in zip(macs, (2, 3, 7), strict=True)]
    assert budget("2ms", timed=lambda: points).macs == LEAST
    half = budget("5ms", timed=lambda: points)
    assert half.macs == pytest.approx((macs[1] + macs[2]) / 2, rel=1e-6)
    assert half.timing == points
    for wrong in ("1.9ms", "7.1ms"):
        with pytest.raises(InputError, match="from 2ms to 7ms per image"):
            budget(wrong, timed=lambda: points)


def test_widths_are_timed_from_the_smallest_to_the_largest():
    configs = uniform_configs(SPACE)
    assert (configs[0], configs[-1]) == (SPACE.smallest, SPACE.largest)
    assert all(SPACE.holds(config) for config in configs)
    spec = GeneratorSpec("super_mobile_resnet_9blocks", 32)
    points = time_widths(spec, SPACE, torch.device("cpu"))
    assert [point["macs"] for point in points] == sorted(SPACE.cost(c)[0] for c in configs)
    times = [point["ms"] for point in points]
    assert times == sorted(times) and times[0] > 0
    assert np.diff([point["macs"] for point in points]).min() > 0


def test_cost_is_that_of_the_table():
    """56.8 G of the published teacher."""
    macs, params = cost(GeneratorSpec("resnet_9blocks", 64), (256, 256))
    assert (round(macs / 1e9, 3), round(params / 1e6, 3)) == (56.832, 11.378)
    config = ChannelConfig.uniform(16)
    assert (
        SPACE.cost(config)[0]
        == cost(GeneratorSpec("sub_mobile_resnet_9blocks", config_str=str(config)), (32, 64))[0]
    )
