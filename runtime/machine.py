"""The device that this process computes on, and its random numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from errors import InputError
from runtime import distributed


@dataclass(frozen=True)
class MachineSettings:
    """Where to compute.

    Args:
        gpu_ids: the GPU to use, -1 = CPU; a missing GPU falls back to the CPU
        seed:    of everything random
        threads: of the networks on the CPU; None leaves it to PyTorch
    """

    gpu_ids: Sequence[int] = (0,)
    seed: int = 0
    threads: int | None = None


def start(settings: MachineSettings) -> torch.device:
    """Seed everything, join the other processes of a torchrun, and say which device is ours."""
    torch.manual_seed(settings.seed)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    ids = settings.gpu_ids
    if ids[0] < 0 or not torch.cuda.is_available():
        if ids[0] >= 0:
            print("no CUDA GPU was found: using the CPU (--gpu_ids -1 says so)")
        distributed.setup("cpu")
        return torch.device("cpu")
    index = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else ids[0]
    shown = ",".join(map(str, ids))
    if index >= torch.cuda.device_count():
        raise InputError(
            f"`gpu_ids` {shown}: there is no GPU {index}, "
            f"the machine has {torch.cuda.device_count()}"
        )
    if len(ids) > 1 and "LOCAL_RANK" not in os.environ:
        print(
            f"--gpu_ids {shown}: one process uses one GPU; start it with torchrun to use {len(ids)}"
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    distributed.setup("cuda")
    return device
