"""Measure what 8 bits cost a trained generator in FID, and its time in ONNX Runtime and OpenVINO.

Files of one network are compared: ``float32``; ``by rule``, ranges from the smallest to the largest
value, outputs of convolutions quantised too, and the first and the last one left in float32; and
``int8``, as `export.py --int8` writes it. With ``--qat_path``, a checkpoint that `distill.py --qat`
made of the network, ``float32`` and ``int8`` of that too. FID is measured in ONNX Runtime, errors
are against the same network in float32. Calibration takes images of phase train.
"""

import math
import tempfile
from pathlib import Path

from common import add_features, add_images, arguments, data_of, evaluator_of, machine, report

import torch

from data.build import inference_loader
from deploy.int8 import CONVOLUTIONS, MAX_ERROR, export_int8
from deploy.onnx import OnnxGenerator, export_onnx
from deploy.openvino import OpenVinoGenerator
from errors import InputError
from evaluation.speed import measure_side_by_side
from models.weights import load_generator
from runtime.entry import run
from runtime.progress import Bar

CPU = torch.device("cpu")


def export_by_rule(source: Path, target: Path, images: list[torch.Tensor]) -> None:
    """What ONNX Runtime makes of a float32 file with its own ranges, and a rule for the layers."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self):
            self.images = iter(images)

        def get_next(self) -> dict | None:
            x = next(self.images, None)
            return None if x is None else {"input": x.numpy()}

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    nodes = [n.name for n in onnx.load(prepared).graph.node if n.op_type in CONVOLUTIONS]
    quantize_static(
        prepared,
        target,
        Images(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=[*CONVOLUTIONS],
        nodes_to_exclude=[nodes[0], nodes[-1]],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


@torch.inference_mode()
def rms(run, net, loader) -> float:
    """Root mean square of the difference of the outputs of ``run`` and ``net``, in grey levels."""
    losses = [
        ((run(batch.A) - net(batch.A)) * 127.5).square().mean((1, 2, 3)) for batch in loader.epoch()
    ]
    return math.sqrt(float(torch.cat(losses).mean()))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--restore_G_path", required=True, help="a trained generator")
    parser.add_argument("--qat_path", help="the same after distill.py --qat")
    add_images(parser, phase="val", images=-1, size=256)
    parser.add_argument("--int8_error", type=float, default=MAX_ERROR, help="see export.py")
    parser.add_argument(
        "--calibration", type=int, default=64, help="images of phase train for the ranges"
    )
    parser.add_argument(
        "--time_size",
        type=int,
        default=256,
        help="side of the random image that is timed [px]; 0 = nothing is timed",
    )
    add_features(parser, "inception", 2048)
    opt = parser.parse_args()
    net, spec = load_generator(opt.restore_G_path, "--restore_G_path", {})
    if spec.is_supernet:
        raise InputError(f"--restore_G_path {opt.restore_G_path}: cut a subnet out by export.py")
    net = net.eval()
    evaluator = evaluator_of(opt, data_of(opt), CPU)
    loader = evaluator.loader
    given = data_of(
        opt, phase="train", meta_path=None, max_dataset_size=opt.calibration, batch_size=1
    )
    images = [batch.A for batch in inference_loader(given, CPU).epoch()]
    networks = {"": net}
    if opt.qat_path:
        networks[" after --qat"] = load_generator(opt.qat_path, "--qat_path", {})[0].eval()
    rows, files, chosen, compared = [], {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for tag, each in networks.items():
            names = {way: f"{way}{tag}" for way in ("float32", "by rule", "int8")}
            paths = {way: Path(folder) / f"{name}.onnx" for way, name in names.items()}
            export_onnx(each, paths["float32"])
            if tag:
                del paths["by rule"]
            else:
                export_by_rule(paths["float32"], paths["by rule"], images)
            made = export_int8(each, paths["int8"], images, paths["float32"], opt.int8_error)
            print(f"{names['int8']}: {made}")
            chosen[names["int8"]] = made
            files |= {names[way]: path for way, path in paths.items()}
            compared |= {names[way]: each for way in paths}
        runs = {name: OnnxGenerator(path) for name, path in files.items()}
        times = {}
        if opt.time_size:
            runners = {(name, "ONNX Runtime"): each for name, each in runs.items()}
            runners |= {(name, "OpenVINO"): OpenVinoGenerator(p) for name, p in files.items()}
            x = torch.rand(1, spec.input_nc, opt.time_size, opt.time_size) * 2 - 1
            found = measure_side_by_side([*runners.values()], x, 30)
            times = dict(zip(runners, (each["median_ms"] for each in found), strict=True))
        for name, each in Bar(runs.items(), desc="FID", unit="file"):
            fid, what = evaluator(each)["fid"], chosen.get(name)
            row = {"file": name, "FID": fid}
            row["change"] = f"{fid / (rows[0]['FID'] if rows else fid) - 1:+.2%}"
            row["error, grey levels"] = rms(each, compared[name], loader)
            row["in float32"] = " ".join(what.plain) if what else ""
            row["ranges"] = what.calibration if what else ""
            row["MB"] = files[name].stat().st_size / 1e6
            if opt.time_size:
                for runtime in ("ONNX Runtime", "OpenVINO"):
                    row[f"ms in {runtime}"] = times[name, runtime]
            rows.append(row)
    facts = machine("cpu") | {
        "network": f"{spec.netG} {spec.config}",
        "measure": f"{evaluator.labels['fid']}, n={len(loader.dataset)}, {opt.size} px",
        "error": "of the outputs against the same network in float32, root mean square",
    }
    if opt.time_size:
        facts["timed at"] = f"{opt.time_size} px"
    report("8 bits against float32", rows, facts, opt.json)


if __name__ == "__main__":
    run(main)
