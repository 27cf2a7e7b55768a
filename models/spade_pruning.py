"""Magnitude pruning of SPADE generators: a student starts from the strongest channels of a wide one
(GAN Compression), as `models.pruning` does for ResNets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from errors import InputError
from models.pruning import require_narrower, strongest


@torch.no_grad()
def prune_spade(wide: nn.Module, narrow: nn.Module) -> None:
    """Fill ``narrow`` with the strongest channels of ``wide``, both SPADE generators.

    A convolution keeps its outputs of largest L1 norm over the inputs that are kept; one that ends
    a block without a shortcut keeps those of the trunk, and a shortcut those of the convolution
    beside it. What a norm makes of the labels follows the channels that it normalises; in between,
    the strongest channels of the first convolution are kept.

    Raises:
        InputError: they are of different kinds or depths, or ``narrow`` is wider somewhere.
    """
    source, target = wide.state_dict(), narrow.state_dict()
    if source.keys() != target.keys():
        raise InputError(
            "`restore_pretrained_G_path`: the pretrained network and the student are of different "
            "kinds; `pretrained_netG` and `student_netG` must both be spade or both mobile ones, "
            "with the same `num_upsampling_layers` and norms, and without spectral norm"
        )
    require_narrower(source, target)

    def copy(name: str, kept_in: Tensor | None, kept_out: Tensor | None) -> None:
        weight = source[f"{name}.weight"]
        weight = weight if kept_out is None else weight[kept_out]
        target[f"{name}.weight"].copy_(weight if kept_in is None else weight[:, kept_in])
        if f"{name}.bias" in source:
            bias = source[f"{name}.bias"]
            target[f"{name}.bias"].copy_(bias if kept_out is None else bias[kept_out])

    def conv(name: str, kept_in: Tensor | None) -> Tensor:
        """Copy a convolution with its strongest outputs; returns them."""
        count = len(target[f"{name}.weight"])
        kept = strongest(source[f"{name}.weight"], kept_in, count)
        copy(name, kept_in, kept)
        return kept

    def norm(name: str, kept: Tensor) -> None:
        for value in ("running_mean", "running_var", "num_batches_tracked"):
            key = f"{name}.param_free_norm.{value}"
            if key in source:
                target[key].copy_(source[key][kept] if source[key].dim() else source[key])
        hidden = conv(f"{name}.mlp_shared.0", None)
        for factor in (f"{name}.mlp_gamma", f"{name}.mlp_beta"):
            if f"{factor}.weight" in source:
                copy(factor, hidden, kept)
                continue
            copy(f"{factor}.conv.0", None, hidden)
            for value in ("weight", "bias", "running_mean", "running_var"):
                key = f"{factor}.conv.1.{value}"
                if key in source:
                    target[key].copy_(source[key][hidden])
            copy(f"{factor}.conv.2", hidden, kept)

    kept = conv("fc", None)
    for name in wide.names:
        inner = conv(f"{name}.conv_0", kept)
        norm(f"{name}.norm_0", kept)
        norm(f"{name}.norm_1", inner)
        if f"{name}.conv_s.weight" in source:
            out = conv(f"{name}.conv_1", inner)
            copy(f"{name}.conv_s", kept, out)
            norm(f"{name}.norm_s", kept)
            kept = out
        else:
            copy(f"{name}.conv_1", inner, kept)
    copy("conv_img", kept, None)
