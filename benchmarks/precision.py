"""What bfloat16 does to the FID of subnets: values and ranks against float32 on a trained supernet,
and the time of both."""

from common import arguments, machine, report

import numpy as np
import torch
from scipy.stats import spearmanr

from data.datasets import AlignedDataset, Source
from data.loader import Loader
from data.transforms import Crops, Resize
from metrics.criteria import FeatureCriterion
from metrics.inception import load_inception
from evaluation.evaluator import Evaluator
from evaluation.real import measure_real
from subnets.space import SearchSpace
from models.weights import load_supernet


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--restore_G_path", required=True, help="trained supernet")
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--direction", default="BtoA")
    parser.add_argument("--phase", default="train")
    parser.add_argument("--meta_path")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--config_set", default="channels-32")
    parser.add_argument("--subnets", type=int, default=12)
    parser.add_argument("--fid_features", default="inception")
    parser.add_argument("--fid_dims", type=int, default=768)
    parser.add_argument("--fid_weights")
    opt = parser.parse_args()
    device = torch.device(opt.device)
    net, _ = load_supernet(opt.restore_G_path, "--restore_G_path")
    net.to(device).eval()
    resize = Resize("resize_and_crop", opt.size, opt.size)
    dataset = AlignedDataset(
        Source(opt.dataroot, opt.phase, opt.meta_path, opt.images), opt.direction, resize
    )
    features = load_inception(opt.fid_dims, opt.fid_weights, opt.fid_features, device)
    criterion = FeatureCriterion(features, measure_real(dataset, features, device), device)
    loader = Loader(dataset, 10, device, Crops(resize.crop, False, False))
    space = SearchSpace(opt.config_set)
    numbers = np.random.default_rng(0).choice(space.size, opt.subnets, replace=False)
    measured: dict[bool, list[dict]] = {False: [], True: []}
    for number in numbers:
        config = space.config(int(number))
        for bf16, results in measured.items():
            results.append(
                Evaluator(loader, [criterion], bf16)(lambda x, config=config: net(x, config))
            )
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
    facts = machine(opt.device) | {"measure": f"{criterion.label}, n={len(dataset)}, {opt.size} px"}
    report("bfloat16 against float32 in evaluations", [row], facts, opt.json)


if __name__ == "__main__":
    main()
