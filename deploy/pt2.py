"""A generator as a ``torch.export`` program (``.pt2``).

PyTorch, AOTInductor and ExecuTorch load it without the code of this project.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from deploy.checks import (
    Exported,
    HalfWeights,
    input_channels,
    max_difference,
    require_equal,
    rounded,
    sample,
)
from runtime.files import written_whole

# --------------------------------------------------------------------------------------------------
# Input sizes that an exported program accepts


def dynamic_shapes() -> dict:
    """The dynamic dimensions of the argument ``x``, N C H W, as `torch.export` takes them.

    N is 1 to 16384; H and W are multiples of 4, from 8 to 65536 pixels.
    """
    largest = 1 << 14
    batch = torch.export.Dim("batch", min=1, max=largest)
    height, width = (torch.export.Dim(name, min=2, max=largest) for name in ("height4", "width4"))
    return {"x": {0: batch, 2: 4 * height, 3: 4 * width}}


class Traced(nn.Module):
    """What exporters trace: a frozen float32 copy of ``net`` on the CPU.

    With ``fp16`` its weights are stored as float16, see `HalfWeights`.

    forward(x): as ``net``, N C H W float32 -> N output_nc H W float32.
    """

    def __init__(self, net: nn.Module, fp16: bool = False):
        super().__init__()
        net = copy.deepcopy(net).cpu().float().eval().requires_grad_(False)
        self.net = HalfWeights(net) if fp16 else net
        self.eval()

    def forward(self, x):
        return self.net(x)


# --------------------------------------------------------------------------------------------------
# Export


def export_pt2(net: nn.Module, path: Path, fp16: bool = False) -> Exported:
    """Write ``net`` as a program with dynamic batch, height and width, see `dynamic_shapes`.

    Before the file gets its name, it is read back and compared with ``net`` at several sizes.

    Args:
        net:  a generator; not changed
        path: the file to write, whole or not at all
        fp16: store the weights as float16: half the size, still computes in float32

    Returns:
        the file, with its largest difference from ``net`` in float32. With ``fp16`` this includes
        the rounding of the weights.

    Raises:
        InputError: the program differs from PyTorch by more than `TOLERANCE` (with ``fp16``: from
            the network with rounded weights), a weight is too large for float16, or the file cannot
            be written.
    """
    plain = copy.deepcopy(net).cpu().float().eval()
    program = torch.export.export(
        Traced(plain, fp16),
        (sample(2, input_channels(plain), 64, 96),),
        dynamic_shapes=dynamic_shapes(),
    )
    with written_whole(path) as temporary:
        torch.export.save(program, temporary)
        run = torch.export.load(temporary).module()
        require_equal(max_difference(rounded(plain) if fp16 else plain, run), str(path))
        difference = max_difference(plain, run)
    return Exported(path, path.stat().st_size, difference)
