"""CUDA graphs of a step: its kernels are launched together, as a recording.

Launching them one by one from Python takes longer than the kernels themselves at small batches.

A recording has fixed shapes and fixed memory. Inputs are therefore copied into tensors of its own,
a supernet runs its configurations masked (see `models.supernet`), and gradients are handed to the
parameters after each replay. Optimizers, the averaging over processes and the gradient scaler stay
outside and work as they do without a recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor


@dataclass
class Work:
    """One step on its way through the phases of a task.

    Args:
        a, b:    the batch, N C H W
        choices: what a student runs, one pass each; tensors (`models.supernet.widths_of`) where
                 the step is captured
        losses:  name -> detached scalar, filled in by the phases
        outputs: what a phase leaves for the next
    """

    a: Tensor
    b: Tensor
    choices: list = field(default_factory=list)
    losses: dict[str, Tensor] = field(default_factory=dict)
    outputs: tuple[Tensor, ...] = ()

    @property
    def tensors(self) -> list[Tensor]:
        return [self.a, self.b, *self.choices]


# What a phase computes (losses and gradients), and the optimizers that step after it.
Phase = tuple[Callable[[Work], None], tuple[torch.optim.Optimizer, ...]]


class Recorder(Protocol):
    def aside(self, function: Callable, *args) -> None:
        """Run as a recording would, to set up what may not be set up while recording."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record without running; what is returned runs the recording, on the same memory."""


class CudaGraphs:
    """`Recorder` on a CUDA device; all recordings share one memory pool."""

    def __init__(self, device: torch.device):
        self.stream, self.pool = torch.cuda.Stream(device), None

    def aside(self, function: Callable, *args) -> None:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            function(*args)
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # Other threads keep copying images to the device, and NCCL's keeps asking for its events.
        with torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"):
            function()
        self.pool = graph.pool()
        return graph.replay


class _Recording:
    """The phases of a task for inputs of one shape."""

    def __init__(self, phases: list[Phase], work: Work, recorder: Recorder):
        self.inputs = [t.clone() for t in work.tensors]
        a, b, *choices = self.inputs
        static = Work(a, b, choices)
        self.phases: list[Phase] = []
        for compute, optimizers in phases:
            # Without gradients from before, the recording sets them instead of adding to them.
            parameters = [
                p for o in optimizers for group in o.param_groups for p in group["params"]
            ]
            for p in parameters:
                p.grad = None
            replay = recorder.record(partial(compute, static))
            gradients = [(p, p.grad) for p in parameters if p.grad is not None]
            for p in parameters:
                p.grad = None
            self.phases.append((partial(self._run, replay, gradients, not self.phases), optimizers))
        self.losses = static.losses

    def _run(
        self,
        replay: Callable[[], None],
        gradients: list[tuple[Tensor, Tensor]],
        first: bool,
        work: Work,
    ) -> None:
        if first:
            for mine, given in zip(self.inputs, work.tensors, strict=True):
                mine.copy_(given)
        replay()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        # The next replay writes over the losses: what a caller keeps is a copy.
        work.losses = dict(
            zip(self.losses, torch.stack([*self.losses.values()]).unbind(), strict=True)
        )


class StepCapture:
    """Decides what each step runs: the first steps of a shape as they are, then their recording.

    Attributes:
        WARMUP: steps of a shape before it is recorded; libraries choose their kernels in them
        SHAPES: maximum number of recorded shapes (the whole batch, an epoch's short last one, ...);
                steps of further shapes run as they are
    """

    WARMUP, SHAPES = 3, 4

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.seen: Counter[tuple] = Counter()
        self.recordings: dict[tuple, _Recording] = {}

    def phases(self, phases: list[Phase], work: Work) -> list[Phase]:
        """What to run for ``work`` in the place of ``phases``."""
        shape = tuple(t.shape for t in work.tensors)
        if shape not in self.recordings:
            self.seen[shape] += 1
            if self.seen[shape] <= self.WARMUP or len(self.recordings) == self.SHAPES:
                return [(partial(self.recorder.aside, compute), o) for compute, o in phases]
            self.recordings[shape] = _Recording(phases, work, self.recorder)
        return self.recordings[shape].phases
