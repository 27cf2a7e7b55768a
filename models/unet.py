"""The U-Net generators of pix2pix, built from one width per level.

State-dict keys are those of the widely used PyTorch implementation of pix2pix and CycleGAN, whose
checkpoints load: blocks inside blocks, each with its layers in a `Sequential` called ``model``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from errors import InputError
from models.config import ChannelConfig
from models.cost import CONVENTIONS, held_values
from models.layers import make_norm, require_multiple

# --------------------------------------------------------------------------------------------------
# Genes


@dataclass(frozen=True)
class UNetConfig(ChannelConfig):
    """A width for each level, outermost first; level ``k`` has 1/2^k of the image's height.

    Real channels are a gene times 1, 2, 4, then 8. A level's width is that of its convolution down,
    so of its skip, and of the transposed convolution that returns to it. One gene decides all
    three: the layer that reads skip and return side by side then has two equal halves, and equal
    genes are the published network of that ``ngf``. Nothing else in a U-Net is free.
    """

    # Of a network with as many levels; subclasses say how many.
    NAMES: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self):
        wanted = len(self.NAMES)
        if len(self.genes) != wanted:
            raise InputError(
                f"config string '{self}' has {len(self.genes)} numbers; a U-Net of {wanted} levels "
                f"needs {wanted}, e.g. {'_'.join(['16'] * wanted)}"
            )
        self.require_positive()

    @property
    def full(self) -> tuple[int, ...]:
        return self.genes

    def widths(self) -> tuple[int, ...]:
        """Real channels of every level, outermost first."""
        return real_widths(self.genes)

    @classmethod
    def of_widths(cls, widths: Sequence[int]) -> UNetConfig | None:
        """The configuration of a network with these real channels; None if there is none."""
        times = real_widths([1] * len(widths))
        if any(width % t for width, t in zip(widths, times, strict=True)):
            return None
        return cls(tuple(width // t for width, t in zip(widths, times, strict=True)))


class UNet256Config(UNetConfig):
    NAMES = tuple(f"level{k}" for k in range(1, 9))


class UNet128Config(UNetConfig):
    NAMES = tuple(f"level{k}" for k in range(1, 8))


# Levels -> what configures such a network.
CONFIGS = {len(each.NAMES): each for each in (UNet256Config, UNet128Config)}


def real_widths(genes) -> tuple:
    """One gene per level (integers or arrays of any shape) -> as many real widths."""
    return tuple(gene * min(2**level, 8) for level, gene in enumerate(genes))


# --------------------------------------------------------------------------------------------------
# Network

# Of the LeakyReLUs on the way down.
SLOPE = 0.2


class UNetBlock(nn.Module):
    """A level: down to half the size, the levels inside, and back up.

    Attributes:
        CONV, TRANSPOSED, JOINED, NORM: what makes its layers; the transposed convolution of all but
            the innermost reads skip and return side by side and is the third

    Layers by their index in ``model``:
      outermost  0 conv, 1 inner block, 2 ReLU, 3 transposed conv, 4 tanh
      inner      0 LeakyReLU, 1 conv, 2 norm, 3 inner block, 4 ReLU, 5 transposed conv, 6 norm,
                 7 dropout in some
      innermost  0 LeakyReLU, 1 conv, 2 ReLU, 3 transposed conv, 4 norm

    Args:
        outer:        channels of the image or of the level outside
        width:        channels of this level
        output:       channels of the result
        norm:         instance | batch | none
        dropout_rate: after the last norm of an inner block; None = there is no such layer
        inside:       the next level; None for the innermost
        outermost:    whether it reads the image
    """

    CONV, TRANSPOSED, JOINED = nn.Conv2d, nn.ConvTranspose2d, nn.ConvTranspose2d
    NORM = staticmethod(make_norm)

    def __init__(
        self,
        outer: int,
        width: int,
        output: int,
        norm: str,
        dropout_rate: float | None,
        inside: UNetBlock | None,
        outermost: bool,
    ):
        super().__init__()
        shape = dict(kernel_size=4, stride=2, padding=1)
        transposed = self.TRANSPOSED if inside is None else self.JOINED
        bias = norm != "batch"
        # What comes back from inside: its result beside the skip.
        back = width if inside is None else 2 * width
        before = [] if outermost else [nn.LeakyReLU(SLOPE)]
        down = [self.CONV(outer, width, **shape, bias=bias)]
        up = [nn.ReLU(), transposed(back, output, **shape, bias=bias or outermost)]
        if inside is None:
            up += [self.NORM(norm, output)]
        elif outermost:
            up += [nn.Tanh()]
        else:
            down += [self.NORM(norm, width)]
            up += [self.NORM(norm, output)]
            up += [] if dropout_rate is None else [nn.Dropout(dropout_rate)]
        within = [] if inside is None else [inside]
        self.model = nn.Sequential(*before, *down, *within, *up)
        self.outermost = outermost
        self.start, self.turn = len(before), len(before) + len(down)
        self.finish = self.turn + len(within)

    @property
    def inside(self) -> UNetBlock | None:
        return self.model[self.turn] if self.finish > self.turn else None

    def activate(self, x: Tensor) -> Tensor:
        """What the convolution down reads and the skip carries."""
        return x if self.outermost else self.model[0](x)

    def down(self, x: Tensor, *out: int | None) -> Tensor:
        """``out``: channels of the result, of an elastic block."""
        conv, *others = self.model[self.start : self.turn]
        x = conv(x, *out)
        for layer in others:
            x = layer(x)
        return x

    def returned(self, x: Tensor) -> Tensor:
        """The ReLU before the transposed convolution."""
        return self.model[self.finish](x)

    def up(self, x: Tensor, *out: int | None) -> Tensor:
        conv, *others = self.model[self.finish + 1 :]
        x = conv(x, *out)
        for layer in others:
            x = layer(x)
        return x


# (level, its block, input) -> output
Step = Callable[[int, UNetBlock, Tensor], Tensor]


class UNetGenerator(nn.Module):
    """The U-Net generator of pix2pix.

    In the implementation that its checkpoints come from, a block's LeakyReLU works in place on the
    tensor that is concatenated as well: the skip is the activated tensor. So it is here, though no
    image depends on it, since a ReLU follows that makes the same of both.

    Args:
        config:       width of every level
        norm:         instance | batch | none; no convolution before a batch norm has a bias, nor
                      has the first
        dropout_rate: after the innermost levels of full width but the last (three of eight levels,
                      two of seven), 0 = none; the published networks with dropout have 0.5

    forward(x): x N C H W float, clamped to [-1, 1]; H and W multiples of 2^levels. Returns N
    output_nc H W in [-1, 1]; with ``taps=True`` also four activations, see `TAPS_DOWN`.

    Raises:
        InputError: from forward, for images of another size; says which are near.
    """

    BLOCK: ClassVar[type[UNetBlock]] = UNetBlock

    def __init__(
        self,
        config: UNetConfig,
        input_nc: int = 3,
        output_nc: int = 3,
        norm: str = "instance",
        dropout_rate: float = 0.0,
    ):
        super().__init__()
        self.multiple = 2 ** len(config.genes)
        self.model = nested(self.BLOCK, config.widths(), input_nc, output_nc, norm, dropout_rate)

    @property
    def blocks(self) -> list[UNetBlock]:
        """All levels, outermost first."""
        blocks = [self.model]
        while (inside := blocks[-1].inside) is not None:
            blocks.append(inside)
        return blocks

    def forward(self, x: Tensor, taps: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        x, tapped = self._run(x, lambda _, block, x: block.down(x), lambda _, block, x: block.up(x))
        return (x, tapped) if taps else x

    def _run(self, x: Tensor, down: Step, up: Step) -> tuple[Tensor, list[Tensor]]:
        """(output, taps), with what is to be done at each level on the way down and up."""
        require_multiple(x, self.multiple)
        x, skips, tapped = x.clamp(-1, 1), [], []
        blocks = self.blocks
        for level, block in enumerate(blocks):
            x = block.activate(x)
            skips.append(x)
            if level in TAPS_DOWN:
                tapped.append(x)
            x = down(level, block, x)
        for level in reversed(range(len(blocks))):
            x = blocks[level].returned(x)
            if level in TAPS_UP:
                tapped.append(x)
            x = up(level, blocks[level], x)
            if level:
                x = torch.cat((skips[level], x), 1)
        return x, tapped

    def tap(self, x: Tensor) -> list[Tensor]:
        """Only the four activations."""
        return self(x, taps=True)[1]


def nested(
    make: type[UNetBlock],
    widths: Sequence[int],
    input_nc: int,
    output_nc: int,
    norm: str,
    dropout_rate: float,
) -> UNetBlock:
    """The outermost of blocks inside blocks, one for each of ``widths`` (real channels)."""
    last, block = len(widths) - 1, None
    for level in reversed(range(len(widths))):
        outer = widths[level - 1] if level else input_nc
        output = widths[level - 1] if level else output_nc
        # From the fifth level on all have the same multiple; dropout is between those.
        rate = dropout_rate if 4 <= level < last else None
        block = make(outer, widths[level], output, norm, rate, block, not level)
    return block


# Where teacher and student are compared: what the second convolution of stride 2 inside level 2 and
# inside level 4 read on the way down, and what the transposed ones there read on the way up (OMGD).
# All are outputs of activations; the latter two are skip and return side by side.
TAPS_DOWN, TAPS_UP = (2, 4), (3, 1)


def tap_widths(config: UNetConfig) -> tuple[int, ...]:
    """Channels of the four activations of `UNetGenerator.forward`."""
    widths = config.widths()
    down = [widths[level - 1] for level in TAPS_DOWN]
    return *down, *(2 * widths[level] for level in TAPS_UP)


# --------------------------------------------------------------------------------------------------
# Cost


@dataclass(frozen=True)
class UNetArchitecture:
    """What a configuration does not say about a U-Net; see `models.cost.Costs`.

    In the published convention an instance norm costs one MAC per element, and a batch norm, which
    a deployed network has in its convolutions, nothing: so all published figures of U-Nets are.
    """

    levels: int
    input_nc: int = 3
    output_nc: int = 3
    norm: str = "batch"

    @property
    def config(self) -> type[UNetConfig]:
        return CONFIGS[self.levels]

    def channels(self, genes: UNetConfig | np.ndarray | Sequence) -> tuple:
        """Real widths of every level; of a configuration, or of (..., levels) integers, or of as
        many arrays that broadcast."""
        if isinstance(genes, ChannelConfig):
            genes = [np.int64(gene) for gene in genes.genes]
        elif isinstance(genes, np.ndarray):
            genes = np.moveaxis(genes.astype(np.int64), -1, 0)
        return real_widths(genes)

    def _layers(self, widths: Sequence):
        """(level, into its convolution, out, into its transposed convolution, out) of each."""
        last = len(widths) - 1
        for level, width in enumerate(widths):
            outer = widths[level - 1] if level else self.input_nc
            output = widths[level - 1] if level else self.output_nc
            yield level, outer, width, width if level == last else 2 * width, output

    def macs(self, channels: Sequence, convention: str, height: int, width: int):
        if convention not in CONVENTIONS:
            raise ValueError(f"convention must be one of {CONVENTIONS}, not {convention!r}")
        macs, last = 0, self.levels - 1
        for level, outer, inner, back, output in self._layers(channels):
            area = (height >> level + 1) * (width >> level + 1)
            macs = macs + 16 * outer * inner * area
            macs = macs + 16 * back * output * area * (1 if convention == "exact" else 4)
            if convention == "published" and self.norm == "instance":
                if 0 < level < last:
                    macs = macs + inner * area
                if level:
                    macs = macs + output * area * 4
        return macs

    def params(self, channels: Sequence):
        params, last = 0, self.levels - 1
        batch = self.norm == "batch"
        for level, outer, inner, back, output in self._layers(channels):
            params = params + 16 * (outer * inner + back * output)
            # A bias per convolution, or none, and a weight and a bias per batch norm.
            down = 2 * (0 < level < last) if batch else 1
            up = 2 if batch and level else 1
            params = params + down * inner + up * output
        return params

    def values(self, channels: Sequence, height: int, width: int):
        """The skips of all levels outside are kept on the way up. The weights of the inner levels
        outweigh their activations, and libraries copy them too: those of the largest layer
        count."""
        most, kept, weights = 0, 4 * (self.input_nc + self.output_nc) * height * width, 0
        for level, outer, inner, back, output in self._layers(channels):
            area = (height >> level + 1) * (width >> level + 1)
            down = held_values(4 * outer * area, inner * area, kept=kept)
            up = held_values(back * area, 4 * output * area, kept, columns=16 * output * area)
            most = np.maximum(most, np.maximum(down, up))
            kept = kept + inner * area
            weights = np.maximum(weights, 16 * back * output)
        return most + weights


# --------------------------------------------------------------------------------------------------
# Recognising the network of a state dict


def read_widths(state: Mapping[str, Tensor], levels: int, uniform: bool = False) -> dict | None:
    """The fields of a `GeneratorSpec` that say how the U-Net of ``state`` is built; None where it
    has another number of levels.

    Args:
        levels:  of the kind looked for
        uniform: it has one width, ``ngf``; otherwise a config string

    Raises:
        InputError: no U-Net, or of another kind than the one looked for.
    """
    first, last = "model.model.0.weight", "model.model.3.weight"
    convs, prefix = [first], "model.model.1.model"
    while f"{prefix}.1.weight" in state:
        convs.append(f"{prefix}.1.weight")
        prefix += ".3.model"
    missing = [key for key in (*convs, last) if key not in state or state[key].dim() != 4]
    if missing:
        raise InputError(f"not a U-Net generator: it has no {missing[0]}")
    if len(convs) not in CONFIGS:
        known = " or ".join(map(str, sorted(CONFIGS)))
        raise InputError(f"a U-Net that halves images {len(convs)} times, not {known} times")
    if len(convs) != levels:
        return None
    widths = [state[key].shape[0] for key in convs]
    config = CONFIGS[levels].of_widths(widths)
    if config is None or (uniform and len(set(config.genes)) > 1):
        raise InputError(f"no known U-Net has the channels {'_'.join(map(str, widths))}")
    named = {"ngf": config.genes[0]} if uniform else {"config_str": str(config)}
    return named | dict(
        input_nc=state[first].shape[1],
        # The weights of transposed convolutions are in, out, kh, kw.
        output_nc=state[last].shape[1],
        norm="batch" if "model.model.1.model.2.weight" in state else "instance",
    )
