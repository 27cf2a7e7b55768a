"""PatchGAN and pixel discriminators (SPEC 2), and one with a head for each of several generators.

A conditional one sees cat(input, output).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from torch import Tensor, nn

from errors import InputError
from models.layers import make_norm


class Discriminator(nn.Module):
    """Judges the images of one generator, or of several, each by a judge of its own."""

    def judges(self) -> list[nn.Sequential]:
        """The layers from image to scores, for each generator: this network's own, no copies."""
        raise NotImplementedError

    def scores(self, x: Tensor) -> list[Tensor]:
        """What each judge says of N C H W."""
        return [judge(x) for judge in self.judges()]


class NLayerDiscriminator(Discriminator):
    """PatchGAN with a receptive field of 70x70 pixels at ``n_layers=3``.

    forward(x): N input_nc H W -> N 1 H' W' scores, unbounded. No norm after the first convolution.
    """

    def __init__(self, input_nc: int, ndf: int = 128, n_layers: int = 3, norm: str = "instance"):
        super().__init__()
        bias = norm != "batch"
        layers: list[nn.Module] = [nn.Conv2d(input_nc, ndf, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        channels = ndf
        for n in range(1, n_layers + 1):
            out = ndf * min(2**n, 8)
            stride = 2 if n < n_layers else 1
            layers += [
                nn.Conv2d(channels, out, 4, stride, 1, bias=bias),
                make_norm(norm, out),
                nn.LeakyReLU(0.2, True),
            ]
            channels = out
        self.model = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def judges(self) -> list[nn.Sequential]:
        return [self.model]


class PixelDiscriminator(Discriminator):
    """1x1 PatchGAN: judges each pixel by itself.

    forward(x): N input_nc H W -> N 1 H W scores, unbounded.
    """

    def __init__(self, input_nc: int, ndf: int = 128, norm: str = "instance"):
        super().__init__()
        bias = norm != "batch"
        self.net = nn.Sequential(
            *(nn.Conv2d(input_nc, ndf, 1), nn.LeakyReLU(0.2, True)),
            *(
                nn.Conv2d(ndf, ndf * 2, 1, bias=bias),
                make_norm(norm, ndf * 2),
                nn.LeakyReLU(0.2, True),
            ),
            nn.Conv2d(ndf * 2, 1, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def judges(self) -> list[nn.Sequential]:
        return [self.net]


class SharedDiscriminator(Discriminator):
    """A discriminator for each of several generators, the first blocks of which are one and the
    same (after OMGD, ICCV 2021).

    A block ends with its activation, the last one with the scores: a PatchGAN of ``n_layers=3`` has
    five. Shared blocks exist once. OMGD's files hold a copy for every generator, and use one.

    Args:
        nets:  discriminators of one architecture; their layers become this network's
        share: how many blocks are shared: those of the first of ``nets``

    Raises:
        InputError: they have fewer blocks.
    """

    def __init__(self, nets: Sequence[Discriminator], share: int):
        super().__init__()
        cut = [blocks_of(judge) for net in nets for judge in net.judges()]
        if share > len(cut[0]):
            raise InputError(f"`share_D` {share}: the discriminator has {len(cut[0])} blocks")
        self.trunk = nn.Sequential(*chain(*cut[0][:share]))
        self.heads = nn.ModuleList(nn.Sequential(*chain(*blocks[share:])) for blocks in cut)

    def judges(self) -> list[nn.Sequential]:
        return [nn.Sequential(*self.trunk, *head) for head in self.heads]

    def scores(self, x: Tensor) -> list[Tensor]:
        x = self.trunk(x)
        return [head(x) for head in self.heads]


def blocks_of(judge: nn.Sequential) -> list[list[nn.Module]]:
    """The layers of a judge, cut after each activation; the last block makes the scores."""
    blocks: list[list[nn.Module]] = [[]]
    for layer in judge:
        blocks[-1].append(layer)
        if isinstance(layer, nn.LeakyReLU):
            blocks.append([])
    return blocks


def build_discriminator(
    name: str,
    input_nc: int,
    ndf: int = 128,
    n_layers: int = 3,
    norm: str = "instance",
    heads: int = 1,
    share: int = 0,
) -> Discriminator:
    """The discriminator called ``name``: ``n_layers`` or ``pixel`` (``netD``).

    Args:
        heads, share: for so many generators, see `SharedDiscriminator`
    """

    def one() -> Discriminator:
        if name == "n_layers":
            return NLayerDiscriminator(input_nc, ndf, n_layers, norm)
        return PixelDiscriminator(input_nc, ndf, norm)

    return one() if heads == 1 else SharedDiscriminator([one() for _ in range(heads)], share)
