"""The once-for-all generator: a mobile ResNet whose subnets, one per configuration, share weights.

Two ways to run a configuration:

* Slicing: ``supernet(x, config)`` computes with the first channels of every weight. It equals
  ``extract(supernet, config)(x)`` bit for bit.
* Masking: ``supernet(x, widths)`` computes at full width and zeroes the channels beyond the
  configuration after each convolution and norm. Channels do not mix in a norm, and a zero adds
  nothing to the next convolution: the same function and gradients up to the order of float sums.
  Its shapes are the same for all configurations, and each image of a batch may have its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from models.config import ChannelConfig
from models.layers import (
    ElasticConv2d,
    ElasticConvTranspose2d,
    ElasticInstanceNorm2d,
    ElasticSeparableConv2d,
    make_norm,
)
from models.layout import DROPOUT, FIRST_BLOCK, STEM, TRUNK, Layout
from models.resnet import ResnetGenerator

# --------------------------------------------------------------------------------------------------
# Network


def _elastic_norm(norm: str) -> nn.Module:
    if norm == "batch":
        # One set of running statistics cannot be right for every configuration.
        raise ValueError("a supernet needs norm instance or none")
    return ElasticInstanceNorm2d() if norm == "instance" else make_norm(norm, 0)


class ElasticBlock(nn.Module):
    """A residual block of the mobile ResNet that runs at any width up to its own.

    Args:
        trunk, inner: largest number of channels of its input and output, and between its two
                      convolutions
        norm:         instance | none
        dropout_rate: between the convolutions, 0 = none
    """

    def __init__(self, trunk: int, inner: int, norm: str, dropout_rate: float):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            ElasticSeparableConv2d(trunk, inner),
            _elastic_norm(norm),
            nn.ReLU(True),
            nn.Dropout(dropout_rate),
            nn.ReflectionPad2d(1),
            ElasticSeparableConv2d(inner, trunk),
            _elastic_norm(norm),
        )

    def forward(self, x: Tensor, inner: int | None = None) -> Tensor:
        pad1, conv1, norm1, relu, dropout, pad2, conv2, norm2 = self.conv_block
        y = dropout(relu(norm1(conv1(pad1(x), inner))))
        return x + norm2(conv2(pad2(y), x.shape[1]))

    def masked(self, x: Tensor, trunk: Tensor, inner: Tensor) -> Tensor:
        """The same at full width; ``trunk``, ``inner``: bool N C 1 1, True for channels that
        count."""
        pad1, conv1, norm1, relu, dropout, pad2, conv2, norm2 = self.conv_block
        y = dropout(relu(norm1(conv1(pad1(x), keep=trunk)) * inner))
        return x + norm2(conv2(pad2(y), keep=inner)) * trunk


class SuperMobileResnetGenerator(nn.Module):
    """The supernet: forward(x, config) runs the subnet ``config``; None = full width.

    Same keys, shapes, input and output as the mobile `ResnetGenerator` of width ``ngf``.
    """

    def __init__(
        self,
        ngf: int,
        input_nc: int = 3,
        output_nc: int = 3,
        norm: str = "instance",
        dropout_rate: float = 0.0,
        blocks: int = 9,
    ):
        super().__init__()
        self.ngf, self.layout = ngf, Layout(blocks)
        w = ChannelConfig.uniform(ngf).widths(blocks)
        down = dict(kernel_size=3, stride=2, padding=1)
        up = dict(kernel_size=3, stride=2, padding=1, output_padding=1)
        self.model = nn.Sequential(
            *(
                nn.ReflectionPad2d(3),
                ElasticConv2d(input_nc, w.stem, 7),
                _elastic_norm(norm),
                nn.ReLU(True),
            ),
            *(ElasticConv2d(w.stem, w.down1, **down), _elastic_norm(norm), nn.ReLU(True)),
            *(ElasticConv2d(w.down1, w.trunk, **down), _elastic_norm(norm), nn.ReLU(True)),
            *(ElasticBlock(w.trunk, inner, norm, dropout_rate) for inner in w.inner),
            *(ElasticConvTranspose2d(w.trunk, w.up1, **up), _elastic_norm(norm), nn.ReLU(True)),
            *(ElasticConvTranspose2d(w.up1, w.up2, **up), _elastic_norm(norm), nn.ReLU(True)),
            *(nn.ReflectionPad2d(3), ElasticConv2d(w.up2, output_nc, 7), nn.Tanh()),
        )

    @property
    def reach(self) -> int:
        return self.layout.reach

    def widths_of(self, configs: Sequence[ChannelConfig]) -> Tensor:
        """int64 (N, 5 + blocks): the real channels of every elastic layer, one row for each
        configuration."""
        return torch.tensor([[*config.widths(self.layout.count)] for config in configs])

    def forward(
        self, x: Tensor, config: ChannelConfig | Tensor | None = None, taps: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Run a subnet. x: N C H W float, clamped to [-1, 1]; H and W multiples of 4.

        Args:
            config: a `ChannelConfig` (slicing); `widths_of` one configuration per image, on the
                    device of ``x`` (masking); None = full width
            taps:   also return the four activations at `Layout.taps`. Masked ones have full width,
                    with zeros beyond each image's trunk
        """
        run = self._masked if torch.is_tensor(config) else self._sliced
        tapped: list[Tensor] = []
        for index, y in run(x.clamp(-1, 1), config):
            if taps and index in self.layout.taps:
                tapped.append(y)
        return (y, tapped) if taps else y

    def _sliced(self, x: Tensor, config: ChannelConfig | None) -> Iterator[tuple[int, Tensor]]:
        config = ChannelConfig.uniform(self.ngf) if config is None else config
        # A block is told its inner width; its output is as wide as the trunk.
        widths = config.widths(self.layout.count)
        out = dict(zip(self.layout.elastic, widths, strict=True))
        for index, layer in enumerate(self.model):
            x = layer(x, out[index]) if index in out else layer(x)
            yield index, x

    def _masked(self, x: Tensor, widths: Tensor) -> Iterator[tuple[int, Tensor]]:
        layout = self.layout
        full = ChannelConfig.uniform(self.ngf).widths(layout.count)
        keep = {
            index: (torch.arange(channels, device=x.device) < width[:, None])[..., None, None]
            for index, channels, width in zip(layout.elastic, full, widths.unbind(1), strict=True)
        }
        for index, layer in enumerate(self.model):
            if isinstance(layer, ElasticBlock):
                x = layer.masked(x, keep[TRUNK], keep[index])
            else:
                x = layer(x)
                # The norm after a convolution.
                if index - 1 in layout.convs:
                    x = x * keep[index - 1]
            yield index, x


# --------------------------------------------------------------------------------------------------
# Extraction


@torch.no_grad()
def extract(supernet: SuperMobileResnetGenerator, config: ChannelConfig) -> ResnetGenerator:
    """Cut ``config`` out of the supernet as a stand-alone network with its own weights.

    The first channels of every weight are taken: the target's shape says how many along each axis.

    Raises:
        InputError: the supernet is narrower than ``config``.
    """
    config.check_fits(supernet.ngf)
    source, layout = supernet.state_dict(), supernet.layout
    norm = "instance" if isinstance(supernet.model[STEM + 1], ElasticInstanceNorm2d) else "none"
    subnet = ResnetGenerator(
        config,
        input_nc=supernet.model[STEM].in_channels,
        output_nc=supernet.model[layout.last].out_channels,
        norm=norm,
        dropout_rate=supernet.model[FIRST_BLOCK].conv_block[DROPOUT].p,
        blocks=layout.count,
    )
    for key, target in subnet.state_dict().items():
        target.copy_(source[key][tuple(slice(n) for n in target.shape)])
    return subnet.to(next(supernet.parameters()).device)
