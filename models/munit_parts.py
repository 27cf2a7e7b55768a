"""The parts of MUNIT generators that make images in given styles; see `models.parts`.

The style encoder does not run then, so the gene that is its width decides no time. What the
perceptron makes of a style is the same in all networks but for its last layer, which makes the
factors of the decoder's norms: each of these blocks has its own rows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.inputs import Input, input_channels
from models.munit import BLOCKS, MunitForm, MunitGenerator, factors_of
from models.parts import Part, Piece

# Two residual blocks share a gene.
PAIR = BLOCKS // 2


class Layered(Piece):
    """Blocks that take nothing beside what the one before made, perhaps after a doubling."""

    def __init__(self, net: MunitGenerator, part: Part, blocks: Sequence[nn.Module]):
        chain = nn.ModuleList(blocks)
        super().__init__(net, [Input(input_channels(chain), part.scale)])
        self.chain = chain

    def layers(self, x: Tensor) -> Tensor:
        for block in self.chain:
            # Fixed layers are not told their channels.
            x = block(x) if isinstance(block, nn.Upsample) else block(x, None)
        return x


class Hidden(Piece):
    """The perceptron but for its last layer: N style_dim -> N mlp_dim."""

    def __init__(self, net: MunitGenerator):
        super().__init__(net, [Input(net.style_dim, None)])
        self.mlp = net.mlp.model[:-1]

    def layers(self, style: Tensor) -> Tensor:
        return self.mlp(style)


class AdaptiveBlocks(Piece):
    """The first residual blocks of the decoder, with their rows of the perceptron's last layer.

    layers(x, hidden): N C H W, and what `Hidden` makes -> N C H W.
    """

    def __init__(self, net: MunitGenerator, part: Part, count: int):
        blocks, last = net.dec.model[0].model[:count], net.mlp.model[-1].fc
        super().__init__(
            net, [Input(input_channels(blocks), part.scale), Input(last.in_features, None)]
        )
        # Each block has two norms.
        self.blocks, self.widths = blocks, net.widths.adaptive[: 2 * count]
        self.fc = nn.Linear(last.in_features, 2 * sum(self.widths))
        state = {k: v[: self.fc.out_features].clone() for k, v in last.state_dict().items()}
        self.fc.load_state_dict(state)
        self.fc.requires_grad_(False)

    def layers(self, x: Tensor, hidden: Tensor) -> Tensor:
        factors = factors_of(self.fc(hidden), self.widths)
        for index, block in enumerate(self.blocks):
            x = block(x, None, factors[2 * index : 2 * index + 2])
        return x


@dataclass(frozen=True)
class MunitParts:
    """Of dense and of mobile networks."""

    def all(self, form: MunitForm) -> list[Part]:
        return [
            Part("stem", ((1,),), 1),
            Part("down", ((1, 2),), 1),
            Part("trunk", ((2, 3),), 2),
            Part("content", ((3, 4), (3, 5)), 4, PAIR),
            Part("perceptron", ((),), 4),
            Part("decoder", ((3, 6), (3, 7)), 4, PAIR),
            Part("up0", ((3, 8),), 4),
            Part("up1", ((8, 9),), 2),
            Part("last", ((9,),), 1),
        ]

    def piece(self, net: MunitGenerator, part: Part, repeats: int) -> Piece:
        if part.name == "perceptron":
            return Hidden(net)
        if part.name == "decoder":
            return AdaptiveBlocks(net, part, repeats)
        stem, down, trunk, content = net.enc_content.model
        _, double0, up0, double1, up1, last = net.dec.model
        blocks = {
            "stem": [stem],
            "down": [down],
            "trunk": [trunk],
            "content": content.model[:repeats],
            "up0": [double0, up0],
            "up1": [double1, up1],
            "last": [last],
        }
        return Layered(net, part, blocks[part.name])
