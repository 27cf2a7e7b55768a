#!/usr/bin/env python3
"""Make a static folder that runs compressed generators in the browser: draw and see their output.

bash scripts/web_demo.sh                                        the networks of zoo/, all tasks
bash scripts/web_demo.sh --demo                                 the networks of scripts/demo.sh
bash scripts/web_demo.sh small.onnx --teacher teacher.onnx      others: .onnx, .pth, .safetensors
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy.converters import require_fixed_size
from deploy.onnx import export_onnx, require_onnx
from deploy.web.drawings import PALETTES_OF
from deploy.web.folder import build, require_runtime
from deploy.web.networks import Network, fixed_size
from deploy.web.server import server
from deploy.web.task import Task
from deploy.web.zoo import zoo_page
from errors import InputError
from models import zoo
from models.weights import load_generator
from options import run
from runtime.files import size_of

PORT = 8000
# Files of weights, which are exported here.
WEIGHTS = (".pth", ".safetensors")
# Flags that describe networks of one's own: the tasks of a zoo say all this themselves.
OF_A_MODEL = ("teacher", "mode", "palette", "size", "example")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="web_demo.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shown = parser.add_argument_group("what to show").add_mutually_exclusive_group()
    shown.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help=".onnx, .pth or .safetensors of a compressed generator",
    )
    shown.add_argument(
        "--demo",
        type=Path,
        nargs="?",
        const=Path("logs/demo"),
        metavar="DIR",
        help="the networks that scripts/demo.sh left in DIR (%(const)s)",
    )
    shown.add_argument(
        "--zoo",
        type=Path,
        metavar="DIR",
        help="the networks of another folder such as zoo/, which is what the page shows "
        "without any of these",
    )
    own = parser.add_argument_group("with MODEL or --demo")
    own.add_argument(
        "--teacher",
        type=Path,
        metavar="FILE",
        help=".onnx, .pth or .safetensors to compare it with",
    )
    own.add_argument(
        "--mode",
        choices=list(PALETTES_OF),
        help="map: draw coloured areas, photo: open images and draw in any colour, "
        "edges: draw black lines (map)",
    )
    own.add_argument(
        "--palette",
        choices=PALETTES_OF["map"],
        help="colours of --mode map that come first: of the built-in dataset, of web maps, "
        "or general ones (builtin); the page offers all",
    )
    own.add_argument(
        "--size",
        type=int,
        metavar="PX",
        help="side of an image (default: that of the demo's training, or 256)",
    )
    own.add_argument(
        "--example",
        type=Path,
        nargs="+",
        metavar="IMAGE",
        help="drawings to start from, instead of the built-in ones",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("results/web_demo"),
        help="folder to make (%(default)s)",
    )
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument(
        "--no_webgpu",
        action="store_true",
        help="leave out the runtime for WebGPU: half the size, and the page runs by WASM alone",
    )
    parser.add_argument(
        "--serve",
        type=int,
        nargs="?",
        const=PORT,
        metavar="PORT",
        help=f"show it at http://localhost:PORT ({PORT}; 0: any free one) until Ctrl-C",
    )
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="with --serve: who may look; 0.0.0.0 is everybody, e.g. a phone (%(default)s)",
    )
    return parser.parse_args()


def _demo_networks(folder: Path) -> tuple[list[Network], int]:
    """(The demo's networks as ``.pth``, the side in pixels of its training images)."""
    compressed, teacher = (
        folder / "export" / "compressed.pth",
        folder / "teacher" / "checkpoints" / "best_net_G.pth",
    )
    if not compressed.is_file():
        raise InputError(
            f"{compressed}: not there; run bash scripts/demo.sh first or give MODEL.onnx"
        )
    networks = [Network("compressed", "--demo", compressed)]
    if teacher.is_file():
        networks.append(Network("teacher", "--demo", teacher))
    try:
        size = json.loads((folder / "teacher" / "options.json").read_text())["crop_size"]
    except (OSError, ValueError, KeyError):
        size = 256
    return networks, size


def _as_onnx(network: Network, folder: Path, size: int) -> Network:
    """Weights exported into ``folder`` and compared with PyTorch; any other network as it is."""
    if network.path.suffix not in WEIGHTS:
        return network
    require_onnx()
    net, spec = load_generator(network.path, network.flag)
    if spec.kind.styled:
        raise InputError(
            f"{network.flag} {network.path}: {spec.netG} takes styles beside images; the page "
            "gives one image in and takes one out"
        )
    if (spec.input_nc, spec.output_nc) != (3, 3):
        raise InputError(
            f"{network.flag} {network.path}: turns images of {spec.input_nc} channels "
            f"into {spec.output_nc}; "
            "the page draws in colour, give a network of 3 channels"
        )
    require_fixed_size(spec.multiple, size)
    path = folder / f"{network.name}.onnx"
    print(f"{network.path} as ONNX: {export_onnx(net, path)}")
    return Network(network.name, network.flag, path)


def _side(networks: list[Network], given: int | None, default: int) -> int:
    """The side of an image in pixels: as given, or the only one that a network takes."""
    fixed = {
        network: fixed_size(network.path, network.flag)
        for network in networks
        if network.path.suffix not in WEIGHTS
    }
    for network, size in fixed.items():
        wanted = given or next((side for side in fixed.values() if side), None)
        if size and size != wanted:
            raise InputError(
                f"{network.flag} {network.path}: takes images of {size} pixels only, not {wanted}; "
                "export it again, or give others"
            )
    return given or next((side for side in fixed.values() if side), default)


def _own_task(opt: argparse.Namespace, folder: Path) -> Task:
    """The task of MODEL or ``--demo``; exported networks are written into ``folder``."""
    if opt.model is None:
        networks, default = _demo_networks(opt.demo)
    else:
        networks, default = [Network("compressed", "MODEL", opt.model)], 256
    if opt.teacher is not None:
        networks = [networks[0], Network("teacher", "--teacher", opt.teacher)]
    mode, palette = opt.mode or "map", opt.palette or PALETTES_OF["map"][0]
    size = _side(networks, opt.size, default)
    networks = [_as_onnx(network, folder, size) for network in networks]
    return Task(mode, mode, size, networks, opt.title, palette, tuple(opt.example or ()))


def _zoo_tasks(opt: argparse.Namespace, folder: Path) -> list[Task]:
    """The tasks of ``zoo/`` or ``--zoo``; their networks are written into ``folder``."""
    given = [name for name in OF_A_MODEL if getattr(opt, name) is not None]
    if given:
        raise InputError(f"--{given[0]}: describes a network of yours; give MODEL.onnx or --demo")
    print("making ONNX of the networks: some seconds", flush=True)
    return zoo_page(folder, opt.zoo or zoo.ROOT)


def main() -> None:
    opt = _parse()
    require_runtime()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        own = opt.model is not None or opt.demo is not None
        tasks = [_own_task(opt, place)] if own else _zoo_tasks(opt, place)
        folder = build(opt.output, tasks, opt.title, webgpu=not opt.no_webgpu)
    for task in tasks:
        names = ", ".join(network.name for network in task.networks)
        print(f"{folder}: {task.name}, {task.size}x{task.size} pixels: {names}")
    print(f"{folder}: {size_of(folder) / 1e6:.1f} MB")
    if opt.serve is None:
        print(
            f"see it: {Path(sys.executable).name} -m http.server -d {folder} {PORT}, then http://localhost:{PORT}"
        )
        return
    with server(folder, opt.serve, opt.bind) as running:
        print(f"see it: http://localhost:{running.server_address[1]} (Ctrl-C ends it)", flush=True)
        running.serve_forever()


if __name__ == "__main__":
    run(main)
