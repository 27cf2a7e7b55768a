"""The interactive plot of a search: quality over MACs or time, as SVG inside the page.

The plot is complete without a script: points have titles, those with images are links, and the
axes are switched by style rules. pareto.js adds what a pointer and keys do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dominate import svg
from dominate import tags as t
from dominate.util import raw

from report.related import relative_url
from subnets.results import Evaluated
from subnets.search import pareto_front
from subnets.space import Milliseconds

SHADES = 5  # colours of generations, see page.css
_STAR = "M0-9 2.6-3.2 8.6-2.8 4.1 1.2 5.4 7.3 0 4.2-5.4 7.3-4.1 1.2-8.6-2.8-2.6-3.2Z"


@dataclass(frozen=True)
class SearchPlot:
    """What is plotted.

    Args:
        records:    with a finite criterion each, best first, not empty
        fronts:     axis, ``macs`` or ``ms`` -> the records that no other beats in that cost and the
                    criterion, by ascending cost; the first axis is the one shown
        criterion:  key of the metric that decides
        measure:    its name in words
        lower:      whether lower is better
        convention: of the MACs
        budget:     in the unit of the first axis; infinite = none
        samples:    config -> picture of its outputs
        command:    makes images of the configuration that stands for ``{config}``; "" = not known
    """

    records: Sequence[Evaluated]
    fronts: Mapping[str, Sequence[Evaluated]]
    criterion: str
    measure: str
    lower: bool
    convention: str
    budget: float
    samples: Mapping[str, Path]
    command: str = ""


def fronts_of(
    records: Sequence[Evaluated], criterion: str, lower: bool, budget: float
) -> dict[str, list[Evaluated]]:
    """The fronts of a `SearchPlot`, that of the budget's unit first; by time only where all have a
    time."""
    costs = {"macs": math.inf}
    if all(record.ms is not None for record in records):
        costs["ms"] = Milliseconds(math.inf)
    order = sorted(costs, key=lambda axis: (axis == "ms") != isinstance(budget, Milliseconds))
    return {axis: pareto_front([*records], criterion, lower, costs[axis]) for axis in order}


# --------------------------------------------------------------------------------------------------
# Scales


@dataclass(frozen=True)
class Scale:
    """From values to percent of an axis.

    Args:
        low, high: ends of the axis
        log:       whether it is logarithmic
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], may_log: bool = False) -> Scale:
        """With room around the values; logarithmic if it may be and they span a factor of 4."""
        low, high = min(values), max(values)
        if may_log and low > 0 and high > 4 * low:
            room = (high / low) ** 0.05
            return cls(low / room, high * room, True)
        room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
        return cls(low - room, high + room)

    def percent(self, value: float) -> float:
        ends = (self.low, self.high, value)
        low, high, at = map(math.log, ends) if self.log else ends
        return 100 * (at - low) / (high - low)

    def ticks(self, wanted: int = 5) -> list[float]:
        """About ``wanted`` round values."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [m * 10.0**power for power in powers for m in (1, 2, 5)]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) > 2:
                return found
        rough = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]


def _at(percent: float) -> str:
    return f"{percent:.2f}%"


# --------------------------------------------------------------------------------------------------
# Drawing

_NAMES = {"macs": "GMACs", "ms": "predicted ms"}


def _value(record: Evaluated, axis: str) -> float:
    return record.macs / 1e9 if axis == "macs" else record.ms


def _name(criterion: str) -> str:
    """``fid`` -> ``FID``, ``mIoU`` as it is."""
    return criterion.upper() if criterion.islower() else criterion


def _said(plot: SearchPlot, record: Evaluated) -> str:
    """A point in words."""
    time = "" if record.ms is None else f", {record.ms:.3g} ms"
    quality = f"{_name(plot.criterion)} {record.value(plot.criterion):.3f}"
    return f"{record.config_str}: {quality}, {record.macs / 1e9:.4g} GMACs{time}"


def _shades(records: Sequence[Evaluated]) -> list[int]:
    """A colour for each record, by its generation."""
    last = max(record.generation for record in records)
    first = min(record.generation for record in records)
    span = max(1, last - first)
    return [round((SHADES - 1) * (record.generation - first) / span) for record in records]


def add_search_plot(plot: SearchPlot, folder: Path) -> None:
    """Add the plot, and the data that pareto.js reads.

    Args:
        folder: of the page, from which the addresses of images start
    """
    records, shades = plot.records, _shades(plot.records)
    scales = {axis: Scale.of([_value(record, axis) for record in records]) for axis in plot.fronts}
    vertical = Scale.of([r.value(plot.criterion) for r in records], may_log=True)
    with t.section(cls="pareto"):
        with t.div(cls="chart"):
            t.h2("Every evaluated subnet, and the best of every budget")
            if len(scales) > 1:
                for number, axis in enumerate(scales):
                    chosen = {"checked": True} if number == 0 else {}
                    t.input_(type="radio", name="axis", id=f"x-{axis}", cls=f"x-{axis}", **chosen)
                    t.label(_NAMES[axis], html_for=f"x-{axis}")
            better = "lower" if plot.lower else "higher"
            t.p(f"{plot.measure}, {better} is better", cls="axis-name")
            for number, axis in enumerate(scales):
                budget = plot.budget if number == 0 else math.inf
                _add_plane(plot, axis, scales[axis], vertical, shades, budget, folder)
            _add_legend(records)
        t.div(cls="chosen-point", aria_live="polite")
    t.script(raw(_data(plot, scales, vertical, folder)), type="application/json", cls="points")


def _add_plane(
    plot: SearchPlot,
    axis: str,
    across: Scale,
    up: Scale,
    shades: Sequence[int],
    budget: float,
    folder: Path,
) -> None:
    """Add one plot: its axes, the dots, the front as steps, and the members of the front."""
    places = [
        (
            _at(across.percent(_value(record, axis))),
            _at(100 - up.percent(record.value(plot.criterion))),
        )
        for record in plot.records
    ]
    number = {record.config_str: index for index, record in enumerate(plot.records)}
    front = [number[record.config_str] for record in plot.fronts[axis]]
    said = [_said(plot, record) for record in plot.records]
    what = f"{plot.measure} over {_NAMES[axis]} of {len(plot.records)} subnets"
    with t.div(cls=f"of-{axis}"):
        with t.div(cls="plane", data_axis=axis), svg.svg(role="group", aria_label=what):
            _add_axes(across, up)
            limit = budget if axis == "ms" else budget / 1e9
            if limit <= across.high:
                _add_budget(across.percent(limit), f"{limit:.3g}")
            for index in set(range(len(places))) - set(front):
                _add_dot(places[index], said[index], shades[index], radius=4)
            _add_steps([places[index] for index in front])
            for index in front:
                sample = plot.samples.get(plot.records[index].config_str)
                sample = relative_url(sample, folder) if sample else None
                _add_member(places[index], said[index], shades[index], index, sample)
            with svg.svg(x=places[0][0], y=places[0][1], overflow="visible"):
                svg.path(d=_STAR, cls="star")
        name = f"GMACs ({plot.convention})" if axis == "macs" else _NAMES[axis]
        t.p(name, cls="axis-name x")


def _add_axes(across: Scale, up: Scale) -> None:
    for value in up.ticks():
        y = _at(100 - up.percent(value))
        svg.line(x1="0", x2="100%", y1=y, y2=y, cls="grid")
        svg.text(f"{value:.4g}", x="-8", y=y, dy=".32em", cls="y")
    for value in across.ticks():
        percent = across.percent(value)
        x = _at(percent)
        svg.line(x1=x, x2=x, y1="0", y2="100%", cls="grid")
        svg.text(f"{value:.4g}", x=x, y="100%", dy="1.5em", cls="x")


def _add_budget(percent: float, text: str) -> None:
    x = _at(percent)
    svg.line(x1=x, x2=x, y1="0", y2="100%", cls="budget")
    svg.text(
        f"budget {text}",
        x=x,
        y="0",
        dx="-5" if percent > 50 else "5",
        dy="1em",
        cls="last" if percent > 50 else "x-first",
    )


def _add_steps(places: Sequence[tuple[str, str]]) -> None:
    """The best of every budget: level until the next member."""
    for (x1, y1), (x2, y2) in zip(places, [*places[1:], ("100%", places[-1][1])], strict=True):
        svg.line(x1=x1, x2=x2, y1=y1, y2=y1, cls="step")
        svg.line(x1=x2, x2=x2, y1=y1, y2=y2, cls="step")


def _add_dot(place: tuple[str, str], said: str, shade: int, radius: int) -> None:
    with svg.circle(cx=place[0], cy=place[1], r=radius, cls=f"dot g{shade}"):
        svg.title(said)


def _add_member(
    place: tuple[str, str], said: str, shade: int, index: int, sample: str | None
) -> None:
    """A member of the front, the record ``index``: a link to its picture where there is one."""
    names = {"cls": "front", "data_i": index, "aria_label": said}
    with t.a(href=sample, **names) if sample else svg.g(role="button", **names):
        _add_dot(place, said, shade, radius=6)


def _add_legend(records: Sequence[Evaluated]) -> None:
    last = max(record.generation for record in records)
    with t.p(cls="legend"):
        with t.span(), svg.svg(aria_hidden="true"):
            svg.path(d=_STAR, cls="star", transform="translate(6 6)")
        t.span("best")
        if last > min(record.generation for record in records):
            with t.span():
                t.span("generation, first")
                with svg.svg(cls="wide", aria_hidden="true"):
                    for shade in range(SHADES):
                        svg.circle(cx=6 + 12 * shade, cy="6", r="4", cls=f"g{shade}")
                t.span("to last")
        t.span("click a point for its images; ← → go along the front", cls="hint")


# --------------------------------------------------------------------------------------------------
# Data


def _data(plot: SearchPlot, scales: Mapping[str, Scale], up: Scale, folder: Path) -> str:
    """What pareto.js reads, as JSON that may stand inside a script element."""
    number = {record.config_str: index for index, record in enumerate(plot.records)}
    name = _name(plot.criterion)
    points = []
    for record in plot.records:
        facts = {name: f"{record.value(plot.criterion):.3f}"}
        facts |= {
            _name(key): f"{record.value(key):.4f}"
            for key in record.metrics
            if key != plot.criterion and record.value(key) is not None
        }
        facts["GMACs"] = f"{record.macs / 1e9:.4g}"
        if record.ms is not None:
            facts["predicted ms"] = f"{record.ms:.3g}"
        facts["parameters"] = f"{record.params / 1e6:.3f}M"
        facts |= {"images measured": str(record.n), "generation": str(record.generation)}
        facts["origin"] = record.origin
        sample = plot.samples.get(record.config_str)
        points.append(
            {
                "config": record.config_str,
                "facts": facts,
                "x": {axis: scale.percent(_value(record, axis)) for axis, scale in scales.items()},
                "y": 100 - up.percent(record.value(plot.criterion)),
                "sample": relative_url(sample, folder) if sample else None,
            }
        )
    fronts = {axis: [number[r.config_str] for r in front] for axis, front in plot.fronts.items()}
    brief = [name, *(_NAMES[axis] for axis in scales)]
    data = {"points": points, "fronts": fronts, "brief": brief, "command": plot.command}
    return json.dumps(data).replace("<", "\\u003c")
