"""Latency tables: parts that make up a network, times that make up a table, and who may use it."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from synthetic_times import FACTS, synthetic

from deploy import device_times
from errors import InputError
from models.generators import GeneratorSpec
from subnets.latency import LatencyTable, TimingPlan, compose
from subnets.space import Milliseconds, SearchSpace
from subnets.timing import describe_winner, time_winner

NINE = GeneratorSpec("super_mobile_resnet_9blocks", 8)
SIX = GeneratorSpec("super_mobile_resnet_6blocks", 8)
UNET = GeneratorSpec("super_unet_128", 8, norm="batch")
SPADE = GeneratorSpec("super_mobile_spade", 8, input_nc=5, norm="batch")
MUNIT = GeneratorSpec("super_mobile_munit", 8)
# A space whose genes have widths of their own.
LISTS = "8,4;8,2;6,4;8,4;4,2;8;4,2;8,6"
TEN = f"8,4,2;{LISTS};6,2"


def plan_of(spec: GeneratorSpec = NINE, name: str = LISTS, size: int = 64, **more) -> TimingPlan:
    return TimingPlan(spec, SearchSpace(name, spec.architecture, height=size, width=size), **more)


# --------------------------------------------------------------------------------------------------
# A table of a synthetic clock


FAMILIES = (plan_of(), plan_of(SIX), plan_of(UNET, "8,4,2", 128))
FAMILIES += (plan_of(SPADE, size=128), plan_of(MUNIT, TEN))


@pytest.mark.parametrize("plan", FAMILIES, ids=lambda plan: plan.spec.netG)
def test_times_that_add_up_are_predicted(plan):
    table = compose(plan, synthetic(plan), FACTS)
    assert table.validation["n"] >= 48
    assert table.validation["worst_error"] < 1e-4
    assert table.validation["rank_correlation"] == pytest.approx(1, rel=1e-3)
    for factors in table.factors.values():
        assert all(factor == pytest.approx(1, rel=1e-3) for factor in factors.values())


def test_what_a_network_takes_more_or_less_is_fitted():
    plan = plan_of()
    table = compose(plan, synthetic(plan, 0.8, 0.6), FACTS)
    assert table.validation["mean_error"] < 0.03
    noisy = compose(plan, synthetic(plan, 0.8, 0.6, np.random.default_rng(0)), FACTS)
    assert noisy.validation["mean_error"] < 0.05


def test_widths_that_a_runtime_likes_are_found():
    """A part may take longer alone than in a network, by how much depends on its widths."""
    plan = plan_of(name="8,6,4")

    def liking(part, widths) -> float:
        return 0.7 if part.name == "block" and widths[1] == 8 else 1.1

    table = compose(plan, synthetic(plan, liking), FACTS)
    assert table.validation["mean_error"] < 0.01
    assert table.validation["rank_correlation"] > 0.99
    block = table.factors["block"]
    assert all(factor < 0.8 for widths, factor in block.items() if widths.endswith("_8"))
    assert all(factor > 1.0 for widths, factor in block.items() if not widths.endswith("_8"))


def test_all_at_once_is_one_after_another():
    """To the last digit: a budget must not let in what the other way keeps out."""
    for plan in FAMILIES:
        table = compose(plan, synthetic(plan, 0.9, 0.2), FACTS)
        found = SearchSpace(plan.space.name, plan.space.arch, times=table).ms
        numbers = range(0, plan.space.size, max(1, plan.space.size // 40))
        assert [found[n] for n in numbers] == [table.of(plan.space.config(n)) for n in numbers]


def test_a_style_encoder_that_does_not_run_takes_no_time():
    plan = plan_of(MUNIT, TEN)
    table = compose(plan, synthetic(plan), FACTS)
    configs = [MUNIT.parse(f"{style}_8_2_6_4_2_8_4_6_2") for style in (8, 4, 2)]
    assert len({table.of(config) for config in configs}) == 1
    assert table.parts["perceptron"].keys() == {""}


def test_what_a_time_allows_is_found_in_parts(monkeypatch):
    plan = plan_of(MUNIT, TEN)
    table = compose(plan, synthetic(plan, 0.9), FACTS)

    def space() -> SearchSpace:
        return SearchSpace(TEN, MUNIT.architecture, height=64, width=64, times=table)

    small, large = space(), space()
    budget = Milliseconds(np.median(small.ms))
    wanted, said = small.feasible(budget), small.describe(budget)
    assert 0.3 < len(wanted) / small.size < 0.7
    monkeypatch.setattr("subnets.space.MAX_CONFIGS", 1)
    monkeypatch.setattr("subnets.space.PART", 5)
    assert np.array_equal(large.feasible(budget), wanted) and large.describe(budget) == said
    with pytest.raises(InputError, match=rf"between {np.ceil(small.ms.min() * 1000) / 1000:.6g}ms"):
        large.feasible(Milliseconds(1e-3))
    assert not {"ms", "macs"} & vars(large).keys()
    ends = [ms for ms, _ in large.ends_in_time]
    assert ends == [small.ms.min(), small.ms.max()]
    assert all(table.of(config) == ms for ms, config in large.ends_in_time)


def test_the_networks_that_validate_are_others():
    fitted, validated = plan_of().networks
    assert len(validated) >= 48 and not set(fitted) & set(validated)
    assert plan_of().space.smallest in fitted and plan_of().space.largest in fitted
    # A space of few networks gives what it has.
    small = plan_of(name="8,4;8;8;8;8;8;8;8,4")
    assert len(set(itertools.chain(*small.networks))) == 4


def test_a_time_that_is_missing_is_named():
    plan = plan_of()
    ms = synthetic(plan)
    for wrong in (None, float("nan"), 0.0):
        with pytest.raises(InputError, match=r"stem x1 8 is .*measure again"):
            compose(plan, ms | {"stem x1 8": wrong}, FACTS)


# --------------------------------------------------------------------------------------------------
# Against drift


class Machine:
    """A machine with a clock of its own, which becomes half as fast while it works."""

    def __init__(self, ms: dict[str, float], slow_from: float):
        self.now, self.ms, self.slow_from = 0.0, ms, slow_from
        self.built: list[str] = []

    def build(self, name: str):
        self.built.append(name)

        def once() -> None:
            self.now += self.ms[name] / 1e3 * (2 if self.now > self.slow_from else 1)

        return once


def test_a_machine_that_slows_down_does_not_change_the_ratios():
    ms = {f"net {n}": 1.0 + n / 7 for n in range(60)}
    machine = Machine(ms, 4.0)
    found = device_times.measure(
        list(ms), machine.build, "net 30", chunk=10, clock=lambda: machine.now
    )
    assert machine.now > 8
    ratios = {name: value / found["net 30"] for name, value in found.items()}
    for name, value in ms.items():
        assert ratios[name] == pytest.approx(value / ms["net 30"], rel=0.02)


def test_few_networks_are_there_at_a_time():
    ms = {f"net {n}": 1.0 for n in range(25)}
    machine = Machine(ms, 1e9)
    held = []
    found = device_times.measure(
        list(ms),
        machine.build,
        "net 3",
        passes=1,
        chunk=10,
        clock=lambda: machine.now,
        progress=lambda order: held.extend(order) or order,
    )
    assert sorted(held) == sorted(ms) and all(v == pytest.approx(1) for v in found.values())
    # Three groups, each with the one that is in all of them.
    assert len(machine.built) == 25 + 2


# --------------------------------------------------------------------------------------------------
# Files, and who may use them


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    plan = plan_of()
    return compose(plan, synthetic(plan), FACTS)


def test_a_table_is_a_file(table, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(table.to_dict()))
    again = LatencyTable.read(path)
    assert again == table and again.digest == table.digest
    faster = replace(table, factors={**table.factors, "stem": {"8": 0.5, "4": 0.5}})
    assert faster.digest != table.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file; make one by latency.py --make_table"),
        ("{", "damaged; remove it"),
        ('{"macs": 1}', "not a latency table"),
        ('{"latency_table": 99}', "another version"),
        ('{"latency_table": 1}', "another version"),
        ('{"latency_table": 2, "plan": {}}', "damaged"),
    ],
)
def test_what_is_no_table_is_refused(text, words, tmp_path):
    path = tmp_path / "t.json"
    if text:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        LatencyTable.read(path)


def test_a_table_of_other_networks_is_refused(table):
    def space(name=LISTS, spec=NINE, size=64):
        return SearchSpace(name, spec.architecture, height=size, width=size)

    table.check(NINE, space("8;8;6;8;4;8;2;6"), "t")
    table.check(NINE.subnet(NINE.parse("8_8_6_8_4_8_2_6")), space(), "t")
    for spec, where, words in (
        (NINE, space(size=96), "64x64 pixels, not 96x96"),
        (NINE, space("8,5;8;6;8;4;8;2;6"), "does not know stem 5"),
        (replace(NINE, norm="batch"), space(), "`norm` instance, not batch"),
        (replace(NINE, input_nc=1), space(), "`input_nc` 3, not 1"),
        (SIX, space(spec=SIX), "super_mobile_resnet_9blocks, not super_mobile_resnet_6blocks"),
    ):
        with pytest.raises(InputError, match=words):
            table.check(spec, where, "t")


def test_what_else_decides_times_is_compared():
    """Of SPADE how often the image is doubled, not what only training asks; of MUNIT the sizes of
    the perceptron, not whether there is a style encoder."""
    for plan, name, other, alike in (
        (plan_of(SPADE, size=128), "num_upsampling_layers", "normal", {"sync": False}),
        (plan_of(MUNIT, TEN), "mlp_dim", 16, {"style_encoder": False}),
    ):
        spec, space = plan.spec, plan.space
        table = compose(plan, synthetic(plan), FACTS)
        assert set(plan.description["form"]) == set(spec.form.TIMED)
        assert table.spec.form == spec.form
        table.check(replace(spec, form=replace(spec.form, **alike)), space, "t")
        changed = replace(spec, form=replace(spec.form, **{name: other}))
        with pytest.raises(InputError, match=f"`{name}` {getattr(spec.form, name)}, not {other}"):
            table.check(changed, space, "t")


def test_a_budget_may_be_a_time(table):
    space = SearchSpace(LISTS, NINE.architecture, height=64, width=64, times=table)
    middle = Milliseconds(np.median(space.ms))
    numbers = space.feasible(middle)
    assert 0.4 < len(numbers) / space.size < 0.6
    assert all(space.price(space.config(int(n)), middle) <= middle for n in numbers[:20])
    assert f"within the budget of {float(middle):g}ms" in space.describe(middle)
    with pytest.raises(InputError, match=r"`budget` 0.5ms: no .*between .*ms.*a phone"):
        space.feasible(Milliseconds(0.5))
    # The end of the range that the message names can be given.
    least = Milliseconds(np.ceil(space.ms.min() * 1000) / 1000)
    assert len(space.feasible(least)) >= 1
    # MACs and times order networks in different ways, or a table would be of no use.
    assert spearmanr(space.ms, space.macs).statistic < 0.999


def test_the_winner_is_not_measured_on_another_machine(table):
    net = NINE.subnet(NINE.parse("8_8_6_8_4_8_2_6")).build().eval()
    import torch

    found = time_winner(table, net, 3.0, torch.device("cpu"))
    assert "a phone" in found["not_measured"] and "measured_ms" not in found
    assert describe_winner(found).startswith("the best takes 3.00 ms as predicted, not measured")
    here = replace(table, device=device_times.processor())
    found = time_winner(here, net, 3.0, torch.device("cpu"))
    assert found["measured_ms"] > 0 and "ms measured" in describe_winner(found)
    assert describe_winner({}) == ""
