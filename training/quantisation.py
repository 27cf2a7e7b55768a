"""Training with quantisation in mind: convolutions that compute with 8-bit weights and inputs.

After Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference (CVPR 2018, section 3): the forward pass rounds, the backward pass takes rounding for
the identity, and what is beyond a range for a constant. Unlike there, all ranges are symmetric, as
in the file that `deploy.int8` writes: q = clamp(round(x / s), -127, 127), x ~ q s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from deploy.int8 import LEVELS
from deploy.rewrite import replace_layers

# How far the range of an input moves in a step: Jacob et al. average over thousands of steps.
MOMENTUM = 0.01


def scale_of(largest: Tensor) -> Tensor:
    """The step s between two of the numbers that reach up to ``largest`` >= 0; never 0."""
    return (largest.float() / LEVELS).clamp_min(torch.finfo(torch.float32).tiny)


def fake_quantised(x: Tensor, largest: Tensor, axis: int | None = None) -> Tensor:
    """``x`` rounded to 8 bits, of the same shape and type.

    Its gradient is 1 where ``x`` is within the range (after rounding), 0 outside.

    Args:
        x:       floating point, any shape
        largest: float32, what the largest of the numbers stands for: one value, or one for each
                 entry of ``axis``
    """
    scale = scale_of(largest)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    # The numbers of bfloat16 are further apart than those of 8 bits near the end of a range.
    full = x.float()
    if axis is None:
        y = torch.fake_quantize_per_tensor_affine(full, scale, zero, -LEVELS, LEVELS)
    else:
        y = torch.fake_quantize_per_channel_affine(full, scale, zero, axis, -LEVELS, LEVELS)
    return y.to(x.dtype)


def _without_flat(x: Tensor) -> Tensor:
    """N C H W as it is, but a channel that is one number all over an image gives no gradient.

    In 8 bits, flat images make many of those. An instance norm multiplies the gradient there by 316
    (1 / sqrt(eps)), and a chain of norms makes it infinite. In float32 rounding errors hide that.
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return x
    seen = x.detach()
    flat = seen.amax((2, 3), keepdim=True) == seen.amin((2, 3), keepdim=True)
    return torch.where(flat, seen, x)


class _Quantised(nn.Module):
    """What the two kinds of convolutions share.

    Attributes:
        largest: float32 scalar, a moving average of the largest magnitude of the input. A state
                 dict does not hold it: the network's file stays that of a plain one
        axis:    of the output channels in the weight
    """

    axis: int

    def _take_over(self, conv: nn.Module) -> None:
        self.weight, self.bias = conv.weight, conv.bias
        self.train(conv.training)
        largest = torch.zeros((), device=conv.weight.device)
        self.register_buffer("largest", largest, persistent=False)

    def _input(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                found = x.detach().abs().amax().float()
                # Without a range there is nothing to average with.
                momentum = torch.where(self.largest > 0, MOMENTUM, 1.0)
                self.largest.lerp_(found, momentum)
        return _without_flat(fake_quantised(x, self.largest))

    def _weight(self) -> Tensor:
        other = [d for d in range(self.weight.ndim) if d != self.axis]
        return fake_quantised(self.weight, self.weight.detach().abs().amax(other), self.axis)


class QuantisedConv2d(_Quantised, nn.Conv2d):
    """``conv`` with its weights, in 8 bits.

    forward(x): as ``conv``. In training it widens or narrows the range of its inputs too.
    """

    axis = 0

    def __init__(self, conv: nn.Conv2d):
        nn.Conv2d.__init__(
            self,
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
        )
        self._take_over(conv)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(self._input(x), self._weight(), self.bias)


class QuantisedConvTranspose2d(_Quantised, nn.ConvTranspose2d):
    """The same of a transposed convolution, whose weight layout is in, out, kh, kw."""

    axis = 1

    def __init__(self, conv: nn.ConvTranspose2d):
        nn.ConvTranspose2d.__init__(
            self,
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.output_padding,
            conv.groups,
            conv.bias is not None,
            conv.dilation,
        )
        self._take_over(conv)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv_transpose2d(
            self._input(x),
            self._weight(),
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


@torch.no_grad()
def quantise(net: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Put all convolutions of a network of fixed width in 8 bits, in place.

    The names and values of its state dict do not change. Their ranges begin as those of
    ``batches``.

    Args:
        net:     without elastic layers; its mode stays
        batches: typical inputs, N C H W float32 in [-1, 1] on the device of ``net``; at least one
    """
    replace_layers(net, nn.Conv2d, QuantisedConv2d)
    replace_layers(net, nn.ConvTranspose2d, QuantisedConvTranspose2d)
    layers = [m for m in net.modules() if isinstance(m, _Quantised)]
    found: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}

    def look(layer: nn.Module, given: tuple[Tensor]) -> None:
        x = given[0].abs().amax().float()
        found[layer].append(x)
        # The layers behind must see what this one makes of a whole range.
        layer.largest.copy_(torch.maximum(layer.largest, x))

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    modes = {module: module.training for module in net.modules()}
    net.eval()
    for batch in batches:
        net(batch)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        layer.largest.copy_(torch.stack(found[layer]).mean())
    for module, mode in modes.items():
        module.training = mode
    return net


class Ranges:
    """The ranges of a network's inputs of convolutions, as a part of a run's state."""

    def __init__(self, net: nn.Module):
        self.layers = {n: m for n, m in net.named_modules() if isinstance(m, _Quantised)}

    def state_dict(self) -> dict[str, Tensor]:
        """Name of the layer -> float32 scalar on the CPU."""
        return {name: layer.largest.cpu().clone() for name, layer in self.layers.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, layer in self.layers.items():
            layer.largest.copy_(state[name])
