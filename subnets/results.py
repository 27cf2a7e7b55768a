"""Evaluated configurations on disk: a line each in ``evaluations.jsonl``, and a summary to read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from errors import InputError
from runtime.files import JsonLines, read_json_lines, write_json, write_text
from subnets.conditions import finite
from subnets.space import Milliseconds

# --------------------------------------------------------------------------------------------------
# One evaluation


@dataclass(frozen=True)
class Evaluated:
    """A configuration whose quality was measured."""

    config_str: str
    macs: int
    params: int
    # fid, kid, mIoU ... as the evaluator gives them; None for a value that was not finite.
    metrics: dict
    # How many images it was measured on.
    n: int
    seconds: float
    generation: int = 0
    # random | mutation | crossover | restored | exhaustive
    origin: str = "random"
    parents: list[str] = field(default_factory=list)
    # See `subnets.conditions`; empty in files of earlier versions.
    measured_with: dict = field(default_factory=dict)
    # Predicted milliseconds, and the digest of the table that says so; None where there is none.
    ms: float | None = None
    latency_table: str | None = None

    def price(self, budget: float) -> float:
        """What it costs in the unit of a budget: MACs, or `subnets.space.Milliseconds`.

        Raises:
            InputError: its time is not known.
        """
        if not isinstance(budget, Milliseconds):
            return self.macs
        if self.ms is None:
            raise InputError(
                f"the time of {self.config_str} is not known: give `latency_table`, or a budget in "
                "MACs"
            )
        return self.ms

    def to_dict(self) -> dict:
        """As JSON values. What is not known is left out."""
        return {k: v for k, v in asdict(self).items() if k not in _OF_TIME or v is not None}

    @property
    def conditions(self) -> dict:
        """All that must agree before values are compared."""
        return {**self.measured_with, "n": self.n}

    def value(self, criterion: str) -> float | None:
        """One of the metrics; None where it was not measured or was not finite."""
        return finite(self.metrics.get(criterion))


# --------------------------------------------------------------------------------------------------
# All of them


class Results:
    """What has been evaluated, in order. Each is written to ``path`` at once; a later run reads it.

    Nothing on disk changes before the first `add`.

    Args:
        path:     the JSON lines file; existing lines are read
        write:    False: another process writes the file, this one only remembers
        capacity: maximum evaluations remembered (``max_cache_size``), not counting those of
                  `keep`; the oldest is forgotten first
    """

    def __init__(self, path: Path, capacity: int = 10_000_000, write: bool = True):
        self.path, self.capacity, self._write = path, capacity, write
        self._log: JsonLines | None = None
        self._kept: set[str] = set()
        records = read_evaluations(path) if path.exists() else []
        self._known = {record.config_str: record for record in records}
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
        """Remember an evaluation that an earlier run made elsewhere, without writing it."""
        self._known.setdefault(record.config_str, record)

    def add(self, record: Evaluated) -> None:
        if self._write:
            if self._log is None:
                _repair_end(self.path)
                self._log = JsonLines(self.path)
            self._log.write(record.to_dict())
        self._known[record.config_str] = record
        self._forget()

    def keep(self, config_strs: Iterable[str]) -> None:
        """Never forget these, however small the capacity."""
        self._kept = set(config_strs)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _forget(self) -> None:
        surplus = len(self._known) - self.capacity
        if surplus > 0:
            oldest = (name for name in self._known if name not in self._kept)
            for name in list(itertools.islice(oldest, surplus)):
                del self._known[name]


def _repair_end(path: Path) -> None:
    """Make the next line start on its own: remove a last line that a crash cut off."""
    whole = path.read_bytes() if path.exists() else b""
    end = whole.rpartition(b"\n")[2]
    if not end:
        return
    with open(path, "r+b") as file:
        if _is_json(end):
            file.seek(len(whole))
            file.write(b"\n")
        else:
            file.truncate(len(whole) - len(end))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


# --------------------------------------------------------------------------------------------------
# Reading


# What a record may be without.
_OF_TIME = ("ms", "latency_table")

# How every line written here starts: tells a line cut off by a crash from another file's content.
_START = b'{"config_str": "'


def read_evaluations(path: Path, flag: str = "") -> list[Evaluated]:
    """Evaluations of a file; a last line that a crash cut off is left out.

    Raises:
        InputError: the file is missing, or holds something else, or a damaged evaluation.
    """
    name = f"{flag} {path}".strip()
    if path.suffix == ".pkl":
        raise InputError(
            f"{name}: pickles are not read (they can run code); give an evaluations.jsonl"
        )
    if not path.is_file():
        raise InputError(f"{name}: no such file of evaluations")
    end = path.read_bytes().rpartition(b"\n")[2]
    if not (_is_json(end) or end[: len(_START)] == _START[: len(end)]):
        raise InputError(f"{name}: not a file of evaluations")
    try:
        records = read_json_lines(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not a file of evaluations ({error})") from None
    # Many lines, few conditions: equal ones are one object in memory.
    shared: dict[str, dict] = {}
    return [
        _evaluated(values, f"{name}: evaluation {number}", shared)
        for number, values in enumerate(records, 1)
    ]


_WHOLE_NUMBERS = ("macs", "params", "n", "generation")
_TYPES = {
    "config_str": str,
    "seconds": (int, float),
    "metrics": dict,
    "origin": str,
    "parents": list,
    "measured_with": dict,
} | dict.fromkeys(_WHOLE_NUMBERS, int)


def _evaluated(values: object, name: str, shared: dict[str, dict]) -> Evaluated:
    """An evaluation from its line. InputError calling it ``name`` when it is none."""
    try:
        record = Evaluated(**values)
    except TypeError as error:
        raise InputError(f"{name}: not a file of evaluations ({error})") from None
    damaged = [
        key
        for key, kind in _TYPES.items()
        if not isinstance(getattr(record, key), kind) or isinstance(getattr(record, key), bool)
    ]
    damaged += [key for key in _WHOLE_NUMBERS if key not in damaged and getattr(record, key) < 0]
    if record.ms is not None and not (isinstance(record.ms, (int, float)) and record.ms > 0):
        damaged.append("ms")
    if "metrics" not in damaged:
        damaged += [k for k, v in record.metrics.items() if isinstance(v, (str, bool))]
        # NaN and infinity, which earlier versions wrote, become None.
        numbers = {k: finite(v) for k, v in record.metrics.items() if isinstance(v, (int, float))}
        record.metrics.update(numbers)
    if damaged:
        raise InputError(
            f"{name} ({record.config_str}) is damaged: {', '.join(damaged)}; remove that line"
        )
    key = json.dumps(record.measured_with, sort_keys=True)
    return replace(record, measured_with=shared.setdefault(key, record.measured_with))


# --------------------------------------------------------------------------------------------------
# Summary


def write_summary(
    folder: Path,
    ranked: list[Evaluated],
    front: list[Evaluated],
    facts: dict,
    criterion: str,
    label: str,
) -> None:
    """``summary.json`` (facts, the best ten, the front) and ``summary.txt`` (the same as tables).

    Args:
        ranked, front: each with a value of ``criterion``, see `subnets.search`
        facts:         further entries, name -> plain value
        label:         what the criterion is, in words
    """
    top = ranked[:10]
    values = {
        "criterion": criterion,
        "measure": label,
        "best": [r.to_dict() for r in top],
        "front": [r.to_dict() for r in front],
    }
    write_json(folder / "summary.json", facts | values)
    timed = all(r.ms is not None for r in ranked)
    head = f"{'config':26} {criterion:>9} {'MACs':>9} {'params':>9} {'n':>6}"
    head += f" {'ms':>8}" if timed else ""

    def rows(records: list[Evaluated]) -> list[str]:
        return [
            f"{r.config_str:26} {r.value(criterion):9.3f} {r.macs / 1e9:8.3f}G "
            f"{r.params / 1e6:8.3f}M {r.n:6d}" + (f" {r.ms:8.3f}" if timed else "")
            for r in records
        ]

    lines = [*(f"{key}: {value}" for key, value in facts.items()), f"measure: {label}", ""]
    lines += ["the best:", head, *rows(top), ""]
    lines += ["the best of every budget:", head, *rows(front), ""]
    write_text(folder / "summary.txt", "\n".join(lines))
