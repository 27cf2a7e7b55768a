"""FID and KID of two folders or files, as library and as command."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from errors import InputError
from metrics.fid import compare, describe, measure_images, statistics_of
from metrics.frechet import Statistics, frechet_distance, save_statistics
from metrics.kid import kernel_distance

CPU = torch.device("cpu")


class Colours:
    """Six features of an image."""

    dims, label = 6, "colours"

    def __call__(self, images):
        x = images.float()
        return torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], 1)


def folder(path: Path, seed: int, n: int, size: int = 16) -> Path:
    rng = np.random.default_rng(seed)
    path.mkdir()
    for i in range(n):
        pixels = rng.integers(0, 200 + 10 * seed, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{i}.png")
    return path


def pixels(path: Path) -> torch.Tensor:
    files = sorted(path.iterdir(), key=str)
    return torch.stack([torch.from_numpy(np.array(Image.open(p))).permute(2, 0, 1) for p in files])


def test_folders_and_their_statistics_give_the_same(tmp_path):
    net = Colours()
    a, b = folder(tmp_path / "a", 0, 20), folder(tmp_path / "b", 1, 30)
    x, y = net(pixels(a)), net(pixels(b))
    found = compare(a, b, net, CPU)
    assert found["fid"] == pytest.approx(
        frechet_distance(x, Statistics.of_features(y)), rel=1e-6, abs=1e-9
    )
    assert found["kid"] == pytest.approx(kernel_distance(x, y), rel=1e-5)
    assert found["n"] == (20, 30) and found["size"] == ((16, 16), (16, 16))
    save_statistics(tmp_path / "b.npz", statistics_of(b, net, CPU), net.label)
    again = compare(a, tmp_path / "b.npz", net, CPU)
    assert again == {key: pytest.approx(found[key]) for key in ("fid", "kid")} | {
        key: found[key] for key in ("n", "size")
    }


def test_files_without_feature_vectors_have_no_kid(tmp_path):
    net = Colours()
    made = statistics_of(folder(tmp_path / "a", 0, 9), net, CPU)
    np.savez(tmp_path / "a.npz", mu=made.mu, sigma=made.sigma)
    found = compare(tmp_path / "a", tmp_path / "a.npz", net, CPU)
    assert found["kid"] is None and found["n"] == (9, None) and found["size"][1] is None
    text = describe(found, net.label)
    assert "KID       not measured" in text and "9 and unknown images" in text


def test_other_sizes_are_said(tmp_path):
    net = Colours()
    a, b = folder(tmp_path / "a", 0, 5), folder(tmp_path / "b", 1, 5, size=24)
    text = describe(compare(a, b, net, CPU), net.label)
    assert "16x16 and 24x24" in text and "The sizes differ" in text
    folder(tmp_path / "b" / "more", 2, 2)
    mixed = compare(a, b, net, CPU)
    assert mixed["n"] == (5, 7) and mixed["size"] == ((16, 16), None)
    assert "The sizes differ" not in describe(mixed, net.label)


def test_order_and_batches_do_not_matter(tmp_path):
    net = Colours()
    stored = [torch.full((3, 4 + i % 3, 5), i, dtype=torch.uint8) for i in range(11)]
    found = measure_images(lambda i: stored[i], 11, net, CPU, threads=3, batch=4)
    expected = Statistics.of_features(torch.cat([net(image[None]) for image in stored]))
    torch.testing.assert_close(found.sigma, expected.sigma)
    assert torch.equal(found.sample, expected.sample) and found.size is None


def test_what_cannot_be_compared_is_named(tmp_path):
    net = Colours()
    a = folder(tmp_path / "a", 0, 5)
    with pytest.raises(InputError, match=r"^\S*none: no such folder or .npz file"):
        compare(a, tmp_path / "none", net, CPU)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(InputError, match=r"text.npz: not an .npz file with mu and sigma"):
        compare(a, tmp_path / "text.npz", net, CPU)
    with pytest.raises(InputError, match=r"at least 2 images a side and .*one holds 1"):
        compare(a, folder(tmp_path / "one", 0, 1), net, CPU)
    (a / "bad.png").write_text("no image")
    with pytest.raises(InputError, match=r"bad.png: not an image"):
        compare(a, a, net, CPU)


def test_the_command(cli, tmp_path):
    a, b = folder(tmp_path / "a", 0, 5), folder(tmp_path / "b", 1, 6)
    flags = ("--fid_features", "random", "--fid_dims", 64, "--gpu_ids", -1)
    outcome = cli("metrics.fid", *flags, a, b).succeeded()
    lines = dict(line.split(maxsplit=1) for line in outcome.stdout.splitlines())
    assert float(lines["FID"]) > 0 and lines["n"] == "5 and 6 images"
    assert lines["features"] == "random features, 64" and lines["size"] == "16x16 and 16x16"
    outcome = cli("metrics.fid", *flags, a, a)
    assert float(outcome.stdout.split()[1]) == pytest.approx(0, abs=1e-3)
    outcome = cli("metrics.fid", *flags, a, tmp_path / "none")
    assert outcome.returncode == 2 and outcome.stderr.startswith("error: ")
