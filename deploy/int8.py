"""Post-training quantisation of an ``.onnx`` file by ONNX Runtime (QDQ format): 8-bit convolutions.

Weights are int8 with one scale per output channel. Activations are uint8 with one scale per tensor,
taken from its smallest and largest value on calibration images. The first convolution, which reads
the image, and the last, which produces it, stay in float32: quantising them would cost the most
quality and save little time.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from deploy.checks import input_channels, sample, shapes_for
from deploy.onnx import OnnxGenerator, export_onnx, require_onnx
from errors import InputError
from runtime.files import written_whole
from runtime.progress import Bar

CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class Quantised:
    """A file that was written.

    size:          of the file in bytes
    mean, largest: absolute difference from the outputs of the float32 network, in grey levels
                   (0 to 255)
    images:        number of images; the same ones serve for calibration and comparison
    """

    path: Path
    size: int
    mean: float
    largest: float
    images: int

    def __str__(self) -> str:
        return (
            f"{self.size / 1e6:.2f} MB, differs by {self.mean:.2f} of 255 levels on average and "
            f"{self.largest:.0f} at most, on the {self.images} images used for calibration"
        )


def _quantise(source: Path, target: Path, images: list[Tensor], folder: Path) -> None:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self):
            self.images = iter(Bar(images, desc="calibrating", unit="img"))

        def get_next(self) -> dict | None:
            x = next(self.images, None)
            return None if x is None else {"input": x.numpy()}

    prepared = folder / "prepared.onnx"
    # Symbolic shapes are not needed, and not every version can infer them.
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    convolutions = [
        node.name for node in onnx.load(prepared).graph.node if node.op_type in CONVOLUTIONS
    ]
    quantize_static(
        prepared,
        target,
        Images(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=[*CONVOLUTIONS],
        nodes_to_exclude=[convolutions[0], convolutions[-1]],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


@torch.inference_mode()
def export_int8(
    net: nn.Module, path: Path, images: Iterable[Tensor], exported: Path | None = None
) -> Quantised:
    """Write ``net`` as `deploy.onnx.export_onnx` does, with its convolutions in 8 bits.

    Args:
        net:      a generator on the CPU; left as it is
        path:     the file to write, whole or not at all
        images:   typical inputs, 1 C H W float32 in [-1, 1] each; the ranges of activations are
                  measured on them, and all are kept in memory
        exported: what `deploy.onnx.export_onnx` wrote of ``net`` in float32; without it the
                  network is exported again

    Raises:
        InputError: a package is missing, there are no images, the output of the file is not finite
            at one of `shapes_for`, or the file cannot be written.
    """
    require_onnx()
    images = list(images)
    if not images:
        raise InputError(
            "`int8`: no images to calibrate on; see `dataroot`, `phase` and `max_dataset_size`"
        )
    net = copy.deepcopy(net).float().eval()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder, written_whole(path) as temporary:
            folder = Path(folder)
            exported = exported or export_onnx(net, folder / "net.onnx").path
            _quantise(exported, temporary, images, folder)
            run = OnnxGenerator(temporary)
            for shape in shapes_for(net):
                x = sample(shape[0], input_channels(net), *shape[1:])
                if not bool(torch.isfinite(run(x)).all()):
                    raise InputError(
                        f"{path} is not finite at {shape[2]}x{shape[1]}: it was not written"
                    )
            differences = [(run(x) - net(x)).abs() * 127.5 for x in images]
    finally:
        logging.disable(level)
    mean = float(torch.stack([d.mean() for d in differences]).mean())
    largest = max(float(d.max()) for d in differences)
    return Quantised(path, path.stat().st_size, mean, largest, len(images))
