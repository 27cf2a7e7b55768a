"""CUDA graphs of a training step: its kernels are launched together, as a recording.

Launching them one by one from Python takes longer than the kernels themselves at small batches.

A recording has fixed shapes, fixed memory and no Python in it. The step that is wrapped needs to
know nothing of that: it takes tensors, updates the weights and returns its losses. It must not wait
for the device, and what it runs must depend on the shapes of its inputs alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

# Tensors -> name -> scalar.
Step = Callable[..., dict[str, Tensor]]


class Recorder(Protocol):
    def aside(self, function: Callable, *args):
        """Run as a recording would, to set up what may not be set up while recording."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record without running; what is returned runs the recording, on the same memory."""


class CudaGraphs:
    """`Recorder` on a CUDA device; all recordings share one memory pool."""

    def __init__(self, device: torch.device):
        self.stream, self.pool = torch.cuda.Stream(device), None

    def aside(self, function: Callable, *args):
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = function(*args)
        torch.cuda.current_stream().wait_stream(self.stream)
        return result

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # Other threads go on copying images to the device meanwhile.
        with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
            function()
        self.pool = graph.pool()
        return graph.replay


class _Rates:
    """Learning rates where a recording can read them.

    A recording would keep the number that a rate was. So it reads a tensor, which takes the
    optimizer's rate before each replay. The optimizers keep plain numbers.
    """

    def __init__(self, optimizers: Sequence[Optimizer]):
        self.groups = [group for o in optimizers for group in o.param_groups]
        self.tensors = [
            torch.tensor(float(g["lr"]), device=g["params"][0].device) for g in self.groups
        ]

    @contextmanager
    def recorded(self):
        """Within, the optimizers read the tensors."""
        before = [(g["lr"], g["capturable"]) for g in self.groups]
        for group, tensor in zip(self.groups, self.tensors, strict=True):
            group["lr"], group["capturable"] = tensor, True
        try:
            yield
        finally:
            for group, (lr, capturable) in zip(self.groups, before, strict=True):
                group["lr"], group["capturable"] = lr, capturable

    def update(self) -> None:
        for group, tensor in zip(self.groups, self.tensors, strict=True):
            tensor.fill_(group["lr"])


class _Recording:
    """A step for inputs of given shapes."""

    def __init__(
        self,
        step: Step,
        optimizers: Sequence[Optimizer],
        inputs: Sequence[Tensor],
        recorder: Recorder,
    ):
        self.inputs = [t.clone() for t in inputs]
        self.rates = _Rates(optimizers)
        self.losses: dict[str, Tensor] = {}
        with self.rates.recorded():
            self.replay = recorder.record(lambda: self.losses.update(step(*self.inputs)))

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.rates.update()
        self.replay()
        # The next replay writes over the losses: the caller gets a copy.
        copies = torch.stack([*self.losses.values()]).unbind()
        return dict(zip(self.losses, copies, strict=True))


class CapturedStep:
    """Runs a training step: the first steps of a shape as they are, later ones from a recording.

    Args:
        step:       what is wrapped: forward, losses, backward and optimizers
        optimizers: those that ``step`` uses, with gradients set to None at its end
        recorder:   see `CudaGraphs`

    Attributes:
        WARMUP: steps of a shape before it is recorded; libraries choose their kernels and
                optimizers make their state in them
        SHAPES: maximum number of recorded shapes (the whole batch, an epoch's short last one, ...);
                steps of further shapes run as they are
    """

    WARMUP, SHAPES = 3, 4

    def __init__(self, step: Step, optimizers: Sequence[Optimizer], recorder: Recorder):
        self.step, self.optimizers, self.recorder = step, optimizers, recorder
        self.seen: Counter[tuple] = Counter()
        self.recordings: dict[tuple, _Recording] = {}

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        shapes = tuple(t.shape for t in inputs)
        if shapes not in self.recordings:
            self.seen[shapes] += 1
            if self.seen[shapes] <= self.WARMUP or len(self.recordings) == self.SHAPES:
                return self.recorder.aside(self.step, *inputs)
            self.recordings[shapes] = _Recording(self.step, self.optimizers, inputs, self.recorder)
        return self.recordings[shapes](*inputs)
