"""Scripts on the fake device.

    python -m fake_cuda.run SCRIPT [ARG ...]

runs one. Without arguments, each line of the standard input is a script and its arguments as a JSON
list, and each answer a line of the standard output: ``{"code": int, "output": str, "syncs": int}``.
One process thus runs all of a test session's scripts, which saves their start.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import runpy
import sys
import traceback
import warnings

import cheaper
import torch

from fake_cuda.install import install

torch.set_num_threads(1)
extension = install()


def run(words: list[str]) -> int:
    """Run ``script.py ARG ...`` or ``-m module ARG ...`` as the interpreter does; the exit code."""
    module = words[0] == "-m"
    sys.argv = words[1:] if module else words
    start = runpy.run_module if module else runpy.run_path
    try:
        start(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        output, before = io.StringIO(), extension.syncs()
        with (
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
            warnings.catch_warnings(),
        ):
            code = run(json.loads(line))
        gc.collect()
        answer = {
            "code": code,
            "output": output.getvalue(),
            "syncs": extension.syncs() - before,
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    # The scripts' own folder comes first, as for ``python SCRIPT``.
    sys.path.insert(0, os.getcwd())
    cheaper.install()
    if len(sys.argv) > 1:
        sys.exit(run(sys.argv[1:]))
    serve()
