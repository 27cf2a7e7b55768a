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
from models.layout import TAPS
from training.feature_networks import DiscriminatorFeatures
from training.image_losses import ImageLosses, ImageLossWeights, make_connector, ssim
from training.online import TAP_LOSSES, OnlineTask
from training.tasks import LossWeights, Subnets, TeacherTask, make_adaptors

CPU = torch.device("cpu")
# A recording reads rates in float32, which holds this one exactly.
RATE = 2**-10
TEACHER = GeneratorSpec("resnet_9blocks", ngf=4)
STUDENT = GeneratorSpec("mobile_resnet_9blocks", ngf=2)
ELASTIC = GeneratorSpec("super_mobile_resnet_9blocks", ngf=3)
ALL = ImageLossWeights(l1=2.0, ssim=3.0, style=5.0, feature=7.0, tv=0.01, wavelet=4.0)


def make_teaching(distill: float = 1.0) -> TeacherTask:
    torch.manual_seed(0)
    net_d = init_weights(build_discriminator("n_layers", 6, 2, 1), gain=0.2)
    net_g = init_weights(TEACHER.build(), gain=0.2)
    weights = LossWeights(distill=distill)
    return TeacherTask([net_g], net_d, [TEACHER], weights, RATE, 0.5, CPU)


def make_task(
    every=1, tap_loss="mse", weights=ALL, elastic=False, draw=None, ema=0.0, distill=1.0
) -> OnlineTask:
    teaching = make_teaching(distill)
    spec = ELASTIC if elastic else STUDENT
    student = init_weights(spec.build(), gain=0.2)
    adaptors = {
        "mse": lambda: make_adaptors(spec, TEACHER, "normal", 0.2),
        "channel": lambda: [make_connector(4 * spec.ngf, 16, "normal", 0.2) for _ in TAPS],
        "alignment": list,
    }[tap_loss]()
    losses = ImageLosses(weights, DiscriminatorFeatures(teaching.net_d), wavelet_levels=2)
    subnets = Subnets(draw, {}) if elastic else None
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


def test_the_teacher_learns_in_every_nth_step():
    task = make_task(every=2)
    for step in range(4):
        before = weights_of(task.teaching.nets_g[0], task.teaching.net_d), weights_of(task.student)
        losses = task.step(batch_of(step), step)
        after = weights_of(task.teaching.nets_g[0], task.teaching.net_d), weights_of(task.student)
        assert same(before[0], after[0]) == (step % 2 == 1) == ("T_gan" not in losses)
        assert not same(before[1], after[1])


def test_a_trained_teacher_stays_as_it_is_and_is_not_saved():
    task = make_task(every=0)
    before = weights_of(task.teaching.nets_g[0], task.teaching.net_d)
    for step in range(2):
        assert all(name.startswith("G_") for name in task.step(batch_of(step), step))
    assert same(before, weights_of(task.teaching.nets_g[0], task.teaching.net_d))
    assert set(task.networks) == {"G", "A-0", "A-1", "A-2", "A-3"} and len(task.optimizers) == 1


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
    ],
    ids=["online", "every second step", "trained teacher", "supernet"],
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
