"""What networks take: images, what is as large as a part of an image, and styles."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Input:
    """One input of a network.

    Args:
        channels: values of a pixel
        scale:    it is that many times smaller than the image, in height and in width; None = it
                  has neither
    """

    channels: int
    scale: int | None = 1

    def shape(self, height: int, width: int, batch: int = 1) -> tuple[int, ...]:
        """N C H W, or N C; ``height``, ``width``: of the image [px]."""
        if self.scale is None:
            return batch, self.channels
        return batch, self.channels, height // self.scale, width // self.scale


def input_channels(net: nn.Module) -> int:
    """Channels of the images that a generator takes."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return next(m for m in net.modules() if isinstance(m, kinds)).in_channels


def inputs_of(net: nn.Module) -> tuple[Input, ...]:
    """In the order in which a network takes them.

    Images, and styles where it makes images in these (its attribute ``style_dim``). A part of a
    network says it in its attribute ``inputs``, see `models.parts.Piece`.
    """
    told = getattr(net, "inputs", None)
    if told is not None:
        return told
    style_dim = getattr(net, "style_dim", None)
    styles = () if style_dim is None else (Input(style_dim, None),)
    return (Input(input_channels(net)), *styles)
