"""Weights published by others: read from torch.hub's cache, or downloaded into it."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import torch

from errors import InputError


def published_weights(url: str, name: str, digest: str, what: str, remedy: str) -> Path:
    """The file ``name`` in torch.hub's cache, downloaded from ``url`` when it is not there.

    Args:
        digest: first hex digits of the file's SHA-256; a download with another one is refused
        what:   what the weights are, for the message
        remedy: what else the user can do, for the message; may be empty

    Raises:
        InputError: the file is not there and cannot be downloaded.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not cached.is_file():
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(cached), hash_prefix=digest)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"{what} could not be downloaded ({error}): put {name} at {cached}{remedy}"
            ) from None
    return cached
