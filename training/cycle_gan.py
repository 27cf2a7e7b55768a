"""CycleGAN (Zhu et al., ICCV 2017): two generators that learn from images that are no pairs.

G_A turns A into B, G_B turns B into A. D_A judges what G_A makes beside real B, D_B what G_B makes
beside real A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from errors import InputError
from models.discriminators import Discriminator
from models.generators import GeneratorSpec
from runtime import distributed
from training.augmentation import Augmentation
from training.losses import discriminator_loss, generator_loss, gradient_penalty
from training.tasks import Generate, LossWeights, Task, detached, make_adam


@dataclass(frozen=True)
class CycleWeights:
    """What the losses between images weigh: L1, or another one by `LossWeights.recon`, a mean over
    values in [-1, 1].

    Args:
        a:        of those against real A: ``L1(G_B(G_A(A)), A)``
        b:        of those against real B: ``L1(G_A(G_B(B)), B)``
        identity: factor on ``a`` for ``L1(G_B(A), A)`` and on ``b`` for ``L1(G_A(B), B)``: what
                  looks right already should stay; 0 = these are left out
    """

    a: float = 10.0  # `lambda_A`
    b: float = 10.0  # `lambda_B`
    identity: float = 0.5  # `lambda_identity`


# --------------------------------------------------------------------------------------------------
# What a discriminator is shown


class ImagePool:
    """Earlier images of a generator, some of which its discriminator sees instead of new ones
    (Shrivastava et al., CVPR 2017, section 2.3).

    Until the pool is full, every new image is kept and shown. Then, by the toss of a coin, a new
    image is shown itself, or a random kept one is shown and the new one takes its place.

    `places` draws on the host, `exchange` computes on the device without waiting for it: the one
    can be a function of a step's number, the other part of a recording.

    Args:
        size:   images kept; 0 = every new image is shown
        device: where they are kept, as float32
    """

    def __init__(self, size: int, device: torch.device):
        self.size, self.device = size, device
        self.kept = 0
        # (size + 1, C, H, W): the last place takes what is not kept.
        self.images: Tensor | None = None

    def places(self, count: int, draws: np.random.Generator) -> Tensor:
        """Where the next ``count`` images go, one after another.

        Returns:
            int64 (count, 2): a place, ``size`` if the image is not kept; and whether the image that
            was there is shown instead (0 or 1)
        """
        found = []
        for _ in range(count):
            if self.kept < self.size:
                found.append((self.kept, 0))
                self.kept += 1
            elif self.size and draws.random() < 0.5:
                found.append((int(draws.integers(self.size)), 1))
            else:
                found.append((self.size, 0))
        return torch.tensor(found, device=self.device)

    def exchange(self, images: Tensor, places: Tensor) -> Tensor:
        """The images to show for N new ones, float32 N C H W; ``places``: theirs.

        Raises:
            InputError: images of another size than those before them.
        """
        if not self.size:
            return images
        if self.images is None:
            self.images = images.new_zeros(self.size + 1, *images.shape[1:])
        if images.shape[1:] != self.images.shape[1:]:
            sizes = [f"{each.shape[-1]}x{each.shape[-2]}" for each in (self.images, images)]
            raise InputError(
                f"`pool_size` {self.size} keeps images of one size, and these are {sizes[0]} and "
                f"{sizes[1]}: use `preprocess` resize_and_crop, or `pool_size` 0"
            )
        shown = []
        for image, (place, swapped) in zip(
            images.split(1), places.view(-1, 2, 1).unbind(), strict=True
        ):
            before = self.images.index_select(0, place)
            self.images.index_copy_(0, place, image)
            shown.append(torch.where(swapped.bool(), before, image))
        return torch.cat(shown)

    def state_dict(self) -> dict:
        return {"images": None if self.images is None else self.images[: self.kept].clone()}

    def load_state_dict(self, state: dict) -> None:
        images, self.kept, self.images = state["images"], 0, None
        if images is not None:
            self.kept = len(images)
            self.images = torch.zeros(self.size + 1, *images.shape[1:], device=self.device)
            self.images[: self.kept] = images


# --------------------------------------------------------------------------------------------------
# The update


class CycleGanTask(Task):
    """Both generators step first, against discriminators that stand still; then both
    discriminators, on the images from before that step.

    Under torchrun all processes keep the same pools, of the joint batch.

    Args:
        nets_g:    G_A and G_B
        nets_d:    D_A and D_B, of images alone
        specs:     of G_A and G_B
        weights:   ``gan_mode``, ``gan`` and ``recon``; the other weights are those of ``cycle``
        pool_size: images that each `ImagePool` keeps
        seed:      of the pools' draws, a function of it and the step
        augment:   of all that the discriminators see
        ema:       decay per step of a moving average of both generators' weights, see
                   `training.tasks.TeacherTask`

    Raises:
        InputError: an identity loss between images of different channels.
    """

    def __init__(
        self,
        nets_g: Sequence[nn.Module],
        nets_d: Sequence[Discriminator],
        specs: Sequence[GeneratorSpec],
        weights: LossWeights,
        cycle: CycleWeights,
        pool_size: int,
        seed: int,
        lr: float,
        beta1: float,
        device: torch.device,
        amp: str = "none",
        augment: Augmentation = Augmentation(),
        ema: float = 0.0,
    ):
        super().__init__(weights, device, amp)
        self.augment = augment
        channels = specs[0].input_nc, specs[0].output_nc
        if cycle.identity and channels[0] != channels[1]:
            raise InputError(
                f"`lambda_identity` {cycle.identity:g} compares images of `input_nc` {channels[0]} "
                f"with images of `output_nc` {channels[1]} channels: give `lambda_identity` 0"
            )
        self.cycle, self.seed = cycle, seed
        (self.g_a, self.g_b), (self.d_a, self.d_b) = nets_g, nets_d
        names = "G_A", "G_B"
        nets = dict(zip(names, nets_g, strict=True))
        self._add_generators(nets, dict(zip(names, specs, strict=True)), ema)
        self.networks |= zip(("D_A", "D_B"), nets_d, strict=True)
        self.optimizers = [
            make_adam([p for net in nets for p in net.parameters()], lr, beta1)
            for nets in (nets_g, nets_d)
        ]
        # Of fake B for D_A, and of fake A for D_B.
        self.pools = [ImagePool(pool_size, device) for _ in nets_d]
        self.memory = {"pools": self.pools}

    def generators(self) -> dict[str, Generate]:
        return {name: self.networks[name] for name in ("G_A", "G_B")}

    def update(self, a: Tensor, b: Tensor, *places: Tensor) -> dict[str, Tensor]:
        """``places``: of the new images in each of the pools."""
        optimizer_g, optimizer_d = self.optimizers
        with self._autocast():
            fake_b, fake_a = self.g_a(a), self.g_b(b)
            losses = self._losses_g(a, b, fake_b, fake_a)
        self._add_gradients(sum(losses.values()), optimizer_g)
        self._step(optimizer_g)

        fakes = [fake.detach().float() for fake in (fake_b, fake_a)]
        shown_b, shown_a = map(self._shown, self.pools, fakes, places)
        for side, net, real, shown in (("A", self.d_a, b, shown_b), ("B", self.d_b, a, shown_a)):
            losses_d, total = self._losses_d(side, net, real, shown)
            self._add_gradients(total, optimizer_d)
            losses |= losses_d
        self._step(optimizer_d)

        self.scaler.update()
        return detached(losses)

    def _losses_g(self, a: Tensor, b: Tensor, fake_b: Tensor, fake_a: Tensor) -> dict[str, Tensor]:
        """Of the generators, which minimise the sum."""
        w, mode = self.cycle, self.weights.gan_mode

        def fools(net: nn.Module, fake: Tensor) -> Tensor:
            return self.weights.gan * generator_loss(mode, net(self._changed(fake)))

        def differ(image: Tensor, real: Tensor) -> Tensor:
            return self.reconstruct(image.float(), real)

        losses = {
            "G_A_gan": fools(self.d_a, fake_b),
            "G_B_gan": fools(self.d_b, fake_a),
            "cycle_A": w.a * differ(self.g_b(fake_b), a),
            "cycle_B": w.b * differ(self.g_a(fake_a), b),
        }
        if w.identity:
            losses["identity_A"] = w.identity * w.a * differ(self.g_b(a), a)
            losses["identity_B"] = w.identity * w.b * differ(self.g_a(b), b)
        return losses

    def _losses_d(
        self, side: str, net: nn.Module, real: Tensor, fake: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """(losses by their names, what a discriminator minimises)."""
        mode = self.weights.gan_mode
        fake, real = self._changed(fake), self._changed(real)
        with self._autocast():
            scores = net(fake), net(real)
        of_fake, of_real = discriminator_loss(mode, *scores)
        losses = {f"D_{side}_fake": of_fake, f"D_{side}_real": of_real}
        total = (of_fake + of_real) / 2
        if mode == "wgangp":
            losses[f"D_{side}_gp"] = gradient_penalty(net, fake, real)
            total = total + losses[f"D_{side}_gp"]
        return losses, total

    def _changed(self, images: Tensor) -> Tensor:
        return self.augment(images, images.shape[1])

    def _choices(self, step: int, images: int) -> list[Tensor]:
        draws = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, step])))
        joint = images * distributed.world_size()
        return [pool.places(joint, draws) for pool in self.pools]

    def _shown(self, pool: ImagePool, fake: Tensor, places: Tensor) -> Tensor:
        """What this process's discriminator sees for its new images."""
        if not pool.size:
            return fake
        first = distributed.rank() * len(fake)
        shown = pool.exchange(distributed.joined(fake), places)
        return shown[first : first + len(fake)]
