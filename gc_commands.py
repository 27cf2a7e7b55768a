"""The commands that ``pip install .`` makes, each of which runs the script of the same task.

A command is its script in every respect: the same flags, and a run that one started is continued by
the other. So the script is run by its path; `import test` would find Python's own package.
"""

import runpy
import sys
from pathlib import Path


def _command(script: str):
    def command() -> None:
        path = str(Path(__file__).with_name(script))
        sys.argv[0] = path  # what a run is compared with when it is continued
        runpy.run_path(path, run_name="__main__")

    command.__doc__ = f"``{script}``"
    return command


train = _command("train.py")
train_supernet = _command("train_supernet.py")
distill = _command("distill.py")
search = _command("evolution_search.py")
search_all = _command("search.py")
export = _command("export.py")
test = _command("test.py")
latency = _command("latency.py")
real_stat = _command("get_real_stat.py")
