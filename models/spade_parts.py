"""The parts of SPADE generators; see `models.parts`.

The label map enters every block, reduced to the block's size. So their parts take it whole, beside
what the part before made, and reduce it as the network does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.inputs import Input
from models.parts import Part, Piece
from models.spade import BLOCKS, STRAIGHT, SpadeForm, SpadeGenerator, doubled, leaky, reduced

FIRST, LAST = "fc", "conv_img"


class First(Piece):
    """Labels at the size of the grid -> what enters the first block."""

    def __init__(self, net: SpadeGenerator):
        super().__init__(net, [Input(net.fc.in_channels)])
        self.fc, self.scale = net.fc, net.form.scales[0]

    def layers(self, labels: Tensor) -> Tensor:
        return self.fc(reduced(labels, self.scale))


class LabelledBlock(Piece):
    """A block, with the doubling of the resolution before it where there is one.

    layers(x, labels): N C H W, and the label map at the size of the image.
    """

    def __init__(self, net: SpadeGenerator, part: Part):
        block = getattr(net, part.name)
        super().__init__(
            net, [Input(block.conv_0.in_channels, part.scale), Input(net.fc.in_channels)]
        )
        self.block, self.scale = block, net.form.scales[BLOCKS.index(part.name)]
        self.doubles = self.scale != part.scale

    def layers(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.block(doubled(x) if self.doubles else x, reduced(labels, self.scale))


class Last(Piece):
    """What leaves the last block -> the image."""

    def __init__(self, net: SpadeGenerator):
        super().__init__(net, [Input(net.conv_img.in_channels)])
        self.conv_img = net.conv_img

    def layers(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv_img(leaky(x)))


@dataclass(frozen=True)
class SpadeParts:
    """Of supernets, whose image is doubled 5 or 6 times."""

    def all(self, form: SpadeForm) -> list[Part]:
        scales = form.scales
        parts, before, wide = [Part(FIRST, ((0,),), 1)], scales[0], 0
        for index, name in enumerate(BLOCKS[: len(scales)]):
            # Genes: the trunk's, then one of each block. The trunk enters the first blocks, and
            # what a later one makes enters the next.
            parts.append(Part(name, ((wide, index + 1),), before))
            before, wide = scales[index], 0 if index < STRAIGHT else index + 1
        return [*parts, Part(LAST, ((len(scales),),), 1)]

    def piece(self, net: nn.Module, part: Part, repeats: int) -> Piece:
        if part.name == FIRST:
            return First(net)
        return Last(net) if part.name == LAST else LabelledBlock(net, part)
