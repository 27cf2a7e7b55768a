"""How small a network is to be: the text of ``target``, and the budget of MACs that it means."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from errors import InputError
from evaluation.speed import measure_side_by_side
from models.config import ChannelConfig
from models.cost import config_cost
from models.generators import GeneratorSpec
from subnets.space import SearchSpace

# Nets that are timed to find out how many MACs a time allows, from the smallest to the largest.
POINTS = 5
TIMES = 9


@dataclass(frozen=True)
class Target:
    """What the user wants.

    Args:
        text:  as it was typed
        kind:  times | macs | ms
        value: how many times fewer MACs than the teacher; MACs; or milliseconds per image
    """

    text: str
    kind: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Target:
        """From ``12x``, ``4.6e9`` or ``20ms``.

        Raises:
            InputError: none of these, or not above zero.
        """
        number, unit = re.fullmatch(r"\s*(.*?)\s*(x|ms|)\s*", text, re.DOTALL).groups()
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise InputError(
                f"`target` {text}: give 12x (times fewer MACs than the teacher), 4.6e9 (MACs) or "
                "20ms (time of one image on this machine)"
            )
        return cls(text.strip(), {"x": "times", "ms": "ms", "": "macs"}[unit], value)


@dataclass(frozen=True)
class Budget:
    """The MACs that a target allows.

    Args:
        macs:   as published, of one image
        timing: of a target in milliseconds: what the times of uniform networks were, see
                `time_widths`; empty otherwise
    """

    macs: int
    timing: Sequence[dict] = ()


def cost(spec: GeneratorSpec, size: tuple[int, int], convention: str = "published"):
    """(MACs, parameters) of a generator at (height, width) pixels."""
    return config_cost(spec.config, spec.architecture, convention, *size)


# --------------------------------------------------------------------------------------------------
# From the target to the budget


def budget_for(
    target: Target,
    teacher_macs: int,
    space: SearchSpace,
    timed: Callable[[], Sequence[dict]],
) -> Budget:
    """The budget of a target.

    Args:
        timed: measures `time_widths`; called only for a target in milliseconds

    Raises:
        InputError: no network of the space is that small, or all are: says what there is.
    """
    least, most = int(space.macs.min()), int(space.macs.max())
    widths = f"the widths {space.name} at {space.width}x{space.height}"
    if target.kind == "ms":
        points = list(timed())
        low, high = points[0]["ms"], points[-1]["ms"]
        if not low <= target.value <= high:
            raise InputError(
                f"`target` {target.text}: on this machine {widths} take from {low:.3g}ms to "
                f"{high:.3g}ms per image; give a time within, or a `preset` of other widths"
            )
        macs = np.interp(
            target.value, [point["ms"] for point in points], [point["macs"] for point in points]
        )
        return Budget(int(np.clip(macs, least, most)), points)
    if target.kind == "times":
        budget = int(teacher_macs / target.value)
        # Rounded inwards, so that both ends can be given.
        low, high = _inwards(teacher_macs / most, teacher_macs / least)
        found = f"from {low}x to {high}x fewer MACs than the teacher ({teacher_macs:,})"
    else:
        budget = int(target.value)
        found = f"from {least:,} to {most:,} MACs"
    if not least <= budget <= most:
        raise InputError(
            f"`target` {target.text}: {widths} hold networks {found}; give a target within, or a "
            "`preset` of other widths"
        )
    return Budget(budget)


def _inwards(low: float, high: float) -> tuple[str, str]:
    """Two ends of a range in four digits at most, within it."""

    def text(value: float, direction: Callable[[float], float]) -> str:
        step = 10.0 ** (math.floor(math.log10(value)) - 2)
        return f"{direction(value / step) * step:.4g}"

    return text(low, math.ceil), text(high, math.floor)


# --------------------------------------------------------------------------------------------------
# Time


def uniform_configs(space: SearchSpace, points: int = POINTS) -> list[ChannelConfig]:
    """Configurations from the smallest to the largest, equally far along in every gene."""
    found = []
    for share in np.linspace(0, 1, points):
        genes = [sorted(choices) for choices in space.choices]
        found.append(space.of_genes(each[round(share * (len(each) - 1))] for each in genes))
    return list(dict.fromkeys(found))


def time_widths(spec: GeneratorSpec, space: SearchSpace, device: torch.device) -> list[dict]:
    """Time of one image for networks cut out of a supernet, from the smallest to the largest.

    Args:
        spec: of the supernet

    Returns:
        a dict for each: ``config``, ``macs`` and ``ms``, the median in eager PyTorch. ``ms`` never
        falls from one to the next, which noise could make it do.
    """
    configs = uniform_configs(space)
    nets = [spec.subnet(config).build().to(device).eval() for config in configs]
    x = torch.rand(1, spec.input_nc, space.height, space.width, device=device) * 2 - 1
    timings = measure_side_by_side(nets, x, TIMES, warmup=2)
    points, last = [], 0.0
    for config, timing in zip(configs, timings, strict=True):
        last = max(last, timing["median_ms"])
        points.append({"config": str(config), "macs": space.cost(config)[0], "ms": last})
    return points
