"""Time one distillation step of a supernet, and one step of a teacher, against plain steps.

A plain step follows the order of operations in SPEC 3: eager, NCHW, separate passes, float32.
Both sides start from the same weights, run the same configurations on the same batch, and take
turns. A last table compares slicing with masking.
"""

import argparse
import copy
import statistics
import time
from dataclasses import dataclass

from common import arguments, machine, report

import torch
import torch.nn.functional as F
from torch import nn

from data.loader import Batch
from models.build import (
    DiscriminatorSettings,
    Initialisation,
    new_discriminator,
    new_generator,
)
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from runtime.cuda_graphs import CapturedStep
from runtime.machine import wait
from subnets.space import SearchSpace
from training.build import UpdateSettings, distillation_task, new_adaptors, teacher_task
from training.losses import discriminator_loss, generator_loss
from training.tasks import DistillTask, LossWeights, Subnets, TeacherTask

LAMBDA_RECON, LAMBDA_DISTILL = 10.0, 0.01


class PlainStep:
    """The step as SPEC 3 describes it.

    The whole teacher runs. The discriminator sees the detached fake, the real image, and the fake
    again.
    """

    def __init__(self, student, teacher, net_d, adaptors, draw):
        self.student, self.teacher, self.net_d, self.adaptors = student, teacher, net_d, adaptors
        self.draw = draw
        teacher.requires_grad_(False)
        trained = [*student.parameters(), *(p for a in adaptors for p in a.parameters())]
        self.optimizer_g = torch.optim.Adam(trained, 2e-4, (0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(net_d.parameters(), 2e-4, (0.5, 0.999))

    def step(self, batch: Batch, step: int) -> dict:
        with torch.no_grad():
            _, teacher_taps = self.teacher(batch.A, taps=True)
        fake, taps = self.student(batch.A, self.draw(step), taps=True)
        self.optimizer_d.zero_grad()
        fake_score = self.net_d(torch.cat((batch.A, fake), 1).detach())
        real_score = self.net_d(torch.cat((batch.A, batch.B), 1))
        d_fake, d_real = discriminator_loss("hinge", fake_score, real_score)
        ((d_fake + d_real) / 2).backward()

        self.net_d.requires_grad_(False)
        self.optimizer_g.zero_grad()
        g_gan = generator_loss("hinge", self.net_d(torch.cat((batch.A, fake), 1)))
        g_recon = LAMBDA_RECON * F.l1_loss(fake, batch.B)
        layers = [
            F.mse_loss(a(t), u) for a, t, u in zip(self.adaptors, taps, teacher_taps, strict=True)
        ]
        (g_gan + g_recon + LAMBDA_DISTILL * sum(layers)).backward()
        self.net_d.requires_grad_(True)
        self.optimizer_d.step()
        self.optimizer_g.step()
        losses = {"D_fake": d_fake, "D_real": d_real, "G_gan": g_gan, "G_recon": g_recon}
        losses["G_distill"] = LAMBDA_DISTILL * sum(layers)
        return {name: value.detach() for name, value in losses.items()}


class PlainTeacherStep:
    """The step of pix2pix as SPEC 3 describes it.

    The discriminator learns first. The generator learns against the updated one.
    """

    def __init__(self, generator, net_d):
        self.generator, self.net_d = generator, net_d
        self.optimizer_g = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(net_d.parameters(), 2e-4, (0.5, 0.999))

    def step(self, batch: Batch, step: int) -> dict:
        fake = self.generator(batch.A)
        self.optimizer_d.zero_grad()
        fake_score = self.net_d(torch.cat((batch.A, fake), 1).detach())
        real_score = self.net_d(torch.cat((batch.A, batch.B), 1))
        d_fake, d_real = discriminator_loss("hinge", fake_score, real_score)
        ((d_fake + d_real) / 2).backward()
        self.optimizer_d.step()

        self.net_d.requires_grad_(False)
        self.optimizer_g.zero_grad()
        g_gan = generator_loss("hinge", self.net_d(torch.cat((batch.A, fake), 1)))
        g_recon = LAMBDA_RECON * F.l1_loss(fake, batch.B)
        (g_gan + g_recon).backward()
        self.net_d.requires_grad_(True)
        self.optimizer_g.step()
        losses = {"D_fake": d_fake, "D_real": d_real, "G_gan": g_gan, "G_recon": g_recon}
        return {name: value.detach() for name, value in losses.items()}


# --------------------------------------------------------------------------------------------------
# The two sides


@dataclass(frozen=True)
class Start:
    """What every side starts from; `copies` gives each side networks of its own.

    Args:
        spec, teacher_spec: describe the student, a supernet, and the teacher
        nets:     student, teacher, discriminator
        adaptors: from the student's taps to the teacher's
        space:    configurations are drawn from it
        device:   where the steps run
    """

    spec: GeneratorSpec
    teacher_spec: GeneratorSpec
    nets: tuple[nn.Module, nn.Module, nn.Module]
    adaptors: list[nn.Module]
    space: SearchSpace
    device: torch.device

    def draw(self, step: int) -> ChannelConfig:
        """The configuration that a step runs, the same on all sides."""
        return self.space.draw_at(0, step)

    def copies(self) -> tuple[list[nn.Module], list[nn.Module]]:
        """(copies of the three networks, copies of the adaptors), on the device."""
        nets, adaptors = copy.deepcopy((self.nets, self.adaptors))
        return [n.to(self.device) for n in nets], [a.to(self.device) for a in adaptors]


def new_start(ngf: int, ndf: int, device: torch.device) -> Start:
    """New networks with base widths ``ngf`` and ``ndf`` [channels], drawn from seed 0."""
    torch.manual_seed(0)
    teacher_spec = GeneratorSpec("resnet_9blocks", ngf)
    spec = GeneratorSpec("super_mobile_resnet_9blocks", ngf)
    how = Initialisation()
    student, teacher = new_generator(spec, how), new_generator(teacher_spec, how)
    net_d = new_discriminator(DiscriminatorSettings(ndf=ndf), 6, how)
    adaptors = new_adaptors(spec, teacher_spec, UpdateSettings(), how)
    space = SearchSpace("channels-64-pix2pix" if ngf >= 64 else "channels-32")
    return Start(spec, teacher_spec, (student, teacher, net_d), adaptors, space, device)


# The forms of our step.
FORMS = {"ours, float32": UpdateSettings(), "ours, bf16": UpdateSettings(amp="bf16")}
CUDA_FORMS = FORMS | {
    "ours, fp16": UpdateSettings(amp="fp16"),
    "ours, float32, CUDA graphs": UpdateSettings(cuda_graphs=True),
    "ours, bf16, CUDA graphs": UpdateSettings(amp="bf16", cuda_graphs=True),
}


def plain_distillation(start: Start) -> PlainStep:
    nets, adaptors = start.copies()
    return PlainStep(*nets, adaptors, start.draw)


def our_distillation(start: Start, updates: UpdateSettings) -> DistillTask:
    (student, teacher, net_d), adaptors = start.copies()
    weights = LossWeights(reconstruction=LAMBDA_RECON, distill=LAMBDA_DISTILL)
    drawn = Subnets(lambda step, images: [start.draw(step)], {})
    return distillation_task(
        student, start.spec, teacher, adaptors, net_d, weights, updates, start.device, drawn
    )


def plain_teacher(start: Start) -> PlainTeacherStep:
    _, teacher, net_d = start.copies()[0]
    return PlainTeacherStep(teacher, net_d)


def our_teacher(start: Start, updates: UpdateSettings) -> TeacherTask:
    _, teacher, net_d = start.copies()[0]
    weights = LossWeights(reconstruction=LAMBDA_RECON)
    return teacher_task(teacher, start.teacher_spec, net_d, weights, updates, start.device)


# What is trained -> its plain step, its step of ours.
KINDS = {
    "distillation": (plain_distillation, our_distillation),
    "teacher": (plain_teacher, our_teacher),
}


def make_sides(start: Start, kind: str) -> dict:
    """Label -> side: the plain step, and the product's in every form that the device can run."""
    plain, ours = KINDS[kind]
    forms = CUDA_FORMS if start.device.type == "cuda" else FORMS
    return {"plain": plain(start)} | {name: ours(start, each) for name, each in forms.items()}


# --------------------------------------------------------------------------------------------------
# Steps in turns


def relative_difference(ours: dict, plain: dict) -> float:
    """Largest relative difference of the losses in ``plain`` from those of equal names in ``ours``.

    Both map names to scalars; ``ours`` may hold more of them.
    """
    return max(abs(float(ours[name]) / float(value) - 1) for name, value in plain.items())


def time_in_turns(
    sides: dict, batch: Batch, steps: int, warmup: int, device: torch.device
) -> dict[str, list[float]]:
    """Label -> seconds of each of ``steps`` steps. Steps 1 to ``warmup`` are run but not timed."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for step in range(1, warmup + steps + 1):
        for name, side in sides.items():
            wait(device)
            begun = time.perf_counter()
            side.step(batch, step)
            wait(device)
            if step > warmup:
                times[name].append(time.perf_counter() - begun)
    return times


def compare_steps(
    start: Start, images: int, size: int, steps: int, kind: str = "distillation"
) -> list[dict]:
    """One row per side for batches of ``images`` random images of ``size`` x ``size`` pixels."""
    sides = make_sides(start, kind)
    x = (torch.rand(images, 3, size, size) * 2 - 1).to(start.device)
    batch = Batch(x, x.flip(3), ["x"] * images)
    first = {name: side.step(batch, 0) for name, side in sides.items()}
    difference = relative_difference(first["ours, float32"], first["plain"])
    # Steps run uncaptured until a CUDA graph is recorded.
    warmup = CapturedStep.WARMUP + 1 if start.device.type == "cuda" else 0
    times = time_in_turns(sides, batch, steps, warmup, start.device)
    middle = {name: statistics.median(t) for name, t in times.items()}
    return [
        {
            "trained": kind,
            "batch": images,
            "step": name,
            "median [ms]": 1e3 * value,
            "least [ms]": 1e3 * min(times[name]),
            "images/s": images / value,
            "speed against plain": middle["plain"] / value,
            "first losses differ by": f"{difference:.1e}" if name == "ours, float32" else "",
        }
        for name, value in middle.items()
    ]


# --------------------------------------------------------------------------------------------------
# Slicing against masking


def compare_forms(start: Start, size: int) -> list[dict]:
    """One row per form: the time of a forward and backward pass of the student.

    The batch holds four random images of ``size`` x ``size`` pixels.
    """
    device = start.device
    supernet = start.copies()[0][0]
    configs = [start.space.draw_at(1, i) for i in range(4)]
    x = (torch.rand(4, 3, size, size) * 2 - 1).to(device)
    forms = {
        "slicing, one config": lambda: supernet(x, configs[0], taps=True),
        "slicing, a config per image": lambda: [
            supernet(x[i : i + 1], c, taps=True) for i, c in enumerate(configs)
        ],
        "masking, a config per image": lambda: supernet(
            x, supernet.widths_of(configs).to(device), taps=True
        ),
    }

    def once(form) -> float:
        wait(device)
        begun = time.perf_counter()
        results = form()
        results = results if isinstance(results, list) else [results]
        sum(y.mean() + sum(t.mean() for t in taps) for y, taps in results).backward()
        wait(device)
        return time.perf_counter() - begun

    rows = []
    for name, form in forms.items():
        once(form)
        median = 1e3 * statistics.median(once(form) for _ in range(3))
        rows.append({"student, batch 4": name, "median [ms]": median})
    return rows


# --------------------------------------------------------------------------------------------------
# Command line


def parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--ndf", type=int, default=128)
    parser.add_argument("--batch_sizes", type=int, nargs="+", help="default: 1, and 4 too on a GPU")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each kind")
    return parser.parse_args()


def main() -> None:
    opt = parse()
    device = torch.device(opt.device)
    start = new_start(opt.ngf, opt.ndf, device)
    batch_sizes = opt.batch_sizes or ([1, 4] if device.type == "cuda" else [1])
    rows = []
    for kind in KINDS:
        for images in batch_sizes:
            rows += compare_steps(start, images, opt.size, opt.steps, kind)
    facts = machine(opt.device) | {
        "size": opt.size,
        "ngf": opt.ngf,
        "ndf": opt.ndf,
        "timed steps": opt.steps,
    }
    report("Steps of training against plain ones", rows, facts, opt.json)
    title = "Slicing against masking (forward and backward of the student, with taps)"
    report(title, compare_forms(start, opt.size), facts, None)


if __name__ == "__main__":
    main()
