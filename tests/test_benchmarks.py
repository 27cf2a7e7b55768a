"""What the benchmarks compute from their measurements. They are run by hand."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def quality(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("quality", BENCHMARKS / "quality.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("common", None)


def test_one_seed_has_no_spread(quality):
    assert quality.spread([1.25]) == "1.250"
    assert quality.spread([1.0, 2.0, 3.0]) == "2.000 ± 1.000"
