"""The once-for-all SPADE generator: its subnets, one per configuration, share weights.

A configuration runs on slices of the weights and equals the subnet that `extract` cuts out, bit for
bit. Subnets need statistics of their own for their batch norms, see `models.calibration`.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from models.layers import (
    ElasticConv2d,
    ElasticDepthwiseConv2d,
    ElasticInstanceNorm2d,
)
from models.spade import (
    USUAL,
    Layers,
    SpadeConfig,
    SpadeForm,
    SpadeGenerator,
    blocks_of,
    make_inner_norm,
)


class ElasticSeparableConv2d(nn.Module):
    """`models.spade.SeparableConv2d` on its first channels.

    forward(x, out): N C H W with C or fewer channels -> N out H W; ``out`` None = all channels.
    """

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.conv = nn.Sequential(
            ElasticDepthwiseConv2d(channels, channels, 3, padding=1, groups=channels),
            ElasticInstanceNorm2d(),
            ElasticConv2d(channels, out, 1),
        )

    def forward(self, x: Tensor, out: int | None = None) -> Tensor:
        depthwise, norm, pointwise = self.conv
        return pointwise(norm(depthwise(x)), out)


class SuperSpadeGenerator(SpadeGenerator):
    """The supernet: forward(x, config) runs the subnet ``config``; None = full width.

    Same keys, shapes, input and output as the separable `SpadeGenerator` of ``config``.
    """

    def __init__(
        self,
        config: SpadeConfig,
        input_nc: int,
        output_nc: int = 3,
        norm: str = "batch",
        form: SpadeForm = USUAL,
    ):
        make = Layers(
            dense=ElasticConv2d,
            main=ElasticConv2d,
            modulation=ElasticSeparableConv2d,
            norm=partial(make_inner_norm, norm, sync=form.sync),
        )
        super().__init__(config, input_nc, output_nc, norm=norm, form=form, make=make)
        self.config, self.made_of = config, (input_nc, output_nc, True, norm, form)

    def forward(
        self, x: Tensor, config: SpadeConfig | None = None, taps: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        config = self.config if config is None else config
        image, tapped = self._run(x, blocks_of(config.genes, self.form.num_upsampling_layers))
        return (image, tapped) if taps else image

    def tap(self, x: Tensor) -> list[Tensor]:
        return self(x, taps=True)[1]


@torch.no_grad()
def extract(supernet: SuperSpadeGenerator, config: SpadeConfig) -> SpadeGenerator:
    """Cut ``config`` out of the supernet as a stand-alone network with its own weights.

    The first channels of every weight are taken; running statistics keep the supernet's width, as
    in the published files.

    Raises:
        InputError: the supernet is narrower than ``config``.
    """
    config.check_fits(supernet.config.genes[0])
    subnet = SpadeGenerator(config, *supernet.made_of, stored=supernet.config)
    source = supernet.state_dict()
    for key, target in subnet.state_dict().items():
        target.copy_(source[key][tuple(slice(n) for n in target.shape)])
    return subnet.to(next(supernet.parameters()).device)
