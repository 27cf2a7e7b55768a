"""The FID Inception: uint8 images -> features of 64, 192, 768 or 2048 dimensions.

The network and its weights are pytorch-fid's (the 2015-12-05 TensorFlow graph). Only the blocks
that the chosen features need are built. Batch norms are folded into their convolutions, which
leaves the features equal within float32 rounding and takes a third less time on a CPU.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from errors import InputError
from runtime.files import load_tensors
from runtime.published import published_weights

WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"
FEATURES = ("inception", "random")
DIMS = (64, 192, 768, 2048)


# --------------------------------------------------------------------------------------------------
# Network


def _build_blocks(dims: int) -> nn.ModuleDict:
    """The layers up to those with ``dims`` features, under pytorch-fid's parameter names."""
    from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2
    from torchvision.models.inception import BasicConv2d, InceptionB, InceptionD

    stages: list[tuple[int, dict[str, object]]] = [
        (
            64,
            {
                "Conv2d_1a_3x3": lambda: BasicConv2d(3, 32, kernel_size=3, stride=2),
                "Conv2d_2a_3x3": lambda: BasicConv2d(32, 32, kernel_size=3),
                "Conv2d_2b_3x3": lambda: BasicConv2d(32, 64, kernel_size=3, padding=1),
                "pool1": lambda: nn.MaxPool2d(3, 2),
            },
        ),
        (
            192,
            {
                "Conv2d_3b_1x1": lambda: BasicConv2d(64, 80, kernel_size=1),
                "Conv2d_4a_3x3": lambda: BasicConv2d(80, 192, kernel_size=3),
                "pool2": lambda: nn.MaxPool2d(3, 2),
            },
        ),
        (
            768,
            {
                "Mixed_5b": lambda: FIDInceptionA(192, 32),
                "Mixed_5c": lambda: FIDInceptionA(256, 64),
                "Mixed_5d": lambda: FIDInceptionA(288, 64),
                "Mixed_6a": lambda: InceptionB(288),
                "Mixed_6b": lambda: FIDInceptionC(768, 128),
                "Mixed_6c": lambda: FIDInceptionC(768, 160),
                "Mixed_6d": lambda: FIDInceptionC(768, 160),
                "Mixed_6e": lambda: FIDInceptionC(768, 192),
            },
        ),
        (
            2048,
            {
                "Mixed_7a": lambda: InceptionD(768),
                "Mixed_7b": lambda: FIDInceptionE_1(1280),
                "Mixed_7c": lambda: FIDInceptionE_2(2048),
            },
        ),
    ]
    layers = {
        name: make()
        for stage_dims, stage in stages
        if stage_dims <= dims
        for name, make in stage.items()
    }
    return nn.ModuleDict(layers)


def _fold_batch_norms(net: nn.Module) -> None:
    """Move each batch norm into the weights of its convolution, in place."""
    from torchvision.models.inception import BasicConv2d

    for module in list(net.modules()):
        if isinstance(module, BasicConv2d):
            conv, bn = module.conv, module.bn
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
            )
            module.bn = nn.Identity()


class InceptionFeatures(nn.Module):
    """The feature network, up to the layer with ``dims`` features.

    forward(images): uint8 N C H W of any size -> (N, dims) float32 on the same device. Of more than
    three channels it reads the first three, of two the first only.

    Attributes:
        dims:  number of features: 64, 192, 768 or 2048
        label: name of the features in tables and files, e.g. ``Inception, 2048 features``
        origin: digest of the weights that were read from a file, or ""
    """

    origin = ""

    def __init__(self, dims: int, label: str):
        super().__init__()
        self.dims = dims
        self.label = label
        self.layers = _build_blocks(dims)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        # uint8 N C H W -> float N 3 299 299 in [-1, 1], resized as in the FID protocol
        x = images[:, : 3 if images.shape[1] > 2 else 1].float().div_(255)
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
        x = x.mul_(2).sub_(1).contiguous(memory_format=torch.channels_last)
        for layer in self.layers.values():
            x = layer(x)
        return x.float().mean(dim=(2, 3))


# --------------------------------------------------------------------------------------------------
# Weights: a path, the usual cache, a download, or seeded random numbers


def _weights_path(path: str | None) -> Path:
    """The file with pytorch-fid's weights: ``path``, or the one in torch.hub's cache.

    It is downloaded into that cache if it is not there.
    """
    if path:
        return Path(path)
    from pytorch_fid.inception import FID_WEIGHTS_URL

    return published_weights(
        os.environ.get("FID_WEIGHTS_URL", FID_WEIGHTS_URL),
        WEIGHTS_FILE,
        "6726825d",
        "the FID Inception weights",
        ", give its path by `fid_weights`, or use `fid_features` random (comparable only with "
        "itself)",
    )


def _load(net: InceptionFeatures, path: Path) -> None:
    state = load_tensors(path, "`fid_weights`")
    wanted = {
        k: v for k, v in net.layers.state_dict().items() if not k.endswith("num_batches_tracked")
    }
    usable = isinstance(state, Mapping)
    bad = [
        k
        for k, v in wanted.items()
        if not usable or not isinstance(state.get(k), Tensor) or state[k].shape != v.shape
    ]
    if bad:
        raise InputError(
            f"`fid_weights` {path}: holds no weights for {bad[0]} ({len(bad)} of {len(wanted)} "
            f"tensors are missing or of another shape); `fid_dims` {net.dims} needs them, a "
            "smaller `fid_dims` needs fewer"
        )
    net.layers.load_state_dict({k: state[k] for k in wanted}, strict=False)
    digest = hashlib.sha256()
    for values in net.layers.state_dict().values():
        digest.update(values.numpy().tobytes())
    net.origin = digest.hexdigest()[:16]


def load_inception(
    dims: int = 2048,
    weights: str | None = None,
    features: str = "inception",
    device: torch.device | str = "cpu",
) -> InceptionFeatures:
    """The feature network, ready for inference on ``device``.

    Args:
        dims:     number of features: 64, 192, 768 or 2048
        weights:  path of pytorch-fid's weights; a file with only the blocks that ``dims`` needs is
                  enough. None = from the cache, else downloaded
        features: ``inception``, or ``random`` for seeded random weights: no download, but distances
                  are comparable only with each other

    Raises:
        InputError: there are no such features, or the weights are missing, damaged or do not fit.
            The message says where to put them.
    """
    if features not in FEATURES:
        raise InputError(f"`fid_features` {features}: give {' or '.join(FEATURES)}")
    if dims not in DIMS:
        raise InputError(f"`fid_dims` {dims}: give one of {', '.join(map(str, DIMS))}")
    # Building draws random numbers; the caller's random state must not change, on CPU or GPU.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        label = (
            f"Inception, {dims} features" if features == "inception" else f"random features, {dims}"
        )
        net = InceptionFeatures(dims, label)
        if features == "random":
            for module in net.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if features == "inception":
        _load(net, _weights_path(weights))
    net.eval().requires_grad_(False)
    _fold_batch_norms(net)
    return net.requires_grad_(False).to(device, memory_format=torch.channels_last)
