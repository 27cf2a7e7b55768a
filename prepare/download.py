"""Downloads files from mirrors, continues interrupted downloads, and checks the result.

    path = fetch(["http://host/maps.tar.gz"], Path("database/maps.tar.gz"))

It uses the standard library only. pooch and huggingface_hub check their downloads too, but do not
continue a file that an earlier call began (pooch 1.9 requests no ranges, huggingface_hub 2.4
removes its partial file). The archives are gigabytes on slow servers, so this matters.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from errors import InputError
from runtime.progress import Bar

# Bytes read at a time
CHUNK = 1 << 18
# A try that received this many bytes does not count as failed
PROGRESS = 1 << 20
KINDS = ("tar", "zip", "file")

# --------------------------------------------------------------------------------------------------
# The table of what can be downloaded


@dataclass(frozen=True)
class Entry:
    """One thing to download.

    urls:   mirrors, tried in order; if there are none, the user must give one
    sha256: of the file, 64 hex digits; None if unknown
    kind:   tar | zip = unpacked into the folder ``target`` | file = stored as ``target``
    note:   what it is, its licence, what the user should know
    rename: top folders of the archive to rename, old -> new
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None
    kind: str
    target: Path
    note: str
    rename: Mapping[str, str] = field(default_factory=dict)


def read_entries(path: Path) -> dict[str, Entry]:
    """Read ``downloads.json``: name -> entry.

    Raises:
        InputError: the file is unreadable or an entry is malformed; the message names it.
    """
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
    """Check addresses and a checksum.

    Raises:
        InputError: an address is not http(s), or the checksum is not 64 lower-case hex digits. The
            message begins with ``where``.
    """
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


# --------------------------------------------------------------------------------------------------
# One try: what the server answers, and what can be kept from an earlier try


class _Failed(Exception):
    """A failed try.

    final: another try at this address is useless
    wait:  seconds to wait before the next try, as the server asks
    """

    def __init__(self, why: str, final: bool = False, wait: float = 0.0):
        super().__init__(why)
        self.final, self.wait = final, wait


@dataclass
class _Part:
    """The partial file beside its target, and a note that says where its bytes came from.

    Bytes from different addresses, or from different versions of the file, are never joined.

    validator: the ETag or the date that the server gave, "" if none
    total:     the size in bytes that the server announced, None if none
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
        """Discard all bytes; the next ones come from ``url``."""
        self.url, self.validator, self.total = url, validator, total
        self.path.write_bytes(b"")
        self.note.write_text(
            json.dumps(dict(url=url, validator=validator, total=total)), encoding="utf-8"
        )

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https only, so that a redirect cannot reach files of this machine."""
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
    """A strong ETag, else the date of the file, else ""."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _length(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdigit() else None


def _request(url: str, part: _Part, timeout: float):
    """Request the file from the end of the part. _Failed says whether to try again."""
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
                why = (
                    f"the server has no more than {part.size:,} of {part.total or 0:,} announced "
                    "bytes"
                )
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
    """Decide from the response headers whether to continue the partial file or start again."""
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
    """Append the response to the part. _Failed if it ends early or stalls; received bytes stay."""
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
            f"{path.parent}: {count:,} bytes are needed and {free:,} are free; free some space"
        )


# --------------------------------------------------------------------------------------------------
# A whole download


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 lower-case hex digits."""
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
    """Download one file to ``path``. It appears there only when it is complete and checked.

    Until then the bytes are in ``<path>.part``. A later call continues that file if address,
    version and size have not changed.

    Args:
        urls:      mirrors, tried in order
        path:      the file to write; if it exists and is correct, nothing is downloaded
        sha256:    expected checksum, 64 lower-case hex digits; None = check only the size
        tries:     failed tries per mirror; one that received a megabyte does not count
        timeout:   seconds without a byte after which a try fails
        backoff:   seconds before the second try; doubled for each further try, up to 60
        max_bytes: larger files are refused
        progress:  show a progress bar

    Returns:
        ``path``

    Raises:
        InputError: no mirror gave the correct file (the message says what each one did), ``path``
            exists with another checksum, there is no space, or another process is downloading it.
    """
    check_source(urls, sha256, str(path))
    if path.is_file():
        if sha256 is None or sha256_of(path) == sha256:
            return path
        raise InputError(
            f"{path} exists, but its SHA-256 is not {sha256}; remove it to download it again"
        )
    if not urls:
        raise InputError(f"{path}: no address is known; give one with --url")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(path.with_name(f"{path.name}.part"))
        with (
            one_process(path),
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
            kept = f" ({part.size:,} bytes are kept: run it again to continue)" if part.size else ""
            if not kept:
                part.remove()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    raise InputError(
        f"{path.name} could not be downloaded. {'; '.join(reasons)}. Try later or another "
        f"--url{kept}"
    )


def _from_mirror(url, part, sha256, tries, timeout, backoff, max_bytes, bar) -> str | None:
    """Try one address until ``part`` is complete and correct. Returns None, or why it failed."""
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
def one_process(path: Path) -> Iterator[None]:
    """Hold a lock for ``path`` while the block runs. The lock ends with the process in any case.

    Raises:
        InputError: another process holds the lock, or it cannot be made.
    """
    name = path.with_name(f".{path.name}.lock")
    with name.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(
                os.fstat(file.fileno()), name.stat()
            ):  # its owner has just removed it
                raise BlockingIOError
        except OSError:
            raise InputError(
                f"{path}: another process is working on it; wait for it to end"
            ) from None
        try:
            yield
        finally:
            name.unlink(missing_ok=True)
