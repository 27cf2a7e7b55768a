"""SPADE's update rule: what steps when, by which losses, and that a run can be continued."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data.labels import Semantics
from data.loader import Batch, Loader
from data.transforms import Crops, to_float
from errors import InputError
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.multi_scale import MultiScaleDiscriminator
from models.spade import SpadeConfig, SpadeForm
from runtime.files import load_tensors
from training import build
from training.build import SpadeSettings, SubnetSettings, UpdateSettings, spade_task
from training.schedules import Schedule
from training.spade import Rates, SpadeTask, SpadeWeights
from training.tasks import LossWeights, Subnets, make_adaptors
from training.trainer import Plan, Stopped, Trainer

CPU = torch.device("cpu")
FORM = SpadeForm("normal")
FULL = GeneratorSpec("spade", 2, None, 5, 3, "batch", form=FORM)
STUDENT = GeneratorSpec("super_mobile_spade", 3, None, 5, 3, "batch", form=FORM)
LARGE, SMALL = SpadeConfig((3,) * 8), SpadeConfig((2, 1, 2, 3, 1, 2, 1, 2))
RATES = Rates.of(1e-3, 0.5, 0.999, True)


def net_of(spec, seed=0):
    torch.manual_seed(seed)
    return init_weights(spec.build(), "xavier", 0.5)


def make_task(kind="teacher", ema=0.0, weights=LossWeights(distill=10), rates=RATES):
    torch.manual_seed(1)
    net_d = init_weights(MultiScaleDiscriminator(8, 2, 3), "xavier", 0.5)
    how = dict(device=CPU, ema=ema)
    losses = weights, SpadeWeights(10, 0), rates
    if kind == "teacher":
        return SpadeTask(net_of(FULL), FULL, net_d, *losses, **how)
    subnets = Subnets(lambda step, images: [(LARGE, SMALL)[step % 2]], {"smallest": SMALL})
    adaptors = make_adaptors(STUDENT, FULL, "xavier", 0.5)
    more = dict(teacher=net_of(FULL, 2), adaptors=adaptors, subnets=subnets)
    return SpadeTask(net_of(STUDENT), STUDENT, net_d, *losses, **how, **more)


class Scenes:
    """Six random label maps with photos, in memory."""

    names = [f"scene{i}" for i in range(6)]
    semantics = Semantics(5, instance=False)

    def __len__(self):
        return len(self.names)

    def load(self, index):
        rng = np.random.default_rng(index)
        labels = rng.integers(0, 5, (1, 32, 64), dtype=np.uint8)
        return {"labels": labels, "B": rng.integers(0, 256, (3, 32, 64), dtype=np.uint8)}

    def encode(self, stacked):
        a = self.semantics.one_hot(stacked["labels"], None)
        return {"A": a, "B": to_float(stacked["B"])}


def make_loader():
    return Loader(Scenes(), 2, CPU, Crops(None, True, True), shuffle=True, seed=1, threads=1)


def batch():
    return next(iter(make_loader().epoch()))


# --------------------------------------------------------------------------------------------------
# One step


def test_rates_of_two_time_scales():
    task = make_task(rates=Rates.of(2e-4, 0.5, 0.999, True))
    groups = [optimizer.param_groups[0] for optimizer in task.optimizers]
    assert [g["lr"] for g in groups] == [1e-4, 4e-4]
    assert [g["betas"] for g in groups] == [(0.0, 0.9)] * 2
    task = make_task(rates=Rates.of(2e-4, 0.5, 0.99, False))
    groups = [optimizer.param_groups[0] for optimizer in task.optimizers]
    assert [(g["lr"], g["betas"]) for g in groups] == [(2e-4, (0.5, 0.99))] * 2


def test_the_generator_steps_first_and_the_discriminator_sees_what_it_makes_then():
    task, given, order = make_task(), batch(), []
    for name, optimizer in zip("GD", task.optimizers, strict=True):
        optimizer.register_step_post_hook(lambda *_, name=name: order.append(name))
    before = {name: net.state_dict() for name, net in task.networks.items()}
    before = {n: {k: v.clone() for k, v in s.items()} for n, s in before.items()}
    seen = []
    hook = task.net_d.register_forward_hook(lambda _, args, __: seen.append((order[:], args[0])))
    task.step(given, 0)
    hook.remove()
    assert order == ["G", "D"]
    (when_g, of_g), (when_d, of_d) = seen
    assert when_g == [] and when_d == ["G"]
    # Labels beside photos, made ones first.
    for x in (of_g, of_d):
        assert x.shape == (4, 8, 32, 64) and torch.equal(x[:2, :5], given.A)
        assert torch.equal(x[2:, :5], given.A) and torch.equal(x[2:, 5:], given.B)
    assert of_g.requires_grad and not of_d.requires_grad
    assert not torch.equal(of_g[:2, 5:], of_d[:2, 5:])
    after = {name: net.state_dict() for name, net in task.networks.items()}
    for name in "GD":
        changed = [k for k, v in after[name].items() if not torch.equal(v, before[name][k])]
        assert any(k.endswith("weight") or k.endswith("weight_orig") for k in changed)
    # A pass for each network: statistics move twice.
    assert int(task.networks["G"].head_0.norm_0.param_free_norm.num_batches_tracked) == 2


def test_losses_are_those_of_the_formulas():
    task, given = make_task(weights=LossWeights(gan=3)), batch()
    torch.manual_seed(5)
    fake = task.student(given.A)
    both = torch.cat((torch.cat((given.A, fake), 1), torch.cat((given.A, given.B), 1)))
    with torch.no_grad():
        outputs = task.net_d(both)
    gan = -sum(scale[-1][:2].mean() for scale in outputs) / 2
    feat = sum(F.l1_loss(layer[:2], layer[2:]) for scale in outputs for layer in scale[:-1]).item()
    fresh = make_task(weights=LossWeights(gan=3))
    losses = fresh.step(given, 0)
    assert set(losses) == {"G_gan", "G_feat", "D_fake", "D_real"}
    assert losses["G_gan"].item() == pytest.approx(3 * gan.item(), rel=1e-4)
    assert losses["G_feat"].item() == pytest.approx(10 * feat / 2, rel=1e-4)
    assert all(not value.requires_grad for value in losses.values())


def test_features_of_vgg_are_compared_where_they_weigh(monkeypatch):
    class Loss(torch.nn.Module):
        def __init__(self, path, setting, imagenet):
            super().__init__()
            self.asked = path, imagenet

        def forward(self, x, y):
            return (x - y).abs().mean()

    monkeypatch.setattr(build, "PerceptualLoss", Loss)
    net_d = init_weights(MultiScaleDiscriminator(8, 2, 3))
    parts = net_of(FULL), FULL, net_d
    task = spade_task(
        *parts, SpadeSettings(SpadeWeights(0, 7), "vgg.pth"), LossWeights(), UpdateSettings(), CPU
    )
    assert task.vgg.asked == (Path("vgg.pth"), False)
    losses = task.step(batch(), 0)
    assert losses["G_vgg"] > 0.1 and losses["G_feat"] == 0


def test_missing_weights_of_vgg_are_named(tmp_path):
    settings = SpadeSettings(SpadeWeights(), str(tmp_path / "gone.pth"))
    parts = net_of(FULL), FULL, MultiScaleDiscriminator(8, 2, 3)
    with pytest.raises(InputError, match=r"`lambda_vgg` 10 \(0: without.*gone\.pth"):
        spade_task(*parts, settings, LossWeights(), UpdateSettings(), CPU)


# --------------------------------------------------------------------------------------------------
# A student


def test_a_student_learns_from_three_blocks_of_its_teacher():
    task, given = make_task("supernet"), batch()
    with torch.no_grad():
        taps = task.teacher.tap(given.A)
        _, own = task.student.train()(given.A, LARGE, taps=True)
        wanted = sum(
            F.mse_loss(adaptor(tap), theirs)
            for adaptor, tap, theirs in zip(task.adaptors, own, taps, strict=True)
        )
    teacher = {k: v.clone() for k, v in task.teacher.state_dict().items()}
    adaptor = task.adaptors[2].weight.clone()
    losses = make_task("supernet").step(given, 0)
    assert losses["G_distill"].item() == pytest.approx(10 * wanted.item(), rel=1e-4)
    for _ in range(2):
        task.step(given, 0)
    assert all(torch.equal(v, teacher[k]) for k, v in task.teacher.state_dict().items())
    assert not task.teacher.training and not torch.equal(task.adaptors[2].weight, adaptor)
    assert [tuple(a.weight.shape[:2]) for a in task.adaptors] == [(32, 48), (32, 48), (8, 12)]
    assert set(task.networks) == {"G", "A-0", "A-1", "A-2", "D"}
    assert set(task.generators()) == {"smallest"} and set(make_task().generators()) == {"G"}


def test_a_step_runs_one_configuration_in_both_passes():
    task, ran = make_task("supernet"), []
    run = task.student.forward
    task.student.forward = lambda x, config, **how: (ran.append(config), run(x, config, **how))[1]
    for step in range(2):
        task.step(batch(), step)
    assert ran == [LARGE, LARGE, SMALL, SMALL]


def test_what_cannot_be_recorded_or_mixed_is_refused():
    student, subnets = net_of(STUDENT), make_task("supernet").subnets
    parts = STUDENT, MultiScaleDiscriminator(8, 2, 3), SpadeSettings(SpadeWeights(10, 0))
    with pytest.raises(InputError, match="`cuda_graphs`: a step of super_mobile_spade"):
        spade_task(
            student, *parts, LossWeights(), UpdateSettings(cuda_graphs=True), CPU, subnets=subnets
        )
    with pytest.raises(InputError, match="`config_per_image`: super_mobile_spade"):
        build.subnets(SubnetSettings("3,2", per_image=True), STUDENT, 2, lambda: [])


# --------------------------------------------------------------------------------------------------
# Runs


def test_a_generator_comes_nearer_to_its_photos():
    """By the losses that compare them, before a discriminator that stands still."""
    task = make_task(weights=LossWeights(gan=0), rates=Rates((5e-3, 0.0), (0.0, 0.9)))
    task.vgg, task.pixels, given = F.l1_loss, SpadeWeights(1, 10), batch()
    # Photos that their labels decide.
    given.B = (given.A.argmax(1, keepdim=True) / 2 - 1).repeat(1, 3, 1, 1)

    def distance():
        with torch.no_grad():
            return (task.networks["G"].train()(given.A) - given.B).abs().mean().item()

    first = distance()
    for step in range(30):
        task.step(given, step)
    assert distance() < 0.7 * first


@pytest.mark.parametrize("kind, ema", [("teacher", 0.9), ("supernet", 0.0)])
def test_a_stopped_run_continues_as_if_it_had_not_been(kind, ema, tmp_path):
    def trainer(folder, stop_after=None):
        task = make_task(kind, ema)
        step = task.step

        def stopping(given, number):
            losses = step(given, number)
            if number == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            return losses

        task.step = stopping
        plan = Plan(epochs=2, print_freq=2, save_epoch_freq=1)
        schedule = Schedule("linear", "epoch", 1, 1)
        settings = {"script": "train.py", "seed": 1}
        return Trainer(task, make_loader(), schedule, plan, folder, None, settings)

    trainer(tmp_path / "whole").run()
    with pytest.raises(Stopped):
        trainer(tmp_path / "parts", stop_after=3).run()
    trainer(tmp_path / "parts").run()
    names = {p.name for p in (tmp_path / "whole/checkpoints").glob("*_net_*.pth")}
    assert {"latest_net_G.pth", "latest_net_D.pth", "1_net_G.pth"} <= names
    for name in names:
        one, two = (
            load_tensors(tmp_path / run / "checkpoints" / name, "") for run in ("whole", "parts")
        )
        assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one), name


def test_a_batch_of_other_sizes_is_refused():
    task = make_task()
    with pytest.raises(InputError, match="multiples of 32"):
        task.step(Batch(torch.zeros(1, 5, 48, 48), torch.zeros(1, 3, 48, 48), ["a"]), 0)
    with pytest.raises(InputError, match=r"32x32 are a single pixel .* 64x32"):
        task.step(Batch(torch.zeros(1, 5, 32, 32), torch.zeros(1, 3, 32, 32), ["a"]), 0)
