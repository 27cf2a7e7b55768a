"""Streams, events and graphs of the fake device. Kernels run at once: most is bookkeeping."""

from __future__ import annotations

import contextlib
import gc
import time

import torch
from recorded_operations import RecordedOperations

from fake_cuda.build import load

extension = load()


def index_of(device=None) -> int:
    """Number of a GPU, given as torch.cuda's functions take it; by default the current one."""
    current = extension.current_device()
    if device is None:
        return current
    if isinstance(device, int):
        return device if device >= 0 else current
    device = torch.device(device)
    if device.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {device}")
    return current if device.index is None else device.index


class Stream:
    def __init__(self, device=None, priority=0, stream_id=None):
        self.device = torch.device("cuda", index_of(device))
        self.stream_id = extension.new_stream() if stream_id is None else stream_id

    def wait_stream(self, other):
        pass

    def wait_event(self, event):
        pass

    def record_event(self, event=None):
        return event or Event()

    def synchronize(self):
        extension.synchronize()

    def query(self):
        return True

    def __eq__(self, other):
        same = isinstance(other, Stream) and self.device == other.device
        return same and self.stream_id == other.stream_id

    def __hash__(self):
        return hash((self.device, self.stream_id))


class Event:
    def __init__(self, *args, **kwargs):
        pass

    def record(self, stream=None):
        self.at = time.perf_counter()

    def wait(self, stream=None):
        pass

    def query(self):
        return True

    def synchronize(self):
        extension.synchronize()

    def elapsed_time(self, other):
        """Milliseconds."""
        return 1e3 * (other.at - self.at)


@contextlib.contextmanager
def on_stream(stream: Stream | None):
    """``torch.cuda.stream``"""
    if stream is None:
        yield
        return
    device = extension.current_device()
    before = extension.exchange_stream(stream.device.index, stream.stream_id)
    extension.set_device(stream.device.index)
    try:
        yield
    finally:
        extension.exchange_stream(stream.device.index, before)
        extension.set_device(device)


def current_stream(device=None) -> Stream:
    index = index_of(device)
    stream_id = extension.exchange_stream(index, 0)
    extension.exchange_stream(index, stream_id)
    return Stream(torch.device("cuda", index), stream_id=stream_id)


class OnDevice:
    """``torch.cuda.device``"""

    def __init__(self, device):
        self.idx = index_of(device)

    def __enter__(self):
        self.before = extension.current_device()
        extension.set_device(self.idx)

    def __exit__(self, *error):
        extension.set_device(self.before)


# --------------------------------------------------------------------------------------------------
# Graphs


class Graph:
    """``torch.cuda.CUDAGraph``: replays the operations of a capture on its own memory."""

    def __init__(self, keep_graph=False):
        self.operations, self.memory_pool = None, None

    def pool(self):
        return self.memory_pool

    def replay(self):
        if self.operations is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        self.operations.replay()


class Capture:
    """``torch.cuda.graph``"""

    running = False
    pools = 0

    def __init__(self, cuda_graph, pool=None, stream=None, capture_error_mode="global"):
        self.graph, self.pool, self.stream = cuda_graph, pool, stream or Stream()
        self.inner = on_stream(self.stream)

    def __enter__(self):
        extension.synchronize()
        gc.collect()
        self.inner.__enter__()
        Capture.pools += 1
        self.graph.memory_pool = self.pool or (0, Capture.pools)
        # Capturing draws no random numbers.
        self.random = torch.get_rng_state()
        self.operations = RecordedOperations()
        self.operations.__enter__()
        Capture.running = True
        extension.set_capturing(self.stream.stream_id)

    def __exit__(self, *error):
        extension.set_capturing(-1)
        Capture.running = False
        self.operations.__exit__(*error)
        self.inner.__exit__(*error)
        torch.set_rng_state(self.random)
        # Capturing runs nothing on a GPU.
        self.operations.undo()
        if error[0] is None:
            self.graph.operations = self.operations
