"""What lets browsers install the page and run it without a network: its manifest, and the list of
files that the service worker ``web/sw.js`` keeps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

# Written by `write_offline`
MANIFEST = "manifest.webmanifest"
FILES = "files.js"


def manifest(title: str) -> dict:
    """The web app manifest of a page."""
    icons = [
        {"src": f"icon-{side}.png", "sizes": f"{side}x{side}", "type": "image/png"}
        for side in (192, 512)
    ]
    return {
        "name": title,
        "short_name": "Compressed GANs",
        "description": "Draw, and watch compressed image generators paint it, without a network.",
        "id": "./",
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#f5f5f2",
        "theme_color": "#0f766e",
        "categories": ["education", "graphics"],
        "icons": [
            {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"},
            *icons,
            # The picture lies within the middle 80%, so that any shape may be cut out.
            *({**icon, "purpose": "maskable"} for icon in icons),
        ],
    }


def write_offline(folder: Path, model: dict, runtime: str) -> None:
    """Write `MANIFEST` and `FILES` into a page's folder, in which all other files are.

    The lists of `FILES`:

    * ``small``: asked of the server first, so that a page that was built again shows at once;
    * ``large``: the runtime for WASM and the compressed networks, kept from the first visit on;
    * ``later``: teachers and the runtime for WebGPU, kept from their first use on.

    The names of ``large`` and ``later`` change when the files do, so they are asked for once.

    Args:
        model:   the content of model.json
        runtime: folder of the browser's ONNX Runtime below ``folder``, named after its version
    """
    (folder / MANIFEST).write_text(json.dumps(manifest(model["title"]), indent=1) + "\n")
    networks = [network for task in model["tasks"] for network in task["networks"]]
    names = {network["file"]: f"{network['file']}?v={network['digest']}" for network in networks}
    later = {network["file"] for network in networks if network["name"] == "teacher"}
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    files = [name for name in files if (folder / name).is_file()]
    big = [name for name in files if name in names or name.startswith(f"{runtime}/ort")]
    later |= {name for name in big if "webgpu" in name or "asyncify" in name}
    digest = hashlib.sha256()
    for name in files:
        content = (folder / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    lists = {
        "version": digest.hexdigest()[:16],
        "small": ["./", *(name for name in files if name not in big)],
        "large": [names.get(name, name) for name in big if name not in later],
        "later": [names.get(name, name) for name in big if name in later],
    }
    (folder / FILES).write_text(f"self.FILES = {json.dumps(lists, indent=1)};\n")
