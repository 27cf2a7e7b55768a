"""FID as a criterion: fed batch by batch, equal to the distance of all at once."""

import warnings

import pytest
import torch

from errors import InputError
from metrics.criteria import LOWER_IS_BETTER, FeatureCriterion, fresh, require
from metrics.frechet import Statistics, frechet_distance
from metrics.kid import kernel_distance
from metrics.paired import PairedCriterion

CPU = torch.device("cpu")


class MeanColours(torch.nn.Module):
    """Three features per image: enough to be a feature network."""

    dims, label = 3, "mean colours"

    def forward(self, images):
        return images.float().mean(dim=(2, 3))


def random_images(seed: int, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=generator)


def test_batches_add_up_and_reset_forgets():
    net = MeanColours()
    real = Statistics.of_features(net(random_images(0, 20)))
    criterion = FeatureCriterion(net, real, CPU)
    images = random_images(1, 10)
    for _ in range(2):
        criterion.reset()
        criterion.update(images[:7], ["a"] * 7)
        criterion.update(images[7:], ["b"] * 3)
        found = criterion.result()
        assert found == {
            "fid": pytest.approx(frechet_distance(net(images), real)),
            "kid": pytest.approx(kernel_distance(net(images), net(random_images(0, 20)))),
            "n": 10,
        }
    assert criterion.keys == ("fid", "kid") and criterion.label == "FID (mean colours)"
    assert criterion.labels == {"fid": criterion.label, "kid": "KID (mean colours)"}


def test_fresh_criteria_gather_for_themselves():
    """Several models are judged in one pass, by one feature network."""
    net = MeanColours()
    first = FeatureCriterion(net, Statistics.of_features(net(random_images(0, 20))), CPU)
    first.update(random_images(1, 5), ["a"] * 5)
    (second,) = fresh([first])
    second.update(random_images(2, 8), ["b"] * 8)
    assert (first.result()["n"], second.result()["n"]) == (5, 8)
    assert second.net is net and first.result()["fid"] != second.result()["fid"]


def test_statistics_without_feature_vectors_give_no_kid():
    net = MeanColours()
    whole = Statistics.of_features(net(random_images(0, 20)))
    criterion = FeatureCriterion(net, Statistics(whole.mu, whole.sigma), CPU)
    criterion.update(random_images(1, 10), ["a"] * 10)
    assert set(criterion.result()) == {"fid", "n"} and criterion.keys == ("fid",)


def test_every_criterion_says_which_way_is_better():
    assert LOWER_IS_BETTER["fid"] and not LOWER_IS_BETTER["mIoU"]


def test_real_images_of_another_size_are_warned_about_once():
    net = MeanColours()
    features = net(random_images(0, 20))
    criterion = FeatureCriterion(net, Statistics.of_features(features, (60, 90)), CPU)
    with pytest.warns(UserWarning, match=r"outputs of 8x8 with real images of 90x60.*`crop_size`"):
        criterion.update(random_images(1, 5), ["a"] * 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion.update(random_images(1, 5), ["a"] * 5)
        fresh([criterion])[0].update(random_images(1, 5), ["a"] * 5)
        for size in (None, (8, 8)):
            same = FeatureCriterion(net, Statistics.of_features(features, size), CPU)
            same.update(random_images(1, 5), ["a"] * 5)


def test_labels_say_what_the_real_images_are():
    net = MeanColours()
    real = Statistics.of_features(net(random_images(0, 20)))
    criterion = FeatureCriterion(net, real, CPU, "real images as stored")
    assert criterion.labels["fid"] == "FID (mean colours; real images as stored)"
    assert criterion.labels["kid"] == "KID (mean colours; real images as stored)"


def test_processes_put_their_features_together():
    net = MeanColours()
    real = Statistics.of_features(net(random_images(0, 20)))
    whole, *parts = (FeatureCriterion(net, real, CPU) for _ in range(4))
    whole.update(random_images(1, 9), ["a"] * 9)
    for part, images in zip(parts, random_images(1, 9).split([5, 4]), strict=False):
        part.update(images, ["a"] * len(images))
    states = [part.state() for part in parts]  # the last one has seen no images
    parts[2].merge(states)
    assert parts[2].result() == whole.result()


def test_no_images_are_an_error():
    net = MeanColours()
    real = Statistics.of_features(net(random_images(0, 20)))
    with pytest.raises(InputError, match="at least 2 images and got 0"):
        FeatureCriterion(net, real, CPU).result()


def test_a_criterion_that_is_not_measured_is_named_with_the_way_out():
    net = MeanColours()
    fid = FeatureCriterion(net, Statistics.of_features(net(random_images(0, 20))), CPU)
    require([fid], "fid")
    require([PairedCriterion()], "ssim")
    with pytest.raises(InputError, match=r"`criterion` mIoU is not measured.*`criterion` fid"):
        require([fid], "mIoU")
    with pytest.raises(InputError, match=r"`no_mIoU`.*`criterion` fid"):
        require([], "accu")
    with pytest.raises(InputError, match=r"`criterion` fid is not measured.*`real_stat_path`"):
        require([], "fid")
