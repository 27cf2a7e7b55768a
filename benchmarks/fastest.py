"""How many times as fast as its teacher a compressed network is, each in its fastest form.

Three tables of one run, on a CPU, with random weights:

1. networks in several forms: milliseconds, over the teacher in plain PyTorch, over the teacher in
   its own fastest form of the same precision, and milliseconds per exact GMAC;
2. where the time of the first network goes in OpenVINO, by kind of operation;
3. what a kind of operation costs at most: the same network without it (its images are then wrong),
   beside the rewrites that are in use.
"""

import copy
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from common import arguments, machine, report

import torch
from torch import nn

from deploy.forms import FORMS, Unavailable, make_form
from deploy.onnx import onnx_program
from deploy.openvino import OpenVinoGenerator
from deploy.rewrite import replace_layers
from evaluation.speed import measure_side_by_side
from models.cost import config_cost
from models.generators import GeneratorSpec
from runtime.entry import run
from runtime.progress import Bar

TEACHER = GeneratorSpec("resnet_9blocks", 64)
SUPERNET = GeneratorSpec("super_mobile_resnet_9blocks", 64)
BF16 = "_bf16"


def network(config: str | None) -> nn.Module:
    """A mobile network of a configuration, or the teacher, with random weights."""
    torch.manual_seed(0)
    spec = SUPERNET.subnet(SUPERNET.parse(config)) if config else TEACHER
    return spec.build().eval().requires_grad_(False)


def all_widths(width: str) -> str:
    """``32`` -> the configuration with that width everywhere; others as they are."""
    return "_".join([width] * 8) if width.isdigit() else width


def compare(configs: list[str], forms: list[str], x: torch.Tensor, times: int) -> list[dict]:
    """Table 1; see the head of this file. The teacher is the first network."""
    height, width = x.shape[2:]
    teacher, made = TEACHER.config, []
    for config in Bar([None, *configs], desc="preparing", unit="network"):
        net = network(config)
        for name in forms:
            try:
                made.append((config, make_form(name, net, x)))
            except Unavailable as error:
                Bar.write(f"{name} skipped: {error}")
    timings = measure_side_by_side([form.run for _, form in made], x, times)
    ms = {
        (config, form.name): timing["median_ms"]
        for (config, form), timing in zip(made, timings, strict=True)
    }

    def best_of_teacher(form: str) -> float:
        """The fastest of a teacher that computes in the same precision."""
        same = [
            v for (c, f), v in ms.items() if c is None and f.endswith(BF16) == form.endswith(BF16)
        ]
        return min(same)

    rows = []
    for (config, form), took in ms.items():
        spec = SUPERNET if config else TEACHER
        parsed = SUPERNET.parse(config) if config else teacher
        macs = config_cost(parsed, spec.architecture, "published", height, width)[0]
        exact = config_cost(parsed, spec.architecture, "exact", height, width)[0]
        rows.append(
            {
                "network": config or "teacher",
                "GMACs": macs / 1e9,
                "exact GMACs": exact / 1e9,
                "form": form,
                "ms": took,
                "over the teacher in eager": ms[None, "eager"] / took,
                "both in their best": best_of_teacher(form) / took,
                "ms per exact GMAC": took / (exact / 1e9),
            }
        )
    return rows


# --------------------------------------------------------------------------------------------------
# In OpenVINO


class Profiled(OpenVinoGenerator):
    """It also says how long each operation of the last run took."""

    def __init__(self, path: Path, bf16: bool = False):
        from openvino.properties import enable_profiling

        super().__init__(path, bf16)
        self._settings[enable_profiling] = True

    def profile(self, x: torch.Tensor) -> list:
        """OpenVINO's ``ProfilingInfo`` of every operation of a run on ``x``."""
        self(x)  # compiles it
        request = self._compiled[tuple(x.shape)].create_infer_request()
        request.infer({0: x.numpy()})
        return request.profiling_info


def openvino_of(net: nn.Module, bf16: bool, kind: type = OpenVinoGenerator) -> OpenVinoGenerator:
    """``net`` in OpenVINO. Not compared with PyTorch: parts of it may have been taken out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx_program(net).save(str(path), external_data=False)
        return kind(path, bf16)


def operations(config: str, bf16: bool, x: torch.Tensor, times: int) -> list[dict]:
    """Table 2: milliseconds and number of the operations of each kind, the longest first."""
    form = openvino_of(network(config), bf16, Profiled)
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(times):
        for each in form.profile(x):
            took[each.node_type, each.node_name].append(1e3 * each.real_time.total_seconds())
    kinds: dict[str, list[float]] = defaultdict(list)
    for (kind, _), values in took.items():
        if median := statistics.median(values):
            kinds[kind].append(median)
    whole = sum(map(sum, kinds.values()))
    return [
        {
            "form": f"openvino{BF16 if bf16 else ''}",
            "operation": kind,
            "number": len(values),
            "ms": sum(values),
            "share": f"{sum(values) / whole:.0%}",
        }
        for kind, values in sorted(kinds.items(), key=lambda item: -sum(item[1]))
    ]


def _plain_last(net: nn.Module) -> nn.Module:
    """As it was before `deploy.rewrite`, which does not find a convolution that is wrapped."""
    layers = net.model
    index = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d))
    layers[index] = nn.Sequential(layers[index])
    return net


def _without(kind: type, instead: Callable[[nn.Module], nn.Module]) -> Callable:
    def change(net: nn.Module) -> nn.Module:
        replace_layers(net, kind, instead)
        return net

    return change


def _headless(net: nn.Module) -> nn.Module:
    """Its last convolution, with its border, gives three of the channels that it reads."""
    index = max(i for i, layer in enumerate(net.model) if isinstance(layer, nn.Conv2d))
    net.model[index - 1], net.model[index] = nn.Identity(), First(3)
    return net


class First(nn.Module):
    """The first channels of its input."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : self.count]


CHANGES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "as it is exported": lambda net: net,
    "last 7x7 convolution not rewritten": _plain_last,
    "no norms (wrong images)": _without(nn.InstanceNorm2d, lambda norm: nn.Identity()),
    "zeros at borders, not reflections (wrong images)": _without(
        nn.ReflectionPad2d, lambda pad: nn.ZeroPad2d(pad.padding)
    ),
    "no last convolution (wrong images)": _headless,
}


def changes(config: str, x: torch.Tensor, times: int, bf16: list[bool]) -> list[dict]:
    """Table 3; see the head of this file."""
    keys = [(name, half) for half in bf16 for name in CHANGES]
    forms = [
        openvino_of(CHANGES[name](copy.deepcopy(network(config))), half)
        for name, half in Bar(keys, desc="preparing", unit="network")
    ]
    timings = measure_side_by_side(forms, x, times)
    ms = {key: timing["median_ms"] for key, timing in zip(keys, timings, strict=True)}
    return [
        {
            "form": f"openvino{BF16 if half else ''}",
            "network": name,
            "ms": took,
            "to as it is": f"{took / ms['as it is exported', half] - 1:+.0%}",
        }
        for (name, half), took in ms.items()
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--networks",
        nargs="+",
        metavar="CONFIG",
        default=["24_24_40_56_24_56_16_40", "32", "28", "24", "20", "16", "14"],
        help="configurations, or a width for all layers; tables 2 and 3 are of the first",
    )
    parser.add_argument(
        "--forms",
        nargs="+",
        choices=FORMS,
        default=["eager", "fused", "compile", "onnxruntime", "openvino", "openvino_bf16"],
    )
    parser.add_argument("--size", type=int, default=256, help="side of the image [px]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=20)
    opt = parser.parse_args()
    torch.set_num_threads(opt.threads)
    x = torch.rand(1, 3, opt.size, opt.size) * 2 - 1
    configs = [all_widths(each) for each in opt.networks]
    forms = list(dict.fromkeys(["eager", *opt.forms]))
    facts = machine("cpu") | {"size": opt.size, "weights": "random"}

    def path(name: str) -> Path | None:
        return opt.json and opt.json.with_name(f"{opt.json.stem}_{name}{opt.json.suffix}")

    with torch.inference_mode():
        rows = compare(configs, forms, x, opt.times)
        report("The fastest forms", rows, facts, path("forms"))
        halves = [half for half in (False, True) if f"openvino{BF16 if half else ''}" in forms]
        if not any(row["form"].startswith("openvino") for row in rows):
            return
        facts |= {"network": configs[0]}
        rows = [row for half in halves for row in operations(configs[0], half, x, opt.times)]
        report("Where the time goes in OpenVINO", rows, facts, path("operations"))
        rows = changes(configs[0], x, opt.times, halves)
        report("What an operation costs at most", rows, facts, path("changes"))


if __name__ == "__main__":
    run(main)
