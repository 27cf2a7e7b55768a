"""Losses of several scales, from their formulas."""

import pytest
import torch

from training.multi_scale_losses import feature_matching, fooled, judged, split


def outputs(seed, n=2, scales=2):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(4, 5, 6), (8, 3, 4), (1, 2, 3)]
    return [
        [torch.randn(n, *shape, generator=draw) * (1 + scale) for shape in shapes]
        for scale in range(scales)
    ]


def test_the_discriminators_hinge_is_the_mean_over_scales():
    fake, real = outputs(0), outputs(1)
    of_fake, of_real = judged("hinge", fake, real)
    wanted_fake = [(1 + scale[-1]).clamp(min=0).mean() for scale in fake]
    wanted_real = [(1 - scale[-1]).clamp(min=0).mean() for scale in real]
    assert of_fake.item() == pytest.approx(sum(wanted_fake).item() / 2)
    assert of_real.item() == pytest.approx(sum(wanted_real).item() / 2)


def test_the_generators_is_the_negative_score():
    fake = outputs(2)
    wanted = -sum(scale[-1].mean().item() for scale in fake) / 2
    assert fooled("hinge", fake).item() == pytest.approx(wanted)
    squares = sum((scale[-1] - 1).square().mean().item() for scale in fake) / 2
    assert fooled("lsgan", fake).item() == pytest.approx(squares)


def test_features_are_compared_but_not_scores():
    fake, real = outputs(3), outputs(4)
    wanted = sum(
        (f - r).abs().mean().item()
        for fakes, reals in zip(fake, real, strict=True)
        for f, r in zip(fakes[:2], reals[:2], strict=True)
    )
    assert feature_matching(fake, real).item() == pytest.approx(wanted / 2, rel=1e-5)
    other = [[*scale[:-1], scale[-1] + 100] for scale in fake]
    assert feature_matching(other, real).item() == feature_matching(fake, real).item()
    assert feature_matching(fake, outputs(3)).item() == 0


def test_real_features_get_no_gradient():
    fake, real = outputs(5), outputs(6)
    for each in (*fake[0], *real[0]):
        each.requires_grad_(True)
    feature_matching(fake, real).backward()
    assert fake[0][0].grad is not None and real[0][0].grad is None


def test_a_batch_is_split_into_its_halves():
    both = outputs(7, n=4)
    first, second = split(both)
    assert torch.equal(torch.cat((first[1][2], second[1][2])), both[1][2])
    assert first[0][0].shape[0] == second[0][0].shape[0] == 2
