"""MUNIT (Huang et al., ECCV 2018): two generators learn from images that are no pairs, one of each
domain; and a student learns from what is assembled of them (GAN Compression, TPAMI 2021).

G_A takes images of A apart and makes images of A, and so does G_B of B. An image of A becomes one
of B by G_A's content encoder and G_B's decoder. D_A judges images of A, D_B those of B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.image_scales import ImageScaleDiscriminator
from models.munit import MunitGenerator
from models.styles import InRandomStyles, random_styles
from runtime import distributed
from training.image_scale_losses import fooled, judged
from training.tasks import Generate, LossWeights, StudentTask, Subnets, Task, detached

# --------------------------------------------------------------------------------------------------
# Shared


@dataclass(frozen=True)
class MunitWeights:
    """What the losses weigh, all means of absolute differences but the last.

    image:   of images: an image made again from its own content and style; a student's and its
             teacher's
    style:   of styles: what is found in a made image and what it was made in; a student's and its
             teacher's
    content: of contents, in the same way; a student's goes through its adaptor
    gan:     of the discriminators' scores, summed over their scales
    """

    image: float = 10.0  # `lambda_rec_x`
    style: float = 1.0  # `lambda_rec_s`
    content: float = 1.0  # `lambda_rec_c`
    gan: float = 1.0  # `lambda_gan`


@dataclass(frozen=True)
class MunitRates:
    """Of Adam, whose weight decay is added to the gradient."""

    lr: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-4

    def adam(self, parameters: list[nn.Parameter]) -> torch.optim.Adam:
        how = dict(lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)
        return torch.optim.Adam(parameters, fused=True, **how)


def drawn_styles(
    seed: int, step: int, images: int, style_dim: int, device: torch.device, count: int
) -> list[Tensor]:
    """Styles from N(0, 1) for a step, a function of the seed and the step alone.

    Args:
        images: of this process, which has its share of the joint batch's styles
        count:  how many for every image
    Returns:
        ``count`` tensors, float32 ``images`` style_dim
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, step])))
    joint = images * distributed.world_size()
    values = rng.standard_normal((joint, count, style_dim), dtype=np.float32)
    own = torch.from_numpy(values)[distributed.rank() * images :][:images].to(device)
    return [style.contiguous() for style in own.unbind(1)]


def l1(x: Tensor, y: Tensor) -> Tensor:
    return F.l1_loss(x.float(), y.float())


# --------------------------------------------------------------------------------------------------
# Teachers


class MunitTask(Task):
    """Both generators step first, against discriminators that stand still; then both
    discriminators, on images that the stepped generators make anew in styles of their own.

    Args:
        nets_g:  G_A and G_B, with style encoders
        nets_d:  D_A and D_B
        specs:   of G_A and G_B
        weights: ``gan_mode`` alone; the others are those of ``munit``
        seed:    of the styles, see `drawn_styles`
        ema:     decay per step of a moving average of both generators' weights; 0 = none
    """

    def __init__(
        self,
        nets_g: Sequence[MunitGenerator],
        nets_d: Sequence[ImageScaleDiscriminator],
        specs: Sequence[GeneratorSpec],
        weights: LossWeights,
        munit: MunitWeights,
        rates: MunitRates,
        seed: int,
        device: torch.device,
        amp: str = "none",
        ema: float = 0.0,
    ):
        super().__init__(weights, device, amp)
        self.munit, self.seed = munit, seed
        (self.g_a, self.g_b), (self.d_a, self.d_b) = nets_g, nets_d
        names = "G_A", "G_B"
        nets = dict(zip(names, nets_g, strict=True))
        self._add_generators(nets, dict(zip(names, specs, strict=True)), ema)
        self.networks |= zip(("D_A", "D_B"), nets_d, strict=True)
        self.optimizers = [
            rates.adam([p for net in both for p in net.parameters()]) for both in (nets_g, nets_d)
        ]

    def generators(self) -> dict[str, Generate]:
        """From A to B and back, each image in a random style of its own."""
        there, back = self.networks["G_A"], self.networks["G_B"]

        def translate(source: nn.Module, target: nn.Module) -> Generate:
            return lambda x: target.decode(
                source.content(x), random_styles(x, target.form.style_dim)
            )

        return {"G_A": translate(there, back), "G_B": translate(back, there)}

    def _choices(self, step: int, images: int) -> list[Tensor]:
        style_dim = self.g_a.form.style_dim
        return drawn_styles(self.seed, step, images, style_dim, self.device, 4)

    def update(self, a: Tensor, b: Tensor, *styles: Tensor) -> dict[str, Tensor]:
        """``styles``: of A and of B for the generators' step, then for the discriminators'."""
        optimizer_g, optimizer_d = self.optimizers
        losses = self._losses_g(a, b, *styles[:2])
        self._add_gradients(sum(losses.values()), optimizer_g)
        self._step(optimizer_g)

        with self._autocast(), torch.no_grad():
            fake_a = self.g_a.decode(self.g_b.content(b), styles[2])
            fake_b = self.g_b.decode(self.g_a.content(a), styles[3])
        for name, net, real, fake in (("A", self.d_a, a, fake_a), ("B", self.d_b, b, fake_b)):
            with self._autocast():
                scores = net(fake), net(real)
            of_fake, of_real = judged(self.weights.gan_mode, *scores)
            self._add_gradients(of_fake + of_real, optimizer_d)
            losses |= {f"D_{name}_fake": of_fake, f"D_{name}_real": of_real}
        self._step(optimizer_d)
        self.scaler.update()
        return detached(losses)

    def _losses_g(
        self, a: Tensor, b: Tensor, style_a: Tensor, style_b: Tensor
    ) -> dict[str, Tensor]:
        """Of the generators, which minimise the sum; weighed."""
        w, mode = self.munit, self.weights.gan_mode
        with self._autocast():
            content_a, content_b = self.g_a.content(a), self.g_b.content(b)
            again_a = self.g_a.decode(content_a, self.g_a.style(a))
            again_b = self.g_b.decode(content_b, self.g_b.style(b))
            fake_a = self.g_a.decode(content_b, style_a)
            fake_b = self.g_b.decode(content_a, style_b)
            # A made image holds what it was made of.
            found_b, found_style_a = self.g_a.content(fake_a), self.g_a.style(fake_a)
            found_a, found_style_b = self.g_b.content(fake_b), self.g_b.style(fake_b)
            scores_a, scores_b = self.d_a(fake_a), self.d_b(fake_b)
        return {
            "G_rec_A": w.image * l1(again_a, a),
            "G_rec_B": w.image * l1(again_b, b),
            "G_style_A": w.style * l1(found_style_a, style_a),
            "G_style_B": w.style * l1(found_style_b, style_b),
            "G_content_A": w.content * l1(found_a, content_a),
            "G_content_B": w.content * l1(found_b, content_b),
            "G_gan_A": w.gan * fooled(mode, scores_a),
            "G_gan_B": w.gan * fooled(mode, scores_b),
        }


# --------------------------------------------------------------------------------------------------
# Students


class MunitDistillTask(StudentTask):
    """A student learns to make its teacher's images, from its contents and its styles.

    In steps whose number is a multiple of ``every``, both make an image in the same random style.
    In the others each finds the style of a real image of B itself, and the student learns that too.
    No real image of an input is compared. The gradients of D and G are both computed before either
    steps.

    Args:
        adaptors: one, from the student's content to the teacher's (`training.tasks.make_adaptors`)
        weights:  ``gan_mode`` alone; the others are those of ``munit``
        seed:     of the styles, see `drawn_styles`
        every:    at least 1; 1 = every step has random styles, and no style encoder learns
        subnets, ema: see `training.tasks.StudentTask`
    """

    def __init__(
        self,
        student: MunitGenerator,
        teacher: MunitGenerator,
        net_d: ImageScaleDiscriminator,
        adaptors: list[nn.Module],
        spec: GeneratorSpec,
        weights: LossWeights,
        munit: MunitWeights,
        rates: MunitRates,
        seed: int,
        device: torch.device,
        every: int = 2,
        subnets: Subnets | None = None,
        amp: str = "none",
        ema: float = 0.0,
    ):
        super().__init__(student, spec, adaptors, weights, device, subnets, amp, ema)
        self.net_d, self.munit, self.seed, self.every = net_d, munit, seed, every
        self.networks["D"] = net_d
        self.teacher = teacher.eval().requires_grad_(False)
        self.optimizers = [rates.adam(self._trained()), rates.adam([*net_d.parameters()])]

    def generators(self) -> dict[str, Generate]:
        if self.subnets is None:
            return {"student": InRandomStyles(self.shown)}
        return super().generators()

    def _choices(self, step: int, images: int) -> list:
        """The random styles of a step, None where images give them; then its configurations."""
        style = None
        if step % self.every == 0:
            style_dim = self.teacher.form.style_dim
            (style,) = drawn_styles(self.seed, step, images, style_dim, self.device, 1)
        return [style, *super()._choices(step, images)]

    def update(
        self, a: Tensor, b: Tensor, style: Tensor | None, *choices: ChannelConfig
    ) -> dict[str, Tensor]:
        w, mode, (optimizer_g, optimizer_d) = self.munit, self.weights.gan_mode, self.optimizers
        passes = choices or [None]
        with self._autocast(), torch.no_grad():
            content = self.teacher.content(a)
            wanted = self.teacher.style(b) if style is None else style
            target = self.teacher.decode(content, wanted)

        sums: dict[str, Tensor] = {}
        for choice in passes:
            widths = None if choice is None else choice.widths()
            with self._autocast():
                found = self.student.content(a, widths)
                own = self.student.style(b, widths) if style is None else style
                fake = self.student.decode(found, own, widths)
                (adapted,) = (adaptor(found) for adaptor in self.adaptors)
                # The discriminator sees a fake once: its own gradient stops at its weights, the
                # generator's passes through them.
                scores, of_b = self.net_d(fake), self.net_d(b)
            of_fake, of_real = judged(mode, scores, of_b)
            losses = {
                "G_gan": w.gan * fooled(mode, scores),
                "G_recon": w.image * l1(fake, target),
                "G_content": w.content * l1(adapted, content),
            }
            if style is None:
                losses["G_style"] = w.style * l1(own, wanted)
            self._add_gradients((of_fake + of_real) / len(passes), optimizer_d, retain_graph=True)
            self._add_gradients(sum(losses.values()) / len(passes), optimizer_g)
            for name, value in (losses | {"D_fake": of_fake, "D_real": of_real}).items():
                sums[name] = sums.get(name, 0) + value.detach() / len(passes)
        # Both gradients are there before either network steps.
        self._step(optimizer_d, optimizer_g)
        self.scaler.update()
        return sums
