"""The SPADE generators (GauGAN; Park et al., CVPR 2019), which make photos of label maps.

Every norm of the network scales and shifts its channels by what two convolutions make of the label
map, so the labels are not washed out on the way. State-dict keys are those of the widely used
implementation. `models.spade_cost` says what they cost, `models.spade_supernet` holds the network
with shared weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from models.config import ChannelConfig
from models.joint_norm import JointBatchNorm2d
from models.layers import make_norm, require_multiple
from models.spectral import SpectralConv2d

# --------------------------------------------------------------------------------------------------
# Genes


def _sets() -> dict[str, tuple[tuple[int, ...], ...]]:
    """Published search spaces: five wide genes, then three that may be narrower."""
    wide, narrow = (64, 48, 40, 32), (64, 48, 40, 32, 24)
    return {
        "channels-48": ((48, 40, 32),) * 5 + ((48, 40, 32, 24),) * 3,
        "channels-64": (wide,) * 5 + (narrow,) * 3,
        "channels-64-coco": (narrow,) * 8,
        "channels-64_2": ((64, 56, 48, 40, 32, 24, 16),) * 8,
    }


@dataclass(frozen=True)
class SpadeConfig(ChannelConfig):
    """Eight genes: the trunk's, and one of each block.

    trunk: 16 times as many channels enter and leave the first three blocks. The others are times
    16, 16, 16, 8, 4, 2 and 1 the channels inside their block; of the last four, which change the
    resolution, the channels that leave it too. What a label map passes on its way to a block's
    norms is twice its gene.
    """

    NAMES: ClassVar[tuple[str, ...]] = (
        *("trunk", "head", "middle0", "middle1"),
        *("up0", "up1", "up2", "up3"),
    )
    SETS: ClassVar[Mapping[str, tuple[tuple[int, ...], ...]]] = _sets()

    def __post_init__(self):
        if len(self.genes) != len(self.NAMES):
            raise InputError(
                f"config string '{self}' has {len(self.genes)} numbers; a SPADE generator needs "
                f"{len(self.NAMES)}, e.g. 32_40_40_32_40_24_32_24"
            )
        self.require_positive()

    @property
    def full(self) -> tuple[int, ...]:
        return self.genes

    def widths(self) -> tuple[int, ...]:
        """Real channels, in the order of the genes."""
        return tuple(t * gene for t, gene in zip(MULTIPLIERS, self.genes, strict=True))


MULTIPLIERS = (16, 16, 16, 16, 8, 4, 2, 1)

# --------------------------------------------------------------------------------------------------
# Form: what neither a name nor a width says

# How much smaller than the image each block's input is, by how often the network doubles it.
SCALES = {
    "normal": (32, 16, 16, 8, 4, 2, 1),
    "more": (64, 32, 16, 8, 4, 2, 1),
    "most": (128, 64, 32, 16, 8, 4, 2, 1),
}
UPSAMPLINGS = tuple(SCALES)
BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3", "up_4")
# The first ones keep the trunk's channels.
STRAIGHT = 3

_NORM_G = re.compile(r"(spectral)?spade(syncbatch|batch|instance)3x3")


@dataclass(frozen=True)
class SpadeForm:
    """What a SPADE generator is besides its channels; the norm before the labels act is
    `GeneratorSpec.norm`.

    num_upsampling_layers: the image is doubled 5 (normal), 6 (more) or 7 times (most)
    separable_conv_norm:   instance | batch | none: of the separable convolutions, if it has them
    spectral:              the blocks' convolutions are `SpectralConv2d`: a network in training
    sync:                  batch norms in training take the images of all processes
    """

    num_upsampling_layers: str = "more"
    separable_conv_norm: str = "instance"
    spectral: bool = False
    sync: bool = True

    # Which networks it describes, and the settings that `resolved` compares: of all networks of a
    # command, and of each its own.
    WHAT: ClassVar[str] = "SPADE generators"
    OWN: ClassVar[tuple[str, ...]] = ("norm_G",)
    # What of it decides how long a network takes.
    TIMED: ClassVar[tuple[str, ...]] = ("num_upsampling_layers", "separable_conv_norm")
    SETTINGS: ClassVar[tuple[str, ...]] = (*TIMED, *OWN)

    @property
    def scales(self) -> tuple[int, ...]:
        return SCALES[self.num_upsampling_layers]

    @property
    def multiple(self) -> int:
        """Height and width of images are multiples of that many pixels."""
        return self.scales[0]

    def check(self, fixed: bool) -> None:
        """InputError unless such networks exist; ``fixed``: of one width, no supernet or subnet."""
        for name, known in (
            ("num_upsampling_layers", UPSAMPLINGS),
            ("separable_conv_norm", ("instance", "batch", "none")),
            ("spectral", (False, True)),
            ("sync", (False, True)),
        ):
            if getattr(self, name) not in known:
                raise InputError(
                    f"`{name}` {getattr(self, name)!r} is not one of {', '.join(map(str, known))}"
                )
        if fixed:
            return
        if self.num_upsampling_layers == "most":
            raise InputError(
                "`num_upsampling_layers` most: supernets and their subnets have normal or more"
            )
        if self.separable_conv_norm != "instance":
            raise InputError(
                f"`separable_conv_norm` {self.separable_conv_norm}: supernets and their subnets "
                "have instance"
            )
        if self.spectral:
            raise InputError(
                "supernets and their subnets have no spectral norm: take it out of the weights "
                "by remove_spectral_norm.py, and leave spectral out of `norm_G`"
            )

    def resolved(
        self, norm: str, wanted: Mapping[str, str], inferred: bool, prefix: str = ""
    ) -> tuple[SpadeForm, str]:
        """(form, norm) of a checkpoint, given what the user says of it.

        Args:
            norm:     of the checkpoint
            wanted:   ``norm_G``, ``num_upsampling_layers`` and ``separable_conv_norm``, as far as
                      they were chosen
            inferred: it was inferred from shapes, which do not tell normal from more
            prefix:   of ``norm_G`` in the current script, for messages

        Raises:
            InputError: what it says contradicts the checkpoint.
        """
        form = self
        if "norm_G" in wanted:
            theirs = parse_norm_G(wanted["norm_G"])
            if (theirs["spectral"], theirs["norm"]) != (self.spectral, norm):
                _refuse(f"{prefix}norm_G", wanted["norm_G"], write_norm_G(norm, self))
            form = replace(form, sync=theirs["sync"])
        told = {
            # What shapes cannot tell from what they seem to show.
            "num_upsampling_layers": {"normal", "more"},
            "separable_conv_norm": {"instance", "none"},
        }
        for name, alike in told.items():
            have, want = getattr(self, name), wanted.get(name, getattr(self, name))
            if want == have:
                continue
            if not (inferred and {want, have} <= alike):
                _refuse(name, want, have)
            form = replace(form, **{name: want})
        return form, norm


def _refuse(setting: str, want: object, have: object) -> None:
    raise InputError(
        f"`{setting}` {want} contradicts the network, which has {have}; leave it out or give {have}"
    )


def parse_norm_G(text: str) -> dict:
    """``[spectral]spade{syncbatch,batch,instance}3x3`` -> ``spectral``, ``sync`` and ``norm``.

    Raises:
        InputError: it is no such text.
    """
    found = _NORM_G.fullmatch(text)
    if found is None:
        raise InputError(
            f"'{text}' is not [spectral]spade, then syncbatch, batch or instance, then 3x3, e.g. "
            "spectralspadesyncbatch3x3"
        )
    spectral, norm = found.groups()
    return dict(
        spectral=spectral is not None,
        sync=norm != "batch",
        norm="instance" if norm == "instance" else "batch",
    )


def write_norm_G(norm: str, form: SpadeForm) -> str:
    """The text that `parse_norm_G` reads."""
    kind = f"sync{norm}" if norm == "batch" and form.sync else norm
    return f"{'spectral' if form.spectral else ''}spade{kind}3x3"


# What networks are where nothing else is said.
USUAL, USUAL_NORM_G = SpadeForm(), "spadesyncbatch3x3"

# --------------------------------------------------------------------------------------------------
# Blocks


@dataclass(frozen=True)
class Block:
    """A block's place and real channels: integers, or int64 arrays that broadcast.

    scale:    its input is that many times smaller than the image
    fin, fout: channels that enter and leave it; ``inner`` between its convolutions
    hidden:   channels between the label map and its norms' factors
    shortcut: a convolution leads around it, since it changes the channels
    """

    name: str
    scale: int
    fin: object
    inner: object
    fout: object
    hidden: object
    shortcut: bool


def blocks_of(genes, upsampling: str = "more") -> list[Block]:
    """The blocks of a network, first to last; ``genes``: eight integers or arrays."""
    trunk, *others = (t * gene for t, gene in zip(MULTIPLIERS, genes, strict=True))
    found, fin = [], trunk
    for index, (scale, name) in enumerate(zip(SCALES[upsampling], BLOCKS, strict=False)):
        straight = index < STRAIGHT
        # "most" has a block more, which halves the channels of the one before it.
        inner = others[index] if index < len(others) else others[-1] // 2
        fout = trunk if straight else inner
        hidden = 2 * genes[min(index + 1, len(others))]
        found.append(Block(name, scale, fin, inner, fout, hidden, not straight))
        fin = fout
    return found


class PlainInstanceNorm2d(nn.Module):
    """Instance norm without weights, of any number of channels. Its input is read again by others,
    so no form of a network may replace it by one that works in place."""

    eps, weight = 1e-5, None  # as `nn.InstanceNorm2d` has them

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, eps=self.eps)


class SeparableConv2d(nn.Module):
    """Depthwise 3x3 with a border of zeros, norm, pointwise 1x1; both convolutions have biases.

    forward(x): N in H W -> N out H W
    """

    def __init__(self, channels: int, out: int, norm: str = "instance"):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            make_norm(norm, channels),
            nn.Conv2d(channels, out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@dataclass(frozen=True)
class Layers:
    """What makes a network's layers.

    dense:      (in, out, kernel, padding=, bias=) -> convolution outside the blocks' main path
    main:       the same of those on it
    modulation: (hidden, channels) -> what makes factors of channels
    norm:       channels -> the norm before these act
    """

    dense: Callable[..., nn.Module]
    main: Callable[..., nn.Module]
    modulation: Callable[[int, int], nn.Module]
    norm: Callable[[int], nn.Module]

    @classmethod
    def plain(cls, separable: bool, norm: str, form: SpadeForm) -> Layers:
        return cls(
            dense=nn.Conv2d,
            main=SpectralConv2d if form.spectral else nn.Conv2d,
            modulation=partial(SeparableConv2d, norm=form.separable_conv_norm)
            if separable
            else partial(nn.Conv2d, kernel_size=3, padding=1),
            norm=partial(make_inner_norm, norm, sync=form.sync),
        )


def make_inner_norm(norm: str, channels: int, sync: bool) -> nn.Module:
    """The norm of a `SpadeNorm`, without weights: instance | batch | none."""
    if norm == "batch":
        return JointBatchNorm2d(channels, sync)
    return PlainInstanceNorm2d() if norm == "instance" else nn.Identity()


class SpadeNorm(nn.Module):
    """norm(x) * (1 + gamma) + beta, with gamma and beta made of the label map (eq. 1 of the paper).

    forward(x, labels): N channels H W, N labels H W -> N channels H W. Of a supernet, ``hidden``
    says how many channels lie between labels and factors, and ``x`` may have fewer channels.

    Args:
        stored: channels of a batch norm's running statistics, ``channels`` or more
    """

    def __init__(self, channels: int, stored: int, hidden: int, labels: int, make: Layers):
        super().__init__()
        self.param_free_norm = make.norm(stored)
        self.mlp_shared = nn.Sequential(make.dense(labels, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = make.modulation(hidden, channels)
        self.mlp_beta = make.modulation(hidden, channels)

    def forward(self, x: Tensor, labels: Tensor, *hidden: int) -> Tensor:
        conv, relu = self.mlp_shared
        seen = relu(conv(labels, *hidden))
        # An elastic layer is told its output.
        out = [x.shape[1]] * len(hidden)
        gamma, beta = self.mlp_gamma(seen, *out), self.mlp_beta(seen, *out)
        return self.param_free_norm(x) * (1 + gamma) + beta


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def doubled(x: Tensor) -> Tensor:
    """Twice as high and wide, by the nearest pixel."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def reduced(labels: Tensor, scale: int) -> Tensor:
    """A label map ``scale`` times smaller: every pixel that resizing to whole multiples by the
    nearest one takes."""
    return labels[:, :, ::scale, ::scale]


class SpadeBlock(nn.Module):
    """A residual block: two convolutions 3x3, each after a `SpadeNorm` and a LeakyReLU.

    Where the channels change, the shortcut has a norm and a convolution 1x1 of its own.

    Args:
        own:    its channels
        stored: those of its norms' running statistics
        labels: channels of the label map
    """

    def __init__(self, own: Block, stored: Block, labels: int, make: Layers):
        super().__init__()
        self.shortcut = own.shortcut
        self.conv_0 = make.main(own.fin, own.inner, 3, padding=1)
        self.conv_1 = make.main(own.inner, own.fout, 3, padding=1)
        if own.shortcut:
            self.conv_s = make.main(own.fin, own.fout, 1, bias=False)
        seen = own.hidden, labels, make
        self.norm_0 = SpadeNorm(own.fin, stored.fin, *seen)
        self.norm_1 = SpadeNorm(own.inner, stored.inner, *seen)
        if own.shortcut:
            self.norm_s = SpadeNorm(own.fin, stored.fin, *seen)

    def forward(self, x: Tensor, labels: Tensor, widths: Block | None = None) -> Tensor:
        """``widths``: what an elastic block runs at; None for a fixed one."""
        inner, fout, hidden = (
            [] if widths is None else [width]
            for width in (
                (None,) * 3 if widths is None else (widths.inner, widths.fout, widths.hidden)
            )
        )
        around = x
        if self.shortcut:
            around = self.conv_s(self.norm_s(x, labels, *hidden), *fout)
        y = self.conv_0(leaky(self.norm_0(x, labels, *hidden)), *inner)
        y = self.conv_1(leaky(self.norm_1(y, labels, *hidden)), *fout)
        return around + y


# --------------------------------------------------------------------------------------------------
# Network

# Blocks whose outputs distillation compares.
TAPPED = ("head_0", "G_middle_1", "up_1")


def tap_widths(config: SpadeConfig) -> tuple[int, ...]:
    """Channels of the activations of `SpadeGenerator.tap`."""
    return tuple(b.fout for b in blocks_of(config.genes) if b.name in TAPPED)


class SpadeGenerator(nn.Module):
    """The SPADE generator without a random code: the label map alone decides the photo.

    Args:
        config:    width of every block
        input_nc:  channels of the label map: one for each label, and those of `data.labels`
        separable: the modulations' convolutions are separable, see `SeparableConv2d`
        norm:      instance | batch | none, before the labels act; no weights
        form:      see `SpadeForm`
        stored:    as wide as running statistics of batch norms are, as those that are cut out of a
                   supernet keep its width; None = ``config``

    forward(x): x N input_nc H W float, H and W multiples of ``form.multiple`` -> N output_nc H W in
    [-1, 1]; with ``taps=True`` also the activations of `tap`. The network begins at a grid that
    many times smaller than ``x``.

    Raises:
        InputError: from forward, for images of another size, or of a single grid pixel; says which
            are near.
    """

    def __init__(
        self,
        config: SpadeConfig,
        input_nc: int,
        output_nc: int = 3,
        separable: bool = False,
        norm: str = "batch",
        form: SpadeForm = USUAL,
        stored: SpadeConfig | None = None,
        make: Layers | None = None,
    ):
        super().__init__()
        make = make or Layers.plain(separable, norm, form)
        # A grid of one pixel in either direction is not exported, see `_require_grid`.
        self.form, self.multiple, self.least = form, form.multiple, 2
        own = blocks_of(config.genes, form.num_upsampling_layers)
        kept = blocks_of((stored or config).genes, form.num_upsampling_layers)
        self.fc = make.dense(input_nc, own[0].fin, 3, padding=1)
        for block, full in zip(own, kept, strict=True):
            self.add_module(block.name, SpadeBlock(block, full, input_nc, make))
        self.names = [block.name for block in own]
        self.conv_img = make.dense(own[-1].fout, output_nc, 3, padding=1)

    def forward(self, x: Tensor, taps: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        image, tapped = self._run(x)
        return (image, tapped) if taps else image

    def tap(self, x: Tensor) -> list[Tensor]:
        """What leaves the blocks `TAPPED`; the larger layers behind the last are not run."""
        return self._run(x, last=TAPPED[-1])[1]

    def _require_grid(self, x: Tensor) -> None:
        """InputError where the first blocks would see one pixel, which no norm can normalise."""
        if x.shape[2] == x.shape[3] == self.multiple:
            raise InputError(
                f"images of {x.shape[3]}x{x.shape[2]} are a single pixel to the first blocks of "
                f"this network: the smallest that fit are {2 * self.multiple}x{self.multiple} "
                "(`load_size`, `crop_size`, `aspect_ratio`; `num_upsampling_layers`)"
            )

    def _run(
        self, x: Tensor, widths: list[Block] | None = None, last: str | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """(image, taps) at ``widths`` of an elastic network; up to the block ``last``."""
        require_multiple(x, self.multiple)
        if not torch.compiler.is_compiling():
            self._require_grid(x)
        labels = {scale: reduced(x, scale) for scale in set(self.form.scales)}
        at = self.form.scales[0]
        y, tapped = self.fc(labels[at], *([] if widths is None else [widths[0].fin])), []
        for index, (name, scale) in enumerate(zip(self.names, self.form.scales, strict=True)):
            if scale != at:
                y, at = doubled(y), scale
            block = getattr(self, name)
            y = block(y, labels[scale], *([] if widths is None else [widths[index]]))
            if name in TAPPED:
                tapped.append(y)
            if name == last:
                return y, tapped
        return torch.tanh(self.conv_img(leaky(y))), tapped
