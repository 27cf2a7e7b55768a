"""SPADE (Park et al., CVPR 2019): a generator learns to make photos of label maps, before a
discriminator of several scales; alone, or with the activations of a trained teacher as well.

A supernet and a network of fixed width learn by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.generators import GeneratorSpec
from models.multi_scale import MultiScaleDiscriminator
from training.losses import PerceptualLoss, layer_losses
from training.multi_scale_losses import Outputs, feature_matching, fooled, judged, split
from training.tasks import (
    Choice,
    Generate,
    LossWeights,
    StudentTask,
    Subnets,
    detached,
    make_adam,
)


@dataclass(frozen=True)
class SpadeWeights:
    """What the losses weigh that compare a made photo with the real one.

    feature: `feature_matching` of the discriminator's layers
    vgg:     `PerceptualLoss` of images as they are; 0 = it is not computed
    """

    feature: float = 10.0  # `lambda_feat`
    vgg: float = 10.0  # `lambda_vgg`


@dataclass(frozen=True)
class Rates:
    """Of Adam: (learning rate of G, of D) and its two momenta."""

    lr: tuple[float, float]
    betas: tuple[float, float]

    @classmethod
    def of(cls, lr: float, beta1: float, beta2: float, ttur: bool) -> Rates:
        """With ``ttur`` (Heusel et al., NeurIPS 2017) D learns four times as fast as G, and both
        with the momenta of SPADE, 0 and 0.9."""
        if ttur:
            return cls((lr / 2, lr * 2), (0.0, 0.9))
        return cls((lr, lr), (beta1, beta2))


class SpadeTask(StudentTask):
    """G steps against a discriminator that stands still; then D, on photos that the stepped G makes
    anew, without its gradient. Batch norms gather statistics in both passes.

    The discriminator sees label maps beside photos, made and real ones in one batch.

    Args:
        weights:  ``gan_mode``, ``gan`` and ``distill``
        pixels:   of the losses against the real photo
        teacher:  frozen; None = G learns alone
        adaptors: of the taps, see `training.tasks.make_adaptors`; none = taps are not compared
        vgg:      the loss that ``pixels.vgg`` weighs; None where that is 0
        subnets, ema: see `training.tasks.StudentTask`
    """

    def __init__(
        self,
        net: nn.Module,
        spec: GeneratorSpec,
        net_d: MultiScaleDiscriminator,
        weights: LossWeights,
        pixels: SpadeWeights,
        rates: Rates,
        device: torch.device,
        teacher: nn.Module | None = None,
        adaptors: Sequence[nn.Module] = (),
        vgg: PerceptualLoss | None = None,
        subnets: Subnets | None = None,
        amp: str = "none",
        ema: float = 0.0,
    ):
        super().__init__(net, spec, list(adaptors), weights, device, subnets, amp, ema)
        self.net_d, self.pixels, self.vgg = net_d, pixels, vgg
        self.networks["D"] = net_d
        self.teacher = None
        if teacher is not None and adaptors:
            self.teacher = teacher.eval().requires_grad_(False)
        self.alone = teacher is None
        self.optimizers = [
            make_adam(parameters, lr, *rates.betas)
            for parameters, lr in zip(
                (self._trained(), [*net_d.parameters()]), rates.lr, strict=True
            )
        ]

    def generators(self) -> dict[str, Generate]:
        return {"G": self.shown} if self.alone else super().generators()

    def update(self, a: Tensor, b: Tensor, *choices: Choice) -> dict[str, Tensor]:
        optimizer_g, optimizer_d = self.optimizers
        passes = choices or [None]
        with self._autocast(), torch.no_grad():
            teacher_taps = [] if self.teacher is None else self.teacher.tap(a)
        sums: dict[str, Tensor] = {}

        def add(losses: dict[str, Tensor]) -> None:
            for name, value in detached(losses).items():
                sums[name] = sums.get(name, 0) + value / len(passes)

        for choice in passes:
            losses = self._losses_g(a, b, choice, teacher_taps)
            self._add_gradients(sum(losses.values()) / len(passes), optimizer_g)
            add(losses)
        self._step(optimizer_g)

        for choice in passes:
            with self._autocast():
                with torch.no_grad():
                    fake = self._made(a, choice)
                fakes, reals = self._seen(a, fake, b)
            of_fake, of_real = judged(self.weights.gan_mode, fakes, reals)
            self._add_gradients((of_fake + of_real) / len(passes), optimizer_d)
            add({"D_fake": of_fake, "D_real": of_real})
        self._step(optimizer_d)
        self.scaler.update()
        return sums

    def _made(self, a: Tensor, choice: Choice | None) -> Tensor:
        return self.student(a, *([] if choice is None else [choice]))

    def _seen(self, a: Tensor, fake: Tensor, b: Tensor) -> tuple[Outputs, Outputs]:
        """What the discriminator's layers make of made photos, and of real ones."""
        images = torch.cat((fake, b.to(fake.dtype)))
        return split(self.net_d(torch.cat((a.repeat(2, 1, 1, 1), images), 1)))

    def _losses_g(
        self, a: Tensor, b: Tensor, choice: Choice | None, teacher_taps: list[Tensor]
    ) -> dict[str, Tensor]:
        """Of the generator, which minimises the sum; weighed."""
        w = self.weights
        with self._autocast():
            if self.adaptors:
                fake, adapted = self._student(a, choice)
            else:
                fake, adapted = self._made(a, choice), []
            fakes, reals = self._seen(a, fake, b)
            vgg = None if self.vgg is None else self.vgg(fake, b)
        losses = {
            "G_gan": w.gan * fooled(w.gan_mode, fakes),
            "G_feat": self.pixels.feature * feature_matching(fakes, reals),
        }
        if vgg is not None:
            losses["G_vgg"] = self.pixels.vgg * vgg
        if self.adaptors:
            losses["G_distill"] = w.distill * sum(layer_losses(adapted, teacher_taps))
        return losses
