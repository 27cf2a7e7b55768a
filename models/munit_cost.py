"""What MUNIT generators cost in closed form, and what a bare state dict says of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np
from torch import Tensor

from errors import InputError
from models.config import ChannelConfig
from models.cost import CONVENTIONS, held_values
from models.munit import MULTIPLIERS, USUAL, MunitConfig, MunitForm, MunitWidths

# --------------------------------------------------------------------------------------------------
# Cost


@dataclass(frozen=True)
class Conv:
    """A convolution: its channels are integers, or int64 arrays that broadcast.

    scale, out_scale: its input and output are that many times smaller than the image
    main:   it is separable where the network is
    normed: an instance norm without weights follows, which is not adaptive
    kept:   channels that are kept beside it, as large as its input
    """

    kernel: int
    fin: object
    fout: object
    scale: int
    out_scale: int
    main: bool = False
    normed: bool = False
    kept: object = 0


@dataclass(frozen=True)
class MunitCosts:
    """What a configuration does not say about a MUNIT generator; see `models.cost.Costs`.

    The published convention counts an image that gets the style of an image: one MAC per element of
    an instance norm without weights, per factor of a layer norm and for its mean, and per value
    that the style encoder averages at its end; and the perceptron's. Adaptive norms cost nothing.
    ``no_norm`` leaves out the norms. Of a network without a style encoder that part is missing.
    """

    separable: bool
    input_nc: int = 3
    output_nc: int = 3
    form: MunitForm = USUAL

    config: ClassVar[type[ChannelConfig]] = MunitConfig

    def channels(self, genes: MunitConfig | np.ndarray | Sequence) -> MunitWidths:
        """Real widths: of a configuration, or of (..., 10) integers, or of as many arrays that
        broadcast."""
        if isinstance(genes, ChannelConfig):
            genes = [np.int64(gene) for gene in genes.genes]
        elif isinstance(genes, np.ndarray):
            genes = np.moveaxis(genes.astype(np.int64), -1, 0)
        return MunitWidths.of(genes)

    def _convs(self, w: MunitWidths) -> Iterator[Conv]:
        """All but the last of the style encoder, in the order in which they run."""
        if self.form.style_encoder:
            fin, scale = self.input_nc, 1
            for index, fout in enumerate(w.styles):
                out_scale = 2**index
                yield Conv(4 if index else 7, fin, fout, scale, out_scale)
                fin, scale = fout, out_scale
        yield Conv(7, self.input_nc, w.stem, 1, 1, normed=True)
        yield Conv(4, w.stem, w.down, 1, 2, normed=True)
        yield Conv(4, w.down, w.trunk, 2, 4, normed=True)
        for normed, widths in ((True, w.content), (False, w.decoder)):
            for inner in widths:
                block = dict(scale=4, out_scale=4, main=True, normed=normed, kept=w.trunk)
                yield Conv(3, w.trunk, inner, **block)
                yield Conv(3, inner, w.trunk, **block)
        yield Conv(5, w.trunk, w.up0, 2, 2, main=True)
        yield Conv(5, w.up0, w.up1, 1, 1, main=True)
        yield Conv(7, w.up1, self.output_nc, 1, 1)

    def _factors(self, w: MunitWidths):
        """Outputs of the perceptron."""
        return 2 * sum(w.adaptive)

    def macs(self, channels: MunitWidths, convention: str, height: int, width: int):
        if convention not in CONVENTIONS:
            raise ValueError(f"convention must be one of {CONVENTIONS}, not {convention!r}")
        w, macs, norms = channels, np.int64(0), convention == "published"
        for c in self._convs(w):
            area = (height // c.out_scale) * (width // c.out_scale)
            if c.main and self.separable:
                each = c.fin * (c.kernel**2 + c.fout + norms)
            else:
                each = c.kernel**2 * c.fin * c.fout
            macs = macs + (each + (norms and c.normed) * c.fout) * area
        if self.form.style_encoder:
            pooled = w.styles[-1]
            macs = macs + pooled * self.form.style_dim + (convention != "exact") * pooled
        if convention == "exact":
            return macs
        style_dim, hidden = self.form.style_dim, self.form.mlp_dim
        macs = macs + (style_dim + hidden) * hidden + hidden * self._factors(w)
        if norms:
            macs = macs + (w.up0 * (height // 2) * (width // 2) + w.up1 * height * width + 2)
        return macs

    def params(self, channels: MunitWidths):
        w, params = channels, np.int64(0)
        for c in self._convs(w):
            if c.main and self.separable:
                params = params + c.fin * (c.kernel**2 + 1) + (c.fin + 1) * c.fout
            else:
                params = params + (c.kernel**2 * c.fin + 1) * c.fout
        style_dim, hidden = self.form.style_dim, self.form.mlp_dim
        if self.form.style_encoder:
            params = params + (w.styles[-1] + 1) * style_dim
        params = params + (style_dim + 1 + hidden + 1) * hidden + (hidden + 1) * self._factors(w)
        return params + 2 * (w.up0 + w.up1)

    def values(self, channels: MunitWidths, height: int, width: int):
        steps = []
        for c in self._convs(channels):
            area = (height // c.scale) * (width // c.scale)
            made = np.maximum(c.fin, c.fout) if c.main and self.separable else c.fout
            made = made * ((height // c.out_scale) * (width // c.out_scale))
            steps.append(held_values(c.fin * area, made, kept=c.kept * area))
        images = 4 * (self.input_nc + self.output_nc) * height * width
        return reduce(np.maximum, steps) + images


# --------------------------------------------------------------------------------------------------
# Recognising the network of a state dict

_INNER = "enc_content.model.3.model.0.model.0.conv"


def read_munit(state: Mapping[str, Tensor], separable: bool, uniform: bool) -> dict | None:
    """The fields of a `GeneratorSpec` that say how the network of ``state`` is built; None where it
    is of another kind.

    Without a style encoder, its gene is that of the stem: nothing is built of it.

    Args:
        separable: of the kind looked for
        uniform:   it has one width, ``ngf``; otherwise a config string

    Raises:
        InputError: no MUNIT generator.
    """

    def weight(name: str, dims: int = 4) -> Tensor:
        found = state.get(f"{name}.weight")
        if found is None or found.dim() != dims:
            raise InputError(f"not a MUNIT generator: it has no {name}.weight")
        return found

    if f"{_INNER}.weight" not in state and f"{_INNER}.conv.0.weight" not in state:
        raise InputError(f"not a MUNIT generator: it has no {_INNER}.weight")
    if (f"{_INNER}.conv.0.weight" in state) != separable:
        return None
    main = ".conv.2" if separable else ""
    stem = weight("enc_content.model.0.conv")
    has_style = "enc_style.model.0.conv.weight" in state
    style = weight("enc_style.model.0.conv") if has_style else stem
    inner = [
        weight(f"{part}.model.{block}.model.0.conv{main}").shape[0]
        for part in ("enc_content.model.3", "dec.model.0")
        for block in range(4)
    ]
    last, first_fc = weight("dec.model.5.conv"), weight("mlp.model.0.fc", 2)
    widths = (
        *(style.shape[0], stem.shape[0], weight("enc_content.model.1.conv").shape[0]),
        weight("enc_content.model.2.conv").shape[0],
        *inner[::2],
        *(weight(f"dec.model.{layer}.conv{main}").shape[0] for layer in (2, 4)),
    )
    divisible = not any(w % times for w, times in zip(widths, MULTIPLIERS, strict=True))
    if not divisible or inner[::2] != inner[1::2]:
        listed = "_".join(map(str, (*widths[:4], *inner, *widths[8:])))
        raise InputError(f"no known MUNIT generator has the channels {listed}")
    genes = tuple(width // times for width, times in zip(widths, MULTIPLIERS, strict=True))
    if uniform and len(set(genes)) > 1:
        return None
    named = {"ngf": genes[0]} if uniform else {"config_str": str(MunitConfig(genes))}
    hidden, style_dim = first_fc.shape
    return named | dict(
        input_nc=stem.shape[1],
        output_nc=last.shape[0],
        form=MunitForm(style_dim, hidden, has_style),
    )
