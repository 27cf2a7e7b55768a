"""Brute-force search: every subnet within a MACs budget is evaluated.

``--select`` chooses from earlier results. ``--help`` lists the flags.
"""

import sys
from pathlib import Path

from evolution_search import open_search
from options import SearchOptions, SelectOptions, run
from runtime.folders import make_folder, make_parent
from subnets.build import select_subnet
from subnets.results import read_evaluations
from subnets.search import exhaust


def select() -> None:
    opt = SelectOptions.parse()
    best, of = select_subnet(opt.results, opt.select, opt.criterion)
    print(
        f"{best.config_str}  {opt.criterion} {best.metrics[opt.criterion]:.3f} (n={best.n})  "
        f"{best.macs:,} MACs  {best.params:,} parameters  (best of {of} within the budget)"
    )


def main() -> None:
    if any(arg.split("=")[0] == "--select" for arg in sys.argv):
        select()
        return
    opt = SearchOptions.parse()
    path = make_parent(opt.output_path, "`output_path`")
    if path.suffix == ".pkl":
        path = path.with_suffix(".jsonl")
        print(f"--output_path: results are JSON lines, written to {path}")
    folder = make_folder(path.parent / path.stem, "`output_path`")
    measurer, finish = open_search(opt, folder, path, "`output_path`")
    if opt.restore_pkl_path:
        for record in read_evaluations(Path(opt.restore_pkl_path), "`restore_pkl_path`"):
            measurer.results.adopt(record)
    exhaust(measurer, opt.budget, opt.num_splits, opt.split)
    finish()


if __name__ == "__main__":
    run(main)
