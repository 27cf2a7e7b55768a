"""Folders of results: whose they are, and whether they can be written."""

from __future__ import annotations

import json
import os
from pathlib import Path

from errors import InputError
from runtime.files import check_target, write_json


def make_folder(path: str | Path, flag: str) -> Path:
    """Create an output folder and check that it can be written. InputError naming ``flag`` otherwise."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{flag} {path}: cannot be written ({error.strerror}); choose another folder"
        ) from None
    return path


def check_settings(before: dict, now: dict, folder: Path, flag: str) -> None:
    """InputError naming the flags that differ when a folder holds a run with other settings.

    A flag that one of them does not know and that is off in the other is the same: a run continues under a newer version.
    """
    names = {**before, **now}
    before, now = (
        {k: None if v is False else v for k, v in each.items()} for each in (before, now)
    )
    differ = [k for k in names if before.get(k) != now.get(k)]
    if "script" in differ:
        raise InputError(
            f"{flag} {folder} holds a run of {before.get('script')}; choose another folder"
        )
    if differ:
        listed = ", ".join(f"`{k}` {now.get(k)} (was {before.get(k)})" for k in differ[:6])
        raise InputError(
            f"{flag} {folder} holds a run with other settings: {listed}; choose another folder or the same flags"
        )


def claim_folder(folder: Path, settings: dict, flag: str) -> None:
    """Make ``folder`` this run's: its settings are kept in settings.json, and another run's are refused, naming the flags."""
    path = folder / "settings.json"
    if path.exists():
        check_settings(json.loads(path.read_text()), json.loads(json.dumps(settings)), folder, flag)
    else:
        write_json(path, settings)


def make_parent(path: str | Path, flag: str) -> Path:
    """Make the folder of an output file.

    Raises:
        InputError: the folder cannot be written, or ``path`` is a folder, a device or a pipe.
    """
    path = Path(path)
    check_target(path, flag)
    make_folder(path.parent, flag)
    return path
