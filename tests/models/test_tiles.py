"""Images in tiles: blends that sum to 1, exactness where it is possible, statistics of norms."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from errors import InputError
from models.generators import GeneratorSpec
from models.layers import SampleNorm, any_size, init_weights
from models.layout import DEPTHS, Layout
from models.spade import PlainInstanceNorm2d
from models.styles import InRandomStyles, in_their_styles
from models.tiles import (
    Tiled,
    Tiling,
    fixed_statistics,
    measure_statistics,
    measures_images,
    tile_starts,
    tile_weights,
)


def network(netG="resnet_6blocks", ngf=4, **kwargs) -> nn.Module:
    """Random weights that neither saturate nor die."""
    torch.manual_seed(0)
    net = init_weights(GeneratorSpec(netG, ngf, **kwargs).build().requires_grad_(False), "kaiming")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    if hasattr(net, "model") and not netG.startswith("unet"):
        net.model[-2].weight *= 0.1
    return net.eval()


def image(height: int, width: int, count: int = 1) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(count, 3, height, width) * 2 - 1


class Rises(nn.Module):
    """A norm and no convolution: what it makes of a pixel depends on statistics alone."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm, self.reach, self.shapes = norm, 0, []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return self.norm(x)


# --------------------------------------------------------------------------------------------------
# Where tiles are and how much they count


@st.composite
def layouts(draw):
    multiple = draw(st.sampled_from([4, 8, 128]))
    tile = draw(st.integers(1, 40))
    overlap = draw(st.integers(0, (tile - 1) // 2))
    length = draw(st.integers(1, 200))
    return length * multiple, tile * multiple, overlap * multiple, multiple


@given(layouts(), st.floats(0, 1))
def test_weights_of_a_pixel_sum_to_one(layout, cropped):
    length, tile, overlap, multiple = layout
    starts = tile_starts(length, tile, overlap, multiple)
    size, crop = min(tile, length), int(cropped * overlap)
    assert starts[0] == 0 and starts[-1] == length - size
    assert all(start % multiple == 0 for start in starts)
    total = torch.zeros(length, dtype=torch.float64)
    for index, (start, weight) in enumerate(
        zip(starts, tile_weights(starts, size, overlap, crop), strict=True)
    ):
        assert len(weight) == size and weight.min() >= 0 and weight.max() <= 1
        total[start : start + size] += weight
        if index:
            assert weight[:crop].sum() == 0
        if index < len(starts) - 1:
            assert weight[size - crop :].sum() == 0
    assert torch.allclose(total, torch.ones_like(total), atol=1e-12)
    assert all(before + size - after >= 2 * overlap for before, after in pairwise(starts))


def test_as_few_tiles_as_possible():
    assert tile_starts(512, 512, 64) == [0]
    assert tile_starts(516, 512, 64) == [0, 4]
    assert len(tile_starts(512 + 384, 512, 64)) == 2
    assert len(tile_starts(512 + 388, 512, 64)) == 3


# --------------------------------------------------------------------------------------------------
# Equal to a whole pass


@pytest.mark.parametrize("blocks", DEPTHS)
def test_the_reach_is_what_gradients_find(blocks):
    """With positive weights no influence cancels."""
    net = network(f"resnet_{blocks}blocks", 1, norm="none").double()
    net.model[-1] = nn.Identity()
    for module in net.modules():
        if hasattr(module, "weight"):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    middle = 4 * 28
    x = torch.rand(1, 3, 2 * middle, 8, dtype=torch.float64, requires_grad=True)
    made, far = net(x), 0
    for row in range(middle, middle + 4):
        (found,) = torch.autograd.grad(made[0, 0, row, 4], x, retain_graph=True)
        rows = found.abs().sum((0, 1, 3)).nonzero()
        far = max(far, row - int(rows.min()), int(rows.max()) - row)
    assert far == Layout(blocks).reach == net.reach


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize(
    ("height", "width"), [(140, 140), (100, 144), (130, 209), (332, 144), (140, 141)]
)
def test_tiles_equal_the_whole_image(norm, height, width):
    net, x = network(norm=norm), image(height, width)
    whole = any_size(net, x)
    made = any_size(Tiled(net, Tiling(140, net.reach)), x)
    assert whole.std() > 0.05
    assert (made - whole).abs().max() <= 1e-5


def test_tiles_that_overlap_less_do_not():
    """What the test above cannot see with weights that ignore distant pixels."""
    net, x = network(norm="none"), image(300, 60)
    made = Tiled(net, Tiling(140, 4))(x)
    assert (made - net(x)).abs().max() > 1e-4


def test_wide_overlaps_blend_what_is_exact():
    net, x = network(norm="batch"), image(320, 60, count=2)
    made = Tiled(net, Tiling(180, net.reach + 16))(x)
    assert (made - net(x)).abs().max() <= 1e-5


@pytest.mark.parametrize("size", [(64, 64), (61, 64), (8, 40), (5, 3)])
def test_an_image_that_fits_is_made_as_a_whole(size):
    net, x = network(), image(*size)
    assert torch.equal(any_size(Tiled(net, Tiling(64, 16, "image")), x), any_size(net, x))


def test_one_pixel_more_makes_tiles_of_their_size():
    net = Rises(nn.Identity())
    x = image(65, 30)
    assert torch.allclose(any_size(Tiled(net, Tiling(64, 16)), x), x, atol=1e-6)
    assert net.shapes == [(1, 3, 64, 32)] * 2


def test_u_nets_blend():
    net, x = network("unet_128", 2), image(600, 130)
    made = any_size(Tiled(net, Tiling(384, 128)), x)
    assert made.shape == x.shape and made.isfinite().all()
    assert not hasattr(net, "reach")


# --------------------------------------------------------------------------------------------------
# Norms


@pytest.mark.parametrize(
    ("netG", "height", "width"),
    [("resnet_6blocks", 140, 300), ("mobile_resnet_6blocks", 148, 136)],
)
def test_exact_statistics_give_the_whole_image(netG, height, width):
    net, x = network(netG), image(height, width)
    x[..., width // 2 :] *= 0.3
    whole, own = net(x), Tiled(net, Tiling(136, 60, "own"))(x)
    assert (own - whole).abs().max() > 1e-2
    assert (Tiled(net, Tiling(136, 60, "exact"))(x) - whole).abs().max() <= 2e-4


def styled(netG="mobile_munit", ngf=2) -> nn.Module:
    """With every bias random: those before a norm change nothing, all others do."""
    net = network(netG, ngf)
    for name, value in net.named_parameters():
        if name.endswith((".bias", ".beta")):
            nn.init.normal_(value, 0, 0.1)
    net.mlp.model[2].fc.bias += 0.5
    return net


def test_exact_statistics_reach_the_adaptive_and_the_layer_norms():
    net, x = styled(), image(20, 180, count=2)
    x[..., 90:] *= 0.3
    chosen = InRandomStyles(net)
    whole, own = chosen(x), Tiled(chosen, Tiling(172, 84, "own"))(x)
    assert whole.std() > 0.05 and (own - whole).abs().max() > 1e-2
    made = Tiled(chosen, Tiling(172, 84, "exact"))(x)
    assert (made - whole).abs().max() <= 2e-4
    with pytest.raises(InputError, match="give an `overlap` of 84 or more"):
        Tiled(chosen, Tiling(172, 80, "exact"))


def test_the_reach_of_a_generator_in_a_style_is_what_gradients_find():
    """Of its convolutions alone; with positive weights no influence cancels."""
    net = styled("munit", 1).double()
    net.dec.model[-1].activation = None
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.InstanceNorm2d, SampleNorm)):
            module.forward = lambda x: x
    # Four channels of each adaptive norm are shifted by 0 and scaled by 1.
    factors = net.mlp.model[2].fc
    nn.init.zeros_(factors.weight)
    factors.bias.copy_(torch.tensor([0.0] * 4 + [1.0] * 4).repeat(8))
    middle, far = 4 * 28, 0
    x = torch.rand(1, 3, 2 * middle, 32, dtype=torch.float64, requires_grad=True)
    made = net(x, torch.zeros(1, 8).double())
    for row in range(middle, middle + 4):
        (found,) = torch.autograd.grad(made[0, 0, row, 4], x, retain_graph=True)
        rows = found.abs().sum((0, 1, 3)).nonzero()
        far = max(far, row - int(rows.min()), int(rows.max()) - row)
    assert far == net.reach == InRandomStyles(net).reach


@pytest.mark.parametrize(
    "netG", ["resnet_6blocks", "mobile_resnet_6blocks", "unet_128", "mobile_munit"]
)
def test_statistics_of_an_image_that_fits_are_its_own(netG):
    """Measured on the image itself, fixed statistics change nothing."""
    net, x = network(netG, norm="instance"), image(128, 128)
    if netG == "mobile_munit":
        net = in_their_styles(InRandomStyles(styled(netG)), x)
    with fixed_statistics(measure_statistics(net, [x])):
        made = net(x)
    norms = [m for m in net.modules() if isinstance(m, nn.InstanceNorm2d | SampleNorm)]
    assert (made - net(x)).abs().max() <= 1e-4
    assert all("forward" not in vars(norm) for norm in norms)


@pytest.mark.parametrize(
    "norm", [nn.InstanceNorm2d(3), PlainInstanceNorm2d()], ids=["PyTorch", "SPADE"]
)
@pytest.mark.parametrize("mode", ["image", "pooled", "exact"])
def test_statistics_come_from_the_whole_image(mode, norm):
    """Halves of other brightness stay so; with statistics of their own they become alike."""
    net, x = Rises(norm), image(64, 128) * 0.1
    x[..., 64:] += 0.8
    made = {norm: Tiled(net, Tiling(64, 0, norm))(x) for norm in ("own", mode)}
    # Scaling down takes away noise, so variance.
    close = 0.1 if mode == "image" else 1e-5
    assert (made[mode] - net(x)).abs().max() <= close
    assert (made["own"] - net(x)).abs().max() > 0.5


def test_batch_norms_in_training_measure_images_too():
    net = Rises(nn.BatchNorm2d(3)).train()
    nn.init.uniform_(net.norm.weight)
    nn.init.uniform_(net.norm.bias)
    x = image(64, 128, count=2)
    x[..., 64:] += 0.8
    whole = net(x)
    before = net.norm.running_mean.clone()
    assert measures_images(net)
    assert (Tiled(net, Tiling(64, 0, "exact"))(x) - whole).abs().max() <= 1e-5
    assert torch.equal(net.norm.running_mean, before)
    assert not measures_images(net.eval())


def test_norms_are_as_before_after_an_error():
    net, x = network(), image(40, 200)
    tiled = Tiled(net, Tiling(64, 16, "pooled"))
    net.model[-1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiled(x)
    assert all("forward" not in vars(module) for module in net.modules())


# --------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize(
    ("tiling", "words"),
    [
        (Tiling(510), "`tile` 510: this network needs a multiple of 4 pixels.*nearest is 512"),
        (Tiling(4, 0), "`tile` 4.*nearest is 8"),
        (Tiling(512, 66), "`overlap` 66.*nearest is 64"),
        (Tiling(512, -4), "`overlap` -4.*nearest is 0"),
        (Tiling(128, 64), "half of `tile` 128.*`overlap` of 60 at most, or a `tile` of 132"),
        (Tiling(512, 64, "batch"), "`tile_norm` batch is not one of own, image"),
        (Tiling(512, 56, "exact"), "`overlap` of 60 or more"),
    ],
)
def test_tiles_that_do_not_fit_the_network(tiling, words):
    with pytest.raises(InputError, match=words):
        Tiled(network(), tiling)


@pytest.mark.parametrize(
    ("tiling", "words"),
    [
        (Tiling(512, 64), "`overlap` 64: this network needs a multiple of 128 pixels"),
        (Tiling(500, 0), "nearest is 512"),
        (Tiling(384, 128, "exact"), "exact.*depends on the whole image"),
    ],
)
def test_u_nets_need_more(tiling, words):
    with pytest.raises(InputError, match=words):
        Tiled(network("unet_128", 2, norm="instance"), tiling)


def test_statistics_without_norms_are_said_to_have_no_effect():
    with pytest.warns(UserWarning, match="`tile_norm` image: no effect"):
        Tiled(network(norm="batch"), Tiling(64, 16, "image"))
