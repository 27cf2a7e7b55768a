"""MACs and parameters of generators in closed form, over arrays of configurations.

Networks are never run to be counted. Two conventions (SPEC 5):
  published  what all published figures and budgets use: a transposed convolution of stride 2 is
             counted at its output positions (four times its true cost), and every normalisation
             costs one MAC per element of its output
  exact      the true multiply-accumulates of the convolutions

``python -m metrics.macs CONFIG...`` prints both; without a configuration, the published table
beside what this code computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Protocol

import numpy as np

from models.config import ChannelConfig
from models.layout import EXPANSION, GROUPS, real_channels

# ``no_norm`` is ``published`` without the normalisations: printed figures use either.
CONVENTIONS = ("published", "exact", "no_norm")


class Costs(Protocol):
    """What a family of networks says about the cost of its configurations.

    config: what its configurations are

    ``channels`` makes what the other two take: from a configuration; from genes, (..., genes)
    integers; or from as many arrays that broadcast (``np.ix_`` of a space). Those return int64 of
    the broadcast shape: MACs of one image of ``height`` x ``width`` pixels in a convention of
    `CONVENTIONS`, and learnable parameters.
    """

    config: type[ChannelConfig]

    def channels(self, genes) -> Any: ...

    def macs(self, channels: Any, convention: str, height: int, width: int): ...

    def params(self, channels: Any): ...

    # Of one image: float32 values that a plain pass in evaluation mode holds at most at a time; see
    # `held_values`.
    def values(self, channels: Any, height: int, width: int): ...


# --------------------------------------------------------------------------------------------------
# ResNets in closed form. All widths are real channels: integers, or int64 arrays that broadcast.


@dataclass(frozen=True)
class Architecture:
    """What a configuration does not say about a ResNet generator; see `Costs`.

    separable: mobile blocks (True) or dense 3x3 (``resnet_9blocks``)
    norm:      instance | batch | none
    expanded:  with the expansion blocks and further convolutions of `models.deepest`, at the same
               channels elsewhere
    blocks:    how many residual blocks
    """

    separable: bool = True
    input_nc: int = 3
    output_nc: int = 3
    norm: str = "instance"
    expanded: bool = False
    blocks: int = 9

    config: ClassVar[type[ChannelConfig]] = ChannelConfig

    def channels(self, genes) -> Channels:
        single = isinstance(genes, ChannelConfig)
        make = Channels.of_config if single else Channels.of_genes
        return make(genes, self.blocks)

    def macs(self, channels: Channels, convention: str, height: int, width: int):
        return count_macs(channels, self, convention, height, width)

    def params(self, channels: Channels):
        return count_params(channels, self)

    def values(self, channels: Channels, height: int, width: int):
        return count_values(channels, self, height, width)


@dataclass(frozen=True)
class Channels:
    """Real widths as int64 arrays.

    The cost of the blocks is linear in their inner widths, so only the sum of these counts; for the
    memory of a pass, the widest.
    ``blocks``, in what makes them: how many residual blocks there are.
    """

    stem: np.ndarray
    down1: np.ndarray
    trunk: np.ndarray
    inner_sum: np.ndarray
    inner_most: np.ndarray
    up1: np.ndarray
    up2: np.ndarray

    @classmethod
    def of_config(cls, config: ChannelConfig, blocks: int = 9) -> Channels:
        w = config.widths(blocks)
        values = (w.stem, w.down1, w.trunk, sum(w.inner), max(w.inner), w.up1, w.up2)
        return cls(*(np.int64(v) for v in values))

    @classmethod
    def of_genes(cls, genes, blocks: int = 9) -> Channels:
        """From genes: (..., 8) integers, or eight arrays that broadcast (``np.ix_`` of a space)."""
        if isinstance(genes, np.ndarray):
            genes = np.moveaxis(genes.astype(np.int64), -1, 0)
        stem, down1, trunk, *groups, up1, up2 = real_channels(genes)
        inner_sum, inner_most = blocks // GROUPS * sum(groups), reduce(np.maximum, groups)
        return cls(stem, down1, trunk, inner_sum, inner_most, up1, up2)


def count_macs(
    channels: Channels,
    arch: Architecture = Architecture(),
    convention: str = "published",
    height: int = 256,
    width: int = 256,
):
    """Multiply-accumulates of one image; int64, the broadcast shape of ``channels``.

    Args:
        height, width: input size in pixels; multiples of 4
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {CONVENTIONS}, not {convention!r}")
    c, full = channels, height * width
    # Pixels after one and after two convolutions of stride 2.
    half, quarter = full // 4, full // 16
    at_outputs = convention != "exact"
    # Channels that enter the convolutions of the blocks.
    blocks = arch.blocks * c.trunk + c.inner_sum

    macs = 49 * arch.input_nc * c.stem * full
    macs = macs + 9 * c.stem * c.down1 * half
    macs = macs + 9 * c.down1 * c.trunk * quarter
    if arch.separable:
        macs = macs + (9 * blocks + 2 * c.trunk * c.inner_sum) * quarter
    else:
        macs = macs + 18 * c.trunk * c.inner_sum * quarter
    macs = macs + 9 * c.trunk * c.up1 * (half if at_outputs else quarter)
    macs = macs + 9 * c.up1 * c.up2 * (full if at_outputs else half)
    macs = macs + 49 * c.up2 * arch.output_nc * full
    if convention == "published" and arch.norm != "none":
        macs = (
            macs + (c.stem + c.up2) * full + (c.down1 + c.up1) * half + (c.trunk + blocks) * quarter
        )
    # The instance norm inside a separable convolution is there whatever `norm` is.
    if convention == "published" and arch.separable:
        macs = macs + blocks * quarter
    if arch.expanded:
        normed = convention == "published" and arch.norm != "none"
        for scale, channels, expansions, convs in _expanded(c):
            size = height // scale, width // scale
            macs = macs + expansions * _expansion_macs(channels, *size, normed)
            macs = macs + convs * (9 * channels + normed) * channels * size[0] * size[1]
    return macs


def _expanded(c: Channels) -> tuple[tuple, ...]:
    """What `models.deepest` has more than a mobile network, as (downsampling, channels, expansion
    blocks, 3x3 convolutions) of each resolution on the way down, then up."""
    return (2, c.down1, 1, 1), (4, c.trunk, 3, 1), (2, c.up1, 1, 1), (1, c.up2, 1, 1)


def _expansion_macs(channels, height: int, width: int, normed: bool):
    """Of an expansion block, whose first convolution and norm see the border too."""
    inside, padded, wide = height * width, (height + 2) * (width + 2), EXPANSION * channels
    dense = 9 * wide * wide + wide * channels + 9 * channels * channels
    macs = channels * wide * padded + dense * inside
    return macs + normed * (wide * padded + (wide + 2 * channels) * inside)


def count_params(channels: Channels, arch: Architecture = Architecture()):
    """Learnable parameters; int64, the broadcast shape of ``channels``.

    Equals ``count_parameters`` of the built network.
    """
    c = channels
    # Channels that enter (and, in another order, leave) the convolutions of the blocks.
    blocks = arch.blocks * c.trunk + c.inner_sum
    normed = c.stem + c.down1 + c.trunk + c.up1 + c.up2
    params = 49 * arch.input_nc * c.stem + 9 * c.stem * c.down1 + 9 * c.down1 * c.trunk
    params = (
        params
        + 9 * c.trunk * c.up1
        + 9 * c.up1 * c.up2
        + 49 * c.up2 * arch.output_nc
        + arch.output_nc
    )
    # A convolution before a batch norm has no bias; the norm itself has a weight and a bias.
    per_channel = 2 if arch.norm == "batch" else 1
    params = params + per_channel * normed
    if arch.expanded:
        for _, channels, expansions, convs in _expanded(c):
            wide, dense = EXPANSION * channels, 9 * channels * channels
            block = 9 * wide * wide + 2 * wide * channels + dense
            params = params + expansions * (block + per_channel * 2 * (wide + channels))
            params = params + convs * (dense + per_channel * channels)
    if arch.separable:
        bias_and_norm = blocks + blocks + (2 * blocks if arch.norm == "batch" else 0)
        return params + 9 * blocks + 2 * c.trunk * c.inner_sum + bias_and_norm
    return params + 18 * c.trunk * c.inner_sum + per_channel * blocks


# --------------------------------------------------------------------------------------------------
# Memory of a pass


def held_values(read, made, kept=0, columns=None):
    """float32 values that are held while a convolution runs.

    Counted are its input and output, twice each, since the libraries that compute it copy both into
    a layout of their own, and what is ``kept`` beside it. A transposed convolution copies neither
    on CPUs, but unfolds its input into ``columns``.

    Args:
        read, made, kept, columns: values of one image; ``columns`` None = no transposed convolution
    """
    return read + made + kept + (read + made if columns is None else columns)


def count_values(channels: Channels, arch: Architecture, height: int, width: int):
    """float32 values that a plain pass over one image holds at most at a time; int64, the broadcast
    shape of ``channels``.

    Nothing is stored for gradients, so it is the step that needs most that counts, see
    `held_values`. Norms and paddings need their input and output. The image itself counts four
    times (given, padded, clamped, padded again), and so does the output.
    """
    c, full = channels, height * width
    half, quarter = full // 4, full // 16
    inner = c.inner_most
    wide = inner if not arch.separable else np.maximum(inner, c.trunk)
    steps = [
        held_values(arch.input_nc * full, c.stem * full),
        held_values(c.stem * full, c.down1 * half),
        held_values(c.down1 * half, c.trunk * quarter),
        held_values(c.trunk * quarter, wide * quarter, kept=c.trunk * quarter),
        held_values(c.trunk * quarter, c.up1 * half, columns=9 * c.up1 * quarter),
        held_values(c.up1 * half, c.up2 * full, columns=9 * c.up2 * half),
        held_values(c.up2 * full, arch.output_nc * full, kept=c.up2 * full),
    ]
    if arch.expanded:
        for scale, channels, _, _ in _expanded(c):
            area = (height // scale) * (width // scale)
            inside = EXPANSION * channels * area
            steps.append(held_values(inside, inside, kept=channels * area))
    images = 4 * (arch.input_nc + arch.output_nc) * full
    return reduce(np.maximum, steps) + images


def config_values(config: ChannelConfig, arch: Costs, height: int, width: int) -> int:
    """`Costs.values` of one configuration as a Python integer."""
    return int(arch.values(arch.channels(config), height, width))


def config_cost(
    config: ChannelConfig,
    arch: Costs = Architecture(),
    convention: str = "published",
    height: int = 256,
    width: int = 256,
) -> tuple[int, int]:
    """(MACs, parameters) of one configuration as Python integers."""
    channels = arch.channels(config)
    return int(arch.macs(channels, convention, height, width)), int(arch.params(channels))
