"""Runs the stages of a plan one after the other, and stops when it is told to.

Each stage is a process of its own. One that is done is skipped, one that was stopped continues:
every script goes on where it was.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from errors import InputError
from pipeline.plan import Plan
from pipeline.stages import ROOT, Stage

# What a stage is told when compress.py is told so. A closed terminal counts too.
FORWARDED = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


class Stopped(Exception):
    """A signal ended the run; all that was done is kept."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def _die_with_parent() -> Callable[[], None] | None:
    """What a new process does first, so that it ends when this one is killed (on Linux).

    A stage that goes on alone would hold its folder, and the next run could not continue it. All
    scripts survive being killed.
    """
    if not sys.platform.startswith("linux"):
        return None
    # Found before the fork, after which nothing should be looked up.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it was killed before
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare


def run_stage(stage: Stage) -> None:
    """Run one stage to its end, its output and bars shown as they come.

    The process gets signals from here alone: Ctrl-C reaches a whole group of processes, and a
    training takes a second signal as "do not save".

    Raises:
        Stopped:    a signal came and the stage has ended
        InputError: the stage refused its input; it has said why
        SystemExit: it failed otherwise
    """
    received: list[int] = []
    process: subprocess.Popen | None = None

    def forward(number: int, frame: object) -> None:
        received.append(number)
        if process is not None:
            process.send_signal(number)

    # Python lets the main thread alone handle signals; from another one, none is forwarded.
    handled = set(FORWARDED) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, forward) for number in handled}
    try:
        process = subprocess.Popen(
            [sys.executable, *stage.arguments],
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
        if received:  # it came while the process started
            process.send_signal(received[-1])
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise Stopped(received[0])
    _check(stage, code)


def _check(stage: Stage, code: int) -> None:
    kept = "what was done before is kept, and the same command continues here"
    if code == 2:
        raise InputError(f"stage {stage.name} stopped for the reason above; {kept}")
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (memory may have run out)" if -code == signal.SIGKILL else ""
        raise InputError(f"stage {stage.name} was ended by {name}{hint}; {kept}")
    if code:
        print(f"error: stage {stage.name} failed, see above; {kept}", file=sys.stderr)
        sys.exit(code)
    if stage.writes and not stage.done:
        raise InputError(f"stage {stage.name} ended without writing {stage.result}; run it again")


def run_stages(plan: Plan, say: Callable[[str], None] = print) -> None:
    """Run all stages that are not done. Errors as `run_stage`."""
    for number, stage in enumerate(plan.stages, 1):
        title = f"== {number}/{len(plan.stages)} {stage.name}"
        if stage.done:
            say(f"{title}: done ({stage.result})")
            continue
        if stage.needs_winner:
            stage = stage.with_winner(plan.winner)
        say(f"\n{title}\n$ {stage.shown}")
        sys.stdout.flush()
        run_stage(stage)
