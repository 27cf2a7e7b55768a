"""export.py to other formats and latency.py of several models and backends, as users call them."""

import importlib.util
import json
import os
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deploy.formats import SUFFIXES
from deploy.onnx import OnnxGenerator
from export import format_of
from models.weights import load_generator, save_network

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(
    not HAS_ONNX, reason="pip install -r requirements-deploy.txt to test ONNX"
)
NARROWEST = "_".join(["16"] * 8)
pytestmark = pytest.mark.usefixtures("converted_once")


@pytest.fixture
def source(supernet_pth) -> tuple[object, ...]:
    return ("--input_path", supernet_pth, "--config_str", NARROWEST)


@needs_onnx
def test_export_to_all_formats(call, tmp_path, source, narrow_pth):
    """One file each, by the suffix; each the subnet."""
    path = tmp_path / "deep" / "small.pth"
    outcome = call(
        "export.py", *source, "--output_path", path, "--format", "pth", "onnx", "pt2"
    ).succeeded()
    assert sorted(p.name for p in path.parent.iterdir()) == ["small.onnx", "small.pt2", "small.pth"]
    lines = outcome.stdout.splitlines()
    assert len(lines) == 3
    assert all(
        " MB, largest difference from PyTorch " in line and NARROWEST in line for line in lines
    )
    net = load_generator(narrow_pth, "")[0].eval()
    x = torch.randn(2, 3, 32, 48)
    runs = [
        load_generator(path, "")[0].eval(),
        OnnxGenerator(path.with_suffix(".onnx")),
        torch.export.load(path.with_suffix(".pt2")).module(),
    ]
    with torch.inference_mode():
        for run in runs:
            assert (run(x) - net(x)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["net.pth", "net", "net.safetensors"])
def test_export_without_format_takes_the_path_as_it_is(call, tmp_path, source, narrow_pth, name):
    call("export.py", *source, "--output_path", tmp_path / name).succeeded()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    found, expected = (load_generator(p, "") for p in (tmp_path / name, narrow_pth))
    assert found[1] == expected[1]
    for key, value in expected[0].state_dict().items():
        assert torch.equal(found[0].state_dict()[key], value)


def test_export_without_format_goes_by_the_suffix(call, tmp_path, source):
    for suffix, name in (*((s, n) for n, s in SUFFIXES.items()), ("", "pth")):
        assert format_of(Path(f"at_4.6/net{suffix}")) == name
    outcome = call("export.py", *source, "--output_path", tmp_path / "net.xyz")
    assert outcome.returncode == 2 and outcome.stderr.count("\n") == 1
    assert "net.xyz: no format has the suffix .xyz; end it in .pth" in outcome.stderr
    assert "or give --format" in outcome.stderr and not list(tmp_path.iterdir())


def test_export_with_a_dot_in_the_name(call, tmp_path, source):
    call(
        "export.py", *source, "--output_path", tmp_path / "at_4.6e9", "--format", "pth"
    ).succeeded()
    assert [p.name for p in tmp_path.iterdir()] == ["at_4.6e9.pth"]


def test_half_weights_load_as_others_do(call, tmp_path, source, inference_flags):
    path = tmp_path / "half.pth"
    full = tmp_path / "full.pth"
    call("export.py", *source, "--output_path", path, "--fp16").succeeded()
    call("export.py", *source, "--output_path", full).succeeded()
    assert path.stat().st_size < 0.62 * full.stat().st_size
    flags = (*inference_flags, "--restore_G_path", path, "--no_fid", "--num_test", 1)
    call("test.py", *flags, "--results_dir", tmp_path / "results").succeeded()
    net = load_generator(path, "")[0]
    assert all(p.dtype == torch.float32 for p in net.parameters())


def test_a_stand_alone_network_is_exported_as_it_is(call, tmp_path, narrow_pth):
    """When --config_str is its own; another is refused with both named."""
    flags = ("--input_path", narrow_pth, "--output_path", tmp_path / "again.pth")
    call("export.py", *flags, "--config_str", NARROWEST).succeeded()
    found, expected = (load_generator(p, "") for p in (tmp_path / "again.pth", narrow_pth))
    assert found[1] == expected[1]
    assert all(
        torch.equal(v, found[0].state_dict()[k]) for k, v in expected[0].state_dict().items()
    )
    other = NARROWEST.replace("16", "8", 1)
    outcome = call("export.py", *flags, "--config_str", other)
    assert outcome.returncode == 2
    assert (
        other in outcome.stderr
        and NARROWEST in outcome.stderr
        and str(narrow_pth) in outcome.stderr
    )


@pytest.fixture
def tuned_pth(tmp_path, supernet_pth):
    """A supernet that says which one configuration it was fine-tuned at."""
    net, spec = load_generator(supernet_pth, "")
    path = tmp_path / "tuned" / "net_G.pth"
    save_network(net, path, replace(spec, config_str=NARROWEST))
    return path


def test_a_fine_tuned_supernet_says_what_to_export(call, tmp_path, tuned_pth, narrow_pth):
    flags = ("--input_path", tuned_pth, "--output_path", tmp_path / "out" / "small.pth")
    call("export.py", *flags).succeeded()
    found, expected = (load_generator(p, "") for p in (flags[-1], narrow_pth))
    assert found[1] == expected[1]
    assert all(
        torch.equal(v, found[0].state_dict()[k]) for k, v in expected[0].state_dict().items()
    )
    outcome = call("export.py", *flags, "--config_str", NARROWEST.replace("16", "24", 1))
    assert outcome.returncode == 2
    assert "--config_str 24_" in outcome.stderr and NARROWEST in outcome.stderr


def test_a_fine_tuned_supernet_is_tested_at_its_configuration(
    call, tmp_path, tuned_pth, supernet_pth, inference_flags
):
    flags = (*inference_flags, "--restore_G_path", supernet_pth, "--compare", tuned_pth)
    flags = (*flags, "--no_fid", "--num_test", 1, "--results_dir", tmp_path / "results")
    call("test.py", *flags).succeeded()
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    whole, tuned = (model["params"] for model in results["models"])
    assert tuned < whole / 2


def test_a_supernet_needs_the_subnet_to_export(call, tmp_path, supernet_pth):
    flags = ("--input_path", supernet_pth, "--output_path", tmp_path / "small.pth")
    outcome = call("export.py", *flags)
    assert outcome.returncode == 2 and not list(tmp_path.iterdir())
    assert "is a supernet: give --config_str" in outcome.stderr
    state = OrderedDict(torch.load(supernet_pth, weights_only=True).items())
    torch.save(state, tmp_path / "released.pth")
    outcome = call("export.py", "--input_path", tmp_path / "released.pth", *flags[2:])
    assert outcome.returncode == 2 and not (tmp_path / "small.pth").exists()
    assert "does not say whether it is a supernet" in outcome.stderr


def test_a_mobile_network_is_no_supernet(call, tmp_path, distilled, search_flags):
    """Its file says so: a subnet cut out of it would be a network that nobody trained."""
    source = distilled / "checkpoints" / "latest_net_G.pth"
    path = tmp_path / "small.pth"
    flags = ("--input_path", source, "--output_path", path)
    outcome = call("export.py", *flags, "--config_str", NARROWEST)
    assert outcome.returncode == 2 and not path.exists()
    assert "--config_str" in outcome.stderr and str(source) in outcome.stderr
    call("export.py", *flags).succeeded()
    assert load_generator(path, "")[1] == load_generator(source, "")[1]
    outcome = call("search.py", *search_flags, "--restore_G_path", source, "--output_path", path)
    assert outcome.returncode == 2
    assert f"--restore_G_path {source} holds mobile_resnet_9blocks" in outcome.stderr
    assert "not a supernet" in outcome.stderr


def test_a_file_is_not_exported_over_itself(call, tmp_path, supernet_pth):
    path = tmp_path / "net.pth"
    path.write_bytes(supernet_pth.read_bytes())
    flags = ("export.py", "--input_path", path, "--config_str", NARROWEST)
    for more in (
        ("--output_path", path),
        ("--output_path", tmp_path / "net", "--format", "pt2", "pth"),
    ):
        outcome = call(*flags, *more)
        assert outcome.returncode == 2 and "--output_path" in outcome.stderr
        assert str(path) in outcome.stderr and "--input_path" in outcome.stderr
    assert path.read_bytes() == supernet_pth.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_links_and_devices_are_not_replaced(call, tmp_path, source):
    (tmp_path / "target").write_text("before")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "dangling", "pipe"):
        outcome = call("export.py", *source, "--output_path", tmp_path / name)
        assert outcome.returncode == 2
        assert f"--output_path {tmp_path / name}" in outcome.stderr
    assert (tmp_path / "target").read_text() == "before"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("name", "more"), [("net.pth", ("--format", "pth", "onnx")), ("net.onnx", ())]
)
def test_missing_packages_are_said_before_anything_is_written(
    call, tmp_path, source, monkeypatch, name, more
):
    monkeypatch.setattr("deploy.onnx.importlib.util.find_spec", lambda name: None)
    outcome = call("export.py", *source, "--output_path", tmp_path / name, *more)
    assert outcome.returncode == 2
    assert "pip install -r requirements-deploy.txt" in outcome.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


PHONES = {"coreml": "coremltools", "tflite": "litert_torch"}
HAS_CONVERTERS = all(importlib.util.find_spec(name) for name in PHONES.values())


@pytest.mark.skipif(
    not HAS_CONVERTERS, reason="pip install -r requirements-convert.txt -c constraints.txt"
)
def test_export_for_phones(call, tmp_path, source, narrow_pth):
    """Beside other formats, which are what they are without."""
    from deploy.converters import quiet
    from deploy.litert import LiteRtGenerator
    from deploy.mil import MilGenerator

    flags = (*source, "--output_path", tmp_path / "small.tflite", "--size", 64)
    outcome = call("export.py", *flags, "--format", "coreml", "tflite", "pt2").succeeded()
    names = ["small.mlpackage", "small.pt2", "small.tflite"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    lines = outcome.stdout.splitlines()
    assert len(lines) == 3 and not outcome.stderr
    assert all(NARROWEST in line and "largest difference from PyTorch" in line for line in lines)
    assert ["Core ML itself was not run" in line for line in lines] == [True, False, False]
    net = load_generator(narrow_pth, "")[0].eval()
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with quiet():
        runs = [MilGenerator(tmp_path / names[0]), LiteRtGenerator(tmp_path / names[2])]
    with torch.inference_mode():
        for run in [*runs, torch.export.load(tmp_path / names[1]).module()]:
            assert (run(x) - net(x)).abs().max() < 1e-4


@pytest.mark.parametrize("name", PHONES)
def test_missing_converters_are_said_before_anything_is_written(
    call, tmp_path, source, monkeypatch, name
):
    monkeypatch.setattr("deploy.converters.importlib.util.find_spec", lambda name: None)
    flags = (*source, "--output_path", tmp_path / "net.pth", "--format", "pth", name)
    outcome = call("export.py", *flags)
    assert outcome.returncode == 2
    assert PHONES[name].replace("_", "-") in outcome.stderr
    assert "pip install -r requirements-convert.txt" in outcome.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PHONES)
def test_sizes_for_phones_are_checked_before_anything_is_written(
    call, tmp_path, source, monkeypatch, name
):
    monkeypatch.setattr("deploy.converters.importlib.util.find_spec", lambda name: True)
    flags = (*source, "--output_path", tmp_path / "net", "--format", "pth", name, "--size", 66)
    outcome = call("export.py", *flags)
    assert outcome.returncode == 2
    assert "66x66" in outcome.stderr and "64x64 (--size)" in outcome.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def latency_flags(inference_flags, narrow_pth, tmp_path) -> tuple[object, ...]:
    short = ("--batch_size", 2, "--times", 3, "--results_dir", tmp_path / "latency")
    return (*inference_flags, "--restore_G_path", narrow_pth, *short)


def test_latency_side_by_side(call, tmp_path, latency_flags, teacher, supernet_pth):
    """The first model's fields stay on top; a supernet is compared at full width."""
    others = (teacher / "checkpoints" / "latest_net_G.pth", supernet_pth)
    backends = ("eager", "channels_last", "fused", "bf16")
    flags = (*latency_flags, "--compare", *others, "--backends", *backends, "--threads", 1)
    outcome = call("latency.py", *flags).succeeded()
    assert outcome.stdout.count("(not exact)") == 3
    for work in ("preparing", "measuring memory", "timing"):
        assert work in outcome.stderr
    assert f"against sub_mobile_resnet_9blocks {NARROWEST} in eager" in outcome.stdout
    found = json.loads((tmp_path / "latency" / "latency.json").read_text())
    assert [e["backend"] for e in found["all"]] == list(backends) * 3
    assert found["model"] == found["all"][0]["model"] == f"sub_mobile_resnet_9blocks {NARROWEST}"
    assert found["all"][-1]["checkpoint"] == str(supernet_pth)
    assert found["all"][len(backends)]["macs_ratio"] < 1
    assert all(e["max_difference"] < 1e-3 for e in found["all"] if e["exact"])
    assert [e["backend"] for e in found["all"] if not e["exact"]] == ["bf16"] * 3
    assert (found["threads"], found["batch"], found["times"]) == (1, 2, 3)
    assert (tmp_path / "latency" / "latency.png").stat().st_size > 1000


def test_latency_says_what_it_skips(call, tmp_path, latency_flags, monkeypatch):
    monkeypatch.setattr("deploy.onnx.importlib.util.find_spec", lambda name: None)
    outcome = call("latency.py", *latency_flags, "--backends", "onnxruntime", "eager").succeeded()
    assert "onnxruntime skipped: " in outcome.stdout and "requirements-deploy.txt" in outcome.stdout
    name = f"sub_mobile_resnet_9blocks {NARROWEST}"
    said = f"{name} in onnxruntime could not run: ratios are against {name} in eager"
    assert said in outcome.stdout
    found = json.loads((tmp_path / "latency" / "latency.json").read_text())
    assert [e["backend"] for e in found["all"]] == ["eager"] and found["backend"] == "eager"
    outcome = call("latency.py", *latency_flags, "--backends", "onnxruntime")
    assert outcome.returncode == 2 and "--backends onnxruntime" in outcome.stderr


def test_more_threads_than_a_machine_can_start(call, latency_flags):
    outcome = call("latency.py", *latency_flags, "--threads", 1_000_000_000)
    assert outcome.returncode == 2 and "--threads" in outcome.stderr


def test_latency_names_the_flag_of_a_wrong_checkpoint(call, tmp_path, latency_flags):
    outcome = call("latency.py", *latency_flags, "--compare", tmp_path / "none.pth")
    assert outcome.returncode == 2
    assert f"--compare {tmp_path / 'none.pth'}: no such file" in outcome.stderr


@needs_onnx
def test_export_in_8_bits(call, tmp_path, source, data_flags, narrow_pth):
    flags = (*source, "--format", "onnx", "--output_path", tmp_path / "small")
    data = (*data_flags[:4], "--load_size", 32, "--crop_size", 32, "--max_dataset_size", 6)
    outcome = call("export.py", *flags, "--int8", "--int8_error", "inf", *data).succeeded()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.int8.onnx", "small.onnx"]
    assert "levels on average" in outcome.stdout and "of 5 images" in outcome.stdout
    assert "on 1 other image" in outcome.stdout
    # Weights of a byte each.
    assert (tmp_path / "small.int8.onnx").stat().st_size < 0.7 * (
        tmp_path / "small.onnx"
    ).stat().st_size
    net, run = load_generator(narrow_pth, "")[0].eval(), OnnxGenerator(tmp_path / "small.int8.onnx")
    x = torch.rand(2, 3, 48, 64) * 2 - 1
    with torch.inference_mode():
        difference = (run(x) - net(x)).abs().mean()
    assert 1e-5 < difference < 0.1


@needs_onnx
@pytest.mark.parametrize("missing", ["--dataroot", "--format"])
def test_8_bits_need_images_and_the_format(call, tmp_path, source, data_flags, missing):
    given = {"--dataroot": ("--format", "onnx"), "--format": data_flags[:4]}[missing]
    outcome = call("export.py", *source, *given, "--int8", "--output_path", tmp_path / "small")
    assert outcome.returncode == 2 and missing in outcome.stderr and not list(tmp_path.iterdir())
