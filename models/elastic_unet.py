"""The once-for-all U-Net: its subnets, one per configuration, share weights.

As of the ResNet (`models.supernet`), there are two ways to run a configuration: slicing, which
equals the extracted subnet bit for bit, and masking, at full width, where each image of a batch may
have its own. With batch norm a subnet needs statistics of its own, see `models.calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.layers import (
    ElasticConv2d,
    ElasticConvTranspose2d,
    ElasticJoinedConvTranspose2d,
    first_of_halves,
    make_elastic_norm,
)
from models.unet import UNetBlock, UNetConfig, UNetGenerator

# --------------------------------------------------------------------------------------------------
# Network


class ElasticUNetBlock(UNetBlock):
    """A level of the U-Net that runs at any width up to its own."""

    CONV, TRANSPOSED = ElasticConv2d, ElasticConvTranspose2d
    JOINED = ElasticJoinedConvTranspose2d
    NORM = staticmethod(make_elastic_norm)


class SuperUNetGenerator(UNetGenerator):
    """The supernet: forward(x, config) runs the subnet ``config``; None = full width.

    Same keys, shapes, input and output as the `UNetGenerator` of ``config``.
    """

    BLOCK = ElasticUNetBlock

    def __init__(
        self,
        config: UNetConfig,
        input_nc: int = 3,
        output_nc: int = 3,
        norm: str = "instance",
        dropout_rate: float = 0.0,
    ):
        super().__init__(config, input_nc, output_nc, norm, dropout_rate)
        self.config = config
        self.made_of = input_nc, output_nc, norm, dropout_rate

    def widths_of(self, configs: Sequence[UNetConfig]) -> Tensor:
        """int64 (N, levels): the real channels of every level, one row for each configuration."""
        return torch.tensor([config.widths() for config in configs])

    def forward(
        self, x: Tensor, config: UNetConfig | Tensor | None = None, taps: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Run a subnet. x: N C H W float, clamped to [-1, 1]; H and W multiples of 2^levels.

        Args:
            config: a `UNetConfig` (slicing); int64 (1 or N, levels) real widths, on the device of
                    ``x`` (masking); None = full width
            taps:   also return the four activations. Masked ones have full width, with zeros beyond
                    each image's channels
        """
        run = self._masked if torch.is_tensor(config) else self._sliced
        y, tapped = run(x, config)
        return (y, tapped) if taps else y

    def _sliced(self, x: Tensor, config: UNetConfig | None) -> tuple[Tensor, list[Tensor]]:
        widths = (self.config if config is None else config).widths()
        # The outermost level makes the image, which is as deep for all.
        outer = (None, *widths)
        return self._run(
            x,
            lambda level, block, x: block.down(x, widths[level]),
            lambda level, block, x: block.up(x, outer[level]),
        )

    def _masked(self, x: Tensor, widths: Tensor) -> tuple[Tensor, list[Tensor]]:
        keep = [
            (torch.arange(channels, device=x.device) < width[:, None])[..., None, None]
            for channels, width in zip(self.config.widths(), widths.unbind(1), strict=True)
        ]
        return self._run(
            x,
            lambda level, block, x: block.down(x) * keep[level],
            lambda level, block, x: block.up(x) * keep[level - 1] if level else block.up(x),
        )


# --------------------------------------------------------------------------------------------------
# Extraction


@torch.no_grad()
def extract(supernet: SuperUNetGenerator, config: UNetConfig) -> UNetGenerator:
    """Cut ``config`` out of the supernet as a stand-alone network with its own weights.

    The first channels of every weight are taken; where skip and return enter side by side, the
    first of each. Running statistics of batch norms are taken too: they fit a configuration that
    was trained alone, see `models.calibration`.

    Raises:
        InputError: the supernet is narrower than ``config``.
    """
    config.check_fits(supernet.config.genes[0])
    subnet = UNetGenerator(config, *supernet.made_of)
    joined = {
        f"{name}.weight"
        for name, module in supernet.named_modules()
        if isinstance(module, ElasticJoinedConvTranspose2d)
    }
    source = supernet.state_dict()
    for key, target in subnet.state_dict().items():
        value = source[key]
        if key in joined:
            value = first_of_halves(value, 0, target.shape[0])
        target.copy_(value[tuple(slice(n) for n in target.shape)])
    return subnet.to(next(supernet.parameters()).device)
