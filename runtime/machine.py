"""The device that this process computes on, what that device lacks, and the random numbers."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from errors import InputError
from runtime import distributed

DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
MEMINFO, STAT = Path("/proc/meminfo"), Path("/proc/stat")
_NAMES = {"cpu": "the CPU", "cuda": "a CUDA GPU", "mps": "an Apple GPU", "xpu": "an Intel GPU"}


@dataclass(frozen=True)
class MachineSettings:
    """What a run wants of its machine.

    Args:
        device:      one of `DEVICES`. ``auto`` takes a CUDA GPU if there is one, else the CPU.
        gpu_ids:     GPU numbers; -1 = CPU. Under torchrun each process takes one of them, and (0,)
                     means the first GPUs, one for each process.
        seed:        seed of all random draws
        amp:         none | bf16 | fp16
        cuda_graphs: whether training steps are recorded as CUDA graphs
        threads:     CPU threads of the networks; None leaves it to PyTorch
    """

    device: str = "auto"
    gpu_ids: Sequence[int] = (0,)
    seed: int = 0
    amp: str = "none"
    cuda_graphs: bool = False
    threads: int | None = None


def start(settings: MachineSettings) -> torch.device:
    """Seed everything, join the other processes of torchrun, and return this process's device.

    Raises:
        InputError: there is no such device, or it lacks what the run wants.
    """
    torch.manual_seed(settings.seed)
    if settings.threads is not None:
        most = 4 * (os.cpu_count() or 1)
        if settings.threads > most:
            raise InputError(
                f"`threads` {settings.threads}: this machine has {os.cpu_count()} cores; "
                f"give {most} at most"
            )
        torch.set_num_threads(settings.threads)
    kind = _kind_of_device(settings)
    # Only there can gradients be scaled, which float16 needs.
    if settings.amp == "fp16" and kind not in ("cuda", "xpu"):
        raise InputError(f"`amp` fp16 needs a CUDA GPU; use `amp` bf16 on {_NAMES[kind]}")
    if settings.cuda_graphs and kind != "cuda":
        raise InputError(f"`cuda_graphs` needs a CUDA GPU; leave it out on {_NAMES[kind]}")
    if settings.cuda_graphs and settings.amp == "fp16":
        raise InputError("`cuda_graphs` cannot scale gradients, which `amp` fp16 needs; use bf16")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if settings.cuda_graphs and processes > 1:
        raise InputError(
            f"`cuda_graphs` takes one process and torchrun started {processes}: leave one out"
        )
    if processes > 1 and kind in ("mps", "xpu"):
        raise InputError(
            f"`device` {kind} takes one process and torchrun started {processes}; "
            "several need CUDA GPUs or the CPU"
        )
    device = torch.device(kind)
    if kind in ("cuda", "xpu"):
        module = getattr(torch, kind)
        device = torch.device(kind, _index_of_gpu(settings.gpu_ids, module.device_count()))
        module.set_device(device)
    distributed.setup(kind)
    return device


def named_device(name: str) -> torch.device:
    """The device of a name: cpu | cuda | mps | xpu, or with a number, such as cuda:1.

    Raises:
        InputError: there is none.
    """
    found = re.fullmatch(r"(\w+)(?::(\d+))?", name)
    if not found or found[1] == "auto":
        raise _unknown(name)
    kind, number = found[1], found[2]
    _require(kind)
    if number is not None:
        many = kind in ("cuda", "xpu")
        count = getattr(torch, kind).device_count() if many else 1
        if int(number) >= count:
            raise InputError(
                f"`device` {name}: there is no such device, PyTorch finds {count} on this machine"
            )
    return torch.device(name)


def device_for_float64(device: torch.device) -> torch.device:
    """``device``, or the CPU where it cannot compute in float64 (Apple's GPUs, some of Intel's)."""
    able = device.type != "mps"
    if device.type == "xpu":
        able = getattr(torch.xpu.get_device_properties(device), "has_fp64", False)
    return device if able else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """The card's name, or ``CPU (x86_64)`` and the like."""
    if device.type in ("cuda", "xpu"):
        return getattr(torch, device.type).get_device_name(device)
    return f"{'Apple GPU' if device.type == 'mps' else 'CPU'} ({platform.machine()})"


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process can still have; None where the system does not say.

    CUDA: what the card has free, and what PyTorch keeps of it unused. CPU: ``MemAvailable`` of
    Linux, which counts files that are cached as free.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    if device.type != "cpu":
        return None
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB", MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work. Call this before reading a clock."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _kind_of_device(settings: MachineSettings) -> str:
    wanted, no_gpu = settings.device, settings.gpu_ids[0] < 0
    if wanted == "auto":
        if no_gpu:
            return "cpu"
        if not torch.cuda.is_available():
            print("no CUDA GPU was found: using the CPU")
            return "cpu"
        return "cuda"
    if no_gpu and wanted in _NAMES and wanted != "cpu":
        raise InputError(f"`device` {wanted} and `gpu_ids` -1 contradict each other: give one")
    _require(wanted)
    return wanted


def _require(kind: str) -> None:
    """Raise InputError unless there is a device of this kind."""
    if kind not in _NAMES:
        raise _unknown(kind)
    if kind == "cpu":
        return
    module = torch.backends.mps if kind == "mps" else getattr(torch, kind)
    if not module.is_available():
        raise InputError(
            f"`device` {kind}: PyTorch {torch.__version__} does not find {_NAMES[kind]} here; "
            "use `device` cpu, or install the driver and a PyTorch for it"
        )


def _unknown(device: str) -> InputError:
    return InputError(f"`device` {device}: give one of {', '.join(_NAMES)}")


def _index_of_gpu(gpu_ids: Sequence[int], count: int) -> int:
    """The number of this process's GPU, of ``count``."""
    shown = ",".join(map(str, gpu_ids))
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if processes == 1 and len(gpu_ids) > 1:
        print(f"one process uses one GPU, the first of {shown}: start it with torchrun to use all")
    if processes > 1 and tuple(gpu_ids) == (0,):
        gpu_ids = range(processes)
    if local_rank >= len(gpu_ids):
        raise InputError(
            f"`gpu_ids` {shown} names {len(gpu_ids)} GPUs for {processes} processes; name one each"
        )
    index = gpu_ids[local_rank]
    if index >= count:
        raise InputError(
            f"`gpu_ids` {shown}: there is no GPU {index}, PyTorch finds {count} on this machine"
        )
    return index


def busy_cores(seconds: float = 0.3) -> float:
    """How many cores all programs keep busy while this thread waits so long [s]; 0 where the system
    does not say."""
    before = _core_seconds()
    time.sleep(seconds)
    after = _core_seconds()
    if before is None or after is None:
        return 0.0
    busy, total = (now - then for now, then in zip(after, before, strict=True))
    return (os.cpu_count() or 1) * busy / total if total else 0.0


def _core_seconds() -> tuple[int, int] | None:
    """(busy, all) time of all cores since the start of the system, in ticks of Linux."""
    try:
        _, *ticks = STAT.read_text().splitlines()[0].split()
        user, nice, system, idle, waiting, *more = map(int, ticks)
    except (OSError, ValueError, IndexError):
        return None
    busy = user + nice + system + sum(more[:3])
    return busy, busy + idle + waiting
