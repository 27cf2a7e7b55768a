"""What a discriminator sees of its images: changed at random, in ways that can be differentiated.

After DiffAugment (Zhao et al., NeurIPS 2020). A discriminator that sees few images learns them by
heart. Real and generated images are changed in the same ways before every look, and gradients flow
through the changes, so that a generator does not learn to make changed images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def change_color(pairs: Tensor, seen: int) -> Tensor:
    """Brightness, saturation and contrast of the output alone: the last ``seen`` channels.

    Brightness moves by -0.5 to 0.5, saturation is multiplied by 0 to 2 and contrast by 0.5 to 1.5,
    drawn for each image (DiffAugment: "color").
    """
    inputs, x = pairs.split((pairs.shape[1] - seen, seen), 1)
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, device=x.device)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    level = x.mean((1, 2, 3), keepdim=True)
    x = level + (x - level) * (contrast + 0.5)
    return torch.cat((inputs, x), 1)


def translate(pairs: Tensor, seen: int) -> Tensor:
    """Moved by up to an eighth of each side, input and output alike; zeros come in."""
    n, _, height, width = pairs.shape
    index = []
    for side, shape in ((height, (n, -1, 1)), (width, (n, 1, -1))):
        most = side // 8
        shift = (torch.rand(n, 1, device=pairs.device) * (2 * most + 1)).long() - most
        # Into an image with one row (column) of zeros on either side.
        index.append((torch.arange(side, device=pairs.device) + shift + 1).clamp(0, side + 1))
        index[-1] = index[-1].view(shape)
    image = torch.arange(n, device=pairs.device).view(n, 1, 1)
    padded = F.pad(pairs, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    return padded[image, index[0], index[1]].permute(0, 3, 1, 2).contiguous()


def cut_out(pairs: Tensor, seen: int) -> Tensor:
    """A rectangle of half the height and width, somewhere, is zero in input and output alike.

    It may lie partly outside.
    """
    n, _, height, width = pairs.shape
    inside = []
    for side, shape in ((height, (n, 1, -1, 1)), (width, (n, 1, 1, -1))):
        center = (torch.rand(n, 1, device=pairs.device) * (side + 1)).long()
        distance = torch.arange(side, device=pairs.device) - center
        inside.append(((distance >= -(side // 4)) & (distance < side // 4)).view(shape))
    return pairs.masked_fill(inside[0] & inside[1], 0)


CHANGES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "color": change_color,
    "translation": translate,
    "cutout": cut_out,
}


class Augmentation:
    """The changes called ``names``, one after the other; of none, the images stay as they are."""

    def __init__(self, names: Sequence[str] = ()):
        self.changes = [CHANGES[name] for name in names]

    def __call__(self, pairs: Tensor, seen: int) -> Tensor:
        """N C H W -> the same; the last ``seen`` channels are the output."""
        for change in self.changes:
            pairs = change(pairs, seen)
        return pairs
