"""PatchGAN and pixel discriminators (SPEC 2). A conditional one sees cat(input, output)."""

from __future__ import annotations

from torch import Tensor, nn

from models.layers import make_norm


class NLayerDiscriminator(nn.Module):
    """PatchGAN with a receptive field of 70x70 pixels at ``n_layers=3``.

    forward(x): N input_nc H W -> N 1 H' W' scores, unbounded. No norm after the first convolution.
    """

    def __init__(self, input_nc: int, ndf: int = 128, n_layers: int = 3, norm: str = "instance"):
        super().__init__()
        bias = norm != "batch"
        layers: list[nn.Module] = [nn.Conv2d(input_nc, ndf, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        channels = ndf
        for n in range(1, n_layers + 1):
            out = ndf * min(2**n, 8)
            stride = 2 if n < n_layers else 1
            layers += [
                nn.Conv2d(channels, out, 4, stride, 1, bias=bias),
                make_norm(norm, out),
                nn.LeakyReLU(0.2, True),
            ]
            channels = out
        self.model = nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PixelDiscriminator(nn.Module):
    """1x1 PatchGAN: judges each pixel by itself.

    forward(x): N input_nc H W -> N 1 H W scores, unbounded.
    """

    def __init__(self, input_nc: int, ndf: int = 128, norm: str = "instance"):
        super().__init__()
        bias = norm != "batch"
        self.net = nn.Sequential(
            *(nn.Conv2d(input_nc, ndf, 1), nn.LeakyReLU(0.2, True)),
            *(
                nn.Conv2d(ndf, ndf * 2, 1, bias=bias),
                make_norm(norm, ndf * 2),
                nn.LeakyReLU(0.2, True),
            ),
            nn.Conv2d(ndf * 2, 1, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def build_discriminator(
    name: str, input_nc: int, ndf: int = 128, n_layers: int = 3, norm: str = "instance"
) -> nn.Module:
    """The discriminator called ``name``: ``n_layers`` or ``pixel`` (``netD``)."""
    if name == "n_layers":
        return NLayerDiscriminator(input_nc, ndf, n_layers, norm)
    return PixelDiscriminator(input_nc, ndf, norm)
