"""The Frechet distance against the reference, SciPy's matrix square root, and the edges of its
domain."""

import numpy as np
import pytest
import torch
from golden_values import VALUES, golden_array
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg

from errors import InputError
from metrics.frechet import (
    Statistics,
    frechet_distance,
    load_statistics,
    save_statistics,
    statistics_distance,
)


def features(seed: int, n: int, d: int, rank: int | None = None) -> torch.Tensor:
    """Correlated features with a mean, of full or limited rank."""
    rng = np.random.default_rng(seed)
    rank = rank or d
    mixed = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) / rank**0.5
    return torch.from_numpy(mixed * rng.uniform(0.1, 2, d) + rng.uniform(-1, 1, d))


def by_square_root(fake: torch.Tensor, real: Statistics) -> float:
    """The textbook formula. The root is taken of the symmetric product, which stays accurate when
    it is singular."""
    x, mu, sigma = fake.numpy(), real.mu.numpy(), real.sigma.numpy()
    covariance = np.cov(x, rowvar=False)
    root = linalg.sqrtm(sigma).real
    trace = np.trace(linalg.sqrtm(root @ covariance @ root).real)
    return ((x.mean(0) - mu) ** 2).sum() + np.trace(covariance) + np.trace(sigma) - 2 * trace


# --------------------------------------------------------------------------------------------------
# Values


@pytest.mark.parametrize("case", VALUES["fid"])
def test_equals_the_reference(case):
    mu, sigma = (torch.from_numpy(golden_array(f"{case}_real_{key}")) for key in ("mu", "sigma"))
    fake = torch.from_numpy(golden_array(f"{case}_fake"))
    assert frechet_distance(fake, Statistics(mu, sigma)) == pytest.approx(
        VALUES["fid"][case], rel=1e-6
    )


@pytest.mark.parametrize("n, d", [(2, 128), (40, 128), (300, 256), (129, 128)])
def test_equals_the_matrix_square_root(n, d):
    real = Statistics.of_features(features(0, 400, d))
    fake = features(1, n, d)
    assert frechet_distance(fake, real) == pytest.approx(by_square_root(fake, real), rel=1e-6)


def test_equals_pytorch_fid(monkeypatch):
    from pytorch_fid.fid_score import calculate_frechet_distance

    # pytorch-fid 0.3.0 gives sqrtm an argument that SciPy 1.18 no longer has, and takes the first
    # of two results.
    sqrtm = linalg.sqrtm
    monkeypatch.setattr(
        "pytorch_fid.fid_score.linalg.sqrtm", lambda matrix, disp=True: (sqrtm(matrix), 0.0)
    )
    fake, real = features(3, 300, 128), Statistics.of_features(features(4, 300, 128))
    sigma = np.cov(fake.numpy(), rowvar=False)
    expected = calculate_frechet_distance(
        fake.numpy().mean(0), sigma, real.mu.numpy(), real.sigma.numpy()
    )
    assert frechet_distance(fake, real) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n, d", [(10, 64), (64, 64), (200, 64)])
def test_identical_sets_have_no_distance(n, d):
    x = features(5, n, d)
    distance = frechet_distance(x, Statistics.of_features(x))
    assert 0 <= distance < 1e-6 * Statistics.of_features(x).sigma.trace()


def test_moving_the_mean_costs_its_square():
    x = features(6, 100, 32)
    assert frechet_distance(x + 3, Statistics.of_features(x)) == pytest.approx(32 * 9, rel=1e-9)


def test_both_ways_of_taking_the_trace_agree():
    """Images repeated until they outnumber the features: the covariance is the same but for n -
    1."""
    x, real = features(7, 30, 48), Statistics.of_features(features(8, 500, 48))
    repeated = x.repeat(2, 1)
    centred = (repeated - repeated.mean(0)) * ((59 / 60) * (30 / 29)) ** 0.5
    assert frechet_distance(centred + x.mean(0), real) == pytest.approx(
        frechet_distance(x, real), rel=1e-7
    )


def test_statistics_are_numpys():
    x = features(9, 50, 16)
    found = Statistics.of_features(x.float())
    assert (
        found.n == 50 and found.dims == 16 and found.mu.dtype == found.sigma.dtype == torch.float64
    )
    np.testing.assert_allclose(
        found.sigma, np.cov(x.float().double().numpy(), rowvar=False), rtol=1e-10
    )
    np.testing.assert_allclose(found.factor @ found.factor.T, found.sigma, atol=1e-12)


@given(
    st.integers(2, 40),
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(2, 40),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 1e4, 1e8]),
)
def test_never_negative_and_never_nan(n, d, rank, m, seed, scale):
    """Rank-deficient on either side, constant, tiny and huge features."""
    fake = features(seed, n, d, min(rank, d)) * scale
    real = Statistics.of_features(features(seed + 1, m, d, min(rank, d)))
    distance = frechet_distance(fake, real)
    assert distance >= 0 and np.isfinite(distance)
    assert frechet_distance(fake.float(), Statistics.of_features(fake)) >= 0


def test_rank_deficient_statistics_have_the_distance_of_their_subspace():
    """Features that are zero beyond the first dimensions: what is computed must be what those alone
    give."""
    x, y = features(10, 60, 8), features(11, 60, 8)
    pad = torch.zeros(60, 56, dtype=torch.float64)
    small = frechet_distance(x, Statistics.of_features(y))
    large = frechet_distance(torch.cat([x, pad], 1), Statistics.of_features(torch.cat([y, pad], 1)))
    assert large == pytest.approx(small, rel=1e-6)


@pytest.mark.parametrize("n", [20, 300])
def test_two_statistics_are_as_far_apart_as_features_and_statistics(n):
    fake, real = features(12, n, 64), Statistics.of_features(features(13, 200, 64))
    found = statistics_distance(Statistics.of_features(fake), real)
    assert found == pytest.approx(frechet_distance(fake, real), rel=1e-6)
    with pytest.raises(InputError, match=r"64 features .* 8"):
        statistics_distance(Statistics.of_features(features(0, 20, 8)), real)


@pytest.mark.parametrize("n", [20, 300])
def test_a_device_whose_solver_fails_falls_back_to_the_cpu(monkeypatch, n):
    """cuSOLVER may not converge where LAPACK does."""
    fake, real = features(14, n, 64), features(15, 200, 64)
    expected = frechet_distance(fake, Statistics.of_features(real))
    failures = []

    def fails_first(solver):
        def solve(matrix):
            if solver not in failures:
                failures.append(solver)
                raise torch.linalg.LinAlgError("the algorithm failed to converge")
            return solver(matrix)

        return solve

    for name in ("eigh", "eigvalsh"):
        monkeypatch.setattr(torch.linalg, name, fails_first(getattr(torch.linalg, name)))
    assert frechet_distance(fake, Statistics.of_features(real)) == expected
    assert len(failures) == (1 if n <= 64 else 2)


def test_statistics_stay_on_the_cpu_where_a_device_has_no_float64():
    assert Statistics.of_features(features(0, 10, 4)).to("mps").mu.device.type == "cpu"


# --------------------------------------------------------------------------------------------------
# Refusals


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n", [3, 20])
def test_features_that_are_not_finite_are_refused(bad, n):
    fake = features(0, n, 8)
    fake[1, 2] = bad
    with pytest.raises(InputError, match="the generator has diverged"):
        frechet_distance(fake, Statistics.of_features(features(1, 20, 8)))


def test_one_image_is_too_few():
    real = Statistics.of_features(features(0, 10, 4))
    for n in (0, 1):
        with pytest.raises(InputError, match=f"at least 2 images and got {n}"):
            frechet_distance(torch.zeros(n, 4), real)
        with pytest.raises(InputError, match="at least 2 images"):
            Statistics.of_features(torch.zeros(n, 4))


def test_features_of_another_size_are_refused_naming_both():
    with pytest.raises(InputError, match=r"16 features .* 8.*`fid_dims`"):
        frechet_distance(features(0, 10, 8), Statistics.of_features(features(0, 10, 16)))


# --------------------------------------------------------------------------------------------------
# Files


def test_files_round_trip(tmp_path):
    path = tmp_path / "made" / "stat.npz"
    made = Statistics.of_features(features(0, 12, 8))
    save_statistics(path, made, "Inception, 8 features")
    found = load_statistics(path, 8, "Inception, 8 features")
    assert torch.equal(found.mu, made.mu) and torch.equal(found.sigma, made.sigma) and found.n == 12
    assert torch.equal(found.sample, made.sample) and found.sample.dtype == torch.float32
    assert [p.name for p in path.parent.iterdir()] == ["stat.npz"]
    save_statistics(path, Statistics(made.mu, made.sigma), "Inception, 8 features")
    found = load_statistics(path, 8)
    assert found.n is None and found.sample is None


@pytest.mark.parametrize("dtype", [">f8", ">f4", "<f2", np.longdouble, np.int32])
def test_numbers_of_any_real_type_are_read(tmp_path, dtype):
    """Big-endian files come from other machines; PyTorch alone would refuse them."""
    mu, sigma = np.arange(8).astype(dtype), np.eye(8).astype(dtype)
    np.savez(tmp_path / "stat.npz", mu=mu, sigma=sigma, sample=np.ones((3, 8)).astype(dtype))
    found = load_statistics(tmp_path / "stat.npz", 8)
    assert torch.equal(found.mu, torch.arange(8).double()) and found.sigma.dtype == torch.float64
    assert torch.equal(found.sample, torch.ones(3, 8)) and found.sample.dtype == torch.float32


def test_the_size_of_the_images_is_kept(tmp_path):
    made = Statistics.of_features(features(0, 12, 8), size=(64, 96))
    save_statistics(tmp_path / "stat.npz", made, "some features")
    assert load_statistics(tmp_path / "stat.npz", 8).size == (64, 96)
    assert made.to("cpu").size == (64, 96)


def test_files_of_the_existing_tools_hold_mu_and_sigma_alone(tmp_path):
    made = Statistics.of_features(features(0, 12, 8))
    np.savez(tmp_path / "stat.npz", mu=made.mu.float(), sigma=made.sigma.float())
    found = load_statistics(tmp_path / "stat.npz", 8, "Inception, 8 features")
    assert found.n is None and found.mu.dtype == torch.float64
    torch.testing.assert_close(found.sigma, made.sigma, rtol=1e-5, atol=1e-6)


def test_statistics_of_other_features_are_refused(tmp_path):
    path = tmp_path / "stat.npz"
    save_statistics(path, Statistics.of_features(features(0, 12, 8)), "random features, 8")
    with pytest.raises(
        InputError,
        match=f"{path}: made with 'random features, 8', this run uses 'Inception, 8 features'",
    ):
        load_statistics(path, 8, "Inception, 8 features")
    with pytest.raises(InputError, match=r"made with 8 features, this run uses 64 \(`fid_dims`\)"):
        load_statistics(path, 64, "random features, 64")


def damaged_files():
    good = dict(mu=np.zeros(8), sigma=np.eye(8))
    return {
        "no sigma": lambda path: np.savez(path, mu=good["mu"]),
        "no mu": lambda path: np.savez(path, sigma=good["sigma"]),
        "sigma of another shape": lambda path: np.savez(path, mu=good["mu"], sigma=np.eye(7)),
        "no numbers": lambda path: np.savez(path, mu=np.array(["a"] * 8), sigma=good["sigma"]),
        "complex": lambda path: np.savez(path, mu=good["mu"] * 1j, sigma=good["sigma"]),
        "a sample of text": lambda path: np.savez(path, **good, sample=np.full((3, 8), "a")),
        "a flat sample": lambda path: np.savez(path, **good, sample=np.zeros(8)),
        "a lone sample": lambda path: np.savez(path, **good, sample=np.zeros((1, 8))),
        "a sample that is not finite": lambda path: np.savez(
            path, **good, sample=np.full((3, 8), np.nan)
        ),
        "a sample of other features": lambda path: np.savez(path, **good, sample=np.zeros((3, 7))),
        "n of several numbers": lambda path: np.savez(path, **good, n=np.ones(3)),
        "a size of one number": lambda path: np.savez(path, **good, size=np.ones(1, int)),
        "no features": lambda path: np.savez(path, mu=np.zeros(0), sigma=np.zeros((0, 0))),
        "a scalar mu": lambda path: np.savez(path, mu=1.0, sigma=good["sigma"]),
        "pickled": lambda path: np.savez(path, mu=np.array([object()]), sigma=good["sigma"]),
        "text": lambda path: path.write_text("mu and sigma"),
        "empty": lambda path: path.write_bytes(b""),
        "a lone array": lambda path: path.write_bytes(npy_bytes(good["mu"])),
        "truncated": lambda path: (
            np.savez(path, **good),
            path.write_bytes(path.read_bytes()[:-40]),
        ),
        "a flipped byte": lambda path: (np.savez(path, **good), flip_byte(path, 400)),
    }


def npy_bytes(array: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def flip_byte(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("kind", damaged_files())
def test_bad_files_are_named(tmp_path, kind):
    path = tmp_path / "stat.npz"
    damaged_files()[kind](path)
    with pytest.raises(InputError, match=rf"`real_stat_path` {path}: "):
        load_statistics(path, 8)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        InputError,
        match=r"`real_stat_path` .*none\.npz: no such file; make it with get_real_stat\.py",
    ):
        load_statistics(tmp_path / "none.npz", 8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_statistics_that_are_not_finite_are_refused(tmp_path, bad):
    """Such a file would make every distance NaN or zero, and any subnet the best."""
    path = tmp_path / "stat.npz"
    sigma = np.eye(8)
    sigma[3, 3] = bad
    np.savez(path, mu=np.zeros(8), sigma=sigma)
    with pytest.raises(InputError, match=f"{path}"):
        load_statistics(path, 8)
