"""The deeper teacher of OMGD (ICCV 2021): a mobile generator with expansion blocks in between.

It is narrow (``ngf`` 16 beside a wider teacher of 64) and costs as much as that one. State-dict
keys are those of OMGD's ``mobile_deepest_resnet``.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from errors import InputError
from models.layers import make_norm
from models.layout import EXPANSION
from models.resnet import ResnetBlock

# The ``i`` of the state-dict keys ``model.<i>`` of the first and the last convolution and of the
# expansion blocks.
STEM, LAST = 1, 44
EXPANSION_BLOCKS = (7, 14, 22, 23, 32, 39)


class ExpansionBlock(nn.Module):
    """x + conv(relu(conv(relu(conv(relu(conv(x))))))): 1x1 to four times as many channels, 3x3,
    1x1 back, 3x3, each with its norm; no ReLU after the sum.

    forward(x): N width H W -> the same shape; H and W are 2 or more. The first convolution and its
    norm see the image with its border of reflected pixels.
    """

    def __init__(self, width: int, norm: str, dropout_rate: float):
        super().__init__()
        bias = norm != "batch"
        wide = EXPANSION * width
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            *(nn.Conv2d(width, wide, 1, bias=bias), make_norm(norm, wide), nn.ReLU(True)),
            *(nn.Conv2d(wide, wide, 3, bias=bias), make_norm(norm, wide), nn.ReLU(True)),
            *(nn.Conv2d(wide, width, 1, bias=bias), make_norm(norm, width), nn.ReLU(True)),
            nn.Dropout(dropout_rate),
            nn.ReflectionPad2d(1),
            *(nn.Conv2d(width, width, 3, bias=bias), make_norm(norm, width)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def _followed(conv: nn.Module, norm: str) -> tuple[nn.Module, ...]:
    """A convolution, its norm and a ReLU."""
    return conv, make_norm(norm, conv.out_channels), nn.ReLU(True)


class DeepestResnetGenerator(nn.Module):
    """The mobile ResNet generator of width ``ngf`` with six expansion blocks and four further
    convolutions: one of each after every change of resolution, and two blocks among the nine.

    Args:
        norm:         instance | batch | none
        dropout_rate: dropout inside the blocks, 0 = none

    forward(x): x N C H W float, clamped to [-1, 1]; H and W multiples of 4. Returns N output_nc H W
    in [-1, 1]. It has no activations to compare with those of other networks: where theirs stand
    (`models.layout.Layout.taps`), it has other layers.
    """

    def __init__(
        self,
        ngf: int,
        input_nc: int = 3,
        output_nc: int = 3,
        norm: str = "instance",
        dropout_rate: float = 0.0,
    ):
        super().__init__()
        bias = norm != "batch"

        def expansions(width: int, count: int) -> list[nn.Module]:
            return [ExpansionBlock(width, norm, dropout_rate) for _ in range(count)]

        def blocks(width: int, count: int) -> list[nn.Module]:
            return [ResnetBlock(width, width, norm, dropout_rate, True) for _ in range(count)]

        def resampled(conv: nn.Module) -> list[nn.Module]:
            """A convolution that changes the resolution, and what refines its output."""
            width = conv.out_channels
            refine = nn.Conv2d(width, width, 3, padding=1, bias=bias)
            return [*_followed(conv, norm), *expansions(width, 1), *_followed(refine, norm)]

        def down(width: int) -> list[nn.Module]:
            return resampled(nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias))

        def up(width: int) -> list[nn.Module]:
            return resampled(nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1, bias=bias))

        self.model = nn.Sequential(
            nn.ReflectionPad2d(3),
            *_followed(nn.Conv2d(input_nc, ngf, 7, bias=bias), norm),
            *(*down(ngf), *down(2 * ngf)),
            *(*blocks(4 * ngf, 4), *expansions(4 * ngf, 2), *blocks(4 * ngf, 5)),
            *(*up(4 * ngf), *up(2 * ngf)),
            *(nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.clamp(-1, 1))


def read_channels(state: Mapping[str, Tensor]) -> dict:
    """The fields of a `GeneratorSpec` that say how the network of ``state`` is built.

    Raises:
        InputError: it is no such network.
    """
    needed = [f"model.{i}.weight" for i in (STEM, LAST)]
    needed += [f"model.{i}.conv_block.1.weight" for i in EXPANSION_BLOCKS]
    missing = [key for key in needed if key not in state or state[key].dim() != 4]
    if missing:
        raise InputError(f"not a deepest ResNet generator: it has no {missing[0]}")
    stem, last = state[f"model.{STEM}.weight"], state[f"model.{LAST}.weight"]
    return dict(
        ngf=stem.shape[0],
        input_nc=stem.shape[1],
        output_nc=last.shape[0],
        norm="batch" if f"model.{STEM + 1}.weight" in state else "instance",
    )
