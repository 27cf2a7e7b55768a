"""Losses of the update rules (SPEC 3): adversarial, reconstruction, perceptual."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from training.vgg import vgg_layers

GAN_MODES = ("hinge", "lsgan", "vanilla", "wgangp")


# --------------------------------------------------------------------------------------------------
# Adversarial


def discriminator_loss(mode: str, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """(loss on fake, loss on real), scalars, of scores of any shape; D's loss is their mean."""
    fake, real = fake.float(), real.float()
    if mode == "hinge":
        return F.relu(1 + fake).mean(), F.relu(1 - real).mean()
    if mode == "lsgan":
        return fake.square().mean(), (real - 1).square().mean()
    if mode == "vanilla":
        return F.softplus(fake).mean(), F.softplus(-real).mean()
    return fake.mean(), -real.mean()  # wgangp


def generator_loss(mode: str, fake: Tensor) -> Tensor:
    """What the generator wants of the discriminator's scores of its images."""
    fake = fake.float()
    if mode == "lsgan":
        return (fake - 1).square().mean()
    if mode == "vanilla":
        return F.softplus(-fake).mean()
    return -fake.mean()  # hinge, wgangp


def gradient_penalty(net_d: nn.Module, fake: Tensor, real: Tensor, weight: float = 10.0) -> Tensor:
    """WGAN-GP (Gulrajani et al. 2017, eq. 3): weight * (|grad D(x)| - 1)^2 between real and fake.

    fake, real: float N C H W, inputs of D; the penalty is a scalar.
    """
    mix = torch.rand(len(real), 1, 1, 1, device=real.device)
    x = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(net_d(x).sum(), x, create_graph=True)
    return weight * (gradient.flatten(1).norm(dim=1) - 1).square().mean()


# --------------------------------------------------------------------------------------------------
# Activations


def layer_losses(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[Tensor]:
    """mean (S - T)^2 of each tap, scalars, 0 or more (GAN Compression, CVPR 2020).

    student: taps through their adaptors; teacher: taps; each pair float N C H W of one shape, with
    any values.
    """
    return [F.mse_loss(s.float(), t.float()) for s, t in zip(student, teacher, strict=True)]


# --------------------------------------------------------------------------------------------------
# Reconstruction


class PerceptualLoss(nn.Module):
    """Weighted L1 distance of VGG-19 activations (Johnson et al. 2016; weighted as in pix2pixHD).

    forward(x, y): float N 3 H W in [-1, 1] (one channel is taken as grey) -> scalar

    Args:
        path:     the weights; None = torch's cache, or a download
        setting:  what asks for them, for messages
        imagenet: bring images to the mean and deviation of ImageNet, which the weights learned
                  from; SPADE leaves them as they are

    Raises:
        InputError: the VGG-19 weights cannot be downloaded, or the file in the cache is not them.
    """

    # Index in vgg19.features (relu1_1 ... relu5_1): weight.
    LAYERS = {1: 1 / 32, 6: 1 / 16, 11: 1 / 8, 20: 1 / 4, 29: 1.0}

    def __init__(
        self,
        path: Path | None = None,
        setting: str = "`recon_loss_type` vgg",
        imagenet: bool = True,
    ):
        super().__init__()
        self.features = vgg_layers("vgg19", max(self.LAYERS), setting, path)
        self.imagenet = imagenet
        for layer in self.features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if x.shape[1] not in (1, 3):
            raise InputError(f"`output_nc` {x.shape[1]}: VGG-19 sees images of 3 channels or 1")
        x, y = (t.expand(-1, 3, -1, -1) for t in (x, y))
        if self.imagenet:
            x, y = (((t + 1) / 2 - self.mean) / self.std for t in (x, y))
        total = x.new_zeros(())
        for index, layer in enumerate(self.features):
            x, y = layer(x), layer(y)
            if index in self.LAYERS:
                total = total + self.LAYERS[index] * F.l1_loss(x, y.detach())
        return total


def make_reconstruction_loss(kind: str, device: torch.device):
    """Function (output, target) -> scalar: ``l1``, ``l2``, ``smooth_l1`` or ``vgg``."""
    if kind == "vgg":
        return PerceptualLoss().to(device)
    return {"l1": F.l1_loss, "l2": F.mse_loss, "smooth_l1": F.smooth_l1_loss}[kind]
