"""Progress bars with one look.

Only the main process shows them. A log file gets a line every ten seconds; a terminal is updated
ten times per second.
"""

from __future__ import annotations

import os
import sys

from tqdm import tqdm


class Bar(tqdm):
    """`tqdm` with this project's defaults; ``Bar.write(text)`` prints a line above all bars."""

    def __init__(self, *args, disable: bool = False, **settings):
        settings.setdefault("dynamic_ncols", True)
        settings.setdefault("mininterval", 0.1 if sys.stderr.isatty() else 10)
        another_shows_it = int(os.environ.get("RANK", "0")) > 0
        super().__init__(*args, disable=disable or another_shows_it, **settings)
