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
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.web.offline import write_offline
from deploy.web.task import Task, write_task
from errors import InputError

SOURCE = Path(__file__).resolve().parents[2] / "web"
PAGE = (
    "index.html",
    "style.css",
    "boot.js",
    "app.js",
    "camera.js",
    "drawing.js",
    "network.js",
    "share.js",
    "worker.js",
    "sw.js",
    "icon.svg",
    "icon-192.png",
    "icon-512.png",
)
# Heading of a page of several tasks
TITLE = "Draw, and networks paint"
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
    output: Path, tasks: Sequence[Task], title: str | None = None, webgpu: bool = True
) -> Path:
    """Write the page's folder, whole or not at all.

    Args:
        output: the folder; replaced only if it holds an earlier page and nothing else
        tasks:  what the page offers, the one to begin with first
        title:  heading of the page; None = the title of its task, or `TITLE` if it has several
        webgpu: add the runtime for WebGPU; without it the folder is half as large

    Returns:
        ``output``

    Raises:
        InputError: a size is wrong, a network does not fit, an example cannot be read, ONNX
            Runtime for the browser is missing, or the folder cannot be written.
    """
    require_runtime()
    for task in tasks:
        task.check()
    drawings = [task.drawings() for task in tasks]
    version = _runtime_version()
    # Its name changes with its content, so browsers may keep it.
    runtime = f"ort/{version}"
    with _folder_written_whole(output) as folder:
        for name in PAGE:
            shutil.copyfile(SOURCE / name, folder / name)
        (folder / runtime).mkdir(parents=True)
        for name in (*RUNTIME, *(WEBGPU if webgpu else ())):
            shutil.copyfile(PACKAGE / "dist" / name, folder / runtime / name)
        shutil.copyfile(RUNTIME_LICENCE, folder / runtime / "LICENSE")
        described = [
            write_task(task, images, folder) for task, images in zip(tasks, drawings, strict=True)
        ]
        model = {
            "title": title or (TITLE if len(tasks) > 1 else described[0]["title"]),
            "runtime": f"{runtime}/",
            "webgpu": version if webgpu else None,
            "tasks": described,
        }
        (folder / "model.json").write_text(json.dumps(model, indent=1) + "\n")
        write_offline(folder, model, runtime)
    return output
