"""What a run leaves to read: options.json, log.jsonl (one object per line), results.json."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch

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


# ---------------------------------------------------------------------------------------------------------
# Tensors


def save_tensors(value: object, path: Path) -> None:
    """torch.save to a temporary name, flush to disk, rename: ``path`` is either the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (
        OSError,
        RuntimeError,
    ) as error:  # PyTorch's writer turns a full disk into a RuntimeError
        raise InputError(
            f"{path} could not be written ({error}); free some space. What was there before is untouched"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path, flag: str) -> object:
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
# Files that libraries write


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it at the end of the block; removed, ``path`` untouched, when the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays: readers and writers go by it.
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error}); free some space. What was there before is untouched"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
