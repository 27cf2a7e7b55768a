"""How every script starts and ends."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Collection

from errors import InputError
from runtime.progress import Bar


def with_flags(text: str, flags: Collection[str]) -> str:
    """A message of a room below the options, in the words of the command line.

    Rooms name a setting in backquotes; those in ``flags`` become ``--name``.
    """
    return re.sub(r"`(\w+)`", lambda m: f"--{m[1]}" if m[1] in flags else m[0], text)


def run(main: Callable[[], None], flags: Collection[str] = ()) -> None:
    """Call ``main``. An `InputError` ends in one line and exit code 2, a signal in 128 + its number.

    Args:
        flags: names of settings that the user knows as ``--name``, see `with_flags`
    """
    warnings.showwarning = lambda message, *_, **__: Bar.write(
        f"warning: {with_flags(str(message), flags)}", file=sys.stderr
    )
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names may hold bytes that are not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        with contextlib.ExitStack() as stack:
            if int(os.environ.get("RANK", "0")) > 0:  # under torchrun one process speaks
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            main()
            if sys.stdout:
                sys.stdout.flush()  # a full disk is found here rather than when Python ends
    except InputError as error:
        print(f"error: {with_flags(str(error), flags)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # e.g. piped into head
        sys.stderr.close()
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        # What is left in the buffer would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(
            "error: standard output: no space left there; free some or redirect it", file=sys.stderr
        )
        sys.exit(2)
