"""The state of a whole run on disk, and optimizers restored alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from errors import InputError
from runtime.files import load_tensors, not_written, save_tensors

# --------------------------------------------------------------------------------------------------
# The parts of a run, saved and restored alike


@dataclass
class Progress:
    """Where a run stands. Epochs count from 1; steps are updates."""

    epoch: int
    step_in_epoch: int
    step: int
    finished: bool = False

    @property
    def last_epoch(self) -> int:
        """That of the latest step; ``epoch`` is that of the next."""
        return self.epoch - (self.step_in_epoch == 0)

    def state_dict(self) -> dict:
        return asdict(self)

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(asdict(Progress(**state)))


def state_of(part: object) -> object:
    """The state of an object with ``state_dict``, or of lists and dictionaries of such objects."""
    if isinstance(part, Mapping):
        return {name: state_of(each) for name, each in part.items()}
    if isinstance(part, (list, tuple)):
        return [state_of(each) for each in part]
    return part.state_dict()


def restore(part: object, state: object) -> None:
    """Give a part back what `state_of` took.

    Raises:
        KeyError, RuntimeError, TypeError, ValueError: the state is of other parts.
    """
    if isinstance(part, Mapping):
        for name, each in part.items():
            restore(each, state[name])
    elif isinstance(part, (list, tuple)):
        for each, saved in zip(part, state, strict=True):
            restore(each, saved)
    else:
        part.load_state_dict(state)


def upgrade(state: dict) -> dict:
    """Convert a state to the current layout if an earlier version wrote it."""
    if "position" not in state:
        return state
    old = dict(state)
    progress = dict(zip(("epoch", "step_in_epoch", "step"), old.pop("position"), strict=True))
    return old | {
        "progress": progress | {"finished": old["finished"]},
        "judge": {"best": old["best"], "latest": old["latest"]},
        "log": {
            "sums": old["window"],
            "steps": old["window_steps"],
            "position": old["log_position"],
        },
    }


# --------------------------------------------------------------------------------------------------
# The state on disk: the newest good file and the one before it


class StateFile:
    """``state.pth`` and, until the next save succeeds, ``state.previous.pth``."""

    def __init__(self, folder: Path):
        self.path = folder / "state.pth"
        self.previous = folder / "state.previous.pth"

    def exists(self) -> bool:
        return self.path.exists() or self.previous.exists()

    def save(self, state: dict) -> None:
        """Write the newest state and keep the one before it. InputError when the disk is full."""
        temporary = self.path.with_name("state.new.pth")
        save_tensors(state, temporary)
        try:
            if self.path.exists():
                os.replace(self.path, self.previous)
            os.replace(temporary, self.path)
        except OSError as error:
            raise not_written(self.path, error) from None

    def load(self) -> dict | None:
        """The newest readable state, None when there is none; says so when the newest is damaged.

        Raises:
            InputError: there are state files but none can be read.
        """
        problems = []
        for path in (self.path, self.previous):
            if path.exists():
                try:
                    state = load_tensors(path, "`log_dir`")
                    if not isinstance(state, Mapping) or "settings" not in state:
                        raise InputError(f"`log_dir` {path}: not the state of a run")
                    if problems:
                        print(
                            f"warning: {problems[0]}; continuing from {path.name}, saved before it"
                        )
                    return dict(state)
                except InputError as error:
                    problems.append(str(error))
        if problems:
            raise InputError(
                f"{problems[0]}; no earlier state is readable: move the folder away to start over"
            )
        return None


# --------------------------------------------------------------------------------------------------
# Optimizers alone (``restore_O_path``)


def load_optimizers(optimizers: list[torch.optim.Optimizer], path: str, flag: str) -> None:
    """From the ``optimizers`` of a run's state.pth, or from ``<path>-0.pth``, ``<path>-1.pth``.

    The learning rate, the momenta's decay and whatever else the flags set stay those of
    ``optimizers``; only the moments are the file's.

    Raises:
        InputError: a file is missing or damaged, or its moments do not fit the parameters.
    """
    if Path(path).is_file():
        state = load_tensors(Path(path), flag)
        saved = state.get("optimizers") if isinstance(state, Mapping) else None
        if saved is None:
            raise InputError(f"{flag} {path}: holds no optimizers; give a state.pth of a run")
    else:
        saved = [load_tensors(Path(f"{path}-{i}.pth"), flag) for i in range(len(optimizers))]
    if len(saved) != len(optimizers):
        raise InputError(
            f"{flag} {path}: holds {len(saved)} optimizers, this run has {len(optimizers)}"
        )
    misfit = f"{flag} {path}: does not fit these networks"
    for optimizer, values in zip(optimizers, saved, strict=True):
        groups = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
        try:
            optimizer.load_state_dict(values)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{misfit} ({error})") from None
        for group, own in zip(optimizer.param_groups, groups, strict=True):
            group.update(own)
        for parameter, moments in optimizer.state.items():
            for name, moment in moments.items():
                if not torch.is_tensor(moment):
                    continue
                if name == "step":
                    moments[name] = moment.to(parameter.device, torch.float32)
                elif moment.shape == parameter.shape:
                    # A fused update walks through memory: parameter and moments need one layout,
                    # and that of the file may be another (channels last or not).
                    moments[name] = torch.empty_like(parameter).copy_(moment)
                else:
                    # PyTorch does not compare shapes, and a fused update would run past the end.
                    raise InputError(f"{misfit} (moments of another shape than the weights)")
