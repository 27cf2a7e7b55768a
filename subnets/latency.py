"""The time of every configuration of a space, composed of the times of parts of its networks.

The parts (`models.parts`) are timed in the form that is deployed, and so are a few whole networks.
Those say how the parts add up: each kind of part gets a factor, which is 1 where it takes as long
inside a network as alone. Other whole networks, which nothing was fitted to, say how good the
prediction is.
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
from scipy.optimize import lsq_linear
from scipy.stats import spearmanr
from torch import nn

from deploy.checks import input_channels
from errors import InputError
from models.config import ChannelConfig, ConfigSet
from models.generators import GeneratorSpec
from models.parts import Part, parts_of, piece
from runtime.files import read_json
from subnets.space import SearchSpace

# Whole networks that the factors are fitted to, and others that validate the prediction.
FITTED, VALIDATED = 32, 50
# How strongly the factors are held to 1: as much as by so many networks whose prediction is wrong
# by as much as the factor.
TRUST = 0.05
VERSION = 1


# --------------------------------------------------------------------------------------------------
# What is timed


@dataclass(frozen=True)
class Timed:
    """One network of a `TimingPlan`.

    Args:
        name:      what it is called in files
        structure: equal in networks that differ in widths alone
        shape:     1 C H W of its input
        build:     -> the network
    """

    name: str
    structure: str
    shape: tuple[int, int, int, int]
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

        height, width = self.space.height // part.scale, self.space.width // part.scale
        shape = (1, input_channels(build()), height, width)
        return Timed(part_name(part, widths, repeats), f"{part.name} x{repeats}", shape, build)

    def _whole(self, name: str) -> Timed:
        config = self.space.parse(name.split()[1])

        def build() -> nn.Module:
            return self.spec.subnet(config).build().eval().requires_grad_(False)

        shape = (1, self.spec.input_nc, self.space.height, self.space.width)
        return Timed(name, "net", shape, build)


def part_name(part: Part, widths: Sequence[int], repeats: int) -> str:
    return f"{part.name} x{repeats} {'_'.join(map(str, widths))}"


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
        parts:      part -> widths -> milliseconds alone, at each of its places
        factors:    part -> how many times that it takes inside a network
        offset:     milliseconds that every network takes besides
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
    factors: Mapping[str, float]
    offset: float
    validation: Mapping[str, object]

    # ---- prediction

    @cached_property
    def spec(self) -> GeneratorSpec:
        names = ("netG", "norm", "input_nc", "output_nc")
        return GeneratorSpec(ngf=1, **{name: self.plan[name] for name in names})

    def _time(self, part: Part, widths: Sequence[int]) -> float:
        try:
            alone = self.parts[part.name]["_".join(map(str, widths))]
        except KeyError:
            raise InputError(
                f"the latency table knows no {part.name} of widths "
                f"{', '.join(map(str, widths))}: it is of `config_set` {self.plan['config_set']}"
            ) from None
        return self.factors.get(part.name, 1.0) * alone

    def of(self, config: ChannelConfig) -> float:
        """Milliseconds of one configuration. InputError where it has widths that were not timed."""
        genes, total = config.full, self.offset
        # In the order of `all_of`: the same to the last digit.
        for part in parts_of(self.spec):
            for use in part.uses:
                total += self._time(part, [genes[gene] for gene in use])
        return total

    def all_of(self, space: SearchSpace) -> np.ndarray:
        """float64 (size,): milliseconds of every configuration of a space, by number. As `of`."""
        total = np.full(space.shape, self.offset)
        for part in parts_of(self.spec):
            for use in part.uses:
                choices = [space.choices[gene] for gene in use]
                times = [self._time(part, widths) for widths in itertools.product(*choices)]
                shape = [1] * len(space.shape)
                for gene in use:
                    shape[gene] = space.shape[gene]
                # Genes ascend, so the product's order is that of the space.
                total += np.array(times).reshape(shape)
        return total.reshape(-1)

    def check(self, spec: GeneratorSpec, space: SearchSpace, setting: str) -> None:
        """InputError unless it is of these networks at this size, and knows all their widths.

        Args:
            spec:    of a supernet, or of what is cut out of one
            setting: how messages call the table
        """
        ours = {"input_nc": spec.input_nc, "output_nc": spec.output_nc, "norm": spec.norm}
        differ = [
            f"`{name}` {self.plan[name]}, not {value}"
            for name, value in ours.items()
            if self.plan[name] != value
        ]
        if (self.plan["height"], self.plan["width"]) != (space.height, space.width):
            size = f"{self.plan['width']}x{self.plan['height']}"
            differ.append(f"images of {size} pixels, not {space.width}x{space.height}")
        if self.spec.kind.family != spec.kind.family:
            differ.insert(0, f"{self.plan['netG']}, not {spec.netG}")
        if differ:
            raise InputError(f"{setting} was made for other networks: {', '.join(differ)}")
        known = ConfigSet.parse(str(self.plan["config_set"]), space.arch.config.NAMES).choices
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
        text = json.dumps([self.parts, self.factors, self.offset], sort_keys=True)
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
            names = table.spec.kind.config.NAMES
            widest = [max(c) for c in ConfigSet.parse(str(table.plan["config_set"]), names).choices]
            table.of(table.spec.kind.config(tuple(widest)))
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
            of_part["_".join(map(str, widths))] = once
    table = LatencyTable(
        plan.description, **facts, parts=parts, factors={}, offset=0, validation={}
    )
    fitted, validated = plan.networks
    factors, offset = _fit(table, fitted, [ms[f"net {config}"] for config in fitted])
    table = replace(table, factors=factors, offset=offset)
    measured = [ms[f"net {config}"] for config in validated]
    return replace(table, validation=validate(table, validated, measured))


def _fit(
    table: LatencyTable, configs: Sequence[ChannelConfig], measured: Sequence[float]
) -> tuple[dict[str, float], float]:
    """(factor of each part, offset in ms): least squares of relative errors, nothing negative.

    Every factor is drawn to 1, and the offset to 0, by `TRUST`.
    """
    kinds = parts_of(table.spec)
    sums = np.array(
        [
            [sum(table._time(p, [c.full[g] for g in use]) for use in p.uses) for p in kinds]
            for c in configs
        ]
    )
    times = np.array(measured)
    rows = np.column_stack([sums, np.ones(len(times))]) / times[:, None]
    weight = np.sqrt(TRUST * len(times))
    # The offset is held in units of a typical time.
    pull = np.diag([*np.full(len(kinds), weight), weight / np.median(times)])
    wanted = np.concatenate([np.ones(len(times)), np.full(len(kinds), weight), [0.0]])
    found = lsq_linear(np.concatenate([rows, pull]), wanted, bounds=(0, np.inf)).x
    return {p.name: float(x) for p, x in zip(kinds, found, strict=False)}, float(found[-1])


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
