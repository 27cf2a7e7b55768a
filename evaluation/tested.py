"""A generator under test: what it is, what it costs, and what it is called beside others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn


@dataclass(frozen=True)
class TestedModel:
    """What is tested and what it costs."""

    __test__ = False  # not a pytest class

    name: str  # e.g. sub_mobile_resnet_9blocks 16_16_40_40_40_64_24_16
    checkpoint: str
    macs: int
    params: int
    macs_convention: str
    height: int  # pixels that MACs are counted at
    width: int


@dataclass(frozen=True)
class Loaded:
    """A network in evaluation mode on its device, and what it is; ``label``: its name beside others."""

    label: str
    net: nn.Module
    model: TestedModel


# What the page and the folder of images call something else.
TAKEN = ("input", "real", "name", "real_A", "real_B", "fake_B")


def short_names(paths: Sequence[Path], taken: Sequence[str] = TAKEN) -> list[str]:
    """A name for each checkpoint that tells it from the others and from ``taken``, as short as that allows; good as a folder's name.

    ``runs/a/checkpoints/best_net_G.pth`` is ``a``, ``out/small.pth`` is ``small``; where that is not enough, folders above are
    added: ``runs-a``, ``b-best_net_G``.
    """
    whole = [
        [part for part in p.with_suffix("").parts if part not in ("checkpoints", p.anchor)]
        for p in paths
    ]
    # Every run has a best_net_G: the run's folder says more.
    short = [parts[:-1] if parts[-1].endswith("net_G") and parts[:-1] else parts for parts in whole]
    for names in (short, whole):
        for depth in range(1, max(map(len, names)) + 1):
            labels = ["-".join(parts[-depth:]) for parts in names]
            if max(Counter(label.casefold() for label in (*labels, *taken)).values()) == 1:
                return labels
    return [f"{number}-{parts[-1]}" for number, parts in enumerate(whole, 1)]
