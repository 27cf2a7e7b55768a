"""Convolutions whose weights have a largest singular value of 1 (Miyato et al., ICLR 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-12


class SpectralConv2d(nn.Conv2d):
    """A convolution with its weight, as a matrix of one row per output channel, divided by an
    estimate of that matrix's largest singular value.

    A pass in training mode improves the estimate by one step of power iteration. Keys of the state
    dict are those of ``torch.nn.utils.spectral_norm``: ``weight_orig``, ``weight_u``, ``weight_v``.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        weight = self._parameters.pop("weight")
        self.weight_orig = nn.Parameter(weight.data)
        rows = weight.flatten(1)
        self.register_buffer("weight_u", _unit(torch.randn(rows.shape[0])))
        self.register_buffer("weight_v", _unit(torch.randn(rows.shape[1])))

    def normalised(self) -> Tensor:
        """The weight of the next pass, float32 out in kh kw."""
        # In low precision the iteration would not converge.
        with torch.autocast(self.weight_orig.device.type, enabled=False):
            rows = self.weight_orig.flatten(1)
            if self.training:
                with torch.no_grad():
                    self.weight_v.copy_(_unit(rows.t() @ self.weight_u))
                    self.weight_u.copy_(_unit(rows @ self.weight_v))
            # Copies: a later pass changes the buffers before this one's gradient is taken.
            sigma = self.weight_u.clone() @ (rows @ self.weight_v.clone())
            return self.weight_orig / sigma

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x, self.normalised(), self.bias, self.stride, self.padding, self.dilation, self.groups
        )


def _unit(vector: Tensor) -> Tensor:
    return F.normalize(vector, dim=0, eps=EPS)


def weight_of(conv: nn.Module) -> Tensor:
    """The parameter that a convolution's weight is made of."""
    return conv.weight_orig if isinstance(conv, SpectralConv2d) else conv.weight


@torch.no_grad()
def without_spectral(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with plain weights in place of those of `SpectralConv2d`: what these compute in
    evaluation mode."""
    found = {}
    for key, value in state.items():
        name, _, part = key.rpartition(".")
        if part == "weight_orig":
            u, v = state[f"{name}.weight_u"], state[f"{name}.weight_v"]
            found[f"{name}.weight"] = value / (u @ (value.flatten(1) @ v))
        elif part not in ("weight_u", "weight_v"):
            found[key] = value
    return found
