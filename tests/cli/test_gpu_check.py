"""scripts/gpu_check.py flags what misses its target. It runs whole on a GPU or by hand."""

import importlib.util
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def gpu_check():
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "scripts" / "gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(difference=1e-6, graphs=1e-7, noise=1e-7, speed=2.0, fid=1e-9, ended=0) -> dict:
    step = {"trained": "teacher", "batch": 1, "step": "ours, bf16", "speed against plain": speed}
    return {
        "parity": {
            "float32": {"networks": {"net": difference}, "losses": {"task": 0.0}},
            "tf32": {"networks": {"net": 0.1}, "losses": {"task": 0.1}},
            "cuda_graphs": {"graphs": {"task": graphs}, "noise": {"task": noise}},
        },
        "benchmarks": {
            "train_step": {"exit": 0, "figures": {"rows": [step]}},
            "frechet": {"exit": 0, "figures": {"rows": [{"n": 300, "relative difference": fid}]}},
            "evaluator": {"exit": ended, "figures": None},
        },
        "pipeline": {"train.py": {"exit": ended}, "passed": ended == 0},
    }


def test_what_meets_its_target_is_not_flagged(gpu_check):
    assert gpu_check.misses(report(), CUDA) == []
    assert gpu_check.misses(report(speed=0.5), CPU) == []  # speed is that of a GPU
    # Equal runs differ as much.
    assert gpu_check.misses(report(graphs=0.01, noise=0.005), CUDA) == []


@pytest.mark.parametrize(
    ("missed", "words"),
    [
        ({"difference": 0.01}, ["parity, float32, networks, net: differs by 1.0e-02"]),
        ({"difference": float("nan")}, ["parity, float32, networks, net"]),
        ({"graphs": 0.01}, ["parity, cuda_graphs, losses, task"]),
        ({"speed": 0.5}, ["teacher step, batch 1, ours, bf16: 0.50 times the speed"]),
        ({"fid": 1e-3}, ["FID of 300 images"]),
        ({"ended": 1}, ["benchmarks, evaluator: ended with 1", "pipeline, train.py"]),
    ],
)
def test_each_miss_is_one_line(gpu_check, missed, words):
    lines = gpu_check.misses(report(**missed), CUDA)
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))


def test_the_machine_is_named(gpu_check):
    found = gpu_check.machine(CPU)
    assert found["torch"] == torch.__version__ and found["device"].startswith("CPU")


def test_every_benchmark_that_it_calls_exists(gpu_check, monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(gpu_check, "call", lambda name, *words: called.append(name) or {"exit": 0})
    gpu_check.benchmarks(tmp_path, CPU)
    assert len(called) == 4 and all((ROOT / name).is_file() for name in called)
