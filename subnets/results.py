"""Evaluated configurations on disk: a line each in ``evaluations.jsonl``, and a summary a person can read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from errors import InputError
from runtime.files import JsonLines, read_json_lines, write_json, write_text

# --------------------------------------------------------------------------------------------------
# One evaluation


@dataclass(frozen=True)
class Evaluated:
    """A configuration whose quality was measured."""

    config_str: str
    macs: int
    params: int
    metrics: dict  # fid, kid, mIoU ... as the evaluator gives them
    n: int  # images measured on
    seconds: float
    generation: int = 0
    origin: str = "random"  # random | mutation | crossover | exhaustive
    parents: list[str] = field(default_factory=list)


# --------------------------------------------------------------------------------------------------
# All of them


class Results:
    """What has been evaluated, in order, each written to ``path`` as it ends and read back by a later run.

    Args:
        path:       the JSONL file; existing lines are read
        write:      False: another process writes the file, this one only remembers
        capacity:   at most so many are remembered (``max_cache_size``), and those of `keep`; the oldest is forgotten first
    """

    def __init__(self, path: Path, capacity: int = 10_000_000, write: bool = True):
        self.path, self.capacity = path, capacity
        self._known: dict[str, Evaluated] = {}
        self._kept: set[str] = set()
        if path.exists():
            whole = path.read_bytes()
            # A line cut off by a crash is taken off the file, so that the next one starts on its own.
            if write and whole and not whole.endswith(b"\n"):
                with open(path, "r+b") as file:
                    file.truncate(whole.rfind(b"\n") + 1)
            for record in read_evaluations(path):
                self._known[record.config_str] = record
        self._log = JsonLines(path) if write else None
        self._forget()

    def __contains__(self, config_str: str) -> bool:
        return config_str in self._known

    def __getitem__(self, config_str: str) -> Evaluated:
        return self._known[config_str]

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self):
        return iter(self._known.values())

    def adopt(self, record: Evaluated) -> None:
        """Remember an evaluation made by an earlier run elsewhere, without writing it."""
        self._known.setdefault(record.config_str, record)

    def add(self, record: Evaluated) -> None:
        if self._log:
            self._log.write(asdict(record))
        self._known[record.config_str] = record
        self._forget()

    def keep(self, config_strs: Iterable[str]) -> None:
        """These are needed: they are forgotten last, however small the capacity."""
        self._kept = set(config_strs)

    def _forget(self) -> None:
        surplus = len(self._known) - self.capacity
        if surplus > 0:
            oldest = (name for name in self._known if name not in self._kept)
            for name in list(itertools.islice(oldest, surplus)):
                del self._known[name]


def read_evaluations(path: Path, flag: str = "") -> list[Evaluated]:
    """Evaluations of a file. InputError when it is missing or holds something else."""
    if not path.is_file():
        raise InputError(f"{flag} {path}: no such file of evaluations".strip())
    if path.suffix == ".pkl":
        raise InputError(
            f"{flag} {path}: pickles are not read (they can run code); give an evaluations.jsonl"
        )
    try:
        return [Evaluated(**record) for record in read_json_lines(path)]
    except (TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{flag} {path}: not a file of evaluations ({error})".strip()) from None


def write_summary(
    folder: Path,
    ranked: list[Evaluated],
    front: list[Evaluated],
    facts: dict,
    criterion: str,
    label: str,
) -> None:
    """``summary.json`` (facts, the best ten, the front) and ``summary.txt`` (the same as tables)."""
    top = ranked[:10]
    values = {
        "criterion": criterion,
        "measure": label,
        "best": [asdict(r) for r in top],
        "front": [asdict(r) for r in front],
    }
    write_json(folder / "summary.json", facts | values)
    head = f"{'config':26} {criterion:>9} {'MACs':>9} {'params':>9} {'n':>6}"

    def rows(records: list[Evaluated]) -> list[str]:
        return [
            f"{r.config_str:26} {r.metrics[criterion]:9.3f} {r.macs / 1e9:8.3f}G {r.params / 1e6:8.3f}M {r.n:6d}"
            for r in records
        ]

    lines = [*(f"{key}: {value}" for key, value in facts.items()), f"measure: {label}", ""]
    lines += [
        "the best:",
        head,
        *rows(top),
        "",
        "the best of every budget:",
        head,
        *rows(front),
        "",
    ]
    write_text(folder / "summary.txt", "\n".join(lines))
