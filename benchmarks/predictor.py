"""Compare the learned predictor with the plain genetic search on a trained supernet.

The report shows the best FID of each search and how many evaluations it took. Measurements are
cached across runs, which saves hours and changes no result. A cached measurement still counts as an
evaluation.
"""

import hashlib
import statistics
from pathlib import Path

import torch
from common import add_features, add_images, arguments, data_of, evaluator_of, machine, report

from models.weights import load_supernet
from options.flags import config_set
from subnets.conditions import conditions, images_digest
from subnets.genetic import GeneticSearch, GeneticSettings
from subnets.objectives import ByScore
from subnets.predictor import PredictedSearch
from subnets.results import Results
from subnets.search import Measurer, evolve
from subnets.space import SearchSpace


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--restore_G_path", required=True, help="trained supernet")
    add_images(parser, phase="train", images=60, size=96)
    parser.add_argument("--config_set", type=config_set, default="channels-32")
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--population_size", type=int, default=40)
    parser.add_argument("--evolution_iters", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=5)
    add_features(parser, "inception", 768)
    parser.add_argument(
        "--share", type=float, default=0.2, help="share of the population to measure"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        required=True,
        help="JSONL file of all measurements, kept between calls",
    )
    opt = parser.parse_args()

    device = torch.device(opt.device)
    net, _ = load_supernet(opt.restore_G_path, "--restore_G_path")
    net.to(device).eval()
    evaluator = evaluator_of(opt, data_of(opt), device)
    dataset = evaluator.loader.dataset
    space = SearchSpace(opt.config_set, height=opt.size, width=opt.size)

    def measure(config):
        return evaluator(lambda x: net(x, config))

    # A cache of another supernet, other images or another measure is refused.
    digest = hashlib.sha256(Path(opt.restore_G_path).read_bytes()).hexdigest()[:12]
    values = vars(opt) | {"restore_G_path": f"{Path(opt.restore_G_path).name} [{digest}]"}
    values |= {"crop_size": opt.size, "macs_convention": space.convention}
    measurer = Measurer(
        space,
        measure,
        Results(opt.cache),
        "fid",
        True,
        measured_with=conditions(values, images_digest(dataset)),
        images=len(dataset),
    )
    rows = []
    for seed in range(opt.seeds):
        settings = GeneticSettings(opt.population_size, seed=seed)
        row = {"seed": seed}
        for name in ("plain", "predictor"):
            fits: list[dict] = []
            rank = ByScore(measurer.score)
            if name == "plain":
                search = GeneticSearch(space, opt.budget, settings, rank)
            else:
                search = PredictedSearch(
                    space, opt.budget, settings, rank, measurer.score, opt.share, fits.append
                )
            evolve(search, measurer, opt.evolution_iters)
            row[f"{name}: FID"] = min(measurer.score(c) for c in search.known)
            row[f"{name}: evaluations"] = len(search.known)
        row["difference"] = f"{row['predictor: FID'] / row['plain: FID'] - 1:+.2%}"
        row["evaluations ratio"] = row["predictor: evaluations"] / row["plain: evaluations"]
        row["last rank correlation, unseen"] = fits[-1].get("spearman_unseen")
        rows.append(row)
    median = statistics.median(r["predictor: FID"] / r["plain: FID"] - 1 for r in rows)
    share = statistics.median(r["evaluations ratio"] for r in rows)
    facts = machine(opt.device) | {
        "measure": f"{evaluator.labels['fid']}, n={len(dataset)}, {opt.size} px",
        "budget": opt.budget,
    }
    facts |= {"median difference": f"{median:+.2%}", "median share of evaluations": f"{share:.1%}"}
    report("Learned predictor against the plain search", rows, facts, opt.json)


if __name__ == "__main__":
    main()
