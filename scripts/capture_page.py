#!/usr/bin/env python3
"""Film the web page: draw on it in Chromium and write what it shows as an animated WebP.

.venv/bin/python scripts/capture_page.py results/web_demo

Needs playwright and Chromium (bash scripts/setup.sh dev), and a page that bash scripts/web_demo.sh
made. Frames last as long as they did on the screen, so the film shows the speed of this machine:
run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from chromium import REASON, find_browser, launched
from PIL import Image

from deploy.web.server import server
from errors import InputError
from options import run
from runtime.files import written_whole

# What fits the page's widest layout, in pixels; the film is smaller.
VIEW = {"width": 1240, "height": 790}
# WebP qualities, 0..100, and frames per second: tried in turn until the film is small enough.
ATTEMPTS = ((80, 15), (70, 12), (55, 10), (40, 8), (25, 6))
# Milliseconds that the last frame stays, before the film begins again
HOLD = 1500

# Strokes: the tool's key, the colour's key or None, and points as fractions of the drawing's side.
Stroke = tuple[str, str | None, tuple[tuple[float, float], ...]]
STROKES: dict[str, tuple[Stroke, ...]] = {
    "map": (
        ("b", "3", ((0.02, 0.86), (0.25, 0.7), (0.5, 0.72), (0.75, 0.55), (0.98, 0.6))),
        ("r", "7", ((0.62, 0.08), (0.93, 0.34))),
        ("r", "4", ((0.1, 0.12), (0.24, 0.24))),
        ("r", "4", ((0.32, 0.12), (0.46, 0.24))),
        ("b", "2", ((0.53, 0.02), (0.55, 0.3), (0.5, 0.6))),
        ("b", "6", ((0.1, 0.45), (0.25, 0.4), (0.38, 0.47))),
    ),
    "edges": (
        ("b", None, ((0.1, 0.62), (0.12, 0.36), (0.3, 0.38), (0.5, 0.52), (0.9, 0.62))),
        ("l", None, ((0.1, 0.62), (0.9, 0.62))),
        ("b", None, ((0.1, 0.62), (0.12, 0.7), (0.5, 0.71), (0.88, 0.7), (0.9, 0.62))),
    ),
    "photo": (
        ("b", "9", ((0.1, 0.8), (0.4, 0.7), (0.9, 0.8))),
        ("b", "6", ((0.3, 0.3), (0.5, 0.4), (0.7, 0.3))),
    ),
}


@dataclass
class Film:
    """Frames as PNG files, each with the second from which it was shown."""

    frames: list[tuple[float, bytes]] = field(default_factory=list)

    def add(self, event: dict) -> None:
        """Take a frame of Chromium's ``Page.screencastFrame``."""
        self.frames.append((event["metadata"]["timestamp"], base64.b64decode(event["data"])))

    def encode(self, width: int, quality: int, rate: int) -> bytes:
        """The film as WebP.

        Args:
            width:   of its frames in pixels
            quality: 0..100
            rate:    frames per second at most
        """
        kept: list[tuple[float, bytes]] = []
        for second, content in self.frames:
            if kept and second - kept[-1][0] < 1 / rate:
                # The last frame counts, whenever it came.
                if content is not self.frames[-1][1]:
                    continue
                kept.pop()
            kept.append((second, content))
        times = [second for second, _ in kept]
        durations = [round(1000 * (b - a)) for a, b in itertools.pairwise(times)]
        images = []
        for _, content in kept:
            image = Image.open(io.BytesIO(content)).convert("RGB")
            height = round(image.height * width / image.width)
            images.append(image.resize((width, height), Image.Resampling.LANCZOS))
        file = io.BytesIO()
        images[0].save(
            file,
            "WEBP",
            save_all=True,
            append_images=images[1:],
            duration=[*durations, HOLD],
            loop=0,
            quality=quality,
            method=4,
        )
        return file.getvalue()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "page", type=Path, metavar="PAGE", help="folder that bash scripts/web_demo.sh made"
    )
    parser.add_argument("--task", metavar="NAME", help="task to show (the page's first)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        default=Path("docs/figures/web_page.webp"),
        help="file to write (%(default)s)",
    )
    parser.add_argument(
        "--width", type=int, default=900, help="of the film in pixels (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=8, help="length of the film without its end (%(default)s)"
    )
    parser.add_argument(
        "--max_mb", type=float, default=2, help="largest size of the file in MB (%(default)s)"
    )
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    return parser.parse_args()


def _on_curve(points: list[tuple[float, float]], start: int, part: float) -> tuple[float, float]:
    """A point between ``points[start]``, where ``part`` is 0, and the next, where it is 1, on the
    Catmull-Rom curve through all."""
    ends = (points[0], *points, points[-1])
    around = ends[start : start + 4]
    x, y = (
        b + 0.5 * part * (c - a + part * (2 * a - 5 * b + 4 * c - d + part * (3 * (b - c) + d - a)))
        for a, b, c, d in zip(*around, strict=True)
    )
    return x, y


def _draw(page, seconds: float) -> None:
    """Draw the strokes of the page's mode with the mouse, in ``seconds``; a slow machine moves the
    mouse in fewer steps."""
    strokes = STROKES[page.evaluate("document.body.dataset.mode")]
    box = page.locator("#input").bounding_box()
    legs = sum(len(points) - 1 for _, _, points in strokes)
    # A fifth of the time is rest after strokes.
    leg, rest = 0.8 * seconds / legs, 0.2 * seconds / len(strokes)
    due = time.monotonic()
    for tool, colour, points in strokes:
        page.keyboard.press(tool)
        if colour:
            page.keyboard.press(colour)
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*at[0])
        page.mouse.down()
        for start in range(len(at) - 1):
            due += leg
            while (left := due - time.monotonic()) > 0:
                page.mouse.move(*_on_curve(at, start, max(0.0, 1 - left / leg)))
                page.wait_for_timeout(15)
            page.mouse.move(*at[start + 1])
        page.mouse.up()
        due += rest
        page.wait_for_timeout(max(0.0, 1000 * (due - time.monotonic())))


def _await_networks(page) -> None:
    """Wait until all networks on show have a time per frame."""
    times = page.locator(".network.shown .time")
    for _ in range(600):
        texts = times.all_inner_texts()
        if texts and all(text.endswith(" ms") for text in texts):
            return
        page.wait_for_timeout(200)
    raise InputError("the networks took two minutes without a time; is the machine busy?")


def film(address: str, browser_path: str, seconds: float, dark: bool) -> Film:
    """Open a page, let all its networks run side by side, draw, and record the screen."""
    recorded = Film()
    with launched(browser_path) as browser:
        scheme = "dark" if dark else "light"
        page = browser.new_context(viewport=VIEW, color_scheme=scheme).new_page()
        page.goto(address)
        page.wait_for_selector(".network.shown")
        if page.locator("#network-all").count():
            page.locator("#view .all").click()
        _await_networks(page)
        page.click("#clear")
        session = page.context.new_cdp_session(page)

        def arrived(event: dict) -> None:
            recorded.add(event)
            session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

        session.on("Page.screencastFrame", arrived)
        session.send("Page.startScreencast", {"format": "png", "everyNthFrame": 1})
        _draw(page, seconds)
        page.wait_for_timeout(600)
        session.send("Page.stopScreencast")
    return recorded


def main() -> None:
    opt = _parse()
    if not (opt.page / "model.json").is_file():
        raise InputError(f"{opt.page}: holds no web page; make one with bash scripts/web_demo.sh")
    if not 100 <= opt.width <= VIEW["width"]:
        raise InputError(f"--width {opt.width}: give 100 to {VIEW['width']} pixels")
    if not 1 <= opt.seconds <= 60:
        raise InputError(f"--seconds {opt.seconds:g}: give 1 to 60")
    browser = find_browser()
    if browser is None:
        raise InputError(REASON)
    with server(opt.page, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        task = f"?task={opt.task}" if opt.task else ""
        address = f"http://localhost:{running.server_address[1]}/{task}"
        recorded = film(address, browser, opt.seconds, opt.dark)
        running.shutdown()
    for quality, rate in ATTEMPTS:
        content = recorded.encode(opt.width, quality, rate)
        if len(content) <= opt.max_mb * 1e6:
            break
    else:
        raise InputError(
            f"--max_mb {opt.max_mb:g}: the film takes {len(content) / 1e6:.1f} MB at the lowest "
            "quality; allow more, or make it smaller with --width or --seconds"
        )
    with written_whole(opt.output) as temporary:
        temporary.write_bytes(content)
    print(
        f"{opt.output}: {len(content) / 1e6:.2f} MB, quality {quality}, {rate} frames/s at most, "
        f"{len(recorded.frames)} frames recorded"
    )


if __name__ == "__main__":
    run(main)
