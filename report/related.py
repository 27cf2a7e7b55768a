"""The origin of a page: the flags of its run, and the pages of the runs before it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote


def relative_url(target: Path, folder: Path) -> str:
    """A relative URL of any file name, even with #, % or bytes that are not UTF-8."""
    return quote(os.fsencode(os.path.relpath(target, folder).replace(os.sep, "/")))


def read_flags(folder: Path, name: str = "options.json") -> dict[str, object]:
    """Name -> value of the flags in a file of a folder; empty if it cannot be read."""
    try:
        flags = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return flags if isinstance(flags, dict) else {}


def run_pages(checkpoints: dict[str, object]) -> dict[str, Path]:
    """Label -> page of the run that wrote the checkpoint. Checkpoints without a page are left out.

    Args:
        checkpoints: label -> path ``<run>/checkpoints/<name>.pth``; other values have no page
    """
    pages = {}
    for label, checkpoint in checkpoints.items():
        if isinstance(checkpoint, str) and Path(checkpoint).parent.name == "checkpoints":
            page = Path(checkpoint).parent.parent / "index.html"
            if page.is_file():
                pages[label] = page
    return pages


def origins(folder: Path) -> dict[str, Path]:
    """Label -> page of each run whose checkpoint the run in ``folder`` started from.

    Its flags ``restore_*G_path`` give the checkpoints.
    """
    checkpoints = {}
    for name, value in read_flags(folder).items():
        if name.startswith("restore_") and name.endswith("G_path"):
            role = name.removeprefix("restore_").removesuffix("G_path").strip("_")
            checkpoints[role or "network"] = value
    return run_pages(checkpoints)
