"""Several processes, one run: what torchrun starts. In a single process this does nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from errors import InputError

# Objects and flags travel through a second group on the host. They never wait for a GPU, and the
# other processes may wait there for hours while the main one measures a large dataset.
_host_group: dist.ProcessGroup | None = None
HOST_TIMEOUT = timedelta(days=1)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    return rank() == 0


def setup(device_type: str) -> None:
    """Join the other processes when torchrun started this one (NCCL on CUDA GPUs, else gloo)."""
    global _host_group
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
        _host_group = dist.new_group(backend="gloo", timeout=HOST_TIMEOUT)


def shutdown() -> None:
    """Leave the group at the end of a run. After an error, the others might never arrive here."""
    global _host_group
    if dist.is_initialized():
        dist.destroy_process_group()
        _host_group = None


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes: what one process gets for the joint batch.

    One flat all-reduce rather than DistributedDataParallel, whose hooks allow neither two losses
    through one graph nor ``backward(inputs=...)``.
    """
    if world_size() > 1:
        _average_in_place([p.grad for p in parameters if p.grad is not None])


@torch.no_grad()
def average_buffers(networks: Iterable[nn.Module]) -> None:
    """Replace floating-point buffers by their mean over processes.

    These are the running statistics of batch norms. Each process updates its own from its share of
    a batch; averaged, all of them evaluate and save the same network.
    """
    if world_size() > 1:
        buffers = [b for net in networks for b in net.buffers() if b.is_floating_point()]
        if buffers:
            _average_in_place(buffers)


@torch.no_grad()
def average(value: Tensor) -> Tensor:
    """Mean of a tensor over processes."""
    if world_size() > 1:
        value = value.clone()
        _average_in_place([value])
    return value


@torch.no_grad()
def joined(tensor: Tensor) -> Tensor:
    """The tensors of all processes, of one shape, behind one another in order of rank."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    with _worker_loss():
        dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


@torch.no_grad()
def summed(tensor: Tensor) -> Tensor:
    """The sum of the processes' tensors of one shape, on every process."""
    if world_size() > 1:
        tensor = tensor.clone()
        with _worker_loss():
            dist.all_reduce(tensor)
    return tensor


def largest(value: int) -> int:
    """The largest of the processes' values, on every process; the device is not waited for."""
    if world_size() == 1:
        return value
    shared = torch.tensor(value)
    with _worker_loss():
        dist.all_reduce(shared, dist.ReduceOp.MAX, group=_host_group)
    return int(shared)


def gather_objects(value: object) -> list:
    """Every process's value, in order of rank, on every process. InputError when one has ended."""
    if world_size() == 1:
        return [value]
    values: list = [None] * world_size()
    with _worker_loss():
        dist.all_gather_object(values, value, group=_host_group)
    return values


def _average_in_place(tensors: list[Tensor]) -> None:
    flat = torch.cat([t.reshape(-1) for t in tensors])
    with _worker_loss():
        dist.all_reduce(flat)
    flat /= world_size()
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def _worker_loss() -> Iterator[None]:
    """A collective that fails because a process is gone says so in one line."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "another process of this run ended, see its message; "
            f"the same command continues ({reason})"
        ) from None


@contextmanager
def main_first() -> Iterator[None]:
    """The main process runs the block before the others: for a file that one makes and all read."""
    if not is_main():
        gather_objects(None)
    yield
    if is_main():
        gather_objects(None)
