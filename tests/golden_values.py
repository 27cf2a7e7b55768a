"""Reference values: the formulas that weights and inputs are filled by, and the files in
``golden``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).resolve().parent / "golden"
VALUES = json.loads((GOLDEN / "golden.json").read_text())
PUBLISHED = json.loads((GOLDEN / "published.json").read_text())


def golden_array(name: str, file: str = "golden.npz") -> np.ndarray:
    with np.load(GOLDEN / file) as arrays:
        return arrays[name]


@torch.no_grad()
def fill(net: nn.Module) -> nn.Module:
    """Weights by formula: parameter i of the state dict is ``0.05 * sin(0.37 k + i)`` over its flat
    index k."""
    for i, value in enumerate(net.state_dict().values()):
        wave = 0.05 * np.sin(0.37 * np.arange(value.numel()) + i)
        value.copy_(torch.from_numpy(wave.astype(np.float32)).view(value.shape))
    return net


def golden_input(*shape: int, s: int = 1) -> Tensor:
    """``cos(0.01 s + 0.11 k (1 + 0.001 s))`` over the flat index k."""
    k = np.arange(np.prod(shape))
    return torch.from_numpy(np.cos(0.01 * s + 0.11 * k * (1 + 0.001 * s)).astype(np.float32)).view(
        shape
    )
