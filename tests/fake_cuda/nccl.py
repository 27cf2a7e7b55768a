"""NCCL of the fake device: gloo underneath, and a refusal of what NCCL refuses."""

from __future__ import annotations

import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

NAMES = ("init_process_group", "all_reduce", "all_gather", "_get_object_coll_device")


def install(current_device) -> None:
    """Replace the collectives that the project uses; those of an explicit group stay as they are.

    Args:
        current_device: function that returns the number of the process's GPU
    """
    real = {name: getattr(c10d, name) for name in NAMES}
    nccl = []

    def init_process_group(backend=None, **kwargs):
        if backend in (None, "nccl"):
            nccl.append(True)
            kwargs.pop("device_id", None)
            backend = "gloo"
        return real["init_process_group"](backend, **kwargs)

    def on_host(tensors):
        for t in tensors:
            if not t.is_cuda:
                raise RuntimeError("No backend type associated with device type cpu")
            if t.device.index != current_device():
                raise RuntimeError(
                    f"NCCL: {t.device} is not this process's cuda:{current_device()}; "
                    "two ranks on one GPU hang"
                )
            if not t.is_contiguous():
                raise ValueError("Tensors must be contiguous")
        return [t.cpu() for t in tensors]

    def all_reduce(tensor, *args, group=None, **kwargs):
        if not nccl or group is not None:
            return real["all_reduce"](tensor, *args, group=group, **kwargs)
        (host,) = on_host([tensor])
        result = real["all_reduce"](host, *args, **kwargs)
        tensor.copy_(host)
        return result

    def all_gather(tensor_list, tensor, group=None, **kwargs):
        if not nccl or group is not None:
            return real["all_gather"](tensor_list, tensor, group=group, **kwargs)
        (host,), hosts = on_host([tensor]), on_host(tensor_list)
        result = real["all_gather"](hosts, host, **kwargs)
        for mine, theirs in zip(tensor_list, hosts, strict=True):
            mine.copy_(theirs)
        return result

    def device_of_objects(group=None):
        return "cuda" if nccl and group is None else real["_get_object_coll_device"](group)

    for module in (dist, c10d):
        for name, function in zip(
            NAMES, (init_process_group, all_reduce, all_gather, device_of_objects), strict=True
        ):
            setattr(module, name, function)
