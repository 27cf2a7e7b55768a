"""Multiply-accumulates and parameters of a generator in closed form, over arrays of configurations.

Networks are never run to be counted. Two conventions (SPEC 5):
  published  what all published figures and budgets use: a stride-2 transposed conv counted at its output positions (four times too many)
             and one MAC per output element of every normalisation
  exact      the true multiply-accumulates of the convolutions

``python -m metrics.macs CONFIG...`` prints both; without a config, the published table beside what this code computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.config import NUM_BLOCKS, ChannelConfig

# ``no_norm`` is published without the normalisations: figures in print mix the two.
CONVENTIONS = ("published", "exact", "no_norm")


# ---------------------------------------------------------------------------------------------------------
# The closed form. All widths are real channels and may be integers or int64 arrays of shapes that broadcast.


@dataclass(frozen=True)
class Architecture:
    """What a configuration does not say about a generator.

    separable: mobile blocks (True) or dense 3x3 (``resnet_9blocks``)
    norm:      instance | batch | none
    """

    separable: bool = True
    input_nc: int = 3
    output_nc: int = 3
    norm: str = "instance"


@dataclass(frozen=True)
class Channels:
    """Real widths as arrays; blocks enter only through the sum of their inner widths, which their cost is linear in."""

    stem: np.ndarray
    down1: np.ndarray
    trunk: np.ndarray
    inner_sum: np.ndarray
    up1: np.ndarray
    up2: np.ndarray

    @classmethod
    def of_config(cls, config: ChannelConfig) -> Channels:
        w = config.widths
        values = (w.stem, w.down1, w.trunk, sum(w.inner), w.up1, w.up2)
        return cls(*(np.int64(v) for v in values))

    @classmethod
    def of_genes(cls, genes) -> Channels:
        """genes: (..., 8) integers, or a sequence of eight arrays that broadcast (``np.ix_`` of a whole space)."""
        if isinstance(genes, np.ndarray):
            genes = np.moveaxis(genes.astype(np.int64), -1, 0)
        stem, down1, trunk, a, b, c, up1, up2 = genes
        return cls(stem, 2 * down1, 4 * trunk, 12 * (a + b + c), 2 * up1, up2)


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
    half, quarter = full // 4, full // 16  # pixels after one and two stride-2 convs
    at_outputs = convention != "exact"
    blocks = NUM_BLOCKS * c.trunk + c.inner_sum  # channels entering the 18 block convs

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
    if (
        convention == "published" and arch.separable
    ):  # the instance norm inside a separable conv is there whatever `norm` is
        macs = macs + blocks * quarter
    return macs


def count_params(channels: Channels, arch: Architecture = Architecture()):
    """Learnable parameters; int64, the broadcast shape of ``channels``. Equals ``count_parameters`` of the built network."""
    c = channels
    blocks = (
        NUM_BLOCKS * c.trunk + c.inner_sum
    )  # channels entering (and, in another order, leaving) the block convs
    normed = c.stem + c.down1 + c.trunk + c.up1 + c.up2
    params = 49 * arch.input_nc * c.stem + 9 * c.stem * c.down1 + 9 * c.down1 * c.trunk
    params = (
        params
        + 9 * c.trunk * c.up1
        + 9 * c.up1 * c.up2
        + 49 * c.up2 * arch.output_nc
        + arch.output_nc
    )
    # A conv followed by batch norm has no bias; batch norm itself has a weight and a bias.
    per_channel = 2 if arch.norm == "batch" else 1
    params = params + per_channel * normed
    if arch.separable:
        bias_and_norm = blocks + blocks + (2 * blocks if arch.norm == "batch" else 0)
        return params + 9 * blocks + 2 * c.trunk * c.inner_sum + bias_and_norm
    return params + 18 * c.trunk * c.inner_sum + per_channel * blocks


def config_cost(
    config: ChannelConfig,
    arch: Architecture = Architecture(),
    convention: str = "published",
    height: int = 256,
    width: int = 256,
) -> tuple[int, int]:
    """(MACs, parameters) of one configuration as Python integers."""
    channels = Channels.of_config(config)
    return int(count_macs(channels, arch, convention, height, width)), int(
        count_params(channels, arch)
    )
