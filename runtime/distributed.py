"""Many processes, one run: what torchrun starts. Everything here is a no-op in a single process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from errors import InputError


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    return rank() == 0


def setup(device_type: str) -> None:
    """Join the other processes when torchrun started this one (gloo on CPUs, NCCL on GPUs)."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo")


def shutdown() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@torch.no_grad()
def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Mean of the gradients over processes: what one process would compute for the joint batch.

    One flat all-reduce rather than DistributedDataParallel, whose hooks allow neither two losses through one graph nor backward(inputs=...).
    """
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    _reduce(flat)
    flat /= world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def average(value: Tensor) -> Tensor:
    """Mean of a tensor over processes."""
    if world_size() > 1:
        value = value.clone()
        _reduce(value)
        value /= world_size()
    return value


def gather_objects(value: object) -> list:
    """What every process has, in order of rank, on every process. InputError when one of them has ended."""
    if world_size() == 1:
        return [value]
    values: list = [None] * world_size()
    with _worker_loss():
        dist.all_gather_object(values, value)
    return values


def _reduce(value: Tensor) -> None:
    with _worker_loss():
        dist.all_reduce(value)


@contextmanager
def _worker_loss() -> Iterator[None]:
    """A collective that fails because a process is gone says so in one line."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"another process of this run ended, see its message; the same command continues ({reason})"
        ) from None


@contextmanager
def main_first() -> Iterator[None]:
    """The block runs in the main process first, then in the others: for files that one makes and all read."""
    if not is_main():
        gather_objects(None)
    yield
    if is_main():
        gather_objects(None)
