"""KID against its definition, term by term, and its sign and scale."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from errors import InputError
from metrics import kid
from metrics.kid import kernel_distance


def features(seed: int, n: int, d: int = 8, shift: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


@given(st.integers(2, 7), st.integers(2, 7), st.integers(1, 5), st.integers(0, 1000))
def test_equals_the_definition(m, n, d, seed):
    x, y = features(seed, m, d), features(seed + 1, n, d)
    kernel = lambda a, b: (float(a @ b) / d + 1) ** 3  # noqa: E731
    within_x = [kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j]
    within_y = [kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j]
    across = [kernel(a, b) for a in x for b in y]
    expected = np.mean(within_x) + np.mean(within_y) - 2 * np.mean(across)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_equal_distributions_are_about_zero_and_shifted_ones_are_not():
    values = [kernel_distance(features(2 * i, 100), features(2 * i + 1, 100)) for i in range(30)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 30**0.5 and min(values) < 0
    assert kernel_distance(features(0, 100), features(1, 100, shift=0.5)) > 10 * np.std(values)


def test_large_sets_are_compared_by_subsets_and_the_same_every_time(monkeypatch):
    monkeypatch.setattr(kid, "SUBSET", 50)
    x, y = features(0, 200), features(1, 120, shift=0.5)
    torch.manual_seed(1)
    first = kernel_distance(x, y)
    torch.manual_seed(2)
    assert kernel_distance(x, y) == first
    monkeypatch.setattr(kid, "SUBSET", 1000)
    assert first == pytest.approx(kernel_distance(x, y), rel=0.1)


def test_half_precision_is_computed_in_double():
    x, y = features(0, 20).half(), features(1, 20).half()
    assert kernel_distance(x, y) == kernel_distance(x.double(), y.double())


def test_one_image_is_too_few():
    with pytest.raises(InputError, match="at least 2 images a side and got 1 and 5"):
        kernel_distance(features(0, 1), features(1, 5))
