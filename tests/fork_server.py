"""Python processes that start at once: forked from one that has imported everything already.

Importing PyTorch takes two seconds and the tests start some two hundred processes. Each is a
process like any other, with its own number, signals, limits and exit code. What only a fresh start
shows is left to the tests of `runtime.entry`, of the installation and of a few refusals.

As a program: ``fork_server.py serve SOCKET``, and ``fork_server.py run SOCKET SCRIPT ...`` for
those that start Python by its name, as shell scripts and torchrun do.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import gc
import importlib.util
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import weakref
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_NUMBER = struct.Struct("!i")

# --------------------------------------------------------------------------------------------------
# The server


def _receive(connection: socket.socket) -> tuple[dict, list[int]]:
    """A request and the file descriptors that come with it."""
    head, ancillary, _, _ = connection.recvmsg(_NUMBER.size, socket.CMSG_SPACE(3 * 4))
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    (left,), text = _NUMBER.unpack(head), b""
    while left > len(text):
        text += connection.recv(left - len(text))
    return json.loads(text), list(files)


def serve(path: str) -> dict:
    """Fork for every request, until standard input ends. Returns in the forked process: with what
    it is to run."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([0, listener, wake, *children.values()], [], [])
        if wake in ready:
            os.read(wake, 4096)
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            connection = children.pop(pid)
            with contextlib.suppress(OSError):  # nobody waits for it any more
                connection.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))
            connection.close()
        for pid, connection in children.items():
            if connection in ready:  # its caller is gone
                os.kill(pid, signal.SIGKILL)
        if 0 in ready and not os.read(0, 1):
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            os._exit(0)
        if listener in ready:
            connection, _ = listener.accept()
            request, files = _receive(connection)
            if any("onnx" in each or "make_web_demo" in each for each in request["arguments"]):
                _export_once()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (listener, connection, *children.values()):
                    each.close()
                os.close(wake)
                os.close(waker)
                for number, file in enumerate(files):
                    os.dup2(file, number)
                    os.close(file)
                return request
            for file in files:
                os.close(file)
            children[pid] = connection
            connection.sendall(_NUMBER.pack(pid))


def _become(request: dict) -> None:
    """Run what was asked for, as ``python ARGUMENT ...`` does."""
    import runpy

    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    if request["session"]:
        os.setsid()
    if request["max_file_bytes"]:
        import resource

        limit = request["max_file_bytes"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
        if number:
            stream.reconfigure(write_through=True)
        setattr(sys, name, stream)
    script, *arguments = request["arguments"]
    if script == "-m":
        sys.argv = arguments
        sys.path[0] = request["cwd"]
        sys.modules.pop(arguments[0], None)  # a Python that starts has not imported it either
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [script, *arguments]
        sys.path[0] = os.path.dirname(os.path.abspath(script))
        runpy.run_path(script, run_name="__main__")


def _end_with(function, *args) -> None:
    """Call it and end as Python does, but for tearing down all modules, which takes a second."""
    code = 0
    try:
        function(*args)
    except SystemExit as stop:
        if isinstance(stop.code, int) or stop.code is None:
            code = stop.code or 0
        else:
            print(stop.code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


# The scripts, and what optimizers, the FID network and plots import when they are first used.
MODULES = ("train", "distill", "evolution_search", "export", "options.check", "report.results")
MODULES += ("prepare.download", "evaluation.speed", "deploy.forms", "pytorch_fid.inception")
MODULES += ("scipy.stats", "torchvision.models", "torch._dynamo", "torch.distributed.run")


def _import_everything() -> None:
    sys.path.insert(0, str(ROOT))
    for name in MODULES:
        importlib.import_module(name)
    import cheaper
    import torch

    cheaper.install()
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], fused=True)
    # At its end a process takes back each operator that PyTorch registered: 45 ms.
    for each in list(weakref.finalize._registry):
        each.atexit = False
    gc.set_threshold(50_000, 20, 100)  # as in conftest.py
    gc.collect()
    gc.freeze()


@functools.cache
def _export_once() -> None:
    """The first export to ONNX spends three seconds on what it imports and registers."""
    import torch

    from deploy.onnx import onnx_program

    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript")):
        onnx_program(torch.nn.Conv2d(3, 3, 1).eval())
    gc.freeze()


# --------------------------------------------------------------------------------------------------
# Those who ask


def _send(connection: socket.socket, request: dict, files: list[int]) -> int:
    """Ask for a process; its number."""
    text = json.dumps(request).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
    connection.sendmsg([_NUMBER.pack(len(text))], rights)
    connection.sendall(text)
    return _NUMBER.unpack(connection.recv(_NUMBER.size))[0]


def _request(arguments: list[str], **how: object) -> dict:
    defaults = {"cwd": os.getcwd(), "env": dict(os.environ), "session": False}
    return {"arguments": arguments, "max_file_bytes": None} | defaults | how


class Process:
    """A process of the server, with the methods of ``subprocess.Popen``.

    What it prints goes to files; `communicate` returns it at the end.
    """

    def __init__(self, address: str, arguments: list[str], merged: bool, **how: object):
        """``merged``: standard error goes into standard output."""
        self.out = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        self.err = self.out if merged else tempfile.TemporaryFile("w+b")  # noqa: SIM115
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(address)
        self.returncode: int | None = None
        with open(os.devnull) as nothing:
            files = [nothing.fileno(), self.out.fileno(), self.err.fileno()]
            self.pid = _send(self.connection, _request(arguments, **how), files)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.connection.settimeout(timeout)
            try:
                self.returncode = _NUMBER.unpack(self.connection.recv(_NUMBER.size))[0]
            except TimeoutError:
                raise subprocess.TimeoutExpired("forked process", timeout) from None
        return self.returncode

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        texts = []
        for file in (self.out, self.err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace").replace("\r\n", "\n"))
        return texts[0], "" if self.err is self.out else texts[1]


def begin(folder: Path, environment: dict[str, str]) -> subprocess.Popen:
    """Begin a server in ``folder``. It ends when its standard input is closed."""
    this = str(Path(__file__).resolve())
    address, python = str(folder / "socket"), folder / "python"
    client = f'exec "{sys.executable}" -I -S "{this}" run "{address}" "$@"'
    python.write_text(f"#!/bin/sh\n{client}\n")
    python.chmod(0o755)
    words = [sys.executable, this, "serve", address]
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdin=subprocess.PIPE)


class ForkServer:
    """Starts `Process`es by the server in ``folder``; ``python`` is an executable that starts one
    in its own place."""

    def __init__(self, folder: Path):
        self.address, self.python = str(folder / "socket"), folder / "python"
        start = time.monotonic()
        while not Path(self.address).exists():
            assert time.monotonic() - start < 120, "the fork server did not start"
            time.sleep(0.01)

    def start(self, arguments: list[str], merged: bool = False, **how: object) -> Process:
        """``how``: cwd, env, session (a new one), max_file_bytes (as on a full disk)."""
        return Process(self.address, arguments, merged, **how)


def _run_in_its_place(address: str, arguments: list[str]) -> None:
    """Be the process that is asked for, as far as those see it who started this one."""
    if arguments[:1] == ["-c"]:  # a line of a shell script, which imports nothing slow
        os.execv(sys.executable, [sys.executable, *arguments])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    pid = _send(connection, _request(arguments), [0, 1, 2])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = _NUMBER.unpack(connection.recv(_NUMBER.size))[0]
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    _what, _address, *_arguments = sys.argv[1:]
    if _what == "run":
        _run_in_its_place(_address, _arguments)
    _import_everything()
    _end_with(_become, serve(_address))
