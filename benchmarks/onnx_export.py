"""Measure the tracing of ONNX graphs at one size against that with symbols for sizes.

Both make the same graph (tests/deploy/test_export_formats.py). Writing the file and comparing it
with PyTorch, which both need, is not in the times. A generator in styles is traced with symbols
either way.
"""

from common import machine, report, seconds

import argparse
from pathlib import Path

import deploy.onnx
from deploy.pt2 import exported_form
from models.generators import GeneratorSpec

NETWORKS = {
    "mobile ResNet, 9 blocks": GeneratorSpec("mobile_resnet_9blocks", ngf=16),
    "ResNet, 9 blocks": GeneratorSpec("resnet_9blocks", ngf=16),
    "U-Net for 256 px": GeneratorSpec("unet_256", ngf=16),
    "mobile SPADE": GeneratorSpec("mobile_spade", ngf=16),
    "mobile MUNIT": GeneratorSpec("mobile_munit", ngf=16),
}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    opt = parser.parse_args(words)
    rows, at_one_size = [], deploy.onnx.of_any_size
    for name, spec in NETWORKS.items():
        net, found = exported_form(spec.build()), {}
        for way, trace in (("symbols", lambda net: None), ("one size", at_one_size)):
            deploy.onnx.of_any_size = trace
            found[way] = seconds(lambda net=net: deploy.onnx.onnx_program(net), "cpu", opt.repeats)
        rows.append(
            {"network": name}
            | {f"{way} [s]": f"{time:.2f}" for way, time in found.items()}
            | {"times as fast": f"{found['symbols'] / found['one size']:.2f}"}
        )
    report("ONNX graphs", rows, machine("cpu"), opt.json)


if __name__ == "__main__":
    main()
