"""The reference updates: the tasks, batches and losses of `golden.json`, for the tests and for
scripts/gpu_check.py."""

from __future__ import annotations

import torch
from golden_values import VALUES, fill, golden_input
from torch import nn

from data.loader import Batch
from models.config import ChannelConfig
from models.discriminators import build_discriminator
from models.generators import GeneratorSpec
from training.tasks import DistillTask, LossWeights, Subnets, Task, TeacherTask, make_adaptors

CPU = torch.device("cpu")
CASES = {k: v for k, v in VALUES["train"].items() if isinstance(v, dict) and "steps" in v}
TEACHER = GeneratorSpec("resnet_9blocks", ngf=8)


def batch_at(step: int, device: torch.device = CPU) -> Batch:
    x = golden_input(2, 3, 64, 64).to(device)
    return Batch(x * (1 - 0.2 * step), torch.tanh(1.5 * x.flip(3) - 0.1 * step), ["a", "b"])


def expected_losses(name: str, step: int) -> dict[str, float]:
    """Under the names that a task gives them."""
    expected = {k: v for k, v in CASES[name]["steps"][step].items() if k != "config_str"}
    layers = expected.pop("G_distill_layers", [])
    return expected | {f"G_distill{i}": value for i, value in enumerate(layers)}


def filled_task(name: str, device: torch.device = CPU) -> tuple[Task, nn.Module]:
    """(task, the generator it trains), weights by formula."""
    case = CASES[name]
    options = case.get("options", {})
    weights = LossWeights(
        options.get("gan", "hinge"),
        options.get("recon", "l1"),
        1.0,
        options.get("lam_r", 100.0),
        options.get("lam_d", 1.0),
    )
    teacher, net_d = (
        fill(n).to(device) for n in (TEACHER.build(), build_discriminator("n_layers", 6, 8))
    )
    if name == "pix2pix_teacher":
        return TeacherTask([teacher], net_d, [TEACHER], weights, 2e-4, 0.5, device), teacher
    elastic = name.startswith("supernet")
    netG, ngf = ("super_mobile_resnet_9blocks", 16) if elastic else ("mobile_resnet_9blocks", 8)
    spec = GeneratorSpec(netG, ngf)
    student = fill(spec.build()).to(device)
    adaptors = [fill(a).to(device) for a in make_adaptors(spec, TEACHER, "normal", 0.02)]
    configs = [ChannelConfig.parse(s["config_str"]) for s in case["steps"]] if elastic else []
    subnets = Subnets(lambda step, images: [configs[step]], {}) if elastic else None
    return DistillTask(
        student, teacher, net_d, adaptors, spec, weights, 2e-4, 0.5, device, subnets
    ), student
