"""Measure how the options of supernet training change its subnets.

The measure is the FID of the largest, the smallest and random subnets, after equally many steps and
for several seeds. The product's own scripts train a teacher first, then the supernets. Each
supernet gives two lines: the student as the optimizer left it, and its average (``--ema``). Results
are kept in ``--output``, and a second run measures only what is missing.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from common import ROOT, add_features, arguments, data_of, evaluator_of, machine, report
from runtime.progress import Bar

import numpy as np
import torch

from options.flags import config_set
from subnets.space import SearchSpace
from models.weights import load_supernet
from runtime.files import write_json

VARIANTS = {
    "one random": [],
    "sandwich 1": ["--sandwich", "1"],
    "per image": ["--config_per_image"],
}


def script(name: str, opt, *flags: str) -> None:
    """Run a training script of the product. It returns at once if its run is already finished."""
    data = [
        "--dataroot",
        opt.dataroot,
        "--direction",
        opt.direction,
        "--batch_size",
        "4",
        "--ndf",
        "32",
    ]
    data += ["--load_size", str(opt.size + 8), "--crop_size", str(opt.size), "--gpu_ids", opt.gpu]
    data += [
        "--lr",
        "4e-4",
        "--lr_policy",
        "cosine",
        "--nepochs",
        "1000",
        "--nepochs_decay",
        "0",
        "--no_fid",
    ]
    data += [
        "--save_epoch_freq",
        "100000",
        "--save_latest_freq",
        "100000",
        "--niters",
        str(opt.steps),
    ]
    subprocess.run(
        [sys.executable, ROOT / name, *data, *flags], check=True, stdout=subprocess.DEVNULL
    )


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds; for one seed the value alone."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--direction", default="BtoA")
    parser.add_argument(
        "--output", required=True, type=Path, help="folder for the trainings and results"
    )
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subnets", type=int, default=20)
    parser.add_argument(
        "--images", type=int, default=40, help="images of phase val to measure subnets on"
    )
    parser.add_argument("--config_set", type=config_set, default="channels-32")
    parser.add_argument("--student_ngf", default="32")
    parser.add_argument("--lambda_distill", default="0.5")
    add_features(parser, "random", 192)
    opt = parser.parse_args()
    device = torch.device(opt.device)
    opt.gpu = "0" if device.type == "cuda" else "-1"

    evaluate = evaluator_of(opt, data_of(opt), device)
    space = SearchSpace(opt.config_set)
    numbers = np.random.default_rng(0).choice(space.size, opt.subnets, replace=False)
    configs = [space.largest, space.smallest, *(space.config(int(n)) for n in numbers)]

    teacher = opt.output / "teacher"
    script("train.py", opt, "--netG", "resnet_9blocks", "--ngf", "32", "--log_dir", str(teacher))
    student = ["--restore_teacher_G_path", str(teacher / "checkpoints" / "latest_net_G.pth")]
    student += ["--student_ngf", opt.student_ngf, "--config_set", opt.config_set, "--ema", "0.99"]
    student += ["--lambda_distill", opt.lambda_distill]

    measured: dict[str, list[list[float]]] = {}
    for seed in range(opt.seeds):
        for variant, flags in VARIANTS.items():
            folder = opt.output / f"{variant.replace(' ', '_')}_{seed}"
            script(
                "train_supernet.py",
                opt,
                *student,
                *flags,
                "--seed",
                str(seed),
                "--log_dir",
                str(folder),
            )
            for name, note in (("G_raw", ""), ("G", ", averaged")):
                path = folder / f"fid_{name}.json"
                if not path.exists():
                    net, _ = load_supernet(
                        folder / "checkpoints" / f"latest_net_{name}.pth", "checkpoint"
                    )
                    net.to(device).eval()
                    fids = [
                        evaluate(lambda x, c=c, net=net: net(x, c))["fid"]
                        for c in Bar(configs, desc=f"{variant}{note}, seed {seed}", unit="subnet")
                    ]
                    write_json(path, fids)
                measured.setdefault(variant + note, []).append(json.loads(path.read_text()))

    rows = []
    for variant, runs in measured.items():
        columns = {
            "largest": [r[0] for r in runs],
            "smallest": [r[1] for r in runs],
            "random, mean": [statistics.mean(r[2:]) for r in runs],
            "random, best": [min(r[2:]) for r in runs],
        }
        cells = {name: spread(values) for name, values in columns.items()}
        rows.append({"training": variant} | cells)
    facts = machine(opt.device) | {
        "measure": f"{evaluate.labels['fid']}, n={opt.images}, {opt.size} px",
        "steps": opt.steps,
        "seeds": opt.seeds,
        "spread": "standard deviation over seeds",
    }
    report(f"Supernet training: FID of {opt.subnets + 2} subnets", rows, facts, opt.json)


if __name__ == "__main__":
    main()
