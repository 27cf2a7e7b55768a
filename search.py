"""Brute-force search: evaluate every subnet within a MACs budget.

``--select`` chooses a subnet from earlier results instead. ``--help`` lists the flags.
"""

import sys
from pathlib import Path

from evolution_search import open_search
from options import SearchOptions, SelectOptions, run
from runtime.folders import make_folder, make_parent
from subnets.build import select_subnet
from subnets.search import exhaust


def select() -> None:
    opt = SelectOptions.parse()
    best, of = select_subnet(opt.results, opt.select, opt.criterion, opt.latency_table)
    time = "" if best.ms is None else f"  {best.ms:.2f} ms predicted"
    print(
        f"{best.config_str}  {opt.criterion} {best.value(opt.criterion):.3f} (n={best.n})  "
        f"{best.macs:,} MACs  {best.params:,} parameters{time}  (best of {of} within the budget)"
    )


def main() -> None:
    if any(arg.split("=")[0] == "--select" for arg in sys.argv):
        select()
        return
    opt = SearchOptions.parse()
    path = Path(opt.output_path)
    # The summary and the page go to a folder with the file's name without its suffix. That folder
    # holds a `settings.json`; any other folder was given by mistake.
    foreign = path.is_dir() and not (path / "settings.json").exists()
    if path.suffix in ("", ".pkl") and not foreign:
        path = path.with_suffix(".jsonl")
        print(f"--output_path: results are JSON lines, written to {path}")
    make_parent(path, "`output_path`")
    folder = make_folder(path.parent / path.stem, "`output_path`")
    measurer, _, finish = open_search(opt, folder, path, "`output_path`")
    exhaust(measurer, opt.budget, opt.num_splits, opt.split)
    finish()


if __name__ == "__main__":
    run(main)
