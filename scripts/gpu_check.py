"""Golden parity, speed benchmarks and a short pipeline on one GPU; all figures in one JSON.

The last lines name what missed its target. ``--device cpu`` runs the same at a small size, to try
the script itself. See gpu_check.sh.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import torch
from golden_updates import CASES, batch_at, expected_losses, filled_task
from golden_values import VALUES, fill, golden_array, golden_input

from errors import InputError
from models.generators import GeneratorSpec
from options import run
from runtime.cuda_graphs import CudaGraphs
from runtime.files import write_json
from runtime.folders import make_folder
from runtime.machine import device_name

# The reference's own rounding reaches 3e-4 at its outputs (tests/models/test_generators.py).
PARITY = 1e-3
# A script that takes longer hangs; slow hosts take a few minutes for the slowest.
TIMEOUT = 600

# --------------------------------------------------------------------------------------------------
# Where this runs


def machine(device: torch.device) -> dict:
    """Card, driver, PyTorch and Python."""
    found = {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "capability": f"{card.major}.{card.minor}",
            "memory_gb": round(card.total_memory / 1e9, 1),
            "driver": driver_version(),
        }
    return found


def driver_version() -> str | None:
    """As nvidia-smi names it; None where there is no such program (AMD)."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.split("\n")[0].strip() or None


# --------------------------------------------------------------------------------------------------
# Targets


def misses(found: dict, device: torch.device) -> list[str]:
    """One line for every figure that misses its target; speed counts on a GPU only."""
    lines = []
    for part, differences in found["parity"].get("float32", {}).items():
        lines += [
            f"parity, float32, {part}, {name}: differs by {value:.1e}, at most {PARITY:.0e}"
            for name, value in differences.items()
            if not value < PARITY
        ]
    graphs = found["parity"].get("cuda_graphs", {"graphs": {}})
    for name, value in graphs["graphs"].items():
        limit = graph_limit(graphs, name)
        if not value < limit:
            lines.append(
                f"parity, cuda_graphs, losses, {name}: differs by {value:.1e}, at most {limit:.0e}"
            )
    for kind in ("benchmarks", "pipeline"):
        stages = found.get(kind, {}).items()
        lines += [
            f"{kind}, {name}: ended with {stage['exit']}"
            for name, stage in stages
            if isinstance(stage, dict) and stage["exit"] != 0
        ]
    figures = {name: b.get("figures") for name, b in found.get("benchmarks", {}).items()}
    for row in (figures.get("frechet") or {"rows": []})["rows"]:
        if not row["relative difference"] < 1e-6:
            lines.append(
                f"FID of {row['n']} images: differs from sqrtm by "
                f"{row['relative difference']:.1e}, at most 1e-06"
            )
    if device.type == "cpu":
        return lines
    for row in (figures.get("train_step") or {"rows": []})["rows"]:
        speed = row["speed against plain"]
        if row["step"] != "plain" and speed < 1:
            lines.append(
                f"{row['trained']} step, batch {row['batch']}, {row['step']}: "
                f"{speed:.2f} times the speed of a plain step, at least 1"
            )
    return lines


# --------------------------------------------------------------------------------------------------
# Parity with the reference values


def network_differences(device: torch.device) -> dict[str, float]:
    """Largest difference of the outputs, for the reference generators with a config string."""
    differences = {}
    for name, case in VALUES["cases"].items():
        if not name.startswith("sub_mobile_resnet_9blocks@"):
            continue
        net = (
            fill(GeneratorSpec("sub_mobile_resnet_9blocks", None, case["config_str"]).build())
            .to(device)
            .eval()
        )
        with torch.no_grad():
            y = net(golden_input(*case["input_shape"]).to(device)).cpu()
        differences[name] = float((y - torch.from_numpy(golden_array(name))).abs().max())
    return differences


def loss_differences(device: torch.device) -> dict[str, float]:
    """Largest relative difference of the losses of the first update, for every reference task."""
    differences = {}
    for name in CASES:
        losses = filled_task(name, device)[0].step(batch_at(0, device), 0)
        pairs = [(float(losses[k]), v) for k, v in expected_losses(name, 0).items()]
        differences[name] = max(abs(found - v) / max(abs(v), 1e-12) for found, v in pairs)
    return differences


def graph_differences(device: torch.device) -> dict[str, dict[str, float]]:
    """Largest difference of the losses of three updates, the last two of them replayed.

    ``graphs``: with and without CUDA graphs. ``noise``: between three runs without. Some of
    PyTorch's CUDA kernels add in no fixed order, and Adam's first updates take the sign of
    gradients that are nothing but rounding, so that equal runs differ too.
    """

    def losses(name: str, warmup: int) -> list[float]:
        task, _ = filled_task(name, device)
        task.record(CudaGraphs(device))
        task.update.WARMUP = warmup
        return [
            float(v) for step in range(3) for v in task.step(batch_at(step, device), step).values()
        ]

    def difference(one: list[float], other: list[float]) -> float:
        # Relative, but for losses near zero, as those of hinge may be.
        return max(abs(a - b) / max(abs(b), 0.1) for a, b in zip(one, other, strict=True))

    found: dict[str, dict[str, float]] = {"graphs": {}, "noise": {}}
    for name in CASES:
        plain = [losses(name, warmup=3) for _ in range(3)]
        found["graphs"][name] = min(difference(losses(name, warmup=1), each) for each in plain)
        found["noise"][name] = max(difference(plain[i], plain[i - 1]) for i in range(3))
    return found


def parity(device: torch.device) -> dict:
    """Differences from the reference in float32, and in TF32, which convolutions use by default."""
    found = {}
    for label, allowed in (("float32", False), ("tf32", True)):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
        found[label] = {"networks": network_differences(device), "losses": loss_differences(device)}
    passed = all(max(part.values()) < PARITY for part in found["float32"].values())
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        graphs = found["cuda_graphs"] = graph_differences(device)
        passed &= all(v < graph_limit(graphs, name) for name, v in graphs["graphs"].items())
        torch.backends.cudnn.allow_tf32 = True
    found["passed"] = passed
    return found


def graph_limit(found: dict, name: str) -> float:
    """How far a replayed task may be from the plain one."""
    return max(PARITY, 3 * found["noise"][name])


# --------------------------------------------------------------------------------------------------
# Benchmarks and pipeline, as processes


def call(name: str, *words: object) -> dict:
    """Run a script; how it ended and how long it took."""
    print(f"\n$ python {name} {' '.join(map(str, words))}", flush=True)
    start = time.monotonic()
    try:
        code = subprocess.run(
            [sys.executable, str(ROOT / name), *map(str, words)], cwd=ROOT, timeout=TIMEOUT
        ).returncode
    except subprocess.TimeoutExpired:
        code = f"stopped after {TIMEOUT} s"
    return {"exit": code, "seconds": round(time.monotonic() - start, 1)}


def benchmarks(folder: Path, device: torch.device) -> dict:
    small = device.type == "cpu"
    sizes = ("--size", 32, "--ngf", 32, "--ndf", 16, "--steps", 2) if small else ("--steps", 20)
    plans = {"train_step": sizes, "frechet": ("--counts", 300), "cost": ()}
    plans["evaluator"] = ("--images", 4, "--size", 32) if small else ()
    results = {}
    for name, words in plans.items():
        path = folder / f"{name}.json"
        ended = call(f"benchmarks/{name}.py", "--device", device.type, "--json", path, *words)
        figures = json.loads(path.read_text()) if path.exists() else None
        results[name] = ended | {"figures": figures}
    return results


def pipeline(folder: Path, opt: argparse.Namespace, device: torch.device) -> dict:
    """Teacher, supernet, search, export and test, with a hundred updates each: do they run?"""
    small = device.type == "cpu"
    size, ngf, steps = (32, 32, 2) if small else (256, 64, 100)
    config_set = "channels-32" if small else "channels-64-pix2pix"
    data = [
        "--dataroot",
        opt.dataroot,
        "--direction",
        opt.direction,
        "--gpu_ids",
        "-1" if small else "0",
    ]
    data += ["--crop_size", size]
    fid = ["--fid_weights", opt.fid_weights, "--fid_dims", opt.fid_dims] if opt.fid_weights else []
    fid = fid or ["--fid_features", "random", "--fid_dims", 192]
    train = [
        *data,
        "--load_size",
        size + size // 8,
        "--batch_size",
        4,
        "--niters",
        steps,
        "--nepochs",
        1000,
        "--no_fid",
    ]
    test = [
        *data,
        *fid,
        "--load_size",
        size,
        "--batch_size",
        8,
        "--max_dataset_size",
        8 if small else 64,
    ]
    if not small:
        train += ["--amp", "bf16"]
    teacher, supernet = folder / "teacher", folder / "supernet"
    weights = teacher / "checkpoints" / "latest_net_G.pth"
    student = supernet / "checkpoints" / "latest_net_G.pth"
    graphs = [] if small else ["--cuda_graphs"]
    config = "_".join(["16"] * 8)
    forms = ("eager", "channels_last", "fused", "bf16")
    if device.type == "cuda":
        forms += ("compile", "compile_bf16", "cuda_graph")
    stages = {
        "train.py": [*train, "--netG", "resnet_9blocks", "--ngf", ngf, "--log_dir", teacher],
        "train_supernet.py": [
            *(*train, "--restore_teacher_G_path", weights, "--student_ngf", ngf),
            *("--config_set", config_set, "--log_dir", supernet, *graphs),
        ],
        "evolution_search.py": [
            *(*test, "--restore_G_path", student, "--config_set", config_set),
            *("--population_size", 4, "--evolution_iters", 1, "--output_dir", folder / "search"),
        ],
        "export.py": [
            "--input_path",
            student,
            "--output_path",
            folder / "small.pth",
            "--config_str",
            config,
        ],
        "test.py": [
            *test,
            "--restore_G_path",
            folder / "small.pth",
            "--results_dir",
            folder / "test",
        ],
        "latency.py": [
            *(*data, "--load_size", size, "--batch_size", 1, "--times", 2 if small else 50),
            *("--restore_G_path", folder / "small.pth", "--restore_teacher_G_path", weights),
            *("--backends", *forms, "--results_dir", folder / "latency"),
        ],
    }
    results = {}
    for name, words in stages.items():
        results[name] = call(name, *words)
        if results[name]["exit"] != 0:
            break
    passed = all(r["exit"] == 0 for r in results.values())
    speed = folder / "latency" / "latency.json"
    if speed.exists():
        results["latency.py"]["figures"] = json.loads(speed.read_text())
    return results | {"passed": passed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataroot", help="folder of A|B pairs with the phases train and val")
    parser.add_argument("--output", default="logs/gpu_check", metavar="DIR")
    parser.add_argument("--direction", default="BtoA", choices=("AtoB", "BtoA"))
    parser.add_argument("--fid_weights", metavar="PTH", help="without them FID has random features")
    parser.add_argument("--fid_dims", default="2048", help="of --fid_weights")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    opt = parser.parse_args()
    if opt.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--device cuda: PyTorch finds no CUDA GPU here; check the driver and `nvidia-smi`"
        )
    if not (Path(opt.dataroot) / "train").is_dir():
        raise InputError(f"{opt.dataroot}: has no folder 'train'; give a folder with <phase>/*.jpg")
    device = torch.device(opt.device)
    folder = make_folder(opt.output, "--output")
    start = time.monotonic()
    found = {
        "machine": machine(device),
        "parity": parity(device),
    }
    write_json(folder / "gpu_check.json", found)
    for name, part in (
        ("benchmarks", lambda: benchmarks(folder, device)),
        ("pipeline", lambda: pipeline(folder, opt, device)),
    ):
        found[name] = part()
        found["seconds"] = round(time.monotonic() - start, 1)
        write_json(folder / "gpu_check.json", found)
    found["misses"] = misses(found, device)
    write_json(folder / "gpu_check.json", found)
    print("\n" + ", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    for line in found["misses"]:
        print(f"misses its target: {line}")
    good = found["parity"]["passed"] and found["pipeline"]["passed"]
    good = good and all(b["exit"] == 0 for b in found["benchmarks"].values())
    print(
        f"{'passed' if good else 'FAILED'} in {found['seconds']:.0f} s: {folder / 'gpu_check.json'}"
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    run(main)
