"""The browser that the tests of pages use."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REASON = "pages are tested with playwright and Chromium: bash scripts/setup.sh dev"


def find_browser() -> str | None:
    """A Chromium on this machine, ``$CHROMIUM`` first; else the one that playwright may have
    brought. None without playwright."""
    if not importlib.util.find_spec("playwright"):
        return None
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).exists() else None
    return found


FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--process-per-site")
# WebAssembly compiled once, quickly: the tests' networks are too small to gain by more.
FLAGS += ("--js-flags=--liftoff-only",)


@contextmanager
def launched(path: str) -> Iterator:
    """playwright's browser of the program at ``path``."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()
