"""The pix2pix ResNet generator and its mobile (separable) form: one network, built from a `ChannelConfig`.

State-dict keys and shapes are a public contract (SPEC 2); index i below is the i in ``model.<i>``.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.config import ChannelConfig
from models.layers import SeparableConv2d, make_norm

# Where teacher and student are compared during distillation: the end of the downsampling, then of each group of
# three blocks (paper section 3.2).
TAPS = (9, 12, 15, 18)


# --------------------------------------------------------------------------------------------------
# Residual block


class ResnetBlock(nn.Module):
    """x + conv(relu(conv(x))), both 3x3 with reflection padding; no ReLU after the sum."""

    def __init__(self, trunk: int, inner: int, norm: str, dropout_rate: float, separable: bool):
        super().__init__()
        bias = norm != "batch"

        def conv3(cin, cout):
            return SeparableConv2d(cin, cout) if separable else nn.Conv2d(cin, cout, 3, bias=bias)

        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            conv3(trunk, inner),
            make_norm(norm, inner),
            nn.ReLU(True),
            nn.Dropout(dropout_rate),
            nn.ReflectionPad2d(1),
            conv3(inner, trunk),
            make_norm(norm, trunk),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


# --------------------------------------------------------------------------------------------------
# Generator


class ResnetGenerator(nn.Module):
    """Image-to-image ResNet generator with nine blocks.

    Args:
        config:       channels of every layer; ``ChannelConfig.uniform(ngf)`` for the networks named by an ngf
        separable:    False = ``resnet_9blocks``; True = ``mobile_``, ``sub_mobile_`` and ``legacy_sub_mobile_``
        norm:         instance | batch | none
        dropout_rate: dropout inside the blocks, 0 = none

    forward(x): x N C H W float, clamped to [-1, 1]; H and W multiples of 4. Returns N output_nc H W in [-1, 1]; with ``taps=True``
    also the list of the four activations at `TAPS`.
    """

    def __init__(
        self,
        config: ChannelConfig,
        input_nc: int = 3,
        output_nc: int = 3,
        separable: bool = True,
        norm: str = "instance",
        dropout_rate: float = 0.0,
    ):
        super().__init__()
        w = config.widths
        bias = norm != "batch"
        down = dict(kernel_size=3, stride=2, padding=1, bias=bias)
        up = dict(kernel_size=3, stride=2, padding=1, output_padding=1, bias=bias)
        self.model = nn.Sequential(
            *(nn.ReflectionPad2d(3), nn.Conv2d(input_nc, w.stem, 7, bias=bias)),
            *(make_norm(norm, w.stem), nn.ReLU(True)),
            *(nn.Conv2d(w.stem, w.down1, **down), make_norm(norm, w.down1), nn.ReLU(True)),
            *(nn.Conv2d(w.down1, w.trunk, **down), make_norm(norm, w.trunk), nn.ReLU(True)),
            *(ResnetBlock(w.trunk, inner, norm, dropout_rate, separable) for inner in w.inner),
            *(nn.ConvTranspose2d(w.trunk, w.up1, **up), make_norm(norm, w.up1), nn.ReLU(True)),
            *(nn.ConvTranspose2d(w.up1, w.up2, **up), make_norm(norm, w.up2), nn.ReLU(True)),
            *(nn.ReflectionPad2d(3), nn.Conv2d(w.up2, output_nc, 7), nn.Tanh()),
        )

    def forward(self, x: Tensor, taps: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        x = x.clamp(-1, 1)
        tapped = []
        for index, layer in enumerate(self.model):
            x = layer(x)
            if taps and index in TAPS:
                tapped.append(x)
        return (x, tapped) if taps else x

    def tap(self, x: Tensor) -> list[Tensor]:
        """Only the activations at `TAPS`; the layers behind them are not run."""
        x = x.clamp(-1, 1)
        tapped = []
        for index in range(TAPS[-1] + 1):
            x = self.model[index](x)
            if index in TAPS:
                tapped.append(x)
        return tapped
