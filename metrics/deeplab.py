"""DeepLabV2 on a ResNet-101: the segmenter of COCO-Stuff that mIoU of `dataset_mode` coco needs.

Source: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", PAMI 2018 (arXiv 1606.00915). Module names are those of
github.com/kazuto1011/deeplab-pytorch, whose `deeplabv2_resnet101_msc-cocostuff164k-100000.pth` the
published figures of GauGAN were measured with.

Where it differs from other ResNets: the stride of a block lies in its first 1x1 convolution; the
max-pool rounds sizes up; the last two levels have dilation 2 and 4 instead of a stride. Scores have
1/8 of the resolution. It sees the photo at full, three quarters and half size, and takes the
highest logit of the three.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from metrics.labels import WITHOUT
from metrics.state_dicts import first_difference, frozen, read_state_dict

# --------------------------------------------------------------------------------------------------
# Shapes

COCO_CLASSES = 182
BLOCKS = (3, 4, 23, 3)  # of ResNet-101
STRIDES, DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)  # of its levels
ATROUS_RATES = (6, 12, 18, 24)
SMALLER = (0.75, 0.5)  # sizes that the photo is seen at besides its own
WIDTH = 64
EXPANSION = 4  # output channels of a block, as a multiple of those within

# --------------------------------------------------------------------------------------------------
# Blocks


def _conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs, eps=1e-5)))


class Bottleneck(nn.Module):
    """1x1 with the stride, 3x3 with the dilation, 1x1; the shortcut is added before the last relu.

    project: give the shortcut a 1x1 convolution
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, project: bool):
        super().__init__()
        within = outputs // EXPANSION
        self.reduce = _conv_norm(inputs, within, 1, stride)
        self.conv3x3 = _conv_norm(within, within, 3, 1, dilation)
        self.increase = _conv_norm(within, outputs, 1)
        self.shortcut = _conv_norm(inputs, outputs, 1, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.conv3x3(F.relu_(self.reduce(x))))
        return F.relu_(self.increase(y) + self.shortcut(x))


def _level(blocks: int, inputs: int, outputs: int, stride: int, dilation: int) -> nn.Sequential:
    first = Bottleneck(inputs, outputs, stride, dilation, project=True)
    more = (Bottleneck(outputs, outputs, 1, dilation, project=False) for _ in range(1, blocks))
    named = ((f"block{number}", block) for number, block in enumerate((first, *more), 1))
    return nn.Sequential(OrderedDict(named))


class AtrousPyramid(nn.Module):
    """The sum of 3x3 convolutions of several dilations: near and far surroundings."""

    def __init__(self, inputs: int, classes: int, rates: tuple[int, ...]):
        super().__init__()
        for index, rate in enumerate(rates):
            conv = nn.Conv2d(inputs, classes, 3, padding=rate, dilation=rate)
            self.add_module(f"c{index}", conv)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.children()
        total = first(x)
        for conv in others:
            total = total + conv(x)
        return total


# --------------------------------------------------------------------------------------------------
# The segmenter


def _base(classes: int, blocks: tuple[int, ...], width: int) -> nn.Sequential:
    stem = nn.Sequential()
    stem.add_module("conv1", _conv_norm(3, width, 7, stride=2))
    stem.add_module("relu", nn.ReLU(inplace=True))
    stem.add_module("pool", nn.MaxPool2d(3, 2, 1, ceil_mode=True))
    layers, inputs = OrderedDict(layer1=stem), width
    outputs = width * EXPANSION
    levels = zip(blocks, STRIDES, DILATIONS, strict=True)
    for number, (count, stride, dilation) in enumerate(levels, 2):
        layers[f"layer{number}"] = _level(count, inputs, outputs, stride, dilation)
        inputs, outputs = outputs, 2 * outputs
    layers["aspp"] = AtrousPyramid(inputs, classes, ATROUS_RATES)
    return nn.Sequential(layers)


class DeepLabV2(nn.Module):
    """DeepLabV2 that sees a photo at three sizes.

    classes: number of classes C
    blocks:  number of blocks of the four levels
    width:   channels of the stem
    """

    def __init__(
        self,
        classes: int = COCO_CLASSES,
        blocks: tuple[int, ...] = BLOCKS,
        width: int = WIDTH,
    ):
        super().__init__()
        self.base = _base(classes, blocks, width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes at about 1/8 of the resolution: the highest of the three sizes.

        x:       (N, 3, H, W) float32, blue, green and red in 0..255 less their means
        returns: (N, C, h, w) float32
        """
        logits = self.base(x).float()
        size = logits.shape[2:]
        for scale in SMALLER:
            # Sizes are rounded down, and pixels are where these sizes put them. Since PyTorch 1.6
            # `scale_factor` would place them by the factor instead, which differs where the size is
            # rounded; published figures are from an earlier version.
            small = [max(1, int(side * scale)) for side in x.shape[2:]]
            seen = self.base(F.interpolate(x, small, mode="bilinear", align_corners=False))
            seen = F.interpolate(seen.float(), size, mode="bilinear", align_corners=False)
            logits = torch.maximum(logits, seen)
        return logits


# --------------------------------------------------------------------------------------------------
# Loading the published file

_REMEDY = (
    "It must be the COCO-Stuff weights of DeepLabV2, "
    "deeplabv2_resnet101_msc-cocostuff164k-100000.pth of github.com/kazuto1011/deeplab-pytorch: "
    f"python scripts/download.py deeplab-cocostuff brings it into pretrained. {WITHOUT}"
)


def load_deeplab(path: str | Path, device: torch.device | str) -> DeepLabV2:
    """Load a segmenter of 182 classes, frozen and in eval mode.

    path:    file with a state dict, or {'state_dict': state dict}; keys may begin with 'module.'
    device:  where the network goes
    returns: the network, in float32
    raises:  InputError if the file is missing, unreadable, or does not fit
    """
    path = Path(path)
    state = read_state_dict(path, "`deeplabv2_path`", _REMEDY)
    with torch.device("meta"):  # shapes only, since all weights are replaced
        net = DeepLabV2()
    difference = first_difference(net, state)
    if difference is not None:
        raise InputError(f"`deeplabv2_path` {path}: does not fit ({difference}). {_REMEDY}.")
    return frozen(net, state, device)
