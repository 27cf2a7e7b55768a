"""Dilated residual networks (DRN), architecture D: the Cityscapes segmenter that mIoU relies on.

Source: Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017 (arXiv 1705.09914). D is the
simpler form of the degridded network of section 4: plain convolutions without shortcuts at both
ends, and a dilation that decreases again in the last levels. Module names are those of the
published checkpoints, so that `drn-d-105_ms_cityscapes.pth` loads without renaming.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from metrics.labels import WITHOUT
from metrics.state_dicts import first_difference, frozen, read_state_dict

# --------------------------------------------------------------------------------------------------
# Shapes: what differs between the published variants, and what all of them share.

CITYSCAPES_CLASSES = 19

# Variant -> (whether its blocks are bottlenecks, number of blocks in the residual levels 3..6).
ARCHITECTURES = {
    "drn_d_22": (False, (2, 2, 2, 2)),
    "drn_d_38": (False, (3, 4, 6, 3)),
    "drn_d_105": (True, (3, 4, 23, 3)),
}

# Channels (a bottleneck level outputs four times as many), stride and dilation of the nine levels.
# Three levels have stride 2, so the scores have 1/8 of the resolution. From level 5 on, dilation
# enlarges the receptive field.
CHANNELS = (16, 16, 32, 64, 128, 256, 512, 512, 512)
STRIDES = (1, 1, 2, 2, 2, 1, 1, 1, 1)
DILATIONS = (1, 1, 1, 1, 1, 2, 4, 2, 1)
RESIDUAL_LEVELS = range(3, 7)
BOTTLENECK_EXPANSION = 4
UPSAMPLING = 8

# --------------------------------------------------------------------------------------------------
# Blocks: two kinds of residual blocks, and the plain convolutions before and after them.


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    # No bias, because a batch norm always follows. The padding keeps the size (but for the stride).
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


def _plain(inputs: int, outputs: int, kernel: int, stride: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        _conv(inputs, outputs, kernel, stride, dilation),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """The 1x1 shortcut of a block that changes the shape; None if the input is added as it is."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """conv3-bn-relu-conv3-bn, plus the shortcut, then relu; both convolutions are dilated."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int):
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride, dilation)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, 1, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu_(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """conv1-bn-relu-conv3-bn-relu-conv1-bn, plus the shortcut, then relu; conv3 is dilated."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int):
        super().__init__()
        outputs = width * BOTTLENECK_EXPANSION
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.bn1(self.conv1(x)))
        y = F.relu_(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu_(y + (x if self.downsample is None else self.downsample(x)))


def _levels(arch: str) -> list[nn.Sequential]:
    bottleneck, counts = ARCHITECTURES[arch]
    block, expansion = (Bottleneck, BOTTLENECK_EXPANSION) if bottleneck else (BasicBlock, 1)
    levels, inputs = [], 3
    for level, (width, stride, dilation) in enumerate(
        zip(CHANNELS, STRIDES, DILATIONS, strict=True)
    ):
        if level not in RESIDUAL_LEVELS:
            levels.append(_plain(inputs, width, 7 if level == 0 else 3, stride, dilation))
            inputs = width
            continue
        blocks = []
        for index in range(counts[level - RESIDUAL_LEVELS.start]):
            blocks.append(block(inputs, width, stride if index == 0 else 1, dilation))
            inputs = width * expansion
        levels.append(nn.Sequential(*blocks))
    return levels


# --------------------------------------------------------------------------------------------------
# The segmenter: the trunk, a 1x1 classifier, and a bilinear enlargement to the input's size.


def _bilinear_kernel(factor: int) -> Tensor:
    """Weights (2*factor, 2*factor) float32 of a bilinear transposed conv of stride `factor`."""
    taps = torch.arange(2 * factor, dtype=torch.float64)
    line = 1 - (taps - (factor - 0.5)).abs() / factor
    return torch.outer(line, line).float()


class DRNSeg(nn.Module):
    """DRN-D with the segmentation head.

    arch:    one of ARCHITECTURES
    classes: number of classes C
    raises:  InputError for an unknown `arch`
    """

    def __init__(self, arch: str, classes: int = CITYSCAPES_CLASSES):
        super().__init__()
        if arch not in ARCHITECTURES:
            raise InputError(
                f"no DRN architecture {arch!r}; choose from {', '.join(ARCHITECTURES)}."
            )
        self.base = nn.Sequential(*_levels(arch))
        self.seg = nn.Conv2d(CHANNELS[-1], classes, 1)
        self.up = nn.ConvTranspose2d(
            classes,
            classes,
            2 * UPSAMPLING,
            UPSAMPLING,
            UPSAMPLING // 2,
            groups=classes,
            bias=False,
        )
        with torch.no_grad():
            self.up.weight.copy_(_bilinear_kernel(UPSAMPLING).expand_as(self.up.weight))

    def scores(self, x: Tensor) -> Tensor:
        """Raw class scores of photos, before enlargement.

        x:       (N, 3, H, W) float32, normalised with the training set's mean and std
        returns: (N, C, ceil(H/8), ceil(W/8)) float32
        """
        return self.seg(self.base(x))

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities of the classes, at the input's resolution.

        x:       (N, 3, H, W) float32, normalised with the training set's mean and std
        returns: (N, C, H, W) float32, <= 0; their exp() sums to 1 over C
        """
        height, width = x.shape[2:]
        # If a side is not a multiple of 8, the enlarged scores extend past its end: crop them.
        return F.log_softmax(self.up(self.scores(x))[:, :, :height, :width], dim=1)


# --------------------------------------------------------------------------------------------------
# Loading a checkpoint, published or from own training.

_REMEDY = (
    "It must be the Cityscapes weights of a DRN-D segmenter, for the published mIoU "
    "drn-d-105_ms_cityscapes.pth as the DRN authors (github.com/fyu/drn) distribute it: put that "
    f"file there or give its path. {WITHOUT}"
)


def load_drn(path: str | Path, device: torch.device | str, arch: str | None = None) -> DRNSeg:
    """Load a 19-class segmenter from a checkpoint, frozen and in eval mode.

    path:    file with a state dict, or {'state_dict': state dict}; keys may begin with 'module.'
    device:  where the network goes
    arch:    one of ARCHITECTURES; None = recognised by keys and shapes
    returns: the network, in float32
    raises:  InputError if the file is missing, unreadable, or fits no architecture (or not the
             given one)
    """
    path = Path(path)
    state = read_state_dict(path, "`drn_path`", _REMEDY)
    differences = {}
    for candidate in ARCHITECTURES if arch is None else (arch,):
        with torch.device("meta"):  # shapes only, since all weights are replaced
            net = DRNSeg(candidate)
        differences[candidate] = first_difference(net, state)
        if differences[candidate] is None:
            return frozen(net, state, device)
    detail = "; ".join(f"as {name}, {what}" for name, what in differences.items())
    raise InputError(f"`drn_path` {path}: does not fit ({detail}). {_REMEDY}.")
