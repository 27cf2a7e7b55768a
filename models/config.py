"""Channel configurations: the string such as ``16_16_40_40_40_64_24_16`` that names a subnet.

Networks, cost, search and export all read a configuration through `ChannelConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass

from errors import InputError
from models.layout import BLOCKS, BLOCKS_PER_GENE, GENE_NAMES, MULTIPLIERS, real_channels

# --------------------------------------------------------------------------------------------------
# Real widths: what a network is built from


@dataclass(frozen=True)
class Widths:
    """Real channel counts of a ResNet generator (SPEC 2).

    stem:  out of the first 7x7 convolution
    down1: out of the first convolution of stride 2
    trunk: out of the second convolution of stride 2, so in and out of every residual block
    inner: between the two convolutions of each of the nine blocks
    up1:   out of the first transposed convolution
    up2:   out of the second transposed convolution, so in of the last 7x7 convolution
    """

    stem: int
    down1: int
    trunk: int
    inner: tuple[int, ...]
    up1: int
    up2: int

    def __iter__(self):
        """In the order of `models.layout.ELASTIC`: stem, down1, trunk, inner x 9, up1, up2."""
        return iter((self.stem, self.down1, self.trunk, *self.inner, self.up1, self.up2))


# --------------------------------------------------------------------------------------------------
# The configuration


@dataclass(frozen=True)
class ChannelConfig:
    """Eight genes, or six: one inner gene for all nine blocks. Hashable, ordered as in the string.

    ``legacy`` changes what six numbers mean (the ``legacy_sub_*`` networks of early releases): the
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
        """From ``'16_16_40_40_40_64_24_16'``.

        Raises:
            InputError: not six or eight positive whole numbers.
        """
        try:
            genes = tuple(int(part) for part in str(text).strip().split("_"))
        except ValueError:
            raise InputError(
                f"config string '{text}' is not whole numbers joined by '_', "
                "e.g. 16_16_40_40_40_64_24_16"
            ) from None
        return cls(genes, legacy)

    @classmethod
    def uniform(cls, width: int) -> ChannelConfig:
        """The network whose every gene is ``width`` (``ngf``)."""
        return cls((width,) * len(MULTIPLIERS))

    @classmethod
    def from_widths(cls, widths: Widths, legacy: bool = False) -> ChannelConfig | None:
        """The configuration of a network with these real channels; None if there is none."""
        inner = widths.inner[::BLOCKS_PER_GENE]
        real = (widths.stem, widths.down1, widths.trunk, *inner, widths.up1, widths.up2)
        genes = tuple(width // times for width, times in zip(real, MULTIPLIERS, strict=True))
        if legacy:
            genes = (*genes[:4], *genes[6:])
        if min(genes) < 1:
            return None
        config = cls(genes, legacy)
        return config if config.widths == widths else None

    def __str__(self) -> str:
        return "_".join(map(str, self.genes))

    @property
    def full(self) -> tuple[int, ...]:
        """The eight genes; six genes repeat their inner one. Not defined for legacy networks."""
        if self.legacy:
            raise ValueError("a legacy config has no eight-gene form")
        return self._eight

    @property
    def _eight(self) -> tuple[int, ...]:
        if len(self.genes) == len(MULTIPLIERS):
            return self.genes
        stem, down1, trunk, inner, up1, up2 = self.genes
        return (stem, down1, trunk, inner, inner, inner, up1, up2)

    @property
    def widths(self) -> Widths:
        stem, down1, trunk, *groups, up1, up2 = real_channels(self._eight)
        if self.legacy:
            rest = (trunk,) * (BLOCKS_PER_GENE - 1)
            inner = tuple(width for group in groups for width in (group, *rest))
        else:
            inner = tuple(width for width in groups for _ in range(BLOCKS_PER_GENE))
        assert len(inner) == len(BLOCKS)
        return Widths(stem, down1, trunk, inner, up1, up2)

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
