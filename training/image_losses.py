"""What a student without a discriminator learns by: losses between its images and its teacher's.

Each loss is a function of tensors alone. `ImageLosses` weighs those between images; the ones
between activations (channel distillation, kernel alignment) are used by a task, which has the
activations.

All compute in float32 (float64 stays), also of bf16 and fp16 inputs and inside autocast. Nothing
here waits for the device, draws random numbers or copies to the device in a call, so it can be
recorded as a CUDA graph. In formulas, S is the student's and T the teacher's, and the gradient is
that of S alone unless it is said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from errors import InputError
from models.layers import ElasticConv2d, ElasticJoinedConv2d, init_weights
from training.feature_networks import FeatureNetwork


def _widened(x: Tensor) -> Tensor:
    """bf16 and fp16 as float32; float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _no_autocast(x: Tensor) -> torch.autocast:
    """Autocast would run convolutions and matrix products in half precision whatever they get."""
    return torch.autocast(x.device.type, enabled=False)


# --------------------------------------------------------------------------------------------------
# Structural similarity

# (0.01 L)^2 and (0.03 L)^2 for images of range L = 1. Ours have range 2, from -1 to 1: OMGD takes
# these constants all the same, and its published weight of the loss goes with them.
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def gaussian_window(size: int = 11, sigma: float = 1.5) -> Tensor:
    """float32 (size,): a Gaussian around the middle (``sigma`` in pixels) that sums to 1."""
    offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = torch.exp(-offsets.square() / (2 * sigma**2))
    return (window / window.sum()).float()


def ssim(x: Tensor, y: Tensor, window: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, eq. 13), a scalar: the mean over pixels of

        (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x^2 + m_y^2 + C1) (s_xx + s_yy + C2))

    with the weighted means m_x = E[x], and s_xy = E[x y] - E[x] E[y] (biased) of each channel
    around the pixel. Beyond the border, images are zero. In [-1, 1], and 1 for equal images. Both
    factors change their sign where y is the negative of x, so that is nearly 1 too: another loss
    has to tell them apart.

    Args:
        x, y:   N C H W in [-1, 1]; gradients flow to both
        window: (odd size,), see `gaussian_window`; weights of rows, and of columns
    """
    with _no_autocast(x):
        x, y = _widened(x), _widened(y)
        # Of the squares only the sum is needed: four means instead of five.
        means = _weighted_means(torch.cat((x, y, x * x + y * y, x * y), 1), window.to(x.dtype))
        m_x, m_y, squares, product = means.chunk(4, 1)
        m_xy, m_squares = m_x * m_y, m_x * m_x + m_y * m_y
        structure = (2 * (product - m_xy) + SSIM_C2) / (squares - m_squares + SSIM_C2)
        return ((2 * m_xy + SSIM_C1) / (m_squares + SSIM_C1) * structure).mean()


def _weighted_means(x: Tensor, window: Tensor) -> Tensor:
    """N C H W -> the same: weighted means around each pixel, first down the columns, then along
    the rows."""
    channels, size = x.shape[1], len(window)
    down, along = window.view(1, 1, size, 1), window.view(1, 1, 1, size)
    for kernel, padding in ((down, (size // 2, 0)), (along, (0, size // 2))):
        kernel = kernel.expand(channels, -1, -1, -1)
        x = F.conv2d(x, kernel, padding=padding, groups=channels)
    return x


# --------------------------------------------------------------------------------------------------
# Other losses of pixels


def total_variation(x: Tensor) -> Tensor:
    """sum |x[i + 1, j] - x[i, j]| + |x[i, j + 1] - x[i, j]| over the pixels of N C H W, a scalar.

    A sum as in OMGD, not a mean: it grows with the batch and the size of the images.
    """
    x = _widened(x)
    return x.diff(dim=2).abs().sum() + x.diff(dim=3).abs().sum()


def haar_bands(x: Tensor, levels: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The high-frequency bands of the orthonormal Haar transform, of each level, finest first.

    A level takes blocks of 2x2 pixels, [[p, q], [r, s]], to (p + q + r + s) / 2, the image of the
    next level, and to three bands: (p - q + r - s) / 2, (p + q - r - s) / 2, (p - q - r + s) / 2.
    They hold the change along rows, down columns, and both. If a side is odd, its last row or
    column is repeated, which adds no change.

    Args:
        x: N C H W of any size

    Returns ``levels`` triples of N C H' W', with sides half as long at each level, rounded up.
    """
    x, bands = _widened(x), []
    for _ in range(levels):
        height, width = x.shape[2:]
        if height % 2 or width % 2:
            x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        upper, lower = x.unflatten(2, (-1, 2)).unbind(3)
        left_sum, right_sum = (upper + lower).unflatten(3, (-1, 2)).unbind(4)
        left_change, right_change = (upper - lower).unflatten(3, (-1, 2)).unbind(4)
        along, down = (left_sum - right_sum) / 2, (left_change + right_change) / 2
        bands.append((along, down, (left_change - right_change) / 2))
        x = (left_sum + right_sum) / 2
    return bands


def wavelet_loss(student: Tensor, teacher: Tensor, levels: int) -> Tensor:
    """sum over `haar_bands` of mean |band(S) - band(T)|, a scalar (Zhang et al., CVPR 2022).

    student, teacher: N C H W in [-1, 1]. The means of blocks of 2^levels pixels do not count.
    """
    # The transform is linear: one of the difference, instead of two.
    difference = _widened(student) - _widened(teacher)
    return sum(band.abs().mean() for level in haar_bands(difference, levels) for band in level)


# --------------------------------------------------------------------------------------------------
# Losses of feature maps


def gram(features: Tensor) -> Tensor:
    """N C H W -> N C C: F F^T / (C H W) of each image, F its map as C x HW (Gatys et al. 2016)."""
    with _no_autocast(features):
        f = _widened(features).flatten(2)
        return f @ f.mT / (f.shape[1] * f.shape[2])


def style_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """sum over maps of mean |gram(S) - gram(T)|, a scalar, 0 or more (weight 1e4 in OMGD).

    student, teacher: maps in pairs of equal shape, each float N C H W with any values.
    """
    return sum(F.l1_loss(gram(s), gram(t)) for s, t in zip(student, teacher, strict=True))


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """sum over maps of mean |S - T|, a scalar, 0 or more (weight 10 in OMGD).

    student, teacher: maps in pairs of equal shape, each float with any values.
    """
    return sum(F.l1_loss(_widened(s), _widened(t)) for s, t in zip(student, teacher, strict=True))


# --------------------------------------------------------------------------------------------------
# Losses of activations of the generators


def make_connector(
    student: int,
    teacher: int,
    init_type: str = "normal",
    gain: float = 0.02,
    joined: bool = False,
) -> nn.Sequential:
    """From a student's tap to as many channels as the teacher's: conv 1x1, batch norm, ReLU.

    N C H W -> N teacher H W, not negative. A supernet's tap may have fewer than ``student``
    channels; a ``joined`` one is two tensors side by side, each with fewer. The convolution has no
    bias, which the norm would take away again. It trains with the student, in train mode (OMGD).
    """
    conv = ElasticJoinedConv2d if joined else ElasticConv2d
    layers = conv(student, teacher, 1, bias=False), nn.BatchNorm2d(teacher), nn.ReLU(True)
    return init_weights(nn.Sequential(*layers), init_type, gain)


def channel_distillation(connected: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """sum over taps of mean over (n, c) of (mean_hw S - mean_hw T)^2, a scalar, 0 or more (OMGD).

    Args:
        connected: the student's taps through their connectors, each float N C H W, not negative
        teacher:   the teacher's taps, each float N C H' W' with any values

    In a ResNet with instance norm without affine parameters, blocks do not change the spatial
    means. All taps after blocks then ask for the same numbers.
    """
    losses = []
    for s, t in zip(connected, teacher, strict=True):
        means = [_widened(x).mean((2, 3)) for x in (s, t.detach())]
        losses.append(F.mse_loss(*means))
    return sum(losses)


def kernel_alignment(x: Tensor, y: Tensor) -> Tensor:
    """<K, L> / (|K| |L|), K = X X^T, L = Y Y^T, Frobenius; in [0, 1] (CAT, CVPR 2021).

    X and Y are the features of one batch, an image a row, so K and L say how like each other its
    images are. Scale, and any orthogonal transform of the features, change nothing. The number of
    channels may differ, so no adaptor is needed. K and L are not centred. The result is 0 if X or Y
    is all 0.

    Args:
        x, y: N C H W and N C' H' W', or any other shapes with the same N; gradients flow to both

    Raises:
        InputError: N is 1. A single image is always similar to itself.
    """
    if len(x) < 2:
        raise InputError(
            "`batch_size` 1: kernel alignment compares the images of a batch with each other; "
            "give 2 or more"
        )
    with _no_autocast(x):
        rows = [_widened(features).flatten(1) for features in (x, y)]
        # eps only matters for features that are all zero.
        kernels = [F.normalize((r @ r.mT).flatten(), dim=0, eps=1e-30) for r in rows]
        return kernels[0] @ kernels[1]


def kernel_alignment_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """sum over taps of 1 - `kernel_alignment` (S, T), a scalar; 0 is the best.

    CAT minimises minus the sum of alignments: the same but for a constant.
    """
    pairs = zip(student, teacher, strict=True)
    return sum(1 - kernel_alignment(s, t.detach()) for s, t in pairs)


# --------------------------------------------------------------------------------------------------
# All losses between images, weighed


@dataclass(frozen=True)
class ImageLossWeights:
    """Weights of the losses between images, 0 or more; a loss of weight 0 is not computed.

    The defaults are those of OMGD.

    Args:
        l1:      of mean |S - T|
        ssim:    of 1 - `ssim`
        style:   of `style_loss`, over all maps of the feature network
        feature: of `feature_loss`, over those that the network names
        tv:      of `total_variation` of S
        wavelet: of `wavelet_loss`
    """

    l1: float = 0.0
    ssim: float = 10.0
    style: float = 1e4
    feature: float = 10.0
    tv: float = 1e-5
    wavelet: float = 0.0

    @property
    def need_teachers(self) -> bool:
        return bool(self.l1 or self.ssim or self.wavelet or self.need_features)

    @property
    def need_features(self) -> bool:
        return bool(self.style or self.feature)


class ImageLosses(nn.Module):
    """The losses between a student's images and those of its teachers, each times its weight.

    forward(a, student, *teachers) -> name in the log -> scalar, of weights above 0:
    G_l1, G_ssim, G_style, G_feature, G_tv, G_wavelet. The student's loss is their sum.

        a:        float N C H W, input of all generators
        student:  float N C' H W in [-1, 1], its gradients flow
        teachers: one or several as ``student``; taken as constants. Every loss is the sum over them

    Inside autocast the feature network runs in its type, and all else in float32.

    Args:
        weights:        see `ImageLossWeights`
        features:       None where neither style nor feature loss has a weight
        wavelet_levels: levels of the Haar transform
    """

    def __init__(
        self,
        weights: ImageLossWeights,
        features: FeatureNetwork | None = None,
        wavelet_levels: int = 3,
    ):
        super().__init__()
        if weights.need_features and features is None:
            raise ValueError("style and feature loss need a feature network")
        self.weights, self.features, self.wavelet_levels = weights, features, wavelet_levels
        self.register_buffer("window", gaussian_window(), persistent=False)

    def forward(self, a: Tensor, student: Tensor, *teachers: Tensor) -> dict[str, Tensor]:
        w, losses = self.weights, {}
        student = _widened(student)
        targets = [_widened(teacher.detach()) for teacher in teachers]
        if w.l1:
            losses["G_l1"] = sum(w.l1 * F.l1_loss(student, t) for t in targets)
        if w.ssim:
            losses["G_ssim"] = sum(w.ssim * (1 - ssim(student, t, self.window)) for t in targets)
        if w.need_features:
            losses |= self._feature_losses(a, student, targets)
        if w.tv:
            # OMGD adds it once for each teacher.
            losses["G_tv"] = max(1, len(targets)) * w.tv * total_variation(student)
        if w.wavelet:
            levels = self.wavelet_levels
            losses["G_wavelet"] = sum(w.wavelet * wavelet_loss(student, t, levels) for t in targets)
        return losses

    def _feature_losses(
        self, a: Tensor, student: Tensor, targets: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        w, network, losses = self.weights, self.features, {}
        count = None if w.style else max(network.compared) + 1
        # A pass for each image: in one of all, the teachers' parts would be kept for a backward
        # pass, and take their time there.
        with torch.no_grad():
            wanted = [network(a, target, count) for target in targets]
        seen = network(a, student, count)
        if w.style:
            losses["G_style"] = sum(w.style * style_loss(seen, maps) for maps in wanted)
        if w.feature:
            losses["G_feature"] = sum(
                w.feature
                * feature_loss(*([each[i] for i in network.compared] for each in (seen, maps)))
                for maps in wanted
            )
        return losses
