"""Downloads over a bad network, and archives that mean harm.

The server runs in a thread of the test; nothing leaves the machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import stat
import tarfile
import threading
import zipfile
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from errors import InputError
from prepare import download
from prepare.download import fetch, read_entries
from prepare.unpack import unpack

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
BYTES = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(BYTES).hexdigest()


def script(name):
    """A file of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --------------------------------------------------------------------------------------------------
# A server that misbehaves as it is told


class Server(ThreadingHTTPServer):
    """Serves ``body``; the behaviours in ``plan`` are for the next requests, one each, then all is
    well.

    plan:   cut N: close after N bytes | stall N: N bytes, then silence | norange: answer 200 to a
            Range request |
            status N | html | claim N: say Content-Length N | wrong: other bytes of the same length
                                       |
            chunked: give no length | redirect URL | careless: ignore If-Range
    ranges: the Range header of each request so far
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.tag, self.plan, self.ranges = BYTES, '"one"', deque(), []
        self.url = f"http://127.0.0.1:{self.server_port}/file.tar"
        self.silence = threading.Event()
        self.headers_seen = []

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):
        server: Server = self.server
        self.close_connection = True
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        server.headers_seen.append(dict(self.headers))
        what, _, number = (server.plan.popleft() if server.plan else "").partition(" ")
        body = bytes(len(server.body)) if what == "wrong" else server.body
        if what == "status":
            return self.reply(int(number), b"no")
        if what == "html":
            return self.reply(
                200, b"<html>log in first</html>", {"Content-Type": "text/html; charset=utf-8"}
            )
        if what == "redirect":
            return self.reply(302, b"", {"Location": number})
        headers = {
            "Content-Type": "application/x-tar",
            **({"ETag": server.tag} if server.tag else {}),
        }
        code = 200
        unchanged = self.headers.get("If-Range", server.tag) == server.tag
        if asked and what != "norange" and (unchanged or what == "careless"):
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(body):
                return self.reply(416, b"")
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            code, body = 206, body[start:]
        self.reply(code, body, headers, what, int(number or 0))

    def reply(self, code, body, headers=None, what="", number=0):
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if what == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            return
        self.send_header("Content-Length", str(number if what == "claim" else len(body)))
        self.end_headers()
        self.wfile.write(body[:number] if what in ("cut", "stall") else body)
        if what == "stall":
            self.wfile.flush()
            self.server.silence.wait(10)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(
        target=server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True
    )
    thread.start()
    yield server
    server.silence.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file.tar"


def get(server, path, **more):
    urls = more.pop("urls", [server.url])
    return fetch(
        urls, path, progress=False, **{"backoff": 0.01, "timeout": 5, "sha256": SHA256, **more}
    )


def left(path):
    return sorted(p.name for p in path.parent.iterdir())


# --------------------------------------------------------------------------------------------------
# Downloads that work in the end


def test_a_file_is_fetched_once(server, path):
    assert get(server, path) == path
    assert path.read_bytes() == BYTES and left(path) == ["file.tar"]
    get(server, path)
    assert server.ranges == [None]


def test_a_broken_download_goes_on_where_it_stopped(server, path):
    server.plan.extend(["cut 100000", "cut 50000"])
    get(server, path)
    assert path.read_bytes() == BYTES
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert server.headers_seen[1]["If-Range"] == '"one"'


def test_a_later_call_goes_on_too(server, path):
    server.plan.append("cut 100000")
    with pytest.raises(
        InputError, match=r"broke off after 100,000 of 300,000 bytes.*100,000 bytes are kept"
    ):
        get(server, path, tries=1)
    assert left(path) == ["file.tar.part", "file.tar.part.json"]
    get(server, path, tries=1)
    assert (
        path.read_bytes() == BYTES
        and server.ranges[-1] == "bytes=100000-"
        and left(path) == ["file.tar"]
    )


def test_a_complete_part_is_not_fetched_again(server, path):
    server.plan.append("cut 300000")
    get(server, path)
    path.replace(path.with_name("file.tar.part"))
    part = path.with_name("file.tar.part.json")
    part.write_text(json.dumps(dict(url=server.url, validator='"one"', total=len(BYTES))))
    get(server, path)
    assert len(server.ranges) == 1


def test_silence_ends_by_the_timeout(server, path):
    server.plan.append("stall 1000")
    get(server, path, timeout=0.2)
    assert path.read_bytes() == BYTES and server.ranges[1] == "bytes=1000-"


def test_a_server_without_ranges_starts_anew(server, path):
    server.plan.extend(["cut 1000", "norange"])
    get(server, path)
    assert path.read_bytes() == BYTES


@pytest.mark.parametrize(("before", "after"), [('"one"', '"two"'), ("", "")])
def test_a_file_that_changed_between_tries_is_not_mixed(server, path, before, after):
    """With another ETag the server sends the whole file by itself; without any the size tells."""
    server.tag = before
    server.plan.append("cut 1000")
    with pytest.raises(InputError):
        get(server, path, tries=1)
    server.tag, server.body = after, BYTES[::-1] + b"more"
    get(server, path, sha256=None)
    assert path.read_bytes() == server.body


def test_a_server_that_ignores_the_version_is_not_believed(server, path):
    """It sends the rest of another file although it was asked for that of the first only."""
    server.plan.append("cut 1000")
    with pytest.raises(InputError):
        get(server, path, tries=1)
    server.tag, server.body = '"two"', BYTES[::-1]
    server.plan.append("careless")
    get(server, path, sha256=None)
    assert path.read_bytes() == server.body


def test_a_file_that_became_shorter_than_the_part(server, path):
    server.plan.append("cut 200000")
    with pytest.raises(InputError):
        get(server, path, tries=1)
    server.body = BYTES[:1000]
    get(server, path, sha256=None)
    assert path.read_bytes() == BYTES[:1000]


def test_bytes_of_one_mirror_are_not_joined_to_anothers(server, path):
    other = f"{server.url}?mirror"
    server.plan.extend(["cut 1000", "cut 2000"])
    with pytest.raises(InputError):
        get(server, path, urls=[server.url], tries=1)
    with pytest.raises(InputError):
        get(server, path, urls=[other], tries=1)
    assert server.ranges == [None, None]
    get(server, path, urls=[other])
    assert path.read_bytes() == BYTES and server.ranges[-1] == "bytes=2000-"


def test_a_missing_file_goes_straight_to_the_next_mirror(server, path):
    server.plan.append("status 404")
    get(server, path, urls=[server.url, f"{server.url}?mirror"])
    assert path.read_bytes() == BYTES and len(server.ranges) == 2


def test_a_busy_server_is_asked_again(server, path):
    server.plan.extend(["status 503", "status 429"])
    get(server, path)
    assert path.read_bytes() == BYTES and len(server.ranges) == 3


def test_wrong_bytes_are_thrown_away(server, path):
    server.plan.append("wrong")
    get(server, path)
    assert path.read_bytes() == BYTES and server.ranges == [None, None]


def test_a_length_that_is_too_small_is_found_by_the_checksum(server, path):
    server.plan.append("claim 1000")
    get(server, path)
    assert path.read_bytes() == BYTES


def test_no_length_at_all(server, path):
    server.plan.append("chunked")
    get(server, path)
    assert path.read_bytes() == BYTES


def test_tries_that_gain_a_megabyte_do_not_count(server, path, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS", 20_000)
    server.plan.extend(["cut 30000"] * 9)
    get(server, path, tries=2)
    assert path.read_bytes() == BYTES and len(server.ranges) == 10


# --------------------------------------------------------------------------------------------------
# Downloads that fail, in one line and without a file


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ("status 404", "404"),
        ("html", "web page instead of the file"),
        ("wrong", "SHA-256 .* not"),
        ("claim 400000", "no more than 300,000 of 400,000"),
        ("status 500", "the last of 2 tries"),
        ("redirect file:///etc/passwd", "redirect|302"),
    ],
)
def test_what_cannot_work_is_said(server, path, plan, says):
    server.plan.extend([plan] * 4)
    with pytest.raises(InputError, match=says) as caught:
        get(server, path, tries=2)
    assert server.url in str(caught.value) and "\n" not in str(caught.value)
    assert not path.exists()


def test_a_length_that_is_too_big_is_never_believed(server, path):
    server.plan.extend(["claim 400000"] * 3)
    with pytest.raises(InputError, match="broke off"):
        get(server, path, sha256=None, tries=1)
    assert not path.exists()


def test_a_file_that_is_too_big_is_refused(server, path):
    with pytest.raises(InputError, match="more than the 1,000 allowed"):
        get(server, path, max_bytes=1000)
    server.plan.append("chunked")
    with pytest.raises(InputError, match="more than the 1,000 bytes allowed"):
        get(server, path, max_bytes=1000)


def test_no_room(server, path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("", (), dict(free=10)))
    with pytest.raises(InputError, match="300,000 bytes are needed and 10 are free"):
        get(server, path)


def test_a_server_that_is_not_there(path):
    with pytest.raises(InputError, match="refused"):
        fetch(["http://127.0.0.1:9/x"], path, tries=2, backoff=0.01, timeout=2, progress=False)
    assert not left(path)


def test_another_process_at_the_same_file(server, path):
    path.parent.mkdir()
    with download.one_process(path), pytest.raises(InputError, match="another process"):
        get(server, path)


def test_another_file_in_its_place_is_not_overwritten(server, path):
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="remove it"):
        get(server, path)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/x", "host/x", "http://", "http://[x/"]
)
def test_only_http_addresses(path, url):
    with pytest.raises(InputError, match="http://"):
        fetch([url], path)


# --------------------------------------------------------------------------------------------------
# Archives


def tar_of(path, *members, mode="w"):
    """members: (name, bytes) or a TarInfo."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            if not isinstance(member, tarfile.TarInfo):
                info.size = len(member[1])
            archive.addfile(
                info, None if isinstance(member, tarfile.TarInfo) else io.BytesIO(member[1])
            )
    return path


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_link(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


FILES = (("maps/train/1.jpg", b"one"), ("maps/val/1.jpg", b"two"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_is_unpacked_and_its_only_folder_stripped(tmp_path, mode):
    unpack(tar_of(tmp_path / "a", *FILES, mode=mode), "tar", tmp_path / "out", progress=False)
    assert contents(tmp_path / "out") == {"train/1.jpg": b"one", "val/1.jpg": b"two"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "out"]


def test_a_zip_is_unpacked_without_what_the_finder_adds(tmp_path):
    archive = zip_of(
        tmp_path / "a", ("trainA/1.jpg", b"one"), ("trainB/1.jpg", b"two"), ("__MACOSX/x", b"")
    )
    unpack(archive, "zip", tmp_path / "out", progress=False)
    assert contents(tmp_path / "out") == {"trainA/1.jpg": b"one", "trainB/1.jpg": b"two"}


def test_links_inside_are_made_and_permissions_are_not_taken_over(tmp_path):
    shell = tarfile.TarInfo("d/set")
    shell.mode = 0o6777
    links = (
        special("d/val", tarfile.SYMTYPE, "test"),
        special("d/copy", tarfile.LNKTYPE, "d/test/1.jpg"),
    )
    archive = tar_of(tmp_path / "a", links[0], ("d/test/1.jpg", b"one"), links[1], shell)
    unpack(archive, "tar", tmp_path / "out", progress=False)
    assert contents(tmp_path / "out") == {"test/1.jpg": b"one", "copy": b"one", "set": b""}
    assert (tmp_path / "out/val/1.jpg").read_bytes() == b"one" and not (
        tmp_path / "out/copy"
    ).is_symlink()
    assert not (tmp_path / "out/set").stat().st_mode & 0o7111


EVIL_TARS = {
    "absolute": [("/tmp/evil", b"x")],
    "dots": [("../evil", b"x")],
    "inner dots": [("a/../../evil", b"x")],
    "backslash": [("..\\evil", b"x")],
    "drive": [("C:evil", b"x")],
    "link out": [special("a/link", tarfile.SYMTYPE, "../../evil")],
    "absolute link": [special("link", tarfile.SYMTYPE, "/etc")],
    "hard link out": [special("link", tarfile.LNKTYPE, "../evil")],
    "through a link": [
        special("up", tarfile.SYMTYPE, "."),
        special("up/x", tarfile.SYMTYPE, "../../evil"),
    ],
    "link chain": [
        special("a/b", tarfile.SYMTYPE, ".."),
        special("c", tarfile.SYMTYPE, "a/b/../../evil"),
    ],
    "link bent later": [
        special("a", tarfile.SYMTYPE, "b/../evil"),
        special("b", tarfile.SYMTYPE, "."),
    ],
    "through a bent link": [
        special("a", tarfile.SYMTYPE, "b/.."),
        special("b", tarfile.SYMTYPE, "."),
        special("a/x", tarfile.SYMTYPE, "good"),
    ],
    "top link out": [special("good/link", tarfile.SYMTYPE, "../good")],
    "top link out by another": [
        special("good/x/y/d", tarfile.SYMTYPE, "../.."),
        special("good/link", tarfile.SYMTYPE, "x/y/d/../good/1.jpg"),
    ],
    "link by the name of the work folder": [
        special("link", tarfile.SYMTYPE, "../.out.unpacking/good")
    ],
    "top link up": [special("good/link", tarfile.SYMTYPE, "..")],
    "device": [special("dev", tarfile.CHRTYPE)],
    "block device": [special("dev", tarfile.BLKTYPE)],
    "pipe": [special("pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("members", EVIL_TARS.values(), ids=EVIL_TARS)
def test_hostile_tars_write_nothing(tmp_path, members):
    home = tmp_path / "home"
    home.mkdir()
    archive = tar_of(home / "a", ("good/1.jpg", b"x"), *members)
    with pytest.raises(InputError, match="do not use this file"):
        unpack(archive, "tar", home / "out", progress=False)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "home"]


@pytest.mark.parametrize(
    "member", [("../evil", b"x"), ("/evil", b"x"), zip_link("l", "../evil"), zip_link("l", "/etc")]
)
def test_hostile_zips_write_nothing(tmp_path, member):
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(InputError, match="do not use this file"):
        unpack(
            zip_of(home / "a", ("good/1.jpg", b"x"), member), "zip", home / "out", progress=False
        )
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "home"]


def test_files_are_never_written_through_links(tmp_path):
    """The link comes first in the archive and last on the disk, where the folder of its name is
    already."""
    members = special("d", tarfile.SYMTYPE, "e"), ("d/x", b"x"), ("e/y", b"y")
    with pytest.raises(InputError, match="twice"):
        unpack(tar_of(tmp_path / "a", *members), "tar", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bombs_are_stopped_by_what_they_write(tmp_path, kind, monkeypatch):
    zeros = ("zeros", bytes(3 << 20))
    archive = tmp_path / "a"
    tar_of(archive, zeros, mode="w:gz") if kind == "tar" else zip_of(archive, zeros)
    assert archive.stat().st_size < 30_000
    with pytest.raises(InputError, match="archive bomb"):
        unpack(archive, kind, tmp_path / "out", max_bytes=1 << 20, progress=False)
    with pytest.raises(InputError, match="archive bomb"):
        unpack(
            tar_of(archive, *[(f"{i}", b"") for i in range(9)]),
            "tar",
            tmp_path / "out",
            max_files=8,
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_hard_links_count_as_the_copies_they_become(tmp_path):
    links = [special(f"{i}", tarfile.LNKTYPE, "big") for i in range(9)]
    archive = tar_of(tmp_path / "a", ("big", bytes(1 << 20)), *links, mode="w:gz")
    with pytest.raises(InputError, match="archive bomb"):
        unpack(archive, "tar", tmp_path / "out", max_bytes=5 << 20, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    unpack(archive, "tar", tmp_path / "out", max_bytes=10 << 20, progress=False)
    assert (tmp_path / "out" / "8").read_bytes() == bytes(1 << 20)


@pytest.mark.parametrize("mode", ["w:xz", "w:bz2"])
def test_damage_of_every_compression_is_said(tmp_path, mode):
    archive = tar_of(tmp_path / "a", *((f"d/{i}", BYTES) for i in range(3)), mode=mode)
    data = archive.read_bytes()
    for place in (20, 200, len(data) // 2, len(data) - 30):
        flipped = bytearray(data)
        flipped[place] ^= 255
        archive.write_bytes(flipped)
        with pytest.raises(InputError, match=re.escape(str(archive))):
            unpack(archive, "tar", tmp_path / "out", progress=False)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_damaged_archives(tmp_path, kind, share):
    files = [(f"d/{i}.jpg", BYTES[i * 9000 : (i + 1) * 9000]) for i in range(20)]
    archive = tmp_path / "a"
    tar_of(archive, *files, mode="w:gz") if kind == "tar" else zip_of(archive, *files)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=re.escape(str(archive))):
        unpack(archive, kind, tmp_path / "out", progress=False)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 255
    archive.write_bytes(flipped)
    with pytest.raises(InputError, match=re.escape(str(archive))):
        unpack(archive, kind, tmp_path / "out", progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.png").write_bytes(b"")
    with pytest.raises(InputError, match="remove it"):
        unpack(tar_of(tmp_path / "a", *FILES), "tar", tmp_path / "out", progress=False)


def test_the_rest_of_a_killed_run_is_cleared_away(tmp_path):
    (tmp_path / ".out.unpacking" / "old").mkdir(parents=True)
    unpack(tar_of(tmp_path / "a", *FILES), "tar", tmp_path / "out", progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "out"]


# --------------------------------------------------------------------------------------------------
# The table and the command


def test_the_table_is_well_formed():
    entries = read_entries(SCRIPTS / "downloads.json")
    assert {
        "edges2shoes-r",
        "maps",
        "cityscapes",
        "facades",
        "horse2zebra",
        "fid-inception",
    } <= set(entries)
    targets = [entry.target for entry in entries.values()]
    assert len(set(targets)) == len(targets) and not any(
        t.is_absolute() or ".." in t.parts for t in targets
    )
    assert all(entry.urls or "--url" in entry.note for entry in entries.values())
    assert entries["fid-inception"].sha256.startswith("6726825d")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "'urls'"),
        (dict(urls=["x"], sha256=None, kind="tar", target="t", note=""), "http://"),
        (dict(urls=[], sha256="12", kind="tar", target="t", note=""), "64 digits"),
        (dict(urls=[], sha256=None, kind="rar", target="t", note=""), "rar"),
    ],
)
def test_a_table_that_is_not(tmp_path, row, says):
    (tmp_path / "t.json").write_text(json.dumps({"x": row}))
    with pytest.raises(InputError, match=f"entry x.*{says}"):
        read_entries(tmp_path / "t.json")


@pytest.mark.parametrize("before", ["nothing", "an empty folder", "a link to one"])
def test_the_command_downloads_and_unpacks(server, tmp_path, capsys, before):
    server.body = tar_of(tmp_path / "a", *FILES, mode="w:gz").read_bytes()
    server.plan.append("cut 50")
    command, out = script("download"), tmp_path / "maps"
    if before == "an empty folder":
        out.mkdir()
    elif before == "a link to one":
        (tmp_path / "disk").mkdir()
        out.symlink_to(tmp_path / "disk")
    command.main(["maps", "--url", server.url, "--output", str(out), "--timeout", "5"])
    assert contents(out) == {"train/1.jpg": b"one", "val/1.jpg": b"two"}
    left = {p.name for p in tmp_path.iterdir()} - {"disk"}
    assert left == {"a", "maps"}
    command.main(["maps", "--output", str(out)])
    assert "is there already" in capsys.readouterr().out


def test_the_command_renames_the_test_images_of_horse2zebra(server, tmp_path):
    """Training measures on valA and valB."""
    files = [
        (f"horse2zebra/{folder}/1.jpg", folder.encode())
        for folder in ("trainA", "trainB", "testA", "testB")
    ]
    server.body = zip_of(tmp_path / "a", *files).read_bytes()
    out = tmp_path / "horse2zebra"
    script("download").main(
        ["horse2zebra", "--url", server.url, "--output", str(out), "--timeout", "5"]
    )
    expected = {
        "trainA/1.jpg": b"trainA",
        "trainB/1.jpg": b"trainB",
        "valA/1.jpg": b"testA",
        "valB/1.jpg": b"testB",
    }
    assert contents(out) == expected
    # A mirror that has them renamed already keeps what it has.
    files = [("x/testA/1.jpg", b"test"), ("x/valA/1.jpg", b"val")]
    unpack(
        zip_of(tmp_path / "b", *files),
        "zip",
        tmp_path / "x",
        progress=False,
        rename={"testA": "valA", "testB": "valB"},
    )
    assert contents(tmp_path / "x") == {"testA/1.jpg": b"test", "valA/1.jpg": b"val"}


def test_the_command_checks_a_file(server, tmp_path):
    command = script("download")
    args = ["fid-inception", "--url", server.url, "--output", str(tmp_path / "p"), "--tries", "1"]
    with pytest.raises(InputError, match="not 6726825d"):
        command.main(args)
    command.main([*args, "--sha256", SHA256.upper()])
    assert contents(tmp_path / "p") == {"pt_inception-2015-12-05-6726825d.pth": BYTES}


def test_weights_arrive_where_the_recipes_look(server, tmp_path, monkeypatch):
    """The published addresses, in place of which the local server answers."""
    entry = read_entries(SCRIPTS / "downloads.json")["deeplab-cocostuff"]
    assert entry.target.parts[0] == "pretrained" and entry.target.name in entry.urls[0]
    assert str(entry.target) in (SCRIPTS / "recipes.sh").read_text()
    monkeypatch.chdir(tmp_path)
    script("download").main([entry.name, "--url", server.url, "--timeout", "5"])
    assert contents(tmp_path) == {str(entry.target): BYTES}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["mapps"], "did you mean maps"),
        (["drn-cityscapes"], "--url"),
        (["maps", "--url", "x"], "--url: 'x'"),
        (["maps", "--sha256", "12"], "--sha256"),
        (["maps", "--tries", "0"], "--tries"),
        (["maps", "--timeout", "inf"], "--timeout"),
        (["maps", "--timeout", "nan"], "--timeout"),
    ],
)
def test_what_the_command_refuses(args, says, tmp_path):
    with pytest.raises(InputError, match=says):
        script("download").main([*args, "--output", str(tmp_path / "x")])
    assert not os.listdir(tmp_path)


def test_the_command_lists_what_there_is(capsys):
    script("download").main([])
    assert "edges2shoes-r " in capsys.readouterr().out
