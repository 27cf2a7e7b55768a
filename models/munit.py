"""The MUNIT generators (Huang et al., ECCV 2018): an image is taken apart into content and style,
and made again from its content in any style.

A style is a few numbers. A perceptron makes of them the factors of the adaptive instance norms of
the decoder, which get them as arguments. State-dict keys are those of the widely used
implementation. `models.munit_cost` says what they cost, `models.munit_supernet` holds the network
with shared weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from models.config import MAX_WIDTH, ChannelConfig
from models.layers import (
    ElasticConv2d,
    ElasticSeparableConv2d,
    SampleNorm,
    SeparableConv2d,
    make_norm,
)

# --------------------------------------------------------------------------------------------------
# Genes

# Residual blocks of the content encoder, and of the decoder.
BLOCKS = 4
# Real channels of a gene, in the order of `MunitConfig.NAMES`.
MULTIPLIERS = (1, 1, 2, 4, 4, 4, 4, 4, 2, 1)


@dataclass(frozen=True)
class MunitWidths:
    """Real channels: integers, or int64 arrays that broadcast.

    style:   out of the style encoder's first convolution; the others have 2, 4, 4 and 4 times more
    stem, down, trunk: out of the content encoder's convolutions. The trunk enters and leaves every
             residual block
    content, decoder: inside each of the residual blocks
    up0, up1: out of the decoder's two convolutions that follow a doubling of the resolution
    """

    style: object
    stem: object
    down: object
    trunk: object
    content: tuple
    decoder: tuple
    up0: object
    up1: object

    @classmethod
    def of(cls, genes: Sequence) -> MunitWidths:
        """Of ten genes: integers, or arrays."""
        style, stem, down, trunk, *inner, up0, up1 = (
            t * gene for t, gene in zip(MULTIPLIERS, genes, strict=True)
        )
        # Two blocks share a gene.
        content, decoder = (
            tuple(inner[first + block // 2] for block in range(BLOCKS)) for first in (0, 2)
        )
        return cls(style, stem, down, trunk, content, decoder, up0, up1)

    @property
    def styles(self) -> tuple:
        """Out of each convolution of the style encoder but the last."""
        return tuple(times * self.style for times in (1, 2, 4, 4, 4))

    @property
    def adaptive(self) -> tuple:
        """Channels of each adaptive norm, in the order of the perceptron's outputs."""
        return tuple(width for inner in self.decoder for width in (inner, self.trunk))


@dataclass(frozen=True)
class MunitConfig(ChannelConfig):
    """Ten genes, see `MunitWidths`: of style encoder, stem, down (doubled) and trunk (times 4); two
    for the inside of the content encoder's blocks and two of the decoder's (times 4); and two for
    the decoder's way up (the first doubled)."""

    NAMES: ClassVar[tuple[str, ...]] = (
        *("style", "stem", "down", "trunk", "content0", "content1"),
        *("decoder0", "decoder1", "up0", "up1"),
    )
    SETS: ClassVar[Mapping[str, tuple[tuple[int, ...], ...]]] = {
        "channels-64": ((64, 56, 48, 40, 32, 24, 16),) * 10
    }

    def __post_init__(self):
        if len(self.genes) != len(self.NAMES):
            raise InputError(
                f"config string '{self}' has {len(self.genes)} numbers; a MUNIT generator needs "
                f"{len(self.NAMES)}, e.g. 16_16_16_24_56_16_40_40_32_24"
            )
        self.require_positive()

    @property
    def full(self) -> tuple[int, ...]:
        return self.genes

    def widths(self) -> MunitWidths:
        return MunitWidths.of(self.genes)


# --------------------------------------------------------------------------------------------------
# Form: what neither a name nor a width says


@dataclass(frozen=True)
class MunitForm:
    """What a MUNIT generator is besides its channels.

    style_dim:     numbers that make a style
    mlp_dim:       width of the perceptron that makes factors of them
    style_encoder: it has one; without, a style must be given
    """

    style_dim: int = 8
    mlp_dim: int = 256
    style_encoder: bool = True

    # What networks of other projects may differ in too, and all of these have.
    FIXED: ClassVar[Mapping[str, object]] = {
        "n_downsample": 2,
        "n_res": BLOCKS,
        "activ": "relu",
        "pad_type": "reflect",
    }
    # Which networks it describes, and the settings that `resolved` compares: of all networks of a
    # command, and of each its own.
    WHAT: ClassVar[str] = "networks that take a style"
    OWN: ClassVar[tuple[str, ...]] = ("mlp_dim", "no_style_encoder")
    SETTINGS: ClassVar[tuple[str, ...]] = ("style_dim", *FIXED, *OWN)

    # What of it decides how long a network takes. Drawn styles need no style encoder.
    TIMED: ClassVar[tuple[str, ...]] = ("style_dim", "mlp_dim")

    @property
    def multiple(self) -> int:
        """Height and width of images are multiples of that many pixels: the style encoder halves
        them four times, the content encoder twice."""
        return 16 if self.style_encoder else 4

    def check(self, fixed: bool) -> None:
        """InputError unless such networks exist; ``fixed``: of one width, no supernet or subnet."""
        for name in ("style_dim", "mlp_dim"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 16 * MAX_WIDTH:
                raise InputError(
                    f"`{name}` {value!r} is not a whole number from 1 to {16 * MAX_WIDTH}"
                )
        if type(self.style_encoder) is not bool:
            raise InputError(f"`style_encoder` {self.style_encoder!r} is neither True nor False")

    def resolved(
        self, norm: str, wanted: Mapping[str, object], inferred: bool, prefix: str = ""
    ) -> tuple[MunitForm, str]:
        """(form, norm) of a checkpoint, given what the user says of it: what of `SETTINGS` was
        chosen. Shapes say all of it.

        Args:
            prefix: of the names of `OWN` in the current script, for messages

        Raises:
            InputError: what it says contradicts the checkpoint.
        """
        has = {"style_dim": self.style_dim, "mlp_dim": self.mlp_dim} | self.FIXED
        for name, have in has.items():
            if wanted.get(name, have) != have:
                shown = prefix + name if name in self.OWN else name
                raise InputError(
                    f"`{shown}` {wanted[name]} contradicts the network, which has {have}; leave it "
                    f"out or give {have}"
                )
        if wanted.get("no_style_encoder") and self.style_encoder:
            raise InputError(
                f"`{prefix}no_style_encoder` contradicts the network, which has a style encoder; "
                "leave it out"
            )
        return self, norm


USUAL = MunitForm()

# --------------------------------------------------------------------------------------------------
# Layers


@dataclass(frozen=True)
class Layers:
    """What makes a network's convolutions, all without padding and with a bias.

    dense: (in, out, kernel, stride=) -> a convolution of the stems and of the way down, the last
           one, and all of the style encoder
    main:  (in, out, kernel) -> one of the residual blocks or of the decoder's way up
    norm:  channels -> an instance norm without weights
    elastic: their output channels are an argument of every call
    """

    dense: Callable[..., nn.Module]
    main: Callable[..., nn.Module]
    norm: Callable[[int], nn.Module]
    elastic: bool = False

    @classmethod
    def plain(cls, separable: bool) -> Layers:
        main = SeparableConv2d if separable else nn.Conv2d
        return cls(nn.Conv2d, main, partial(make_norm, "instance"))

    @classmethod
    def of_supernet(cls, separable: bool, norm: Callable[[int], nn.Module]) -> Layers:
        return cls(
            ElasticConv2d, ElasticSeparableConv2d if separable else ElasticConv2d, norm, True
        )


# Of an adaptive norm: what is added to each channel, and what multiplies it, N C each.
Factors = tuple[Tensor, Tensor]


def adapted(x: Tensor, factors: Factors) -> Tensor:
    """What an instance norm put out, N C H W, scaled and shifted (AdaIN, eq. 8 of Huang and
    Belongie 2017)."""
    shift, scale = (factor[:, :, None, None] for factor in factors)
    return x * scale + shift


def factors_of(values: Tensor, widths: Sequence[int]) -> list[Factors]:
    """The factors of several adaptive norms, of these channels, from what the perceptron makes of
    styles: N 2*sum(widths), of each norm first what is added, then what multiplies."""
    parts = values.split([width for width in widths for _ in range(2)], 1)
    return list(zip(parts[::2], parts[1::2], strict=True))


class Block(nn.Module):
    """A reflected border, a convolution, a norm and an activation.

    forward(x, out, factors): ``out``: channels that an elastic convolution makes; ``factors``: what
    the norm's values are `adapted` by; None = they stay.

    Args:
        border: pixels
        norm, activation: None = none
    """

    def __init__(
        self,
        conv: nn.Module,
        border: int,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        elastic: bool = False,
    ):
        super().__init__()
        self.elastic = elastic
        self.pad, self.conv = nn.ReflectionPad2d(border), conv
        self.norm, self.activation = norm, activation

    def forward(self, x: Tensor, out: int, factors: Factors | None = None) -> Tensor:
        x = self.conv(self.pad(x), *([out] if self.elastic else []))
        if self.norm is not None:
            x = self.norm(x)
        if factors is not None:
            x = adapted(x, factors)
        return x if self.activation is None else self.activation(x)


class ResidualBlock(nn.Module):
    """x + what two convolutions 3x3 make of it; with ``factors`` their norms are adaptive."""

    def __init__(self, trunk: int, inner: int, make: Layers):
        super().__init__()

        def block(fin: int, fout: int, activation: nn.Module | None) -> Block:
            return Block(make.main(fin, fout, 3), 1, make.norm(fout), activation, make.elastic)

        self.model = nn.Sequential(block(trunk, inner, nn.ReLU(True)), block(inner, trunk, None))

    def forward(
        self, x: Tensor, inner: int, factors: Sequence[Factors | None] = (None, None)
    ) -> Tensor:
        first, second = self.model
        return x + second(first(x, inner, factors[0]), x.shape[1], factors[1])


class ResidualBlocks(nn.Module):
    def __init__(self, trunk: int, inner: Sequence[int], make: Layers):
        super().__init__()
        self.model = nn.Sequential(*(ResidualBlock(trunk, width, make) for width in inner))


# --------------------------------------------------------------------------------------------------
# Parts


class StyleEncoder(nn.Module):
    """forward(x, widths): N input_nc H W, H and W multiples of 16 -> N style_dim."""

    def __init__(self, widths: MunitWidths, input_nc: int, style_dim: int, make: Layers):
        super().__init__()
        blocks, fin = [], input_nc
        for index, fout in enumerate(widths.styles):
            shape = dict(kernel_size=4, stride=2) if index else dict(kernel_size=7)
            border = 1 if index else 3
            conv = make.dense(fin, fout, **shape)
            blocks.append(Block(conv, border, None, nn.ReLU(True), make.elastic))
            fin = fout
        self.model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), make.dense(fin, style_dim, 1))

    def forward(self, x: Tensor, widths: MunitWidths) -> Tensor:
        *blocks, pool, last = self.model
        for block, out in zip(blocks, widths.styles, strict=True):
            x = block(x, out)
        return last(pool(x)).flatten(1)


class ContentEncoder(nn.Module):
    """forward(x, widths): N input_nc H W, H and W multiples of 4 -> N trunk H/4 W/4."""

    def __init__(self, widths: MunitWidths, input_nc: int, make: Layers):
        super().__init__()
        outs, fin, blocks = (widths.stem, widths.down, widths.trunk), input_nc, []
        for index, fout in enumerate(outs):
            shape = dict(kernel_size=4, stride=2) if index else dict(kernel_size=7)
            conv = make.dense(fin, fout, **shape)
            border = 1 if index else 3
            blocks.append(Block(conv, border, make.norm(fout), nn.ReLU(True), make.elastic))
            fin = fout
        inner = ResidualBlocks(widths.trunk, widths.content, make)
        self.model = nn.Sequential(*blocks, inner)

    def forward(self, x: Tensor, widths: MunitWidths) -> Tensor:
        *blocks, residual = self.model
        for block, out in zip(blocks, (widths.stem, widths.down, widths.trunk), strict=True):
            x = block(x, out)
        for block, inner in zip(residual.model, widths.content, strict=True):
            x = block(x, inner)
        return x


class Decoder(nn.Module):
    """forward(content, factors, widths): N trunk H W, N 2*sum(widths.adaptive) -> N output_nc 4H 4W
    in [-1, 1]."""

    def __init__(self, widths: MunitWidths, output_nc: int, make: Layers):
        super().__init__()
        layers: list[nn.Module] = [ResidualBlocks(widths.trunk, widths.decoder, make)]
        fin = widths.trunk
        for fout in (widths.up0, widths.up1):
            up = make.main(fin, fout, 5), 2, SampleNorm(fout), nn.ReLU(True)
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), Block(*up, make.elastic)]
            fin = fout
        last = make.dense(fin, output_nc, 7)
        self.model = nn.Sequential(*layers, Block(last, 3, None, nn.Tanh(), make.elastic))
        self.output_nc = output_nc

    def forward(self, content: Tensor, factors: Tensor, widths: MunitWidths) -> Tensor:
        residual, double0, up0, double1, up1, last = self.model
        parts = factors_of(factors, widths.adaptive)
        x = content
        for index, (block, inner) in enumerate(zip(residual.model, widths.decoder, strict=True)):
            x = block(x, inner, parts[2 * index : 2 * index + 2])
        x = up0(double0(x), widths.up0)
        x = up1(double1(x), widths.up1)
        return last(x, self.output_nc)


class LinearBlock(nn.Module):
    def __init__(self, fin: int, fout: int, activation: nn.Module | None):
        super().__init__()
        self.fc, self.activation = nn.Linear(fin, fout), activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return x if self.activation is None else self.activation(x)


class Perceptron(nn.Module):
    """From a style to factors, those of one adaptive norm after those of another.

    forward(style): N style_dim -> N ``out``; with ``spans``, pairs of (first, end), these ranges of
    the ``out`` values alone.
    """

    def __init__(self, style_dim: int, hidden: int, out: int):
        super().__init__()
        self.model = nn.Sequential(
            LinearBlock(style_dim, hidden, nn.ReLU(True)),
            LinearBlock(hidden, hidden, nn.ReLU(True)),
            LinearBlock(hidden, out, None),
        )

    def forward(self, style: Tensor, spans: Sequence[tuple[int, int]] | None = None) -> Tensor:
        first, second, last = self.model
        hidden = second(first(style))
        if spans is None:
            return last(hidden)
        return F.linear(hidden, rows(last.fc.weight, spans), rows(last.fc.bias, spans))


def rows(values: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Ranges along the first axis, one after another."""
    return torch.cat([values[first:end] for first, end in spans])


# --------------------------------------------------------------------------------------------------
# Network


def tap_widths(config: MunitConfig) -> tuple[int, ...]:
    """Channels of what distillation compares: the content."""
    return (config.widths().trunk,)


class MunitGenerator(nn.Module):
    """The MUNIT generator.

    Args:
        config:    width of every layer
        separable: the residual blocks' convolutions and those of the way up are depthwise, instance
                   norm, pointwise; otherwise dense
        form:      see `MunitForm`

    forward(x, style): x N input_nc H W float in [-1, 1], H and W multiples of ``form.multiple``;
    style N style_dim, None = that of ``x`` -> N output_nc H W in [-1, 1]. With ``taps=True`` also
    the activations of `tap`. Usual styles are drawn from N(0, 1), see `random_styles`.

    Raises:
        InputError: from forward, without a style where there is no style encoder.
    """

    def __init__(
        self,
        config: MunitConfig,
        input_nc: int = 3,
        output_nc: int = 3,
        separable: bool = False,
        form: MunitForm = USUAL,
        make: Layers | None = None,
    ):
        super().__init__()
        make, widths = make or Layers.plain(separable), config.widths()
        self.form, self.multiple, self.widths = form, form.multiple, widths
        # Says to those who run any generator that a style is its last argument.
        self.style_dim = form.style_dim
        # In the order of published files.
        if form.style_encoder:
            self.enc_style = StyleEncoder(widths, input_nc, form.style_dim, make)
        self.enc_content = ContentEncoder(widths, input_nc, make)
        self.dec = Decoder(widths, output_nc, make)
        self.mlp = Perceptron(form.style_dim, form.mlp_dim, 2 * sum(widths.adaptive))

    def forward(
        self, x: Tensor, style: Tensor | None = None, taps: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        style = self.style(x) if style is None else style
        content = self.content(x)
        image = self.decode(content, style)
        return (image, [content]) if taps else image

    def tap(self, x: Tensor) -> list[Tensor]:
        """The content alone, which no style changes."""
        return [self.content(x)]

    @property
    def reach(self) -> int:
        """In a given style, how far from an output pixel the input pixels are that it depends on,
        at most [px].

        In closed form: an output pixel depends on 3 pixels to either side before the last
        convolution, and on 2 more before the one before it. Of half the resolution these are 3 and
        2 more; of a quarter 3, rounded outwards. Each 3x3 convolution of the blocks adds one of
        these, which are 4 pixels. The convolutions that read the image add 1 + 2 + 3.
        """
        return 4 * (3 + 2 * 2 * BLOCKS) + 6

    # Parts of `forward`, for those who mix styles and contents. ``widths``: what an elastic network
    # runs at; None = its own.

    def content(self, x: Tensor, widths: MunitWidths | None = None) -> Tensor:
        """N input_nc H W -> N trunk H/4 W/4."""
        return self.enc_content(x, widths or self.widths)

    def style(self, x: Tensor, widths: MunitWidths | None = None) -> Tensor:
        """N input_nc H W -> N style_dim."""
        if not self.form.style_encoder:
            raise InputError("this network has no style encoder: give it a style with every image")
        return self.enc_style(x, widths or self.widths)

    def decode(self, content: Tensor, style: Tensor, widths: MunitWidths | None = None) -> Tensor:
        """N trunk H/4 W/4 and N style_dim -> an image, N output_nc H W in [-1, 1]."""
        factors = self.mlp(style, None if widths is None else self._spans(widths))
        return self.dec(content, factors, widths or self.widths)

    def _spans(self, widths: MunitWidths) -> list[tuple[int, int]]:
        """Which of the perceptron's outputs a narrower network uses: the first means and the first
        deviations of every adaptive norm."""
        spans, first = [], 0
        for full, used in zip(self.widths.adaptive, widths.adaptive, strict=True):
            spans += [(first, first + used), (first + full, first + full + used)]
            first += 2 * full
        return spans


def without_style_encoder(net: MunitGenerator) -> MunitGenerator:
    """A copy that must be given styles, for those who never take one from an image."""
    bare = copy.deepcopy(net)
    if bare.form.style_encoder:
        del bare.enc_style
    bare.form = replace(bare.form, style_encoder=False)
    bare.multiple = bare.form.multiple
    return bare
