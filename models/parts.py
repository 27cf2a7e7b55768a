"""The parts of a generator whose times add up to that of the whole.

A part is a run of layers whose time depends on one gene or two. So a table of the times of its
widths gives the time of every configuration, see `subnets.latency`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from errors import InputError
from models.layout import FIRST_BLOCK, GROUPS, Layout

if TYPE_CHECKING:
    from models.generators import GeneratorSpec


@dataclass(frozen=True)
class Part:
    """A part of all networks of a family.

    Args:
        name:    e.g. ``block``
        uses:    the genes that decide it, positions in `ChannelConfig.full`, ascending: a tuple for
                 each place where the network has such a part
        scale:   its input is that many times smaller than the image, in height and in width
        repeats: how many of it follow each other at each place. Its output fits its input then, and
                 its time is found from the difference between a chain and a single one
    """

    name: str
    uses: tuple[tuple[int, ...], ...]
    scale: int
    repeats: int = 1


class Parts(Protocol):
    """What a family of networks says about its parts."""

    def all(self) -> list[Part]:
        """In the order of their layers."""
        ...

    def layers(self, net: nn.Module, part: Part, repeats: int) -> Sequence[nn.Module]:
        """Those of a part, at its first place in a network."""
        ...


# --------------------------------------------------------------------------------------------------
# The families


@dataclass(frozen=True)
class ResnetParts:
    """Of ResNets; see `models.layout`."""

    blocks: int

    def all(self) -> list[Part]:
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

    def layers(self, net: nn.Module, part: Part, repeats: int) -> Sequence[nn.Module]:
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
        return layers[slice(*ends[part.name])]


@dataclass(frozen=True)
class UNetParts:
    """Of U-Nets: each level has its way down and its way up."""

    levels: int

    def all(self) -> list[Part]:
        genes = [((k - 1, k) if k else (0,)) for k in range(self.levels)]
        down = [Part(f"down{k + 1}", (each,), 2**k) for k, each in enumerate(genes)]
        up = [Part(f"up{k + 1}", (each,), 2 ** (k + 1)) for k, each in enumerate(genes)]
        return down + up[::-1]

    def layers(self, net: nn.Module, part: Part, repeats: int) -> Sequence[nn.Module]:
        block = net.blocks[part.uses[0][-1]]
        layers = list(block.model)
        return layers[: block.turn] if part.name.startswith("down") else layers[block.finish :]


# --------------------------------------------------------------------------------------------------
# A part as a network


class Piece(nn.Module):
    """Layers of a generator as a network of their own, in a form that deployment reads.

    forward(x): N C H W -> N C', the mean of every channel. Handing out whole feature maps, which a
    network keeps to itself, would take longer than many of the layers.
    """

    def __init__(self, layers: Sequence[nn.Module]):
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).mean((2, 3))


def parts_of(spec: GeneratorSpec) -> list[Part]:
    """The parts of the subnets of a supernet. InputError where they are not known."""
    if spec.kind.parts is None:
        raise InputError(
            f"`netG` {spec.netG} does not say what its parts are, so its times cannot be predicted"
        )
    return spec.kind.parts.all()


def piece(spec: GeneratorSpec, part: Part, widths: Sequence[int], repeats: int = 1) -> Piece:
    """A part as a network with PyTorch's default weights.

    Args:
        spec:    of the supernet
        widths:  of the genes of ``part.uses``
        repeats: how many follow each other, 1 to ``part.repeats``

    Its input has the channels of its first convolution.
    """
    genes = [1] * len(spec.kind.config.NAMES)
    for position, width in zip(part.uses[0], widths, strict=True):
        genes[position] = width
    net = spec.subnet(spec.kind.config(tuple(genes))).build().eval().requires_grad_(False)
    return Piece(spec.kind.parts.layers(net, part, repeats))
