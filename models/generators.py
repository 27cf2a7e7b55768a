"""Generators by name: what a flag or a checkpoint says -> a network, and a bare state dict -> what network it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from errors import InputError
from models.config import ChannelConfig
from models.resnet import ResnetGenerator
from models.supernet import SuperMobileResnetGenerator

GENERATORS = (
    "resnet_9blocks",
    "mobile_resnet_9blocks",
    "super_mobile_resnet_9blocks",
    "sub_mobile_resnet_9blocks",
    "legacy_sub_mobile_resnet_9blocks",
)


# --------------------------------------------------------------------------------------------------
# What a generator is


@dataclass(frozen=True)
class GeneratorSpec:
    """All that is needed to rebuild a generator; stored with every checkpoint of ours."""

    netG: str  # one of GENERATORS
    ngf: int | None = None  # base width of resnet, mobile and super networks
    config_str: str | None = None  # channels of sub and legacy_sub networks
    input_nc: int = 3
    output_nc: int = 3
    norm: str = "instance"
    dropout_rate: float = 0.0

    @property
    def is_supernet(self) -> bool:
        return self.netG.startswith("super_")

    @property
    def config(self) -> ChannelConfig:
        """The channels of the whole network (full width for a supernet)."""
        if self.netG.startswith(("sub_", "legacy_")):
            if not self.config_str:
                raise InputError(f"{self.netG} needs `config_str`")
            return ChannelConfig.parse(self.config_str, legacy=self.netG.startswith("legacy_"))
        return ChannelConfig.uniform(self.ngf)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping) -> GeneratorSpec:
        return cls(**values)

    def build(self) -> nn.Module:
        """A network with PyTorch's default weights; initialise or load it next."""
        if self.netG not in GENERATORS:
            raise InputError(f"`netG` {self.netG} is not one of {', '.join(GENERATORS)}")
        if self.is_supernet:
            if self.norm == "batch":
                raise InputError(
                    "a supernet cannot use `norm` batch (its statistics differ per subnet); use instance"
                )
            return SuperMobileResnetGenerator(
                self.ngf, self.input_nc, self.output_nc, self.norm, self.dropout_rate
            )
        return ResnetGenerator(
            self.config,
            self.input_nc,
            self.output_nc,
            separable=self.netG != "resnet_9blocks",
            norm=self.norm,
            dropout_rate=self.dropout_rate,
        )


# --------------------------------------------------------------------------------------------------
# Reading a network off a bare state dict, as released checkpoints are


def infer_spec(state: Mapping[str, Tensor]) -> GeneratorSpec:
    """The generator whose weights ``state`` holds, from its keys and shapes.

    A full-width mobile network and a supernet have the same shapes; the mobile network is returned, and a caller who knows better
    replaces ``netG``. Likewise ``none`` and ``instance`` norm cannot be told apart: instance is returned.

    Raises:
        InputError: not a nine-block ResNet generator.
    """
    dense, separable = "model.10.conv_block.{}.weight", "model.10.conv_block.{}.conv.2.weight"
    kind = separable if separable.format(1) in state else dense
    inner_keys = [f"model.{i}.conv_block{kind[19:]}".format(1) for i in range(10, 19)]
    needed = [*(f"model.{i}.weight" for i in (1, 4, 7, 19, 22, 26)), *inner_keys]
    missing = [key for key in needed if key not in state or state[key].dim() != 4]
    if missing:
        raise InputError(f"not a 9-block ResNet generator: it has no {missing[0]}")
    stem, down1, trunk = (state[f"model.{i}.weight"].shape[0] for i in (1, 4, 7))
    up1, up2 = (state[f"model.{i}.weight"].shape[1] for i in (19, 22))
    inner = [state[key].shape[0] for key in inner_keys]
    common = dict(
        input_nc=state["model.1.weight"].shape[1],
        output_nc=state["model.26.weight"].shape[0],
        norm="batch" if "model.2.weight" in state else "instance",
    )
    eight = (stem, down1 // 2, trunk // 4, *(inner[i] // 4 for i in (0, 3, 6)), up1 // 2, up2)
    six = (stem, down1 // 2, trunk // 4, inner[0] // 4, up1 // 2, up2)
    if kind == dense:
        candidates = [GeneratorSpec("resnet_9blocks", ngf=stem, **common)]
    else:
        candidates = [
            GeneratorSpec("mobile_resnet_9blocks", ngf=stem, **common),
            GeneratorSpec(
                "sub_mobile_resnet_9blocks", config_str="_".join(map(str, eight)), **common
            ),
            GeneratorSpec(
                "legacy_sub_mobile_resnet_9blocks", config_str="_".join(map(str, six)), **common
            ),
        ]
    found = (stem, down1, trunk, *inner, up1, up2)
    for spec in candidates:
        if tuple(spec.config.widths) == found:
            return spec
    raise InputError(
        f"its channels {'_'.join(map(str, found))} belong to no network of {', '.join(GENERATORS)}"
    )


def resolve_spec(
    found: GeneratorSpec, wanted: Mapping, where: str, prefix: str = ""
) -> GeneratorSpec:
    """The network of a checkpoint, given the flags the user typed.

    Args:
        found:  what the checkpoint says of itself (stored, or `infer_spec`)
        wanted: flag name -> value, only flags that were given explicitly, of netG, ngf, config_str, input_nc, output_nc, norm
        where:  the checkpoint's path, for messages
        prefix: of the netG and ngf flags in the script at hand, e.g. ``student_``

    Flags may name what shapes cannot tell: that a mobile network is a supernet (``netG super_*``), or its norm. A flag that
    contradicts the checkpoint raises InputError naming both. A supernet keeps its spec whatever config_str is: that selects a subnet.
    """
    spec = found
    same_shapes = {
        "mobile_resnet_9blocks",
        "super_mobile_resnet_9blocks",
        "sub_mobile_resnet_9blocks",
    }
    uniform = found.netG in same_shapes and len(set(found.config.full)) == 1
    if (
        "netG" in wanted
        and wanted["netG"] != spec.netG
        and uniform
        and wanted["netG"] in same_shapes
    ):
        width = found.config.full[0]
        spec = replace(
            spec,
            netG=wanted["netG"],
            ngf=None if wanted["netG"].startswith("sub_") else width,
            config_str=str(found.config) if wanted["netG"].startswith("sub_") else None,
        )
    if (wanted.get("netG") or "").startswith("legacy_") and wanted.get("config_str"):
        # Some legacy networks have the shapes of a mobile or sub network: the flags say which it is.
        legacy = replace(spec, netG=wanted["netG"], ngf=None, config_str=wanted["config_str"])
        if legacy.config.widths == spec.config.widths:
            spec = legacy
    if "norm" in wanted and {wanted["norm"], spec.norm} == {"instance", "none"}:
        spec = replace(spec, norm=wanted["norm"])
    for flag in ("netG", "ngf", "config_str", "input_nc", "output_nc", "norm"):
        if flag not in wanted or wanted[flag] is None:
            continue
        have = getattr(spec, flag)
        if flag == "config_str":
            if spec.is_supernet:
                continue
            legacy = spec.netG.startswith("legacy_")
            wanted_widths = ChannelConfig.parse(wanted[flag], legacy=legacy).widths
            if wanted_widths == spec.config.widths:
                continue
            have = str(spec.config)
        if flag == "ngf" and have is None:
            continue  # a network with a config string has no ngf; scripts of old pass one all the same
        if have != wanted[flag]:
            named = f"`{prefix}{flag}`" if flag in ("netG", "ngf") else f"`{flag}`"
            raise InputError(
                f"{named} {wanted[flag]} contradicts the checkpoint {where}, which holds {spec.netG} with {flag} {have}; "
                f"leave the flag out or give {have}"
            )
    return spec


def count_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def explain_mismatch(state: Mapping[str, Tensor], net: nn.Module) -> str | None:
    """What keeps ``state`` from being loaded into ``net``: the keys or shapes that differ, in one line; None if nothing."""
    wanted = net.state_dict()
    missing = [k for k in wanted if k not in state]
    extra = [k for k in state if k not in wanted]
    shapes = [
        f"{k} {list(state[k].shape)} instead of {list(wanted[k].shape)}"
        for k in wanted
        if k in state and torch.is_tensor(state[k]) and state[k].shape != wanted[k].shape
    ]
    parts = []
    for label, keys in (
        ("missing", missing),
        ("not expected", extra),
        ("of another shape:", shapes),
    ):
        if keys:
            parts.append(
                f"{len(keys)} {label} {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}"
            )
    return "; ".join(parts) or None
