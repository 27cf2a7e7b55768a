#!/usr/bin/env python3
"""Download a dataset, weights or a released checkpoint by name. Without a name, list them all.

An interrupted download continues where it stopped when the same command is given again.
"""

import argparse
import difflib
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from errors import InputError
from options import run
from prepare.download import Entry, check_source, fetch, read_entries
from prepare.unpack import is_there, unpack

TABLE = Path(__file__).with_name("downloads.json")
SUFFIX = {"tar": ".tar", "zip": ".zip", "file": ""}


def pick(name: str, entries: dict[str, Entry]) -> Entry:
    if name not in entries:
        near = difflib.get_close_matches(name, entries, 1)
        hint = f"did you mean {near[0]}?" if near else "without a name all are listed"
        raise InputError(f"{name}: no such download; {hint}")
    return entries[name]


def download(entry: Entry, keep: bool, tries: int, timeout: float) -> Path:
    """Bring an entry to its target; returns it. InputError says what is in the way."""
    if entry.kind == "file":
        return fetch(entry.urls, entry.target, entry.sha256, tries, timeout)
    archive = entry.target.with_name(entry.target.name + SUFFIX[entry.kind])
    fetch(entry.urls, archive, entry.sha256, tries, timeout)
    unpack(archive, entry.kind, entry.target, rename=entry.rename)
    if not keep:
        archive.unlink()
    return entry.target


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="what to download")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="another folder than the one listed"
    )
    parser.add_argument(
        "--url", action="append", metavar="URL", help="another address; may be repeated"
    )
    parser.add_argument("--sha256", metavar="HEX", help="checksum of the file, where you know it")
    parser.add_argument("--keep", action="store_true", help="keep the archive after unpacking")
    parser.add_argument(
        "--tries", type=int, default=5, metavar="N", help="failed tries per address (default: 5)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30,
        metavar="S",
        help="seconds without a byte (default: 30)",
    )
    opt = parser.parse_args(argv)
    entries = read_entries(TABLE)
    if opt.name is None:
        for entry in entries.values():
            print(f"{entry.name:28s} -> {entry.target}\n    {entry.note}")
        return
    if opt.tries < 1 or not 0 < opt.timeout <= 86400:
        raise InputError("--tries must be 1 or more, --timeout above 0 and at most 86400 seconds")

    entry = pick(opt.name, entries)
    # The listed checksum stays in force: the bytes of a file do not depend on where it lies.
    if opt.url:
        check_source(opt.url, None, "--url")
        entry = replace(entry, urls=tuple(opt.url))
    if opt.sha256:
        check_source((), opt.sha256.lower(), "--sha256")
        entry = replace(entry, sha256=opt.sha256.lower())
    if opt.output:
        entry = replace(
            entry, target=opt.output / entry.target.name if entry.kind == "file" else opt.output
        )
    if entry.kind != "file" and is_there(entry.target):
        print(f"{entry.target} is there already; remove it to download it again")
        return
    if not entry.urls:
        raise InputError(f"{entry.name}: {entry.note}")
    print(entry.note)
    print(f"{download(entry, opt.keep, opt.tries, opt.timeout)}: done")


if __name__ == "__main__":
    run(main)
