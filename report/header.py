"""The top of every page: what it is of, key figures, and what its networks cost as bars."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dominate import tags as t

from report.related import relative_url
from report.tables import giga, mega, milliseconds, ratio


@dataclass(frozen=True)
class Figure:
    """A key figure: ``label``, its ``value``, and what stands ``beside`` it in small type."""

    label: str
    value: str
    beside: str = ""


@dataclass(frozen=True)
class Cost:
    """What a network costs; None = not known.

    Args:
        label:      its role: teacher, compressed ...
        params:     learnable parameters
        macs:       of one image, in the convention of the header
        exact_macs: multiply-accumulates of the convolutions of one image
        ms:         time of one image [ms]
    """

    label: str
    params: float | None = None
    macs: float | None = None
    exact_macs: float | None = None
    ms: float | None = None


@dataclass(frozen=True)
class Header:
    """What stands at the top of a page.

    Args:
        kind:       Training | Search | Test | Comparison | Study | Compression
        title:      the page's heading
        note:       what the figures are of, or ""
        networks:   label -> what the network is
        figures:    in order
        costs:      the first is what the others are compared with; what is known of a single one
                    is no bar, but a key figure
        convention: of `Cost.macs`
        show_macs:  how MACs are written
        links:      label -> another page
        script:     what wrote the page, or ""
    """

    kind: str
    title: str
    note: str = ""
    networks: Mapping[str, str] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    costs: Sequence[Cost] = ()
    convention: str = "published"
    show_macs: Callable[[float], str] = giga
    links: Mapping[str, Path] = field(default_factory=dict)
    script: str = ""


def add_header(header: Header, folder: Path) -> None:
    """Add it to the page, whose links start from ``folder``."""
    groups, bars = _groups(header), []
    figures = list(header.figures)
    for what, show, values in groups:
        known = [value for value in values if value]
        if len(known) > 1:
            bars.append((what, show, values))
        else:
            label = header.costs[values.index(known[0])].label if len(values) > 1 else ""
            figures.append(Figure(what, show(known[0]), label))
    with t.header(cls="top"):
        with t.p(cls="when"):
            t.span(header.kind, cls="kind")
            by = f" by {header.script}" if header.script else ""
            t.span(f"written {time.strftime('%Y-%m-%d %H:%M')}{by}")
        t.h1(header.title)
        if header.networks:
            with t.dl(cls="networks"):
                for label, network in header.networks.items():
                    with t.div():
                        t.dt(label)
                        t.dd(network)
        if header.links:
            with t.nav(aria_label="related pages"):
                for label, target in header.links.items():
                    t.a(label, href=relative_url(target, folder))
        if figures:
            _add_figures(figures)
        if bars:
            with t.section(cls="costs", aria_label="what the networks cost"):
                for what, show, values in bars:
                    _add_bars(what, show, values, header.costs)
        if header.note:
            t.p(header.note, cls="note")


_Group = tuple[str, Callable[[float], str], list[float | None]]


def _groups(header: Header) -> list[_Group]:
    """(what, how it is written, its value of each network), of what is known of any."""
    shown = [
        ("parameters", mega, [c.params for c in header.costs]),
        (f"MACs, {header.convention}", header.show_macs, [c.macs for c in header.costs]),
        ("MACs, exact", header.show_macs, [c.exact_macs for c in header.costs]),
        ("time of one image", milliseconds, [c.ms for c in header.costs]),
    ]
    if header.convention == "exact":
        del shown[2]
    return [group for group in shown if any(group[2])]


def _add_figures(figures: Sequence[Figure]) -> None:
    with t.dl(cls="figures"):
        for figure in figures:
            with t.div():
                t.dt(figure.label)
                with t.dd(figure.value):
                    if figure.beside:
                        t.small(figure.beside)


def _add_bars(
    what: str,
    show: Callable[[float], str],
    values: Sequence[float | None],
    costs: Sequence[Cost],
) -> None:
    """Add a bar for each network; the longest is as wide as the page gives."""
    most = max(value for value in values if value)
    with t.div(cls="cost"):
        t.h2(what)
        with t.dl():
            for number, (cost, value) in enumerate(zip(costs, values, strict=True)):
                if not value:
                    continue
                with t.div(cls="bar-row"):
                    t.dt(cost.label)
                    with t.dd(show(value)):
                        against = _against(values[0], value) if number and values[0] else ""
                        if against:
                            t.small(against)
                        # The length is data, like the points of a plot.
                        length = f"--share:{100 * value / most:.2f}%"
                        t.span(cls="bar", style=length, aria_hidden="true")


def _against(reference: float, value: float) -> str:
    """``12.0x less``, ``1.2x more``; nothing where both are about equal."""
    less, more = ratio(reference, value), ratio(value, reference)
    if less == more:
        return ""
    return f"{less} less" if value < reference else f"{more} more"
