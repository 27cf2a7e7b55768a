"""Online distillation: what a step trains, and by which losses."""

import copy

import pytest
import torch
from recorded_operations import OperationRecorder

from data.loader import Batch
from models.config import ChannelConfig
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from models.layers import ElasticConv2d, init_weights
from models.layout import TAP_COUNT
from training.augmentation import CHANGES, Augmentation
from training.feature_networks import DiscriminatorFeatures
from training.image_losses import ImageLosses, ImageLossWeights, make_connector, ssim
from training.online import TAP_LOSSES, OnlineTask, RealLosses
from training.tasks import Judge, LossWeights, Subnets, TeacherTask, as_batch, make_adaptors

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("three_blocks")
# A recording reads rates in float32, which holds this one exactly.
RATE = 2**-10
TEACHER = GeneratorSpec("resnet_3blocks", ngf=4)
DEEPER = GeneratorSpec("mobile_deepest_resnet", ngf=2)
STUDENT = GeneratorSpec("mobile_resnet_3blocks", ngf=2)
ELASTIC = GeneratorSpec("super_mobile_resnet_3blocks", ngf=3)
ALL = ImageLossWeights(l1=2.0, ssim=3.0, style=5.0, feature=7.0, tv=0.01, wavelet=4.0)


def make_teaching(distill: float = 1.0, share: int | None = None) -> TeacherTask:
    """One teacher, or with ``share`` two that share so many blocks of their discriminator."""
    torch.manual_seed(0)
    specs = [TEACHER] if share is None else [TEACHER, DEEPER]
    net_d = build_discriminator("n_layers", 6, 2, 1, heads=len(specs), share=share or 0)
    init_weights(net_d, gain=0.2)
    nets_g = [init_weights(spec.build(), gain=0.2) for spec in specs]
    weights = LossWeights(distill=distill)
    return TeacherTask(nets_g, net_d, specs, weights, RATE, 0.5, CPU)


def make_task(
    every=1,
    tap_loss="mse",
    weights=ALL,
    elastic=False,
    draw=None,
    ema=0.0,
    distill=1.0,
    share=None,
    own=False,
    augment=(),
) -> OnlineTask:
    teaching = make_teaching(distill, share)
    spec = ELASTIC if elastic else STUDENT
    student = init_weights(spec.build(), gain=0.2)
    adaptors = {
        "mse": lambda: make_adaptors(spec, TEACHER, "normal", 0.2),
        "channel": lambda: [
            make_connector(4 * spec.ngf, 16, "normal", 0.2) for _ in range(TAP_COUNT)
        ],
        "alignment": list,
    }[tap_loss]()
    losses = ImageLosses(weights, DiscriminatorFeatures(teaching.net_d), wavelet_levels=2)
    subnets = Subnets(draw, {}) if elastic else None
    real = RealLosses()
    if own:
        net_d = init_weights(build_discriminator("n_layers", 6, 2, 1), gain=0.2)
        judge = Judge(net_d, True, Augmentation(augment), "none")
        real = RealLosses(judge, adversarial=2.0, l1=6.0)
    return OnlineTask(
        student,
        teaching,
        adaptors,
        spec,
        losses,
        tap_loss,
        RATE,
        0.5,
        CPU,
        subnets,
        every,
        ema=ema,
        real=real,
    )


def batch_of(seed: int, n: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(n, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(2))
    return Batch(a, b, ["x"] * n)


def weights_of(*nets) -> list[torch.Tensor]:
    return [p.detach().clone() for net in nets for p in net.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# --------------------------------------------------------------------------------------------------
# The teacher


def test_the_teacher_learns_as_it_does_alone():
    task, alone = make_task(), make_teaching()
    for step in range(3):
        losses = task.step(batch_of(step), step)
        expected = alone.step(batch_of(step), step)
        for name, value in expected.items():
            assert torch.equal(losses[name.replace("G_", "T_")], value)
    assert same(weights_of(task.networks["T"]), weights_of(alone.nets_g[0]))
    assert same(weights_of(task.networks["D"]), weights_of(alone.net_d))


@pytest.mark.parametrize("share", [None, 1], ids=["one", "two"])
def test_teachers_learn_in_every_nth_step(share):
    task = make_task(every=3, share=share)
    nets = task.teaching.networks.values()
    for step in range(7):
        before, student = [weights_of(net) for net in nets], weights_of(task.student)
        losses = task.step(batch_of(step), step)
        learns = step in (2, 5)
        for net, old in zip(nets, before, strict=True):
            assert same(old, weights_of(net)) != learns
        assert ("T_gan" in losses) == learns and ("T2_gan" in losses) == bool(share and learns)
        assert not same(student, weights_of(task.student))


@pytest.mark.parametrize("share", [None, 1], ids=["one", "two"])
def test_trained_teachers_stay_as_they_are_and_are_not_saved(share):
    task = make_task(every=0, share=share)
    before = weights_of(*task.teaching.networks.values())
    for step in range(2):
        assert all(name.startswith("G_") for name in task.step(batch_of(step), step))
    assert same(before, weights_of(*task.teaching.networks.values()))
    assert set(task.networks) == {"G", "A-0", "A-1", "A-2", "A-3"} and len(task.optimizers) == 1


# --------------------------------------------------------------------------------------------------
# Two teachers


def recorded_gradients(task) -> list[torch.Tensor]:
    """Fills with the gradients of each optimizer that ``task`` steps, one after another."""
    found, step = [], task._step

    def record(*optimizers):
        for optimizer in optimizers:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            found.append([p.grad.clone() for p in parameters if p.grad is not None])
        step(*optimizers)

    task._step = record
    return found


@pytest.mark.parametrize("share", [0, 2, 3])
def test_two_teachers_learn_before_an_unstepped_discriminator(share):
    """Every loss and gradient by hand, then the student's from the images before the update."""
    task, batch = make_task(share=share), batch_of(7)
    teachers, student, net_d = copy.deepcopy((task.teachers, task.student, task.teaching.net_d))
    adaptors = copy.deepcopy(task.adaptors)
    teacher_gradients, student_gradients = map(recorded_gradients, (task.teaching, task))
    found = task.step(batch, 0)

    a, b, w = batch.A, batch.B, task.weights
    wider, taps = teachers[0](a, taps=True)
    images = [wider, teachers[1](a)]
    loss_d, losses = 0, {}
    for tag, image, head in zip(("", "2"), images, net_d.heads, strict=True):
        judge = lambda x, head=head: head(net_d.trunk(torch.cat((a, x), 1)))  # noqa: E731
        losses[f"D{tag}_fake"] = (1 + judge(image.detach())).relu().mean()
        losses[f"D{tag}_real"] = (1 - judge(b)).relu().mean()
        losses[f"T{tag}_gan"] = -judge(image).mean()
        losses[f"T{tag}_recon"] = w.reconstruction * (image - b).abs().mean()
        loss_d = loss_d + (losses[f"D{tag}_fake"] + losses[f"D{tag}_real"]) / 2
    of_d = torch.autograd.grad(loss_d, [*net_d.parameters()])
    of_teachers = [
        gradient
        for tag, net in zip(("", "2"), teachers, strict=True)
        for gradient in torch.autograd.grad(
            losses[f"T{tag}_gan"] + losses[f"T{tag}_recon"], [*net.parameters()], retain_graph=True
        )
    ]
    for mine, wanted in zip(teacher_gradients, (of_d, of_teachers), strict=True):
        torch.testing.assert_close(mine, [*wanted], rtol=1e-4, atol=1e-6)

    # The discriminator that looks at the student is the one after its step.
    features = DiscriminatorFeatures(task.teaching.net_d)
    compare = ImageLosses(ALL, features, wavelet_levels=2)
    fake, adapted = student(a, taps=True)
    each = [compare(a, fake, image) for image in images]
    losses |= {name: each[0][name] + each[1][name] for name in each[0]}
    losses["G_distill"] = sum(
        (adaptor(tap) - wanted.detach()).square().mean()
        for adaptor, tap, wanted in zip(adaptors, adapted, taps, strict=True)
    )
    assert set(found) == set(losses)
    for name, value in losses.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5), name
    total = sum(value for name, value in losses.items() if name.startswith("G_"))
    wanted = torch.autograd.grad(total, [p for n in (student, *adaptors) for p in n.parameters()])
    torch.testing.assert_close(student_gradients[0], [*wanted], rtol=1e-4, atol=1e-5)


def test_teachers_and_their_discriminator_learn_nothing_from_the_student():
    task = make_task(every=2, share=1)
    for step in range(3):
        task.step(batch_of(step), step)
    # The third was the student's alone: what it leaves behind would go into the next update.
    for net in task.teaching.networks.values():
        assert all(p.grad is None for p in net.parameters())


def test_what_two_teachers_are_called():
    task = make_task(share=1)
    assert set(task.networks) >= {"G", "T", "T2", "D"}
    assert task.specs == {"G": STUDENT, "T": TEACHER, "T2": DEEPER}
    assert list(task.teaching.generators()) == ["G", "G2"]


def test_a_teacher_without_activations_may_come_first():
    """Where activations are not compared, none are asked for."""
    task = make_task(share=0, distill=0.0)
    task.teachers.reverse()
    assert "G_distill" not in task.step(batch_of(1), 0)


# --------------------------------------------------------------------------------------------------
# The student


def test_the_student_compares_itself_with_the_teacher_before_its_update():
    """Every loss from the images of two plain forward passes; the update is Adam's on their sum."""
    task = make_task()
    teacher, student = copy.deepcopy(task.teaching.nets_g[0]), copy.deepcopy(task.student)
    adaptors = copy.deepcopy(task.adaptors)
    batch = batch_of(7)
    found = task.step(batch, 0)

    target, teacher_taps = teacher(batch.A, taps=True)
    fake, taps = student(batch.A, taps=True)
    # The discriminator that looks is the one of this moment: after its update.
    features = DiscriminatorFeatures(task.teaching.net_d)
    expected = ImageLosses(ALL, features, wavelet_levels=2)(batch.A, fake, target)
    expected["G_distill"] = sum(
        (adaptor(tap) - wanted.detach()).square().mean()
        for adaptor, tap, wanted in zip(adaptors, taps, teacher_taps, strict=True)
    )
    assert {k for k in found if k.startswith("G_")} == set(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5), name
    window = task.losses.window
    by_hand = 3 * (1 - ssim(fake, target, window))
    assert found["G_ssim"].item() == pytest.approx(by_hand.item(), rel=1e-5)

    optimizer = torch.optim.Adam(student.parameters(), RATE, (0.5, 0.999), fused=True)
    sum(expected.values()).backward(inputs=[*student.parameters()])
    optimizer.step()
    for mine, wanted in zip(task.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=RATE / 100)


NOTHING = ImageLossWeights(ssim=0, style=0, feature=0, tv=0)


@pytest.mark.parametrize("augment", [(), tuple(CHANGES)], ids=["plain", "augmented"])
@pytest.mark.parametrize("every", [0, 1])
def test_a_discriminator_of_its_own_judges_the_student(every, augment):
    """Losses and gradients of both by hand: each is computed before either steps."""
    task, batch = make_task(every=every, own=True, augment=augment, distill=0.0), batch_of(7)
    student, net_d = copy.deepcopy((task.student, task.networks["D_student"]))
    teacher = copy.deepcopy(task.teachers[0])
    gradients = recorded_gradients(task)
    torch.manual_seed(3)
    found = task.step(batch, 0)

    torch.manual_seed(3)
    change = Augmentation(augment)
    real = net_d(change(torch.cat((batch.A, batch.B), 1), 3))
    fake = student(batch.A)
    score = net_d(change(torch.cat((batch.A, fake), 1), 3))
    losses = {
        "D_student_fake": (1 + score).relu().mean(),
        "D_student_real": (1 - real).relu().mean(),
        "G_gan": -2 * score.mean(),
        "G_real": 6 * (fake - batch.B).abs().mean(),
    }
    for name, value in losses.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5), name
    compare = ImageLosses(ALL, DiscriminatorFeatures(task.teaching.net_d), wavelet_levels=2)
    of_images = compare(batch.A, fake, teacher(batch.A).detach())
    loss_d = (losses["D_student_fake"] + losses["D_student_real"]) / 2
    loss_g = losses["G_gan"] + losses["G_real"] + sum(of_images.values())
    for loss, net, mine in zip((loss_g, loss_d), (student, net_d), gradients, strict=True):
        wanted = torch.autograd.grad(loss, [*net.parameters()], retain_graph=True)
        torch.testing.assert_close(mine, [*wanted], rtol=1e-4, atol=1e-5)


def test_a_supernet_shows_its_discriminator_the_real_images_once():
    draw = lambda step, images: [ChannelConfig.uniform(3), ChannelConfig.uniform(2)]  # noqa: E731
    task = make_task(every=0, elastic=True, draw=draw, own=True, weights=NOTHING, distill=0.0)
    batch, net_d = batch_of(2), copy.deepcopy(task.networks["D_student"])
    gradients = recorded_gradients(task)
    student = copy.deepcopy(task.student)
    task.step(batch, 0)
    fakes = [student(batch.A, config) for config in draw(0, 2)]
    scores = [net_d(torch.cat((batch.A, fake), 1)) for fake in fakes]
    of_fakes = sum((1 + score).relu().mean() for score in scores) / 2
    loss_d = (of_fakes + (1 - net_d(torch.cat((batch.A, batch.B), 1))).relu().mean()) / 2
    wanted = torch.autograd.grad(loss_d, [*net_d.parameters()])
    torch.testing.assert_close(gradients[1], [*wanted], rtol=1e-4, atol=1e-6)


def test_a_teacher_that_no_loss_compares_with_is_not_run():
    task = make_task(every=0, own=True, weights=NOTHING, distill=0.0)
    task.teachers = [lambda *args: pytest.fail("it was run")]
    losses = task.step(batch_of(1), 0)
    assert set(losses) == {"D_student_fake", "D_student_real", "G_gan", "G_real"}


def test_losses_without_weight_are_not_there():
    weights = ImageLossWeights(l1=1.0, ssim=0, style=0, feature=0, tv=0)
    losses = make_task(every=0, weights=weights, distill=0.0).step(batch_of(1), 0)
    assert set(losses) == {"G_l1"}


@pytest.mark.parametrize("tap_loss", TAP_LOSSES)
def test_every_loss_of_taps_trains_the_student(tap_loss):
    task = make_task(
        every=0,
        tap_loss=tap_loss,
        weights=ImageLossWeights(l1=1e-9, ssim=0, style=0, feature=0, tv=0),
    )
    before = weights_of(task.student)
    first = float(task.step(batch_of(1), 0)["G_distill"])
    for step in range(1, 12):
        last = float(task.step(batch_of(1), step)["G_distill"])
    assert 0 < last < first and not same(before, weights_of(task.student))
    trained = [m for a in task.adaptors for m in a.modules() if isinstance(m, ElasticConv2d)]
    assert len(trained) == (0 if tap_loss == "alignment" else 4)


def test_one_image_alone_cannot_be_aligned():
    task = make_task(tap_loss="alignment")
    assert "G_distill" in task.step(batch_of(1), 0)
    assert "G_distill" not in task.step(batch_of(1, n=1), 1)
    # With no other loss, the student then waits for the next batch.
    weights = ImageLossWeights(ssim=0, style=0, feature=0, tv=0)
    task = make_task(every=0, tap_loss="alignment", weights=weights)
    before = weights_of(task.student)
    assert task.step(batch_of(1, n=1), 0) == {} and same(before, weights_of(task.student))


def test_a_supernet_trains_the_configuration_of_its_step():
    small = ChannelConfig.uniform(2)
    task = make_task(elastic=True, draw=lambda step, images: [small])
    weight = task.student.state_dict()["model.1.weight"].clone()
    task.step(batch_of(1), 0)
    moved = (task.student.state_dict()["model.1.weight"] != weight).flatten(1).any(1)
    assert moved.tolist() == [True, True, False]


@pytest.mark.parametrize("tap_loss", TAP_LOSSES)
def test_a_width_for_each_image_is_the_masked_form(tap_loss):
    """A CPU runs each image alone at the width it needs; what looks at the taps sees the batch."""

    def draw(step, images):
        return [tuple(ChannelConfig.uniform(3 - n) for n in range(images))]

    alone, masked = (
        make_task(every=0, elastic=True, draw=draw, tap_loss=tap_loss) for _ in range(2)
    )
    masked.masked = True
    found, wanted = (task.step(batch_of(1), 0) for task in (alone, masked))
    assert found.keys() == wanted.keys() and "G_distill" in found
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-4), name
    pairs = zip(alone.adaptors, masked.adaptors, strict=True)
    for one, other in pairs:
        for a, b in zip(one.buffers(), other.buffers(), strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_taps_of_any_width_become_a_batch():
    one, two = torch.rand(1, 4, 2, 2), torch.rand(1, 2, 2, 2)
    made = as_batch([one, two], False)
    assert torch.equal(made[0], one[0]) and torch.equal(made[1, :2], two[0])
    assert made.shape == (2, 4, 2, 2) and not made[1, 2:].any()
    # Side by side: the second half begins where that of the widest does.
    made = as_batch([one, two], True)
    assert torch.equal(made[0], one[0])
    assert torch.equal(made[1, [0, 2]], two[0]) and not made[1, [1, 3]].any()


def test_the_average_is_what_is_saved():
    task = make_task(ema=0.9)
    assert task.networks["G"] is not task.student is task.networks["G_raw"]
    before = weights_of(task.networks["G"])
    task.step(batch_of(1), 0)
    assert not same(before, weights_of(task.networks["G"]))


# --------------------------------------------------------------------------------------------------
# From a recording


def several(step, images):
    large, small = ChannelConfig.uniform(3), ChannelConfig.uniform(2)
    return [(large, small)[step % 2], small]


@pytest.mark.parametrize(
    ("kwargs", "recordings"),
    [
        (dict(every=1), 1),
        (dict(every=2), 2),
        (dict(every=0, tap_loss="alignment"), 1),
        (dict(every=2, elastic=True, draw=several, tap_loss="channel", ema=0.9), 2),
        (dict(every=2, share=2), 2),
        (dict(every=2, own=True), 2),
    ],
    ids=["online", "every second step", "trained", "supernet", "two teachers", "own judge"],
)
def test_replayed_steps_are_the_steps(kwargs, recordings):
    plain, task = make_task(**kwargs), make_task(**kwargs)
    plain.masked = True
    task.record(recorder := OperationRecorder())
    for step in range(10):
        expected, found = plain.step(batch_of(step), step), task.step(batch_of(step), step)
        assert found == expected
    assert recorder.recorded == recordings and recorder.replayed >= 4
    for name, net in task.networks.items():
        assert same(weights_of(net), weights_of(plain.networks[name])), name
