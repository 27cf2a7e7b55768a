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
from runtime import distributed
from runtime.files import not_written
from runtime.folders import release_folders
from runtime.progress import Bar


def with_flags(text: str, flags: Collection[str]) -> str:
    """Rewrite a message in the words of the command line.

    The code below the options names settings in backquotes; names in ``flags`` become ``--name``.
    """
    return re.sub(r"`(\w+)`", lambda m: f"--{m[1]}" if m[1] in flags else m[0], text)


def run(main: Callable[[], None], flags: Collection[str] = ()) -> None:
    """Call ``main``; release the folders that it took.

    An `InputError` ends in one line and exit code 2, a signal in 128 + its number.

    Args:
        flags: names of settings that the user knows as ``--name``, see `with_flags`
    """
    _open_closed_streams()
    warnings.showwarning = lambda message, *_, **__: Bar.write(
        f"warning: {with_flags(str(message), flags)}", file=sys.stderr
    )
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names may hold bytes that are not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(release_folders)
            # Under torchrun one process speaks.
            if int(os.environ.get("RANK", "0")) > 0:
                nowhere = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            main()
            distributed.shutdown()
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
    except OSError as error:  # of what is not written by runtime.files
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        if error.filename is None:
            # What is left in the buffer would fail once more when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        what = error.filename or "a file or standard output"
        print(f"error: {not_written(what, error)}", file=sys.stderr)
        sys.exit(2)


def _open_closed_streams() -> None:
    """Replace each standard stream that the caller closed (``2>&-``).

    Otherwise the next file to be opened would take the stream's number and receive what libraries
    print. Errors go to standard output if standard error is closed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = sys.stdout
