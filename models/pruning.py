"""Student initialisation by magnitude pruning: a narrow network starts from the strongest channels of a wide one (SPEC 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from errors import InputError


def _select(weight: Tensor, kept_in: Tensor | None, keep: int) -> Tensor:
    """Indices of the ``keep`` output channels with the largest L1 norm over the kept inputs; weight: out in kh kw."""
    if kept_in is not None:
        weight = weight[:, kept_in]
    return weight.abs().sum(dim=(1, 2, 3)).topk(keep).indices


@torch.no_grad()
def prune_into(wide: nn.Module, narrow: nn.Module) -> None:
    """Fill ``narrow`` with the strongest channels of ``wide`` (both dense or both separable ResNet generators, instance or no norm).

    Layer by layer: keep the input channels that the previous layer kept, then the output channels with the largest L1 norm
    over those inputs in descending order; the blocks' outputs keep the trunk's set, so that the residual sums stay aligned.
    The first conv keeps all its inputs, the last all its outputs; biases follow their channels.

    Raises:
        InputError: the networks are of different kinds, or ``narrow`` is wider than ``wide`` somewhere.
    """
    source, target = wide.state_dict(), narrow.state_dict()
    if source.keys() != target.keys():
        raise InputError(
            "`restore_pretrained_G_path`: the pretrained network and the student are of different kinds "
            "(`pretrained_netG` and `student_netG` must both be resnet or both mobile_resnet)"
        )
    for key in source:
        if any(t > s for t, s in zip(target[key].shape, source[key].shape, strict=True)):
            raise InputError(
                f"`restore_pretrained_G_path`: the student is wider than the pretrained network at {key} "
                f"({list(target[key].shape)} against {list(source[key].shape)}); lower `student_ngf`"
            )

    def copy(
        name: str, kept_in: Tensor | None, kept_out: Tensor | None, transposed: bool = False
    ) -> None:
        weight, bias = source[f"{name}.weight"], source[f"{name}.bias"]
        axis_out, axis_in = (1, 0) if transposed else (0, 1)
        if kept_in is not None:
            weight = weight.index_select(axis_in, kept_in)
        if kept_out is not None:
            weight, bias = weight.index_select(axis_out, kept_out), bias[kept_out]
        target[f"{name}.weight"].copy_(weight)
        target[f"{name}.bias"].copy_(bias)

    def dense(
        name: str, kept_in: Tensor | None, kept_out: Tensor | None = None, transposed: bool = False
    ):
        """Copy a conv, choosing its outputs unless they are given; returns the outputs kept."""
        weight = source[f"{name}.weight"]
        if transposed:
            weight = weight.transpose(0, 1)
        if kept_out is None:
            kept_out = _select(weight, kept_in, target[f"{name}.bias"].numel())
        copy(name, kept_in, kept_out, transposed)
        return kept_out

    def block_conv(name: str, kept_in: Tensor, kept_out: Tensor | None = None) -> Tensor:
        if f"{name}.conv.0.weight" not in source:
            return dense(name, kept_in, kept_out)
        copy(f"{name}.conv.0", None, kept_in)  # depthwise: its channels are its input's
        return dense(f"{name}.conv.2", kept_in, kept_out)

    kept = dense("model.1", None)
    kept = dense("model.4", kept)
    trunk = dense("model.7", kept)
    for block in range(10, 19):
        inner = block_conv(f"model.{block}.conv_block.1", trunk)
        block_conv(f"model.{block}.conv_block.6", inner, trunk)
    kept = dense("model.19", trunk, transposed=True)
    kept = dense("model.22", kept, transposed=True)
    copy("model.26", kept, None)
