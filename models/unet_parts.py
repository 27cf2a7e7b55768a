"""The parts of U-Nets; see `models.parts`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from models.parts import Chain, Part


@dataclass(frozen=True)
class UNetParts:
    """Of networks with so many levels: each has its way down and its way up."""

    levels: int

    def all(self, form: None) -> list[Part]:
        genes = [((k - 1, k) if k else (0,)) for k in range(self.levels)]
        down = [Part(f"down{k + 1}", (each,), 2**k) for k, each in enumerate(genes)]
        up = [Part(f"up{k + 1}", (each,), 2 ** (k + 1)) for k, each in enumerate(genes)]
        return down + up[::-1]

    def piece(self, net: nn.Module, part: Part, repeats: int) -> Chain:
        block = net.blocks[part.uses[0][-1]]
        layers = list(block.model)
        down = part.name.startswith("down")
        return Chain(net, part, layers[: block.turn] if down else layers[block.finish :])
