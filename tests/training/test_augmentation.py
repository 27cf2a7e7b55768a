"""What a discriminator sees: each change from its definition, and that gradients pass through."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.augmentation import CHANGES, Augmentation, change_color, cut_out, translate

SEEDS = st.integers(0, 2**31 - 1)


def pairs(n: int = 5, channels: int = 6, height: int = 16, width: int = 24) -> torch.Tensor:
    """No value is 0, and no two are equal."""
    values = torch.arange(1, n * channels * height * width + 1, dtype=torch.float64)
    return (values / len(values)).view(n, channels, height, width)


@given(SEEDS, st.integers(1, 3))
def test_color_is_brightness_saturation_and_contrast_of_the_output(seed, seen):
    torch.manual_seed(seed)
    x = pairs() - 0.5
    changed = change_color(x, seen)
    assert torch.equal(changed[:, :-seen], x[:, :-seen])
    torch.manual_seed(seed)
    drawn = torch.rand(3, len(x), 1, 1, 1)
    for image, found, brightness, saturation, contrast in zip(
        x[:, -seen:], changed[:, -seen:], *drawn.flatten(1).double(), strict=True
    ):
        image = image + brightness - 0.5
        grey = image.mean(0)
        image = grey + 2 * saturation * (image - grey)
        image = image.mean() + (0.5 + contrast) * (image - image.mean())
        torch.testing.assert_close(found, image, rtol=0, atol=1e-6)


@given(SEEDS)
def test_translation_moves_input_and_output_alike_and_brings_in_zeros(seed):
    torch.manual_seed(seed)
    x = pairs()
    for image, moved in zip(x, translate(x, 3), strict=True):
        matches = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-3, 4)
            if torch.equal(moved, shifted(image, down, right))
        ]
        assert len(matches) == 1


def shifted(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    _, height, width = image.shape
    around = torch.nn.functional.pad(image, (8, 8, 8, 8))
    return around[:, 8 - down :, 8 - right :][:, :height, :width]


def test_every_shift_up_to_an_eighth_is_drawn():
    torch.manual_seed(0)
    image = pairs(1)
    moved = translate(image.expand(600, -1, -1, -1), 3)
    rows = {int(m[0].any(1).nonzero()[0]) - int(m[0].flip(0).any(1).nonzero()[0]) for m in moved}
    columns = {int(m[0].any(0).nonzero()[0]) - int(m[0].flip(1).any(0).nonzero()[0]) for m in moved}
    assert rows == {*range(-2, 3)} and columns == {*range(-3, 4)}


@given(SEEDS)
def test_a_cutout_is_a_rectangle_of_half_the_sides(seed):
    torch.manual_seed(seed)
    x = pairs()
    for image, cut in zip(x, cut_out(x, 3), strict=True):
        gone = cut[0] == 0
        assert torch.equal(cut, image.masked_fill(gone, 0))
        rows, columns = gone.any(1).nonzero().flatten(), gone.any(0).nonzero().flatten()
        assert int(gone.sum()) == len(rows) * len(columns)
        for found, side in ((rows, 16), (columns, 24)):
            assert len(found) <= side // 2
            assert len(found) == side // 2 or found[0] == 0 or found[-1] == side - 1


@pytest.mark.parametrize("name", CHANGES)
def test_gradients_pass_through(name):
    def changed(x):
        torch.manual_seed(4)
        return Augmentation([name])(x, 3)

    x = pairs(1, 4, 8, 8).requires_grad_(True)
    assert torch.autograd.gradcheck(changed, x)


@pytest.mark.parametrize("name", CHANGES)
def test_images_are_changed_each_in_its_own_way(name):
    torch.manual_seed(5)
    x = pairs(1).expand(8, -1, -1, -1)
    changed = CHANGES[name](x, 3)
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 3


def test_without_names_nothing_is_changed_and_nothing_drawn():
    before, x = torch.get_rng_state(), pairs()
    assert Augmentation()(x, 3) is x
    assert torch.equal(before, torch.get_rng_state())


def test_changes_follow_one_another():
    x = pairs()
    torch.manual_seed(6)
    found = Augmentation(["cutout", "translation"])(x, 3)
    torch.manual_seed(6)
    assert torch.equal(found, translate(cut_out(x, 3), 3))
