"""The times of the networks of a latency table, of a machine that is not there."""

import numpy as np

from models.parts import parts_of
from subnets.latency import TimingPlan, part_name

FACTS = {"backend": "eager", "device": "a phone", "threads": 1, "versions": {}}


def alone(part, widths) -> float:
    """Milliseconds of a part by itself, of a machine that is not there."""
    return 0.1 + 0.013 * float(np.prod(widths)) ** 0.9 / part.scale


def synthetic(plan: TimingPlan, factor=1.0, offset: float = 0.0, noise=None) -> dict:
    """The times of a plan: a network takes ``factor`` times its parts, and ``offset`` besides.

    ``factor`` may be a function of a part and its widths.
    """
    factor_of = factor if callable(factor) else lambda part, widths: factor
    ms = {}
    for part in parts_of(plan.spec):
        for widths in plan.widths_of(part):
            each = alone(part, widths)
            # What a run takes besides its layers is not in the difference of two chains.
            ms[part_name(part, widths, 1)] = each + (0.05 if part.repeats > 1 else 0)
            if part.repeats > 1:
                ms[part_name(part, widths, part.repeats)] = part.repeats * each + 0.05
    for item in plan.items:
        if item.structure == "net":
            genes = plan.space.parse(item.name.split()[1]).full
            total = sum(
                factor_of(part, widths) * part.repeats * alone(part, widths)
                for part in parts_of(plan.spec)
                for widths in ([genes[g] for g in use] for use in part.uses)
            )
            ms[item.name] = total + offset
    if noise is not None:
        ms = {name: value * noise.normal(1, 0.02) for name, value in ms.items()}
    return ms
