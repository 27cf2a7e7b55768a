"""One distillation step of a supernet against a plain one: the order of operations of SPEC 3,
eager, NCHW, separate passes, float32.

Both sides start from the same weights and run the same configurations on the same batch, in turns.
                                                                                                          Also:
                                                                                                          slicing
                                                                                                          against
                                                                                                          masking.
"""

import copy
import statistics
import time

from common import arguments, machine, report

import torch
import torch.nn.functional as F

from data.loader import Batch
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.layout import TAPS
from models.supernet import widths_of
from subnets.space import SearchSpace
from runtime.cuda_graphs import CapturedStep, CudaGraphs
from training.losses import discriminator_loss, generator_loss
from training.tasks import DistillTask, LossWeights, Subnets, make_adaptors

LAMBDA_RECON, LAMBDA_DISTILL = 10.0, 0.01


class PlainStep:
    """The step as SPEC 3 reads: whole teacher, the discriminator on the detached fake, on the real,
    and on the fake again."""

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


def compare_forms(spec, space, opt, device, wait, facts) -> None:
    """Slicing against masking."""
    supernet = init_weights(spec.build()).to(device)
    configs = [space.draw_at(1, i) for i in range(4)]
    x = (torch.rand(4, 3, opt.size, opt.size) * 2 - 1).to(device)
    forms = {
        "slicing, one config": lambda: supernet(x, configs[0], taps=True),
        "slicing, a config per image": lambda: [
            supernet(x[i : i + 1], c, taps=True) for i, c in enumerate(configs)
        ],
        "masking, a config per image": lambda: supernet(
            x, widths_of(configs).to(device), taps=True
        ),
    }

    def once(form) -> float:
        wait()
        start = time.perf_counter()
        results = form()
        results = results if isinstance(results, list) else [results]
        sum(y.mean() + sum(t.mean() for t in taps) for y, taps in results).backward()
        wait()
        return time.perf_counter() - start

    rows = []
    for name, form in forms.items():
        once(form)
        rows.append(
            {
                "student, batch 4": name,
                "median [ms]": 1e3 * statistics.median(once(form) for _ in range(3)),
            }
        )
    report(
        f"Slicing against masking (forward and backward of the student; taps {TAPS})",
        rows,
        facts,
        None,
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--ndf", type=int, default=128)
    parser.add_argument("--batch_sizes", type=int, nargs="+", help="default: 1, and 4 too on a GPU")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each kind")
    opt = parser.parse_args()
    device = torch.device(opt.device)
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    torch.manual_seed(0)
    teacher_spec, spec = (
        GeneratorSpec("resnet_9blocks", opt.ngf),
        GeneratorSpec("super_mobile_resnet_9blocks", opt.ngf),
    )
    nets = [init_weights(n) for n in (spec.build(), teacher_spec.build())]
    nets.append(init_weights(build_discriminator("n_layers", 6, opt.ndf)))
    adaptors = make_adaptors(spec, teacher_spec, "normal", 0.02)
    space = SearchSpace("channels-64-pix2pix" if opt.ngf >= 64 else "channels-32")
    draw = lambda step: space.draw_at(0, step)  # noqa: E731
    weights = LossWeights(reconstruction=LAMBDA_RECON, distill=LAMBDA_DISTILL)

    def ours(amp: str, captured: bool = False) -> DistillTask:
        student, teacher, net_d, mine = copy.deepcopy((*nets, adaptors))
        task = DistillTask(
            *(n.to(device) for n in (student, teacher, net_d)),
            [a.to(device) for a in mine],
            spec,
            weights,
            2e-4,
            0.5,
            device,
            Subnets(lambda step, images: [draw(step)], {}),
            amp=amp,
        )
        if captured:
            task.record(CudaGraphs(device))
        return task

    rows = []
    for size in opt.batch_sizes or ([1, 4] if device.type == "cuda" else [1]):
        student, teacher, net_d, plain_adaptors = copy.deepcopy((*nets, adaptors))
        plain = PlainStep(
            *(n.to(device) for n in (student, teacher, net_d)),
            [a.to(device) for a in plain_adaptors],
            draw,
        )
        sides = {"plain": plain, "ours, float32": ours("none"), "ours, bf16": ours("bf16")}
        if device.type == "cuda":
            sides |= {
                "ours, fp16": ours("fp16"),
                "ours, float32, CUDA graphs": ours("none", captured=True),
                "ours, bf16, CUDA graphs": ours("bf16", captured=True),
            }
        x = (torch.rand(size, 3, opt.size, opt.size) * 2 - 1).to(device)
        batch = Batch(x, x.flip(3), ["x"] * size)
        first = {name: side.step(batch, 0) for name, side in sides.items()}
        difference = max(
            abs(float(first["ours, float32"][k]) / float(v) - 1) for k, v in first["plain"].items()
        )
        times: dict[str, list[float]] = {name: [] for name in sides}
        warmup = CapturedStep.WARMUP + 1 if device.type == "cuda" else 0
        for step in range(1, warmup + opt.steps + 1):
            for name, side in sides.items():
                wait()
                start = time.perf_counter()
                side.step(batch, step)
                wait()
                if step > warmup:
                    times[name].append(time.perf_counter() - start)
        middle = {name: statistics.median(t) for name, t in times.items()}
        for name, value in middle.items():
            rows.append(
                {
                    "batch": size,
                    "step": name,
                    "median [ms]": 1e3 * value,
                    "least [ms]": 1e3 * min(times[name]),
                    "images/s": size / value,
                    "speed against plain": middle["plain"] / value,
                    "first losses differ by": f"{difference:.1e}"
                    if name == "ours, float32"
                    else "",
                }
            )
    facts = machine(opt.device) | {
        "size": opt.size,
        "ngf": opt.ngf,
        "ndf": opt.ndf,
        "timed steps": opt.steps,
    }
    report("A distillation step against a plain one", rows, facts, opt.json)

    compare_forms(spec, space, opt, device, wait, facts)


if __name__ == "__main__":
    main()
