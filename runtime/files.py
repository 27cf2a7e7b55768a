"""Files of a run: written whole or not at all, and read with errors that say what is wrong."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from errors import InputError

# --------------------------------------------------------------------------------------------------
# Writing


@contextlib.contextmanager
def written_whole(path: Path, flush: bool = True) -> Iterator[Path]:
    """Give the block a temporary name; rename that file to ``path`` at the end of the block.

    A reader sees the old file or the new one, never a part. When the block raises, the temporary
    file is removed and ``path`` stays as it was. A link is followed: the file it points to is
    replaced. The folder is made where it is missing.

    Args:
        path:  the file to write. The temporary name keeps its suffix, since libraries go by it.
        flush: wait until the data is on the disk before the rename. False is for files that are
               many and easy to make again.

    Raises:
        InputError: the file cannot be written, or ``path`` is a folder, device or pipe.
    """
    target = _real_target(path)
    temporary = _temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if flush:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise not_written(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(path: Path, sign: str) -> Iterator[Path]:
    """Give the block the name of a folder to make; rename that to ``path`` at the end of the block.

    When the block raises, what it made is removed and ``path`` stays as it was.

    Args:
        path: the folder to write. The temporary name keeps its suffix. What is there is replaced,
              if it is a folder with a file ``sign``
        sign: name of a file that every such folder holds

    Raises:
        InputError: the folder cannot be written, or ``path`` is something else.
    """
    check_folder(path, sign)
    temporary = _temporary_name(path)
    before = temporary.with_name(f".{os.getpid()}.tmp.before{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for parent, _, names in os.walk(temporary):
            for name in names:
                with open(Path(parent) / name, "rb+") as file:
                    os.fsync(file.fileno())
        if path.exists():
            os.rename(path, before)
        try:
            os.rename(temporary, path)
        except OSError:
            if before.exists():
                os.rename(before, path)
            raise
    except OSError as error:
        raise not_written(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        # What was there before is removed only once the new folder has its name.
        if path.exists():
            shutil.rmtree(before, ignore_errors=True)


def check_folder(path: Path, sign: str, flag: str = "") -> None:
    """InputError that begins with ``flag`` unless ``path`` is free or a folder with a file
    ``sign``."""
    there = os.path.lexists(path)
    if there and (path.is_symlink() or not path.is_dir() or not (path / sign).is_file()):
        raise InputError(
            f"{flag} {path} is there already and may not be replaced (it has no {sign}): give "
            "another name, or move it away".strip()
        )


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, see `written_whole`."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole, line ends as they are in ``text``."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write indented JSON whole."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def check_target(path: Path, flag: str = "") -> None:
    """InputError that begins with ``flag`` when ``path`` is a folder, a device or a pipe."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # nothing there yet; writing says what else is wrong
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{flag} {path} is a folder; give the name of a file in it".strip())
    if not stat.S_ISREG(mode):
        raise InputError(
            f"{flag} {path} is a device or a pipe, which is not replaced; give a file".strip()
        )


def _real_target(path: Path) -> Path:
    """The file that ``path`` stands for, links followed."""
    check_target(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder, which some exported networks are."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def not_written(path: Path | str, error: Exception) -> InputError:
    """The error of a failed write, with its remedy."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "check the permissions or choose another folder"
    elif number in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG):
        remedy = "choose another, shorter name, or move away what is in its place"
    else:
        remedy = "free some space"
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return InputError(
        f"{path} could not be written ({reason}): {remedy}. What was there before is untouched"
    )


# Temporary names of today, and those of runs that were begun by earlier versions.
_TEMPORARY = re.compile(r"\.(\d+)\.tmp\..+|\.(?:.+\.)?(?:(\d+)\.tmp|\w+\.(?:txt|png)\.tmp)(\.npz)?")


def _temporary_name(target: Path) -> Path:
    name = target.name
    if len(os.fsencode(name)) > 200:  # a file system allows 255 bytes
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16] + target.suffix
    return target.with_name(f".{os.getpid()}.tmp.{name}")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``, two levels deep.

    The caller holds the folder's lock. Files of processes that still run stay.
    """
    for pattern in (".*.tmp*", "*/.*.tmp*", "*/*/.*.tmp*"):
        for path in folder.glob(pattern):
            found = _TEMPORARY.fullmatch(path.name)
            if found and not _is_running(int(found[1] or found[2] or 0)):
                with contextlib.suppress(OSError):
                    path.unlink()


def _is_running(pid: int) -> bool:
    """Whether another process has this number. Our own may be a dead one's, used again."""
    if pid in (0, os.getpid()):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


# --------------------------------------------------------------------------------------------------
# Lines of JSON


class JsonLines:
    """An append-only file of JSON objects, one per line.

    A line is with the operating system when `write` returns.

    Raises:
        InputError: the file cannot be opened or written.
    """

    def __init__(self, path: Path):
        self.path = path
        check_target(path)
        try:
            # Unbuffered: what could not be written is not tried again when the file is closed.
            self._file: BinaryIO = open(path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise not_written(path, error) from None

    def write(self, record: dict) -> None:
        start, line = self.position, json.dumps(record).encode() + b"\n"
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.truncate(start)
            raise not_written(self.path, error) from None

    @property
    def position(self) -> int:
        """Bytes written so far."""
        return self._file.seek(0, os.SEEK_END)

    def rewind(self, position: int) -> bool:
        """Forget what was written after ``position``: a resumed run writes it again.

        A file that has become shorter is cut after its last whole line. Returns whether it had
        all the bytes.
        """
        whole = self.position >= position
        if not whole:
            position = self.path.read_bytes().rfind(b"\n") + 1
        self._file.truncate(position)
        return whole

    def close(self) -> None:
        self._file.close()


def read_json(path: Path) -> dict:
    """The object that a JSON file holds.

    Raises:
        InputError: the file cannot be read, or does not hold one.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError(f"{path}: damaged; remove it and run its command again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged; remove it and run its command again")
    return value


def read_json_lines(path: Path, strict: bool = True) -> list[dict]:
    """All whole lines. A last line cut off by a crash is left out.

    Args:
        strict: False leaves out damaged lines with a warning.

    Raises:
        InputError: the file cannot be read, or a line before the last is not JSON.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    records = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except ValueError:
            if number == len(lines):  # no newline after it: the write was cut off
                break
            message = f"{path}: line {number} is damaged"
            if strict:
                raise InputError(f"{message}; repair or remove it") from None
            warnings.warn(f"{message} and left out", stacklevel=2)
    return records


# --------------------------------------------------------------------------------------------------
# Tensors. PyTorch is imported late: the tools that prepare images start in a tenth of the time.


def save_tensors(value: object, path: Path) -> None:
    """torch.save, written whole, see `written_whole`."""
    import torch

    with written_whole(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:  # PyTorch's writer turns a full disk into this
            raise not_written(path, error) from None


def save_safetensors(tensors: dict, notes: dict[str, str], path: Path) -> None:
    """Tensors and texts in the format of the safetensors library, written whole."""
    from safetensors.torch import save

    write_bytes(path, save({name: t.contiguous() for name, t in tensors.items()}, notes))


# How files of PyTorch begin: a zip archive, or before version 1.6 a pickled number.
_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
# What networks are exported to, and what is easily taken for a checkpoint.
_NO_CHECKPOINTS = (".onnx", ".pt2", ".tflite", ".xml", ".bin", ".npz", ".png", ".jpg", ".json")


def load_safetensors(path: Path, flag: str) -> tuple[dict, dict[str, str]]:
    """(name -> tensor on the CPU, the file's texts) of a file of the safetensors library.

    Raises:
        InputError: missing, not readable, or damaged; the message names ``flag`` and file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{flag} {path}: no such file") from None
    except OSError as error:
        reason = "is a folder; give the file" if path.is_dir() else f"cannot be read ({error})"
        raise InputError(f"{flag} {path}: {reason}") from None
    except SafetensorError as error:
        raise InputError(
            f"{flag} {path}: not a readable safetensors file, damaged or truncated ({error})"
        ) from None


def load_tensors(path: Path, flag: str) -> object:
    """torch.load onto the CPU, without pickled objects and with the archive's checksums compared.

    Raises:
        InputError: missing, not readable, damaged, or pickled; the message names ``flag`` and file.
    """
    import torch

    where = f"{flag} {path}"
    if path.is_dir():
        raise InputError(f"{where}: is a folder; give the file")
    try:
        with open(path, "rb") as file:
            start = file.read(len(_LEGACY))
    except FileNotFoundError:
        raise InputError(f"{where}: no such file") from None
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    try:
        if start.startswith(_ZIP):
            _check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file, which errors describe better
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises anything from EOFError to KeyError
        pickled = start[:1] == b"\x80" and start != _LEGACY
        if pickled or "Unsupported global" in str(error):
            raise InputError(
                f"{where}: holds pickled objects, which are not read since they can run code; "
                "save a plain state dict"
            ) from None
        if path.suffix.lower() in _NO_CHECKPOINTS:
            raise InputError(f"{where}: is no checkpoint; give a .pth file") from None
        raise InputError(
            f"{where}: not a readable checkpoint, damaged or truncated ({type(error).__name__})"
        ) from None


def _check_sums(path: Path) -> None:
    """Raise where a byte of an archive differs from what was written; torch.load does not look."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)
