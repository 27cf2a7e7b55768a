"""What the benchmarks compute from their measurements. They are run by hand."""

import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from deploy.rewrite import RowSummedConv2d, rewrite
from errors import InputError

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Function: name of a benchmark -> its module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def module_of(name: str):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    yield module_of
    sys.modules.pop("common", None)


@pytest.fixture
def quality(load):
    return load("quality")


def test_one_seed_has_no_spread(quality):
    assert quality.spread([1.25]) == "1.250"
    assert quality.spread([1.0, 2.0, 3.0]) == "2.000 ± 1.000"


def test_losses_are_compared_relative_to_the_plain_step(load):
    ours = {"G_gan": 1.1, "G_recon": 2.0, "G_distill0": 7.0}
    assert load("train_step").relative_difference(ours, {"G_gan": 1.0, "G_recon": 4.0}) == 0.5


@pytest.mark.parametrize("kind", ["distillation", "teacher"])
def test_both_training_steps_compute_the_same_losses(load, kind):
    module = load("train_step")
    start = module.new_start(32, 8, torch.device("cpu"))
    rows = module.compare_steps(start, 1, 32, 1, kind)
    assert [row["step"] for row in rows] == ["plain", "ours, float32", "ours, bf16"]
    assert rows[0]["speed against plain"] == 1
    assert float(rows[1]["first losses differ by"]) < 1e-4


def test_a_seam_is_what_changes_at_borders_of_tiles(load):
    module = load("tiles")
    torch.manual_seed(0)
    whole = torch.rand(1, 3, 64, 96)
    assert module.borders(96, 64, 16) == [47]
    assert module.seam(whole, whole, 64, 16) == pytest.approx(1)
    cut, elsewhere = whole.clone(), whole.clone()
    cut[..., 48:] += 2
    elsewhere[..., 20:] += 2
    assert module.seam(cut, whole, 64, 16) > 1.1
    assert module.seam(elsewhere, whole, 64, 16) < 1
    small = torch.arange(12.0).reshape(4, 3, 1, 1).expand(-1, -1, 8, 8)
    large = module.mosaic(small, 16)
    assert large.shape == (1, 3, 16, 16) and large[0, 0, 8, 8] == 9 and large[0, 0, 0, 8] == 3


def test_networks_without_an_operation_still_make_images(load):
    module = load("fastest")
    assert module.all_widths("8") == "8_8_8_8_8_8_8_8" and module.all_widths("1_2") == "1_2"
    net, x = module.network("8_8_8_8_8_8_8_8"), torch.rand(1, 3, 32, 32)
    made = {name: change(copy.deepcopy(net))(x) for name, change in module.CHANGES.items()}
    assert all(y.shape == x.shape for y in made.values())
    plain = made.pop("as it is exported")
    assert torch.equal(made.pop("last 7x7 convolution not rewritten"), plain)
    assert all((y - plain).abs().max() > 1e-3 for y in made.values())
    # It is hidden from the rewrite that an export makes.
    hidden = module.CHANGES["last 7x7 convolution not rewritten"](copy.deepcopy(net))
    kinds = [type(m) for m in rewrite(hidden).modules()]
    assert RowSummedConv2d not in kinds and RowSummedConv2d in map(type, rewrite(net).modules())


def test_the_curve_of_quality_needs_to_know_how(load, tmp_path):
    module, path = load("quality_curve"), tmp_path / "curve.png"
    model = {"how": "online", "macs": 7e7, "metrics": {"fid": 0.7}}
    module.draw({"measure": "FID and KID (x); y", "models": [model, {"macs": 1}]}, path)
    assert Image.open(path).size[0] > 500
    with pytest.raises(InputError, match="no style for magic"):
        module.draw({"measure": "", "models": [model | {"how": "magic"}]}, path)
    with pytest.raises(InputError, match="no models"):
        module.draw({"measure": "", "models": [{"macs": 1}]}, path)
