"""Files from the network: continued where they broke off, checked, unpacked without trusting the archive.

Standard library only.

path = fetch(["http://host/maps.tar.gz"], Path("database/maps.tar.gz"))
unpack(path, "tar", Path("database/maps"))
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from errors import InputError
from runtime.progress import Bar

CHUNK = 1 << 18  # bytes read at a time
TRAILER = 1 << 24  # bytes of padding after the last file of a tar
PROGRESS = 1 << 20  # a try that gained so many bytes does not count as a failed one
KINDS = ("tar", "zip", "file")

# ---------------------------------------------------------------------------------------------------------
# The table of what can be downloaded


@dataclass(frozen=True)
class Entry:
    """One thing to download.

    urls:   mirrors, tried in order; none: the user must give one
    sha256: of the file; None where it is not known
    kind:   tar | zip: unpacked into the folder ``target`` | file: stored as ``target``
    note:   what it is, its terms, what to know
    rename: top folders of an archive that have another name here, old -> new
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None
    kind: str
    target: Path
    note: str
    rename: Mapping[str, str] = field(default_factory=dict)


def read_entries(path: Path) -> dict[str, Entry]:
    """``downloads.json`` -> entries by name. InputError naming the entry that is not well formed."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    entries = {}
    for name, row in raw.items():
        try:
            entry = Entry(
                name,
                tuple(row["urls"]),
                row["sha256"],
                row["kind"],
                Path(row["target"]),
                row["note"],
                dict(row.get("rename", {})),
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path}, entry {name}: urls, sha256, kind, target and note are needed ({error!r})"
            ) from None
        check_source(entry.urls, entry.sha256, f"{path}, entry {name}")
        if entry.kind not in KINDS:
            raise InputError(
                f"{path}, entry {name}: kind {entry.kind} is none of {', '.join(KINDS)}"
            )
        entries[name] = entry
    return entries


def check_source(urls: tuple[str, ...] | list[str], sha256: str | None, where: str) -> None:
    """InputError, opened by ``where``, when an address is not http(s) or a checksum is not 64 hex digits."""
    for url in urls:
        try:
            good = urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname
        except ValueError:  # e.g. an open bracket
            good = False
        if not good:
            raise InputError(
                f"{where}: {url!r} is not an address that begins with http:// or https://"
            )
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise InputError(f"{where}: {sha256!r} is not a SHA-256 of 64 digits 0-9 a-f")


# ---------------------------------------------------------------------------------------------------------
# One try: what a server answers, and what of an earlier try can be kept


class _Failed(Exception):
    """A failed try. ``final``: this address will not do better; ``wait``: seconds the server asks for."""

    def __init__(self, why: str, final: bool = False, wait: float = 0.0):
        super().__init__(why)
        self.final, self.wait = final, wait


@dataclass
class _Part:
    """The unfinished file beside its target, and a note of where its bytes came from.

    Bytes of another address, or of another version of the file, are never joined: ``validator`` is the ETag
    or the date that the server gave, ``total`` the size it announced.
    """

    path: Path
    url: str = ""
    validator: str = ""
    total: int | None = None

    @property
    def note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def load(self) -> None:
        try:
            known = json.loads(self.note.read_text(encoding="utf-8"))
            self.url, self.validator, self.total = known["url"], known["validator"], known["total"]
        except (OSError, ValueError, KeyError, TypeError):
            self.restart("", "", None)

    def restart(self, url: str, validator: str, total: int | None) -> None:
        """Forget all bytes; what comes now is of ``url``."""
        self.url, self.validator, self.total = url, validator, total
        self.path.write_bytes(b"")
        self.note.write_text(
            json.dumps(dict(url=url, validator=validator, total=total)), encoding="utf-8"
        )

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _opener() -> urllib.request.OpenerDirector:
    """http and https only: a redirect must not reach files of this machine."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _validator(headers) -> str:
    """A strong ETag, else the date of the file, else nothing."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _length(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdigit() else None


def _request(url: str, part: _Part, timeout: float):
    """Ask for the file from where the part ends. _Failed says whether another try makes sense."""
    headers = {"User-Agent": "gan-compression-download", "Accept-Encoding": "identity"}
    if part.url == url and part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    try:
        return _opener().open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # the part is as long as the file is now, or longer
                why = f"the server has no more than {part.size:,} of {part.total or 0:,} announced bytes"
                part.restart("", "", None)
                raise _Failed(why) from None
            again = error.code in (408, 425, 429) or error.code >= 500
            wait = _length(error.headers.get("Retry-After")) or 0
            raise _Failed(
                f"the server answers {error.code} {error.reason}", not again, min(wait, 60)
            ) from None
    except urllib.error.URLError as error:
        raise _Failed(str(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Failed(str(error) or type(error).__name__) from None


def _accept(response, url: str, part: _Part) -> None:
    """Decide by the answer's head whether the part goes on or begins anew."""
    headers = response.headers
    if headers.get_content_type() == "text/html":
        raise _Failed("the server sends a web page instead of the file", final=True)
    if response.status not in (200, 206):
        raise _Failed(f"the server answers {response.status}", final=True)
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        total = _length(match[2]) if match else None
        same = not part.validator or _validator(headers) in ("", part.validator)
        if match and int(match[1]) == part.size and same and total == part.total:
            return
        part.restart("", "", None)
        raise _Failed("the file changed since the last try")
    part.restart(url, _validator(headers), _length(headers.get("Content-Length")))


def _receive(response, part: _Part, bar: Bar, max_bytes: int) -> None:
    """Append what comes until the end; _Failed when it ends early or stalls. The bytes that came stay."""
    bar.total, bar.n = part.total, part.size
    bar.refresh()
    size = part.size
    if part.total is not None and part.total > max_bytes:
        raise _Failed(
            f"the file has {part.total:,} bytes, more than the {max_bytes:,} allowed", final=True
        )
    _need_space(part.path, (part.total or 0) - size)
    with part.path.open("ab") as file:
        while True:
            try:
                block = response.read1(CHUNK)
            except TimeoutError:
                raise _Failed(f"the server stalled after {size:,} bytes") from None
            except (OSError, http.client.HTTPException) as error:
                raise _Failed(
                    f"broke off after {size:,} bytes ({error or type(error).__name__})"
                ) from None
            if not block:
                break
            size += len(block)
            if size > max_bytes:
                raise _Failed(f"more than the {max_bytes:,} bytes allowed", final=True)
            file.write(block)
            bar.update(len(block))
    if part.total is not None and size != part.total:
        raise _Failed(f"broke off after {size:,} of {part.total:,} bytes")


def _need_space(path: Path, count: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if count > free:
        raise InputError(
            f"{path.parent}: {count:,} bytes are to come and {free:,} are free; make room"
        )


# ---------------------------------------------------------------------------------------------------------
# A whole download


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def fetch(
    urls: list[str] | tuple[str, ...],
    path: Path,
    sha256: str | None = None,
    tries: int = 5,
    timeout: float = 30.0,
    backoff: float = 1.0,
    max_bytes: int = 1 << 40,
    progress: bool = True,
) -> Path:
    """Download one file to ``path``; it appears there only when it is complete and its checksum is right.

    Bytes wait in ``<path>.part``, which a later call continues when address, version and size of the file are
    still the same.

    Args:
        urls:      mirrors, tried in order
        sha256:    of the right file, 64 hex digits; None: only the size is checked
        tries:     failed tries per mirror; one that gained a megabyte does not count
        timeout:   seconds without a byte
        backoff:   seconds before the second try, doubled for each further one up to 60
        max_bytes: refuse bigger files
        progress:  show a bar

    Raises:
        InputError: no mirror gave the right file, no room, or another process is downloading it; says what
            each mirror did.
    """
    check_source(urls, sha256, str(path))
    if path.is_file():
        if sha256 is None or sha256_of(path) == sha256:
            return path
        raise InputError(
            f"{path} is there with another SHA-256 than {sha256}; remove it to download it again"
        )
    if not urls:
        raise InputError(f"{path}: no address is known; give one with --url")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(path.with_name(f"{path.name}.part"))
        with (
            _lock(path),
            Bar(
                desc=path.name, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress
            ) as bar,
        ):
            part.load()
            reasons = []
            for url in urls:
                reason = _from_mirror(url, part, sha256, tries, timeout, backoff, max_bytes, bar)
                if reason is None:
                    part.path.replace(path)
                    part.note.unlink(missing_ok=True)
                    return path
                reasons.append(f"{url}: {reason}")
            kept = f" ({part.size:,} bytes are kept: run it again to go on)" if part.size else ""
            if not kept:
                part.remove()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    raise InputError(
        f"{path.name} could not be downloaded. {'; '.join(reasons)}. Try later or another --url{kept}"
    )


def _from_mirror(url, part, sha256, tries, timeout, backoff, max_bytes, bar) -> str | None:
    """Try one address until ``part`` is whole and right: None, or why not."""
    failures, best = 0, part.size if part.url == url else 0
    why, wait = "", 0.0
    while failures < tries:
        if failures:
            time.sleep(max(min(60.0, backoff * 2 ** (failures - 1)), wait))
        wait = 0.0
        try:
            if not (part.url == url and part.size and part.size == part.total):
                with _request(url, part, timeout) as response:
                    _accept(response, url, part)
                    _receive(response, part, bar, max_bytes)
            found = sha256_of(part.path) if sha256 else None
            if found == sha256:
                return None
            part.restart("", "", None)
            why = f"the file has SHA-256 {found}, not {sha256}"
        except _Failed as failure:
            why, wait = str(failure), failure.wait
            if failure.final:
                return why
        if part.size >= best + PROGRESS:
            failures, best = 0, part.size
        failures += 1
    return f"{why} (the last of {tries} tries)"


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time per file; the lock ends with the process, however it ends."""
    name = path.with_name(f".{path.name}.lock")
    with name.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(
                os.fstat(file.fileno()), name.stat()
            ):  # its owner has just removed it
                raise BlockingIOError
        except OSError:
            raise InputError(f"{path}: another process is at it; wait for it to end") from None
        try:
            yield
        finally:
            name.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------
# Archives: read member by member, nothing is believed


@dataclass(frozen=True)
class _Member:
    """One entry of an archive. kind: dir | file | symlink | hardlink; ``open`` gives a file's bytes."""

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
                    f"{path} holds {info.name!r}, a device or pipe: not a data set; do not use this file"
                )
        archive.fileobj.read(TRAILER)  # the end of a compressed file holds its checksum


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(
                    f"{path}: {info.filename!r} is compressed in a way that is not read here; unzip it by hand"
                )
            if info.is_dir():
                yield _Member(info.filename, "dir")
            elif kind == stat.S_IFLNK:
                if info.file_size > 4096:
                    raise InputError(
                        f"{path} holds {info.filename!r}, a link of {info.file_size} bytes; do not use this file"
                    )
                yield _Member(
                    info.filename, "symlink", archive.read(info).decode("utf-8", "replace")
                )
            elif kind not in (0, stat.S_IFREG):
                raise InputError(
                    f"{path} holds {info.filename!r}, a device or pipe: not a data set; do not use this file"
                )
            else:
                yield _Member(info.filename, "file", open=lambda info=info: archive.open(info))


def _inside(name: str, archive: Path) -> PurePosixPath:
    """A member's path below the folder it is unpacked to; InputError when it would leave it."""
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


def _link_out(member: _Member, archive: Path) -> InputError:
    return InputError(
        f"{archive} holds {member.name!r}, a link to {member.link!r} outside the folder: do not use this file"
    )


def _place_link(root: Path, member: _Member, archive: Path) -> None:
    """Make a link after all files are written, if it ends inside ``root``; a hard link becomes a copy."""
    target = root / _inside(member.name, archive)
    end = (root if member.kind == "hardlink" else target.parent) / member.link
    if _leads_out(end, root) or _leads_out(target.parent, root):
        raise _link_out(member, archive)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        raise InputError(f"{archive} holds {member.name!r} twice: do not use this file")
    if member.kind == "symlink":
        target.symlink_to(member.link)
    elif end.is_file():
        shutil.copyfile(os.path.realpath(end), target)
    else:
        raise InputError(
            f"{archive} holds {member.name!r}, a link to {member.link!r} that it does not hold; download it again"
        )


def _extract(
    archive: Path, kind: str, root: Path, max_bytes: int, max_files: int, bar: Bar
) -> None:
    """All members into the empty folder ``root``; sizes are counted as written, not as the archive says."""
    written, count, links = 0, 0, []
    for member in _tar_members(archive) if kind == "tar" else _zip_members(archive):
        count += 1
        if count > max_files:
            raise InputError(
                f"{archive} holds more than {max_files:,} files: an archive bomb? do not use this file"
            )
        path = root / _inside(member.name, archive)
        if member.name.startswith("__MACOSX/"):  # resource forks that the Finder adds
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
                    if written > max_bytes:
                        raise InputError(
                            f"{archive} unpacks to more than {max_bytes:,} bytes: an archive bomb? do not use this file"
                        )
                    file.write(block)
            bar.update()
    for member in links:
        _place_link(root, member, archive)
    for member in links:  # a later link may have changed where an earlier one ends
        if _leads_out(root / member.name, root):
            raise _link_out(member, archive)


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
    """Unpack a tar or zip so that ``folder`` appears whole or not at all; a single folder in it is stripped.

    Owners, permissions and dates are not taken over. Refused: paths and links that leave the folder, devices,
    pipes.

    Args:
        kind:      tar (plain or gz, bz2, xz) | zip
        folder:    must not exist
        max_bytes: of all files together
        max_ratio: of their bytes to the archive's; below 64 MiB everything is allowed
        max_files: number of members
        rename:    folders in it that get another name, old -> new

    Raises:
        InputError: a damaged or hostile archive, no room, or ``folder`` is there.
    """
    if folder.exists():
        raise InputError(f"{folder} is there already; remove it to unpack again")
    limit = min(max_bytes, max(64 << 20, max_ratio * archive.stat().st_size))
    root = folder.with_name(f".{folder.name}.unpacking")
    damage = (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
        ValueError,
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            _lock(folder),
            Bar(desc=f"unpacking {archive.name}", unit="file", disable=not progress) as bar,
        ):
            shutil.rmtree(root, ignore_errors=True)  # of a run that was killed
            root.mkdir()
            try:
                _extract(archive, kind, root, limit, max_files, bar)
                top = list(root.iterdir())
                if not top:
                    raise InputError(f"{archive} is empty; download it again")
                only = (
                    top[0]
                    if len(top) == 1 and top[0].is_dir() and not top[0].is_symlink()
                    else root
                )
                for old, new in (rename or {}).items():
                    if (only / old).is_dir() and not (only / new).exists():
                        (only / old).rename(only / new)
                only.rename(folder)
            finally:
                shutil.rmtree(root, ignore_errors=True)
    except InputError:
        raise
    except damage as error:
        raise InputError(
            f"{archive}: a damaged archive ({error or type(error).__name__}); remove it and download it again"
        ) from None
    except OSError as error:  # also damaged compressed data, and names the file system refuses
        raise InputError(
            f"{archive}: cannot be unpacked to {folder} ({error.strerror or error})"
        ) from None
    return folder
