"""Timings side by side: turns are shared, the first entry keeps its place in latency.json, ratios
are against it."""

import json

import pytest
import torch
from PIL import Image

from deploy.forms import Form
from evaluation.speed import measure_side_by_side, peak_memory
from evaluation.tested import TestedModel
from report.latency import Timed, exact_macs, of_what, read_latency, write_comparison


def timed(name: str, backend: str, macs: int) -> Timed:
    form = Form(backend, backend != "bf16", lambda x: x, 0.0, 0.1)
    return Timed(TestedModel(name, f"{name}.pth", macs, macs // 100, "published", 32, 32), form)


def test_runs_take_turns():
    """Every turn runs each once and begins with another."""
    calls = []
    runs = [lambda x, i=i: calls.append(i) for i in range(3)]
    found = measure_side_by_side(runs, torch.zeros(2, 3, 8, 12), times=4, warmup=2)
    assert len(calls) == 3 * (4 + 2)
    turns = [calls[i : i + 3] for i in range(0, 18, 3)]
    assert all(sorted(turn) == [0, 1, 2] for turn in turns)
    assert {turn[0] for turn in turns} == {0, 1, 2}
    for timing in found:
        assert 0 <= timing["p10_ms"] <= timing["median_ms"] <= timing["p90_ms"]
        assert (timing["times"], timing["batch"], timing["height"], timing["width"]) == (
            4,
            2,
            8,
            12,
        )


def test_files_and_table(tmp_path):
    x = torch.zeros(2, 3, 32, 32)
    entries = [timed("teacher", "eager", 8_000_000), timed("small", "eager", 1_000_000)]
    entries.append(timed("small", "bf16", 1_000_000))
    facts = measure_side_by_side([lambda x: x], x, times=1)[0]
    timings = [
        facts | {"median_ms": m, "p10_ms": m - 1, "p90_ms": m + 2} for m in (40.0, 10.0, 5.0)
    ]
    table = write_comparison(tmp_path, entries, timings, [3_000_000, None, 1_000_000])
    lines = table.splitlines()
    assert len(lines) == 6 and lines[0].split()[:2] == ["model", "backend"]
    assert "8.0x" in lines[3] and "4.0x" in lines[3] and lines[3].split()[:2] == ["small", "eager"]
    assert lines[4].endswith("(not exact)")
    assert lines[5].endswith("against teacher in eager")
    found = json.loads((tmp_path / "latency.json").read_text())
    assert (found["model"], found["macs"], found["params"]) == ("teacher", 8_000_000, 80_000)
    assert {e["macs_convention"] for e in found["all"]} == {"published"}
    assert found["median_ms"] == 40.0 and found["threads"] == torch.get_num_threads()
    assert found["ratios_against"] == "teacher in eager"
    assert [e["time_ratio"] for e in found["all"]] == [1, 4, 8]
    assert [e["macs_ratio"] for e in found["all"]] == [1, 8, 8]
    assert [e["peak_memory_bytes"] for e in found["all"]] == [3_000_000, None, 1_000_000]
    assert found["all"][0].items() <= found.items()
    read = read_latency(tmp_path / "latency.json")
    assert [(e["median_ms"], e["p10_ms"], e["p90_ms"]) for e in read] == [
        (20, 19.5, 21),
        (5, 4.5, 6),
        (2.5, 2, 3.5),
    ]
    assert of_what(read[0], (32, 32)) == "an image in batches of 2"
    assert of_what({"height": 32, "width": 64}, (32, 32)) == "one image of 64x32"
    with Image.open(tmp_path / "latency.png") as image:
        assert image.width == 900 and len(image.convert("RGB").getcolors(100_000)) > 10


@pytest.mark.parametrize(
    ("tested", "timing", "found"),
    [
        ({"exact_macs": 5}, {"macs": 9, "macs_convention": "published"}, 5),
        ({}, {"macs": 6, "macs_convention": "exact"}, 6),
        ({}, {"macs": 9, "macs_convention": "exact"}, 9),
        ({}, {"macs": 8, "macs_convention": "no_norm"}, None),
        # Files of older versions do not say how they counted.
        ({"exact_macs": None}, {"macs": 6}, 6),
        ({}, {"macs": 9}, None),
        ({}, None, None),
    ],
)
def test_macs_are_called_exact_only_if_they_are(tested, timing, found):
    assert exact_macs({"macs": 9} | tested, timing) == found


def test_peak_memory_sees_what_a_run_takes():
    size = 64 << 20

    def run(x):
        return torch.ones(size // 4).sum()

    found = peak_memory(Form("eager", True, run, 0.0, 0.0), torch.zeros(1))
    if found is None:
        pytest.skip("this system does not tell the peak of a process's memory")
    assert 0.9 * size < found < 2 * size
