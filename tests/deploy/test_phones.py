"""Files for phones compute what the network does: LiteRT runs here, Core ML's operations do."""

import contextlib
import importlib.util
import json
import os
import sys

import pytest
import torch
from torch import nn

import deploy.coreml
import deploy.litert
from deploy import checks, converters, mil
from errors import InputError
from export import output_paths
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.resnet import ResnetGenerator

REASON = "pip install -r requirements-convert.txt -c constraints.txt to test it"
needs_coreml = pytest.mark.skipif(importlib.util.find_spec("coremltools") is None, reason=REASON)
needs_litert = pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason=REASON)
FORMATS = [
    pytest.param(deploy.coreml.export_coreml, "mlpackage", marks=needs_coreml, id="coreml"),
    pytest.param(deploy.litert.export_litert, "tflite", marks=needs_litert, id="tflite"),
]


def filled(net: nn.Module) -> nn.Module:
    """Weights whose outputs use their range; statistics of batch norms that are no zeros."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = init_weights(net, gain=0.1).eval()
        for name, buffer in net.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return net


def network(config="8_4_8_8_4_8_4_8", **kwargs) -> nn.Module:
    """A ResNet with one of its nine blocks: converters take their time block by block."""
    net = ResnetGenerator(ChannelConfig.parse(config), **kwargs)
    for index in net.layout.blocks[1:]:
        net.model[index] = nn.Identity()
    return filled(net)


def unet() -> nn.Module:
    return filled(GeneratorSpec("unet_128", 4, norm="batch").build())


def reader(path):
    """What runs a file, in the runtime or operation by operation."""
    if path.suffix == ".tflite":
        return deploy.litert.LiteRtGenerator(path)
    with converters.quiet():
        return mil.MilGenerator(path)


# --------------------------------------------------------------------------------------------------
# Files


@pytest.mark.parametrize("export, suffix", FORMATS)
@pytest.mark.parametrize(
    "make, channels, size",
    [
        (network, 3, 32),
        (lambda: network(separable=False, norm="batch", dropout_rate=0.5), 3, 36),
        (lambda: network(input_nc=1, output_nc=1, norm="none"), 1, 8),
        (unet, 3, 128),
    ],
    ids=["mobile", "dense", "grey", "unet"],
)
def test_a_file_computes_what_the_network_computes(
    tmp_path, capfd, export, suffix, make, channels, size
):
    """Inputs beyond [-1, 1] are clamped; nothing that converters say is shown."""
    net = make()
    with torch.no_grad():
        next(m for m in net.modules() if isinstance(m, nn.Conv2d)).weight.mul_(3)
    path = tmp_path / "new" / f"net.{suffix}"
    exported = export(net.train(), path, size=size)
    assert net.training
    assert exported.path == path and 0 <= exported.max_difference < 1e-4
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    assert exported.size == sum(p.stat().st_size for p in files)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    run = reader(path)
    x = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = net.eval()(x)
        assert expected.std() > 0.01
        assert (run(x) - expected).abs().max() < 1e-4
    assert capfd.readouterr() == ("", "")


@needs_coreml
def test_a_program_says_what_it_takes(tmp_path):
    net = network(input_nc=1)
    exported = deploy.coreml.export_coreml(net, tmp_path / "net.mlpackage", size=64)
    assert "Core ML itself was not run" in str(exported)
    run = reader(exported.path)
    assert (run.input, run.output) == ((1, 1, 64, 64), (1, 3, 64, 64))
    assert run.operations["conv_transpose"] == 2 and run.operations["clip"] == 1
    listed = json.loads((exported.path / "Manifest.json").read_text())["itemInfoEntries"]
    data = exported.path / "Data"
    assert {item["path"] for item in listed.values()} == {
        str(p.relative_to(data)) for p in (data / "com.apple.CoreML").iterdir()
    }


@pytest.mark.parametrize("export, suffix", FORMATS)
def test_half_weights_take_half_the_place(tmp_path, export, suffix):
    net = network("16_16_64_96_48_48_16_16")
    half = export(net, tmp_path / f"half.{suffix}", fp16=True, size=32)
    weights = sum(p.numel() for p in net.parameters())
    assert 2 * weights < half.size < 3.2 * weights  # bytes; the graph comes on top
    assert 1e-4 < half.max_difference < 0.1


@pytest.mark.parametrize("export, suffix", FORMATS)
def test_weights_beyond_float16(tmp_path, export, suffix):
    net = network()
    with torch.no_grad():
        net.model[1].weight[0, 0, 0, 0] = 1e6
    with pytest.raises(InputError, match=r"`fp16`.*65504"):
        export(net, tmp_path / f"net.{suffix}", fp16=True, size=32)
    assert not list(tmp_path.iterdir())


def module_of(export):
    return sys.modules[export.__module__]


@pytest.mark.parametrize("export, suffix", FORMATS)
def test_a_wrong_conversion_is_not_written(tmp_path, export, suffix, monkeypatch):
    """Nor is what was there before touched."""
    module, path = module_of(export), tmp_path / f"net.{suffix}"
    export(network(), path, size=32)
    before = {p: p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()}
    convert = module._convert

    def wrong(net, *args):
        with torch.no_grad():
            net.model[26].bias += 0.1
        convert(net, *args)
        with torch.no_grad():
            net.model[26].bias -= 0.1

    monkeypatch.setattr(module, "_convert", wrong)
    with pytest.raises(InputError, match=f"net.{suffix} differs from PyTorch by .*not written"):
        export(network(), path, size=32)
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("export, suffix", FORMATS)
def test_a_converter_that_fails_says_what_to_do(tmp_path, export, suffix, monkeypatch):
    def fail(*args):
        print("much")
        raise KeyError("aten.new_operation")

    monkeypatch.setattr(module_of(export), "_convert", fail)
    with pytest.raises(
        InputError, match=r"net.*could not convert.*aten\.new_operation.*requirements-convert\.txt"
    ):
        export(network(), tmp_path / f"net.{suffix}", size=32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("export, suffix", FORMATS)
@pytest.mark.parametrize("size, words", [(30, "multiples of 4"), (4, "8 pixels")])
def test_sizes_that_do_not_fit(tmp_path, export, suffix, size, words):
    with pytest.raises(InputError, match=rf"{words}.*`size`|`size`.*{words}"):
        export(network(), tmp_path / f"net.{suffix}", size=size)
    assert not list(tmp_path.iterdir())


def test_packages_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for export, named in (
        (deploy.coreml.export_coreml, "Core ML needs coremltools,"),
        (deploy.litert.export_litert, "LiteRT needs litert-torch, ai-edge-litert,"),
    ):
        with pytest.raises(InputError, match=rf"{named}.*requirements-convert\.txt"):
            export(network(), tmp_path / "net")
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------
# Where files go


def test_a_program_replaces_programs_alone(tmp_path):
    source = tmp_path / "x.pth"
    source.touch()

    def written():
        return output_paths(tmp_path / "net.onnx", ["coreml"], True, False, source)

    path = tmp_path / "net.mlpackage"
    assert written() == {"coreml": path}
    path.mkdir()
    (path / "photo.png").touch()
    with pytest.raises(InputError, match=rf"`output_path` {path} .*Manifest\.json"):
        written()
    (path / "Manifest.json").touch()
    assert written() == {"coreml": path}
    # Other formats are files.
    (tmp_path / "net.tflite").mkdir()
    with pytest.raises(InputError, match=r"net\.tflite is a folder"):
        output_paths(tmp_path / "net", ["tflite"], True, False, source)


# --------------------------------------------------------------------------------------------------
# Running converters


def test_what_converters_print_is_hidden(capfd):
    print("before")
    with contextlib.suppress(ValueError), converters.quiet():
        print("hidden")
        os.write(1, b"hidden from C")
        os.write(2, b"hidden from C")
        raise ValueError
    print("after")
    assert capfd.readouterr() == ("before\nafter\n", "")


def test_errors_of_the_disk_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="full"), converters.converting(tmp_path, "torch"):
        raise OSError("full")
    said = r"torch \d.* could not convert.*ValueError: odd"
    with pytest.raises(InputError, match=said), converters.converting(tmp_path, "torch"):
        raise ValueError("odd\ntrace")


# --------------------------------------------------------------------------------------------------
# Core ML's operations


def test_operations_are_those_of_pytorch():
    """Padded on each side by another width; a transposed convolution as coremltools writes it."""
    torch.manual_seed(0)
    x = torch.randn(1, 4, 9, 9)
    run = mil.OPERATIONS
    plain = dict(strides=[2, 2], dilations=[1, 1], groups=1)
    conv = nn.Conv2d(4, 6, 3, stride=2)
    found = run["conv"](
        x, conv.weight, pad_type="custom", pad=[1, 0, 2, 3], bias=conv.bias, **plain
    )
    expected = conv(nn.functional.pad(x, (2, 3, 1, 0)))
    assert torch.equal(found, expected)
    conv = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1)
    whole = run["conv_transpose"](
        x, conv.weight, pad_type="valid", bias=conv.bias, output_shape=[1, 6, 19, 19], **plain
    )
    found = run["crop"](whole, crop_height=[1, 0], crop_width=[1, 0])
    torch.testing.assert_close(found, conv(x))
    found = run["pad"](x, pad=[0, 0, 0, 0, 1, 2, 3, 4], mode="reflect")
    assert torch.equal(found, nn.functional.pad(x, (3, 4, 1, 2), "reflect"))
    found = run["pad"](x, pad=[1, 0, 0, 2], mode="constant", constant_val=5.0)
    assert torch.equal(found, nn.functional.pad(x, (0, 2, 1, 0), value=5.0))


def test_operations_that_are_not_known_are_refused():
    x = torch.zeros(1, 1, 4, 4)
    plain = dict(strides=[1, 1], dilations=[1, 1], groups=1)
    for name, given in {
        "conv": dict(weight=x, pad_type="same", **plain),
        "conv_transpose": dict(weight=x, pad_type="valid", output_shape=[1, 1, 4, 4], **plain),
        "pad": dict(pad=[0, 0, 1, 0, 0, 0, 0, 0], mode="reflect"),
    }.items():
        with pytest.raises(NotImplementedError):
            mil.OPERATIONS[name](x, **given)
    with pytest.raises(NotImplementedError):
        mil.OPERATIONS["concat"]([x, x], axis=1, interleave=True)


def test_the_note_of_a_file_is_shown(tmp_path):
    shown = str(checks.Exported(tmp_path, 10**6, 1e-6, "not run"))
    assert shown == "1.00 MB, largest difference from PyTorch 1.0e-06 (not run)"
    assert str(checks.Exported(tmp_path, 10**6, 1e-6)).endswith(" 1.0e-06")
