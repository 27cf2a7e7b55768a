"""Steps from recordings. CUDA graphs need a GPU; what a recording does to a step is shown on the
CPU by one that records operations."""

import contextlib
import copy
import random

import pytest
import torch
from golden_updates import CASES, batch_at, expected_losses, filled_task
from recorded_operations import OperationRecorder

from data.loader import Batch
from models.config import ChannelConfig
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from runtime.cuda_graphs import CapturedStep, CudaGraphs
from training.tasks import DistillTask, LossWeights, Subnets, TeacherTask, make_adaptors

TINY = GeneratorSpec("resnet_6blocks", ngf=4)
CPU = torch.device("cpu")
# A recording reads rates in float32, which holds this one exactly.
RATE = 2**-10


def distillation(
    elastic: bool, paired: bool = True, ema: float = 0.0, draw=None, dropout: float = 0.0
) -> DistillTask:
    torch.manual_seed(0)
    name = "super_mobile_resnet_6blocks" if elastic else "mobile_resnet_6blocks"
    spec = GeneratorSpec(name, 8, dropout_rate=dropout)
    return DistillTask(
        *(spec.build(), TINY.build(), build_discriminator("n_layers", 6 if paired else 3, 4, 1)),
        *(make_adaptors(spec, TINY, "normal", 0.2), spec, LossWeights(), RATE, 0.5, CPU),
        subnets=Subnets(draw, {}) if elastic else None,
        paired=paired,
        ema=ema,
    )


def random_config(number: int) -> ChannelConfig:
    rng = random.Random(number)
    return ChannelConfig(tuple(rng.choice((4, 8)) for _ in range(8)))


def one(step, images):
    return [random_config(step)]


def sandwich(step, images):
    return [ChannelConfig.uniform(8), ChannelConfig.uniform(4), random_config(step)]


def per_image(step, images):
    return [tuple(random_config(10 * step + i) for i in range(images))]


def teacher(mode: str) -> TeacherTask:
    torch.manual_seed(0)
    net_d = build_discriminator("n_layers", 6, 4, 1)
    return TeacherTask([TINY.build()], net_d, [TINY], LossWeights(mode), RATE, 0.5, CPU)


def batch_of(n: int, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(n, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(2))
    return Batch(a, b, ["x"] * n)


def trained(task, batches, seeded=False):
    """(losses of every step, all weights) after a step on each batch."""
    losses = []
    for step, batch in enumerate(batches):
        if seeded:
            torch.manual_seed(step)
        losses.append(task.step(batch, step))
    return losses, [p.detach() for net in task.networks.values() for p in net.parameters()]


def recorded(task, warmup=CapturedStep.WARMUP) -> OperationRecorder:
    task.record(recorder := OperationRecorder())
    task.update.WARMUP = warmup
    return recorder


KINDS = {
    "student": lambda: distillation(False),
    "one config": lambda: distillation(True, draw=one),
    "sandwich, average": lambda: distillation(True, draw=sandwich, ema=0.9),
    "config per image": lambda: distillation(True, draw=per_image),
    "unpaired": lambda: distillation(True, paired=False, draw=one),
    "teacher": lambda: teacher("hinge"),
    "teacher, lsgan": lambda: teacher("lsgan"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_replayed_steps_are_the_steps(kind):
    plain, task = KINDS[kind](), KINDS[kind]()
    # Masked too: that this equals slicing is shown in tests/models/test_supernet.py.
    recorded(plain, warmup=1000)
    recorder = recorded(task)
    batches = [batch_of(2, i) for i in range(7)]
    expected_steps, expected_weights = trained(plain, batches)
    steps, weights = trained(task, batches)
    assert (recorder.asides, recorder.recorded, recorder.replayed) == (3, 1, 4)
    for found, expected in zip(steps, expected_steps, strict=True):
        assert found == expected
    assert all(torch.equal(a, b) for a, b in zip(weights, expected_weights, strict=True))


def test_replayed_dropout_follows_the_seed():
    batches = [batch_of(2, i) for i in range(6)]
    plain, task = distillation(False, dropout=0.5), distillation(False, dropout=0.5)
    recorded(task)
    _, expected = trained(plain, batches, seeded=True)
    _, weights = trained(task, batches, seeded=True)
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


def test_shapes_have_recordings_of_their_own_and_may_alternate():
    task, plain = distillation(False), distillation(False)
    recorder = recorded(task)
    batches = [batch_of((3, 3, 2)[i % 3], i) for i in range(18)]
    _, expected = trained(plain, batches)
    _, weights = trained(task, batches)
    assert recorder.recorded == 2
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


def test_no_more_than_a_few_shapes_are_recorded():
    task = distillation(False)
    recorder = recorded(task)
    for _ in range(CapturedStep.WARMUP + 1):
        trained(task, [batch_of(n, n) for n in range(1, 7)])
    assert recorder.recorded == len(task.update.recordings) == CapturedStep.SHAPES == 4


def test_a_replayed_step_follows_the_learning_rate():
    plain, task = distillation(False), distillation(False)
    recorded(task)
    for step in range(7):
        for each in (plain, task):
            for optimizer in each.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = RATE / 2**step
            each.step(batch_of(2, step), step)
    for found, expected in zip(task.optimizers, plain.optimizers, strict=True):
        assert found.state_dict()["param_groups"] == expected.state_dict()["param_groups"]
    pairs = zip(task.student.parameters(), plain.student.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_losses_that_were_kept_do_not_change():
    task = distillation(False)
    recorded(task)
    kept, _ = trained(task, [batch_of(2, i) for i in range(5)])
    before = copy.deepcopy(kept[-1])
    task.step(batch_of(2, 99), 5)
    assert kept[-1] == before


@pytest.mark.parametrize("name", CASES)
def test_a_replayed_reference_update_has_its_losses(name):
    task, _ = filled_task(name)
    recorded(task, warmup=0)
    found = {k: float(v) for k, v in task.step(batch_at(0), 0).items()}
    assert found == pytest.approx(expected_losses(name, 0), rel=1e-4)


# --------------------------------------------------------------------------------------------------
# On another device, in shapes alone: an operation over two devices, or one that waits for a value,
# fails


@pytest.mark.parametrize("kind", ["sandwich", "config per image", "unpaired", "teacher", "wgangp"])
def test_a_captured_step_stays_on_the_device(kind, monkeypatch):
    monkeypatch.setattr(
        "training.tasks.make_adam", lambda parameters, lr, beta1: torch.optim.SGD(parameters, lr)
    )
    monkeypatch.setattr("training.tasks.Task._autocast", lambda self: contextlib.nullcontext())
    device = torch.device("meta")
    if kind in ("teacher", "wgangp"):
        with device:
            net, net_d = TINY.build(), build_discriminator("n_layers", 6, 4, 1)
        weights = LossWeights("wgangp" if kind == "wgangp" else "hinge")
        task = TeacherTask([net], net_d, [TINY], weights, RATE, 0.5, device)
    else:
        spec, paired = GeneratorSpec("super_mobile_resnet_6blocks", 8), kind != "unpaired"
        draw = {"sandwich": sandwich, "config per image": per_image, "unpaired": one}[kind]
        with device:
            nets = (
                spec.build(),
                TINY.build(),
                build_discriminator("n_layers", 6 if paired else 3, 4, 1),
            )
            adaptors = make_adaptors(spec, TINY, "normal", 0.2)
        subnets = Subnets(draw, {})
        task = DistillTask(*nets, adaptors, spec, LossWeights(), RATE, 0.5, device, subnets, paired)
    recorded(task)
    x = torch.rand(2, 3, 32, 32, device=device)
    losses = task.update(x, x.flip(3), *task._choices(0, 2))
    assert losses and all(t.device == device for t in losses.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["student", "sandwich, average", "teacher"])
def test_cuda_graphs_replay_the_steps(kind):
    def on_gpu(task):
        cuda = torch.device("cuda")
        for net in [*task.networks.values(), *([task.teacher] if hasattr(task, "teacher") else [])]:
            net.to(cuda)
        task.device = cuda
        return task

    plain, task = on_gpu(KINDS[kind]()), on_gpu(KINDS[kind]())
    task.record(CudaGraphs(torch.device("cuda")))
    batches = [Batch(b.A.cuda(), b.B.cuda(), b.names) for b in (batch_of(2, i) for i in range(7))]
    expected, _ = trained(plain, batches)
    found, _ = trained(task, batches)
    assert len(task.update.recordings) == 1
    for a, b in zip(found, expected, strict=True):
        assert {k: float(v) for k, v in a.items()} == pytest.approx(
            {k: float(v) for k, v in b.items()}, rel=1e-2
        )
