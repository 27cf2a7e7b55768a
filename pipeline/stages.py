"""A stage: one command of a script, and the file that says that it is done."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from errors import InputError
from options import SCRIPTS, Namespace

# The repository: where the scripts are, and where they run.
ROOT = Path(__file__).resolve().parents[1]
# Stands for the configuration that the search chose, until it has.
WINNER = "$CONFIG"


@dataclass(frozen=True)
class Stage:
    """One command, and the file that says that it is done.

    Args:
        name:   what it is called
        script: a script of the repository, or a module
        flags:  of the script; a value True is a switch, a list has several values
        result: written last by the command
        values: positional arguments
        writes: False: it only checks, and ``result`` is written by the stage after it
    """

    name: str
    script: str
    flags: Mapping[str, object]
    result: Path
    values: Sequence[str] = ()
    writes: bool = True

    @property
    def done(self) -> bool:
        return self.result.is_file()

    @property
    def needs_winner(self) -> bool:
        return WINNER in self.flags.values()

    @property
    def is_training(self) -> bool:
        return "log_dir" in self.flags

    def with_winner(self, config: str) -> Stage:
        flags = {k: config if v == WINNER else v for k, v in self.flags.items()}
        return replace(self, flags=flags)

    @property
    def arguments(self) -> list[str]:
        """Of Python: the script and its flags."""
        words = [self.script] if self.script.endswith(".py") else ["-m", self.script]
        words += self.values
        for name, value in self.flags.items():
            if value is False or value is None or value == []:
                continue
            words.append(f"--{name}")
            if value is not True:
                words += map(_text, value if isinstance(value, list) else [value])
        return words

    @property
    def shown(self) -> str:
        """The command as it can be pasted into a shell."""
        words = [f'"{w}"' if w == WINNER else shlex.quote(w) for w in self.arguments]
        return " ".join(["python", *words])

    def parse(self) -> Namespace:
        """Its flags as its script reads them.

        Raises:
            InputError: the script would refuse them.
        """
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                return SCRIPTS[self.script].parse(self.arguments[1:])
        except SystemExit:
            message = said.getvalue().strip().removesuffix(" (--help lists all flags)")
            raise InputError(
                f"stage {self.name}: {message}; nothing was started. These flags come from the "
                "tables of `preset`"
            ) from None


def _text(value: object) -> str:
    """A number as people write it: 300 and 0.0003, not 300.0."""
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)
