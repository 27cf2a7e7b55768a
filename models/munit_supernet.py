"""The once-for-all MUNIT generator: its subnets, one per configuration, share weights.

A configuration runs on slices of the weights and equals the subnet that `extract` cuts out, bit for
bit. The supernet's perceptron makes the factors of all channels; a subnet uses those of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.layers import ElasticInstanceNorm2d
from models.munit import USUAL, Layers, MunitConfig, MunitForm, MunitGenerator, rows


class SuperMunitGenerator(MunitGenerator):
    """The supernet: forward(x, config, style) runs the subnet ``config``; None = full width.

    Same keys, shapes, input and output as the `MunitGenerator` of ``config``.
    """

    def __init__(
        self,
        config: MunitConfig,
        input_nc: int = 3,
        output_nc: int = 3,
        separable: bool = True,
        form: MunitForm = USUAL,
    ):
        make = Layers.of_supernet(separable, lambda channels: ElasticInstanceNorm2d())
        super().__init__(config, input_nc, output_nc, separable, form, make)
        self.config, self.made_of = config, (input_nc, output_nc, separable, form)

    def forward(
        self,
        x: Tensor,
        config: MunitConfig | None = None,
        style: Tensor | None = None,
        taps: bool = False,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        widths = (self.config if config is None else config).widths()
        style = self.style(x, widths) if style is None else style
        content = self.content(x, widths)
        image = self.decode(content, style, widths)
        return (image, [content]) if taps else image


@torch.no_grad()
def extract(supernet: SuperMunitGenerator, config: MunitConfig) -> MunitGenerator:
    """Cut ``config`` out of the supernet as a stand-alone network with its own weights.

    The first channels of every weight are taken; of the perceptron's last layer the rows of the
    subnet's channels, so that its outputs are one norm's after another's again.

    Raises:
        InputError: the supernet is narrower than ``config``.
    """
    config.check_fits(supernet.config.genes[0])
    subnet = MunitGenerator(config, *supernet.made_of)
    source, spans = supernet.state_dict(), supernet._spans(config.widths())
    for name in ("weight", "bias"):
        key = f"mlp.model.2.fc.{name}"
        source[key] = rows(source[key], spans)
    for key, target in subnet.state_dict().items():
        target.copy_(source[key][tuple(slice(n) for n in target.shape)])
    return subnet.to(next(supernet.parameters()).device)
