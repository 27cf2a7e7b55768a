"""What the benchmarks compute from their measurements. They are run by hand."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

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
