"""A static folder that runs a generator inside the browser: the page of ``web/``, ONNX Runtime's WebAssembly, and the networks.

``build`` writes the folder and ``serve`` shows it; `scripts/make_web_demo.py` is their command line.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from data.images import read_image, save_png
from deploy.onnx import require_onnx
from errors import InputError
from models.cost import config_cost
from models.generators import GeneratorSpec, infer_spec
from prepare import builtin

SOURCE = Path(__file__).resolve().parent.parent / "web"
PAGE = (
    "index.html",
    "style.css",
    "boot.js",
    "app.js",
    "drawing.js",
    "network.js",
    "worker.js",
    "icon.svg",
)
PACKAGE = SOURCE / "node_modules" / "onnxruntime-web"
# The build without WebGPU and WebGL: the smallest, and the same numbers everywhere.
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
# The package holds no licence text of its own.
RUNTIME_LICENCE = SOURCE / "onnxruntime-LICENSE"


# --------------------------------------------------------------------------------------------------
# What can be drawn


@dataclass(frozen=True)
class Colour:
    """A colour of the palette; what is drawn with it gets an outline of ``edge``, ``edge_metres`` wide, as on the maps."""

    name: str
    rgb: tuple[int, int, int]
    edge: tuple[int, int, int] | None = None
    edge_metres: float = 0.0


# The first is the background. The window is `builtin.WINDOW` metres wide.
PALETTES = {
    "builtin": (
        Colour("Gardens", builtin.MAP_GROUND[builtin.GARDEN]),
        Colour("Street", builtin.MAP_ROAD, builtin.MAP_ROAD_CASING, 1.0),
        Colour("Main road", builtin.MAP_MAJOR, builtin.MAP_MAJOR_CASING, 1.0),
        Colour("Building", builtin.MAP_BUILDING, builtin.MAP_BUILDING_EDGE, 0.55),
        Colour("Park", builtin.MAP_GROUND[builtin.PARK]),
        Colour("Trees", builtin.MAP_GROUND[builtin.WOOD]),
        Colour("Water", builtin.MAP_WATER),
        Colour("Parking", builtin.MAP_GROUND[builtin.PARKING]),
        Colour("Bare soil", builtin.MAP_GROUND[builtin.BARE]),
        Colour("Paved", builtin.MAP_GROUND[builtin.PAVED]),
        Colour("Sports pitch", builtin.MAP_PITCH, builtin.MAP_PITCH_EDGE, 1.0),
        Colour("Path", builtin.MAP_PATH),
    ),
    # Web maps of the kind of the pix2pix data set "maps".
    "maps": (
        Colour("Ground", (233, 229, 220)),
        Colour("Street", (255, 255, 255), (222, 217, 208), 1.0),
        Colour("Highway", (248, 160, 36), (216, 134, 24), 1.0),
        Colour("Main road", (255, 225, 104), (228, 196, 90), 1.0),
        Colour("Block", (244, 243, 236)),
        Colour("Park", (203, 223, 172)),
        Colour("Water", (177, 208, 255)),
        Colour("Sports ground", (188, 212, 188)),
        Colour("Public building", (232, 220, 188)),
    ),
    "edges": (Colour("Paper", (255, 255, 255)), Colour("Ink", (0, 0, 0))),
}
# What a colour of the built-in maps becomes on web maps.
_AS_WEB_MAP = {
    "Gardens": "Ground",
    "Street": "Street",
    "Main road": "Main road",
    "Building": "Block",
    "Park": "Park",
    "Trees": "Park",
    "Water": "Water",
    "Parking": "Ground",
    "Bare soil": "Public building",
    "Paved": "Block",
    "Sports pitch": "Sports ground",
    "Path": "Block",
}
TITLES = {"map": "Street map to aerial photo", "edges": "Edges to shoes"}
# Scenes of the built-in data set with much of what there is on maps.
_SCENES = (4, 12, 10, 2)


def _web_map(pixels: np.ndarray) -> np.ndarray:
    """A built-in map, H W 3 uint8, in the colours of web maps: each pixel goes by the nearest colour."""
    colours = {colour.name: colour for colour in PALETTES["maps"]}
    pairs = []
    for colour in PALETTES["builtin"]:
        other = colours[_AS_WEB_MAP[colour.name]]
        pairs.append((colour.rgb, other.rgb))
        if colour.edge:
            pairs.append((colour.edge, other.edge or other.rgb))
    old, new = (np.array(side, np.int32) for side in zip(*pairs, strict=True))
    distances = np.stack([((pixels - colour) ** 2).sum(2) for colour in old])
    return new[distances.argmin(0)].astype(np.uint8)


def _shoe(size: int) -> np.ndarray:
    """A trainer in outline, size size 3 uint8: black lines on white."""
    upper = [
        (0.10, 0.62),
        (0.11, 0.45),
        (0.15, 0.33),
        (0.24, 0.31),
        (0.30, 0.37),
        (0.38, 0.40),
        (0.46, 0.36),
    ]
    upper += [(0.56, 0.43), (0.68, 0.52), (0.82, 0.56), (0.91, 0.61), (0.93, 0.67)]
    lines = [
        upper,
        [(0.10, 0.62), (0.09, 0.68), (0.10, 0.74), (0.30, 0.755), (0.60, 0.76), (0.86, 0.75), (0.935, 0.72)],
        [(0.935, 0.72), (0.94, 0.69), (0.93, 0.67)],
        [(0.10, 0.66), (0.26, 0.67), (0.40, 0.685), (0.60, 0.69), (0.80, 0.68), (0.93, 0.67)],
        [(0.24, 0.31), (0.26, 0.40), (0.33, 0.46), (0.42, 0.48), (0.50, 0.54), (0.56, 0.62), (0.58, 0.69)],
        [(0.12, 0.45), (0.19, 0.46), (0.24, 0.52), (0.25, 0.67)],
        [(0.70, 0.53), (0.69, 0.60), (0.71, 0.68)],
        *([(0.42 + d, 0.48 + 0.7 * d), (0.47 + d, 0.45 + 0.7 * d), (0.52 + d, 0.41 + 0.7 * d)] for d in (0, 0.045, 0.09)),
        [(0.30, 0.62), (0.38, 0.61), (0.47, 0.57), (0.54, 0.50)],
    ]  # fmt: skip
    scale = 4 * size
    image = Image.new("RGB", (scale, scale), "white")
    draw = ImageDraw.Draw(image)
    for line in lines:
        points = [(x * scale, y * scale) for x, y in _smooth(np.array(line))]
        draw.line(points, fill="black", width=max(4, round(scale * 0.007)), joint="curve")
    return np.asarray(image.reduce(4))


def _smooth(points: np.ndarray) -> np.ndarray:
    """A Catmull-Rom curve through ``points`` (n, 2)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(
            b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
        )
    return np.concatenate([*pieces, points[-1:]])


def example_drawings(mode: str, size: int) -> list[np.ndarray]:
    """What the page can start from: size size 3 uint8."""
    if mode == "edges":
        return [_shoe(size)]
    # Drawn larger, since maps of 32 pixels and less are not drawn; then made smaller as in the data set.
    factor = 1 if size >= 64 else 4
    maps = [builtin.render_pair(scene, size * factor)[1] for scene in _SCENES]
    return [np.asarray(Image.fromarray(pixels).reduce(factor)) for pixels in maps]


# --------------------------------------------------------------------------------------------------
# Networks


@dataclass(frozen=True)
class Network:
    """A network of the page, as its ``.onnx`` file."""

    name: str  # compressed | teacher
    flag: str  # that gave it, for messages
    path: Path


def open_onnx(path: Path, flag: str):
    """An ONNX Runtime session of a network of colour images. InputError when ``path`` is no such file."""
    require_onnx("onnxruntime", "onnx")
    import onnxruntime

    if not path.is_file():
        raise InputError(f"{flag} {path}: no such file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions have no common base but Exception
        raise InputError(
            f"{flag} {path}: not a network that ONNX Runtime reads ({type(error).__name__}); "
            "write one with export.py `format` onnx"
        ) from None
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{flag} {path}: has {len(inputs)} inputs and {len(outputs)} outputs; the page needs one image in and one out"
        )
    (x,) = inputs
    if x.type != "tensor(float)" or len(x.shape) != 4:
        raise InputError(
            f"{flag} {path}: takes {x.type} of shape {x.shape}; the page gives float32 images, N 3 H W"
        )
    if isinstance(x.shape[1], int) and x.shape[1] != 3:
        raise InputError(
            f"{flag} {path}: takes images of {x.shape[1]} channels; the page draws in colour, give a network of 3 channels"
        )
    return session


def fixed_size(path: Path, flag: str) -> int | None:
    """The one image side that a network takes; None when it takes any."""
    height, width = open_onnx(path, flag).get_inputs()[0].shape[2:]
    sides = {side for side in (height, width) if isinstance(side, int)}
    if len(sides) == 2:
        raise InputError(
            f"{flag} {path}: takes images of {height}x{width} pixels; the page's are square"
        )
    return sides.pop() if sides else None


def check_network(network: Network, size: int) -> None:
    """Run it once as the page will. InputError when no colour image of ``size`` pixels comes out."""
    session = open_onnx(network.path, network.flag)
    x = np.linspace(-1, 1, 3 * size * size, dtype=np.float32).reshape(1, 3, size, size)
    try:
        (y,) = session.run(None, {session.get_inputs()[0].name: x})
    except Exception as error:
        raise InputError(
            f"{network.flag} {network.path}: does not run at {size}x{size} pixels ({type(error).__name__}); "
            "give the size it was made for with `size`"
        ) from None
    if y.shape != x.shape:
        raise InputError(
            f"{network.flag} {network.path}: makes {list(y.shape)} of an image of {list(x.shape)}; "
            "give a network of colour images, 3 channels out"
        )
    if not np.isfinite(y).all():
        raise InputError(
            f"{network.flag} {network.path}: its output is not finite; export it again"
        )


def read_spec(path: Path) -> tuple[GeneratorSpec | None, int]:
    """(what generator an ``.onnx`` file is of, None when not one of ours; numbers in its convolutions)."""
    import onnx

    graph = onnx.load(path).graph
    sizes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    names = {name for node in graph.node if "Conv" in node.op_type for name in node.input[1:]}
    shapes = [sizes.get(casts.get(name, name), (0,)) for name in names]
    state = {
        f"model.{name.rpartition('model.')[2]}": torch.empty(shape, device="meta")
        for name, shape in sizes.items()
        if "model." in name
    }
    rows = state.pop("model.26.rows.weight", None)  # see `deploy.rewrite.RowSummedConv2d`
    if rows is not None:
        state["model.26.weight"] = torch.empty(
            rows.shape[0] // 7, rows.shape[1], 7, 7, device="meta"
        )
    try:
        spec = infer_spec(state)
    except InputError:
        spec = None
    return spec, sum(int(np.prod(shape)) for shape in shapes)


def describe(network: Network, size: int) -> dict:
    """What the page says of a network."""
    spec, parameters = read_spec(network.path)
    macs = None
    if spec is not None:
        macs, parameters = config_cost(spec.config, spec.architecture, "published", size, size)
    return {
        "name": network.name,
        "file": f"models/{network.name}.onnx",
        "bytes": network.path.stat().st_size,
        "parameters": parameters,
        "macs": macs,
        "config": None
        if spec is None
        else str(spec.config)
        if spec.config_str
        else f"{spec.netG}, ngf {spec.ngf}",
    }


# --------------------------------------------------------------------------------------------------
# The folder

_MARK = "model.json"


@contextlib.contextmanager
def _folder_written_whole(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` that takes its place at the end of the block, or vanishes when the block raises."""
    if folder.exists() and not (
        folder.is_dir() and ((folder / _MARK).is_file() or not any(folder.iterdir()))
    ):
        raise InputError(f"--output {folder}: holds something else; choose another folder")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    before = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            folder.rename(before)
        temporary.rename(folder)
    except OSError as error:
        if before.exists() and not folder.exists():
            before.rename(folder)
        raise InputError(
            f"--output {folder}: cannot be written ({error.strerror or error}); choose another folder or free some space"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def require_runtime() -> None:
    """InputError that says what to run unless ONNX Runtime for the browser is there."""
    missing = [name for name in RUNTIME if not (PACKAGE / "dist" / name).is_file()]
    if missing:
        raise InputError(
            f"the browser's ONNX Runtime is not installed ({missing[0]} is missing): install Node.js, then npm ci --prefix web"
        )


def build(
    output: Path,
    networks: list[Network],
    size: int,
    mode: str = "map",
    palette: str = "builtin",
    title: str | None = None,
    examples: list[Path] | None = None,
) -> Path:
    """Write the page's folder, whole or not at all.

    Args:
        output:   the folder; replaced when it holds an earlier page
        networks: the compressed one and, when there is one to compare with, the teacher
        size:     pixels of an image's side, a multiple of 4
        mode:     map = coloured areas, with a palette | edges = black lines on white
        palette:  builtin | maps: the colours that come first in mode map
        title:    heading of the page
        examples: images to start from instead of the built-in ones; resized

    Raises:
        InputError: a network does not fit, ONNX Runtime for the browser is missing, or the folder cannot be written.
    """
    if size < 8 or size % 4:
        raise InputError(f"`size` {size}: give a multiple of 4, from 8")
    require_runtime()
    for network in networks:
        check_network(network, size)
    names = (
        ["edges"]
        if mode == "edges"
        else sorted(("builtin", "maps"), key=lambda name: name != palette)
    )
    if examples:
        drawings = [
            np.asarray(read_image(path).resize((size, size), Image.Resampling.BICUBIC))
            for path in examples
        ]
    else:
        drawings = example_drawings(mode, size)
        if names[0] == "maps":
            drawings = [_web_map(pixels) for pixels in drawings]
    model = {
        "title": title or TITLES[mode],
        "mode": mode,
        "size": size,
        "palettes": [
            {"name": name, "colours": [_colour(colour, size) for colour in PALETTES[name]]}
            for name in names
        ],
        "examples": [f"examples/{i + 1}.png" for i in range(len(drawings))],
        "networks": [describe(network, size) for network in networks],
    }
    with _folder_written_whole(output) as folder:
        for name in PAGE:
            shutil.copyfile(SOURCE / name, folder / name)
        (folder / "ort").mkdir()
        for name in RUNTIME:
            shutil.copyfile(PACKAGE / "dist" / name, folder / "ort" / name)
        shutil.copyfile(RUNTIME_LICENCE, folder / "ort" / "LICENSE")
        (folder / "models").mkdir()
        for network in networks:
            shutil.copyfile(network.path, folder / "models" / f"{network.name}.onnx")
        for name, pixels in zip(model["examples"], drawings, strict=True):
            save_png(folder / name, pixels)
        (folder / _MARK).write_text(json.dumps(model, indent=1) + "\n")
    return output


def _colour(colour: Colour, size: int) -> dict:
    """A colour as the page reads it; the outline in pixels."""
    edge = (
        {"edge": colour.edge, "edgeWidth": colour.edge_metres * size / builtin.WINDOW}
        if colour.edge
        else {}
    )
    return {"name": colour.name, "rgb": colour.rgb, **edge}


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# --------------------------------------------------------------------------------------------------
# Showing it


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files with the two headers that let WebAssembly use several threads; always asked for again, as a folder may be rewritten."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: one line per file says nothing to a user."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing of browsers that hang up, as they do when a page is reloaded."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server(folder: Path, port: int, address: str = "127.0.0.1") -> http.server.ThreadingHTTPServer:
    """A server of ``folder``, not yet running. ``port`` 0 takes a free one. InputError when the port is taken."""
    try:
        return _Server((address, port), functools.partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--serve {port}: cannot listen there ({getattr(error, 'strerror', None) or error}); give another port"
        ) from None
