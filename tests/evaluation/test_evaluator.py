"""One way to measure a generator, and the statistics of real images: made once, kept, and made again when files change."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from data.datasets import AlignedDataset, SingleDataset, Source
from data.loader import Loader
from data.transforms import Crops, Resize, to_uint8
from errors import InputError
from evaluation.evaluator import Evaluator
from evaluation.real import measure_real, real_statistics
from metrics.criteria import FeatureCriterion
from metrics.frechet import Statistics, frechet_distance, save_statistics

CPU = torch.device("cpu")


class Colours(torch.nn.Module):
    """Six features of an image. Counts how many it has seen."""

    dims, label, seen = 6, "colours", 0

    def forward(self, images):
        self.seen += len(images)
        x = images.float()
        return torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], 1)


@pytest.fixture
def root(tmp_path):
    """Seven pairs in two sizes."""
    rng = np.random.default_rng(0)
    (tmp_path / "val").mkdir()
    for i in range(7):
        size = 8 if i < 4 else 12
        pixels = rng.integers(0, 256, (size, 2 * size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / f"{i}.png")
    return tmp_path


def dataset(root, direction="AtoB"):
    return AlignedDataset(Source(str(root), "val"), direction, Resize("none"))


def evaluator(root, criteria, batch_size=3) -> Evaluator:
    data = AlignedDataset(Source(str(root), "val"), "AtoB", Resize("resize_and_crop", 8, 8))
    return Evaluator(Loader(data, batch_size, CPU, Crops((8, 8), False, False)), criteria)


def targets(root, side="B") -> list[torch.Tensor]:
    return [torch.from_numpy(dataset(root).load(i)[side])[None] for i in range(7)]


# ------------------------------------------------------------------------------------------------------------
# Evaluator


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_a_generator_is_measured_on_its_quantised_outputs(root, batch_size):
    net = Colours()
    real = measure_real(dataset(root), net, CPU)
    measure = evaluator(root, [FeatureCriterion(net, real, CPU)], batch_size)
    generate = lambda x: (x * 0.7).tanh()  # noqa: E731
    outputs = [to_uint8(generate(batch.A)) for batch in measure.loader.epoch()]
    expected = frechet_distance(torch.cat([net(images) for images in outputs]), real)
    for _ in range(2):  # and measuring leaves nothing behind
        found = measure(generate)
        assert found["fid"] == pytest.approx(expected, rel=1e-6) and found["n"] == 7
        assert found["seconds"] >= 0 and set(found) == {"fid", "kid", "n", "seconds"}
    assert measure.label == "FID (colours)"


def test_outputs_come_with_their_names_and_can_be_limited(root):
    measure = evaluator(root, [])
    names = [n for _, batch in measure.outputs(lambda x: x) for n in batch]
    assert names == list("0123456")
    limited = list(measure.outputs(lambda x: x, limit=4))
    assert [len(images) for images, _ in limited] == [3, 3]
    assert limited[0][0].dtype == torch.uint8


# ------------------------------------------------------------------------------------------------------------
# Statistics of real images


@pytest.mark.parametrize("direction, side", [("AtoB", "B"), ("BtoA", "A")])
def test_statistics_are_of_the_targets_as_stored(root, direction, side):
    net = Colours()
    found = measure_real(dataset(root, direction), net, CPU)
    expected = Statistics.of_features(torch.cat([net(image) for image in targets(root, side)]))
    torch.testing.assert_close(found.mu, expected.mu)
    torch.testing.assert_close(found.sigma, expected.sigma)
    assert found.n == 7


def test_single_images_are_their_own_targets(root):
    net = Colours()
    found = measure_real(SingleDataset(Source(str(root), "val"), Resize("none")), net, CPU)
    assert found.n == 7 and net.seen == 7


def test_one_image_has_no_statistics(root):
    data = AlignedDataset(Source(str(root), "val", max_size=1), "AtoB", Resize("none"))
    with pytest.raises(InputError, match=rf"at least 2 real images and {root / 'val'} gives 1"):
        measure_real(data, Colours(), CPU)


def test_statistics_are_made_once(root, tmp_path):
    cache = (tmp_path / "cache", tmp_path / "other")
    net = Colours()
    first = real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 7
    again = real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 7 and torch.equal(first.sigma, again.sigma) and again.n == 7
    assert len(list(cache[0].iterdir())) == 1 and not cache[1].exists()


def test_they_are_made_again_when_anything_changes(root, tmp_path):
    cache = (tmp_path / "cache",)
    net = Colours()
    real_statistics(dataset(root), net, CPU, cache=cache)
    real_statistics(dataset(root, "BtoA"), net, CPU, cache=cache)
    assert net.seen == 14
    resized = AlignedDataset(Source(str(root), "val"), "AtoB", Resize("resize_and_crop", 8, 8))
    real_statistics(resized, net, CPU, cache=cache)
    fewer = AlignedDataset(Source(str(root), "val", max_size=5), "AtoB", Resize("none"))
    real_statistics(fewer, net, CPU, cache=cache)
    assert net.seen == 26
    os.utime(root / "val" / "3.png", ns=(1, 1))
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 33
    net.label = "other colours"
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 40


def test_a_cache_that_cannot_be_written_is_passed_over(root, tmp_path):
    (tmp_path / "file").write_text("")
    cache = (tmp_path / "file" / "cache", tmp_path / "other")
    real_statistics(dataset(root), Colours(), CPU, cache=cache)
    net = Colours()
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 0 and len(list(cache[1].iterdir())) == 1


def test_a_given_file_is_used_and_must_fit(root, tmp_path):
    net = Colours()
    made = measure_real(dataset(root), net, CPU)
    save_statistics(tmp_path / "stat.npz", made, net.label)
    net.seen = 0
    found = real_statistics(dataset(root), net, CPU, path=str(tmp_path / "stat.npz"))
    assert net.seen == 0 and torch.equal(found.mu, made.mu)
    save_statistics(tmp_path / "stat.npz", made, "other colours")
    with pytest.raises(InputError, match="made with 'other colours'"):
        real_statistics(dataset(root), net, CPU, path=str(tmp_path / "stat.npz"))


def test_a_damaged_cache_is_made_again(root, tmp_path):
    """It is ours, not the user's: nothing needs to be said, and no flag was given that could be named."""
    cache = (tmp_path / "cache",)
    real_statistics(dataset(root), Colours(), CPU, cache=cache)
    (path,) = cache[0].iterdir()
    path.write_bytes(path.read_bytes()[:100])
    net = Colours()
    assert real_statistics(dataset(root), net, CPU, cache=cache).n == 7 and net.seen == 7
