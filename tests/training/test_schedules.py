"""Learning rates: the reference's factors, and every policy from epoch to epoch and step to
step."""

import math

import pytest
import torch
from golden_values import VALUES

from training.schedules import POLICIES, LearningRate, Schedule

GOLDEN = VALUES["lr_linear"]


def make_optimizers(*rates: float) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr) for lr in rates]


def test_linear_equals_the_reference():
    schedule = Schedule("linear", "epoch", GOLDEN["nepochs"], GOLDEN["nepochs_decay"])
    found = [schedule.factor(epoch, 0, 1) for epoch in range(1, len(GOLDEN["factors"]) + 1)]
    assert found == pytest.approx(GOLDEN["factors"], abs=1e-12)


def test_counting_steps_gives_the_same_factors_at_the_starts_of_epochs():
    by_step = Schedule("linear", "iter", GOLDEN["nepochs"], GOLDEN["nepochs_decay"])
    found = [by_step.factor(1, 7 * i, 7) for i in range(len(GOLDEN["factors"]))]
    assert found == pytest.approx(GOLDEN["factors"], abs=1e-12)
    between = by_step.factor(7, 7 * 6 + 3, 7)
    assert GOLDEN["factors"][7] < between < GOLDEN["factors"][6]


def test_linear_never_falls_below_zero():
    assert Schedule("linear", "epoch", 1, 1).factor(100, 0, 1) == 0


@pytest.mark.parametrize("counter", ["epoch", "iter"])
def test_step_multiplies_every_so_often(counter):
    schedule = Schedule("step", counter, decay_steps=3, gamma=0.1)
    found = [schedule.factor(i + 1, i, 1000 if counter == "iter" else 1) for i in range(8)]
    assert found == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_goes_from_one_to_zero():
    schedule = Schedule("cosine", "epoch", 4, 4)
    found = [schedule.factor(epoch, 0, 1) for epoch in range(1, 10)]
    assert found == pytest.approx([(1 + math.cos(math.pi * i / 8)) / 2 for i in range(9)])
    assert Schedule("cosine", "iter", 4, 4).factor(1, 40, 10) == pytest.approx(0.5)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_starts_at_the_rate_given(policy):
    for counter in ("epoch", "iter"):
        assert Schedule(policy, counter).factor(1, 0, 10) == 1


def test_every_optimizer_keeps_its_own_initial_rate():
    optimizers = make_optimizers(1.0, 0.01)
    rate = LearningRate(Schedule("step", "epoch", decay_steps=1, gamma=0.5), optimizers, 10, True)
    for epoch, factor in ((1, 1), (3, 0.25), (2, 0.5)):
        rate.update(epoch, 0)
        assert [o.param_groups[0]["lr"] for o in optimizers] == pytest.approx(
            [factor, 0.01 * factor]
        )
    assert rate.current == 0.5


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_plateau_lowers_the_rate_when_the_metric_stops_improving(lower_is_better):
    optimizers = make_optimizers(1.0, 0.1)
    rate = LearningRate(Schedule("plateau", gamma=0.5), optimizers, 10, lower_is_better)
    sign = -1 if lower_is_better else 1
    for i in range(10):
        rate.observe(100 + sign * 10 * i)
        rate.update(i + 1, i)
    assert rate.current == 1
    for _ in range(8):
        rate.observe(100)
    assert [o.param_groups[0]["lr"] for o in optimizers] == pytest.approx([0.5, 0.05])


def test_plateau_remembers_across_a_restart():
    rates = []
    for restart in (False, True):
        optimizers = make_optimizers(1.0)
        rate = LearningRate(Schedule("plateau", gamma=0.5), optimizers, 10, True)
        for i in range(16):
            if restart and i == 5:
                saved, values = rate.state_dict(), optimizers[0].state_dict()
                optimizers = make_optimizers(1.0)
                rate = LearningRate(Schedule("plateau", gamma=0.5), optimizers, 10, True)
                optimizers[0].load_state_dict(values)
                rate.load_state_dict(saved)
            rate.observe(1.0)
            rates.append(rate.current)
    assert rates[:16] == rates[16:] and rates[15] < 1


def test_schedules_agree_as_long_as_their_rates_are_equal():
    short, long = (Schedule("linear", "epoch", n, 0) for n in (3, 5))
    assert long.agrees(short, 3, 30, 10) and not long.agrees(short, 4, 40, 10)
    short, long = (Schedule("linear", "iter", n, 1) for n in (3, 5))
    assert long.agrees(short, 1, 21, 10) and not long.agrees(short, 1, 22, 10)
