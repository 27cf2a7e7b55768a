"""Starting the scripts as processes of their own, and what comes out of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Outcome:
    """What a script left on the terminal, and how it ended."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float = 0.0

    def succeeded(self) -> Outcome:
        assert self.returncode == 0, f"exit code {self.returncode}\n{self.stdout}\n{self.stderr}"
        return self


def command(script: str, *args: object) -> list[str]:
    """``script``: a file of the repository root, or a module such as ``models.cost``."""
    return [*([script] if script.endswith(".py") else ["-m", script]), *map(str, args)]
