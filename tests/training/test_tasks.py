"""The update rules against the reference, three updates of each."""

import copy

import pytest
import torch
from golden_updates import CASES, CPU, batch_at, expected_losses, filled_task
from golden_values import golden_array, golden_input

from data.loader import Batch
from models.config import ChannelConfig
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from training.augmentation import CHANGES, Augmentation
from training.tasks import DistillTask, LossWeights, Subnets, TeacherTask, make_adaptors


@pytest.mark.parametrize("name", CASES)
def test_three_updates_equal_the_reference(name):
    task, student = filled_task(name)
    config = [ChannelConfig.uniform(16)] if name.startswith("supernet") else []
    with torch.no_grad():
        before = student.eval()(golden_input(1, 3, 32, 32), *config)
    student.train()
    for step in range(len(CASES[name]["steps"])):
        losses = {k: float(v) for k, v in task.step(batch_at(step), step).items()}
        expected = expected_losses(name, step)
        assert losses == pytest.approx(expected, rel=1e-3 if step else 1e-4), f"step {step}"
    key = (
        f"train_{name}_output_after"
        if name == "pix2pix_teacher"
        else f"train_{name}_student_output_after"
    )
    golden = torch.from_numpy(golden_array(key))
    with torch.no_grad():
        after = student.eval()(golden_input(1, 3, 32, 32), *config)
    # Adam's first updates have the size of the learning rate whatever the gradient: where that is
    # nearly zero, rounding
    # (another CPU's kernels) decides their direction. So the outputs agree only to a share of how
    # far they moved.
    assert (after - golden).abs().mean() < 0.1 * (golden - before).abs().mean()


# --------------------------------------------------------------------------------------------------
# What a step must and must not touch

TINY = GeneratorSpec("resnet_9blocks", ngf=4)


def tiny_distillation(
    student: GeneratorSpec, paired: bool = True, subnets=None, **weights
) -> DistillTask:
    torch.manual_seed(0)
    net_d = build_discriminator("n_layers", 6 if paired else 3, 4, 1)
    adaptors = make_adaptors(student, TINY, "normal", 0.2)
    return DistillTask(
        student.build(),
        TINY.build(),
        net_d,
        adaptors,
        student,
        LossWeights(**weights),
        1e-2,
        0.5,
        CPU,
        subnets,
        paired,
    )


def tiny_batch(n: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(n, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(2))
    return Batch(a, b, ["x"] * n)


def snapshot(net) -> list:
    return [p.detach().clone() for p in net.parameters()]


def changed(net, before) -> list[bool]:
    return [not torch.equal(p, b) for p, b in zip(net.parameters(), before, strict=True)]


def test_a_step_trains_student_adaptors_and_discriminator_but_not_the_teacher():
    task = tiny_distillation(GeneratorSpec("mobile_resnet_9blocks", 4))
    nets = {"teacher": task.teacher, **task.networks}
    before = {name: snapshot(net) for name, net in nets.items()}
    task.step(tiny_batch(), 0)
    for name, net in nets.items():
        moved = changed(net, before[name])
        if name == "teacher":
            assert not any(moved)
            assert all(p.grad is None and not p.requires_grad for p in net.parameters())
        else:
            assert any(moved), name
            assert moved[0], name
    assert set(task.networks) == {"G", "D", "A-0", "A-1", "A-2", "A-3"}


def test_a_supernet_step_trains_only_its_config():
    spec = GeneratorSpec("super_mobile_resnet_9blocks", 8)
    task = tiny_distillation(
        spec, subnets=Subnets(lambda step, images: [ChannelConfig.uniform(4)], {})
    )
    before = task.student.model[4].weight.detach().clone()
    before_adaptor = task.adaptors[0].weight.detach().clone()
    task.step(tiny_batch(), 0)
    moved = task.student.model[4].weight != before
    assert moved[:8, :4].any() and not moved[8:].any() and not moved[:, 4:].any()
    moved = task.adaptors[0].weight != before_adaptor
    assert moved[:, :16].all() and not moved[:, 16:].any()


def test_the_config_of_a_step_is_asked_for_by_its_number():
    asked = []
    draw = lambda *asked_for: asked.append(asked_for) or [ChannelConfig.uniform(4)]  # noqa: E731
    task = tiny_distillation(
        GeneratorSpec("super_mobile_resnet_9blocks", 4), subnets=Subnets(draw, {})
    )
    for step in (7, 8):
        task.step(tiny_batch(), step)
    assert asked == [(7, 2), (8, 2)]


def test_unpaired_students_reconstruct_the_teacher():
    task = tiny_distillation(
        GeneratorSpec("mobile_resnet_9blocks", 4), paired=False, reconstruction=1.0
    )
    batch = tiny_batch()
    with torch.no_grad():
        expected = (task.student(batch.A) - task.teacher(batch.A)).abs().mean()
    assert float(task.step(batch, 0)["G_recon"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("gan_mode", ["hinge", "lsgan"])
@pytest.mark.parametrize("elastic", [False, True], ids=["student", "supernet"])
def test_unpaired_updates_from_first_principles(gan_mode, elastic):
    """Two updates written out as SPEC 3 says them: teacher's output as target, a discriminator that
    never sees an input, both
    gradients before either step."""
    config = ChannelConfig.uniform(4)
    spec = GeneratorSpec(
        "super_mobile_resnet_9blocks" if elastic else "mobile_resnet_9blocks", 8 if elastic else 4
    )
    subnets = Subnets(lambda step, *images: [config] if images else config, {}) if elastic else None
    weights = dict(gan_mode=gan_mode, gan=1.5, reconstruction=10.0, distill=0.01)
    task = tiny_distillation(spec, paired=False, subnets=subnets, **weights)
    student, net_d, adaptors = (copy.deepcopy(x) for x in (task.student, task.net_d, task.adaptors))
    assert net_d.model[0].weight.shape[1] == 3
    of_g = [*student.parameters(), *(p for a in adaptors for p in a.parameters())]
    adam_g, adam_d = (
        torch.optim.Adam(p, lr=1e-2, betas=(0.5, 0.999)) for p in (of_g, net_d.parameters())
    )
    arguments = (config,) if elastic else ()

    def run(net, x, *rest):
        """(output, features after modules 9, 12, 15, 18 of the Sequential)."""
        taken = []
        hooks = [
            net.model[i].register_forward_hook(lambda *a: taken.append(a[2]))
            for i in (9, 12, 15, 18)
        ]
        y = net(x, *rest)
        for hook in hooks:
            hook.remove()
        return y, taken

    for step in range(2):
        batch = tiny_batch()
        batch.B = (
            batch.B[:1, :, :12].flip(0) if step else batch.B
        )  # another count and size: nothing ties it to A
        with torch.no_grad():
            target, wanted = run(task.teacher, batch.A)
        fake, taps = run(student, batch.A, *arguments)
        layers = [
            (a(t) - w).square().mean() for a, t, w in zip(adaptors, taps, wanted, strict=True)
        ]
        fake_score, real_score = net_d(fake), net_d(batch.B)
        if gan_mode == "hinge":
            d_fake, d_real = (
                (1 + fake_score).clamp(min=0).mean(),
                (1 - real_score).clamp(min=0).mean(),
            )
            g_gan = -fake_score.mean()
        else:
            d_fake, d_real = fake_score.square().mean(), (real_score - 1).square().mean()
            g_gan = (fake_score - 1).square().mean()
        g_recon = (fake - target).abs().mean()
        loss_g = 1.5 * g_gan + 10 * g_recon + 0.01 * sum(layers)
        grad_d = torch.autograd.grad(
            (d_fake + d_real) / 2, [*net_d.parameters()], retain_graph=True
        )
        grad_g = torch.autograd.grad(loss_g, of_g, allow_unused=True)
        for parameters, gradients in ((net_d.parameters(), grad_d), (of_g, grad_g)):
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
        adam_d.step(), adam_g.step()

        expected = {
            "D_fake": d_fake,
            "D_real": d_real,
            "G_gan": 1.5 * g_gan,
            "G_recon": 10 * g_recon,
        }
        expected |= {"G_distill": 0.01 * sum(layers)} | {
            f"G_distill{i}": v for i, v in enumerate(layers)
        }
        found = {name: float(value) for name, value in task.step(batch, step).items()}
        assert found == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-4)
    # Outputs, not weights: a bias before a norm has no gradient but rounding, to which Adam gives
    # the size of a step.
    with torch.no_grad():
        pairs = [
            (task.student(batch.A, *arguments), student(batch.A, *arguments)),
            (task.net_d(fake), net_d(fake)),
        ]
        pairs += [(a(t), b(t)) for a, b, t in zip(task.adaptors, adaptors, taps, strict=True)]
        assert (
            pairs[0][1] - fake
        ).abs().mean() > 0.02  # the second update alone moved them as much
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


def test_losses_are_detached_and_weighed():
    batch = tiny_batch()
    plain = tiny_distillation(GeneratorSpec("mobile_resnet_9blocks", 4), reconstruction=1.0).step(
        batch, 0
    )
    heavy = tiny_distillation(
        GeneratorSpec("mobile_resnet_9blocks", 4), gan=2.0, reconstruction=3.0, distill=5.0
    ).step(batch, 0)
    for name, factor in {
        "G_gan": 2,
        "G_recon": 3,
        "G_distill": 5,
        "G_distill0": 1,
        "D_fake": 1,
    }.items():
        assert float(heavy[name]) == pytest.approx(factor * float(plain[name]), rel=1e-5), name
    assert not any(value.requires_grad for value in plain.values())


def test_adaptors_map_the_students_trunk_to_the_teachers():
    student = GeneratorSpec("sub_mobile_resnet_9blocks", config_str="4_4_3_2_2_2_4_4")
    adaptors = make_adaptors(student, GeneratorSpec("resnet_9blocks", 8), "normal", 0.02)
    assert [tuple(a.weight.shape) for a in adaptors] == [(32, 12, 1, 1)] * 4


@pytest.mark.parametrize("mode", ["hinge", "lsgan", "vanilla", "wgangp"])
def test_teachers_learn_in_every_mode(mode):
    torch.manual_seed(0)
    net, net_d = TINY.build(), build_discriminator("n_layers", 6, 4, 1)
    task = TeacherTask([net], net_d, [TINY], LossWeights(mode), 1e-3, 0.5, CPU)
    first = [task.step(tiny_batch(), step) for step in range(8)]
    assert float(first[-1]["G_recon"]) < float(first[0]["G_recon"])
    assert ("D_gp" in first[0]) == (mode == "wgangp")
    assert list(task.generators()) == ["G"]


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_discriminator_sees_changed_pairs_alone(ema):
    """A teacher's step by hand: the discriminator first, then the generator against the new one."""
    torch.manual_seed(0)
    net, net_d = TINY.build(), build_discriminator("n_layers", 6, 4, 1)
    change = Augmentation(CHANGES)
    task = TeacherTask([net], net_d, [TINY], LossWeights(), 1e-3, 0.5, CPU, augment=change, ema=ema)
    generator, judge = copy.deepcopy((net, net_d))
    batch = tiny_batch()
    torch.manual_seed(1)
    found = task.step(batch, 0)

    torch.manual_seed(1)
    fake = generator(batch.A)
    of_fake, of_real = (
        judge(change(torch.cat((batch.A, image), 1), 3)) for image in (fake.detach(), batch.B)
    )
    d_fake, d_real = (1 + of_fake).relu().mean(), (1 - of_real).relu().mean()
    assert found["D_fake"].item() == pytest.approx(d_fake.item(), rel=1e-5)
    assert found["D_real"].item() == pytest.approx(d_real.item(), rel=1e-5)
    ((d_fake + d_real) / 2).backward()
    torch.optim.Adam(judge.parameters(), 1e-3, (0.5, 0.999), fused=True).step()
    g_gan = -judge(change(torch.cat((batch.A, fake), 1), 3)).mean()
    assert found["G_gan"].item() == pytest.approx(g_gan.item(), rel=1e-4)
    assert found["G_recon"].item() == pytest.approx(
        100 * (fake - batch.B).abs().mean().item(), rel=1e-5
    )


def test_the_average_of_a_teacher_is_what_is_saved_and_measured():
    torch.manual_seed(0)
    net, net_d = TINY.build(), build_discriminator("n_layers", 6, 4, 1)
    task = TeacherTask([net], net_d, [TINY], LossWeights(), 1e-3, 0.5, CPU, ema=0.5)
    start = copy.deepcopy(net)
    assert task.networks["G_raw"] is net and task.generators() == {"G": task.networks["G"]}
    assert set(task.specs) == {"G", "G_raw"}
    for step in range(3):
        task.step(tiny_batch(), step)
        decay = min(0.5, (1 + step) / (10 + step))
        for average, value in zip(start.parameters(), net.parameters(), strict=True):
            average.data.lerp_(value.data, 1 - decay)
    for mine, expected in zip(task.networks["G"].parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(mine, expected)


def test_a_supernet_is_measured_at_the_configs_it_names():
    small, large = ChannelConfig.uniform(2), ChannelConfig.uniform(4)
    spec = GeneratorSpec("super_mobile_resnet_9blocks", 4)
    task = tiny_distillation(
        spec, subnets=Subnets(lambda *_: [small], {"large": large, "small": small})
    )
    x = tiny_batch().A
    with torch.no_grad():
        for label, config in (("large", large), ("small", small)):
            assert torch.equal(task.generators()[label](x), task.student(x, config))


# --------------------------------------------------------------------------------------------------
# Several configurations per step, one per image, and the average of weights

SUPER = GeneratorSpec("super_mobile_resnet_9blocks", 4)
SMALL, LARGE = ChannelConfig.uniform(2), ChannelConfig.uniform(4)


def gradients_of_step(choices, batch) -> tuple[dict, list]:
    """Losses and the gradients of G and D of one step that runs ``choices``."""
    task = tiny_distillation(SUPER, subnets=Subnets(lambda *_: choices, {}))
    for parameter in [p for net in task.networks.values() for p in net.parameters()]:
        torch.nn.init.normal_(parameter, 0, 0.1)
    task.student.double(), task.teacher.double(), task.net_d.double()
    for adaptor in task.adaptors:
        adaptor.double()
    seen = []
    task._step = lambda *optimizers: seen.extend(
        p.grad.clone() for o in optimizers for group in o.param_groups for p in group["params"]
    )
    losses = task.step(Batch(batch.A.double(), batch.B.double(), batch.names), 0)
    return {name: float(value) for name, value in losses.items()}, seen


def test_a_step_of_several_passes_has_the_mean_of_their_losses_and_gradients():
    torch.manual_seed(3)
    batch = tiny_batch()
    both, one, other = (gradients_of_step(c, batch) for c in ([LARGE, SMALL], [LARGE], [SMALL]))
    for name, value in both[0].items():
        assert value == pytest.approx((one[0][name] + other[0][name]) / 2, rel=1e-5), name
    for a, b, c in zip(both[1], one[1], other[1], strict=True):
        torch.testing.assert_close(a, (b + c) / 2, rtol=1e-5, atol=1e-9)


def test_a_configuration_per_image_has_the_gradients_of_each_image_alone():
    batch = tiny_batch(2)
    alone = [Batch(batch.A[i : i + 1], batch.B[i : i + 1], ["x"]) for i in range(2)]
    joint = gradients_of_step([(LARGE, SMALL)], batch)
    parts = [gradients_of_step([c], b) for c, b in zip((LARGE, SMALL), alone, strict=True)]
    for a, b, c in zip(joint[1], parts[0][1], parts[1][1], strict=True):
        torch.testing.assert_close(a, (b + c) / 2, rtol=1e-5, atol=1e-9)
    assert joint[0]["G_distill"] == pytest.approx(
        (parts[0][0]["G_distill"] + parts[1][0]["G_distill"]) / 2
    )


def test_the_average_follows_the_student_and_is_what_is_measured_and_saved():
    torch.manual_seed(0)
    args = [SUPER.build(), TINY.build(), build_discriminator("n_layers", 6, 4, 1)]
    args += [make_adaptors(SUPER, TINY, "normal", 0.2), SUPER, LossWeights(), 1e-2, 0.5, CPU]
    task = DistillTask(*args, Subnets(lambda *_: [LARGE], {"largest": LARGE}), ema=0.9)
    weights = [task.student.model[4].weight.detach().clone()]
    for step in range(30):
        task.step(tiny_batch(), step)
        weights.append(task.student.model[4].weight.detach().clone())
    expected = weights[0]
    for step, weight in enumerate(weights[1:]):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    average = task.networks["G"].model[4].weight
    torch.testing.assert_close(average, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(average, weights[-1]) and torch.equal(
        task.networks["G_raw"].model[4].weight, weights[-1]
    )
    with torch.no_grad():
        x = tiny_batch().A
        assert torch.equal(task.generators()["largest"](x), task.networks["G"](x, LARGE))
