"""CycleGAN: what a step trains, by which losses and in which order, and what the pools show."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_operations import OperationRecorder

from data.loader import Batch
from errors import InputError
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from models.layers import init_weights
from training.cycle_gan import CycleGanTask, CycleWeights, ImagePool
from training.tasks import LossWeights

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("three_blocks")
# A recording reads rates in float32, which holds this one exactly.
RATE = 2**-10
WEIGHTS = CycleWeights(a=3.0, b=7.0, identity=0.25)


def make_task(
    gan_mode="lsgan",
    cycle=WEIGHTS,
    pool_size=3,
    channels=(3, 3),
    amp="none",
    seed=1,
    recon="l1",
    **more,
) -> CycleGanTask:
    torch.manual_seed(0)
    there = GeneratorSpec("resnet_3blocks", 3, input_nc=channels[0], output_nc=channels[1])
    back = GeneratorSpec("resnet_3blocks", 3, input_nc=channels[1], output_nc=channels[0])
    nets_g = [init_weights(spec.build(), gain=0.2) for spec in (there, back)]
    nets_d = [
        init_weights(build_discriminator("n_layers", spec.output_nc, 3, 1), gain=0.2)
        for spec in (there, back)
    ]
    weights = LossWeights(gan_mode, recon, gan=1.5)
    how = (pool_size, seed, RATE, 0.5, CPU, amp)
    return CycleGanTask(nets_g, nets_d, [there, back], weights, cycle, *how, **more)


def batch_of(seed: int, n: int = 2, channels=(3, 3)) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(n, c, 16, 16, generator=generator) * 2 - 1 for c in channels)
    return Batch(a, b, ["x"] * n)


def weights_of(*nets) -> list[torch.Tensor]:
    return [p.detach().clone() for net in nets for p in net.parameters()]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# --------------------------------------------------------------------------------------------------
# A step


def chosen_places(task) -> list:
    """Fills with the places that each step of ``task`` puts its images in, of both pools."""
    seen, update = [], task.update

    def recorded(a, b, *places):
        seen.append([p.tolist() for p in places])
        return update(a, b, *places)

    task.update = recorded
    return seen


def test_updates_from_first_principles():
    """Five updates of two images, written out: pools as lists, losses as in the paper, generators
    before discriminators."""
    task = make_task()
    places = chosen_places(task)
    g_a, g_b, d_a, d_b = (copy.deepcopy(net) for net in task.networks.values())
    adam_g = torch.optim.Adam([*g_a.parameters(), *g_b.parameters()], RATE, (0.5, 0.999))
    adam_d = torch.optim.Adam([*d_a.parameters(), *d_b.parameters()], RATE, (0.5, 0.999))
    pools, first = ([], []), copy.deepcopy((g_a, g_b, d_a, d_b))

    def l1(x, y):
        return (x - y).abs().mean()

    def shown(pool, images, where):
        """What the list ``pool`` gives for new images."""
        found = []
        for image, (place, swapped) in zip(images, where, strict=True):
            if swapped:
                found.append(pool[place])
                pool[place] = image
                continue
            found.append(image)
            if place < 3:
                assert place == len(pool)
                pool.append(image)
        return torch.stack(found)

    for step in range(5):
        batch = batch_of(step)
        found = {k: float(v) for k, v in task.step(batch, step).items()}
        a, b = batch.A, batch.B
        fake_b, fake_a = g_a(a), g_b(b)
        expected = {
            "G_A_gan": 1.5 * (d_a(fake_b) - 1).square().mean(),
            "G_B_gan": 1.5 * (d_b(fake_a) - 1).square().mean(),
            "cycle_A": 3 * l1(g_b(fake_b), a),
            "cycle_B": 7 * l1(g_a(fake_a), b),
            "identity_A": 0.25 * 3 * l1(g_b(a), a),
            "identity_B": 0.25 * 7 * l1(g_a(b), b),
        }
        adam_g.zero_grad()
        sum(expected.values()).backward()
        adam_g.step()

        adam_d.zero_grad()
        for side, net, real, fake, pool, where in (
            ("A", d_a, b, fake_b, pools[0], places[step][0]),
            ("B", d_b, a, fake_a, pools[1], places[step][1]),
        ):
            of_fake = net(shown(pool, fake.detach(), where)).square().mean()
            of_real = (net(real) - 1).square().mean()
            ((of_fake + of_real) / 2).backward()
            expected |= {f"D_{side}_fake": of_fake, f"D_{side}_real": of_real}
        adam_d.step()
        assert found == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-4)
    assert any(swapped for step in places for pool in step for _, swapped in pool)
    for kept, pool in zip(pools, task.pools, strict=True):
        torch.testing.assert_close(torch.stack(kept), pool.images[:3], rtol=0, atol=1e-4)
    # Outputs, not weights: a bias before a norm has no gradient but rounding, to which Adam gives
    # the size of a step.
    for mine, theirs, start in zip(
        task.networks.values(), (g_a, g_b, d_a, d_b), first, strict=True
    ):
        with torch.no_grad():
            found, expected, before = mine(a), theirs(a), start(a)
        assert l1(found, expected) < 0.01 * l1(expected, before)


def test_without_identity_nothing_is_asked_of_it():
    task = make_task(cycle=CycleWeights(identity=0), channels=(1, 3))
    losses = task.step(batch_of(1, channels=(1, 3)), 0)
    assert not [name for name in losses if name.startswith("identity")]
    assert task.step(batch_of(2, channels=(1, 3)), 1).keys() == losses.keys()


def test_images_may_be_compared_in_another_way():
    task, batch = make_task(recon="l2"), batch_of(1)
    with torch.no_grad():
        expected = (task.g_b(task.g_a(batch.A)) - batch.A).square().mean()
    found = task.step(batch, 0)["cycle_A"]
    assert found.item() == pytest.approx(3 * expected.item(), rel=1e-5)


def test_identity_between_other_channels_is_refused():
    with pytest.raises(InputError, match=r"`lambda_identity` 0.25 .*`input_nc` 1 .*`output_nc` 3"):
        make_task(channels=(1, 3))


@pytest.mark.parametrize("gan_mode", ["hinge", "vanilla", "wgangp"])
def test_other_adversarial_losses(gan_mode):
    task = make_task(gan_mode)
    before = [weights_of(net) for net in task.networks.values()]
    losses = task.step(batch_of(1), 0)
    assert all(torch.isfinite(value) and not value.requires_grad for value in losses.values())
    assert ("D_A_gp" in losses) == ("D_B_gp" in losses) == (gan_mode == "wgangp")
    for net, old in zip(task.networks.values(), before, strict=True):
        assert not same(weights_of(net), old)
        assert all(p.grad is None for p in net.parameters())


def test_bf16_trains_close_to_float32():
    exact, low = make_task(), make_task(amp="bf16")
    for step in range(3):
        expected, found = exact.step(batch_of(step), step), low.step(batch_of(step), step)
        for name, value in expected.items():
            assert found[name].dtype == torch.float32
            assert found[name].item() == pytest.approx(value.item(), rel=0.1, abs=0.05), name


@pytest.mark.parametrize("pool_size", [3, 0])
def test_replayed_steps_are_the_steps(pool_size):
    plain, task = make_task(pool_size=pool_size), make_task(pool_size=pool_size)
    task.record(recorder := OperationRecorder())
    for step in range(9):
        expected, found = plain.step(batch_of(step), step), task.step(batch_of(step), step)
        assert found == expected
    assert recorder.recorded == 1 and recorder.replayed >= 5
    for name, net in task.networks.items():
        assert same(weights_of(net), weights_of(plain.networks[name])), name


def test_what_is_measured_and_saved():
    task = make_task()
    assert list(task.networks) == ["G_A", "G_B", "D_A", "D_B"] and task.first == "G_A"
    assert task.generators() == {name: task.networks[name] for name in ("G_A", "G_B")}
    assert list(task.specs) == ["G_A", "G_B"]


# --------------------------------------------------------------------------------------------------
# The pool


def numbered(first: int, count: int) -> torch.Tensor:
    """Images 1 2 2 that tell which one they are."""
    return torch.arange(first, first + count).float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def numbers(images: torch.Tensor) -> list[int]:
    assert (images == images[:, :1, :1, :1]).all()
    return images[:, 0, 0, 0].int().tolist()


@given(
    size=st.integers(0, 6),
    batches=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_the_rule_of_the_pool(size, batches, seed):
    """While it is not full each image is kept and shown; then one goes out for each that comes in,
    and nothing is lost or doubled."""
    pool, draws = ImagePool(size, CPU), np.random.default_rng(seed)
    kept, first = [], 0
    for count in batches:
        new = range(first, first + count)
        shown = numbers(
            pool.exchange(numbered(first, count).contiguous(), pool.places(count, draws))
        )
        for image, seen in zip(new, shown, strict=True):
            if len(kept) < size:
                assert seen == image
                kept.append(image)
            elif seen != image:
                kept[kept.index(seen)] = image  # ValueError if it was not there
        assert size == 0 or numbers(pool.images[: pool.kept]) == kept
        first += count
    assert pool.kept == len(kept) == min(size, first)


def test_half_of_the_images_of_a_full_pool_are_old_ones_from_anywhere():
    size, count = 5, 4000
    draws = np.random.default_rng(3)
    places = ImagePool(size, CPU).places(size + count, draws)
    assert places[:size].tolist() == [[i, 0] for i in range(size)]
    place, swapped = places[size:].unbind(1)
    assert abs(swapped.float().mean().item() - 0.5) < 0.03
    assert (place[swapped == 0] == size).all()
    share = torch.bincount(place[swapped == 1], minlength=size) / swapped.sum()
    assert (share - 1 / size).abs().max() < 0.03


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_pool_is_restored_whole(steps):
    def advance(pool, steps):
        shown = []
        for step in steps:
            places = pool.places(2, np.random.default_rng(step))
            shown.append(pool.exchange(numbered(10 * step, 2).contiguous(), places))
        return shown

    pool, again = ImagePool(5, CPU), ImagePool(5, CPU)
    advance(pool, range(steps))
    state = copy.deepcopy(pool.state_dict())
    expected = advance(pool, range(steps, 9))
    again.load_state_dict(state)
    assert same(advance(again, range(steps, 9)), expected)
    assert torch.equal(again.state_dict()["images"], pool.state_dict()["images"])


def test_images_of_several_sizes_need_no_pool():
    batches = [batch_of(1), Batch(*torch.rand(2, 1, 3, 16, 20), ["x"])]
    with pytest.raises(InputError, match=r"`pool_size` 3 .*16x16 and 20x16.*`pool_size` 0"):
        task = make_task()
        [task.step(batch, step) for step, batch in enumerate(batches)]
    task = make_task(pool_size=0)
    assert all(task.step(batch, step) for step, batch in enumerate(batches))


def test_draws_are_a_function_of_seed_and_step():
    tasks = make_task(), make_task(), make_task(seed=2)
    drawn = [[task._choices(step, 4) for step in range(6)] for task in tasks]
    flat = [torch.cat([p for places in each for p in places]) for each in drawn]
    assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], flat[2])
    # The two pools draw on their own.
    assert not torch.equal(*(torch.cat([step[i] for step in drawn[0]]) for i in (0, 1)))


def test_averages_are_measured_and_saved_instead():
    task = make_task(ema=0.9)
    before = weights_of(task.networks["G_B"])
    task.step(batch_of(1), 0)
    assert list(task.generators()) == ["G_A", "G_B"] and "G_A_raw" in task.specs
    assert task.networks["G_B_raw"] is task.g_b is not task.generators()["G_B"]
    average = weights_of(task.generators()["G_B"])
    assert not same(average, before) and not same(average, weights_of(task.g_b))


def test_discriminators_see_changed_images_alone():
    """Every look at an image is at a changed one: with zeros for images, scores tell no images
    apart."""
    task = make_task(augment=lambda images, seen: 0 * images)
    losses = task.step(batch_of(1), 0)
    nothing = torch.zeros(2, 3, 16, 16)
    score = make_task().d_a(nothing)
    assert losses["D_A_fake"].item() == pytest.approx(score.square().mean().item(), rel=1e-4)
    assert losses["D_A_real"].item() == pytest.approx((score - 1).square().mean().item(), rel=1e-4)
    assert losses["G_A_gan"].item() == pytest.approx(
        1.5 * (score - 1).square().mean().item(), rel=1e-4
    )
