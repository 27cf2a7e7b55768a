"""Statistics of batch norms for one subnet of a supernet.

Subnets share weights, but what their layers put out differs in mean and variance, so running
statistics gathered over many configurations fit none. Before a subnet is measured or exported,
they are taken anew from a few batches of inputs (Yu and Huang 2019, Universally Slimmable Networks,
section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def calibrate(
    net: nn.Module, batches: Iterable[Tensor], run: Callable[[Tensor], object] | None = None
) -> nn.Module:
    """Set the running statistics of all batch norms, in place; the network is then in evaluation
    mode.

    They become the plain means, over the batches, of each batch's mean and variance.

    Args:
        net:     a network of fixed width, or a supernet
        batches: inputs, N C H W float32 in [-1, 1] on the device of ``net``; at least one batch
        run:     how ``net`` is run; None = ``net`` itself
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    # Dropout stays off.
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        # None: a plain mean over all batches since the reset.
        norm.momentum = None
        norm.train()
    for batch in batches:
        (run or net)(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net.eval()
