"""Networks whose activations are compared in the place of pixels: VGG-16, a discriminator.

Both are called alike, `FeatureNetwork`. Neither is trained by what is computed from its
activations: gradients flow to the image alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from errors import InputError
from models.discriminators import Discriminator, blocks_of
from training.vgg import vgg_layers


class FeatureNetwork(Protocol):
    """Called with (a, image, count) -> feature maps, shallow ones first.

    Args:
        a:     float N C H W, what the generator was given
        image: float N C' H W in [-1, 1], what it made of it
        count: how many maps are wanted, None for all; deeper layers are not computed

    Returns the maps, each N C_k H_k W_k. Their type is float32, or autocast's where that is on.

    Attributes:
        compared: indices of the maps that the feature loss compares (the style loss takes all)
    """

    compared: tuple[int, ...]

    def __call__(self, a: Tensor, image: Tensor, count: int | None = None) -> list[Tensor]: ...


# --------------------------------------------------------------------------------------------------
# VGG-16


class VGG16Features(nn.Module):
    """VGG-16 (Simonyan and Zisserman 2015) of ImageNet after relu1_2, relu2_2, relu3_3, relu4_3.

    These are the layers of Johnson et al. 2016 and of OMGD (ICCV 2021). Maps have 64, 128, 256 and
    512 channels, at 1, 1/2, 1/4 and 1/8 of the image's size, which is 8 pixels or more. As
    there, images are moved to [0, 1] and not normalised as ImageNet's were, and the feature loss
    compares relu2_2. See `FeatureNetwork` for the call; ``a`` is not looked at.

    Args:
        setting, path: of the weights, see `training.vgg.vgg_layers`

    Raises:
        InputError: the weights cannot be downloaded or read, or the file is not VGG-16; in a call,
            an image has neither 3 channels nor 1 (which is taken as grey).
    """

    compared = (1,)
    # Indices of these activations in torchvision's `vgg16().features`.
    LAYERS = (3, 8, 15, 22)

    def __init__(self, setting: str, path: Path | None = None):
        super().__init__()
        layers = vgg_layers("vgg16", self.LAYERS[-1], setting, path)
        starts = (0, *(last + 1 for last in self.LAYERS))
        # Their ReLUs work in place, which spoils no map: what follows a map is a pooling.
        self.blocks = nn.ModuleList(
            layers[start : last + 1] for start, last in zip(starts, self.LAYERS, strict=False)
        )

    def forward(self, a: Tensor, image: Tensor, count: int | None = None) -> list[Tensor]:
        if image.shape[1] not in (1, 3):
            raise InputError(f"`output_nc` {image.shape[1]}: VGG-16 sees images of 3 channels or 1")
        x = (image.float().expand(-1, 3, -1, -1) + 1) / 2
        maps = []
        for block in self.blocks[:count]:
            x = block(x)
            maps.append(x)
        return maps


# --------------------------------------------------------------------------------------------------
# The teacher's discriminator


class DiscriminatorFeatures:
    """Activations of a discriminator's blocks, after each LeakyReLU (after DCD, CVPR 2023).

    A discriminator is trained on the data set and needs no weights from elsewhere. ``n_layers=3``
    gives four maps of ndf, 2 ndf, 4 ndf, 8 ndf channels. The scores are not among them. The feature
    loss compares all maps. See `FeatureNetwork` for the call.

    The discriminator may be in training. Each call uses its current weights, gives them no
    gradients, and changes none of its state. Its batch norms use their running statistics, so that
    both images go through the same function.

    Args:
        net_d:  one that judges several generators looks as it looks at the first one's images
        paired: True: it sees cat(a, image); False (unpaired data): the image alone
    """

    def __init__(self, net_d: Discriminator, paired: bool = True):
        self.paired = paired
        # Without the block that makes the scores.
        self.blocks = blocks_of(net_d.judges()[0])[:-1]
        self.compared = tuple(range(len(self.blocks)))

    def __call__(self, a: Tensor, image: Tensor, count: int | None = None) -> list[Tensor]:
        x = torch.cat((a.float(), image.float()), 1) if self.paired else image.float()
        maps = []
        for block in self.blocks[:count]:
            for layer in block:
                x = _apply_frozen(layer, x)
            maps.append(x)
        return maps


def _apply_frozen(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` without gradients for its parameters or changes to its running statistics."""
    if isinstance(layer, nn.BatchNorm2d):
        weight, bias = layer.weight.detach(), layer.bias.detach()
        return F.batch_norm(x, layer.running_mean, layer.running_var, weight, bias, eps=layer.eps)
    frozen = {name: value.detach() for name, value in layer.named_parameters()}
    return functional_call(layer, frozen, (x,)) if frozen else layer(x)
