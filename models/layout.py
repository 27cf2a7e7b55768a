"""Where each layer of a ResNet generator stands, and how wide its genes make it.

An index is the ``i`` of the state-dict key ``model.<i>``, which is a public contract (SPEC 2).
"""

from __future__ import annotations

from dataclasses import dataclass

# The 7x7 convolution that sees the image, and the two of stride 2 after it.
STEM, DOWN1, TRUNK = 1, 4, 7
FIRST_BLOCK = 10

# Numbers of residual blocks that a generator may have. They form three groups.
DEPTHS = (9, 6)
GROUPS = 3
# Where teacher and student are compared during distillation: the end of the downsampling, then of
# each group of blocks (paper section 3.2).
TAP_COUNT = 1 + GROUPS


@dataclass(frozen=True)
class Layout:
    """Where the layers after the downsampling stand, which depends on the number of blocks.

    Args:
        count: of residual blocks, one of `DEPTHS`
    """

    count: int = 9

    @property
    def blocks(self) -> range:
        return range(FIRST_BLOCK, FIRST_BLOCK + self.count)

    @property
    def up1(self) -> int:
        """The first transposed convolution."""
        return FIRST_BLOCK + self.count

    @property
    def up2(self) -> int:
        """The second transposed convolution."""
        return self.up1 + 3

    @property
    def last(self) -> int:
        """The 7x7 convolution that makes the image."""
        return self.up2 + 4

    @property
    def reach(self) -> int:
        """How far from an output pixel the input pixels are that it depends on, at most [px].

        In closed form: an output pixel depends on 3 pixels to either side before the last 7x7
        convolution. The two transposed convolutions take these to a quarter of the resolution,
        rounded outwards: 6 pixels at most. Each 3x3 convolution of the blocks adds 4, and the
        convolutions that read the image add 1 + 2 + 3.
        """
        return 6 + 4 * 2 * self.count + 6

    @property
    def taps(self) -> tuple[int, ...]:
        """The layers at whose output distillation compares, see `TAP_COUNT`."""
        before, group = FIRST_BLOCK - 1, self.count // GROUPS
        return tuple(before + group * n for n in range(TAP_COUNT))

    @property
    def convs(self) -> tuple[int, ...]:
        """Convolutions outside the blocks whose output channels a configuration decides."""
        return STEM, DOWN1, TRUNK, self.up1, self.up2

    @property
    def elastic(self) -> tuple[int, ...]:
        """Every layer that a configuration decides, in the order of `models.config.Widths`."""
        return STEM, DOWN1, TRUNK, *self.blocks, self.up1, self.up2


# Inside a block: its two 3x3 convolutions, each followed by its norm.
FIRST_CONV, SECOND_CONV, DROPOUT = 1, 6, 4
# Inside a separable convolution: a depthwise 3x3, a norm, a pointwise 1x1.
DEPTHWISE, POINTWISE = 0, 2

# How much wider an expansion block is inside; only `models.deepest` has any.
EXPANSION = 4

# --------------------------------------------------------------------------------------------------
# Genes

# The three in the middle are of the groups of blocks, here numbered as nine.
GENE_NAMES = ("stem", "down1", "trunk", "inner0-2", "inner3-5", "inner6-8", "up1", "up2")
# Real channels are a gene times its multiplier. The first and the last layers run at full
# resolution and are kept narrow.
MULTIPLIERS = (1, 2, 4, 4, 4, 4, 2, 1)


def real_channels(genes) -> tuple:
    """Eight genes (integers or arrays of any shape) -> eight real widths of the same type."""
    return tuple(gene * times for gene, times in zip(genes, MULTIPLIERS, strict=True))
