#!/usr/bin/env python3
"""Check the flags of several commands before the first of them starts.

Standard input holds the commands, each as NUL-terminated words: the name of its stage, the number
of the words that follow, the script, and its flags. Exit code 2 and one line for the first command
that its script would refuse.
"""

import argparse
import contextlib
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from errors import InputError
from options import SCRIPTS, run


def commands(words: list[str]):
    """(stage, script, flags) of each command."""
    while words:
        stage, count, *rest = words
        script, *flags = rest[: int(count)]
        yield stage, script, flags
        words = rest[int(count) :]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--remedy", metavar="TEXT", help="where the user's flags are given")
    opt = parser.parse_args()
    for stage, script, flags in commands(sys.stdin.read().split("\0")[:-1]):
        if script not in SCRIPTS:
            continue
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                SCRIPTS[script].parse(flags)
        except SystemExit:
            message = said.getvalue().strip()
            remedy = opt.remedy or (
                f"MORE holds flags of every stage, MORE_{stage.upper()} those of this one"
            )
            raise InputError(f"stage {stage}: {message}; nothing was started. {remedy}") from None


if __name__ == "__main__":
    run(main)
