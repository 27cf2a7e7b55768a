"""The web page in a real browser: what it draws, what comes out of it, and what it says where it
cannot run; and the maker of its folder."""

import base64
import copy
import functools
import http.server
import importlib.util
import io
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import FLAGS, find_browser
from PIL import Image

from data.transforms import to_float, to_uint8
from deploy.checks import rounded
from deploy.web import folder as web_folder
from deploy.web.networks import Network
from deploy.web.server import server as web_server
from deploy.web.task import Task
from errors import InputError
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.weights import save_network
from prepare import builtin

ROOT = Path(__file__).resolve().parents[2]
SIZE = 64
WATER = builtin.MAP_WATER
CONFIG = "8_8_16_8_8_16_8_8"

# --------------------------------------------------------------------------------------------------
# What the tests need: all from scripts/setup.sh dev, where it can


HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
HAS_RUNTIME = HAS_ONNX and (web_folder.PACKAGE / "dist" / web_folder.RUNTIME[0]).is_file()
BROWSER = find_browser() if HAS_RUNTIME else None
REASON = "the web page is tested with npm, playwright and Chromium: bash scripts/setup.sh dev"
needs_runtime = pytest.mark.skipif(not HAS_RUNTIME, reason=REASON)
needs_browser = pytest.mark.skipif(BROWSER is None, reason=REASON)


# --------------------------------------------------------------------------------------------------
# A folder of the page, served, in a browser


def generator(spec: GeneratorSpec, seed: int):
    """With weights large enough that outputs use their range."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return init_weights(spec.build(), gain=0.1).eval()


@pytest.fixture(scope="module")
def networks():
    specs = {
        "compressed": GeneratorSpec("sub_mobile_resnet_6blocks", config_str=CONFIG),
        "teacher": GeneratorSpec("resnet_6blocks", ngf=8),
    }
    return {name: (generator(spec, seed), spec) for seed, (name, spec) in enumerate(specs.items())}


@pytest.fixture(scope="module")
def demo(tmp_path_factory, networks) -> Path:
    """What scripts/demo.sh leaves, as far as it matters here."""
    folder = tmp_path_factory.mktemp("demo")
    save_network(
        networks["compressed"][0], folder / "export/compressed.pth", networks["compressed"][1]
    )
    teacher = folder / "teacher/checkpoints/best_net_G.pth"
    save_network(networks["teacher"][0], teacher, networks["teacher"][1])
    (folder / "teacher/options.json").write_text(json.dumps({"crop_size": SIZE}))
    return folder


def task_of(page: Path, index: int = 0) -> dict:
    """A task as model.json describes it."""
    return json.loads((page / "model.json").read_text())["tasks"][index]


@pytest.fixture(scope="module")
def folder(cli, tmp_path_factory, demo) -> Path:
    """The page as its script makes it from the demo's results."""
    path = tmp_path_factory.mktemp("page") / "page"
    done = cli(
        "scripts/make_web_demo.py", "--demo", demo, "--output", path, timeout=300
    ).succeeded()
    assert f"{path}: map, 64x64 pixels: compressed, teacher" in done.stdout
    assert f"http.server -d {path}" in done.stdout
    return path


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serving(server):
    # An end is noticed within a twentieth of a second, not half a one.
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return f"http://localhost:{server.server_address[1]}/"


def measure_briefly(folder: Path) -> None:
    """Pages run a network again and again for 0.8 s to time it: of small ones, 1000 frames."""
    file = folder / "network.js"
    text, count = re.subn(r"const WARM_UP = \d+;", "const WARM_UP = 5;", file.read_text())
    assert count == 1
    file.write_text(text)


@pytest.fixture(scope="module")
def serve():
    """``serve(folder)``: its address on a server without any special header. The page there
    measures times briefly."""
    servers = []

    def start(folder: Path) -> str:
        measure_briefly(folder)
        handler = functools.partial(Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        return serving(servers[-1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def address(serve, folder) -> str:
    return serve(folder)


# Of the console: that these tests read the canvases often is theirs; that Chromium finds no GPU is
# the machine's, and that it keeps nothing offline where no test asks for that is playwright's.
HARMLESS = ("willReadFrequently", "No available adapters", "blocked by Playwright")


def is_error(message) -> bool:
    said = message.type in ("error", "warning")
    return said and not any(words in message.text for words in HARMLESS)


USUAL = {"viewport": {"width": 1280, "height": 800}, "service_workers": "block"}


@pytest.fixture(scope="module")
def usual(browser, serve, photo_page):
    """Where most visitors come from. Its pages share one process, and with it the runtime that the
    browser has compiled, as long as a page that holds it stays open."""
    context = browser.new_context(**USUAL)
    holder = context.new_page()
    holder.goto(serve(photo_page))
    settle(holder)
    yield context
    context.close()


@pytest.fixture
def visit(browser, usual):
    """``visit(address, script=None, ready=True, viewport=None, **context)``: a page of a fresh
    visitor. ``page.errors``: what it complained of."""
    opened = []

    def go(address, script=None, ready=True, viewport=None, **context):
        size = viewport or USUAL["viewport"]
        if context:
            place = browser.new_context(**{**USUAL, "viewport": size, **context})
            opened.append(place)
            page = place.new_page()
        else:
            page = usual.new_page()
            page.set_viewport_size(size)
            opened.append(page)
        if script:
            page.add_init_script(script)
        go_to(page, address)
        if ready:
            settle(page)
        return page

    yield go
    for each in opened:
        each.close()


def go_to(page, address: str) -> None:
    """``page.errors``: what goes wrong in it from now on, and what it fetches from elsewhere."""
    page.errors = []
    page.on("console", lambda m: page.errors.append(m.text) if is_error(m) else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("requestfailed", lambda request: page.errors.append(f"{request.url} failed"))
    page.on("request", lambda r: page.errors.append(r.url) if not r.url.startswith(own) else None)
    own = ("blob:", "data:", re.split("[?#]", address)[0])
    page.goto(address)


@pytest.fixture
def fresh_page(visit, address):
    """The page with its first example; at the end nothing may have gone wrong in it, nor anything
    been fetched from elsewhere."""
    page = visit(address)
    yield page
    assert page.errors == []


@pytest.fixture(scope="module")
def used_page(usual, address):
    page = usual.new_page()
    page.set_viewport_size(USUAL["viewport"])
    go_to(page, address)
    yield page
    page.close()


@pytest.fixture
def page(used_page):
    """As `fresh_page`, but for its past: the same page for all tests, with its first settings."""
    settle(used_page)
    used_page.click("#tool-brush")
    used_page.fill("#width", "3")
    used_page.select_option("#palette-name", index=0)
    choose(used_page, "compressed")
    clear_status(used_page)
    used_page.click("#examples button >> nth=0")
    await_text(used_page, "#status", "Image opened")
    settle(used_page)
    yield used_page
    assert used_page.errors == []


def settle(page, timeout: float = 30_000) -> None:
    """Wait until the outputs on show are those of the drawing."""
    page.wait_for_selector(".network.shown", timeout=timeout)
    page.wait_for_selector(
        'main:not(:has(.shown canvas[aria-busy="true"]))', state="attached", timeout=timeout
    )


def await_text(page, selector: str, pattern: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(re.compile(pattern), timeout=20_000)


def pixels(page, canvas: str) -> np.ndarray:
    """H W 3 uint8 of a canvas: "input", "output-NAME", or "output", the only one on show."""
    data = page.evaluate(
        """(id) => {
            const canvas = document.getElementById(id) ?? document.querySelector(".shown canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width,
            canvas.height);
            let text = "";
            for (const byte of data) text += String.fromCharCode(byte);
            return [canvas.height, canvas.width, btoa(text)];
        }""",
        canvas,
    )
    height, width, text = data
    return (
        np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[:, :, :3].copy()
    )


def drag(page, *points: tuple[float, float]) -> None:
    """A stroke with the mouse; points are parts of the canvas's side. The output follows."""
    page.locator("#input").scroll_into_view_if_needed()
    box = page.locator("#input").bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()
    settle(page)


def expected(net, image: np.ndarray) -> np.ndarray:
    """What PyTorch makes of H W 3 uint8."""
    with torch.inference_mode():
        y = net(to_float(torch.from_numpy(image).permute(2, 0, 1))[None])[0]
    return to_uint8(y).permute(1, 2, 0).numpy()


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def choose(page, name: str) -> None:
    page.locator(f"#view label[for=network-{name}]").click()
    settle(page)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


# --------------------------------------------------------------------------------------------------
# Drawing and its output


@needs_browser
def test_a_drawing_changes_the_output_and_undo_restores_it(fresh_page):
    page = fresh_page
    drawn, output = pixels(page, "input"), pixels(page, "output")
    drag(page, (0.1, 0.2), (0.5, 0.7), (0.9, 0.3))
    new_drawn, new_output = pixels(page, "input"), pixels(page, "output")
    assert difference(new_drawn, drawn) > 20 and difference(new_output, output) > 20

    page.keyboard.press("Control+z")
    settle(page)
    assert (
        difference(pixels(page, "input"), drawn) == 0
        and difference(pixels(page, "output"), output) == 0
    )
    assert page.get_attribute("#undo", "aria-disabled") == "true"
    page.click("#redo")
    settle(page)
    assert difference(pixels(page, "input"), new_drawn) == 0
    assert difference(pixels(page, "output"), new_output) == 0

    page.click("#clear")
    settle(page)
    assert np.ptp(pixels(page, "input").reshape(-1, 3), axis=0).max() == 0
    page.click("#undo")
    settle(page)
    assert difference(pixels(page, "input"), new_drawn) == 0


@needs_browser
def test_the_output_is_pytorchs(page, networks):
    """Of both networks, on an example, on a drawing made quickly, and on noise; the switch changes
    the output."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    steps = [
        lambda: None,
        lambda: drag(page, (0.2, 0.9), (0.3, 0.1), (0.8, 0.8), (0.9, 0.1)),
        lambda: open_image(page, noise),
    ]
    for step in steps:
        step()
        outputs = {}
        for name, (net, _) in networks.items():
            choose(page, name)
            outputs[name] = pixels(page, "output")
            assert difference(outputs[name], expected(net, pixels(page, "input"))) <= 2
            assert np.ptp(outputs[name]) > 100
        assert difference(outputs["teacher"], outputs["compressed"]) > 20
        choose(page, "compressed")


def clear_status(page) -> None:
    """So that what comes is not taken for what was said before."""
    page.evaluate("document.getElementById('status').textContent = ''")


def open_image(page, image: np.ndarray, name: str = "image.png") -> None:
    clear_status(page)
    page.set_input_files("#file", [{"name": name, "mimeType": "image/png", "buffer": png(image)}])
    await_text(page, "#status", "opened|half")
    settle(page)


@needs_browser
def test_both_times_are_shown_with_their_ratio(fresh_page):
    page = fresh_page
    page.emulate_media(reduced_motion="reduce")  # widths change at once
    assert page.inner_text("#time-teacher") == "–" and "Choose All" in page.inner_text("#measured")
    for name in ("compressed", "teacher"):
        choose(page, name)
        await_text(page, f"#time-{name}", " ms$")
    fps = float(page.inner_text("#fps-compressed").removesuffix(" fps"))
    assert fps == pytest.approx(1000 / float(page.inner_text("#time-compressed")[:-3]), rel=0.1)
    assert re.match(r"[\d.]+× as fast|no faster", page.inner_text("#against-compressed"))
    widths = [card.bounding_box()["width"] for card in page.locator(".fill").all()]
    assert max(widths) == pytest.approx(
        page.locator(".track").first.bounding_box()["width"], rel=0.1
    )
    providers = page.locator(".provider").all_inner_texts()
    assert providers == ["WASM, 1 thread"] * 2 and page.is_hidden("#camera")
    facts = page.locator(".card .facts").all_inner_texts()
    assert all("parameters" in text and "MACs" in text and "MB" in text for text in facts)


@needs_browser
def test_images_are_opened_and_dropped(page):
    """As they are at the network's size; else the middle square, or the half that the network reads
    of a pair."""
    random = np.random.default_rng(1)
    exact, other, pair = (
        random.integers(0, 256, (SIZE, width, 3), np.uint8) for width in (SIZE, SIZE + 20, 2 * SIZE)
    )
    open_image(page, exact)
    assert difference(pixels(page, "input"), exact) == 0
    open_image(page, pair)
    assert difference(pixels(page, "input"), pair[:, SIZE:]) == 0
    drop = """(text) => {
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
        document.getElementById("outputs").dispatchEvent(new DragEvent("drop", { dataTransfer:
        transfer, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(drop, base64.b64encode(png(other)).decode())
    await_text(page, "#status", "^Image opened$")
    settle(page)
    assert difference(pixels(page, "input"), other[:, 10:-10]) == 0
    page.evaluate(drop, base64.b64encode(b"no image").decode())
    await_text(page, "#status", "cannot read that file")
    assert difference(pixels(page, "input"), other[:, 10:-10]) == 0


@needs_browser
def test_saving(page):
    for button, name, wanted in (
        ("#save", "output", ["output"]),
        ("#save-both", "pair", ["input", "output"]),
    ):
        with page.expect_download() as download:
            page.click(button)
        assert download.value.suggested_filename == f"{name}-compressed.png"
        saved = Image.open(download.value.path())
        assert saved.format == "PNG"
        images = [pixels(page, canvas) for canvas in wanted]
        assert difference(np.asarray(saved.convert("RGB")), np.concatenate(images, 1)) == 0


@needs_browser
def test_tools(page, folder):
    """Each draws what it says; streets that cross are not cut by each other's outline."""
    palette = {c["name"]: c for c in task_of(folder)["palettes"][0]["colours"]}
    page.click("#clear")
    page.keyboard.press("2")
    assert page.inner_text("#colour-name") == "Street"
    drag(page, (0.0, 0.5), (1.0, 0.5))
    drag(page, (0.5, 0.0), (0.5, 1.0))
    drawn = pixels(page, "input")
    assert (drawn[SIZE // 2, 2:-2] == palette["Street"]["rgb"]).all()
    assert (drawn[2:-2, SIZE // 2] == palette["Street"]["rgb"]).all()

    page.keyboard.press("f")
    page.keyboard.press("7")
    drag(page, (0.1, 0.1))
    drawn = pixels(page, "input")
    assert (drawn[5, 5] == palette["Water"]["rgb"]).all() and (
        drawn[5, -5] == palette["Gardens"]["rgb"]
    ).all()

    page.click("#tool-rectangle")
    page.click("#palette button[aria-label=Building]")
    drag(page, (0.6, 0.1), (0.9, 0.4))
    drawn = pixels(page, "input")
    assert (drawn[10:22, 42:54] == palette["Building"]["rgb"]).all()

    page.keyboard.press("e")
    page.fill("#width", "10")
    drag(page, (0.75, 0.25))
    assert (pixels(page, "input")[15:17, 47:49] == palette["Gardens"]["rgb"]).all()
    page.keyboard.press("]")
    assert page.inner_text("#width-value") == "11 px"

    page.select_option("#palette-name", label="Web maps")
    assert page.get_attribute("#tool-brush", "aria-pressed") == "true"
    page.click("#palette button[aria-label=Highway]")
    drag(page, (0.1, 0.9))
    assert (pixels(page, "input")[57, 6] == (248, 160, 36)).all()


@needs_browser
def test_keyboard_alone(page):
    """Every control is reached by Tab; the canvas is drawn on with arrows and Space, and says
    so."""
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.parentElement.id")
        )
    wanted = {
        "input",
        "undo",
        "redo",
        "clear",
        "save",
        "save-both",
        "network-compressed",
        "tool-brush",
    }
    assert reached >= wanted | {"tool-fill", "width", "palette-name", "palette", "examples", "open"}

    before, output = pixels(page, "input"), pixels(page, "output")
    page.focus("#input")
    page.keyboard.press("3")
    for key in ("Shift+ArrowLeft", "Shift+ArrowLeft", "ArrowUp", "Space"):
        page.keyboard.press(key)
    assert page.inner_text("#status") == "Pen down" and page.is_visible("#cursor.key.down")
    for _ in range(10):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    settle(page)
    assert page.inner_text("#status") == "Pen up"
    after = pixels(page, "input")
    assert (after[34, 16] == (252, 222, 128)).all() and difference(
        after[:, 32:], before[:, 32:]
    ) == 0
    assert difference(pixels(page, "output"), output) > 10
    page.keyboard.press("Control+z")
    page.keyboard.press("t")
    settle(page)
    assert page.is_checked("#network-teacher") and difference(pixels(page, "input"), before) == 0
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Escape")
    settle(page)
    assert difference(pixels(page, "input"), before) == 0


@needs_browser
def test_on_a_phone(visit, address, networks):
    page = visit(address, viewport={"width": 360, "height": 640}, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box = page.locator("#input").bounding_box()
    assert (
        box["width"] > 300 and box["y"] + box["height"] < 640
    )  # the whole drawing, below the output
    assert page.locator("#output-compressed").bounding_box()["y"] >= 0
    before = pixels(page, "input")
    page.click("#palette button[aria-label=Water]")
    page.locator("#input").scroll_into_view_if_needed()
    box = page.locator("#input").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector('#undo[aria-disabled="false"]')
    settle(page)
    drawn = pixels(page, "input")
    assert difference(drawn, before) > 10
    assert difference(pixels(page, "output"), expected(networks["compressed"][0], drawn)) <= 2
    assert page.errors == []


@needs_browser
def test_nothing_leaves_its_card(visit, address):
    """On two phones, a tablet and a small screen, with one output and with two."""
    page = visit(address, viewport={"width": 390, "height": 640})
    for key in "tv":
        page.keyboard.press(key)
        settle(page)
        page.evaluate("""() => {
            for (const time of document.querySelectorAll(".time")) time.textContent = "1234 ms";
            document.querySelector("details").open = true;
        }""")
        for width in (1000, 910, 700, 390, 320):
            page.set_viewport_size({"width": width, "height": 640})
            assert page.evaluate("innerWidth") == width
            wide = page.evaluate("""() => [...document.querySelectorAll("body, header, main *")]
                .filter((e) => e.clientWidth && !e.matches(".name, .wide > span"))
                .filter((e) => e.scrollWidth > e.clientWidth + 1)
                .map((e) => `${e.tagName}#${e.id}.${e.className}`)""")
            assert wide == [], (key, width)


@needs_browser
def test_teacher_and_compressed_side_by_side(page, networks):
    page.click("#view .all")
    settle(page)
    drag(page, (0.2, 0.2), (0.8, 0.8))
    drawn = pixels(page, "input")
    for name, (net, _) in networks.items():
        assert difference(pixels(page, f"output-{name}"), expected(net, drawn)) <= 2, name
    boxes = [page.locator(f"#output-{name}").bounding_box() for name in networks]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    with page.expect_download() as download:
        page.keyboard.press("Shift+S")
    assert download.value.suggested_filename == "pair-side-by-side.png"
    saved = np.asarray(Image.open(download.value.path()).convert("RGB"))
    assert saved.shape == (SIZE, 3 * SIZE, 3)
    assert difference(saved[:, 2 * SIZE :], pixels(page, "output-teacher")) == 0
    page.click("#card-teacher")
    settle(page)
    assert page.is_hidden("#output-compressed") and page.is_checked("#network-teacher")
    assert difference(pixels(page, "output"), expected(networks["teacher"][0], drawn)) <= 2
    page.keyboard.press("n")
    assert page.is_checked("#network-compressed")
    page.keyboard.press("Shift+N")
    assert page.is_checked("#network-teacher")


@needs_browser
def test_any_colour_of_the_picker(page):
    page.fill("#any-colour", "#123456")
    assert page.inner_text("#colour-name") == "Colour #123456"
    drag(page, (0.5, 0.5), (0.6, 0.5))
    assert (pixels(page, "input")[SIZE // 2, round(0.55 * SIZE)] == (0x12, 0x34, 0x56)).all()
    page.click("#palette button[aria-label=Water]")
    assert page.input_value("#any-colour") == "#{:02x}{:02x}{:02x}".format(*WATER)


@needs_browser
def test_photos(call, serve, visit, tmp_path):
    """The general palette alone; a pair that is opened gives its left half."""
    page_folder, model = tmp_path / "page", write_onnx(tmp_path / "net.onnx")
    assert call(model, "--mode", "photo", "--size", 64, "--output", page_folder)[0] == 0
    values = np.array([50, 200], np.uint8).repeat(64)
    Image.fromarray(np.broadcast_to(values[None, :, None], (64, 128, 3))).save(tmp_path / "ab.png")
    page = visit(serve(page_folder))
    assert page.is_visible("#palette-box") and page.is_hidden("#palette-name")
    assert page.locator("#tools button").count() == 5 and page.is_hidden("#view")
    page.set_input_files("#file", tmp_path / "ab.png")
    await_text(page, "#status", "took its left half")
    settle(page)
    assert (pixels(page, "input") == 50).all() and page.errors == []


@needs_browser
def test_with_threads(visit, folder, networks):
    """A server that isolates the page lets it use several; the result stays."""
    with web_server(folder, 0) as server:
        cores = 'Object.defineProperty(navigator, "hardwareConcurrency", { value: 4 })'
        page = visit(serving(server), script=cores)
        assert page.evaluate("crossOriginIsolated")
        assert page.inner_text("#provider-compressed") == "WASM, 2 threads"
        wanted = expected(networks["compressed"][0], pixels(page, "input"))
        assert difference(pixels(page, "output"), wanted) <= 2
        server.shutdown()


# --------------------------------------------------------------------------------------------------
# Where it cannot run


@needs_browser
@pytest.mark.parametrize(
    "missing, word", [("WebAssembly", "WebAssembly"), ("Worker", "module workers")]
)
def test_browsers_that_lack_something(visit, address, missing, word):
    page = visit(address, script=f"delete window.{missing}", ready=False)
    assert f"This browser has no {word}" in page.inner_text("#message")
    assert page.is_hidden("#app") and page.errors == []


@needs_browser
def test_opened_as_a_file(visit, folder):
    page = visit(f"file://{folder}/index.html", ready=False)
    assert f"python -m http.server 8000 -d {folder}" in page.inner_text("#message")
    assert page.is_hidden("#app")


@needs_browser
def test_a_network_that_is_gone(visit, serve, folder, tmp_path):
    """The teacher's: the page stays with the compressed one. The compressed one's: a message."""
    place = tmp_path / "page"
    shutil.copytree(folder, place)
    (place / "models/map/teacher.onnx").write_bytes(b"no network")
    address = serve(place)
    page = visit(address)
    page.keyboard.press("t")
    await_text(page, "#status", "Teacher: could not run")
    assert page.is_checked("#network-compressed") and page.is_disabled("#network-teacher")
    settle(page)
    (place / "models/map/compressed.onnx").unlink()
    page = visit(address, ready=False)
    page.wait_for_selector("#message:not([hidden])")
    assert "Compressed: could not run" in page.inner_text("#message") and page.is_hidden("#app")


# --------------------------------------------------------------------------------------------------
# Making the folder


def write_onnx(path: Path, channels_in=3, channels_out=3, size="side") -> Path:
    """One 1x1 convolution; from 3 to 3 channels it changes nothing but to darken."""
    from onnx import TensorProto, helper, numpy_helper, save

    weight = 0.5 * np.eye(channels_out, channels_in, dtype=np.float32)[:, :, None, None]
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels_in, size, size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels_out, size, size])
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def call(monkeypatch, capsys):
    """``call(*args)`` of scripts/make_web_demo.py in this process -> (exit code, stdout,
    stderr)."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["web_demo.sh", *map(str, args)])
        code = 0
        try:
            runpy.run_path(str(ROOT / "scripts/make_web_demo.py"), run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        return (code, *capsys.readouterr())

    monkeypatch.syspath_prepend(str(ROOT))
    return run


@needs_runtime
def test_bad_input_is_one_line_with_the_remedy(call, tmp_path):
    import onnx

    good = write_onnx(tmp_path / "good.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("no network")
    grey = write_onnx(tmp_path / "grey.onnx", channels_in=1)
    four = write_onnx(tmp_path / "four.onnx", channels_out=4)
    fixed = write_onnx(tmp_path / "fixed.onnx", size=32)
    parts = tmp_path / "parts.onnx"
    onnx.save(onnx.load(good), parts, save_as_external_data=True, size_threshold=0)
    styled = tmp_path / "styled.pth"
    spec = GeneratorSpec("sub_mobile_munit", config_str="_".join("2" * 10))
    save_network(spec.build(), styled, spec)
    page, full = tmp_path / "page", tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").touch()
    cases = [
        (["--demo", tmp_path / "none"], "run bash scripts/demo.sh first or give MODEL.onnx"),
        ([tmp_path / "none.onnx"], "no such file"),
        ([tmp_path / "none.pth"], "no such file"),
        ([text], "not a network that ONNX Runtime reads"),
        ([grey], "1 channels"),
        ([four], "3 channels out"),
        ([good, "--teacher", grey], "--teacher .*1 channels"),
        ([fixed, "--size", 64], "32 pixels only, not 64"),
        ([parts], "weights in a second file"),
        ([styled], "takes styles"),
        ([good, "--size", 66], "multiple of 4"),
        ([good, "--example", text], "not an image"),
        ([good, "--output", full], "holds something else"),
        ([good, "--output", text / "x"], "cannot be written|holds something else"),
    ]
    for args, message in cases:
        code, out, err = call("--output", page, *args)
        assert code == 2 and len(err.splitlines()) == 1, (args, out, err)
        assert re.search(message, err), (args, err)
    assert not page.exists() and [p.name for p in full.iterdir()] == ["thesis.txt"]
    assert call(good, "--mode", "sketch")[0] == 2


@needs_runtime
def test_a_folder_is_replaced_whole(call, tmp_path, monkeypatch):
    """And stays as it was when the new one cannot be made. A network of one size sets the
    page's."""
    page = tmp_path / "page"
    model = write_onnx(tmp_path / "fixed.onnx", size=32)
    assert call(model, "--output", page, "--title", "First", "--palette", "maps")[0] == 0
    described = task_of(page)
    assert described["title"] == "First" and described["size"] == 32
    assert [p["name"] for p in described["palettes"]] == ["maps", "builtin", "colours"]
    assert len(described["networks"]) == 1 and described["networks"][0]["macs"] is None
    assert Image.open(page / described["examples"][0]["drawing"]).size == (32, 32)
    with monkeypatch.context() as patch:
        patch.setattr(
            shutil, "copyfile", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
        )
        code, _, err = call(model, "--output", page)
    assert code == 2 and "No space left" in err
    assert task_of(page) == described
    link = tmp_path / "link"
    link.symlink_to(page)
    assert call(model, "--output", link, "--mode", "edges")[0] == 0
    assert (
        link.is_symlink()
        and not (page / "examples/map").exists()
        and len(list((page / "examples/edges").glob("*.png"))) == 10
    )
    assert [p.name for p in tmp_path.iterdir() if p.is_dir() and not p.is_symlink()] == ["page"]


@needs_runtime
def test_a_folder_that_holds_anything_else_is_never_removed(call, tmp_path):
    model, page = write_onnx(tmp_path / "net.onnx", size=32), tmp_path / "page"
    assert call(model, "--output", page)[0] == 0
    for foreign in ("thesis.txt", "models/map/mine.onnx", "linked", "more/deep/file"):
        path = page / foreign
        path.parent.mkdir(parents=True, exist_ok=True)
        if foreign == "linked":
            path.symlink_to(tmp_path)
        else:
            path.write_text("mine")
        before = sorted(page.rglob("*"))
        code, _, err = call(model, "--output", page)
        assert code == 2 and f"holds something else, {foreign!r}" in err and "another folder" in err
        assert sorted(page.rglob("*")) == before
        path.unlink()


@needs_runtime
def test_a_folder_without_the_marker_is_never_removed(call, tmp_path):
    """Other programs write a model.json too."""
    model, other = write_onnx(tmp_path / "net.onnx", size=32), tmp_path / "other"
    for name in ("model.json", "weights/layer.bin"):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text("{}")
    for marker in (None, "no JSON", "7"):
        if marker:
            (other / web_folder.MARKER).write_text(marker)
        code, _, err = call(model, "--output", other)
        assert code == 2 and "holds something else" in err, marker
        assert (other / "model.json").is_file() and (other / "weights/layer.bin").is_file()


@needs_runtime
def test_what_arrives_while_the_page_is_built_is_kept(tmp_path, monkeypatch):
    network = Network("compressed", "MODEL", write_onnx(tmp_path / "net.onnx", size=32))
    task = Task("map", "map", 32, [network])
    page = web_folder.build(tmp_path / "page", [task])
    copyfile = shutil.copyfile
    with monkeypatch.context() as patch:
        patch.setattr(
            shutil,
            "copyfile",
            lambda *args: (copyfile(*args), (page / "new.txt").write_text("mine")),
        )
        with pytest.raises(InputError, match=r"something else, 'new\.txt'"):
            web_folder.build(page, [task])
    assert (page / "new.txt").read_text() == "mine" and (page / "model.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "page"]


@needs_runtime
@pytest.mark.parametrize("mode, half", [("map", 1), ("photo", 0), ("edges", 0)])
def test_examples_are_cut_not_squeezed(call, tmp_path, mode, half):
    """Of a pair side by side, the half that the network reads; of others, the middle square."""
    values = np.array([50, 200], np.uint8)
    pair = np.broadcast_to(values.repeat(64)[None, :, None], (64, 128, 3))
    Image.fromarray(pair).save(tmp_path / "pair.png")
    wide = np.zeros((64, 104, 3), np.uint8)
    wide[:, 20:84] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    page, model = tmp_path / "page", write_onnx(tmp_path / "net.onnx", size=32)
    examples = [tmp_path / "pair.png", tmp_path / "wide.png"]
    assert call(model, "--output", page, "--mode", mode, "--example", *examples)[0] == 0
    shown = [np.asarray(Image.open(page / f"examples/{mode}/{i}.png")) for i in (1, 2)]
    assert (shown[0] == values[half]).all() and (shown[1] == 255).all()
    assert shown[0].shape == (32, 32, 3)


@needs_runtime
def test_photo_mode_starts_from_photos(call, tmp_path):
    page, model = tmp_path / "page", write_onnx(tmp_path / "net.onnx", size=64)
    assert call(model, "--output", page, "--mode", "photo")[0] == 0
    described = task_of(page)
    assert [p["name"] for p in described["palettes"]] == ["colours"]
    example = np.asarray(Image.open(page / described["examples"][0]["drawing"]))
    assert len(np.unique(example.reshape(-1, 3), axis=0)) > 1000  # a map has a few dozen colours


@needs_runtime
def test_what_is_said_of_a_network(folder, networks):
    """Found in the .onnx alone: configuration, parameters, MACs."""
    from models.cost import config_cost

    described = task_of(folder)["networks"]
    assert len(described) == 2
    for entry in described:
        net, spec = networks[entry["name"]]
        macs, parameters = config_cost(spec.config, spec.architecture, "published", SIZE, SIZE)
        assert (entry["macs"], entry["parameters"]) == (macs, parameters)
        assert parameters == sum(p.numel() for p in net.parameters())
        assert entry["bytes"] == (folder / entry["file"]).stat().st_size
    assert described[0]["config"] == CONFIG
    assert described[1]["config"] == "resnet_6blocks, ngf 8"


@needs_runtime
def test_serving_it(tmp_path):
    """Until Ctrl-C; a port that is taken is said."""
    model, page = write_onnx(tmp_path / "net.onnx"), tmp_path / "page"
    command = [
        sys.executable,
        "scripts/make_web_demo.py",
        model,
        "--size",
        "32",
        "--output",
        page,
        "--serve",
        "0",
    ]
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in a shell's background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        address = next(line for line in process.stdout if line.startswith("see it: ")).split()[2]
        runtime = json.loads((page / "model.json").read_text())["runtime"]
        with urllib.request.urlopen(f"{address}/{runtime}{web_folder.RUNTIME[2]}") as answer:
            assert answer.headers["Content-Type"] == "application/wasm"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        for path in ("%00", "models/", "models", "none.png", "a" * 5000, "%ff%fe"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{address}/{path}")
        with pytest.raises(InputError, match=r"--serve .*another port"):
            web_server(page, int(address.rpartition(":")[2]))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130 and process.stderr.read() == "interrupted\n"
    finally:
        process.kill()
        process.communicate()


@needs_browser
@pytest.mark.usefixtures("converted_once")
def test_a_unet_of_bare_weights(call, serve, visit, tmp_path):
    """Recognised from its file; it takes only images as large as it is deep."""
    net = generator(GeneratorSpec("unet_128", 4), 2)
    file, out = tmp_path / "latest_net_G.pth", tmp_path / "page"
    torch.save(net.state_dict(), file)
    code, _, said = call(file, "--size", 64, "--output", out)
    assert code == 2 and "64x64" in said and "--size" in said and not out.exists()
    whole = tmp_path / "small.safetensors"
    save_network(net, whole, GeneratorSpec("unet_128", 4))
    assert call(whole, "--size", 128, "--output", out)[0] == 0
    page = visit(serve(out))
    assert difference(pixels(page, "output"), expected(net, pixels(page, "input"))) <= 2
    assert np.ptp(pixels(page, "output")) > 50 and page.errors == []


@needs_browser
def test_black_lines_on_white(call, serve, visit, tmp_path):
    """Mode edges: no palette; brush, eraser and line; no teacher to choose."""
    page_folder = tmp_path / "page"
    model = write_onnx(tmp_path / "net.onnx")
    assert call(model, "--mode", "edges", "--size", 64, "--output", page_folder)[0] == 0
    page = visit(serve(page_folder))
    example = pixels(page, "input")
    assert example.min() < 60 and (example == 255).mean() > 0.8
    assert page.is_hidden("#palette-box") and page.locator("#tools button").count() == 3
    assert page.locator(".card").count() == 1
    page.click("#clear")
    page.keyboard.press("4")  # no such colour
    page.keyboard.press("r")  # no such tool
    page.evaluate("void (navigator.mediaDevices.getUserMedia = () => { window.filmed = true; })")
    page.keyboard.press("p")  # no camera
    assert page.evaluate("window.filmed") is None
    drag(page, (0.2, 0.5), (0.8, 0.5))
    drawn = pixels(page, "input")
    assert drawn[31:33, 20:44].min() < 128 and (drawn[:24] == 255).all()
    page.keyboard.press("e")
    page.fill("#width", "9")
    drag(page, (0.1, 0.5), (0.9, 0.5))
    assert (pixels(page, "input") == 255).all() and page.errors == []


# --------------------------------------------------------------------------------------------------
# The camera

FAKE_CAMERA = "--use-fake-device-for-media-stream"


def darkened(image: np.ndarray) -> np.ndarray:
    """What the network of `write_onnx` makes of H W 3 uint8."""
    return expected(lambda x: x / 2, image)


@pytest.fixture(scope="module")
def photo_page(tmp_path_factory) -> Path:
    """A page of mode photo, without the runtime for WebGPU, whose network is at once ready."""
    folder = tmp_path_factory.mktemp("photo")
    network = Network("compressed", "MODEL", write_onnx(folder / "net.onnx"))
    task = Task("photo", "photo", SIZE, [network])
    return web_folder.build(folder / "page", [task], webgpu=False)


@pytest.fixture
def visitor(browser):
    """``visitor(address, *flags, script="", **context)``: a page in a browser of its own, with
    these flags of the program. ``page.errors`` as of `visit`; ``page.asked``: all addresses."""
    browsers = []

    def go(address: str, *flags: str, script: str = "", **context):
        how = dict(executable_path=BROWSER, args=[*FLAGS, *flags])
        browsers.append(browser.browser_type.launch(**how))
        page = browsers[-1].new_context(service_workers="block", **context).new_page()
        page.errors, page.asked = [], []
        page.on("console", lambda m: page.errors.append(m.text) if is_error(m) else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.add_init_script(script)
        page.goto(address)
        settle(page)
        return page

    yield go
    for own in browsers:
        own.close()


# Keeps all streams that the page is given.
STREAMS = """
    window.streams = [];
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (what) => {
        streams.push(await ask(what));
        return streams.at(-1);
    };
"""


def states(page) -> list[str]:
    return page.evaluate("streams.map((stream) => stream.getTracks()[0].readyState)")


@needs_browser
def test_the_camera_runs_live_until_it_is_stopped(visitor, serve, photo_page):
    """By its button, by opening an image, by drawing, or when the tab is hidden: each time it is
    let go, and the last frame stays with its output."""
    flags = (FAKE_CAMERA, "--use-fake-ui-for-media-stream")
    page = visitor(serve(photo_page), *flags, script=STREAMS)
    before = pixels(page, "input")
    assert states(page) == [] and page.is_hidden("#rate")
    page.click("#camera")
    await_text(page, "#rate", r"^Camera: [\d.]+ frames/s$")
    assert page.inner_text("#camera-label") == "Stop the camera" and states(page) == ["live"]
    first = pixels(page, "input")
    page.wait_for_timeout(500)
    assert difference(pixels(page, "input"), first) > 50

    page.click("#camera-stop")
    settle(page)
    assert states(page) == ["ended"] and page.is_hidden("#camera-stop")
    assert page.is_hidden("#rate") and page.inner_text("#camera-label") == "Camera"
    last = pixels(page, "input")
    page.wait_for_timeout(200)
    assert difference(pixels(page, "input"), last) == 0
    assert difference(pixels(page, "output"), darkened(last)) <= 2
    page.keyboard.press("Control+z")
    assert difference(pixels(page, "input"), before) == 0

    page.keyboard.press("p")
    await_text(page, "#status", "Camera started")
    open_image(page, before)
    assert states(page) == ["ended"] * 2 and difference(pixels(page, "input"), before) == 0
    page.keyboard.press("p")
    await_text(page, "#status", "Camera started")
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
        delete document.hidden;
    }""")
    assert states(page) == ["ended"] * 3
    page.keyboard.press("p")
    await_text(page, "#rate", "frames/s")
    drag(page, (0.2, 0.2), (0.8, 0.8))
    assert states(page) == ["ended"] * 4 and page.errors == []
    assert difference(pixels(page, "output"), darkened(pixels(page, "input"))) <= 2


@needs_browser
@pytest.mark.parametrize(
    "flags, said",
    [
        ((FAKE_CAMERA, "--use-fake-ui-for-media-stream=deny"), {"localhost": "was refused"}),
        (
            ("--use-fake-ui-for-media-stream", "--host-resolver-rules=MAP page.test 127.0.0.1"),
            {"localhost": "No camera was found", "page.test": "https"},
        ),
    ],
    ids=["refused", "none, and insecure"],
)
def test_without_a_camera_the_page_says_why(visitor, serve, photo_page, flags, said):
    """And goes on, at the width of a phone too."""
    address = serve(photo_page)
    page = visitor(address, *flags, viewport={"width": 390, "height": 800})
    for host, why in said.items():
        if host != "localhost":
            page.goto(address.replace("localhost", host))
            settle(page)
        before = pixels(page, "input")
        page.focus("#camera")
        page.keyboard.press("Enter")
        await_text(page, "#camera-note", why)
        assert page.get_attribute("#camera-note", "role") == "alert"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.is_enabled("#camera") and page.is_hidden("#camera-stop")
        assert difference(pixels(page, "input"), before) == 0 and page.errors == []


# --------------------------------------------------------------------------------------------------
# WebGPU

# Chromium's WebGPU on the CPU: exact, and slow enough that the test's network has few layers.
SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
SOFTWARE_GPU += ("--enable-features=Vulkan",)


def layers_of_generators() -> torch.nn.Module:
    """One of each kind, with weights large enough that outputs use their range."""
    from torch import nn

    net = nn.Sequential(
        *(nn.ReflectionPad2d(1), nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 6, 3, stride=2, padding=1)),
        *(nn.ConvTranspose2d(6, 3, 3, stride=2, padding=1, output_padding=1), nn.Tanh()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return init_weights(net, gain=0.4).eval()


@needs_browser
def test_it_runs_by_webgpu(visitor, serve, tmp_path):
    """Asked for, on a GPU in software: with the output of PyTorch. Not asked for, such a GPU is no
    gain, and its runtime is not loaded."""
    from deploy.onnx import export_onnx

    net = layers_of_generators()
    export_onnx(net, tmp_path / "net.onnx")
    network = Network("compressed", "MODEL", tmp_path / "net.onnx")
    address = serve(web_folder.build(tmp_path / "page", [Task("photo", "photo", 16, [network])]))
    page = visitor(address, *SOFTWARE_GPU)
    assert page.inner_text("#provider-compressed") == "WASM, 1 thread"
    assert not [url for url in page.asked if "webgpu" in url]
    assert difference(pixels(page, "output"), expected(net, pixels(page, "input"))) <= 2
    page.asked.clear()
    page.goto(f"{address}?provider=webgpu")
    settle(page, 90_000)
    await_text(page, "#provider-compressed", "^WebGPU$")
    assert any("ort.webgpu" in url for url in page.asked)
    drawn = pixels(page, "input")
    assert np.ptp(drawn) > 100 and np.ptp(pixels(page, "output")) > 100
    assert difference(pixels(page, "output"), expected(net, drawn)) <= 2
    assert page.errors == [] and all(url.startswith(address) for url in page.asked)


# A browser that has WebGPU, as far as the page sees.
HAS_GPU = """
    const adapter = { info: { vendor: "test", architecture: "test", isFallbackAdapter: false } };
    Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => adapter } });
"""


@needs_browser
@pytest.mark.parametrize(
    "happens, said",
    [
        ("out[5] ^= 2;", None),
        ("out[5] ^= 64;", "its image differs by 64 grey levels"),
        ("throw new Error('lost');", "it failed \\(lost\\)"),
        ("if (++runs > 1) throw new Error('lost');", "it failed \\(lost\\)"),
    ],
    ids=["nearly", "wrong", "fails", "fails later"],
)
def test_wasm_where_webgpu_does_not_do(serve, visit, photo_page, tmp_path, happens, said):
    """A worker that takes WASM for WebGPU, and then makes a mistake."""
    place = tmp_path / "page"
    shutil.copytree(photo_page, place)
    model = json.loads((place / "model.json").read_text())
    assert model["webgpu"] is None and not list(place.glob("ort/**/*webgpu*"))
    (place / "model.json").write_text(json.dumps(model | {"webgpu": "test"}))
    worker = (place / "worker.js").read_text()
    for old, new in (
        ('"ort.webgpu.min.mjs"', '"ort.wasm.min.mjs"'),
        ("executionProviders: [provider]", 'executionProviders: ["wasm"]'),
        ("  Tensor = runtime", "  self.provider = provider;\n  Tensor = runtime"),
        ("  return out;", f'  if (self.provider === "webgpu") {{ {happens} }}\n  return out;'),
        ("let session", "let runs = 0;\nlet session"),
    ):
        assert worker.count(old) == 1, old
        worker = worker.replace(old, new)
    (place / "worker.js").write_text(worker)
    page = visit(serve(place), script=HAS_GPU)
    await_text(page, "#provider-compressed", "^WASM, 1 thread$" if said else "^WebGPU$")
    drag(page, (0.2, 0.2), (0.8, 0.8))
    right = darkened(pixels(page, "input"))
    assert difference(pixels(page, "output"), right) <= (2 if said else 4)
    if said:
        await_text(page, "#measured", said)
    else:
        assert "WebGPU" not in page.inner_text("#measured")
        # At the next visit nothing is compared: no worker but the one that is used.
        workers = []
        page.on("worker", lambda worker: workers.append(worker))
        page.reload()
        settle(page)
        assert page.inner_text("#provider-compressed") == "WebGPU" and len(workers) == 1
        page.goto(page.url + "?provider=wasm")
        settle(page)
        assert page.inner_text("#provider-compressed") == "WASM, 1 thread"
    assert page.errors == []


@needs_browser
def test_webgpu_that_was_asked_for_and_is_not_there(visit, serve, photo_page, address):
    for where, said in ((serve(photo_page), "made without it"), (address, "found no GPU|has none")):
        page = visit(f"{where}?provider=webgpu")
        await_text(page, "#measured", f"WebGPU is not used: .*({said})")
        await_text(page, "#provider-compressed", "^WASM, 1 thread$")


@needs_runtime
def test_the_shell_script(tmp_path):
    """It sets up and passes its flags on. A copy meets a Python that only says what it is told."""
    stamp = "web/node_modules/.installed-lock"
    copied = [f"scripts/{name}.sh" for name in ("web_demo", "setup", "lib")]
    for name in (*copied, "web/package-lock.json", stamp, "requirements-deploy.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\nprintf "<%s>" "$@"; echo\ncase "$1" in scripts/*) exit 2;; esac\n'
    )
    python.chmod(0o755)
    command = ["bash", tmp_path / "scripts/web_demo.sh", "--demo", "a demo"]
    how = {"env": os.environ | {"PYTHON": sys.executable, "OUT": "page"}, "timeout": 60}
    done = subprocess.run(command, capture_output=True, text=True, **how)
    assert done.returncode == 2 and done.stderr == ""
    *setup, last = done.stdout.splitlines()
    assert last == "<scripts/make_web_demo.py><--output><page><--demo><a demo>"
    assert setup[-1].endswith("<-r><requirements-deploy.txt>")


# --------------------------------------------------------------------------------------------------
# The networks that come with the repository: two tasks, three networks each

TASKS = {"lines2object": ("edges", "Lines to things"), "map2aerial": ("map", "Map to photo")}
NAMES = ("12x", "40x", "teacher")


@pytest.fixture(scope="module")
def zoo_networks() -> dict:
    """(task, name) -> generator, with weights of float16. All of one shape."""
    spec = GeneratorSpec("resnet_6blocks", ngf=8)
    keys = [(task, name) for task in TASKS for name in NAMES]
    return {key: rounded(generator(spec, 10 + seed)) for seed, key in enumerate(keys)}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory, zoo_networks) -> Path:
    root, spec = tmp_path_factory.mktemp("zoo"), GeneratorSpec("resnet_6blocks", ngf=8)
    for task, (mode, title) in TASKS.items():
        entries = []
        for name in NAMES:
            net = copy.deepcopy(zoo_networks[task, name]).half()
            save_network(net, root / task / f"{name}.pth", spec)
            entries.append({"name": name, "file": f"{name}.pth", "figures": {"fid": 1.5, "n": 9}})
        facts = {"title": title, "mode": mode, "kind": "map", "direction": "AtoB", "size": SIZE}
        (root / task / "task.json").write_text(json.dumps(facts | {"networks": entries}))
    return root


@pytest.fixture(scope="module")
def zoo_page(cli, tmp_path_factory, zoo) -> Path:
    """The page as its script makes it from a zoo."""
    path = tmp_path_factory.mktemp("zoo_page") / "page"
    flags = ("--zoo", zoo, "--output", path, "--no_webgpu")
    done = cli("scripts/make_web_demo.py", *flags, timeout=300).succeeded()
    assert f"map2aerial, {SIZE}x{SIZE} pixels: 12x, 40x, teacher" in done.stdout
    return path


@pytest.fixture(scope="module")
def zoo_address(serve, zoo_page) -> str:
    return serve(zoo_page)


@needs_runtime
def test_the_zoo_as_a_page(call, zoo, zoo_page, zoo_networks, tmp_path):
    """Maps first. Each .onnx computes what its checkpoint does, and stores weights as float16."""
    from deploy.onnx import OnnxGenerator
    from deploy.web.networks import run_on_image

    tasks = [task_of(zoo_page, index) for index in (0, 1)]
    assert [task["name"] for task in tasks] == ["map2aerial", "lines2object"]
    x = torch.rand(1, 3, 32, 48) * 2 - 1
    for task in tasks:
        assert task["together"] and task["title"] == TASKS[task["name"]][1]
        for entry, name, label in zip(
            task["networks"], NAMES, ("12× compressed", "40× compressed", "Teacher"), strict=True
        ):
            assert (entry["name"], entry["label"]) == (name, label)
            assert entry["figures"] == {"fid": 1.5} and entry["macs"] and entry["config"]
            file, net = zoo_page / entry["file"], zoo_networks[task["name"], name]
            assert (OnnxGenerator(file)(x) - net(x)).abs().max() < 1e-4
            # 157 KB in float16, and the graph
            assert 2 * entry["parameters"] < entry["bytes"] < 3.6 * entry["parameters"]
        for example in task["examples"]:
            drawing, output = (np.asarray(Image.open(zoo_page / example[key])) for key in example)
            network = Network("12x", "", zoo_page / task["networks"][0]["file"])
            made = run_on_image(network, drawing).astype(int)
            blocks = [pixels.reshape(8, 8, 8, 8, 3).mean((1, 3)) for pixels in (output, made)]
            assert np.abs(blocks[0] - blocks[1]).mean() < 6 and np.ptp(blocks[1]) > 20
            assert output.shape == drawing.shape
    for args, said in (
        (["--zoo", tmp_path], "no networks there"),
        (["--zoo", zoo, "--mode", "edges"], "--mode: describes a network of yours"),
        (["--zoo", zoo, "--demo"], "not allowed with"),
    ):
        code, _, err = call("--output", tmp_path / "page", *args)
        assert code == 2 and said in err, args


@needs_browser
def test_tasks_and_networks_side_by_side(visit, zoo_address, zoo_page, zoo_networks):
    """On a wide screen: all networks from the start; a link to the other task; the gallery."""
    page = visit(zoo_address)
    links = page.locator("#tasks a")
    assert links.all_inner_texts() == ["Map to photo", "Lines to things"]
    assert links.nth(0).get_attribute("aria-current") == "page"
    for task in ("map2aerial", "lines2object"):
        if task == "lines2object":
            links.nth(1).click()
            page.wait_for_url("**task=lines2object")
            settle(page)
            assert page.title().startswith("Lines to things")
        assert page.is_checked("#network-all")
        drag(page, (0.2, 0.3), (0.7, 0.8))
        drawn = pixels(page, "input")
        for name in NAMES:
            wanted = expected(zoo_networks[task, name], drawn)
            assert difference(pixels(page, f"output-{name}"), wanted) <= 2, (task, name)
    for name in NAMES:
        await_text(page, f"#time-{name}", " ms$")
        await_text(page, f"#fps-{name}", " fps$")
    await_text(page, "#against-12x", "as fast|no faster")
    lefts = [page.locator(f"#output-{name}").bounding_box()["x"] for name in NAMES]
    assert page.locator("#input").bounding_box()["x"] < lefts[0] < lefts[1] < lefts[2]
    page.click("#view label[for=network-40x]")
    page.goto(zoo_address + "?task=map2aerial")
    settle(page)
    # What was chosen stays chosen.
    assert page.is_checked("#network-40x") and page.locator(".network.shown").count() == 1
    page.click("#examples button >> nth=2")
    example = np.asarray(Image.open(zoo_page / task_of(zoo_page)["examples"][2]["drawing"]))
    await_text(page, "#status", "Image opened")
    assert difference(pixels(page, "input"), example) == 0
    page.goto(zoo_address + "?task=nonsense")
    await_text(page, "#status", "no task nonsense: here is Map to photo")
    assert page.errors == []


COPIED = "navigator.clipboard.writeText = async (text) => { window.copied = text; };"


@needs_browser
def test_links_hold_drawings(visit, serve, zoo_address, tmp_path):
    """Without loss; with few colours where there are many, and it says so; or not, and it says
    why."""
    # A narrow screen shows one network, which is all that is loaded.
    narrow = {"viewport": {"width": 390, "height": 800}}
    page = visit(zoo_address + "?task=lines2object", COPIED, **narrow)
    drag(page, (0.1, 0.3), (0.5, 0.8), (0.9, 0.3))
    drawn = pixels(page, "input")
    page.keyboard.press("k")
    await_text(page, "#status", "^Link copied$")
    link = page.evaluate("copied")
    assert link == page.url and "?task=lines2object#d=1" in link and len(link) < 2000
    other = visit(link, **narrow)
    assert difference(pixels(other, "input"), drawn) == 0 and other.url == link
    assert other.title().startswith("Lines to things")
    drag(other, (0.1, 0.1), (0.2, 0.1))
    assert "#" not in other.url  # it was the link of another drawing

    page.goto(zoo_address + "?task=map2aerial")
    settle(page)
    ramp = np.indices((SIZE, SIZE)).astype(np.uint8)[[0, 1, 0]].transpose(1, 2, 0) * 2
    open_image(page, ramp)
    page.click("#share")
    await_text(page, "#status", "^Link copied; its colours were reduced to [0-9]+$")
    link = page.evaluate("copied")
    other = visit(link, **narrow)
    assert 0 < difference(pixels(other, "input"), ramp) < 40 and len(link) < 8200
    task = Task("photo", "photo", 128, [Network("compressed", "", write_onnx(tmp_path / "x.onnx"))])
    photos = visit(serve(web_folder.build(tmp_path / "page", [task], webgpu=False)), COPIED)
    photos.click("#share")
    await_text(photos, "#status", "too much detail for a link. Save it as PNG")
    assert "#" not in photos.url and photos.errors == []
    for damaged, said in ((link[:-9], "damaged"), (link + "A%", "can read"), ("#d=2x", "can read")):
        drawn = pixels(other, "input")
        other.goto(other.url.partition("#")[0] + "#" + damaged.partition("#")[2])
        await_text(other, "#status", said)
        assert difference(pixels(other, "input"), drawn) == 0
    assert page.errors == [] and other.errors == []


@needs_browser
def test_it_goes_on_without_a_network(visit, zoo_page, zoo_networks, tmp_path):
    """After one visit: the page opens and draws with no server. When the server is back with a page
    that was built again, that one is shown, and the old one's files go."""
    copied = tmp_path / "page"
    shutil.copytree(zoo_page, copied)
    server = web_server(copied, 0)
    address, port = serving(server), server.server_address[1]
    page = visit(address, service_workers="allow")
    page.wait_for_selector("#offline:not([hidden])", timeout=30_000)
    # The teacher's file was loaded before the service worker ran.
    keys = """async () => {
        const names = await caches.keys();
        const large = await caches.open(names.find((name) => name.endsWith("large")));
        return [names, (await large.keys()).map((request) => new URL(request.url).pathname)];
    }"""
    for _ in range(100):
        names, kept = page.evaluate(keys)
        if "/models/map2aerial/teacher.onnx" in kept:
            break
        page.wait_for_timeout(100)
    assert len(names) == 2 and "/models/lines2object/40x.onnx" in kept
    assert "/models/lines2object/teacher.onnx" not in kept and len(kept) == 5 + 3
    server.shutdown()
    server.server_close()
    page.errors.clear()
    page.goto(address + "?task=map2aerial")
    settle(page)
    drag(page, (0.2, 0.2), (0.8, 0.6))
    drawn = pixels(page, "input")
    for name in NAMES:
        wanted = expected(zoo_networks["map2aerial", name], drawn)
        assert difference(pixels(page, f"output-{name}"), wanted) <= 2
    assert page.evaluate("crossOriginIsolated") and page.errors == []

    files, model = copied / "files.js", copied / "model.json"
    old = json.loads(files.read_text().removeprefix("self.FILES = ").removesuffix(";\n"))
    files.write_text(files.read_text().replace(old["version"], "another"))
    model.write_text(model.read_text().replace("Draw, and networks paint", "Built again"))
    with web_server(copied, port) as server:
        serving(server)
        page.goto(address + "?task=map2aerial")
        await_text(page, "#title", "^Built again$")
        for _ in range(300):
            names, now = page.evaluate(keys)
            if len(names) == 2 and any("another" in name for name in names):
                break
            page.wait_for_timeout(100)
        assert sorted(name.split()[-1] for name in names) == ["another", "large"]
        assert sorted(now) == sorted(kept)
        server.shutdown()


@needs_runtime
def test_what_is_kept_offline(zoo_page, folder):
    """Every file once: small ones, those that the first visit keeps, those that their use keeps."""
    for page, later in ((zoo_page, 2), (folder, 4)):
        text = (page / "files.js").read_text()
        lists = json.loads(text.removeprefix("self.FILES = ").removesuffix(";\n"))
        names = [
            name.partition("?")[0] for key in ("small", "large", "later") for name in lists[key]
        ]
        written = {p.relative_to(page).as_posix() for p in page.rglob("*") if p.is_file()}
        assert len(names) == len(set(names))
        assert {*names} == {*written, "./"} - {"files.js", web_folder.MARKER}
        assert len(lists["later"]) == later and not any("teacher" in n for n in lists["large"])
        size = sum((page / name).stat().st_size for name in lists["small"] if name != "./")
        assert size < 700_000, "small files are asked for at every visit"
    manifest = json.loads((zoo_page / "manifest.webmanifest").read_text())
    assert manifest["start_url"] == "./" and manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        if icon["type"] == "image/png":
            image = Image.open(zoo_page / icon["src"])
            assert "x".join(map(str, image.size)) == icon["sizes"]
    assert {icon.get("purpose") for icon in manifest["icons"]} == {None, "maskable"}


# The contrast of each text with what lies behind it, and the element.
CONTRAST = """() => {
    const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const over = (colours) => {
        context.globalAlpha = 1;
        for (const colour of ["#fff", ...colours]) {
            context.fillStyle = colour;
            context.fillRect(0, 0, 1, 1);
        }
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (rgb) => rgb.map((value) => value / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || !element.checkVisibility() || element.matches("option, noscript")) continue;
        const behind = [];
        for (let e = element; e; e = e.parentElement) {
            behind.unshift(getComputedStyle(e).backgroundColor);
        }
        const back = luminance(over(behind));
        const front = luminance(over([...behind, getComputedStyle(element).color]));
        const [low, high] = [back, front].sort((a, b) => a - b);
        const name = `${element.tagName}#${element.id}.${element.className}`;
        found.push([(high + 0.05) / (low + 0.05), name]);
    }
    return found;
}"""
# Controls with their sizes; of a hidden radio button, its label's.
TARGETS = """() => [...document.querySelectorAll("button, a, select, input, summary, .card")]
    .map((e) => (e.matches("#view input") ? e.nextElementSibling : e))
    .filter((e) => e.checkVisibility())
    .map((e) => [`${e.tagName}#${e.id}`, e.getBoundingClientRect()])
    .filter(([, { width, height }]) => width && height)
    .map(([name, { width, height }]) => [name, width, height])"""
CONTROLS = {"button", "link", "radio", "slider", "combobox", "ColorWell", "textbox", "application"}


@needs_browser
def test_everybody_can_read_and_reach_it(visit, zoo_address):
    """Contrast in light and dark, sizes of what is tapped, names of controls, and no scrolling
    sideways: on a wide screen with all networks, and on two phones."""
    wide = visit(zoo_address)
    phone = {"width": 390, "height": 640}
    small = visit(zoo_address, viewport=phone, is_mobile=True, has_touch=True)
    for page, widths, shown in ((wide, (1280,), 3), (small, (390, 320), 1)):
        for width in widths:
            page.set_viewport_size({"width": width, "height": 640})
            assert (
                page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width] * 2
            )
            assert page.locator(".network.shown").count() == shown
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                low = [entry for entry in page.evaluate(CONTRAST) if entry[0] < 4.5]
                assert low == [], (scheme, width)
            targets = page.evaluate(TARGETS)
            assert len(targets) > 30 and [t for t in targets if min(t[1:]) < 32] == [], width
            if page is small:
                touched = [height for name, _, height in targets if name.startswith("BUTTON")]
                assert len(touched) > 20 and min(touched) >= 44
        tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
        controls = [n for n in tree if not n["ignored"] and n["role"]["value"] in CONTROLS]
        assert len(controls) > 25
        assert [n for n in controls if not n["name"]["value"].strip()] == []
        assert page.errors == []
    language, description = wide.evaluate(
        "[document.documentElement.lang, document.querySelector('meta[name=description]').content]"
    )
    assert language == "en" and len(description) > 50 and wide.title()
