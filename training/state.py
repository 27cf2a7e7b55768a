"""The state of a whole run on disk, and optimizers restored alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from errors import InputError
from runtime.files import load_tensors, save_tensors

# ---------------------------------------------------------------------------------------------------------
# The state of a run: the newest good file and the one before it


class StateFile:
    """``state.pth`` and, until the next save succeeds, ``state.previous.pth``."""

    def __init__(self, folder: Path):
        self.path = folder / "state.pth"
        self.previous = folder / "state.previous.pth"

    def save(self, state: dict) -> None:
        temporary = self.path.with_name("state.new.pth")
        save_tensors(state, temporary)
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
                    state = load_tensors(path, "`log_dir`")
                    if problems:
                        print(
                            f"warning: {problems[0]}; continuing from {path.name}, saved before it"
                        )
                    return state
                except InputError as error:
                    problems.append(str(error))
        if problems:
            raise InputError(
                f"{problems[0]}; no earlier state is readable: move the folder away to start over"
            )
        return None


# ---------------------------------------------------------------------------------------------------------
# Optimizers alone (``restore_O_path``)


def load_optimizers(optimizers: list[torch.optim.Optimizer], path: str, flag: str) -> None:
    """From the ``optimizers`` of a run's state.pth, or from ``<path>-0.pth``, ``<path>-1.pth``.

    The learning rate and the kind of update (fused or not) stay those of ``optimizers``.

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
        groups = [(g["lr"], g.get("fused")) for g in optimizer.param_groups]
        try:
            optimizer.load_state_dict(values)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{misfit} ({error})") from None
        for group, (lr, fused) in zip(optimizer.param_groups, groups, strict=True):
            group["lr"], group["fused"] = lr, fused
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
