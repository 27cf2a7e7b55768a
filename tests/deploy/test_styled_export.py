"""Exports of generators that make images in styles: the style is an input of the file."""

import shutil

import pytest
import torch

from deploy.checks import rounded
from deploy.onnx import OnnxGenerator, export_onnx, halve_weights
from deploy.pt2 import export_pt2
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.styles import random_styles


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = GeneratorSpec("sub_mobile_munit", config_str="3_2_4_1_2_3_1_4_2_3").build()
    # Its weights are values of float16, so a file of half the size computes the same.
    return rounded(init_weights(net, "kaiming").eval())


@pytest.fixture(scope="module")
def file(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "net.onnx"
    assert export_onnx(net, path).max_difference < 1e-4
    return path


def images(n=3, height=20, width=36):
    draw = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, height, width, generator=draw) * 2 - 1


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_file_takes_images_and_styles(net, file, form, tmp_path):
    if form == "onnx":
        run = OnnxGenerator(file)
        names = [each.name for each in run._session.get_inputs()]
        assert names == ["input", "style"]
    else:
        assert export_pt2(net, tmp_path / "net").max_difference < 1e-4
        run = torch.export.load(tmp_path / "net").module()
    # Sides that no style encoder could halve four times: there is none in the file.
    x, wide = images(), images(1, 64, 32)
    with torch.no_grad():
        for style in (random_styles(x, 8), net.style(wide).expand(3, -1)):
            wanted = net(x, style)
            assert wanted.std() > 0.05 and (run(x, style) - wanted).abs().max() < 1e-4


def test_half_precision_weights(file, tmp_path):
    half = tmp_path / "half.onnx"
    shutil.copy(file, half)
    halve_weights(half)
    assert half.stat().st_size < file.stat().st_size
    x = images()
    style = random_styles(x, 8)
    assert torch.equal(OnnxGenerator(half)(x, style), OnnxGenerator(file)(x, style))
