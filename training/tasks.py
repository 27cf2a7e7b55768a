"""The update rules (SPEC 3): the teacher, and the distillation of a student, which for a supernet only adds "which config this step".

A task holds networks and optimizers and makes one step; the `Trainer` owns everything around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.loader import Batch
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.layers import ElasticConv2d, init_weights
from models.resnet import TAPS, ResnetGenerator
from training import distributed
from training.losses import discriminator_loss, generator_loss, gradient_penalty, make_reconstruction_loss

Generate = Callable[[Tensor], Tensor]


# ---------------------------------------------------------------------------------------------------------
# Shared


@dataclass(frozen=True)
class LossWeights:
    """How the losses are made and weighed."""

    gan_mode: str = "hinge"
    recon: str = "l1"
    gan: float = 1.0  # --lambda_gan
    reconstruction: float = 100.0  # --lambda_recon
    distill: float = 1.0  # --lambda_distill


def make_adam(parameters: list[nn.Parameter], lr: float, beta1: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=lr, betas=(beta1, 0.999), fused=True)


class Task:
    """Networks, their optimizers and one step.

    Attributes:
        networks:   name -> network, as checkpoints are called (G, D, A-0 ...)
        specs:      name -> GeneratorSpec, for the networks whose files carry one
        optimizers: of the generator (and adaptors), of the discriminator
    """

    networks: dict[str, nn.Module]
    specs: dict[str, GeneratorSpec]
    optimizers: list[torch.optim.Optimizer]

    def __init__(self, weights: LossWeights, device: torch.device, amp: str = "none"):
        """``amp``: none | bf16 | fp16 (CUDA only, with a gradient scaler); weights and losses stay float32."""
        self.weights, self.device, self.amp = weights, device, amp
        self.reconstruct = make_reconstruction_loss(weights.recon, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.amp == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.amp != "none")

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One update of every network; the losses as detached scalars (nothing waits for the device)."""
        raise NotImplementedError

    def generators(self) -> dict[str, Generate]:
        """Label -> function A -> output, of all that an evaluation measures."""
        raise NotImplementedError

    def _update(self, loss: Tensor, optimizer: torch.optim.Optimizer, retain_graph: bool = False) -> None:
        """Gradients of ``loss`` for the parameters of one optimizer alone, averaged over processes. The step comes later."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward(inputs=parameters, retain_graph=retain_graph)
        distributed.average_gradients(parameters)


# ---------------------------------------------------------------------------------------------------------
# Teacher


class TeacherTask(Task):
    """pix2pix: the discriminator steps first, the generator against the stepped discriminator."""

    def __init__(
        self,
        net_g: nn.Module,
        net_d: nn.Module,
        spec: GeneratorSpec,
        weights: LossWeights,
        lr: float,
        beta1: float,
        device: torch.device,
        amp: str = "none",
    ):
        super().__init__(weights, device, amp)
        self.net_g, self.net_d = net_g, net_d
        self.networks, self.specs = {"G": net_g, "D": net_d}, {"G": spec}
        self.optimizers = [make_adam([*n.parameters()], lr, beta1) for n in (net_g, net_d)]

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        w, (optimizer_g, optimizer_d) = self.weights, self.optimizers
        with self._autocast():
            fake = self.net_g(batch.A)
            fake_pair, real_pair = torch.cat((batch.A, fake), 1), torch.cat((batch.A, batch.B), 1)
            scores = self.net_d(fake_pair.detach()), self.net_d(real_pair)
        d_fake, d_real = discriminator_loss(w.gan_mode, *scores)
        losses = {"D_fake": d_fake, "D_real": d_real}
        loss_d = (d_fake + d_real) / 2
        if w.gan_mode == "wgangp":
            losses["D_gp"] = gradient_penalty(self.net_d, fake_pair.float(), real_pair)
            loss_d = loss_d + losses["D_gp"]
        self._update(loss_d, optimizer_d)
        self.scaler.step(optimizer_d)

        with self._autocast():
            score = self.net_d(fake_pair)
        losses["G_gan"] = w.gan * generator_loss(w.gan_mode, score)
        losses["G_recon"] = w.reconstruction * self.reconstruct(fake.float(), batch.B)
        self._update(losses["G_gan"] + losses["G_recon"], optimizer_g)
        self.scaler.step(optimizer_g)
        self.scaler.update()
        return {name: value.detach() for name, value in losses.items()}

    def generators(self) -> dict[str, Generate]:
        return {"G": self.net_g}


# ---------------------------------------------------------------------------------------------------------
# Distillation, with or without a choice of configuration


def make_adaptors(
    student: GeneratorSpec, teacher: GeneratorSpec, init_type: str, gain: float
) -> list[nn.Module]:
    """One 1x1 conv per tap from the student's trunk to the teacher's; its inputs follow the student's configuration."""
    widths = student.config.widths.trunk, teacher.config.widths.trunk
    return [init_weights(ElasticConv2d(*widths, 1), init_type, gain) for _ in TAPS]


@dataclass(frozen=True)
class Subnets:
    """Which configurations a supernet is trained and evaluated at.

    Args:
        draw:     step number -> the configuration of that step
        measured: label -> configuration measured in evaluations
    """

    draw: Callable[[int], ChannelConfig]
    measured: dict[str, ChannelConfig]


class DistillTask(Task):
    """Layerwise distillation from a frozen teacher; D and G gradients are both computed before either steps.

    Args:
        subnets:      None for a student of fixed width, else the student is a supernet
        paired:       True: reconstruct the real image, conditional discriminator; False (unpaired data): reconstruct the teacher's
                      output, the discriminator sees the output alone
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: ResnetGenerator,
        net_d: nn.Module,
        adaptors: list[nn.Module],
        spec: GeneratorSpec,
        weights: LossWeights,
        lr: float,
        beta1: float,
        device: torch.device,
        subnets: Subnets | None = None,
        paired: bool = True,
        amp: str = "none",
    ):
        super().__init__(weights, device, amp)
        self.student, self.teacher, self.net_d, self.adaptors = student, teacher, net_d, adaptors
        self.subnets, self.paired = subnets, paired
        teacher.eval().requires_grad_(False)
        self.networks = {"G": student, "D": net_d} | {f"A-{i}": a for i, a in enumerate(adaptors)}
        self.specs = {"G": spec}
        trained = [*student.parameters(), *(p for a in adaptors for p in a.parameters())]
        self.optimizers = [make_adam(trained, lr, beta1), make_adam([*net_d.parameters()], lr, beta1)]

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        w, (optimizer_g, optimizer_d) = self.weights, self.optimizers
        with self._autocast():
            with torch.no_grad():
                if self.paired:
                    target, teacher_taps = batch.B, self.teacher.tap(batch.A)
                else:
                    target, teacher_taps = self.teacher(batch.A, taps=True)
            if self.subnets is None:
                fake, taps = self.student(batch.A, taps=True)
            else:
                fake, taps = self.student(batch.A, self.subnets.draw(step), taps=True)
            adapted = [adaptor(tap) for adaptor, tap in zip(self.adaptors, taps, strict=True)]
            # The discriminator sees the fake once: its own gradient stops at its weights, the generator's passes through them.
            if self.paired:
                score_fake, score_real = (self.net_d(torch.cat((batch.A, y), 1)) for y in (fake, batch.B))
            else:
                score_fake, score_real = self.net_d(fake), self.net_d(batch.B)

        d_fake, d_real = discriminator_loss(w.gan_mode, score_fake, score_real)
        layers = [F.mse_loss(a.float(), t.float()) for a, t in zip(adapted, teacher_taps, strict=True)]
        g_gan = w.gan * generator_loss(w.gan_mode, score_fake)
        g_recon = w.reconstruction * self.reconstruct(fake.float(), target.float())
        g_distill = w.distill * sum(layers)
        self._update((d_fake + d_real) / 2, optimizer_d, retain_graph=True)
        self._update(g_gan + g_recon + g_distill, optimizer_g)
        self.scaler.step(optimizer_d)
        self.scaler.step(optimizer_g)
        self.scaler.update()

        losses = {
            "D_fake": d_fake,
            "D_real": d_real,
            "G_gan": g_gan,
            "G_recon": g_recon,
            "G_distill": g_distill,
        }
        losses |= {f"G_distill{i}": value for i, value in enumerate(layers)}
        return {name: value.detach() for name, value in losses.items()}

    def generators(self) -> dict[str, Generate]:
        if self.subnets is None:
            return {"student": self.student}
        return {
            label: lambda x, config=config: self.student(x, config)
            for label, config in self.subnets.measured.items()
        }
