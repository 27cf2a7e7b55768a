"""``stop_after.py N SCRIPT [ARG ...]``: a training script that gets SIGTERM in its N-th step.

It must stop by that signal with its state saved; the exit code is then 0.
"""

import os
import runpy
import signal
import sys
from unittest.mock import patch

from training.tasks import Task

count = int(sys.argv[1])
sys.argv = sys.argv[2:]
step, done = Task.step, []


def counted(self, *args):
    losses = step(self, *args)
    done.append(True)
    if len(done) == count:
        os.kill(os.getpid(), signal.SIGTERM)
    return losses


with patch.object(Task, "step", counted):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        sys.exit(0 if stop.code == 128 + signal.SIGTERM else f"ended with {stop.code}")
sys.exit("came to its end")
