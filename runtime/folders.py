"""Folders of results: which run owns them, and whether they can be written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows: there folders are not locked
    fcntl = None

from errors import InputError
from runtime.files import check_target, remove_leftovers, write_json

# --------------------------------------------------------------------------------------------------
# Making folders


def make_folder(path: str | Path, flag: str) -> Path:
    """Create an output folder and check that it can be written.

    Raises:
        InputError: it cannot; the message names ``flag``.
    """
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


def make_parent(path: str | Path, flag: str) -> Path:
    """Make the folder of an output file.

    Raises:
        InputError: the folder cannot be written, or ``path`` is a folder, a device or a pipe.
    """
    path = Path(path)
    check_target(path, flag)
    make_folder(path.parent, flag)
    return path


# --------------------------------------------------------------------------------------------------
# A folder belongs to one run of one script

# Files that show which script a folder belongs to, for scripts that do not write their name.
_SIGNS = {"results.csv": "test.py", "latency.json": "latency.py"}
# These write different files and may share a folder.
_INFERENCE = {"test.py", "latency.py"}

# Open folders whose lock this process holds.
_held: dict[Path, int] = {}


def take_folder(folder: Path, script: str, flag: str) -> None:
    """Reserve ``folder`` for this process until it ends or calls `release_folders`.

    Half-written files of killed runs are removed. Under torchrun only the main process does this.

    Raises:
        InputError: another process writes there now, or it holds results of another script.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        return
    _lock(folder, flag)
    for found in _scripts_of(folder):
        if found != script and not {found, script} <= _INFERENCE:
            raise InputError(f"{flag} {folder} holds a run of {found}; choose another folder")
    remove_leftovers(folder)


def release_folders() -> None:
    """Let other processes write into the folders that `take_folder` took."""
    while _held:
        os.close(_held.popitem()[1])


def _lock(folder: Path, flag: str) -> None:
    """The kernel drops this lock when the process ends, however it ends."""
    key = folder.resolve()
    if fcntl is None or key in _held:
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(number)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise InputError(
                f"{flag} {folder}: another run is writing there now; wait for its end or choose "
                "another folder"
            ) from None
        return  # a network disk without locks
    _held[key] = number


def _scripts_of(folder: Path) -> set[str]:
    """The scripts whose results a folder holds, as far as its files say."""
    scripts = {script for name, script in _SIGNS.items() if (folder / name).is_file()}
    for name in ("options.json", "settings.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            scripts.add(str(json.loads((folder / name).read_bytes())["script"]))
    return scripts


# --------------------------------------------------------------------------------------------------
# Settings that must agree


def check_settings(before: dict, now: dict, folder: Path, flag: str) -> None:
    """Raise InputError if a folder holds a run with other settings; the message names them.

    A setting that is missing on one side and off (None or False) on the other does not differ. So
    a newer version, which has more settings, continues a run of an older one.
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
            f"{flag} {folder} holds a run with other settings: {listed}; "
            "choose another folder or the same flags"
        )


def claim_folder(folder: Path, settings: dict, flag: str) -> None:
    """`take_folder` for a run whose ``settings`` are kept in settings.json and must agree.

    Raises:
        InputError: the folder is taken or holds another run, or settings.json is damaged.
    """
    take_folder(folder, settings.get("script", ""), flag)
    path = folder / "settings.json"
    if not path.exists():
        write_json(path, settings)
        return
    try:
        before = json.loads(path.read_bytes())
        if not isinstance(before, dict):
            raise ValueError
    except (OSError, ValueError):
        raise InputError(
            f"{path}: damaged, so the settings of the run in this folder are not known; "
            "choose another folder, or remove that file if they are the same"
        ) from None
    check_settings(before, json.loads(json.dumps(settings)), folder, flag)
