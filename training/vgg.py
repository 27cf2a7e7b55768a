"""VGG networks of ImageNet, read as tensors alone."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from errors import InputError
from runtime.files import load_tensors
from runtime.published import published_weights


def vgg_layers(name: str, last: int, setting: str, path: Path | None = None) -> nn.Sequential:
    """torchvision's ``<name>().features`` up to layer ``last``, frozen, in evaluation mode.

    torchvision's own loader would unpickle whatever lies in the cache, which can run code.

    Args:
        name:    vgg16 | vgg19
        setting: what asks for the weights, as error messages begin: a name in backquotes, a value
        path:    a state dict of torchvision's network, its ``features.*`` at least; None: the file
                 of torchvision in torch.hub's cache, downloaded where it is not there

    Raises:
        InputError: the weights cannot be downloaded or read, or the file is not that network.
    """
    from torchvision import models

    called = name.replace("vgg", "VGG-")
    remedy = f"give the state dict of torchvision's {name}"
    if path is None:
        url = models.get_model_weights(name).IMAGENET1K_V1.url
        file = url.rsplit("/", 1)[1]  # vgg16-<digest>.pth
        digest = file.removesuffix(".pth").split("-")[1]
        path = published_weights(url, file, digest, f"{setting}: the {called} weights", "")
        remedy = "remove it, and they are downloaded again"
    state = load_tensors(path, f"{setting}:")
    with torch.device("meta"):  # shapes only: the weights come from the file
        layers = models.get_model(name, init_weights=False).features[: last + 1]
    try:
        if not isinstance(state, dict):
            raise TypeError("not a state dict")
        # The classifier, nine tenths of the file, is left behind.
        layers.load_state_dict(
            {key: state[f"features.{key}"].float() for key in layers.state_dict()}, assign=True
        )
    except (RuntimeError, TypeError, AttributeError, KeyError):
        raise InputError(
            f"{setting}: {path} does not hold the weights of {called}; {remedy}"
        ) from None
    return layers.eval().requires_grad_(False)
