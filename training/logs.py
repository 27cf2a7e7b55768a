"""What a run leaves to read: options.json, log.jsonl (one object per line), results.json."""

from __future__ import annotations

import json
import os
from pathlib import Path

from errors import InputError


def write_text(path: Path, text: str) -> None:
    """UTF-8, atomically; line ends as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="")
    os.replace(temporary, path)


def write_json(path: Path, value: object) -> None:
    """Indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


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
    before, now = ({k: None if v is False else v for k, v in each.items()} for each in (before, now))
    differ = [k for k in names if before.get(k) != now.get(k)]
    if "script" in differ:
        raise InputError(f"{flag} {folder} holds a run of {before.get('script')}; choose another folder")
    if differ:
        listed = ", ".join(f"--{k} {now.get(k)} (was {before.get(k)})" for k in differ[:6])
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
    """Make the folder of an output file; InputError naming ``flag`` when it cannot be written or the path is a folder."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{flag} {path} is a folder; give the name of a file in it")
    make_folder(path.parent, flag)
    return path


class JsonLines:
    """An append-only file of JSON objects, a line each; every line is with the operating system when `write` returns."""

    def __init__(self, path: Path):
        self.path = path
        self._file = open(path, "ab")  # noqa: SIM115 - open for as long as the object

    def write(self, record: dict) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    @property
    def position(self) -> int:
        return self._file.tell()

    def rewind(self, position: int) -> None:
        """Forget what was written after ``position``: a resumed run writes it again."""
        self._file.truncate(min(position, self.position))  # a file that lost lines is not filled up
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        self._file.close()


def read_json_lines(path: Path) -> list[dict]:
    """All whole lines; a last line cut off by a crash is left out.

    Raises:
        InputError: a line before the last is not JSON.
    """
    records = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except ValueError:
            if number == len(lines):  # no newline after it: the write was cut off
                break
            raise InputError(f"{path}: line {number} is damaged; repair or remove it") from None
    return records
