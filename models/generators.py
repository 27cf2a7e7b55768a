"""Generators by name: a description -> a network, a bare state dict -> its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from torch import Tensor, nn

from errors import InputError
from models.config import MAX_WIDTH, ChannelConfig
from models.cost import Costs
from models.kinds import FORMS, GENERATORS, KINDS, SUPERNETS, Kind
from models.layers import NORMS, require_size
from models.munit import MunitForm
from models.spade import SpadeForm

MAX_IMAGE_CHANNELS = 1024


# --------------------------------------------------------------------------------------------------
# What a generator is


@dataclass(frozen=True)
class GeneratorSpec:
    """Everything needed to rebuild a generator; stored in its checkpoints.

    netG:         a key of `KINDS`
    ngf:          base width of kinds that are named by it; None for the others, but for subnets
                  that keep statistics as wide as their supernet's (`Kind.stored`)
    config_str:   channels of kinds with a config string. Of a supernet: the one configuration that
                  it was fine-tuned at, None when it was trained for a whole search space
    dropout_rate: inside the blocks, 0 = none
    form:         what else networks of its kind may differ in, see `Kind.form`; None where in
                  nothing
    inferred:     whether it was inferred from shapes, which cannot tell a supernet from a mobile
                  network; not stored
    trained_on:   ``direction`` (AtoB | BtoA) and ``size`` ([height, width] in pixels) of the images
                  that it learned from; keys that its file does not give are missing. They do not
                  describe the network, so they are stored beside this spec
    """

    netG: str
    ngf: int | None = None
    config_str: str | None = None
    input_nc: int = 3
    output_nc: int = 3
    norm: str = "instance"
    dropout_rate: float = 0.0
    form: SpadeForm | MunitForm | None = None
    inferred: bool = field(default=False, compare=False)
    trained_on: Mapping = field(default_factory=dict, compare=False)

    def __post_init__(self):
        kind = KINDS.get(self.netG) if isinstance(self.netG, str) else None
        if kind is not None and kind.form is not None and self.form is None:
            object.__setattr__(self, "form", kind.form())

    @property
    def kind(self) -> Kind:
        """Its line in the table of kinds. InputError for a name that is not in the table."""
        if not isinstance(self.netG, str) or self.netG not in KINDS:
            raise InputError(f"`netG` {self.netG} is not one of {', '.join(GENERATORS)}")
        return KINDS[self.netG]

    @property
    def is_supernet(self) -> bool:
        return self.kind.elastic

    def name_at(self, config: ChannelConfig) -> str:
        """What people call the network, or what is cut out of it at ``config``: its kind and
        width, or its kind and configuration."""
        by_config = self.kind.by_config or config != self.config
        return f"{self.netG} {config}" if by_config else f"{self.netG} ngf {self.ngf}"

    @property
    def config(self) -> ChannelConfig:
        """The channels of the whole network (full width for a supernet)."""
        if not self.kind.by_config:
            return self.kind.config.uniform(self.ngf)
        if not self.config_str:
            raise InputError(f"{self.netG} needs `config_str`")
        return self.parse(self.config_str)

    def parse(self, config_str: str) -> ChannelConfig:
        """A config string as networks of this kind understand it. InputError if they do not."""
        return self.kind.config.parse(config_str, legacy=self.kind.legacy)

    @property
    def tuned_config(self) -> ChannelConfig | None:
        """Of a supernet that was fine-tuned at one configuration, that one."""
        if not (self.is_supernet and self.config_str):
            return None
        return self.parse(self.config_str)

    @property
    def architecture(self) -> Costs:
        """What its cost depends on besides its channels."""
        return self.kind.costs(self)

    @property
    def without_style_encoder(self) -> GeneratorSpec | None:
        """The same network without its style encoder; None where there is none."""
        if not getattr(self.form, "style_encoder", False):
            return None
        return replace(self, form=replace(self.form, style_encoder=False))

    def check_size(self, images: Mapping) -> None:
        """InputError if images do not fit the network, in the terms of `trained_on`."""
        if "size" in images:
            require_size(*images["size"], self.multiple)

    @property
    def multiple(self) -> int:
        """Height and width of its images are multiples of that many pixels."""
        return self.kind.multiple if self.form is None else self.form.multiple

    def subnet(self, config: ChannelConfig) -> GeneratorSpec:
        """Of a supernet: what `extract` makes of it at ``config``."""
        ngf = self.ngf if KINDS[self.kind.subnet].stored else None
        return replace(self, netG=self.kind.subnet, ngf=ngf, config_str=str(config))

    def needs_statistics(self, config: ChannelConfig) -> bool:
        """Of a supernet: whether batch norms of the subnet ``config`` must be calibrated."""
        return self.norm == "batch" and config != self.tuned_config

    def to_dict(self) -> dict:
        beside = ("inferred", "trained_on", *(["form"] if self.form is None else []))
        return {name: value for name, value in asdict(self).items() if name not in beside}

    @classmethod
    def from_dict(cls, values: Mapping) -> GeneratorSpec:
        """From what a checkpoint stores.

        Raises:
            InputError: a field of a newer version, or a value that describes no network.
        """
        known = {f.name for f in fields(cls)} - {"inferred", "trained_on"}
        unknown = [str(name) for name in values if name not in known]
        if unknown:
            raise InputError(
                f"describes its network with {', '.join(unknown[:3])}, which this version does not "
                "know; use the version that wrote it, or a newer one"
            )
        if "netG" not in values:
            raise InputError("describes its network without saying its kind (netG)")
        spec = cls(**values)
        if isinstance(spec.form, Mapping):
            spec = replace(spec, form=_read_form(spec.kind, spec.form))
        spec.check()
        return spec

    def check(self) -> None:
        """InputError unless it describes a network that can be built."""
        kind = self.kind
        if not kind.by_config:
            _require_count("ngf", self.ngf, MAX_WIDTH)
        if kind.form is not None:
            if not isinstance(self.form, kind.form):
                raise InputError(f"`form` {self.form!r} describes no network")
            self.form.check(not (kind.by_config or kind.elastic))
        if self.config_str is not None and not isinstance(self.config_str, str):
            raise InputError(f"`config_str` {self.config_str!r} is not a text")
        widest = max((self.tuned_config or self.config).genes)
        _require_count("config_str", widest, MAX_WIDTH)
        if kind.stored and self.ngf is not None:
            _require_count("ngf", self.ngf, MAX_WIDTH)
            self.config.check_fits(self.ngf)
        for name in ("input_nc", "output_nc"):
            _require_count(name, getattr(self, name), MAX_IMAGE_CHANNELS)
        if self.norm not in NORMS:
            raise InputError(f"`norm` {self.norm!r} is not one of {', '.join(NORMS)}")
        if self.norm not in kind.norms:
            raise InputError(f"`norm` {self.norm}: {self.netG} has {' or '.join(kind.norms)}")
        rate = self.dropout_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise InputError(f"`dropout_rate` {rate!r} is not a number from 0 to 1")
        if kind.elastic and self.norm == "batch" and not kind.calibrated:
            raise InputError(
                "this supernet cannot use `norm` batch, whose statistics differ from subnet to "
                "subnet; use instance"
            )

    def build(self) -> nn.Module:
        """A network with PyTorch's default weights; initialise or load it next."""
        self.check()
        return self.kind.build(self)


def _read_form(kind: Kind, values: Mapping) -> SpadeForm | MunitForm:
    """What `GeneratorSpec.to_dict` made of a form. InputError if it is of another version."""
    known = set() if kind.form is None else {f.name for f in fields(kind.form)}
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise InputError(
            f"describes its network with {', '.join(unknown[:3])}, which this version does not "
            "know; use the version that wrote it, or a newer one"
        )
    return kind.form(**values)


def _require_count(name: str, value: object, largest: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= largest:
        raise InputError(f"`{name}` {value!r} is not a whole number from 1 to {largest}")


# --------------------------------------------------------------------------------------------------
# Reading a network off a bare state dict, as released checkpoints are


def infer_spec(state: Mapping[str, Tensor]) -> GeneratorSpec:
    """The generator whose weights ``state`` holds, from its keys and shapes.

    A full-width mobile network and a supernet have the same shapes; the mobile network is returned,
    marked as inferred. The norms ``none`` and ``instance`` cannot be told apart either; instance
    is returned.

    Raises:
        InputError: no generator of a known kind.
    """
    reasons = []
    for name, kind in KINDS.items():
        if kind.infer is None:
            continue
        try:
            found = kind.infer(state)
        except InputError as error:
            reasons.append(str(error))
            continue
        if found is not None:
            return GeneratorSpec(name, **found, inferred=True)
    raise InputError("; ".join(dict.fromkeys(reasons)))


def as_supernet(spec: GeneratorSpec) -> GeneratorSpec | None:
    """The supernet that the weights of ``spec`` may be.

    None where they cannot be one: other shapes, or a file that says it is a plain network.
    """
    if spec.is_supernet:
        return spec
    for name in SUPERNETS if spec.inferred and not spec.kind.by_config else ():
        if KINDS[name].family == spec.kind.family:
            return replace(spec, netG=name)
    return None


def _renamed(spec: GeneratorSpec, netG: str, weights_only: bool) -> GeneratorSpec:
    """``spec`` under the name ``netG`` where that is the same network, else ``spec`` as it is."""
    kind = KINDS.get(netG)
    if netG == spec.netG or kind is None or kind.family != spec.kind.family:
        return spec
    if kind.legacy or spec.kind.legacy or len(set(spec.config.full)) > 1:
        return spec
    if kind.elastic and not (spec.is_supernet or spec.inferred or weights_only):
        return spec
    config = spec.config
    if kind.by_config:
        return replace(spec, netG=netG, ngf=None, config_str=str(config))
    return replace(spec, netG=netG, ngf=config.full[0], config_str=None)


def resolve_spec(
    found: GeneratorSpec,
    wanted: Mapping,
    where: str,
    prefix: str = "",
    weights_only: bool = False,
) -> GeneratorSpec:
    """The network of a checkpoint, given the settings that the user chose.

    Settings may say what shapes cannot: that a mobile network is a supernet, or its norm.

    Args:
        found:        what the checkpoint says of itself (stored, or `infer_spec`)
        wanted:       setting -> value, only those that were chosen, of netG, ngf, config_str,
                      input_nc, output_nc, norm, styled (the network takes a style), and what
                      `resolved` of its form takes
        where:        the checkpoint's path, for messages
        prefix:       of the names of netG, ngf and others of one network alone in the current
                      script, e.g. ``student_``
        weights_only: the network is a start for training: a plain mobile network may become a
                      supernet even where its file says what it is, and the configuration that a
                      supernet was fine-tuned at does not matter

    Raises:
        InputError: a setting contradicts the checkpoint; names both.
    """
    spec = found
    if wanted.get("netG"):
        spec = _renamed(spec, wanted["netG"], weights_only)
        kind = KINDS.get(wanted["netG"])
        if kind and kind.legacy and wanted.get("config_str"):
            # Some legacy networks have the shapes of another kind: the settings say which it is.
            legacy = replace(spec, netG=wanted["netG"], ngf=None, config_str=wanted["config_str"])
            if legacy.config.widths() == spec.config.widths():
                spec = legacy
    for form in FORMS:
        typed = [name for name in form.SETTINGS if name in wanted]
        if typed and spec.kind.form is not form:
            own = prefix if typed[0] in form.OWN else ""
            raise InputError(
                f"`{own}{typed[0]}` describes {form.WHAT}, and {where} holds {spec.netG}, which is "
                "none of these; leave it out"
            )
    if wanted.get("styled") and not spec.kind.styled:
        raise InputError(
            f"`model` munit_test: {where} holds {spec.netG}, which takes no style; leave it out"
        )
    if spec.form is not None:
        # These say it by `norm_G`, and `norm` is that of others in the same command.
        wanted = {name: value for name, value in wanted.items() if name != "norm"}
        try:
            form, norm = spec.form.resolved(spec.norm, wanted, spec.inferred, prefix)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        spec = replace(spec, form=form, norm=norm)
    if "norm" in wanted and {wanted["norm"], spec.norm} == {"instance", "none"}:
        spec = replace(spec, norm=wanted["norm"])
    for name in ("netG", "ngf", "config_str", "input_nc", "output_nc", "norm"):
        if wanted.get(name) is None:
            continue
        have = getattr(spec, name)
        if name == "config_str":
            # Of a supernet it selects a subnet, unless only one was trained.
            if spec.is_supernet and (spec.tuned_config is None or weights_only):
                continue
            config = spec.tuned_config or spec.config
            chosen = spec.parse(wanted[name])
            if chosen.widths() == config.widths():
                continue
            have = str(config)
        # A network with a config string has no ngf; the published scripts pass one all the same.
        if name == "ngf" and have is None:
            continue
        if have != wanted[name]:
            setting = f"`{prefix}{name}`" if name in ("netG", "ngf") else f"`{name}`"
            raise InputError(
                f"{setting} {wanted[name]} contradicts the checkpoint {where}, which holds "
                f"{spec.netG} with {name} {have}; leave the flag out or give {have}"
            )
    return spec


# --------------------------------------------------------------------------------------------------
# Networks and state dicts


def count_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def explain_mismatch(state: Mapping[str, Tensor], net: nn.Module) -> str | None:
    """What keeps ``state`` from being loaded into ``net``, in one line; None if nothing does.

    Keys that are missing or too many, and other shapes.
    """
    wanted = net.state_dict()
    missing = [k for k in wanted if k not in state]
    extra = [k for k in state if k not in wanted]
    shapes = [
        f"{k} {list(state[k].shape)} instead of {list(v.shape)}"
        for k, v in wanted.items()
        if k in state and state[k].shape != v.shape
    ]
    parts = []
    for label, keys in (
        ("missing", missing),
        ("not expected", extra),
        ("of another shape:", shapes),
    ):
        if keys:
            more = " ..." if len(keys) > 3 else ""
            parts.append(f"{len(keys)} {label} {', '.join(keys[:3])}{more}")
    return "; ".join(parts) or None
