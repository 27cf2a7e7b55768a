"""Precision, the run's page and TensorBoard files of training."""

import pytest


def test_bf16_trains_close_to_float32_and_the_run_has_a_page(
    call, teacher, tmp_path, teacher_flags, read_lines
):
    call("train.py", *teacher_flags, "--amp", "bf16", "--log_dir", tmp_path / "bf16").succeeded()
    first, reference = (
        read_lines(folder / "log.jsonl")[0] for folder in (tmp_path / "bf16", teacher)
    )
    assert first["losses"] == pytest.approx(reference["losses"], rel=0.05, abs=0.05)
    page = (tmp_path / "bf16" / "index.html").read_text()
    for name in ("losses.png", "measures.png"):
        assert name in page and (tmp_path / "bf16" / name).is_file()
    newest = sorted((tmp_path / "bf16" / "eval").glob("*.png"))[-1]
    assert f"eval/{newest.name}" in page


def test_fp16_needs_a_gpu(call, tmp_path, teacher_flags):
    outcome = call("train.py", *teacher_flags, "--amp", "fp16", "--log_dir", tmp_path / "fp16")
    assert (
        outcome.returncode == 2
        and "--amp fp16" in outcome.stderr
        and not (tmp_path / "fp16").exists()
    )


def test_cuda_graphs_are_refused_on_the_cpu(call, teacher_flags, tmp_path):
    outcome = call("train.py", *teacher_flags, "--cuda_graphs", "--log_dir", tmp_path / "graphs")
    assert (
        outcome.returncode == 2
        and "--cuda_graphs" in outcome.stderr
        and not (tmp_path / "graphs").exists()
    )


def test_tensorboard_is_optional(call, tmp_path, teacher_flags):
    """Event files where the package is there, else a line that says what to install."""
    flags = (
        *teacher_flags,
        "--log_dir",
        tmp_path / "run",
        "--tensorboard_dir",
        tmp_path / "events",
    )
    outcome = call("train.py", *flags)
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        assert outcome.returncode == 2 and "pip install tensorboard" in outcome.stderr
    else:
        assert outcome.returncode == 0 and list((tmp_path / "events").glob("events.*"))
