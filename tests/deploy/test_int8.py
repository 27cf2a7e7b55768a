"""Quantisation after training: the numbers, the choice of ranges, and the float32 layers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from deploy.int8 import (
    BINS,
    CALIBRATIONS,
    Magnitudes,
    export_int8,
    rounded_weight,
)
from deploy.onnx import OnnxGenerator, export_onnx
from deploy.web.networks import read_spec
from errors import InputError
from models.calibration import calibrate
from models.generators import GeneratorSpec
from models.layers import init_weights

pytest.importorskip("onnxruntime")


def images(count: int, size: int = 32, channels: int = 3) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    return [
        torch.nn.functional.interpolate(
            torch.rand(1, channels, 4, 4, generator=random) * 2 - 1, size=(size, size)
        )
        for _ in range(count)
    ]


def generator(netG: str = "mobile_resnet_6blocks", ngf: int = 4, norm: str = "instance"):
    torch.manual_seed(1)
    net = init_weights(GeneratorSpec(netG, ngf, None, 3, 3, norm, 0.0).build(), "kaiming", 1.0)
    if norm == "batch":
        calibrate(net, [torch.cat(images(8, 128 if netG == "unet_128" else 32))])
    return net.eval()


@pytest.fixture(scope="module")
def mobile(tmp_path_factory):
    """(A network, its file in float32), which takes long to make."""
    net, path = generator(), tmp_path_factory.mktemp("mobile") / "net.onnx"
    export_onnx(net, path)
    return net, path


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_are_rounded_by_hand(axis):
    weight = np.random.default_rng(0).normal(size=(3, 4, 2, 2)).astype(np.float32)
    channel = (slice(None),) * axis + (0,)
    weight[channel] = 0  # a channel of zeros has a step too
    numbers, steps = rounded_weight(weight, axis)
    assert numbers.dtype == np.int8 and steps.dtype == np.float32 and (steps > 0).all()
    for c in range(weight.shape[axis]):
        channel = (slice(None),) * axis + (c,)
        largest = np.abs(weight[channel]).max()
        expected = np.round(weight[channel] / np.float32(max(largest / 127, 1e-38)))
        assert np.array_equal(numbers[channel], expected)
        assert np.abs(numbers[channel]).max() == (127 if c else 0)


def test_ranges_of_known_values():
    """1000 values: 0.001 to 0.999, and one outlier of 100."""
    values = np.append(np.arange(1, 1000) / 1000, 100.0)
    found = Magnitudes(100.0, np.histogram(values, BINS, (0, 100))[0].astype(float))
    ends = {how: end(found) for how, end in CALIBRATIONS.items()}
    assert ends["largest value"] == 100
    assert ends["99.9% of values"] == pytest.approx(1.0, abs=2 * 100 / BINS)
    assert ends["99.99% of values"] == 100
    # One outlier of 100 costs more than the rounding of all others.
    assert ends["least squares"] > 99


def test_least_squares_gives_up_a_rare_outlier():
    counts = np.zeros(BINS)
    counts[: BINS // 2], counts[-1] = 1e6, 1
    end = CALIBRATIONS["least squares"](Magnitudes(2.0, counts))
    assert end == pytest.approx(1.0, abs=0.05)


def test_the_best_ranges_are_taken(tmp_path, mobile):
    (net, exported), path = mobile, tmp_path / "net.onnx"
    given = images(8)
    made = export_int8(net, path, given, exported, math.inf)
    assert set(made.tried) == set(CALIBRATIONS) and made.plain == ()
    assert made.tried[made.calibration] == min(made.tried.values())
    assert (made.calibrated, made.images) == (6, 2)
    # The error that it tells is that of the file, on images 3 and 7.
    run = OnnxGenerator(path)
    with torch.inference_mode():
        losses = [((run(x) - net(x)) * 127.5).square().mean() for x in (given[3], given[7])]
    assert made.rms == pytest.approx(float(sum(losses) / 2) ** 0.5, rel=1e-4)
    assert made.rms == pytest.approx(made.tried[made.calibration], rel=1e-4)
    assert 0.01 < made.rms < 60


def test_numbers_are_signed_and_symmetric(tmp_path, mobile):
    """TensorRT reads no other: int8 with zero points of 0, scales per channel of weights alone."""
    import onnx
    from onnx import numpy_helper

    (net, exported), path = mobile, tmp_path / "net.onnx"
    export_int8(net, path, images(4), exported, math.inf)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    # The web page recognises it, and counts what it counts of float32.
    assert read_spec(path) == read_spec(exported) and read_spec(path)[0] is not None
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    convs = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    made_by = {name: node for node in model.graph.node for name in node.output}
    assert len(convs) == 6 * 4 + 6
    for conv in convs:
        x, weight = (made_by[name] for name in conv.input[:2])
        assert (x.op_type, weight.op_type) == ("DequantizeLinear",) * 2
        assert made_by[x.input[0]].op_type == "QuantizeLinear"
        for node, size in ((x, 1), (weight, tensors[weight.input[1]].size)):
            zero = tensors[node.input[2]]
            assert zero.dtype == np.int8 and zero.size == size and not zero.any()


@pytest.mark.parametrize("unet", [True, False])
def test_runtimes_agree(tmp_path, mobile, unet):
    openvino = pytest.importorskip("deploy.openvino")
    pytest.importorskip("openvino")
    path, size = tmp_path / "net.onnx", 128 if unet else 32
    net, exported = (generator("unet_128", norm="batch"), None) if unet else mobile
    made = export_int8(net, path, images(3, size), exported, math.inf)
    assert made.layers == sum(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in net.modules())
    x = images(4, size)[3]
    ours, theirs = OnnxGenerator(path)(x), openvino.OpenVinoGenerator(path)(x)
    # Numbers that round to the other side differ by a step, which later layers see.
    assert (ours - theirs).abs().mean() < 0.02
    with torch.inference_mode():
        assert 1e-4 < (ours - net(x)).abs().mean() < 0.2


def spoiled(net: nn.Module) -> str:
    """Make the last convolution sensitive, and return its name.

    One channel of its input is a thousand times as large as before and its weights there a thousand
    times as small: the same function, but in 8 bits of the whole tensor the others are nothing.
    """
    last = [m for m in net.modules() if isinstance(m, nn.Conv2d)][-1]
    name = next(n for n, m in net.named_modules() if m is last)
    before = next(m for m in reversed(list(net.modules())) if isinstance(m, nn.BatchNorm2d))
    before.weight.data[0] *= 1000
    before.bias.data[0] *= 1000
    last.weight.data[:, 0] /= 1000
    return name


def test_a_sensitive_layer_is_found(tmp_path):
    net = generator("resnet_6blocks", norm="batch")
    name = spoiled(net)
    exported = tmp_path / "net.onnx"
    export_onnx(net, exported)
    everything = export_int8(net, tmp_path / "a.onnx", images(8), exported, math.inf)
    limit = everything.rms / 3
    made = export_int8(net, tmp_path / "b.onnx", images(8), exported, limit)
    assert made.plain == (name,) and made.rms <= limit < everything.rms
    assert name in str(made) and f"{made.layers - 1} of {made.layers}" in str(made)


def test_no_more_layers_than_needed_stay(tmp_path, mobile):
    net, exported = mobile
    full = export_int8(net, tmp_path / "a.onnx", images(8), exported, math.inf)
    some = export_int8(net, tmp_path / "b.onnx", images(8), exported, full.rms * 0.7)
    none = export_int8(net, tmp_path / "c.onnx", images(8), exported, 0)
    assert 0 < len(some.plain) < some.layers and some.rms <= full.rms * 0.7
    assert len(none.plain) == none.layers and none.rms < 0.01


@pytest.mark.parametrize("count", [0, 1])
def test_two_images_at_least(tmp_path, count):
    with pytest.raises(InputError, match="two or more"):
        export_int8(nn.Conv2d(3, 3, 1), tmp_path / "net.onnx", images(count))
    assert not list(tmp_path.iterdir())
