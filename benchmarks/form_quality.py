"""Measure how the faster forms of a generator change its FID, its pixels and its time.

Each form is compared with PyTorch in float32 on the same device. Forms that only run on the CPU are
compared there, whatever ``--device`` is. The forms are those of latency.py, and ``int8``: the file
that `export.py --int8` writes, run in OpenVINO. If the checkpoint is a supernet, random subnets are
measured.
"""

import copy
import tempfile
from pathlib import Path

from common import add_features, add_images, arguments, data_of, evaluator_of, machine, report

import numpy as np
import torch

from data.build import inference_loader
from deploy.forms import FORMS, make_form
from deploy.int8 import export_int8
from deploy.openvino import OpenVinoGenerator
from errors import InputError
from evaluation.speed import measure_side_by_side
from models.supernet import extract
from models.weights import load_generator
from options.flags import config_set
from runtime.entry import run
from runtime.progress import Bar
from subnets.space import SearchSpace

CPU = torch.device("cpu")


def place_of(form: str, device: torch.device) -> torch.device:
    """Where a form runs: on ``device``, or on the CPU when it can only run there."""
    return CPU if form == "int8" or FORMS[form].device == "cpu" else device


def on(place: torch.device, form):
    """Let ``form``, whose input and output are on ``place``, take tensors of any device."""
    return lambda x: form(x.to(place)).to(x.device)


@torch.inference_mode()
def grey_levels(form, net, loader) -> tuple[float, float]:
    """(mean, largest) absolute difference of the outputs of ``form`` and ``net``, in grey levels.

    The outputs' range [-1, 1] is 255 levels.
    """
    differences = [(form(batch.A) - net(batch.A)).abs() * 127.5 for batch in loader.epoch()]
    return float(np.mean([d.mean().item() for d in differences])), max(
        d.max().item() for d in differences
    )


def int8(net, opt) -> OpenVinoGenerator:
    """``net`` in 8 bits on the CPU, calibrated on ``--calibration`` images of phase train."""
    images = data_of(opt, phase="train", meta_path=None, max_dataset_size=opt.calibration)
    loader = inference_loader(images, CPU, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_int8(net, path, (batch.A for batch in loader.epoch()))
        return OpenVinoGenerator(path)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--restore_G_path", required=True, help="trained generator or supernet")
    add_images(parser, phase="val", images=100, size=64)
    parser.add_argument("--config_set", type=config_set, default="channels-32")
    parser.add_argument("--subnets", type=int, default=3)
    parser.add_argument(
        "--forms",
        nargs="+",
        # A CUDA graph takes inputs of one size only.
        choices=(*(name for name, kind in FORMS.items() if kind.device != "cuda"), "int8"),
        default=["openvino", "openvino_bf16", "int8"],
    )
    parser.add_argument(
        "--time_size",
        type=int,
        default=256,
        help="side of the random image that is timed [px]",
    )
    parser.add_argument(
        "--calibration",
        type=int,
        default=64,
        help="images of phase train that int8 is calibrated on",
    )
    add_features(parser, "inception", 768)
    opt = parser.parse_args()
    device = torch.device(opt.device)
    net, spec = load_generator(opt.restore_G_path, "--restore_G_path", {})
    networks = {str(spec.config): net}
    if spec.is_supernet:
        space = SearchSpace(opt.config_set)
        drawn = [space.draw_at(0, 0, index) for index in range(opt.subnets)]
        networks = {str(config): extract(net, config) for config in drawn}
    evaluator = evaluator_of(opt, data_of(opt), device)
    loader = evaluator.loader
    rows = []
    x = torch.rand(1, spec.input_nc, opt.time_size, opt.time_size, device=device) * 2 - 1
    for name, net in networks.items():
        net.to(device).eval()
        fid = evaluator(net)["fid"]
        plain = {place: copy.deepcopy(net).to(place) for place in {CPU, device}}
        built = {}
        for form in opt.forms:
            place = place_of(form, device)
            try:
                built[form] = (
                    int8(plain[place], opt)
                    if form == "int8"
                    else make_form(form, plain[place], x.to(place)).run
                )
            except InputError as error:
                print(f"{form} skipped: {error}")
        for form, generate in Bar(built.items(), desc=name, unit="form"):
            place = place_of(form, device)
            own, timing = measure_side_by_side([plain[place], generate], x.to(place), 20)
            mean, largest = grey_levels(on(place, generate), net, loader)
            changed = evaluator(on(place, generate))["fid"]
            rows.append(
                {
                    "network": name,
                    "form": form,
                    "on": place.type,
                    "FID": changed,
                    "FID of PyTorch": fid,
                    "change": f"{changed / fid - 1:+.2%}",
                    "grey levels, mean": mean,
                    "largest": largest,
                    f"ms at {opt.time_size} px": timing["median_ms"],
                    "faster than PyTorch": own["median_ms"] / timing["median_ms"],
                }
            )
    if not rows:
        raise InputError(f"--forms {' '.join(opt.forms)}: none can run here, see above")
    facts = machine(opt.device) | {
        "measure": f"{evaluator.labels['fid']}, n={len(loader.dataset)}, {opt.size} px"
    }
    report("Faster forms against PyTorch in float32", rows, facts, opt.json)


if __name__ == "__main__":
    run(main)
