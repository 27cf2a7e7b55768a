"""SIGINT and SIGTERM as requests to stop, which a run answers at a suitable moment."""

from __future__ import annotations

import signal
from collections.abc import Callable


class StopSignals:
    """Within the block, notes SIGINT and SIGTERM in ``received`` instead of ending the process.

    A second signal does not wait: it raises KeyboardInterrupt.

    Args:
        on_signal: called with the name of the first signal
    """

    def __init__(self, on_signal: Callable[[str], None]):
        self.on_signal = on_signal
        self.received: int | None = None

    def __enter__(self) -> StopSignals:
        caught = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._note) for number in caught}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        self.on_signal(signal.Signals(number).name)
