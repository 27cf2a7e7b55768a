"""Channel configurations: the string such as ``16_16_40_40_40_64_24_16`` that names a subnet.

One idea, one place: networks, cost, search and export all read a configuration through `ChannelConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass

from errors import InputError

# Real channels = gene times multiplier: stem, down1, trunk, inner 0-2, inner 3-5, inner 6-8, up1, up2.
MULTIPLIERS = (1, 2, 4, 4, 4, 4, 2, 1)
GENE_NAMES = ("stem", "down1", "trunk", "inner0-2", "inner3-5", "inner6-8", "up1", "up2")
NUM_BLOCKS = 9


# --------------------------------------------------------------------------------------------------
# Real widths: what a network is built from. Every convolution's channels follow from these.


@dataclass(frozen=True)
class Widths:
    """Real channel counts of a ResNet generator (SPEC 2)."""

    stem: int  # out of the first 7x7 conv
    down1: int  # out of the first stride-2 conv
    trunk: int  # out of the second stride-2 conv = in and out of every residual block
    inner: tuple[int, ...]  # between the two convs of each of the nine blocks
    up1: int  # out of the first transposed conv
    up2: int  # out of the second transposed conv = in of the last 7x7 conv

    def __iter__(self):
        """In network order: stem, down1, trunk, inner x 9, up1, up2."""
        return iter((self.stem, self.down1, self.trunk, *self.inner, self.up1, self.up2))


# --------------------------------------------------------------------------------------------------
# The configuration


@dataclass(frozen=True)
class ChannelConfig:
    """Eight base widths (or six: one inner width for all nine blocks); hashable, ordered as in the string.

    ``legacy`` changes what six integers mean (the ``legacy_sub_*`` networks of early releases): only the
    first block of each group of three has the inner width, the other two have the trunk's.
    """

    genes: tuple[int, ...]
    legacy: bool = False

    def __post_init__(self):
        if len(self.genes) not in ((6,) if self.legacy else (6, 8)):
            wanted = "6 (legacy network), e.g. 32_32_40_48_16_32"
            if not self.legacy:
                wanted = "8 (or 6: one inner width for all blocks), e.g. 16_16_40_40_40_64_24_16"
            raise InputError(
                f"config string '{self}' has {len(self.genes)} numbers; it needs {wanted}"
            )
        if any(gene < 1 for gene in self.genes):
            raise InputError(f"config string '{self}': every width must be a positive whole number")

    @classmethod
    def parse(cls, text: str, legacy: bool = False) -> ChannelConfig:
        """From ``'16_16_40_40_40_64_24_16'``. Raises InputError on a wrong count, zero, negative or non-number."""
        try:
            genes = tuple(int(part) for part in str(text).strip().split("_"))
        except ValueError:
            raise InputError(
                f"config string '{text}' is not whole numbers joined by '_', e.g. 16_16_40_40_40_64_24_16"
            ) from None
        return cls(genes, legacy)

    @classmethod
    def uniform(cls, width: int) -> ChannelConfig:
        """The network whose every gene is ``width`` (``ngf``)."""
        return cls((width,) * 8)

    def __str__(self) -> str:
        return "_".join(map(str, self.genes))

    @property
    def full(self) -> tuple[int, ...]:
        """The eight genes; a six-gene config repeats its inner width. Not defined for legacy networks."""
        if self.legacy:
            raise ValueError("a legacy config has no eight-gene form")
        if len(self.genes) == 8:
            return self.genes
        stem, down1, trunk, inner, up1, up2 = self.genes
        return (stem, down1, trunk, inner, inner, inner, up1, up2)

    @property
    def widths(self) -> Widths:
        if self.legacy:
            stem, down1, trunk, inner, up1, up2 = self.genes
            blocks = (4 * inner, 4 * trunk, 4 * trunk) * 3
        else:
            stem, down1, trunk, *inners, up1, up2 = self.full
            blocks = tuple(4 * inner for inner in inners for _ in range(3))
        return Widths(stem, 2 * down1, 4 * trunk, blocks, 2 * up1, up2)

    def check_fits(self, width: int) -> None:
        """InputError unless a supernet of base width ``width`` holds this config."""
        wide = [
            f"{name}={gene}"
            for name, gene in zip(GENE_NAMES, self.full, strict=True)
            if gene > width
        ]
        if wide:
            raise InputError(
                f"config '{self}' is wider than the supernet (ngf {width}): {', '.join(wide)}; "
                "choose narrower widths or the `ngf` the supernet was trained with"
            )


# --------------------------------------------------------------------------------------------------
# Named search spaces

_64 = (64, 56, 48, 40, 32, 24, 16)

# SPEC 2: the choices of each of the eight genes.
CONFIG_SETS: dict[str, tuple[tuple[int, ...], ...]] = {
    "channels-48": ((48, 32),) * 2 + ((48, 40, 32),) * 4 + ((48, 32, 24, 16),) * 2,
    "channels-32": ((32, 24, 16),) * 8,
    "channels-64-pix2pix": (_64,) * 8,
    "channels-64-cycleGAN": ((64, 48, 32, 24, 16),) * 8,
    "test": ((8,), (6, 8), (6, 8), *((8,),) * 5),
}
