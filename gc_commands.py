"""The commands that ``pip install .`` makes. Each one runs a script of this folder.

A command and its script are interchangeable: they take the same flags, and each continues a run
that the other started. The script is run by its path, since `import test` would find Python's own
package.
"""

import runpy
import sys
from pathlib import Path


def _command(script: str):
    def command() -> None:
        path = str(Path(__file__).with_name(script))
        # A run is continued only by the script that started it, which is known by this name.
        sys.argv[0] = path
        runpy.run_path(path, run_name="__main__")

    command.__doc__ = f"``{script}``"
    return command


compress = _command("compress.py")
train = _command("train.py")
train_supernet = _command("train_supernet.py")
distill = _command("distill.py")
search = _command("evolution_search.py")
search_all = _command("search.py")
export = _command("export.py")
test = _command("test.py")
latency = _command("latency.py")
real_stat = _command("get_real_stat.py")
assemble = _command("assemble.py")
remove_spectral_norm = _command("remove_spectral_norm.py")
