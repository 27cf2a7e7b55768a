"""The scripts on the fake GPUs of tests/fake_cuda.

What mixes the memories of host and device fails there as on a GPU, and the numbers are the CPU's.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

GPU = ("--gpu_ids", 0)


@pytest.fixture(scope="module")
def losses(read_lines) -> Callable[[Path], list[dict]]:
    def read(folder: Path) -> list[dict]:
        return [r["losses"] for r in read_lines(folder / "log.jsonl") if r["event"] == "train"]

    return read


@pytest.fixture(scope="module")
def measured(read_lines) -> Callable[[Path], list[dict]]:
    """The metrics of every evaluation, without its time."""

    def read(folder: Path) -> list[dict]:
        records = [r for r in read_lines(folder / "log.jsonl") if r["event"] == "eval"]
        return [
            {k: {m: v for m, v in d.items() if m != "seconds"} for k, d in r["metrics"].items()}
            for r in records
        ]

    return read


def close(one: list[dict], other: list[dict], tolerance: float) -> bool:
    return len(one) == len(other) > 0 and all(
        a == pytest.approx(b, rel=tolerance, abs=tolerance) for a, b in zip(one, other, strict=True)
    )


def test_the_fake_device_refuses_what_cuda_refuses(gpu):
    output = gpu("-m", "pytest", "-p", "no:cacheprovider", "tests/fake_cuda/checks.py")
    assert "passed" in output and "failed" not in output


# --------------------------------------------------------------------------------------------------
# Training


def test_a_teacher_is_trained_as_on_the_cpu(
    gpu, teacher, teacher_flags, tmp_path, losses, measured
):
    gpu("train.py", *teacher_flags, *GPU, "--log_dir", tmp_path)
    assert losses(tmp_path) == losses(teacher)
    assert measured(tmp_path) == measured(teacher)


def test_a_teacher_is_trained_from_a_recording(gpu, teacher, teacher_flags, tmp_path, losses):
    gpu("train.py", *teacher_flags, *GPU, "--cuda_graphs", "--no_fid", "--log_dir", tmp_path)
    # A recording reads the learning rate in float32.
    assert close(losses(tmp_path), losses(teacher), 1e-3)


def test_a_run_moves_from_the_cpu_to_the_gpu_and_back(
    gpu, call, teacher, teacher_flags, tmp_path, losses
):
    """The first step on the CPU, the second and third on the GPU, the rest on the CPU."""
    train = ("train.py", *teacher_flags, "--no_fid", "--log_dir", tmp_path)
    stop_after = "tests/fake_cuda/stop_after.py"
    call(stop_after, 1, *train).succeeded()
    gpu(stop_after, 2, *train, *GPU)
    call(*train).succeeded()
    assert losses(tmp_path) == losses(teacher)


def test_fp16(gpu, teacher_flags, tmp_path, losses):
    # Narrow: convolutions in float16 take a CPU long.
    flags = ("--amp", "fp16", "--no_fid", "--niters", 2, "--ngf", 8)
    gpu("train.py", *teacher_flags, *GPU, *flags, "--log_dir", tmp_path)
    assert len(losses(tmp_path)) == 2


def test_a_cycle_gan_is_trained_as_on_the_cpu(
    gpu, call, cycle, cycle_flags, tmp_path, losses, measured
):
    """Its pools move with the run between host and device."""
    train = ("train.py", *cycle_flags, "--log_dir", tmp_path)
    stop_after = "tests/fake_cuda/stop_after.py"
    call(stop_after, 4, *train).succeeded()
    gpu(stop_after, 2, *train, *GPU)
    gpu(*train, *GPU)
    assert losses(tmp_path) == losses(cycle)
    assert measured(tmp_path) == measured(cycle)


def test_a_cycle_gan_is_trained_from_a_recording(gpu, cycle, cycle_flags, tmp_path, losses):
    flags = (*cycle_flags, *GPU, "--no_fid")
    # Every third batch is a short one: the seventh step is the first of a whole batch to be
    # replayed with other images than those recorded.
    recorded = ("--cuda_graphs", "--niters", 7)
    gpu("train.py", *flags, *recorded, "--log_dir", tmp_path / "graphs")
    # A recording reads the learning rate in float32, and Adam makes much of little in the end.
    assert close(losses(tmp_path / "graphs"), losses(cycle)[:7], 1e-3)
    half = ("--amp", "fp16", "--niters", 1, "--ngf", 4)
    gpu("train.py", *flags, *half, "--log_dir", tmp_path / "fp16")
    assert len(losses(tmp_path / "fp16")) == 1


def test_a_distilled_student(gpu, distilled, student_flags, teacher, tmp_path, losses):
    pruned = ("--restore_pretrained_G_path", teacher / "checkpoints" / "latest_net_G.pth")
    flags = (*student_flags, *GPU, *pruned, "--student_ngf", 32, "--no_fid")
    gpu("distill.py", *flags, "--niters", 3, "--log_dir", tmp_path)
    # The CPU runs the teacher in Winograd's form.
    assert close(losses(tmp_path), losses(distilled)[:3], 1e-3)


def test_a_supernet_with_everything(gpu, quality_supernet, quality_flags, tmp_path, losses):
    """A configuration per image, the sandwich and an average of the weights."""
    gpu("train_supernet.py", *quality_flags, *GPU, "--niters", 2, "--log_dir", tmp_path)
    # Its channels are masked here and cut on the CPU. Adam's first steps make much of little.
    assert close(losses(tmp_path)[:1], losses(quality_supernet)[:1], 1e-6)
    assert close(losses(tmp_path), losses(quality_supernet)[:2], 1e-2)


def test_a_supernet_in_bf16_with_graphs_and_restored_moments(
    gpu, quality_flags, supernet, tmp_path, losses
):
    restored = ("--restore_O_path", supernet / "checkpoints" / "state.pth")
    flags = ("--amp", "bf16", "--cuda_graphs", "--no_fid", *restored, "--niters", 5)
    # A CPU without instructions for bfloat16 takes long.
    flags += ("--batch_size", 2)
    gpu("train_supernet.py", *quality_flags, *GPU, *flags, "--log_dir", tmp_path)
    assert len(losses(tmp_path)) == 5


def test_two_gpus_train_as_one_cpu(gpu, supernet, supernet_flags, tmp_path, losses):
    flags = ("--gpu_ids", "1,0", "--batch_size", 2, "--niters", 2, "--log_dir", tmp_path)
    gpu.two_processes("train_supernet.py", *supernet_flags, *flags)
    assert close(losses(tmp_path), losses(supernet)[:2], 2e-3)


# --------------------------------------------------------------------------------------------------
# Measuring


def test_a_search_finds_what_the_cpu_finds(gpu, evolution, evolution_flags, tmp_path, read_lines):
    """Its first generation."""
    flags = (*evolution_flags, "--evolution_iters", 0)
    gpu("evolution_search.py", *flags, *GPU, "--output_dir", tmp_path)
    found, expected = (
        [{k: v for k, v in r.items() if k != "seconds"} for r in read_lines(f)]
        for f in (tmp_path / "evaluations.jsonl", evolution / "evaluations.jsonl")
    )
    assert found == expected[:8]


def test_testing_and_latency(gpu, inference_flags, exported, narrow_pth, tmp_path):
    flags = (*inference_flags, *GPU, "--restore_G_path", exported, "--times", 2)
    gpu("test.py", *flags, "--compare", narrow_pth, "--results_dir", tmp_path / "test")
    forms = ("eager", "channels_last", "fused", "cuda_graph", "bf16")
    gpu("latency.py", *flags, "--backends", *forms, "--results_dir", tmp_path / "latency")
    assert len(json.loads((tmp_path / "latency" / "latency.json").read_text())["all"]) == len(forms)
    assert json.loads((tmp_path / "test" / "results.json").read_text())


def test_export_and_statistics(gpu, supernet_pth, dataset, tmp_path):
    config = "_".join(["16"] * 8)
    export = ("--input_path", supernet_pth, "--config_str", config)
    gpu("export.py", *export, "--output_path", tmp_path / "net_G.pth")
    data = ("--dataroot", dataset, "--direction", "BtoA", *GPU)
    features = ("--fid_features", "random", "--fid_dims", 64)
    gpu("get_real_stat.py", *data, *features, "--output_path", tmp_path / "real.npz")
    assert (tmp_path / "net_G.pth").exists() and (tmp_path / "real.npz").exists()
