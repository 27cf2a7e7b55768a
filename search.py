"""Brute-force search: every subnet within a MACs budget is evaluated. ``--help`` lists the flags.

``--select`` chooses among the results of earlier searches instead.
"""

import sys
from pathlib import Path

from options import SearchOptions, SelectOptions, run
from options import assemble as a
from runtime.folders import make_folder, make_parent
from subnets.search import exhaust


def main() -> None:
    if any(arg.split("=")[0] == "--select" for arg in sys.argv):
        a.select_subnet(SelectOptions.parse())
        return
    opt = SearchOptions.parse()
    path = Path(opt.output_path)
    # Summary and page lie in a folder of that name without its suffix: `settings.json` tells it
    # from a folder that was given by mistake.
    foreign = path.is_dir() and not (path / "settings.json").exists()
    if path.suffix in ("", ".pkl") and not foreign:
        path = path.with_suffix(".jsonl")
        print(f"--output_path: results are JSON lines, written to {path}")
    make_parent(path, "--output_path")
    folder = make_folder(path.parent / path.stem, "--output_path")
    measurer, _, finish = a.measurer_of(opt, folder, path)
    exhaust(measurer, opt.budget, opt.num_splits, opt.split)
    finish()


if __name__ == "__main__":
    run(main)
