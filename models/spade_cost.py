"""What SPADE generators cost in closed form, and what a bare state dict says of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from errors import InputError
from models.config import ChannelConfig
from models.cost import CONVENTIONS, held_values
from models.spade import MULTIPLIERS, USUAL, Block, SpadeConfig, SpadeForm, blocks_of

# --------------------------------------------------------------------------------------------------
# Cost


@dataclass(frozen=True)
class SpadeCosts:
    """What a configuration does not say about a SPADE generator; see `models.cost.Costs`.

    In the published convention the instance norm inside a separable convolution costs one MAC per
    element, and so does the product with 1 + gamma; batch norms, which have no weights, and
    doubling the resolution cost nothing. ``no_norm`` leaves out the instance norms alone.
    """

    separable: bool
    input_nc: int = 36
    output_nc: int = 3
    form: SpadeForm = USUAL

    config: ClassVar[type[ChannelConfig]] = SpadeConfig

    def channels(self, genes: SpadeConfig | np.ndarray | Sequence) -> list[Block]:
        """The blocks at real widths: of a configuration, or of (..., 8) integers, or of as many
        arrays that broadcast."""
        if isinstance(genes, ChannelConfig):
            genes = [np.int64(gene) for gene in genes.genes]
        elif isinstance(genes, np.ndarray):
            genes = np.moveaxis(genes.astype(np.int64), -1, 0)
        return blocks_of(genes, self.form.num_upsampling_layers)

    def _norms(self, block: Block) -> list:
        """Channels of each of a block's norms."""
        return [block.fin, block.inner, *([block.fin] if block.shortcut else [])]

    def macs(self, channels: Sequence[Block], convention: str, height: int, width: int):
        if convention not in CONVENTIONS:
            raise ValueError(f"convention must be one of {CONVENTIONS}, not {convention!r}")
        first, last, pixels = channels[0], channels[-1], height * width
        macs = 9 * self.input_nc * first.fin * (pixels // first.scale**2)
        macs = macs + 9 * last.fout * self.output_nc * pixels
        for b in channels:
            area = pixels // b.scale**2
            each = 9 * b.inner * (b.fin + b.fout) + (b.fin * b.fout if b.shortcut else 0)
            for normed in self._norms(b):
                each = each + 9 * self.input_nc * b.hidden
                if self.separable:
                    each = each + 2 * (9 + normed) * b.hidden
                    if convention == "published" and self.form.separable_conv_norm == "instance":
                        each = each + 2 * b.hidden
                else:
                    each = each + 18 * b.hidden * normed
                if convention != "exact":
                    each = each + normed
            macs = macs + each * area
        return macs

    def params(self, channels: Sequence[Block]):
        first, last = channels[0], channels[-1]
        params = (9 * self.input_nc + 1) * first.fin + (9 * last.fout + 1) * self.output_nc
        for b in channels:
            params = params + (9 * b.fin + 1) * b.inner + (9 * b.inner + 1) * b.fout
            params = params + (b.fin * b.fout if b.shortcut else 0)
            for normed in self._norms(b):
                params = params + (9 * self.input_nc + 1) * b.hidden
                if self.separable:
                    of_norm = 2 if self.form.separable_conv_norm == "batch" else 0
                    params = params + 2 * ((10 + of_norm) * b.hidden + (b.hidden + 1) * normed)
                else:
                    params = params + 2 * (9 * b.hidden + 1) * normed
        return params

    def values(self, channels: Sequence[Block], height: int, width: int):
        """A block keeps its input and its shortcut's result; a norm what the labels made of its
        input, and one factor while it makes the other."""
        most, pixels = 0, height * width
        for b in channels:
            area = pixels // b.scale**2
            for normed, kept in ((b.fin, b.fin), (b.inner, b.fin + b.fout)):
                labels = held_values(self.input_nc, b.hidden, kept=kept + normed)
                factor = held_values(b.hidden, normed, kept=kept + 2 * normed)
                most = np.maximum(most, np.maximum(labels, factor) * area)
            convs = [
                held_values(b.fin, b.inner, kept=b.fin + b.fout),
                held_values(b.inner, b.fout, kept=b.fin + b.fout),
            ]
            most = np.maximum(most, np.maximum(*convs) * area)
        # The label map twice, and the image with what is made of it.
        return most + (2 * self.input_nc + 4 * self.output_nc) * pixels


# --------------------------------------------------------------------------------------------------
# Recognising the network of a state dict

_NORM = "head_0.norm_0"
# A tensor of each gene: the convolution whose outputs are as many times it as `MULTIPLIERS` says.
_WIDTHS = ("fc", "head_0.conv_0", "G_middle_0.conv_0", "G_middle_1.conv_0")
_WIDTHS += ("up_0.conv_0", "up_1.conv_0", "up_2.conv_0", "up_3.conv_0")


def read_spade(state: Mapping[str, Tensor], separable: bool, uniform: bool) -> dict | None:
    """The fields of a `GeneratorSpec` that say how the network of ``state`` is built; None where it
    is of another kind.

    Args:
        separable: of the kind looked for
        uniform:   it has one width, ``ngf``; otherwise a config string, and perhaps running
                   statistics as wide as its supernet was

    Raises:
        InputError: no SPADE generator.
    """

    def weight(name: str) -> Tensor:
        found = state.get(f"{name}.weight", state.get(f"{name}.weight_orig"))
        if found is None or found.dim() != 4:
            raise InputError(f"not a SPADE generator: it has no {name}.weight")
        return found

    widths = [weight(name).shape[0] for name in _WIDTHS]
    last = weight("conv_img")
    if (f"{_NORM}.mlp_gamma.conv.0.weight" in state) != separable:
        return None
    if any(width % times for width, times in zip(widths, MULTIPLIERS, strict=True)):
        raise InputError(f"no known SPADE generator has the channels {'_'.join(map(str, widths))}")
    genes = tuple(width // times for width, times in zip(widths, MULTIPLIERS, strict=True))
    # "most" halves the last width once more.
    upsampling = "most" if "up_4.conv_0.bias" in state else "more"
    form = SpadeForm(
        num_upsampling_layers=upsampling,
        separable_conv_norm="batch" if f"{_NORM}.mlp_gamma.conv.1.weight" in state else "instance",
        spectral="head_0.conv_0.weight_orig" in state,
    )
    stored = _stored_width(state, genes, upsampling)
    if uniform and (len(set(genes)) > 1 or stored not in (None, genes[0])):
        return None
    named = {"ngf": genes[0]} if uniform else {"config_str": str(SpadeConfig(genes)), "ngf": stored}
    return named | dict(
        input_nc=weight("fc").shape[1],
        output_nc=last.shape[0],
        norm="instance" if stored is None and _mean(state, _NORM) is None else "batch",
        form=form,
    )


def _mean(state: Mapping[str, Tensor], norm: str) -> Tensor | None:
    return state.get(f"{norm}.param_free_norm.running_mean")


def _stored_width(state: Mapping[str, Tensor], genes: tuple, upsampling: str) -> int | None:
    """The ``ngf`` that running statistics are as wide as; None = they are as wide as the channels,
    or there are none."""
    found = {
        (b.name, norm): mean.shape[0]
        for b in blocks_of(genes, upsampling)
        for norm in ("norm_0", "norm_1")
        if (mean := _mean(state, f"{b.name}.{norm}")) is not None
    }
    own = {
        (b.name, norm): channels
        for b in blocks_of(genes, upsampling)
        for norm, channels in (("norm_0", b.fin), ("norm_1", b.inner))
    }
    if not found or found == own:
        return None
    width = found.get(("head_0", "norm_0"), 0) // MULTIPLIERS[0]
    full = {
        (b.name, norm): channels
        for b in blocks_of((width,) * len(genes), upsampling)
        for norm, channels in (("norm_0", b.fin), ("norm_1", b.inner))
    }
    if found != full:
        raise InputError(
            "a SPADE generator whose running statistics are neither as wide as its channels nor "
            "as those of a supernet"
        )
    return width
