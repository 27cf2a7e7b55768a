"""Which device a process takes, and what is refused. Only what PyTorch says of GPUs is faked."""

import pytest
import torch

from errors import InputError
from metrics.criteria import FeatureCriterion
from metrics.frechet import Statistics
from metrics.inception import load_inception
from runtime import machine
from runtime.machine import MachineSettings, device_for_float64, device_name, start, wait


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def choose(device="auto", gpu_ids=(0,), **wanted) -> str:
    return str(start(MachineSettings(device, gpu_ids, **wanted)))


def test_auto_takes_a_cuda_gpu_if_there_is_one(four_gpus):
    assert choose() == "cuda:0"
    assert choose(gpu_ids=(2,)) == choose("cuda", (2,)) == "cuda:2"
    assert choose(gpu_ids=(-1,)) == choose("cpu") == "cpu"


def test_auto_falls_back_to_the_cpu_and_says_so(no_gpu, capsys):
    assert choose() == "cpu" and "using the CPU" in capsys.readouterr().out
    assert choose(gpu_ids=(-1,)) == "cpu" and not capsys.readouterr().out


@pytest.mark.parametrize("device", ["cuda", "mps", "xpu"])
def test_a_missing_device_is_refused(no_gpu, device):
    with pytest.raises(InputError, match=rf"`device` {device}: .* `device` cpu"):
        choose(device)


def test_contradictions_are_refused(four_gpus):
    with pytest.raises(InputError, match="contradict"):
        choose("cuda", (-1,))
    with pytest.raises(InputError, match="there is no GPU 4, PyTorch finds 4"):
        choose(gpu_ids=(4,))


@pytest.mark.parametrize(
    ("gpu_ids", "chosen"), [((2, 3), ["cuda:2", "cuda:3"]), ((0,), ["cuda:0", "cuda:1"])]
)
def test_each_process_takes_its_own_gpu(four_gpus, monkeypatch, gpu_ids, chosen):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank, expected in enumerate(chosen):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert choose(gpu_ids=gpu_ids) == expected


def test_fewer_gpus_than_processes_are_refused(four_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="`gpu_ids` 2,3 names 2 GPUs for 3 processes"):
        choose(gpu_ids=(2, 3))


def test_one_process_says_that_it_uses_one_gpu(four_gpus, capsys):
    assert choose(gpu_ids=(1, 2)) == "cuda:1"
    assert "torchrun" in capsys.readouterr().out


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_what_a_device_lacks_is_refused(no_gpu, monkeypatch, device):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose(device, amp="bf16") == device
    with pytest.raises(InputError, match="`amp` fp16 needs a CUDA GPU; use `amp` bf16"):
        choose(device, amp="fp16")
    with pytest.raises(InputError, match="`cuda_graphs` needs a CUDA GPU"):
        choose(device, cuda_graphs=True)


def test_what_a_recording_lacks_is_refused(four_gpus, monkeypatch):
    assert choose(amp="bf16", cuda_graphs=True) == "cuda:0"
    with pytest.raises(InputError, match=r"`cuda_graphs` cannot scale gradients.*use bf16"):
        choose(amp="fp16", cuda_graphs=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="`cuda_graphs` takes one process and torchrun started 2"):
        choose(cuda_graphs=True)


def test_several_processes_on_an_apple_gpu_are_refused(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="`device` mps takes one process and torchrun started 2"):
        choose("mps")


def test_float64_is_computed_where_it_can_be():
    assert device_for_float64(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert device_for_float64(torch.device("mps")) == torch.device("cpu")
    # A criterion of a network on such a device keeps its statistics on the CPU.
    real = Statistics.of_features(torch.rand(5, 64))
    criterion = FeatureCriterion(load_inception(64, features="random"), real, torch.device("mps"))
    assert criterion.real.mu.device.type == "cpu"


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_a_clock_waits_for_the_device_that_computes(monkeypatch, kind):
    waited = []
    monkeypatch.setattr(getattr(torch, kind), "synchronize", lambda: waited.append(kind))
    wait(torch.device(kind))
    wait(torch.device("cpu"))
    assert waited == [kind]
    assert device_name(torch.device("cpu")).startswith("CPU (")


def test_how_many_cores_are_busy(tmp_path, monkeypatch):
    """By the clocks of Linux; a core that waits for a disk is not busy."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    path = tmp_path / "stat"
    monkeypatch.setattr(machine, "STAT", path)
    assert machine.busy_cores(0) == 0
    path.write_text("cpu  100 20 30 4000 500 6 7 0 0 0\ncpu0 1 2 3\n")

    def later(seconds):
        path.write_text("cpu  140 40 50 4120 505 16 12 5 0 0\n")

    monkeypatch.setattr(machine.time, "sleep", later)
    busy, idle = 40 + 20 + 20 + 10 + 5 + 5, 120 + 5
    assert machine.busy_cores() == pytest.approx(4 * busy / (busy + idle))
    assert machine.busy_cores() == 0  # nothing has passed
