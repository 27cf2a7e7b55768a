"""The kinds of generators: the one table of what a name such as ``mobile_resnet_9blocks`` means.

Nothing else in this project looks at the name. A new kind is a file with its network and its cost,
a line here, and its tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from models.config import ChannelConfig
from models.cost import Architecture, Costs
from models.deepest import DeepestResnetGenerator
from models.deepest import read_channels as read_deepest
from models.elastic_unet import SuperUNetGenerator
from models.elastic_unet import extract as extract_unet
from models.layers import NORMS
from models.layout import TAP_COUNT
from models.munit import MunitConfig, MunitForm, MunitGenerator
from models.munit import tap_widths as munit_tap_widths
from models.munit_cost import MunitCosts, read_munit
from models.munit_parts import MunitParts
from models.munit_supernet import SuperMunitGenerator
from models.munit_supernet import extract as extract_munit
from models.parts import Parts
from models.pruning import prune_into
from models.resnet import ResnetGenerator, read_channels
from models.resnet_parts import ResnetParts
from models.spade import SpadeConfig, SpadeForm, SpadeGenerator
from models.spade import tap_widths as spade_tap_widths
from models.spade_cost import SpadeCosts, read_spade
from models.spade_parts import SpadeParts
from models.spade_pruning import prune_spade
from models.spade_supernet import SuperSpadeGenerator
from models.spade_supernet import extract as extract_spade
from models.supernet import SuperMobileResnetGenerator, extract
from models.unet import CONFIGS, UNetArchitecture, UNetGenerator, read_widths, tap_widths
from models.unet_parts import UNetParts

if TYPE_CHECKING:
    from models.generators import GeneratorSpec


@dataclass(frozen=True)
class Taps:
    """The activations that distillation compares; only those of equal ``where`` can be.

    where:  in which networks they are
    widths: configuration -> channels of each
    joined: whether each is two tensors of equal width side by side
    """

    where: str
    widths: Callable[[ChannelConfig], tuple[int, ...]]
    joined: tuple[bool, ...] = (False,) * 4


RESNET_TAPS = Taps("ResNets", lambda config: (config.widths().trunk,) * TAP_COUNT)
UNET_TAPS = Taps("U-Nets", tap_widths, (False, False, True, True))
SPADE_TAPS = Taps("SPADE generators", spade_tap_widths, (False,) * 3)
MUNIT_TAPS = Taps("MUNIT generators", munit_tap_widths, (False,))


def _resnet_costs(spec: GeneratorSpec) -> Costs:
    kind = spec.kind
    return Architecture(
        kind.separable, spec.input_nc, spec.output_nc, spec.norm, kind.expanded, kind.blocks
    )


@dataclass(frozen=True)
class Kind:
    """What the rest of the project asks about a kind of generator.

    build:     spec -> network with PyTorch's default weights
    infer:     state dict -> the fields of its spec; None for one that says it is of another kind;
               InputError for any other. No function where keys and shapes are those of another
               kind
    family:    kinds of one family have equal keys, and equal shapes at equal channels
    separable: 3x3 convolutions of the blocks are depthwise and pointwise, not dense
    expanded:  a mobile network with expansion blocks (`models.deepest`)
    by_config: its channels are a config string, otherwise an ``ngf``
    legacy:    a config string has the meaning of early releases, see `ChannelConfig`
    blocks:    how many residual blocks
    subnet:    of a supernet, the kind of the networks that are cut out of it
    extract:   of a supernet: (network, configuration) -> that subnet with weights of its own
    calibrated: of a supernet: it may have batch norms, whose statistics are taken anew for every
               subnet (`models.calibration`)
    config:    what its genes mean
    costs:     spec -> what its configurations cost
    multiple:  height and width of its images are multiples of that many pixels, unless its form
               says another number
    form:      a class of what else its networks may differ in, as fields of `GeneratorSpec.form`
               (`models.spade.SpadeForm`, `models.munit.MunitForm`); None = in nothing
    stored:    a network with a config string keeps running statistics as wide as its supernet's,
               whose ``ngf`` it remembers
    per_image: of a supernet: each image of a batch may have a configuration of its own, by widths
               as a tensor; so a step can be recorded
    labels:    its input is a label map, one channel for each label
    styled:    an image is made in a style, the last argument of its networks (`models.munit`)
    norms:     `GeneratorSpec.norm` of networks of the kind
    prune:     (wide network, narrow one) -> None: how the one fills the other; see
               `models.pruning.prune_into`
    taps:      what distillation compares; None = nothing, and it is no student
    parts:     of a supernet, what the time of its subnets is composed of; None = not known
    """

    build: Callable[[GeneratorSpec], nn.Module]
    infer: Callable[[Mapping[str, Tensor]], dict | None] | None
    family: str
    separable: bool = True
    expanded: bool = False
    by_config: bool = False
    legacy: bool = False
    blocks: int = 9
    subnet: str | None = None
    extract: Callable[[nn.Module, ChannelConfig], nn.Module] = extract
    calibrated: bool = False
    config: type[ChannelConfig] = ChannelConfig
    costs: Callable[[GeneratorSpec], Costs] = _resnet_costs
    multiple: int = 4
    taps: Taps | None = RESNET_TAPS
    parts: Parts | None = None
    form: type[SpadeForm] | type[MunitForm] | None = None
    stored: bool = False
    per_image: bool = True
    labels: bool = False
    styled: bool = False
    norms: tuple[str, ...] = NORMS
    prune: Callable[[nn.Module, nn.Module], None] = prune_into

    @property
    def elastic(self) -> bool:
        """Whether it is a supernet: one network that runs at any configuration."""
        return self.subnet is not None

    @property
    def tapped(self) -> bool:
        """Whether it gives the activations that distillation compares, and may be a student."""
        return self.taps is not None


# --------------------------------------------------------------------------------------------------
# Building and recognising networks


def _resnet(spec: GeneratorSpec) -> nn.Module:
    return ResnetGenerator(
        spec.config,
        spec.input_nc,
        spec.output_nc,
        separable=spec.kind.separable,
        norm=spec.norm,
        dropout_rate=spec.dropout_rate,
        blocks=spec.kind.blocks,
    )


def _super_resnet(spec: GeneratorSpec) -> nn.Module:
    return SuperMobileResnetGenerator(
        spec.ngf, spec.input_nc, spec.output_nc, spec.norm, spec.dropout_rate, spec.kind.blocks
    )


def _deepest(spec: GeneratorSpec) -> nn.Module:
    return DeepestResnetGenerator(
        spec.ngf, spec.input_nc, spec.output_nc, spec.norm, spec.dropout_rate
    )


def _unet(spec: GeneratorSpec) -> nn.Module:
    images = spec.input_nc, spec.output_nc
    return UNetGenerator(spec.config, *images, spec.norm, spec.dropout_rate)


def _super_unet(spec: GeneratorSpec) -> nn.Module:
    images = spec.input_nc, spec.output_nc
    return SuperUNetGenerator(spec.config, *images, spec.norm, spec.dropout_rate)


def _unet_costs(spec: GeneratorSpec) -> Costs:
    return UNetArchitecture(len(spec.kind.config.NAMES), spec.input_nc, spec.output_nc, spec.norm)


def _unets(levels: int) -> dict[str, Kind]:
    """The U-Net of so many levels, its supernet, and what is cut out of that."""
    side = 2**levels
    name, sub = f"unet_{side}", f"sub_unet_{side}"
    read = partial(read_widths, levels=levels)

    def kind(build, infer, **how) -> Kind:
        return Kind(
            build,
            infer,
            name,
            separable=False,
            config=CONFIGS[levels],
            costs=_unet_costs,
            multiple=side,
            taps=UNET_TAPS,
            **how,
        )

    return {
        name: kind(_unet, partial(read, uniform=True)),
        f"super_{name}": kind(
            _super_unet,
            None,
            subnet=sub,
            extract=extract_unet,
            calibrated=True,
            parts=UNetParts(levels),
        ),
        sub: kind(_unet, read, by_config=True),
    }


def _resnets(blocks: int) -> dict[str, Kind]:
    """The ResNet with this number of blocks, and its mobile forms."""

    def read(**how) -> Callable[[Mapping[str, Tensor]], dict | None]:
        return partial(read_channels, blocks=blocks, **how)

    def name(kind: str) -> str:
        return f"{kind}_{blocks}blocks"

    def mobile(build, infer, **how) -> Kind:
        return Kind(build, infer, name("mobile"), blocks=blocks, **how)

    sub = name("sub_mobile_resnet")
    return {
        name("resnet"): Kind(
            _resnet,
            read(separable=False, uniform=True),
            name("resnet"),
            separable=False,
            blocks=blocks,
        ),
        name("mobile_resnet"): mobile(_resnet, read(separable=True, uniform=True)),
        name("super_mobile_resnet"): mobile(
            _super_resnet, None, subnet=sub, parts=ResnetParts(blocks)
        ),
        sub: mobile(_resnet, read(separable=True), by_config=True),
    }


def _spade(spec: GeneratorSpec) -> nn.Module:
    stored = None if spec.ngf is None else spec.kind.config.uniform(spec.ngf)
    images = spec.input_nc, spec.output_nc
    return SpadeGenerator(
        spec.config, *images, spec.kind.separable, spec.norm, spec.form, stored=stored
    )


def _super_spade(spec: GeneratorSpec) -> nn.Module:
    return SuperSpadeGenerator(spec.config, spec.input_nc, spec.output_nc, spec.norm, spec.form)


def _spades() -> dict[str, Kind]:
    """The SPADE generator, its mobile form, the supernet, and what is cut out of that."""

    def kind(build, family: str, separable: bool, uniform: bool | None, **how) -> Kind:
        infer = None
        if uniform is not None:
            infer = partial(read_spade, separable=separable, uniform=uniform)
        return Kind(
            build,
            infer,
            family,
            separable=separable,
            config=SpadeConfig,
            costs=lambda spec: SpadeCosts(separable, spec.input_nc, spec.output_nc, spec.form),
            taps=SPADE_TAPS,
            form=SpadeForm,
            per_image=False,
            labels=True,
            prune=prune_spade,
            **how,
        )

    mobile, sub = "mobile_spade", "sub_mobile_spade"
    return {
        "spade": kind(_spade, "spade", False, True),
        mobile: kind(_spade, mobile, True, True),
        f"super_{mobile}": kind(
            *(_super_spade, mobile, True, None),
            subnet=sub,
            extract=extract_spade,
            calibrated=True,
            parts=SpadeParts(),
        ),
        sub: kind(_spade, mobile, True, False, by_config=True, stored=True),
    }


def _munit(spec: GeneratorSpec) -> nn.Module:
    return MunitGenerator(
        spec.config, spec.input_nc, spec.output_nc, spec.kind.separable, spec.form
    )


def _super_munit(spec: GeneratorSpec) -> nn.Module:
    return SuperMunitGenerator(
        spec.config, spec.input_nc, spec.output_nc, spec.kind.separable, spec.form
    )


def _munits(separable: bool) -> dict[str, Kind]:
    """The MUNIT generator, dense or mobile, its supernet, and what is cut out of that."""
    name = "mobile_munit" if separable else "munit"

    def kind(build, infer, **how) -> Kind:
        return Kind(
            build,
            infer,
            name,
            separable=separable,
            config=MunitConfig,
            costs=lambda spec: MunitCosts(separable, spec.input_nc, spec.output_nc, spec.form),
            taps=MUNIT_TAPS,
            form=MunitForm,
            per_image=False,
            styled=True,
            norms=("instance",),
            **how,
        )

    def read(uniform: bool) -> Callable[[Mapping[str, Tensor]], dict | None]:
        return partial(read_munit, separable=separable, uniform=uniform)

    return {
        name: kind(_munit, read(True)),
        f"super_{name}": kind(
            *(_super_munit, None),
            subnet=f"sub_{name}",
            extract=extract_munit,
            parts=MunitParts(),
        ),
        f"sub_{name}": kind(_munit, read(False), by_config=True),
    }


# --------------------------------------------------------------------------------------------------
# The table. A state dict is of the first kind that recognises it.

KINDS: dict[str, Kind] = {
    **_resnets(9),
    "legacy_sub_mobile_resnet_9blocks": Kind(
        _resnet,
        partial(read_channels, separable=True, legacy=True),
        "mobile_9blocks",
        by_config=True,
        legacy=True,
    ),
    **_resnets(6),
    "mobile_deepest_resnet": Kind(_deepest, read_deepest, "deepest", expanded=True, taps=None),
    **_unets(8),
    **_unets(7),
    **_spades(),
    # The mobile ones first: their supernet stands beside a teacher, see `supernet_beside`.
    **_munits(separable=True),
    **_munits(separable=False),
}

# Names for flags: all, those whose weights are trained at one width, supernets, and those whose
# channels are a config string.
GENERATORS = tuple(KINDS)
PLAIN = tuple(n for n, kind in KINDS.items() if not (kind.elastic or kind.by_config))
SUPERNETS = tuple(n for n, kind in KINDS.items() if kind.elastic)
BY_CONFIG = tuple(n for n, kind in KINDS.items() if kind.by_config)

# What else networks may differ in.
FORMS = tuple(dict.fromkeys(kind.form for kind in KINDS.values() if kind.form is not None))

# What the genes of a configuration may mean.
CONFIG_KINDS = tuple(dict.fromkeys(kind.config for kind in KINDS.values()))


def supernet_beside(netG: str) -> str:
    """The supernet for a teacher of a kind: the one whose layers compare with the teacher's, in a
    network as deep; that of nine blocks where none do.
    """
    kind = KINDS[netG]
    for name in SUPERNETS:
        found = KINDS[name]
        if (found.taps, found.config, found.blocks) == (kind.taps, kind.config, kind.blocks):
            return name
    return SUPERNETS[0]
