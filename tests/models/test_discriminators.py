"""Discriminators: their outputs are pinned in test_generators; here their layout."""

import pytest
import torch
from torch import nn

from errors import InputError
from models.discriminators import blocks_of, build_discriminator
from models.generators import count_parameters


def test_the_default_is_a_70_pixel_patchgan():
    """A score depends on 70 pixels each way: the gradient of one score says which."""
    net = build_discriminator("n_layers", 6, ndf=4, norm="none")
    x = torch.randn(1, 6, 128, 128, requires_grad=True)
    scores = net(x)
    scores[0, 0, 7, 7].backward()
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == 70
    assert scores.shape == (1, 1, 14, 14)


def test_channels_double_up_to_eight_times():
    net = build_discriminator("n_layers", 3, ndf=2, n_layers=5)
    assert [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)] == [
        2,
        4,
        8,
        16,
        16,
        16,
        1,
    ]


def test_nothing_follows_the_first_conv_but_its_activation():
    net = build_discriminator("n_layers", 6, ndf=4)
    assert isinstance(net.model[1], nn.LeakyReLU)
    assert sum(isinstance(m, nn.InstanceNorm2d) for m in net.modules()) == 3


@pytest.mark.parametrize("name", ["n_layers", "pixel"])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_every_norm_builds(name, norm):
    net = build_discriminator(name, 4, ndf=4, norm=norm)
    assert net(torch.randn(2, 4, 32, 32)).isfinite().all()
    biases = [m.bias is not None for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert biases[0] and all(biases) == (norm != "batch")


def test_the_pixel_discriminator_judges_each_pixel_by_itself():
    net = build_discriminator("pixel", 3, ndf=4, norm="none")
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(net(x)[:, :, 2:3, 5:6], net(x[:, :, 2:3, 5:6]))


# --------------------------------------------------------------------------------------------------
# One for two generators


def shared(share: int, name: str = "n_layers", **kwargs) -> nn.Module:
    torch.manual_seed(3)
    return build_discriminator(name, 6, 4, heads=2, share=share, **kwargs)


@pytest.mark.parametrize(("ndf", "one"), [(64, 2_767_809), (96, 6_216_097), (128, 11_040_641)])
def test_what_is_shared_exists_once(ndf, one):
    blocks = {0: 2 * one, 5: one}
    # Of a block: 4x4 weights from the channels before, and a bias.
    last_two = (16 * 4 * ndf + 1) * 8 * ndf + 16 * 8 * ndf + 1
    with torch.device("meta"):
        for share, wanted in (blocks | {3: one + last_two}).items():
            net = build_discriminator("n_layers", 6, ndf, heads=2, share=share)
            assert count_parameters(net) == wanted
            assert len(set(net.state_dict())) == len({id(p) for p in net.parameters()})


@pytest.mark.parametrize("share", range(6))
def test_a_judge_is_a_patchgan_of_shared_and_own_blocks(share):
    """Scores are those of a plain discriminator with the same weights; gradients reach what the
    judge looks through, and nothing else."""
    net, x = shared(share), torch.randn(2, 6, 32, 32)
    judges = net.judges()
    for judge, scores in zip(judges, net.scores(x), strict=True):
        plain = build_discriminator("n_layers", 6, 4)
        plain.model.load_state_dict(judge.state_dict())
        assert torch.equal(plain(x), scores) and torch.equal(judge(x), scores)
    assert torch.equal(*net.scores(x)) == (share == 5)
    judges[1](x).square().sum().backward()
    touched = [
        [any(p.grad is not None for layer in block for p in layer.parameters()) for block in cut]
        for cut in map(blocks_of, judges)
    ]
    assert touched == [[True] * share + [False] * (5 - share), [True] * 5]


def test_the_pixel_discriminator_is_shared_alike():
    net, x = shared(2, "pixel", norm="none"), torch.randn(1, 6, 8, 8)
    assert len(net.trunk) == 5 and [len(head) for head in net.heads] == [1, 1]
    assert not torch.equal(*net.scores(x))


def test_more_blocks_than_there_are_cannot_be_shared():
    with pytest.raises(InputError, match="`share_D` 6: the discriminator has 5 blocks"):
        shared(6)
