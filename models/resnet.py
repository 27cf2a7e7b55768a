"""The pix2pix ResNet generator and its mobile (separable) form, built from a `ChannelConfig`.

State-dict keys and shapes are a public contract (SPEC 2); `models.layout` says which layer is
where.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from errors import InputError
from models.config import ChannelConfig, Widths
from models.layers import SeparableConv2d, make_norm
from models.layout import (
    DEPTHS,
    DOWN1,
    DROPOUT,
    FIRST_BLOCK,
    FIRST_CONV,
    POINTWISE,
    SECOND_CONV,
    STEM,
    TRUNK,
    Layout,
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
    """Image-to-image ResNet generator.

    Args:
        config:       channels of every layer; ``ChannelConfig.uniform(ngf)`` for a single width
        separable:    blocks of separable convolutions (the mobile networks) or of dense ones
        norm:         instance | batch | none
        dropout_rate: dropout inside the blocks, 0 = none
        blocks:       how many residual blocks, one of `models.layout.DEPTHS`

    forward(x): x N C H W float, clamped to [-1, 1]; H and W multiples of 4. Returns N output_nc H W
    in [-1, 1]; with ``taps=True`` also the list of the four activations at `Layout.taps`.
    """

    def __init__(
        self,
        config: ChannelConfig,
        input_nc: int = 3,
        output_nc: int = 3,
        separable: bool = True,
        norm: str = "instance",
        dropout_rate: float = 0.0,
        blocks: int = 9,
    ):
        super().__init__()
        self.layout = Layout(blocks)
        w = config.widths(blocks)
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
            if taps and index in self.layout.taps:
                tapped.append(x)
        return (x, tapped) if taps else x

    @property
    def reach(self) -> int:
        return self.layout.reach

    def tap(self, x: Tensor) -> list[Tensor]:
        """Only the activations at `Layout.taps`; the layers after the last are not run."""
        x = x.clamp(-1, 1)
        tapped, wanted = [], self.layout.taps
        for index in range(wanted[-1] + 1):
            x = self.model[index](x)
            if index in wanted:
                tapped.append(x)
        return tapped


# --------------------------------------------------------------------------------------------------
# Recognising the network of a state dict


def with_dropout_places(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state dict with the keys that blocks have here, where dropout always has its place.

    pix2pix and CycleGAN in PyTorch leave the module out of networks without dropout. All that comes
    after it in a block then has a number that is one lower.
    """
    without = f"model.{FIRST_BLOCK}.conv_block.{SECOND_CONV - 1}.weight"
    if without not in state or state[without].dim() != 4:
        return state
    moved: dict[str, Tensor] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(model\.\d+\.conv_block\.)(\d+)(\..*)", key)
        if match and int(match[2]) > DROPOUT:
            key = f"{match[1]}{int(match[2]) + 1}{match[3]}"
        moved[key] = value
    return moved


def count_blocks(state: Mapping[str, Tensor]) -> int:
    """How many residual blocks the network of ``state`` has: the last one's place; 0 = none."""
    found = (re.match(r"model\.(\d+)\.conv_block\.", key) for key in state)
    last = max((int(match[1]) for match in found if match), default=FIRST_BLOCK - 1)
    return last - FIRST_BLOCK + 1


def read_channels(
    state: Mapping[str, Tensor],
    separable: bool,
    uniform: bool = False,
    legacy: bool = False,
    blocks: int = 9,
) -> dict | None:
    """The fields of a `GeneratorSpec` that say how the network of ``state`` is built; None where it
    is a ResNet of another depth.

    Args:
        separable: the kind looked for has separable convolutions
        uniform:   it has one width, ``ngf``; otherwise a config string
        legacy:    the config string is that of early releases
        blocks:    it has this number of residual blocks

    Raises:
        InputError: not a ResNet, or of another kind than the one looked for.
    """
    found, layout = count_blocks(state), Layout(blocks)
    if found in DEPTHS and found != blocks:
        return None
    if found and found not in DEPTHS:
        known = " and ".join(map(str, sorted(DEPTHS)))
        raise InputError(f"a ResNet generator of {found} blocks; known are those of {known}")
    pointwise = f"conv_block.{FIRST_CONV}.conv.{POINTWISE}.weight"
    found_separable = f"model.{FIRST_BLOCK}.{pointwise}" in state
    first = pointwise if found_separable else f"conv_block.{FIRST_CONV}.weight"
    inner_keys = [f"model.{i}.{first}" for i in layout.blocks]
    needed = [*(f"model.{i}.weight" for i in (*layout.convs, layout.last)), *inner_keys]
    missing = [key for key in needed if key not in state or state[key].dim() != 4]
    if missing:
        which = f"{blocks}-block ResNet" if found else "ResNet"
        raise InputError(f"not a {which} generator: it has no {missing[0]}")

    def channels(layer: int, axis: int = 0) -> int:
        return state[f"model.{layer}.weight"].shape[axis]

    widths = Widths(
        stem=channels(STEM),
        down1=channels(DOWN1),
        trunk=channels(TRUNK),
        inner=tuple(state[key].shape[0] for key in inner_keys),
        # The weights of transposed convolutions are in, out, kh, kw.
        up1=channels(layout.up1, axis=1),
        up2=channels(layout.up2, axis=1),
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
        output_nc=channels(layout.last),
        norm="batch" if f"model.{STEM + 1}.weight" in state else "instance",
    )
