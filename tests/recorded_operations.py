"""Operations recorded on the CPU and replayed on the same memory, as a CUDA graph does."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class RecordedOperations(TorchDispatchMode):
    """Every operation with what it read and wrote: forward, backward and optimizers.

    Unlike a GPU, it runs what it records. `undo` takes back what that wrote into memory from
    before, and spoils what it computed, so that nothing can be right by it.
    """

    def __init__(self):
        super().__init__()
        self.calls = []
        self.made = set()
        self.before = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            self._keep(func, args, kwargs)
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        # A view is of memory that may have been there before.
        self.made |= _places(result) - _places((args, kwargs))
        return result

    def _keep(self, func, args, kwargs) -> None:
        """Keep the values of older tensors that an operation is about to write to."""
        named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        written = [
            named.get(a.name)
            for a in func._schema.arguments
            if a.alias_info is not None and a.alias_info.is_write
        ]
        for t in _tensors(written):
            place = t.untyped_storage().data_ptr()
            if place not in self.made and place not in self.before:
                self.before[place] = t, t.clone()

    @torch.no_grad()
    def undo(self) -> None:
        for t, value in self.before.values():
            t.data.copy_(value)
        for func, _, _, result in self.calls:
            if not func.is_view and not func._schema.is_mutable:
                for t in _tensors(result):
                    if t.is_floating_point():
                        t.data.fill_(float("nan"))  # unseen by autograd

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if torch.is_tensor(old) and old.data_ptr() != new.data_ptr():
                    old.data.copy_(new)


def _places(tree) -> set[int]:
    return {t.untyped_storage().data_ptr() for t in _tensors(tree)}


def _tensors(tree) -> list[torch.Tensor]:
    return [t for t in tree_leaves(tree) if torch.is_tensor(t)]


class _OnDevice(RecordedOperations):
    """A copy to the host would not be recorded: it is refused, as CUDA does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "waits for the device"
        return super().__torch_dispatch__(func, types, args, kwargs)


class OperationRecorder:
    """`runtime.cuda_graphs.Recorder` on the CPU."""

    def __init__(self):
        self.recorded = self.replayed = self.asides = 0

    def aside(self, function, *args):
        self.asides += 1
        return function(*args)

    def record(self, function):
        self.recorded += 1
        with torch.random.fork_rng(devices=[]), _OnDevice() as operations:
            function()
        operations.undo()

        def replay():
            self.replayed += 1
            operations.replay()

        return replay
