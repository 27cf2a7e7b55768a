"""A generator as a ``torch.export`` program (``.pt2``).

PyTorch, AOTInductor and ExecuTorch load it without the code of this project.
"""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import torch
import torch.fx.experimental._config
from torch import nn

from deploy.checks import (
    Exported,
    HalfWeights,
    max_difference,
    require_equal,
    rounded,
    sample_inputs,
)
from models.inputs import inputs_of
from models.layers import least_of, multiple_of
from models.munit import without_style_encoder
from runtime.files import written_whole

# What `traced` calls its arguments: the second is a style of all networks whose files are kept.
ARGUMENTS = "x", "style"

# --------------------------------------------------------------------------------------------------
# Input sizes that an exported program accepts


def dynamic_shapes(net: nn.Module) -> dict:
    """The dynamic dimensions of each argument of `traced`, as `torch.export` takes them.

    N is 1 to 16384; H and W of images are multiples of what the network needs: of 4, from 8 to
    65536 pixels, for a ResNet.
    """
    largest, multiple = 1 << 14, multiple_of(net)
    least = least_of(net)
    batch = torch.export.Dim("batch", min=1, max=largest)
    height, width = (
        torch.export.Dim(f"{name}{multiple}", min=least, max=4 * largest // multiple)
        for name in ("height", "width")
    )
    found = []
    for each in inputs_of(net):
        sides = {} if each.scale is None else {2: height, 3: width}
        found.append({0: batch} | {n: multiple // each.scale * side for n, side in sides.items()})
    return dict(zip(ARGUMENTS, found, strict=False))


def traced_size(net: nn.Module) -> tuple[int, int]:
    """(height, width) of the input that a network is traced with, both different and not least."""
    multiple, least = multiple_of(net), least_of(net)
    return (64, 96) if multiple == 4 else ((least + 1) * multiple, (least + 2) * multiple)


def _single_pixels(net: nn.Module) -> contextlib.AbstractContextManager:
    """Where the smallest images become a single pixel inside, as in a U-Net, tracing must not
    assume that a side is more than 1."""
    if least_of(net) > 1:
        return contextlib.nullcontext()
    return torch.fx.experimental._config.patch(backed_size_oblivious=True)


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


class TracedWithStyles(Traced):
    """The same of a network that takes something beside ``x``, as a generator of images in styles
    does: forward(x, style)."""

    def forward(self, x, style):
        return self.net(x, style)


def traced(net: nn.Module, fp16: bool = False) -> Traced:
    """What exporters trace of a network."""
    return (TracedWithStyles if len(inputs_of(net)) > 1 else Traced)(net, fp16)


def traced_inputs(net: nn.Module) -> tuple[torch.Tensor, ...]:
    """What it is traced with, of a batch of two."""
    return sample_inputs(net, *traced_size(net), 2)


def exported_form(net: nn.Module) -> nn.Module:
    """A float32 copy on the CPU in evaluation mode, of what a file holds of a generator.

    A file of a generator of images in styles takes the style as an input: so it makes images in
    drawn styles, which are most, without the arithmetic of a style encoder, and in that of any
    image, whose style is asked of the PyTorch network once.
    """
    plain = copy.deepcopy(net).cpu().float().eval()
    return without_style_encoder(plain) if hasattr(plain, "style_dim") else plain


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
    plain = exported_form(net)
    with _single_pixels(plain):
        program = torch.export.export(
            traced(plain, fp16),
            traced_inputs(plain),
            dynamic_shapes=dynamic_shapes(plain),
        )
    with written_whole(path) as temporary:
        torch.export.save(program, temporary)
        run = torch.export.load(temporary).module()
        require_equal(max_difference(rounded(plain) if fp16 else plain, run), str(path))
        difference = max_difference(plain, run)
    return Exported(path, path.stat().st_size, difference)
