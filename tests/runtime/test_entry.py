"""How a script ends when its standard output cannot take what it prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Instead of the module through which alone torch is imported, which takes two seconds.
WITHOUT_TORCH = """
import sys, types
module = types.ModuleType("runtime.distributed")
module.shutdown = lambda: None
sys.modules[module.__name__] = module
"""
SCRIPT = "from runtime.entry import run\nrun(lambda: print({text!r}))"


def start(text: str, stdout) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", WITHOUT_TORCH + SCRIPT.format(text=text)]
    return subprocess.run(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, timeout=120)


def test_names_that_are_not_utf8_are_printed():
    done = start(os.fsdecode(b"caf\xe9"), subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf\\udce9\n", b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("text", ["short", "long" * 10_000])
def test_a_full_standard_output_is_one_line(text):
    with open("/dev/full", "w") as full:
        done = start(text, full)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert b"standard output could not be written (No space left" in done.stderr


CLOSED = """
import sys
from errors import InputError
from runtime.entry import run
from runtime.progress import Bar

def main():
    for _ in Bar(range(3)):
        pass
    print("done")
    with open(sys.argv[1], "w") as file:
        file.write("data")
        if len(sys.argv) > 2:
            raise InputError("wrong")

run(main)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize(
    ("closed", "more"),
    [
        ("2>&-", ""),
        ("2>&-", "wrong"),
        ("1>&-", ""),
        ("1>&- 2>&-", "wrong"),
        ("0<&- 1>&- 2>&-", ""),
    ],
)
def test_closed_streams_end_as_open_ones(tmp_path, closed, more):
    script = tmp_path / "script.py"
    # Once with torch, as scripts have it.
    start = "" if closed == "0<&- 1>&- 2>&-" else WITHOUT_TORCH
    script.write_text(f"{start}import sys\nsys.path.insert(0, {str(ROOT)!r})\n{CLOSED}")
    line = f'"{sys.executable}" "{script}" "{tmp_path}/data" {more} {closed}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120)
    assert done.returncode == (2 if more else 0), done
    assert (tmp_path / "data").read_text() == "data"
    if closed == "2>&-":
        assert "done" in done.stdout and ("error: wrong" in done.stdout) == bool(more)
