"""FID as a criterion: fed batch by batch, equal to the distance of all at once."""

import pytest
import torch

from metrics.criteria import LOWER_IS_BETTER, FeatureCriterion, fresh
from metrics.frechet import Statistics, frechet_distance
from metrics.kid import kernel_distance


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
    criterion = FeatureCriterion(net, real, torch.device("cpu"))
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
    first = FeatureCriterion(
        net, Statistics.of_features(net(random_images(0, 20))), torch.device("cpu")
    )
    first.update(random_images(1, 5), ["a"] * 5)
    (second,) = fresh([first])
    second.update(random_images(2, 8), ["b"] * 8)
    assert (first.result()["n"], second.result()["n"]) == (5, 8)
    assert second.net is net and first.result()["fid"] != second.result()["fid"]


def test_statistics_without_feature_vectors_give_no_kid():
    net = MeanColours()
    whole = Statistics.of_features(net(random_images(0, 20)))
    criterion = FeatureCriterion(net, Statistics(whole.mu, whole.sigma), torch.device("cpu"))
    criterion.update(random_images(1, 10), ["a"] * 10)
    assert set(criterion.result()) == {"fid", "n"} and criterion.keys == ("fid",)


def test_every_criterion_says_which_way_is_better():
    assert LOWER_IS_BETTER["fid"] and not LOWER_IS_BETTER["mIoU"]
