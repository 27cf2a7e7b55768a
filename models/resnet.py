"""The pix2pix ResNet generator and its mobile (separable) form, built from a `ChannelConfig`.

State-dict keys and shapes are a public contract (SPEC 2); `models.layout` says which layer is
where.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from errors import InputError
from models.config import ChannelConfig, Widths
from models.layers import SeparableConv2d, make_norm
from models.layout import (
    BLOCKS,
    CONVS,
    DOWN1,
    FIRST_CONV,
    LAST,
    POINTWISE,
    STEM,
    TAPS,
    TRUNK,
    UP1,
    UP2,
)

# --------------------------------------------------------------------------------------------------
# Residual block


class ResnetBlock(nn.Module):
    """x + conv(relu(conv(x))), both 3x3 with reflection padding; no ReLU after the sum."""

    def __init__(self, trunk: int, inner: int, norm: str, dropout_rate: float, separable: bool):
        super().__init__()
        bias = norm != "batch"

        def conv3(cin, cout):
            return SeparableConv2d(cin, cout) if separable else nn.Conv2d(cin, cout, 3, bias=bias)

        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            conv3(trunk, inner),
            make_norm(norm, inner),
            nn.ReLU(True),
            nn.Dropout(dropout_rate),
            nn.ReflectionPad2d(1),
            conv3(inner, trunk),
            make_norm(norm, trunk),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


# --------------------------------------------------------------------------------------------------
# Generator


class ResnetGenerator(nn.Module):
    """Image-to-image ResNet generator with nine blocks.

    Args:
        config:       channels of every layer; ``ChannelConfig.uniform(ngf)`` for a single width
        separable:    blocks of separable convolutions (the mobile networks) or of dense ones
        norm:         instance | batch | none
        dropout_rate: dropout inside the blocks, 0 = none

    forward(x): x N C H W float, clamped to [-1, 1]; H and W multiples of 4. Returns N output_nc H W
    in [-1, 1]; with ``taps=True`` also the list of the four activations at `TAPS`.
    """

    def __init__(
        self,
        config: ChannelConfig,
        input_nc: int = 3,
        output_nc: int = 3,
        separable: bool = True,
        norm: str = "instance",
        dropout_rate: float = 0.0,
    ):
        super().__init__()
        w = config.widths
        bias = norm != "batch"
        down = dict(kernel_size=3, stride=2, padding=1, bias=bias)
        up = dict(kernel_size=3, stride=2, padding=1, output_padding=1, bias=bias)
        self.model = nn.Sequential(
            *(nn.ReflectionPad2d(3), nn.Conv2d(input_nc, w.stem, 7, bias=bias)),
            *(make_norm(norm, w.stem), nn.ReLU(True)),
            *(nn.Conv2d(w.stem, w.down1, **down), make_norm(norm, w.down1), nn.ReLU(True)),
            *(nn.Conv2d(w.down1, w.trunk, **down), make_norm(norm, w.trunk), nn.ReLU(True)),
            *(ResnetBlock(w.trunk, inner, norm, dropout_rate, separable) for inner in w.inner),
            *(nn.ConvTranspose2d(w.trunk, w.up1, **up), make_norm(norm, w.up1), nn.ReLU(True)),
            *(nn.ConvTranspose2d(w.up1, w.up2, **up), make_norm(norm, w.up2), nn.ReLU(True)),
            *(nn.ReflectionPad2d(3), nn.Conv2d(w.up2, output_nc, 7), nn.Tanh()),
        )

    def forward(self, x: Tensor, taps: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        x = x.clamp(-1, 1)
        tapped = []
        for index, layer in enumerate(self.model):
            x = layer(x)
            if taps and index in TAPS:
                tapped.append(x)
        return (x, tapped) if taps else x

    def tap(self, x: Tensor) -> list[Tensor]:
        """Only the activations at `TAPS`; the layers after the last are not run."""
        x = x.clamp(-1, 1)
        tapped = []
        for index in range(TAPS[-1] + 1):
            x = self.model[index](x)
            if index in TAPS:
                tapped.append(x)
        return tapped


# --------------------------------------------------------------------------------------------------
# Recognising the network of a state dict


def read_channels(
    state: Mapping[str, Tensor], separable: bool, uniform: bool = False, legacy: bool = False
) -> dict:
    """The fields of a `GeneratorSpec` that say how the network of ``state`` is built.

    Args:
        separable: the kind looked for has separable convolutions
        uniform:   it has one width, ``ngf``; otherwise a config string
        legacy:    the config string is that of early releases

    Raises:
        InputError: not a nine-block ResNet, or of another kind than the one looked for.
    """
    pointwise = f"conv_block.{FIRST_CONV}.conv.{POINTWISE}.weight"
    found_separable = f"model.{BLOCKS[0]}.{pointwise}" in state
    first = pointwise if found_separable else f"conv_block.{FIRST_CONV}.weight"
    inner_keys = [f"model.{i}.{first}" for i in BLOCKS]
    needed = [*(f"model.{i}.weight" for i in (*CONVS, LAST)), *inner_keys]
    missing = [key for key in needed if key not in state or state[key].dim() != 4]
    if missing:
        raise InputError(f"not a 9-block ResNet generator: it has no {missing[0]}")

    def channels(layer: int, axis: int = 0) -> int:
        return state[f"model.{layer}.weight"].shape[axis]

    widths = Widths(
        stem=channels(STEM),
        down1=channels(DOWN1),
        trunk=channels(TRUNK),
        inner=tuple(state[key].shape[0] for key in inner_keys),
        # The weights of transposed convolutions are in, out, kh, kw.
        up1=channels(UP1, axis=1),
        up2=channels(UP2, axis=1),
    )
    config = ChannelConfig.from_widths(widths, legacy)
    fits = config is not None and found_separable == separable
    if fits and uniform:
        fits = config == ChannelConfig.uniform(config.genes[0])
    if not fits:
        found = "_".join(map(str, widths))
        blocks = "separable" if found_separable else "dense"
        raise InputError(f"no known generator has the channels {found} with {blocks} blocks")
    named = {"ngf": config.genes[0]} if uniform else {"config_str": str(config)}
    return named | dict(
        input_nc=channels(STEM, axis=1),
        output_nc=channels(LAST),
        norm="batch" if f"model.{STEM + 1}.weight" in state else "instance",
    )
