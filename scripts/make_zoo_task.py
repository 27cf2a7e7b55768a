"""Put tested networks into the zoo: the last step of scripts/zoo.sh.

python scripts/make_zoo_task.py map2aerial --results logs/zoo/map2aerial/test/results.json \\
    --title "Street map to aerial photo" --mode map --kind map --direction BtoA
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy.web.drawings import PALETTES_OF
from errors import InputError
from models.zoo import ROOT, write_task
from options import run
from prepare.builtin import KINDS

# Figures are kept to this many significant digits.
DIGITS = 4


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", help="name of its folder")
    parser.add_argument(
        "--results",
        type=Path,
        required=True,
        metavar="FILE",
        help="results.json of test.py, of all networks of the task, the teacher last",
    )
    parser.add_argument("--title", required=True, help="what the networks do, in words")
    parser.add_argument("--mode", required=True, choices=list(PALETTES_OF), help="how to draw")
    parser.add_argument("--kind", required=True, choices=list(KINDS), help="the built-in dataset")
    parser.add_argument("--direction", required=True, choices=("AtoB", "BtoA"))
    parser.add_argument(
        "--zoo", type=Path, default=ROOT, metavar="DIR", help="where the folders are (%(default)s)"
    )
    return parser.parse_args()


def _tested(path: Path) -> list[dict]:
    """The models of a results.json, as `report.results` writes them."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--results {path}: not the results.json of a test of several networks "
            f"({type(error).__name__}); write it with test.py --compare"
        ) from None


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")


def main() -> None:
    opt = _parse()
    models = _tested(opt.results)
    figures = [
        {
            "macs": model["macs"],
            "params": model["params"],
            **{name: _rounded(value) for name, value in model["metrics"].items()},
        }
        for model in models
    ]
    facts = {
        "title": opt.title,
        "mode": opt.mode,
        "kind": opt.kind,
        "direction": opt.direction,
        "size": models[0]["height"],
    }
    paths = [Path(model["checkpoint"]) for model in models]
    task = write_task(opt.zoo / opt.task, facts, list(zip(paths, figures, strict=True)))
    for network in task.networks:
        print(f"{network.path}: {network.path.stat().st_size / 1e6:.2f} MB, {network.figures}")


if __name__ == "__main__":
    run(main)
