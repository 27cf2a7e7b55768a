"""Where each layer of a nine-block ResNet generator stands, and how wide its genes make it.

An index is the ``i`` of the state-dict key ``model.<i>``, which is a public contract (SPEC 2).
"""

from __future__ import annotations

# The 7x7 convolution that sees the image, and the two of stride 2 after it.
STEM, DOWN1, TRUNK = 1, 4, 7
BLOCKS = tuple(range(10, 19))
# The two transposed convolutions, and the 7x7 convolution that makes the image.
UP1, UP2, LAST = 19, 22, 26

# Where teacher and student are compared during distillation: the end of the downsampling, then of
# each group of three blocks (paper section 3.2).
TAPS = (9, 12, 15, 18)

# Convolutions outside the blocks whose output channels a configuration decides.
CONVS = (STEM, DOWN1, TRUNK, UP1, UP2)
# Every layer that a configuration decides, in the order of `models.config.Widths`.
ELASTIC = (STEM, DOWN1, TRUNK, *BLOCKS, UP1, UP2)

# Inside a block: its two 3x3 convolutions, each followed by its norm.
FIRST_CONV, SECOND_CONV, DROPOUT = 1, 6, 4
# Inside a separable convolution: a depthwise 3x3, a norm, a pointwise 1x1.
DEPTHWISE, POINTWISE = 0, 2

# How much wider an expansion block is inside; only `models.deepest` has any.
EXPANSION = 4

# --------------------------------------------------------------------------------------------------
# Genes

GENE_NAMES = ("stem", "down1", "trunk", "inner0-2", "inner3-5", "inner6-8", "up1", "up2")
# Real channels are a gene times its multiplier. The first and the last layers run at full
# resolution and are kept narrow.
MULTIPLIERS = (1, 2, 4, 4, 4, 4, 2, 1)
# Three neighbouring blocks share one gene.
BLOCKS_PER_GENE = 3


def real_channels(genes) -> tuple:
    """Eight genes (integers or arrays of any shape) -> eight real widths of the same type."""
    return tuple(gene * times for gene, times in zip(genes, MULTIPLIERS, strict=True))
