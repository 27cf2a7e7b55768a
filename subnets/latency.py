"""The time of every configuration of a space, composed of the times of parts of its networks.

The parts (`models.parts`) are timed in the form that is deployed, and so are some whole networks.
Those say how long the parts take inside a network: each gets a factor, which is 1 where it takes as
long as alone. Other whole networks, which nothing was fitted to, say how good the prediction is.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from torch import nn

from errors import InputError
from models.config import ChannelConfig, ConfigSet
from models.generators import GeneratorSpec
from models.parts import Part, parts_of, piece, subnet
from runtime.files import read_json
from subnets.space import SearchSpace

# Whole networks that the factors are fitted to, and others that validate the prediction.
FITTED, VALIDATED = 64, 50
# What the factors are expected to be before any network is timed, as standard deviations: how far
# all of one kind of part are from 1 together; how far those of similar widths are from their kind
# together, and each by itself. And the relative error of a measured time.
KIND, SIMILAR, EACH, NOISE = 0.3, 0.1, 0.05, 0.02
# Widths are similar if their logarithms differ by less than this.
REACH = 0.7
VERSION = 2


# --------------------------------------------------------------------------------------------------
# What is timed


@dataclass(frozen=True)
class Timed:
    """One network of a `TimingPlan`.

    Args:
        name:      what it is called in files
        structure: equal in networks that differ in widths alone
        build:     -> the network, which takes what `models.inputs.inputs_of` says
    """

    name: str
    structure: str
    build: Callable[[], nn.Module]


@dataclass(frozen=True)
class TimingPlan:
    """All that a table needs the times of.

    Args:
        spec:          of the supernet
        space:         its configurations, with the size of their images
        seed:          of the whole networks' draw
        fitted, validated: how many of them; at most the space holds
    """

    spec: GeneratorSpec
    space: SearchSpace
    seed: int = 233
    fitted: int = FITTED
    validated: int = VALIDATED

    @property
    def description(self) -> dict:
        """What decides its list of networks, as JSON values."""
        spec = self.spec
        return {
            "netG": spec.netG,
            "norm": spec.norm,
            "input_nc": spec.input_nc,
            "output_nc": spec.output_nc,
            **form_of(spec),
            "config_set": self.space.name,
            "height": self.space.height,
            "width": self.space.width,
            "seed": self.seed,
            "fitted": self.fitted,
            "validated": self.validated,
        }

    @cached_property
    def networks(self) -> tuple[list[ChannelConfig], list[ChannelConfig]]:
        """(those that factors are fitted to, with smallest and largest; those that validate)."""
        space, rng = self.space, np.random.default_rng(self.seed)
        ends = list(dict.fromkeys([space.smallest, space.largest]))
        count = min(self.fitted + self.validated, space.size)
        drawn = [space.config(int(n)) for n in rng.choice(space.size, count, replace=False)]
        others = [config for config in drawn if config not in ends]
        share = round(len(others) * self.fitted / (self.fitted + self.validated))
        return [*ends, *others[:share]], others[share:]

    @property
    def anchor(self) -> str:
        """The network that is in every group, see `deploy.device_times.measure`."""
        middle = [sorted(choices)[len(choices) // 2] for choices in self.space.choices]
        return f"net {self.space.of_genes(middle)}"

    def widths_of(self, part: Part) -> list[tuple[int, ...]]:
        """All widths that a part may have somewhere."""
        uses = (itertools.product(*(self.space.choices[g] for g in use)) for use in part.uses)
        return list(dict.fromkeys(itertools.chain(*uses)))

    @cached_property
    def items(self) -> list[Timed]:
        found = []
        for part in parts_of(self.spec):
            for widths in self.widths_of(part):
                for repeats in dict.fromkeys((1, part.repeats)):
                    found.append(self._part(part, widths, repeats))
        names = [f"net {config}" for config in itertools.chain(*self.networks)]
        found += [self._whole(name) for name in dict.fromkeys([self.anchor, *names])]
        return found

    def _part(self, part: Part, widths: tuple[int, ...], repeats: int) -> Timed:
        def build() -> nn.Module:
            return piece(self.spec, part, widths, repeats)

        return Timed(part_name(part, widths, repeats), f"{part.name} x{repeats}", build)

    def _whole(self, name: str) -> Timed:
        config = self.space.parse(name.split()[1])

        def build() -> nn.Module:
            return subnet(self.spec, config)

        return Timed(name, "net", build)


def form_of(spec: GeneratorSpec) -> dict[str, dict]:
    """What decides times besides widths and norm, of kinds that have a form, see `Kind.form`."""
    if spec.form is None:
        return {}
    return {"form": {name: getattr(spec.form, name) for name in spec.form.TIMED}}


def part_name(part: Part, widths: Sequence[int], repeats: int) -> str:
    return f"{part.name} x{repeats} {_key(widths)}"


def _key(widths: Sequence[int]) -> str:
    """Of a part that no gene decides: ""."""
    return "_".join(map(str, widths))


# --------------------------------------------------------------------------------------------------
# The table


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of one image, for every configuration of a space.

    Args:
        plan:       what was timed, see `TimingPlan.description`
        backend:    the form, a key of `deploy.forms.FORMS`
        device:     name of what it was timed on
        threads:    of a network
        versions:   of the software
        parts:      part -> widths -> milliseconds alone, at each of its places; "" stands for the
                    widths of a part that no gene decides
        factors:    part -> widths -> how many times that it takes inside a network
        validation: ``n``, ``mean_error`` and ``worst_error`` (relative, absolute values),
                    ``rank_correlation`` (Spearman), and for each network what was predicted and
                    measured
    """

    plan: Mapping[str, object]
    backend: str
    device: str
    threads: int
    versions: Mapping[str, str]
    parts: Mapping[str, Mapping[str, float]]
    factors: Mapping[str, Mapping[str, float]]
    validation: Mapping[str, object]

    # ---- prediction

    @cached_property
    def spec(self) -> GeneratorSpec:
        names = ("netG", "norm", "input_nc", "output_nc")
        form = {"form": self.plan["form"]} if "form" in self.plan else {}
        return GeneratorSpec.from_dict(
            {name: self.plan[name] for name in names} | {"ngf": 1} | form
        )

    @cached_property
    def _uses(self) -> list[tuple[Part, tuple[int, ...]]]:
        """Every place of every part with its genes, in the order in which times are added."""
        return [(part, use) for part in parts_of(self.spec) for use in part.uses]

    def _time(self, part: Part, widths: Sequence[int]) -> float:
        key = _key(widths)
        try:
            return self.factors[part.name][key] * self.parts[part.name][key]
        except KeyError:
            raise InputError(
                f"the latency table knows no {part.name} of widths "
                f"{', '.join(map(str, widths))}: it is of `config_set` {self.plan['config_set']}"
            ) from None

    def of(self, config: ChannelConfig) -> float:
        """Milliseconds of one configuration. InputError where it has widths that were not timed."""
        genes, total = config.full, 0.0
        # In the order of `at`: the same to the last digit.
        for part, use in self._uses:
            total += self._time(part, [genes[gene] for gene in use])
        return total

    def at(self, genes: Sequence) -> np.ndarray:
        """float64: milliseconds of many configurations. As `of`.

        Args:
            genes: of each gene a number, or an array along an axis of its own (`numpy.ix_`); the
                   axes are in the order of the genes
        """
        total = np.zeros(())
        for part, use in self._uses:
            choices = [np.ravel(genes[gene]) for gene in use]
            times = [self._time(part, widths) for widths in itertools.product(*choices)]
            # Genes ascend, so the product's order is that of the axes.
            shape = np.broadcast_shapes(*(np.shape(genes[gene]) for gene in use))
            total = total + np.array(times).reshape(shape)
        return total

    def check(self, spec: GeneratorSpec, space: SearchSpace, setting: str) -> None:
        """InputError unless it is of these networks at this size, and knows all their widths.

        Args:
            spec:    of a supernet, or of what is cut out of one
            setting: how messages call the table
        """
        ours = {"input_nc": spec.input_nc, "output_nc": spec.output_nc, "norm": spec.norm}
        theirs = {name: self.plan[name] for name in ours} | self.plan.get("form", {})
        ours |= form_of(spec).get("form", {})
        differ = [
            f"`{name}` {theirs[name]}, not {value}"
            for name, value in ours.items()
            if name in theirs and theirs[name] != value
        ]
        if (self.plan["height"], self.plan["width"]) != (space.height, space.width):
            size = f"{self.plan['width']}x{self.plan['height']}"
            differ.append(f"images of {size} pixels, not {space.width}x{space.height}")
        if self.spec.kind.family != spec.kind.family:
            differ.insert(0, f"{self.plan['netG']}, not {spec.netG}")
        if differ:
            raise InputError(f"{setting} was made for other networks: {', '.join(differ)}")
        known = ConfigSet.parse(str(self.plan["config_set"]), space.arch.config).choices
        names = zip(space.arch.config.NAMES, space.choices, known, strict=True)
        unknown = [f"{name} {w}" for name, ours, theirs in names for w in ours if w not in theirs]
        if unknown:
            raise InputError(
                f"{setting} is of `config_set` {self.plan['config_set']} and does not know "
                f"{', '.join(unknown[:5])} of {space.name}"
            )

    # ---- on disk

    @property
    def digest(self) -> str:
        """What tells it from other tables."""
        text = json.dumps([self.parts, self.factors], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def conditions(self) -> str:
        size = f"{self.plan['width']}x{self.plan['height']}"
        return f"{self.backend}, {self.device}, threads: {self.threads}, {size}"

    def to_dict(self) -> dict:
        return {"latency_table": VERSION} | asdict(self)

    @classmethod
    def read(cls, path: Path, setting: str = "`latency_table`") -> LatencyTable:
        """From a file of `to_dict`.

        Raises:
            InputError: no such file, no table, or one of a newer version.
        """
        where = f"{setting} {path}"
        if not path.is_file():
            raise InputError(f"{where}: no such file; make one by latency.py --make_table")
        try:
            values = read_json(path)
        except InputError as error:
            raise InputError(f"{setting} {error}") from None
        if "latency_table" not in values:
            raise InputError(f"{where}: not a latency table; make one by latency.py --make_table")
        if values.pop("latency_table") != VERSION:
            raise InputError(f"{where}: of another version; make it again")
        try:
            table = cls(**values)
            kind = table.spec.kind.config
            widest = [max(c) for c in ConfigSet.parse(str(table.plan["config_set"]), kind).choices]
            table.of(kind(tuple(widest)))
        except (TypeError, KeyError, AttributeError, InputError) as error:
            raise InputError(f"{where}: damaged ({error}); make it again") from None
        return table


# --------------------------------------------------------------------------------------------------
# From times to a table


def compose(plan: TimingPlan, ms: Mapping[str, float], facts: Mapping[str, object]) -> LatencyTable:
    """The table of measured times.

    Args:
        ms:    name of each of ``plan.items`` -> milliseconds
        facts: ``backend``, ``device``, ``threads``, ``versions``

    Raises:
        InputError: a time is missing, or is no positive number.
    """
    for item in plan.items:
        value = ms.get(item.name)
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise InputError(f"the time of {item.name} is {value}: measure again")
    parts = {}
    for part in parts_of(plan.spec):
        of_part = parts[part.name] = {}
        for widths in plan.widths_of(part):
            once = ms[part_name(part, widths, 1)]
            if part.repeats > 1:
                chain = ms[part_name(part, widths, part.repeats)]
                # Without what a network has besides its layers. Noise must not make it negative.
                each = max((chain - once) / (part.repeats - 1), 0.05 * once)
                once = part.repeats * each
            of_part[_key(widths)] = once
    fitted, validated = plan.networks
    factors = fit_factors(plan.spec, parts, fitted, [ms[f"net {config}"] for config in fitted])
    table = LatencyTable(plan.description, **facts, parts=parts, factors=factors, validation={})
    measured = [ms[f"net {config}"] for config in validated]
    return replace(table, validation=validate(table, validated, measured))


def fit_factors(
    spec: GeneratorSpec,
    parts: Mapping[str, Mapping[str, float]],
    configs: Sequence[ChannelConfig],
    measured: Sequence[float],
) -> dict[str, dict[str, float]]:
    """How many times as long as alone each part takes inside a network.

    A Gaussian process: the most likely factors, given the times of whole networks and what is
    expected of factors (`KIND` and the constants beside it). A part of widths that no network had
    gets what similar ones have (Rasmussen and Williams 2006, equation 2.23, with sums of values
    observed instead of values).

    Args:
        parts:    as in `LatencyTable`
        configs:  networks that were timed whole
        measured: their milliseconds

    Returns:
        as ``parts``, factors instead of milliseconds, none below 0.05
    """
    keys = [(part, key) for part, times in parts.items() for key in times]
    columns = {key: column for column, key in enumerate(keys)}
    # What each part adds to the time of each network, as a share of what was measured.
    shares = np.zeros((len(configs), len(keys)))
    for row, (config, whole) in enumerate(zip(configs, measured, strict=True)):
        for part in parts_of(spec):
            for use in part.uses:
                key = _key([config.full[gene] for gene in use])
                shares[row, columns[part.name, key]] += parts[part.name][key] / whole
    covariance = np.zeros((len(keys), len(keys)))
    start = 0
    for times in parts.values():
        widths = np.log([[int(w) for w in key.split("_") if w] for key in times])
        apart = ((widths[:, None] - widths) ** 2).sum(-1)
        here = slice(start, start + len(times))
        similar = SIMILAR**2 * np.exp(-apart / (2 * REACH**2))
        covariance[here, here] = KIND**2 + similar + EACH**2 * np.eye(len(times))
        start += len(times)
    seen = shares @ covariance @ shares.T + NOISE**2 * np.eye(len(configs))
    found = 1 + covariance @ shares.T @ np.linalg.solve(seen, 1 - shares.sum(1))
    factors: dict[str, dict[str, float]] = {part: {} for part in parts}
    for (part, key), factor in zip(keys, found, strict=True):
        factors[part][key] = max(float(factor), 0.05)
    return factors


def validate(
    table: LatencyTable, configs: Sequence[ChannelConfig], measured: Sequence[float]
) -> dict:
    """How good predictions are on networks that nothing was fitted to, see `LatencyTable`."""
    predicted = [table.of(config) for config in configs]
    errors = [abs(p - m) / m for p, m in zip(predicted, measured, strict=True)]
    found: dict[str, object] = {"n": len(errors)}
    if errors:
        found |= {"mean_error": float(np.mean(errors)), "worst_error": float(np.max(errors))}
    if len(set(measured)) > 1 and len(set(predicted)) > 1:
        found["rank_correlation"] = float(spearmanr(predicted, measured).statistic)
    found["networks"] = [
        {"config": str(c), "predicted_ms": p, "measured_ms": m}
        for c, p, m in zip(configs, predicted, measured, strict=True)
    ]
    return found
