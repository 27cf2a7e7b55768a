"""Batch norm without weights, over the images of all processes, whose statistics may be wider than
what it is given."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from runtime import distributed


class _Gathered(torch.autograd.Function):
    """(n,) of each process -> (processes, n) on all. Gradients of all processes are added."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        return distributed.joined(tensor[None])

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return distributed.summed(grad)[dist.get_rank()]


class JointBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of the first channels, as many as the input has; no weights.

    Other channels would be zeros that are normalised and cut off again, so they are left out. Their
    running statistics stay as they are.

    Args:
        channels: of the running statistics; the input has as many or fewer
        sync:     in training, normalise by mean and variance over the images of all processes,
                  which have equally many; they get the gradient of a single process with all
                  images. Not in a calibration (`models.calibration`), which a process may do alone
    """

    def __init__(self, channels: int, sync: bool = True):
        super().__init__(channels, affine=False)
        self.sync = sync

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        mean, var, momentum = self.running_mean, self.running_var, self.momentum
        if n < len(mean):
            # Not otherwise: exporters keep the names of what is whole.
            mean, var = mean[:n], var[:n]
        alone = momentum is None or not self.sync or distributed.world_size() == 1
        if self.training:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # a plain mean, as of the base class
                momentum = 1 / float(self.num_batches_tracked)
        if alone or not self.training:
            return F.batch_norm(x, mean, var, None, None, self.training, momentum or 0.0, self.eps)
        wide = x.float()
        own_var, own_mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        means, variances = _Gathered.apply(torch.cat((own_mean, own_var))).split(n, 1)
        joint_mean = means.mean(0)
        joint_var = (variances + (means - joint_mean).square()).mean(0)
        with torch.no_grad():
            count = x.numel() // n * distributed.world_size()
            mean.lerp_(joint_mean.detach(), momentum)
            var.lerp_(joint_var.detach() * (count / (count - 1)), momentum)
        scale = torch.rsqrt(joint_var + self.eps).view(1, -1, 1, 1)
        return ((wide - joint_mean.view(1, -1, 1, 1)) * scale).to(x.dtype)
