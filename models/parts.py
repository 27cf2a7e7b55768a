"""The parts of a generator whose times add up to that of the whole.

A part is a run of layers whose time depends on a few genes. So a table of the times of its widths
gives the time of every configuration, see `subnets.latency`. What the parts of a family are is said
in a file of its own, e.g. `models.resnet_parts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from errors import InputError
from models.inputs import Input, input_channels
from models.layers import least_of, multiple_of

if TYPE_CHECKING:
    from models.config import ChannelConfig
    from models.generators import GeneratorSpec


@dataclass(frozen=True)
class Part:
    """A part of all networks of a family.

    Args:
        name:    e.g. ``block``
        uses:    the genes that decide it, positions in `ChannelConfig.full`, ascending: a tuple for
                 each place where the network has such a part; an empty one where none does
        scale:   what enters it is that many times smaller than the image, in height and in width
        repeats: how many of it follow each other at each place. Its output fits its input then, and
                 its time is found from the difference between a chain and a single one
    """

    name: str
    uses: tuple[tuple[int, ...], ...]
    scale: int
    repeats: int = 1


class Piece(nn.Module):
    """Layers of a generator as a network of their own, in a form that deployment reads.

    forward(x, ...): what `inputs` says -> N C, the mean of every channel. Handing out whole feature
    maps, which a network keeps to itself, would take longer than many of the layers. What has
    neither height nor width is handed out as it is.

    Args:
        net:    which it is a part of; says which sizes of images fit
        inputs: what it takes, see `models.inputs`
    """

    def __init__(self, net: nn.Module, inputs: Sequence[Input]):
        super().__init__()
        self.inputs = tuple(inputs)
        self.multiple, self.least = multiple_of(net), least_of(net)

    def layers(self, *inputs: Tensor) -> Tensor:
        """What the layers make of the inputs, as in the network."""
        raise NotImplementedError

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        y = self.layers(x, *beside)
        return y.mean((2, 3)) if y.dim() == 4 else y


class Chain(Piece):
    """Layers that follow each other and take nothing beside what the one before made."""

    def __init__(self, net: nn.Module, part: Part, layers: Sequence[nn.Module]):
        chain = nn.Sequential(*layers)
        super().__init__(net, [Input(input_channels(chain), part.scale)])
        self.model = chain

    def layers(self, x: Tensor) -> Tensor:
        return self.model(x)


class Parts(Protocol):
    """What a family of networks says about its parts."""

    def all(self, form: object) -> list[Part]:
        """In the order of their layers; ``form``: of the networks, `GeneratorSpec.form`."""
        ...

    def piece(self, net: nn.Module, part: Part, repeats: int) -> Piece:
        """A part at its first place in a network, with the network's weights."""
        ...


def parts_of(spec: GeneratorSpec) -> list[Part]:
    """The parts of the subnets of a supernet. InputError where they are not known."""
    if spec.kind.parts is None:
        raise InputError(
            f"`netG` {spec.netG} does not say what its parts are, so its times cannot be predicted"
        )
    return spec.kind.parts.all(spec.form)


def subnet(spec: GeneratorSpec, config: ChannelConfig) -> nn.Module:
    """A subnet of a supernet with PyTorch's default weights, as it runs when it is deployed: in
    evaluation mode, and with nothing of the supernet's size."""
    return replace(spec.subnet(config), ngf=None).build().eval().requires_grad_(False)


def piece(spec: GeneratorSpec, part: Part, widths: Sequence[int], repeats: int = 1) -> Piece:
    """A part as a network with PyTorch's default weights.

    Args:
        spec:    of the supernet
        widths:  of the genes of ``part.uses``
        repeats: how many follow each other, 1 to ``part.repeats``
    """
    genes = [1] * len(spec.kind.config.NAMES)
    for position, width in zip(part.uses[0], widths, strict=True):
        genes[position] = width
    net = subnet(spec, spec.kind.config(tuple(genes)))
    return spec.kind.parts.piece(net, part, repeats).eval()
