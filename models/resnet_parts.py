"""The parts of ResNets; see `models.parts`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from models.layout import FIRST_BLOCK, GROUPS, Layout
from models.parts import Chain, Part


@dataclass(frozen=True)
class ResnetParts:
    """Of networks with so many residual blocks."""

    blocks: int

    def all(self, form: None) -> list[Part]:
        groups = tuple((2, 3 + group) for group in range(GROUPS))
        return [
            Part("stem", ((0,),), 1),
            Part("down1", ((0, 1),), 1),
            Part("down2", ((1, 2),), 2),
            Part("block", groups, 4, self.blocks // GROUPS),
            Part("up1", ((2, 6),), 4),
            Part("up2", ((6, 7),), 2),
            Part("last", ((7,),), 1),
        ]

    def piece(self, net: nn.Module, part: Part, repeats: int) -> Chain:
        layout, layers = Layout(self.blocks), list(net.model)
        ends = {
            "stem": (0, 4),
            "down1": (4, 7),
            "down2": (7, FIRST_BLOCK),
            "block": (FIRST_BLOCK, FIRST_BLOCK + repeats),
            "up1": (layout.up1, layout.up2),
            "up2": (layout.up2, layout.last - 1),
            "last": (layout.last - 1, len(layers)),
        }
        return Chain(net, part, layers[slice(*ends[part.name])])
