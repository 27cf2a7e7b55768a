"""Magnitude pruning: a student starts from the strongest channels of a wide network (SPEC 2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from errors import InputError
from models.layout import DEPTHWISE, DOWN1, FIRST_CONV, POINTWISE, SECOND_CONV, STEM, TRUNK


def strongest(weight: Tensor, kept_in: Tensor | None, keep: int) -> Tensor:
    """Indices of the ``keep`` output channels of largest L1 norm over the kept inputs, descending.

    weight: out in kh kw
    """
    if kept_in is not None:
        weight = weight[:, kept_in]
    return weight.abs().sum(dim=(1, 2, 3)).topk(keep).indices


def require_narrower(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Raise InputError if a tensor of ``target`` is larger than that of ``source`` somewhere."""
    for key, wide in source.items():
        narrow = target[key]
        if any(t > s for t, s in zip(narrow.shape, wide.shape, strict=True)):
            raise InputError(
                "`restore_pretrained_G_path`: the student is wider than the pretrained network at "
                f"{key} ({list(narrow.shape)} against {list(wide.shape)}); lower `student_ngf`"
            )


@torch.no_grad()
def prune_into(wide: nn.Module, narrow: nn.Module) -> None:
    """Fill ``narrow`` with the strongest channels of ``wide``, both ResNets of the same depth.

    Layer by layer: keep the input channels that the previous layer kept, then the output channels
    with the largest L1 norm over those inputs, in descending order. The blocks' outputs keep the
    trunk's channels, so that the residual sums stay aligned. The first convolution keeps all its
    inputs, the last all its outputs; biases and batch norms follow their channels.

    Raises:
        InputError: one has dense blocks and the other separable ones, their norms differ, or
            ``narrow`` is wider than ``wide`` somewhere.
    """
    source, target = wide.state_dict(), narrow.state_dict()
    if f"model.{STEM}.weight" not in source:
        raise InputError(
            "`restore_pretrained_G_path`: only a ResNet can be pruned into a student; leave it out"
        )
    if source.keys() != target.keys():
        raise InputError(
            "`restore_pretrained_G_path`: the pretrained network and the student are of different "
            "kinds (`pretrained_netG` and `student_netG` must both be resnet or both "
            "mobile_resnet, with the same `norm`)"
        )
    require_narrower(source, target)

    def copy(
        name: str, kept_in: Tensor | None, kept_out: Tensor | None, transposed: bool = False
    ) -> None:
        weight = source[f"{name}.weight"]
        axis_out, axis_in = (1, 0) if transposed else (0, 1)
        if kept_in is not None:
            weight = weight.index_select(axis_in, kept_in)
        if kept_out is not None:
            weight = weight.index_select(axis_out, kept_out)
        target[f"{name}.weight"].copy_(weight)
        # A convolution before a batch norm has no bias.
        if f"{name}.bias" in source:
            bias = source[f"{name}.bias"]
            target[f"{name}.bias"].copy_(bias if kept_out is None else bias[kept_out])

    def copy_norm(name: str, kept: Tensor) -> None:
        """Only batch norms have weights and statistics, one for each channel."""
        for key in source:
            if key.startswith(f"{name}."):
                value = source[key]
                target[key].copy_(value[kept] if value.dim() else value)

    def conv(
        name: str, kept_in: Tensor | None, kept_out: Tensor | None = None, transposed: bool = False
    ) -> Tensor:
        """Copy a convolution, choosing its outputs unless they are given; returns those kept."""
        if kept_out is None:
            weight, keep = source[f"{name}.weight"], target[f"{name}.weight"]
            if transposed:
                weight, keep = weight.transpose(0, 1), keep.transpose(0, 1)
            kept_out = strongest(weight, kept_in, len(keep))
        copy(name, kept_in, kept_out, transposed)
        return kept_out

    def layer(index: int, kept_in: Tensor | None, transposed: bool = False) -> Tensor:
        kept = conv(f"model.{index}", kept_in, transposed=transposed)
        copy_norm(f"model.{index + 1}", kept)
        return kept

    def block_conv(
        block: int, index: int, kept_in: Tensor, kept_out: Tensor | None = None
    ) -> Tensor:
        name = f"model.{block}.conv_block.{index}"
        if f"{name}.conv.{DEPTHWISE}.weight" in source:
            # A depthwise convolution has the channels of its input.
            copy(f"{name}.conv.{DEPTHWISE}", None, kept_in)
            kept = conv(f"{name}.conv.{POINTWISE}", kept_in, kept_out)
        else:
            kept = conv(name, kept_in, kept_out)
        copy_norm(f"model.{block}.conv_block.{index + 1}", kept)
        return kept

    layout = wide.layout
    kept = layer(STEM, None)
    kept = layer(DOWN1, kept)
    trunk = layer(TRUNK, kept)
    for block in layout.blocks:
        inner = block_conv(block, FIRST_CONV, trunk)
        block_conv(block, SECOND_CONV, inner, trunk)
    kept = layer(layout.up1, trunk, transposed=True)
    kept = layer(layout.up2, kept, transposed=True)
    copy(f"model.{layout.last}", kept, None)
