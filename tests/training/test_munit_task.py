"""MUNIT's update rules: what steps when, by which losses, in which styles."""

import copy
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.loader import Batch, Loader
from data.transforms import Crops
from errors import InputError
from models.assembled import assemble
from models.build import DiscriminatorSettings, Initialisation, new_discriminator
from models.generators import GeneratorSpec
from models.image_scales import ImageScaleDiscriminator
from models.layers import init_weights
from models.munit import MunitConfig, MunitForm, without_style_encoder
from models.styles import InRandomStyles, random_styles
from runtime.files import load_tensors
from training import build
from training.build import SubnetSettings, UpdateSettings
from training.build_munit import MunitSettings, munit_distillation_task, munit_task
from training.munit import (
    MunitDistillTask,
    MunitRates,
    MunitTask,
    MunitWeights,
    drawn_styles,
)
from training.schedules import Schedule
from training.tasks import LossWeights, Subnets, make_adaptors
from training.trainer import Plan, Stopped, Trainer

CPU = torch.device("cpu")
FULL = GeneratorSpec("munit", 2)
STUDENT = GeneratorSpec("super_mobile_munit", 3)
LARGE, SMALL = MunitConfig((3,) * 10), MunitConfig((2, 1, 2, 3, 1, 2, 1, 2, 1, 2))
LSGAN, RATES = LossWeights("lsgan"), MunitRates(1e-3)


def net_of(spec, seed=0):
    torch.manual_seed(seed)
    return init_weights(spec.build(), "kaiming")


def judge(seed=9):
    torch.manual_seed(seed)
    return init_weights(ImageScaleDiscriminator(3, 2), "xavier", 1.0)


def teacher_task(weights=MunitWeights(), ema=0.0, rates=RATES):
    return MunitTask(
        [net_of(FULL, 1), net_of(FULL, 2)],
        [judge(3), judge(4)],
        [FULL, FULL],
        LSGAN,
        weights,
        rates,
        7,
        CPU,
        ema=ema,
    )


def student_task(every=2, choices=((LARGE,), (SMALL,)), weights=MunitWeights(), rates=RATES):
    subnets = Subnets(lambda step, images: [*choices[step % 2]], {"smallest": SMALL})
    return MunitDistillTask(
        net_of(STUDENT, 1),
        net_of(FULL, 2),
        judge(),
        make_adaptors(STUDENT, FULL, "kaiming", 0.02),
        STUDENT,
        LSGAN,
        weights,
        rates,
        7,
        CPU,
        every,
        subnets,
    )


def batch(n=2, seed=0):
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(n, 3, 64, 64, generator=draw) * 2 - 1 for _ in range(2))
    return Batch(a, b, [f"{i}" for i in range(n)])


def copied(task):
    return {name: copy.deepcopy(net) for name, net in task.networks.items()}


def distance(x, y):
    return (x - y).abs().mean().item()


def squares(scores, target):
    """Least squares of the scores of three scales, summed over these."""
    assert len(scores) == 3
    return sum((s - target).square().mean().item() for s in scores)


def changed(before, net):
    after = net.state_dict()
    return {k for k, v in before.state_dict().items() if not torch.equal(v, after[k])}


# --------------------------------------------------------------------------------------------------
# Styles


def test_styles_of_a_step_are_a_function_of_seed_and_step(monkeypatch):
    first = drawn_styles(1, 5, 2, 8, CPU, 3)
    assert [tuple(s.shape) for s in first] == [(2, 8)] * 3 and first[0].dtype == torch.float32
    assert all(map(torch.equal, first, drawn_styles(1, 5, 2, 8, CPU, 3)))
    others = drawn_styles(1, 6, 2, 8, CPU, 3), drawn_styles(2, 5, 2, 8, CPU, 3)
    assert not any(torch.equal(first[0], other[0]) for other in others)
    assert not torch.equal(first[0], first[1])
    many = torch.cat(drawn_styles(1, 0, 500, 8, CPU, 2))
    assert abs(many.mean()) < 0.05 and abs(many.std() - 1) < 0.05
    # Two processes share the styles of the joint batch.
    whole = drawn_styles(1, 5, 4, 8, CPU, 2)
    monkeypatch.setattr("runtime.distributed.world_size", lambda: 2)
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr("runtime.distributed.rank", lambda rank=rank: rank)
        parts.append(drawn_styles(1, 5, 2, 8, CPU, 2))
    assert all(
        torch.equal(w, torch.cat(p)) for w, p in zip(whole, zip(*parts, strict=True), strict=True)
    )


# --------------------------------------------------------------------------------------------------
# The teachers


def test_adam_has_the_published_settings():
    for task in (teacher_task(rates=MunitRates()), student_task(rates=MunitRates())):
        for optimizer in task.optimizers:
            (group,) = optimizer.param_groups
            assert (group["lr"], group["betas"]) == (1e-4, (0.5, 0.999))
            assert group["weight_decay"] == 1e-4


def test_a_step_of_the_teachers_has_the_losses_of_the_paper():
    task, given = teacher_task(), batch()
    nets, (a, b) = copied(task), (given.A, given.B)
    losses = task.step(given, 3)
    style_a, style_b, later_a, later_b = drawn_styles(7, 3, 2, 8, CPU, 4)
    g_a, g_b, d_a, d_b = (nets[name] for name in ("G_A", "G_B", "D_A", "D_B"))
    with torch.no_grad():
        content_a, content_b = g_a.enc_content(a, g_a.widths), g_b.enc_content(b, g_b.widths)
        fake_b, fake_a = g_b.decode(content_a, style_b), g_a.decode(content_b, style_a)
        wanted = {
            "G_rec_A": 10 * distance(g_a(a), a),
            "G_rec_B": 10 * distance(g_b(b), b),
            "G_style_A": distance(g_a.style(fake_a), style_a),
            "G_style_B": distance(g_b.style(fake_b), style_b),
            "G_content_A": distance(g_b.content(fake_b), content_a),
            "G_content_B": distance(g_a.content(fake_a), content_b),
            "G_gan_A": squares(d_a(fake_a), 1),
            "G_gan_B": squares(d_b(fake_b), 1),
        }
        # The discriminators see what the stepped generators make, in other styles.
        new_a, new_b = task.networks["G_A"], task.networks["G_B"]
        fake_a = new_a.decode(new_b.content(b), later_a)
        fake_b = new_b.decode(new_a.content(a), later_b)
        wanted |= {
            "D_A_fake": squares(d_a(fake_a), 0),
            "D_A_real": squares(d_a(a), 1),
            "D_B_fake": squares(d_b(fake_b), 0),
            "D_B_real": squares(d_b(b), 1),
        }
    assert losses.keys() == wanted.keys()
    for name, value in wanted.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4), name
    for name, net in nets.items():
        # All weights learn; Adam's weight decay moves even those without a gradient.
        assert changed(net, task.networks[name]) == set(net.state_dict())


def test_the_first_gradients_are_those_of_the_sum_of_the_losses():
    """Against automatic differentiation of the whole objective, weighed otherwise."""
    w = MunitWeights(2, 3, 4, 5)
    task, given = teacher_task(w), batch()
    nets, seen = copied(task), {}
    for name, optimizer in zip("GD", task.optimizers, strict=True):

        def keep(optimizer, *_, name=name):
            (group,) = optimizer.param_groups
            seen[name] = [p.grad.clone() for p in group["params"]]

        optimizer.register_step_pre_hook(keep)
    task.step(given, 0)
    g_a, g_b = nets["G_A"], nets["G_B"]
    style_a, style_b, _, _ = drawn_styles(7, 0, 2, 8, CPU, 4)
    content_a, content_b = g_a.content(given.A), g_b.content(given.B)
    fake_b, fake_a = g_b.decode(content_a, style_b), g_a.decode(content_b, style_a)
    total = 2 * ((g_a(given.A) - given.A).abs().mean() + (g_b(given.B) - given.B).abs().mean())
    total = total + 3 * (g_a.style(fake_a) - style_a).abs().mean()
    total = total + 3 * (g_b.style(fake_b) - style_b).abs().mean()
    total = total + 4 * (g_b.content(fake_b) - content_a).abs().mean()
    total = total + 4 * (g_a.content(fake_a) - content_b).abs().mean()
    for judged, fake in ((nets["D_A"], fake_a), (nets["D_B"], fake_b)):
        total = total + 5 * sum((s - 1).square().mean() for s in judged(fake))
    wanted = torch.autograd.grad(total, [*g_a.parameters(), *g_b.parameters()])
    for found, right in zip(seen["G"], wanted, strict=True):
        assert torch.allclose(found, right, rtol=1e-3, atol=1e-5)
    # Not halved.
    d_b, new_a, new_b = nets["D_B"], task.networks["G_A"], task.networks["G_B"]
    *_, later_b = drawn_styles(7, 0, 2, 8, CPU, 4)
    with torch.no_grad():
        fake = new_b.decode(new_a.content(given.A), later_b)
    total = sum(s.square().mean() for s in d_b(fake))
    total = total + sum((s - 1).square().mean() for s in d_b(given.B))
    wanted = torch.autograd.grad(total, [*d_b.parameters()])
    for found, right in zip(seen["D"][len(wanted) :], wanted, strict=True):
        assert torch.allclose(found, right, rtol=1e-3, atol=1e-6)


def test_the_generators_step_first():
    task, order = teacher_task(), []
    for name, optimizer in zip("GD", task.optimizers, strict=True):
        optimizer.register_step_post_hook(lambda *_, name=name: order.append(name))
    task.step(batch(), 0)
    assert order == ["G", "D"]


def test_what_the_teachers_show_is_a_translation_in_random_styles():
    task, given = teacher_task(ema=0.9), batch()
    task.step(given, 0)
    assert set(task.networks) == {"G_A", "G_B", "G_A_raw", "G_B_raw", "D_A", "D_B"}
    g_a, g_b = task.networks["G_A"], task.networks["G_B"]
    with torch.no_grad():
        there, back = (task.generators()[name] for name in ("G_A", "G_B"))
        style = random_styles(given.A, 8)
        assert torch.equal(there(given.A), g_b.decode(g_a.content(given.A), style))
        assert torch.equal(back(given.A), g_a.decode(g_b.content(given.A), style))


def test_one_generator_is_assembled_of_two():
    parts, x = [(net_of(FULL, seed), FULL) for seed in (1, 2)], batch().A
    (g_a, _), (g_b, _) = parts
    net, spec = assemble(*parts)
    assert spec == FULL and torch.equal(net(x), g_b.decode(g_a.content(x), g_b.style(x)))
    net, _ = assemble(*parts, decoder_of_source=True)
    assert torch.equal(net(x), g_a.decode(g_a.content(x), g_b.style(x)))
    net.enc_content.model[0].conv.bias.data.add_(1)
    assert not torch.equal(net.content(x), g_a.content(x))
    narrow = GeneratorSpec("munit", 1)
    # The style encoder of the first is not taken, that of the second may be missing.
    (net_a, _), (net_b, _) = parts
    bare = replace(FULL, form=MunitForm(style_encoder=False))
    net, spec = assemble((without_style_encoder(net_a), bare), parts[1])
    assert spec == FULL and torch.equal(net(x), g_b.decode(g_a.content(x), g_b.style(x)))
    net, spec = assemble(parts[0], (without_style_encoder(net_b), bare))
    spec.build().load_state_dict(net.state_dict())
    assert spec == bare and net.multiple == 4
    with pytest.raises(InputError, match=r"munit 2_2_2.* and munit 1_1_1.* are not"):
        assemble(parts[0], (net_of(narrow), narrow))
    resnet = GeneratorSpec("resnet_9blocks", 1)
    with pytest.raises(InputError, match="resnet_9blocks takes no style"):
        assemble(parts[0], (net_of(resnet), resnet))


# --------------------------------------------------------------------------------------------------
# The student


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_step_of_the_student_has_the_published_losses(step):
    task, given = student_task(), batch()
    nets, (a, b) = copied(task), (given.A, given.B)
    teacher = copy.deepcopy(task.teacher)
    losses = task.step(given, step)
    config = (LARGE, SMALL)[step % 2]
    with torch.no_grad():
        student = STUDENT.kind.extract(nets["G"], config)
        (style,) = drawn_styles(7, step, 2, 8, CPU, 1)
        own, theirs = (student.style(b), teacher.style(b)) if step % 2 else (style, style)
        fake, content = student(a, own), student.content(a)
        wanted = {
            "G_recon": 10 * distance(fake, teacher(a, theirs)),
            "G_content": distance(nets["A-0"](content), teacher.content(a)),
            "G_gan": squares(nets["D"](fake), 1),
            "D_fake": squares(nets["D"](fake), 0),
            "D_real": squares(nets["D"](b), 1),
        }
        if step % 2:
            wanted["G_style"] = distance(own, theirs)
    assert losses.keys() == wanted.keys()
    for name, value in wanted.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4), name
    moved = changed(nets["G"], task.networks["G"])
    of_style = {key for key in nets["G"].state_dict() if key.startswith("enc_style")}
    assert moved & of_style == (of_style if step % 2 else set())
    assert changed(nets["A-0"], task.networks["A-0"]) and changed(nets["D"], task.net_d)
    assert not changed(teacher, task.teacher) and not task.teacher.training


def test_both_gradients_are_there_before_either_steps():
    """The generator's gradient is that before the discriminator which has not stepped yet."""
    task, given, order, seen = student_task(), batch(), [], {}
    nets = copied(task)
    for name, optimizer in zip("GD", task.optimizers, strict=True):

        def keep(optimizer, *_, name=name):
            order.append(name)
            seen[name] = [p.grad for group in optimizer.param_groups for p in group["params"]]

        optimizer.register_step_pre_hook(keep)
    task.step(given, 1)
    assert order == ["D", "G"]
    student, d, (adaptor, teacher) = nets["G"], nets["D"], (nets["A-0"], task.teacher)
    own, theirs = student.style(given.B, SMALL.widths()), teacher.style(given.B)
    fake, (content,) = student(given.A, SMALL, own, taps=True)
    total = 10 * (fake - teacher(given.A, theirs)).abs().mean() + (own - theirs).abs().mean()
    total = total + (adaptor(content) - teacher.content(given.A)).abs().mean()
    total = total + sum((s - 1).square().mean() for s in d(fake))
    wanted = torch.autograd.grad(total, [*student.parameters(), *adaptor.parameters()])
    for found, right in zip(seen["G"], wanted, strict=True):
        assert torch.allclose(found, right, rtol=1e-3, atol=1e-5)
    fake = fake.detach()
    total = sum(s.square().mean() for s in d(fake))
    total = total + sum((s - 1).square().mean() for s in d(given.B))
    for found, right in zip(seen["D"], torch.autograd.grad(total, [*d.parameters()]), strict=True):
        assert torch.allclose(found, right, rtol=1e-3, atol=1e-6)


def test_several_passes_count_as_one():
    losses = student_task(choices=((LARGE, SMALL),) * 2).step(batch(), 0)
    each = [student_task(choices=((config,),) * 2).step(batch(), 0) for config in (LARGE, SMALL)]
    for name, value in losses.items():
        assert value.item() == pytest.approx((each[0][name] + each[1][name]).item() / 2, rel=1e-4)


def test_how_often_styles_are_random_is_chosen():
    with_style = ["G_style" in student_task(every=3).step(batch(), step) for step in range(4)]
    assert with_style == [False, True, True, False]
    assert "G_style" not in student_task(every=1).step(batch(), 1)


def test_a_student_of_fixed_width_learns_too():
    spec = GeneratorSpec("mobile_munit", 2)
    parts = net_of(spec), net_of(FULL, 2), judge(), make_adaptors(spec, FULL, "kaiming", 0.02)
    task = MunitDistillTask(*parts, spec, LSGAN, MunitWeights(), RATES, 7, CPU, ema=0.5)
    given = batch()
    first = [task.step(given, step) for step in (0, 1)]
    assert [set(each) for each in first] == [
        {"G_recon", "G_content", "G_gan", "D_fake", "D_real"},
        {"G_recon", "G_content", "G_gan", "D_fake", "D_real", "G_style"},
    ]
    (shown,) = task.generators().values()
    assert isinstance(shown, InRandomStyles) and shown.net is task.networks["G"]


def test_a_student_comes_nearer_to_its_teacher():
    task = student_task(
        choices=((LARGE,),) * 2, weights=MunitWeights(gan=0), rates=MunitRates(3e-3, weight_decay=0)
    )
    given, x = batch(), batch().A
    style = random_styles(x, 8)

    def apart():
        with torch.no_grad():
            return distance(task.networks["G"](x, LARGE, style), task.teacher(x, style))

    before = apart()
    for step in range(30):
        task.step(given, step)
    assert apart() < 0.8 * before


# --------------------------------------------------------------------------------------------------
# Builders, and runs


def built_student(settings=MunitSettings(), updates=UpdateSettings(lr=1e-3), **how):
    teacher_spec = how.get("teacher", FULL)
    return munit_distillation_task(
        net_of(STUDENT, 1),
        how.get("spec", STUDENT),
        (net_of(teacher_spec, 2), teacher_spec),
        make_adaptors(STUDENT, FULL, "kaiming", 0.02),
        new_discriminator(JUDGE, 3, Initialisation()),
        LSGAN,
        settings,
        updates,
        CPU,
        build.subnets(SubnetSettings("3,2", seed=1), STUDENT, 2, lambda: []),
    )


JUDGE = DiscriminatorSettings("ms_image", 2, 4, num_D=3)


def test_tasks_are_built_from_settings():
    settings = MunitSettings(MunitWeights(2, 3, 4, 5), 0.25, 9, 3)
    task = built_student(settings)
    assert (task.munit, task.seed, task.every) == (settings.weights, 9, 3)
    groups = [optimizer.param_groups[0] for optimizer in task.optimizers]
    assert [g["weight_decay"] for g in groups] == [0.25] * 2 and groups[0]["lr"] == 1e-3
    assert isinstance(task.net_d, ImageScaleDiscriminator) and len(task.net_d.cnns) == 3
    losses = task.step(batch(), 1)
    assert losses["G_style"] > 0
    # Evaluations are of subnets in random styles.
    x = batch().A
    with torch.no_grad():
        for label, shown in task.generators().items():
            config = LARGE if label == "largest" else MunitConfig((2,) * 10)
            assert torch.equal(shown(x), task.student(x, config, random_styles(x, 8)))
    described = [(net_of(FULL, seed), FULL) for seed in (1, 2)]
    task = munit_task(described, [judge(), judge()], LSGAN, settings, UpdateSettings(), CPU)
    assert (task.munit, task.seed) == (settings.weights, 9)


def test_what_cannot_learn_styles_is_refused():
    resnet = GeneratorSpec("resnet_9blocks", 2)
    long, blind = (replace(FULL, form=form) for form in (MunitForm(9), MunitForm(8, 256, False)))
    for how, words in (
        (dict(teacher=resnet), "`teacher_netG` resnet_9blocks takes no style"),
        (dict(teacher=long), "styles of 8 numbers, and `teacher_netG` munit of 9"),
        (dict(teacher=blind), "`teacher_netG` munit: without a style encoder"),
        (dict(spec=resnet), "`student_netG` resnet_9blocks takes no style"),
        (dict(updates=UpdateSettings(cuda_graphs=True)), "`cuda_graphs`"),
    ):
        with pytest.raises(InputError, match=words):
            built_student(**how)
    described = [(net_of(spec), spec) for spec in (FULL, GeneratorSpec("munit", 1))]
    with pytest.raises(InputError, match="generators of one width learn together"):
        munit_task(described, [judge()] * 2, LSGAN, MunitSettings(), UpdateSettings(), CPU)


class Pictures:
    """Four random images of each domain, in memory."""

    names = [f"picture{i}" for i in range(4)]

    def __len__(self):
        return len(self.names)

    def load(self, index):
        rng = np.random.default_rng(index)
        return {side: rng.integers(0, 256, (3, 64, 64), dtype=np.uint8) for side in "AB"}


@pytest.mark.parametrize("kind", ["teachers", "student"])
def test_a_stopped_run_continues_as_if_it_had_not_been(kind, tmp_path):
    def trainer(folder, stop_after=None):
        task = teacher_task() if kind == "teachers" else student_task()
        step = task.step

        def stopping(given, number):
            losses = step(given, number)
            if number == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            return losses

        task.step = stopping
        loader = Loader(Pictures(), 2, CPU, Crops(None, True, True), shuffle=True, seed=1)
        plan = Plan(epochs=2, print_freq=2, save_epoch_freq=1)
        schedule = Schedule("step", "iter", 2, 0, decay_steps=2)
        settings = {"script": "train.py", "seed": 1}
        return Trainer(task, loader, schedule, plan, folder, None, settings)

    trainer(tmp_path / "whole").run()
    with pytest.raises(Stopped):
        trainer(tmp_path / "parts", stop_after=3).run()
    trainer(tmp_path / "parts").run()
    names = {p.name for p in (tmp_path / "whole/checkpoints").glob("latest_net_*.pth")}
    sides = ("G_A", "G_B", "D_A", "D_B") if kind == "teachers" else ("G", "D", "A-0")
    assert names == {f"latest_net_{side}.pth" for side in sides}
    for name in names:
        one, two = (
            load_tensors(tmp_path / run / "checkpoints" / name, "") for run in ("whole", "parts")
        )
        assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one), name
