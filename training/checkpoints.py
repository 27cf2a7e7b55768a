"""Files of weights: plain state dicts that carry what is needed to rebuild their network, and the state of a whole run.

All are written to a temporary name and renamed; all are read with ``weights_only=True``.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from errors import InputError
from models.generators import GeneratorSpec, explain_mismatch, infer_spec, resolve_spec

# Where a state dict's metadata, which `load_state_dict` ignores, holds the `GeneratorSpec` of its network.
SPEC_KEY = "generator"


# ---------------------------------------------------------------------------------------------------------
# Any file


def atomic_save(value: object, path: Path) -> None:
    """torch.save to a temporary name, flush to disk, rename: ``path`` is either the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # PyTorch's writer turns a full disk into a RuntimeError
        raise InputError(
            f"{path} could not be written ({error}); free some space. What was there before is untouched"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def safe_load(path: Path, flag: str) -> object:
    """torch.load onto the CPU without pickles. InputError naming ``flag`` and file when it is missing or damaged."""
    if not path.is_file():
        raise InputError(f"{flag} {path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises anything from EOFError to KeyError
        if "Unsupported global" in str(error):
            raise InputError(
                f"{flag} {path}: holds pickled objects, which are not read since they can run code; save a plain state dict"
            ) from None
        raise InputError(
            f"{flag} {path}: not a readable checkpoint, truncated perhaps ({type(error).__name__})"
        ) from None


# ---------------------------------------------------------------------------------------------------------
# Networks


def save_network(net: nn.Module, path: Path, spec: GeneratorSpec | None = None) -> None:
    """A plain state dict of CPU tensors (copies: the network stays where it is); with ``spec``, loading needs no architecture flags."""
    state = net.state_dict()
    for key in state:
        state[key] = state[key].cpu()
    if spec is not None:
        state._metadata[SPEC_KEY] = spec.to_dict()
    atomic_save(state, path)


def load_state(path: Path, flag: str) -> Mapping[str, torch.Tensor]:
    """A state dict from a checkpoint, ``module.`` prefixes of parallel training removed."""
    state = safe_load(path, flag)
    named_tensors = isinstance(state, Mapping) and all(
        isinstance(k, str) and torch.is_tensor(v) for k, v in state.items()
    )
    if not named_tensors or not state:
        raise InputError(f"{flag} {path}: not a state dict (name -> tensor)")
    if all(key.startswith("module.") for key in state):
        state = OrderedDict((key[7:], value) for key, value in state.items())
    return state


def read_spec(state: Mapping[str, torch.Tensor], path: Path, flag: str) -> GeneratorSpec:
    """What network a state dict is of: as stored by `save_network`, else from its shapes."""
    stored = getattr(state, "_metadata", {}).get(SPEC_KEY)
    if stored:
        return GeneratorSpec.from_dict(stored)
    try:
        return infer_spec(state)
    except InputError as error:
        raise InputError(f"{flag} {path}: {error}") from None


def load_generator(
    path: str | Path, flag: str, wanted: Mapping | None = None, prefix: str = ""
) -> tuple[nn.Module, GeneratorSpec]:
    """Rebuild a generator from its checkpoint alone.

    Args:
        path:   a ``.pth`` of ours, or a released state dict
        flag:   the flag that gave the path, for messages
        wanted, prefix: architecture flags given explicitly, see `resolve_spec`

    Raises:
        InputError: unreadable, not a generator, or contradicted by a flag.
    """
    path = Path(path)
    state = load_state(path, flag)
    spec = resolve_spec(read_spec(state, path, flag), wanted or {}, str(path), prefix)
    net = spec.build()
    load_into(net, state, path, flag)
    if not all(torch.isfinite(p).all() for p in net.parameters()):
        raise InputError(
            f"{flag} {path}: holds weights that are not finite; the run that wrote it had diverged"
        )
    return net, spec


def load_into(net: nn.Module, state: Mapping[str, torch.Tensor], path: Path, flag: str) -> None:
    """Copy a state dict into ``net``, or say which keys and shapes differ."""
    # Old checkpoints hold running statistics of instance norms that never used them.
    wanted = net.state_dict()
    state = {
        k: v
        for k, v in state.items()
        if k in wanted or not k.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    difference = explain_mismatch(state, net)
    if difference:
        raise InputError(f"{flag} {path} holds another network: {difference}")
    net.load_state_dict(state)


def load_network(net: nn.Module, path: str | Path, flag: str) -> None:
    """Fill ``net`` (a discriminator, an adaptor, a generator of known shape) from a checkpoint."""
    load_into(net, load_state(Path(path), flag), Path(path), flag)


# ---------------------------------------------------------------------------------------------------------
# The state of a run: the newest good file and the one before it


class StateFile:
    """``state.pth`` and, until the next save succeeds, ``state.previous.pth``."""

    def __init__(self, folder: Path):
        self.path = folder / "state.pth"
        self.previous = folder / "state.previous.pth"

    def save(self, state: dict) -> None:
        temporary = self.path.with_name("state.new.pth")
        atomic_save(state, temporary)
        if self.path.exists():
            os.replace(self.path, self.previous)
        os.replace(temporary, self.path)

    def load(self) -> dict | None:
        """The newest readable state; None when there is none. Says so when the newest was damaged.

        Raises:
            InputError: there are state files but none can be read.
        """
        problems = []
        for path in (self.path, self.previous):
            if path.exists():
                try:
                    state = safe_load(path, "--log_dir")
                    if problems:
                        print(f"warning: {problems[0]}; continuing from {path.name}, saved before it")
                    return state
                except InputError as error:
                    problems.append(str(error))
        if problems:
            raise InputError(
                f"{problems[0]}; no earlier state is readable: move the folder away to start over"
            )
        return None


# ---------------------------------------------------------------------------------------------------------
# Optimizers alone (``--restore_O_path``)


def load_optimizers(optimizers: list[torch.optim.Optimizer], path: str, flag: str) -> None:
    """From the ``optimizers`` of a state.pth of ours, or from ``<path>-0.pth``, ``<path>-1.pth``. The learning rate stays ours."""
    if Path(path).is_file():
        state = safe_load(Path(path), flag)
        saved = state.get("optimizers") if isinstance(state, Mapping) else None
        if saved is None:
            raise InputError(f"{flag} {path}: holds no optimizers; give a state.pth of a run")
    else:
        saved = [safe_load(Path(f"{path}-{i}.pth"), flag) for i in range(len(optimizers))]
    if len(saved) != len(optimizers):
        raise InputError(f"{flag} {path}: holds {len(saved)} optimizers, this run has {len(optimizers)}")
    for optimizer, values in zip(optimizers, saved, strict=True):
        groups = [(g["lr"], g.get("fused")) for g in optimizer.param_groups]
        try:
            optimizer.load_state_dict(values)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{flag} {path}: does not fit these networks ({error})") from None
        for group, (lr, fused) in zip(optimizer.param_groups, groups, strict=True):
            group["lr"], group["fused"] = lr, fused
        # PyTorch does not compare shapes, and a fused step would run past the end of smaller ones.
        for parameter, moments in optimizer.state.items():
            if any(torch.is_tensor(m) and m.dim() and m.shape != parameter.shape for m in moments.values()):
                raise InputError(
                    f"{flag} {path}: does not fit these networks (moments of another shape than the weights)"
                )
