"""Channel configurations: the string such as ``16_16_40_40_40_64_24_16`` that names a subnet, and
the sets of them that a supernet is trained for.

Networks, cost, search and export all read a configuration through `ChannelConfig`, and a search
space through `ConfigSet`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from errors import InputError
from models.layout import GENE_NAMES, GROUPS, MULTIPLIERS, real_channels

# Wider networks are typing errors: at this width the trunk has 4096 channels.
MAX_WIDTH = 1024

# --------------------------------------------------------------------------------------------------
# Search spaces by name

_64 = (64, 56, 48, 40, 32, 24, 16)

# SPEC 2: name -> the choices of each of the eight genes, of ResNets; one list for all genes serves
# any number of them.
CONFIG_SETS: dict[str, tuple[tuple[int, ...], ...]] = {
    "channels-48": ((48, 32),) * 2 + ((48, 40, 32),) * 4 + ((48, 32, 24, 16),) * 2,
    "channels-32": ((32, 24, 16),) * 8,
    "channels-64-pix2pix": (_64,) * 8,
    "channels-64-cycleGAN": ((64, 48, 32, 24, 16),) * 8,
    "test": ((8,), (6, 8), (6, 8), *((8,),) * 5),
}

# --------------------------------------------------------------------------------------------------
# Real widths: what a network is built from


@dataclass(frozen=True)
class Widths:
    """Real channel counts of a ResNet generator (SPEC 2).

    stem:  out of the first 7x7 convolution
    down1: out of the first convolution of stride 2
    trunk: out of the second convolution of stride 2, so in and out of every residual block
    inner: between the two convolutions of each block
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
        """In the order of `models.layout.Layout.elastic`."""
        return iter((self.stem, self.down1, self.trunk, *self.inner, self.up1, self.up2))


# --------------------------------------------------------------------------------------------------
# The configuration


@dataclass(frozen=True)
class ChannelConfig:
    """Eight genes, or six: one inner gene for all blocks. Hashable, ordered as in the string.

    So it is for ResNets. A family of networks with other genes has a subclass, see `models.unet`.

    ``legacy`` changes what six numbers mean (the ``legacy_sub_*`` networks of early releases): the
    first block of each group of three has the inner width, the other two have the trunk's.
    """

    genes: tuple[int, ...]
    legacy: bool = False

    # What the genes are called, one each.
    NAMES: ClassVar[tuple[str, ...]] = GENE_NAMES
    # Names of search spaces, which a family may have of its own: name -> the choices of each gene.
    SETS: ClassVar[Mapping[str, tuple[tuple[int, ...], ...]]] = CONFIG_SETS

    def __post_init__(self):
        if len(self.genes) not in ((6,) if self.legacy else (6, 8)):
            wanted = "6 (legacy network), e.g. 32_32_40_48_16_32"
            if not self.legacy:
                wanted = "8 (or 6: one inner width for all blocks), e.g. 16_16_40_40_40_64_24_16"
            raise InputError(
                f"config string '{self}' has {len(self.genes)} numbers; it needs {wanted}"
            )
        self.require_positive()

    def require_positive(self) -> None:
        """Raise InputError unless all genes are."""
        if any(gene < 1 for gene in self.genes):
            raise InputError(f"config string '{self}': every width must be a positive whole number")

    @classmethod
    def parse(cls, text: str, legacy: bool = False) -> ChannelConfig:
        """From ``'16_16_40_40_40_64_24_16'``.

        Raises:
            InputError: not as many positive whole numbers as there are genes.
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
        return cls((width,) * len(cls.NAMES))

    @classmethod
    def from_widths(cls, widths: Widths, legacy: bool = False) -> ChannelConfig | None:
        """The configuration of a network with these real channels; None if there is none."""
        blocks = len(widths.inner)
        inner = widths.inner[:: blocks // GROUPS]
        real = (widths.stem, widths.down1, widths.trunk, *inner, widths.up1, widths.up2)
        genes = tuple(width // times for width, times in zip(real, MULTIPLIERS, strict=True))
        if legacy:
            genes = (*genes[:4], *genes[6:])
        if min(genes) < 1:
            return None
        config = cls(genes, legacy)
        return config if config.widths(blocks) == widths else None

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

    def widths(self, blocks: int = 9) -> Widths:
        """The real channels of a network with this number of residual blocks."""
        stem, down1, trunk, *groups, up1, up2 = real_channels(self._eight)
        each = blocks // GROUPS
        if self.legacy:
            inner = tuple(w for group in groups for w in (group, *(trunk,) * (each - 1)))
        else:
            inner = tuple(width for width in groups for _ in range(each))
        return Widths(stem, down1, trunk, inner, up1, up2)

    def wider_than(self, width: int) -> list[str]:
        """The genes beyond a supernet of base width ``width``, each as ``stem=48``."""
        genes = zip(self.NAMES, self.full, strict=True)
        return [f"{name}={gene}" for name, gene in genes if gene > width]

    def check_fits(self, width: int) -> None:
        """InputError unless a supernet of base width ``width`` holds this config."""
        wide = self.wider_than(width)
        if wide:
            raise InputError(
                f"config '{self}' is wider than the supernet (ngf {width}): {', '.join(wide)}; "
                "choose narrower widths or the `ngf` the supernet was trained with"
            )


# --------------------------------------------------------------------------------------------------
# Search spaces

# A search holds the MACs of every configuration in memory, 8 bytes each: ten widths per gene.
MAX_CONFIGS = 10**8
# A file of eight lists is far smaller.
MAX_FILE_BYTES = 65536

# What is only this is a list of widths, never the name of a file.
_LISTS = re.compile(r"[\d,;\s]+", re.ASCII)
# And what starts so is one with a mistake in it.
_NEARLY_LISTS = re.compile(r"\s*[-+\d][^;,]*[;,]")


@dataclass(frozen=True)
class ConfigSet:
    """A search space: the widths that each gene may take.

    It is written in one of three ways, and read back from its own text:

    * by name, a key of `ChannelConfig.SETS` of its family;
    * one list for all genes: ``24,20,16``;
    * a list for each gene, in the order of their names: ``24,16;24,16;...``.

    Args:
        choices: of each gene, 1 to `MAX_WIDTH`, each once. `parse` puts the widest first
        sets:    the names of its family
    """

    choices: tuple[tuple[int, ...], ...]
    sets: Mapping[str, tuple[tuple[int, ...], ...]] = field(
        default_factory=lambda: CONFIG_SETS, compare=False, repr=False
    )

    @classmethod
    def parse(cls, text: str, kind: type[ChannelConfig] = ChannelConfig) -> ConfigSet:
        """From a name or lists.

        Args:
            kind: what its configurations are

        Raises:
            InputError: neither; names the gene and what is wrong.
        """
        if text in kind.SETS:
            return cls(_named(text, kind), kind.SETS)
        if _LISTS.fullmatch(text) or _NEARLY_LISTS.match(text):
            return cls._of_lists(text.split(";"), _shown(text), kind)
        raise InputError(
            f"search space {_shown(text)} is neither a name ({', '.join(kind.SETS)}) nor a list "
            "of widths such as 24,20,16 nor a file"
        )

    @classmethod
    def read(cls, text: str, kind: type[ChannelConfig] = ChannelConfig) -> ConfigSet:
        """The same, or from the text file of that path: one list, or one per gene and line.

        In a file ``#`` starts a comment; blank lines do not count.

        Raises:
            InputError: as `parse`, or the file cannot be read.
        """
        if text in kind.SETS or _LISTS.fullmatch(text) or not os.path.isfile(text):
            return cls.parse(text, kind)
        genes = kind.NAMES
        name = _shown(text)
        try:
            with open(text, "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            lines = content.decode("utf-8-sig").splitlines()
        except OSError as error:
            raise InputError(
                f"search space {name} cannot be read ({error.strerror}); give another file"
            ) from None
        except UnicodeDecodeError:
            lines = None
        if lines is None or len(content) > MAX_FILE_BYTES:
            raise InputError(
                f"search space {name} is no text file with one or {len(genes)} lists of "
                "widths such as 24,20,16"
            )
        lines = [line.partition("#")[0].strip() for line in lines]
        return cls._of_lists([line for line in lines if line], name, kind)

    @classmethod
    def _of_lists(cls, lists: list[str], source: str, kind: type[ChannelConfig]) -> ConfigSet:
        """From lists such as ``24,20,16``; ``source``: what messages call them."""
        who, genes = f"search space {source}", kind.NAMES
        if len(lists) == 1:
            choices = (_widths(lists[0], who),) * len(genes)
        elif len(lists) == len(genes):
            named = zip(genes, lists, strict=True)
            choices = tuple(_widths(each, f"{who}, {gene}") for gene, each in named)
        else:
            raise InputError(
                f"{who} has {len(lists)} lists of widths; give one for all genes, or "
                f"{len(genes)}: {', '.join(genes)}"
            )
        size = math.prod(map(len, choices))
        if size > MAX_CONFIGS:
            raise InputError(
                f"{who} has {size:,} configurations; give fewer widths: a search can handle "
                f"{MAX_CONFIGS:,}"
            )
        return cls(choices, kind.SETS)

    def __str__(self) -> str:
        """Its name if it has one, else its lists: all that its family needs to make it again."""
        for name, choices in self.sets.items():
            if choices == self.choices:
                return name
        return self.lists

    @property
    def lists(self) -> str:
        """Its lists, which mean the same to all families with as many genes."""
        lists = [",".join(map(str, widths)) for widths in self.choices]
        return lists[0] if len(set(lists)) == 1 else ";".join(lists)


def _named(name: str, kind: type[ChannelConfig]) -> tuple[tuple[int, ...], ...]:
    """The choices of a name; one list for all genes serves any number of them."""
    choices, genes = kind.SETS[name], kind.NAMES
    if len(set(choices)) == 1:
        return choices[:1] * len(genes)
    if len(choices) != len(genes):
        raise InputError(
            f"search space {name} is for networks of {len(choices)} genes, not of {len(genes)} "
            f"({', '.join(genes)}); give lists of widths"
        )
    return choices


def _widths(text: str, who: str) -> tuple[int, ...]:
    """The widths of one gene, widest first; ``who``: what messages call it."""
    widths = []
    for part in map(str.strip, text.split(",")):
        # `int` would also take signs, underscores and digits of other scripts.
        width = int(part) if re.fullmatch(r"[0-9]{1,9}", part) else 0
        if not 1 <= width <= MAX_WIDTH:
            raise InputError(
                f"{who}: {_shown(part)} is not a whole number from 1 to {MAX_WIDTH}; write "
                "widths as 24,20,16, and such a list for each gene with ';' between them"
            )
        if width in widths:
            raise InputError(f"{who}: {width} is listed twice; list each width once")
        widths.append(width)
    return tuple(sorted(widths, reverse=True))


def _shown(text: str) -> str:
    """In quotes, without control characters; the start of a long one."""
    return repr(text if len(text) <= 100 else f"{text[:100]}...")
