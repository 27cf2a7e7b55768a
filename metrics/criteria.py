"""What images are judged by: criteria of one kind, fed batch by batch.

A criterion has ``keys`` (the metrics it yields, the deciding one first), ``label`` (how that one must be named), ``labels`` (key -> how
it must be named, of those that belong in a table), and ``reset()``, which replaces all that it has gathered,
``update(images: uint8 N C H W on the device, names)``, ``result() -> {key: float, "n": int}``; processes that share the images
exchange ``state()`` and take up everyone's by ``merge(states)``. mIoU is `metrics.miou.SegmentationScorer`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from metrics.frechet import Statistics, frechet_distance
from metrics.inception import InceptionFeatures
from metrics.kid import kernel_distance
from runtime.machine import device_for_float64

LOWER_IS_BETTER = {"fid": True, "kid": True, "mIoU": False, "accu": False}


class FeatureCriterion:
    """FID of generated images against statistics of real ones (SPEC 5), and KID where those hold feature vectors.

    Args:
        net:   the feature network
        real:  statistics of the real images, made with the same features
    """

    def __init__(self, net: InceptionFeatures, real: Statistics, device: torch.device):
        self.net, self.real = net, real.to(device_for_float64(device))
        self.keys = ("fid", "kid") if self.real.sample is not None else ("fid",)
        self.labels = {key: f"{key.upper()} ({net.label})" for key in self.keys}
        self.label = self.labels["fid"]
        self.reset()

    def reset(self) -> None:
        self.features: list[Tensor] = []

    def update(self, images: Tensor, names: list[str]) -> None:
        self.features.append(self.net(images))

    def state(self) -> Tensor:
        return torch.cat(self.features).cpu() if self.features else torch.empty(0, self.net.dims)

    def merge(self, states: list[Tensor]) -> None:
        self.features = [state.to(self.real.mu.device) for state in states]

    def result(self) -> dict:
        features = torch.cat(self.features).to(self.real.mu.device)
        result = {"fid": frechet_distance(features, self.real), "n": len(features)}
        if "kid" in self.keys:
            result["kid"] = kernel_distance(features, self.real.sample)
        return result


def fresh(criteria: list) -> list:
    """Criteria of the same kind for other images: they share the networks and start with nothing gathered."""
    copies = [copy.copy(criterion) for criterion in criteria]
    for criterion in copies:
        criterion.reset()
    return copies
