"""L1, PSNR and SSIM against slow NumPy that follows the formulas, and folders side by side."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from errors import InputError
from metrics.paired import PairedCriterion, compare_folders, l1, psnr, ssim


def plain_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two (H, W) images in 0..1, window by window (Wang et al. 2004, eq. 13)."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
            var_p = (weights * (p - mean_p) ** 2).sum()
            var_q = (weights * (q - mean_q) ** 2).sum()
            covariance = (weights * (p - mean_p) * (q - mean_q)).sum()
            values.append(
                (2 * mean_p * mean_q + 0.01**2)
                * (2 * covariance + 0.03**2)
                / ((mean_p**2 + mean_q**2 + 0.01**2) * (var_p + var_q + 0.03**2))
            )
    return float(np.mean(values))


def images(seed: int, n: int, channels: int, height: int, width: int, smooth: bool = False):
    """(N, C, H, W) uint8: noise, or a ramp with a little noise."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (n, channels, height, width))
    if smooth:
        noise = noise // 16 + np.linspace(0, 230, width).astype(int)
    return torch.from_numpy(noise.astype(np.uint8))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 16, 21), (1, 1, 11, 11), (3, 3, 12, 11)])
def test_ssim_equals_its_definition(shape, smooth):
    a = images(0, *shape, smooth=smooth)
    b = (a.int() + images(1, *shape).int() // 8).clamp(0, 255).to(torch.uint8)
    for other in (b, images(2, *shape), 255 - a):
        expected = [
            np.mean([plain_ssim(p, q) for p, q in zip(x, y, strict=True)])
            for x, y in zip(a.double().numpy() / 255, other.double().numpy() / 255, strict=True)
        ]
        np.testing.assert_allclose(ssim(a, other), expected, atol=2e-5)


@given(st.integers(0, 99), st.integers(1, 14), st.integers(1, 14))
def test_ssim_has_its_bounds_at_every_size(seed, height, width):
    a, b = images(seed, 2, 3, height, width), images(seed + 1, 2, 3, height, width)
    assert ssim(a, a).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert (ssim(a, b).abs() <= 1 + 1e-5).all()
    torch.testing.assert_close(ssim(a, b), ssim(b, a))


def test_ssim_of_flat_images_is_the_luminance_term():
    a, b = (torch.full((1, 1, 20, 20), v, dtype=torch.uint8) for v in (51, 102))
    x, y = 0.2, 0.4
    assert float(ssim(a, b)) == pytest.approx((2 * x * y + 1e-4) / (x**2 + y**2 + 1e-4), abs=1e-5)


def test_autocast_does_not_change_ssim():
    a, b = images(0, 1, 3, 32, 32, True), images(1, 1, 3, 32, 32, True)
    with torch.autocast("cpu", torch.bfloat16):
        found = ssim(a, b)
    assert torch.equal(found, ssim(a, b))


def test_l1_and_psnr_equal_their_definitions():
    a, b = images(0, 3, 3, 9, 14), images(1, 3, 3, 9, 14)
    difference = a.double().numpy() - b.double().numpy()
    np.testing.assert_allclose(l1(a, b), np.abs(difference).mean((1, 2, 3)), rtol=1e-6)
    expected = 10 * np.log10(255**2 / (difference**2).mean((1, 2, 3)))
    np.testing.assert_allclose(psnr(a, b), expected, rtol=1e-6)


def test_extremes_of_psnr():
    black, white = torch.zeros(1, 1, 4, 5, dtype=torch.uint8), torch.full((1, 1, 4, 5), 255)
    assert float(psnr(black, white)) == pytest.approx(0, abs=1e-5)
    one_off = black.clone()
    one_off[0, 0, 2, 3] = 1
    assert float(psnr(black, black)) == pytest.approx(10 * np.log10(255**2 * 20), rel=1e-6)
    assert float(psnr(black, black)) == float(psnr(black, one_off))


# --------------------------------------------------------------------------------------------------
# Criterion


def test_the_criterion_takes_means_over_images():
    a, b = images(0, 5, 3, 16, 16), images(1, 5, 3, 16, 16, True)
    whole, first, second, empty = (PairedCriterion() for _ in range(4))
    whole.update(a, list("abcde"), b)
    expected = {"n": 5, "l1_real": l1(a, b), "psnr": psnr(a, b), "ssim": ssim(a, b)}
    found = whole.result()
    assert list(found) == list(expected)
    for key in PairedCriterion.keys:
        assert found[key] == pytest.approx(float(expected[key].mean()), rel=1e-6)
    first.update(a[:2], ["a", "b"], b[:2])
    second.update(a[2:], ["c", "d", "e"], b[2:])
    states = [first.state(), second.state(), empty.state()]
    empty.merge(states)
    assert empty.result() == pytest.approx(found)
    whole.reset()
    with pytest.raises(InputError, match="at least one pair"):
        whole.result()


def test_the_criterion_needs_real_images_of_the_same_shape():
    criterion, a = PairedCriterion(), images(0, 2, 3, 8, 8)
    for real in (None, a[:, :1], a[:1]):
        with pytest.raises(ValueError, match="wants real images of shape"):
            criterion.update(a, ["a", "b"], real)


# --------------------------------------------------------------------------------------------------
# Folders


def write(folder: Path, stored: dict[str, torch.Tensor]) -> Path:
    for name, image in stored.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name)
    return folder


@pytest.fixture
def folders(tmp_path):
    """Three pairs, of two sizes, with other endings on the two sides."""
    a, b = images(0, 2, 3, 16, 20), images(1, 2, 3, 16, 20)
    c, d = images(2, 1, 3, 12, 12), images(3, 1, 3, 12, 12)
    left = {"1.png": a[0], "deep/2.png": a[1], "3.png": c[0]}
    right = {"1.bmp": b[0], "deep/2.bmp": b[1], "3.bmp": d[0]}
    expected = [torch.cat([f(a, b), f(c, d)]).mean().item() for f in (l1, psnr, ssim)]
    return write(tmp_path / "a", left), write(tmp_path / "b", right), expected


def test_folders_are_compared_by_name(folders):
    a, b, expected = folders
    found = compare_folders(a, b)
    assert found["n"] == 3
    assert [found[key] for key in PairedCriterion.keys] == pytest.approx(expected, rel=1e-6)


def test_folders_that_do_not_belong_together_are_refused(folders, tmp_path):
    a, b, _ = folders
    with pytest.raises(InputError, match=r"none: no such folder"):
        compare_folders(a, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no images"):
        compare_folders(a, tmp_path / "empty")
    (b / "deep" / "2.bmp").unlink()
    with pytest.raises(InputError, match=rf"1 names .* first deep/2: {a} has it, {b} does not"):
        compare_folders(a, b)
    write(b, {"deep/2.png": images(0, 1, 3, 16, 16)[0]})
    with pytest.raises(InputError, match=r"deep/2.png is 20x16 but .*deep/2.png is 16x16"):
        compare_folders(a, b)
    write(b, {"1.png": images(0, 1, 3, 16, 16)[0]})
    with pytest.raises(InputError, match=r"holds 1.bmp and 1.png|holds 1.png and 1.bmp"):
        compare_folders(a, b)


def test_the_command_prints_the_measures(cli, folders, tmp_path):
    a, b, expected = folders
    outcome = cli("metrics.paired", a, b)
    assert outcome.returncode == 0, outcome.stderr
    words = [line.split()[:2] for line in outcome.stdout.splitlines()]
    assert [name for name, _ in words] == ["L1", "PSNR", "SSIM", "n"] and words[3][1] == "3"
    assert [float(v) for _, v in words[:3]] == pytest.approx(expected, abs=1e-4)
    outcome = cli("metrics.paired", a, tmp_path / "none")
    assert outcome.returncode == 2 and outcome.stderr.startswith("error: ")
