"""Put the fake device in the place of PyTorch's CUDA in this process, once and for good."""

from __future__ import annotations

import os
import types

import torch

from fake_cuda import build, nccl, streams

GIB = 1 << 30


def install() -> types.ModuleType:
    """Install it before anything uses torch.cuda; the compiled extension, which counts.

    Its ``syncs()`` says how often the host waited for the device, ``pending()`` how many kernels it
    has not waited for, ``allocated(gpu)`` and ``peak(gpu)`` the bytes in use.
    """
    ext = build.load()
    ext.install()
    index_of = streams.index_of

    def exchange_device(index):
        before = ext.current_device()
        if index >= 0:
            ext.set_device(index)
        return before

    def properties(device=None):
        return types.SimpleNamespace(
            name="a fake GPU",
            major=9,
            minor=0,
            total_memory=8 * GIB,
            multi_processor_count=1,
            warp_size=32,
        )

    replaced = {
        # Which devices there are, and which is current.
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "_lazy_call": lambda f, **k: None,
        "_is_in_bad_fork": lambda: False,
        "device_count": ext.device_count,
        "current_device": ext.current_device,
        "set_device": lambda d: ext.set_device(index_of(d)),
        "_exchange_device": exchange_device,
        "_maybe_exchange_device": exchange_device,
        "device": streams.OnDevice,
        "get_device_name": lambda device=None: properties().name,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": properties,
        "is_bf16_supported": lambda including_emulation=True: True,
        # Memory.
        "memory_allocated": lambda device=None: ext.allocated(index_of(device)),
        "max_memory_allocated": lambda device=None: ext.peak(index_of(device)),
        "memory_reserved": lambda device=None: ext.allocated(index_of(device)),
        "reset_peak_memory_stats": lambda device=None: ext.reset_peak(index_of(device)),
        "empty_cache": lambda: None,
        "mem_get_info": lambda device=None: (8 * GIB, 8 * GIB),
        # Random numbers come from the host's generator.
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device="cuda": torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda state, device="cuda": None,
        "get_rng_state_all": lambda: [torch.zeros(16, dtype=torch.uint8)] * ext.device_count(),
        "set_rng_state_all": lambda states: None,
        # Streams and graphs.
        "synchronize": lambda device=None: ext.synchronize(),
        "Stream": streams.Stream,
        "Event": streams.Event,
        "stream": streams.on_stream,
        "current_stream": streams.current_stream,
        "default_stream": lambda device=None: streams.Stream(device, stream_id=0),
        "CUDAGraph": streams.Graph,
        "graph": streams.Capture,
        "graph_pool_handle": lambda: (0, 0),
        "is_current_stream_capturing": lambda: streams.Capture.running,
    }
    for name, value in replaced.items():
        setattr(torch.cuda, name, value)
    torch.cuda._initialized = True
    torch._C._cuda_getDeviceCount = ext.device_count
    # A PyTorch without CUDA lacks it, and its other modules look for it.
    if not hasattr(torch._C, "_cuda_getCurrentRawStream"):
        torch._C._cuda_getCurrentRawStream = lambda device: 0
    torch.UntypedStorage.__new__ = _new_storage
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        nccl.install(ext.current_device)
    return ext


def _new_storage(cls, *args, device=None, **kwargs):
    """A storage made by itself would come from PyTorch's own allocator."""
    on_cuda = device is not None and torch.device(device).type == "cuda"
    if on_cuda and len(args) == 1 and isinstance(args[0], int):
        return torch.empty(args[0], dtype=torch.uint8, device=device).untyped_storage()
    if device is not None:
        kwargs["device"] = device
    return torch._C.StorageBase.__new__(cls, *args, **kwargs)
