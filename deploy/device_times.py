"""Times a folder of networks on the device that will run them.

    python time_parts.py [--threads N] [--passes N] [--output times.json]

This file is copied into the folder that ``latency.py --make_table --parts_dir`` writes. There it
needs Python, numpy and onnxruntime, and nothing else. ``latency.py --make_table
--times_path times.json`` makes the table of what it finds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

MANIFEST, TIMES = "parts.json", "times.json"


def measure(
    names: Sequence[str],
    build: Callable[[str], Callable[[], object]],
    anchor: str,
    passes: int = 3,
    rounds: int = 5,
    chunk: int = 40,
    milliseconds: float = 8.0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[Sequence[str]], Iterator[str] | Sequence[str]] = iter,
) -> dict[str, float]:
    """How long each of many networks takes, with little memory and against drift.

    A pass goes through all networks in a random order, some at a time. Those are built and take
    turns, together with one that is in every such group. By that one's time all times of a group
    are corrected: a machine that becomes slower does not make the later networks look larger.

    Args:
        names:        of the networks
        build:        name -> a function that runs it once, and waits for it
        anchor:       the name of the network that is in every group
        passes:       through all networks
        rounds:       turns of every network in a group
        chunk:        networks in a group
        milliseconds: a turn repeats its call until so much has passed, 20 times at most
        clock:        seconds
        progress:     goes around the names of a pass, for a bar

    Returns:
        name -> milliseconds: the median over passes of medians over turns
    """
    draws = random.Random(0)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}

    def timed(run: Callable[[], object], calls: int) -> float:
        taken = []
        for _ in range(calls):
            start = clock()
            run()
            taken.append(1e3 * (clock() - start))
        return statistics.median(taken)

    order = [name for _ in range(passes) for name in draws.sample(list(names), len(names))]
    groups: list[list[str]] = []
    for first in range(0, len(order), len(names)):
        of_pass = order[first : first + len(names)]
        groups += [of_pass[at : at + chunk] for at in range(0, len(of_pass), chunk)]
    ticks = iter(progress(order))
    for group in groups:
        runs = {name: build(name) for name in dict.fromkeys([anchor, *group])}
        calls = {}
        for name, run in runs.items():
            run()
            once = timed(run, 1)
            calls[name] = max(1, min(20, round(milliseconds / max(once, 1e-6))))
        turns: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name in draws.sample(list(runs), len(runs)):
                turns[name].append(timed(runs[name], calls[name]))
        base = statistics.median(turns[anchor])
        for name in group:
            found[name].append((statistics.median(turns[name]), base))
            next(ticks, None)
    next(ticks, None)  # the bar ends
    usual = statistics.median(base for pairs in found.values() for _, base in pairs)
    return {
        name: statistics.median(ms * usual / base for ms, base in pairs)
        for name, pairs in found.items()
    }


def processor() -> str:
    """The name of the CPU, as far as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), "") or platform.processor() or platform.machine()


# --------------------------------------------------------------------------------------------------
# On the device


def _main() -> None:
    import numpy
    import onnxruntime

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=0, help="of a network; 0 = as many as cores")
    parser.add_argument(
        "--passes", type=int, default=3, help="through all networks: 1 = quick, 3 = steady (3)"
    )
    parser.add_argument("--output", type=Path, default=Path(TIMES))
    opt = parser.parse_args()
    if opt.passes < 1:
        parser.error(f"--passes {opt.passes}: give 1 or more")
    folder = Path(__file__).resolve().parent
    manifest = json.loads((folder / MANIFEST).read_text())
    files = {item["name"]: item for item in manifest["items"]}
    threads = opt.threads or os.cpu_count() or 1

    def build(name: str) -> Callable[[], object]:
        item = files[name]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(folder / item["file"]), options, providers=["CPUExecutionProvider"]
        )
        draws, names = numpy.random.default_rng(0), [each.name for each in session.get_inputs()]
        given = {
            name: draws.uniform(-1, 1, shape).astype(numpy.float32)
            for name, shape in zip(names, item["shapes"], strict=True)
        }
        return lambda: session.run(None, given)

    def progress(order: Sequence[str]) -> Iterator[str]:
        start = time.monotonic()
        for number, name in enumerate(order, 1):
            yield name
            rate = number / max(1e-9, time.monotonic() - start)
            print(f"\r{number}/{len(order)}, {rate:.1f} networks/s", end="", flush=True)
        print()

    times = measure(list(files), build, manifest["anchor"], opt.passes, progress=progress)
    facts = {
        "plan": manifest["plan"],
        "backend": "onnxruntime",
        "device": processor(),
        "threads": threads,
        "versions": {"onnxruntime": onnxruntime.__version__},
    }
    unfinished = opt.output.with_name(f"{opt.output.name}.part")
    unfinished.write_text(json.dumps(facts | {"ms": times}, indent=1) + "\n")
    os.replace(unfinished, opt.output)
    print(f"{opt.output}: give it to latency.py --make_table --times_path")


if __name__ == "__main__":
    _main()
