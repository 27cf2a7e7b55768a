"""A static folder that runs a generator in the browser.

It holds the page of ``web/``, ONNX Runtime for the browser, and the networks.

`build` writes the folder; `scripts/make_web_demo.py` is its command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data.images import read_image, save_png
from deploy.web.drawings import (
    PALETTES,
    PALETTES_OF,
    TITLES,
    Colour,
    as_web_map,
    example_drawings,
)
from deploy.web.networks import Network, check_network, describe
from errors import InputError
from prepare import builtin

SOURCE = Path(__file__).resolve().parents[2] / "web"
PAGE = (
    "index.html",
    "style.css",
    "boot.js",
    "app.js",
    "camera.js",
    "drawing.js",
    "network.js",
    "worker.js",
    "icon.svg",
)
PACKAGE = SOURCE / "node_modules" / "onnxruntime-web"
# The build without WebGPU and WebGL is the smallest, and computes the same on every machine.
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
# The one with WebGPU, for browsers that have it; others never load it. A smaller one exists for
# browsers with JavaScript Promise Integration, which not all that have WebGPU have.
WEBGPU = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
# The npm package does not contain the text of its licence.
RUNTIME_LICENCE = SOURCE / "onnxruntime-LICENSE"

# This file lists all other files that `build` wrote. A folder with any other file is not replaced.
MARKER = ".web_demo.json"


def _files(folder: Path) -> set[str]:
    """Relative paths of all files and links below ``folder``; links are not followed."""
    return {
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, folders, files in os.walk(folder)
        for name in [*files, *(name for name in folders if (Path(parent) / name).is_symlink())]
    }


def _own_files(folder: Path) -> set[str]:
    """The files of an earlier page in ``folder``; none if it is empty or does not exist.

    Raises:
        InputError: ``folder`` is a file, or holds anything else, which must not be lost.
    """
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise InputError(f"--output {folder}: is a file; choose another name")
    found = _files(folder)
    try:
        known = {MARKER, *json.loads((folder / MARKER).read_text())} if found else set()
    except (OSError, ValueError, TypeError):
        known = set()
    foreign = sorted(found - known)
    if foreign:
        raise InputError(
            f"--output {folder}: holds something else, {foreign[0]!r}; choose another folder, "
            "or move it away"
        )
    return found


def _remove(folder: Path, files: set[str]) -> None:
    """Remove ``files`` and then the folders that are empty. Everything else stays."""
    for name in files:
        (folder / name).unlink(missing_ok=True)
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(parent)


@contextlib.contextmanager
def _folder_written_whole(folder: Path) -> Iterator[Path]:
    """Give the block a new folder; move it to ``folder`` when the block ends.

    If the block raises, the new folder is removed. An earlier page in ``folder`` is removed file by
    file.

    Raises:
        InputError: ``folder`` holds anything but an earlier page, or cannot be written.
    """
    folder = folder.resolve()
    _own_files(folder)
    place = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=".web_demo.", dir=folder.parent))
        new, before = place / "new", place / "before"
        new.mkdir()
        yield new
        (new / MARKER).write_text(json.dumps(sorted(_files(new)), indent=1) + "\n")
        earlier = _own_files(folder)
        if folder.exists():
            folder.rename(before)
        try:
            new.rename(folder)
        except OSError:
            if earlier:
                before.rename(folder)
            raise
        _remove(before, earlier)
    except OSError as error:
        raise InputError(
            f"--output {folder}: cannot be written ({error.strerror or error}); "
            "choose another folder or free some space"
        ) from None
    finally:
        if place:
            shutil.rmtree(place / "new", ignore_errors=True)
            # Files that were added to the earlier page in the meantime stay in ``place``.
            with contextlib.suppress(OSError):
                place.rmdir()


def require_runtime() -> None:
    """Raise InputError, which says what to run, if ONNX Runtime for the browser is missing."""
    missing = [name for name in (*RUNTIME, *WEBGPU) if not (PACKAGE / "dist" / name).is_file()]
    if missing:
        raise InputError(
            f"the browser's ONNX Runtime is not installed ({missing[0]} is missing): "
            "install Node.js, then npm ci --prefix web"
        )


def _runtime_version() -> str:
    """The version of the browser's ONNX Runtime, e.g. 1.30.0."""
    return json.loads((PACKAGE / "package.json").read_text())["version"]


def build(
    output: Path,
    networks: list[Network],
    size: int,
    mode: str = "map",
    palette: str = "builtin",
    title: str | None = None,
    examples: list[Path] | None = None,
    webgpu: bool = True,
) -> Path:
    """Write the page's folder, whole or not at all.

    Args:
        output:   the folder; replaced only if it holds an earlier page and nothing else
        networks: the compressed network and, optionally, the teacher to compare it with
        size:     side of an image in pixels, a multiple of 4, at least 8
        mode:     map = coloured areas | edges = black lines on white | photo = images, any colours
        palette:  the palette that comes first, if it is in ``PALETTES_OF[mode]``
        title:    heading of the page; None = the usual one of the mode
        examples: images to start from instead of the built-in ones; cut to a square and resized.
                  If an image is a pair side by side, the half that the network reads is taken
        webgpu:   add the runtime for WebGPU; without it the folder is half as large

    Returns:
        ``output``

    Raises:
        InputError: ``size`` is wrong, a network does not fit, an example cannot be read, ONNX
            Runtime for the browser is missing, or the folder cannot be written.
    """
    if size < 8 or size % 4:
        raise InputError(f"`size` {size}: give a multiple of 4, from 8")
    require_runtime()
    for network in networks:
        check_network(network, size)
    names = sorted(PALETTES_OF[mode], key=lambda name: name != palette)
    if examples:
        drawings = [_square(read_image(path), size, mode) for path in examples]
    else:
        drawings = example_drawings(mode, size)
        if names[0] == "maps":
            drawings = [as_web_map(pixels) for pixels in drawings]
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
        "webgpu": _runtime_version() if webgpu else None,
    }
    with _folder_written_whole(output) as folder:
        for name in PAGE:
            shutil.copyfile(SOURCE / name, folder / name)
        (folder / "ort").mkdir()
        for name in (*RUNTIME, *(WEBGPU if webgpu else ())):
            shutil.copyfile(PACKAGE / "dist" / name, folder / "ort" / name)
        shutil.copyfile(RUNTIME_LICENCE, folder / "ort" / "LICENSE")
        (folder / "models").mkdir()
        for network in networks:
            shutil.copyfile(network.path, folder / "models" / f"{network.name}.onnx")
        for name, pixels in zip(model["examples"], drawings, strict=True):
            save_png(folder / name, pixels)
        (folder / "model.json").write_text(json.dumps(model, indent=1) + "\n")
    return output


def _square(image: Image.Image, size: int, mode: str) -> np.ndarray:
    """The middle square of an image, or of an A|B pair the half that the network reads.

    The page does the same with the images that visitors open, see ``openImage`` in web/app.js.

    Returns:
        (size, size, 3) uint8 RGB
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if image.width == 2 * image.height:
        left = image.width // 2 if mode == "map" else 0
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def _colour(colour: Colour, size: int) -> dict:
    """A colour as model.json stores it, with the width of its outline in pixels."""
    edge = (
        {"edge": colour.edge, "edgeWidth": colour.edge_metres * size / builtin.WINDOW}
        if colour.edge
        else {}
    )
    return {"name": colour.name, "rgb": colour.rgb, **edge}


def folder_bytes(folder: Path) -> int:
    """Total size of all files below ``folder`` in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
