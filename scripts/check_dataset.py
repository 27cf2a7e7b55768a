"""Look at every file of a dataset: what it holds, and whether it is ready to train.

``python -m data.check`` is the same. ``--help`` lists the flags.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from options import run
from options.check import main

if __name__ == "__main__":
    run(main)
