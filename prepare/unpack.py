"""Unpacks archives without trusting them.

Python's own modules are not safe enough: `zipfile` handles no links and has no limits, the filter
"data" of `tarfile` has no limits and, before Python 3.11.13, could write outside the folder
(CVE-2025-4517). Files are written first and links are made last, so that nothing is ever written
through a link.
"""

from __future__ import annotations

import lzma
import os
import re
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from errors import InputError
from prepare.download import CHUNK, one_process
from runtime.progress import Bar

# Maximum number of bytes of padding after the last file of a tar
TRAILER = 1 << 24
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
)

# --------------------------------------------------------------------------------------------------
# Archives: read member by member, trusting nothing they say


@dataclass(frozen=True)
class _Member:
    """One entry of an archive.

    kind: dir | file | symlink | hardlink
    link: target of a link
    open: opens the content of a file
    """

    name: str
    kind: str
    link: str = ""
    open: Callable[[], IO[bytes]] | None = None


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isreg():
                yield _Member(info.name, "file", open=lambda info=info: archive.extractfile(info))
            elif info.isdir():
                yield _Member(info.name, "dir")
            elif info.issym() or info.islnk():
                yield _Member(info.name, "symlink" if info.issym() else "hardlink", info.linkname)
            else:
                raise InputError(
                    f"{path} holds {info.name!r}, a device or pipe: not a data set; do not use "
                    "this file"
                )
        # Read to the end, since a compressed file has its checksum there.
        archive.fileobj.read(TRAILER)


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(
                    f"{path}: {info.filename!r} is compressed in a way that is not read here; "
                    "unzip it by hand"
                )
            if info.is_dir():
                yield _Member(info.filename, "dir")
            elif kind == stat.S_IFLNK:
                if info.file_size > 4096:
                    raise InputError(
                        f"{path} holds {info.filename!r}, a link of {info.file_size} bytes; do "
                        "not use this file"
                    )
                yield _Member(
                    info.filename, "symlink", archive.read(info).decode("utf-8", "replace")
                )
            elif kind not in (0, stat.S_IFREG):
                raise InputError(
                    f"{path} holds {info.filename!r}, a device or pipe: not a data set; do not "
                    "use this file"
                )
            else:
                yield _Member(info.filename, "file", open=lambda info=info: archive.open(info))


def _inside(name: str, archive: Path) -> PurePosixPath:
    """The path of a member below the target folder. InputError if it would leave that folder."""
    path = PurePosixPath(name)
    if (
        not name
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or "\0" in name
        or re.match("[A-Za-z]:", name)
    ):
        raise InputError(
            f"{archive} holds {name!r}, a path that leaves the folder: do not use this file"
        )
    return path


def _leads_out(path: Path, root: Path) -> bool:
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _link_out(name: object, link: object, archive: Path) -> InputError:
    return InputError(
        f"{archive} holds {str(name)!r}, a link to {str(link)!r} outside the folder: do not use "
        "this file"
    )


def _place_link(root: Path, member: _Member, archive: Path) -> int:
    """Make a link if its target is inside ``root``; a hard link becomes a copy.

    Returns:
        the number of bytes written

    Raises:
        InputError: the target is outside ``root`` or missing, or the name exists already.
    """
    target = root / _inside(member.name, archive)
    end = (root if member.kind == "hardlink" else target.parent) / member.link
    if _leads_out(end, root) or _leads_out(target.parent, root):
        raise _link_out(member.name, member.link, archive)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        raise InputError(f"{archive} holds {member.name!r} twice: do not use this file")
    if member.kind == "symlink":
        target.symlink_to(member.link)
        return 0
    if not end.is_file():
        raise InputError(
            f"{archive} holds {member.name!r}, a link to {member.link!r} that it does not hold; "
            "download it again"
        )
    shutil.copyfile(os.path.realpath(end), target)
    return target.stat().st_size


def _check_links(root: Path, archive: Path) -> None:
    """Raise InputError if a link below ``root`` has a target outside of it."""
    for folder, folders, files in os.walk(root):
        for path in (Path(folder) / name for name in folders + files):
            if path.is_symlink() and (path.readlink().is_absolute() or _leads_out(path, root)):
                raise _link_out(path.relative_to(root), path.readlink(), archive)


def _extract(
    archive: Path, kind: str, root: Path, max_bytes: int, max_files: int, bar: Bar
) -> None:
    """Write all members into the empty folder ``root``.

    Sizes are counted as written, since those in the archive may be wrong.
    """
    written, count, links = 0, 0, []

    def check_size() -> None:
        if written > max_bytes:
            raise InputError(
                f"{archive} unpacks to more than {max_bytes:,} bytes: an archive bomb? do not use "
                "this file"
            )

    for member in _tar_members(archive) if kind == "tar" else _zip_members(archive):
        count += 1
        if count > max_files:
            raise InputError(
                f"{archive} holds more than {max_files:,} files: an archive bomb? do not use this "
                "file"
            )
        path = root / _inside(member.name, archive)
        # Skip the resource forks that the Finder of macOS adds
        if member.name.startswith("__MACOSX/"):
            continue
        if member.kind == "dir":
            path.mkdir(parents=True, exist_ok=True)
        elif member.kind != "file":
            links.append(member)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, path.open("wb") as file:
                while block := source.read(CHUNK):
                    written += len(block)
                    check_size()
                    file.write(block)
            bar.update()
    for member in links:
        written += _place_link(root, member, archive)
        check_size()


def is_there(folder: Path) -> bool:
    """Whether there is anything but an empty folder."""
    return folder.exists() and not (folder.is_dir() and next(folder.iterdir(), None) is None)


def unpack(
    archive: Path,
    kind: str,
    folder: Path,
    max_bytes: int = 1 << 37,
    max_ratio: int = 100,
    max_files: int = 2_000_000,
    progress: bool = True,
    rename: Mapping[str, str] | None = None,
) -> Path:
    """Unpack a tar or zip archive. ``folder`` appears whole or not at all.

    If the archive holds nothing but one folder, the content of that folder is taken. Owners,
    permissions and dates are not restored. Paths and links that leave the folder, devices and pipes
    are refused.

    Args:
        kind:      tar (plain, gz, bz2 or xz) | zip
        folder:    the folder to make; must not exist, or be empty
        max_bytes: maximum size of all files together
        max_ratio: maximum ratio of that size to the size of the archive; 64 MiB are always allowed
        max_files: maximum number of members
        progress:  show a progress bar
        rename:    top folders to rename, old -> new

    Returns:
        ``folder``

    Raises:
        InputError: the archive is damaged or hostile, there is no space, or ``folder`` exists.
    """
    if is_there(folder):
        raise InputError(f"{folder} is there already; remove it to unpack again")
    if folder.is_symlink():
        folder = folder.resolve()
    limit = min(max_bytes, max(64 << 20, max_ratio * archive.stat().st_size))
    root = folder.with_name(f".{folder.name}.unpacking")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            one_process(folder),
            Bar(desc=f"unpacking {archive.name}", unit="file", disable=not progress) as bar,
        ):
            # Remove what a killed run may have left
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            # No link can know these random names, so `_check_links` finds each one that leaves.
            inner, whole = (root / secrets.token_hex(16) for _ in range(2))
            inner.mkdir()
            try:
                _extract(archive, kind, inner, limit, max_files, bar)
                top = list(inner.iterdir())
                if not top:
                    raise InputError(f"{archive} is empty; download it again")
                only = (
                    top[0]
                    if len(top) == 1 and top[0].is_dir() and not top[0].is_symlink()
                    else inner
                )
                only.rename(whole)
                _check_links(whole, archive)
                for old, new in (rename or {}).items():
                    if (whole / old).is_dir() and not (whole / new).exists():
                        (whole / old).rename(whole / new)
                whole.rename(folder)
            finally:
                shutil.rmtree(root, ignore_errors=True)
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"{archive}: a damaged archive ({error or type(error).__name__}); remove it and "
            "download it again"
        ) from None
    # Damaged compressed data, and names that the file system refuses, also raise OSError
    except OSError as error:
        raise InputError(
            f"{archive}: cannot be unpacked to {folder} ({error.strerror or error})"
        ) from None
    return folder
