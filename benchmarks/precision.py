"""Measure how bfloat16 changes the FID, the ranks and the time of subnets against float32.

The subnets are those of a trained supernet.
"""

from common import add_features, add_images, arguments, data_of, evaluator_of, machine, report

import numpy as np
import torch
from scipy.stats import spearmanr

from subnets.space import SearchSpace
from options.flags import config_set
from models.weights import load_supernet


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--restore_G_path", required=True, help="trained supernet")
    add_images(parser, phase="train", images=60, size=96)
    parser.add_argument("--config_set", type=config_set, default="channels-32")
    parser.add_argument("--subnets", type=int, default=12)
    add_features(parser, "inception", 768)
    opt = parser.parse_args()
    device = torch.device(opt.device)
    net, _ = load_supernet(opt.restore_G_path, "--restore_G_path")
    net.to(device).eval()
    evaluators = {bf16: evaluator_of(opt, data_of(opt), device, bf16) for bf16 in (False, True)}
    space = SearchSpace(opt.config_set)
    numbers = np.random.default_rng(0).choice(space.size, opt.subnets, replace=False)
    measured: dict[bool, list[dict]] = {False: [], True: []}
    for number in numbers:
        config = space.config(int(number))
        for bf16, results in measured.items():
            results.append(evaluators[bf16](lambda x, config=config: net(x, config)))
    single, half = (np.array([m["fid"] for m in results]) for results in measured.values())
    seconds = [float(np.median([m["seconds"] for m in results])) for results in measured.values()]
    row = {
        "subnets": opt.subnets,
        "mean change of FID": f"{np.mean(half / single - 1):+.2%}",
        "largest change": f"{np.abs(half / single - 1).max():.2%}",
        "rank correlation": float(spearmanr(single, half).statistic),
        "float32 [s]": seconds[0],
        "bf16 [s]": seconds[1],
        "ratio": seconds[0] / seconds[1],
    }
    facts = machine(opt.device) | {
        "measure": f"{evaluators[False].labels['fid']}, n={measured[False][0]['n']}, {opt.size} px"
    }
    report("bfloat16 against float32 in evaluations", [row], facts, opt.json)


if __name__ == "__main__":
    main()
