"""How every script starts and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable

from errors import InputError
from runtime.progress import Bar


def run(main: Callable[[], None]) -> None:
    """Call ``main``; what is the user's to mend ends in one line and exit code 2, a signal in 128 + its number."""
    warnings.showwarning = lambda message, *_, **__: Bar.write(
        f"warning: {message}", file=sys.stderr
    )
    try:
        with contextlib.ExitStack() as stack:
            if int(os.environ.get("RANK", "0")) > 0:  # under torchrun one process speaks
                stack.enter_context(
                    contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w")))
                )
            main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # e.g. piped into head
        sys.stderr.close()
