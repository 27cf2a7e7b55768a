"""Pages in Chromium, opened from disk: the header of every kind of page, images that flip, zoom and
show differences, the plot of a search. What is seen is asked of the pixels on the screen."""

import io
import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image
from test_report_results import LOADED, MODEL, Dimmed, Images
from test_run_page import write_log
from test_study_page import leave_latency, leave_test
from test_summary import leave_results

from data.images import save_png
from data.loader import Loader
from data.transforms import Crops
from evaluation.tested import Loaded
from models.build import Initialisation, new_generator
from models.generators import GeneratorSpec
from models.weights import save_network
from options import TestOptions
from report import results as report
from report.compressed import write_result_page
from report.header import Header
from report.pages import Gallery, write_page
from report.run import write_run_page
from report.search import summarise_search, write_search_page
from report.study import write_study
from report.summary import summarise
from subnets.results import Evaluated, Results
from subnets.search import Measurer
from subnets.space import SearchSpace

# --------------------------------------------------------------------------------------------------
# A small page of every kind


def colour(path, value):
    save_png(path, np.full((8, 8, 3), value, np.uint8))


def training(folder):
    run, teacher = folder / "run", folder / "teacher.pth"
    write_log(run, 3)
    spec = {"teacher": GeneratorSpec("resnet_9blocks", 8, trained_on={"size": [64, 64]})}
    spec["student"] = GeneratorSpec("mobile_resnet_9blocks", 8, trained_on={"size": [64, 64]})
    (run / "checkpoints").mkdir()
    for role, path in (("teacher", teacher), ("student", run / "checkpoints/latest_net_G.pth")):
        net = new_generator(spec[role], Initialisation())
        save_network(net, path, spec[role])
    flags = {"script": "distill.py", "restore_teacher_G_path": str(teacher)}
    (run / "options.json").write_text(json.dumps(flags))
    for epoch, value in ((0, 10), (1, 90), (2, 120), (3, 150), (4, 180)):
        colour(run / "eval" / f"epoch{epoch}.png", value)
    write_run_page(run)
    return run / "index.html"


def search(folder, count=12):
    """FID falls with the MACs but for every third subnet, which is fast."""
    folder = folder / "s"
    folder.mkdir()
    flags = {"script": "evolution_search.py", "netG": "super_mobile_resnet_9blocks"}
    flags |= {"dataroot": "my maps", "restore_G_path": "runs/it's/G.pth", "load_size": 64}
    (folder / "options.json").write_text(json.dumps(flags))
    space = SearchSpace("channels-32")
    results = Results(folder / "evaluations.jsonl", write=False)
    for i, number in enumerate(np.linspace(0, space.size - 1, count).astype(int)):
        config = space.config(int(number))
        macs, params = space.cost(config)
        fid = 1e11 / macs + 30 * (i % 3 == 1)
        ms = macs / 1e9 * (0.3 if i % 3 == 1 else 1)
        results.add(Evaluated(str(config), macs, params, {"fid": fid}, 300, 1.0, i % 4, ms=ms))
    measurer = Measurer(space, None, results, "fid", True, "FID (test)")
    ranked = summarise_search(folder, measurer, float("inf"))
    drawn = []

    def picture(config):
        drawn.append(str(config))
        return np.full((8, 8, 3), 20 * len(drawn), np.uint8)

    write_search_page(folder, measurer, ranked, picture)
    return folder / "index.html"


def side_by_side(folder):
    loader = Loader(Images(True), 2, "cpu", Crops(None, False, False))
    small = Loaded("small", Dimmed(10), MODEL)
    report.test_generators(folder / "t", [small], loader, [], 1, LOADED)
    return folder / "t" / "index.html"


def demo(folder):
    sides = [leave_results(folder / name, name, 2.0) for name in ("t", "c")]
    for image in folder.rglob("*.png"):
        colour(image, 90)
    summarise(*sides, None, folder / "index.html", "Both")
    return folder / "index.html"


def study(folder):
    rows = {"teacher": 1.0, "online12": 1.2}
    leave_test(folder, 3, rows)
    leave_latency(folder, 3, rows)
    write_study(folder, "A study")
    return folder / "index.html"


def compression(folder):
    images = ["real_A", "real_B", "teacher", "compressed"]
    for side in images:
        colour(folder / "test/images" / side / "a.png", 90)
    written = [f"images/{side}/a.png" for side in images]
    (folder / "test/.images.json").write_text(json.dumps(written))
    colour(folder / "search/search.png", 90)

    def model(role, size):
        latency = {"backend": "eager", "torch": "2", "device": "cpu", "threads": 1}
        return {
            "name": f"a {role}",
            "checkpoint": "G.pth",
            "images": f"images/{role}",
            **dict.fromkeys(("params", "macs", "exact_macs"), size * 10**6),
            "metrics": {"fid": 3.0},
            "latency": latency | {"median_ms": 1.0 * size, "times": 9},
        }

    target = {"text": "12x", "kind": "times", "value": 12.0, "budget": 9, "reached": 8, "met": True}
    results = {
        "dataroot": "maps",
        "direction": "AtoB",
        "dataset_mode": "aligned",
        "size": [8, 8],
        "n": 1,
        "seed": 1,
        "measures": {"fid": "FID (test)"},
        "target": target,
        "teacher": model("teacher", 24),
        "compressed": model("compressed", 2),
        "images": {"train": {"count": 1, "of": "train"}},
        "notes": [],
    }
    write_result_page(folder, results)
    return folder / "index.html"


KINDS = {
    "Training": training,
    "Search": search,
    "Test": side_by_side,
    "Comparison": demo,
    "Study": study,
    "Compression": compression,
}

# --------------------------------------------------------------------------------------------------
# Looking


@pytest.fixture
def visit(browser):
    """``visit(path)``: a page in Chromium. At the end it must have loaded nothing but files, and
    have written nothing to the console."""
    contexts, wrong = [], []

    def open_page(path, width=1300, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"not found: {request.url}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("file://", "data:")) or wrong.append(request.url)
            ),
        )
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def seen(page, locator):
    """The colour in the middle of an element, as it is on the screen."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shot = page.screenshot(clip={"x": x, "y": y, "width": 1, "height": 1})
    with Image.open(io.BytesIO(shot)) as image:
        return image.convert("RGB").getpixel((0, 0))


def wait_until(page, locator, wanted):
    """The screen shows ``wanted`` in the middle of an element, now or soon."""
    for _ in range(40):
        found = seen(page, locator)
        if found == wanted:
            return
        page.wait_for_timeout(25)
    assert found == wanted


def number(text):
    """What ``1.200G``, ``90.0M (13x)`` or ``5.0 ms`` says."""
    value, unit = re.match(r"([\d.]+) ?(G|M|ms)", text).groups()
    return float(value) * {"G": 1e9, "M": 1e6, "ms": 1}[unit]


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_says_what_it_is_and_what_it_costs(visit, tmp_path, kind):
    page = visit(KINDS[kind](tmp_path), width=390, color_scheme="dark")
    header = page.locator("header.top")
    assert header.locator(".kind").inner_text() == kind
    assert header.locator("h1").inner_text() and "written" in header.inner_text()
    assert header.locator(".networks dd").count() >= 2
    groups = header.locator(".cost")
    names = groups.locator("h2").all_inner_texts()
    assert names[:2] == ["parameters", "MACs, published"] and len(names) >= 2
    for group in groups.all():
        # The bar of a network is as long as its number says.
        bars = group.locator(".bar-row").all()
        shares = [
            float(bar.locator(".bar").get_attribute("style").split(":")[1][:-1]) for bar in bars
        ]
        values = [number(bar.locator("dd").inner_text()) for bar in bars]
        assert len(bars) >= 2 and max(shares) == 100
        expected = [100 * value / max(values) for value in values]
        assert shares == pytest.approx(expected, abs=2)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    brightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert page.evaluate(brightness) < 60
    page.emulate_media(media="print")
    assert page.evaluate(brightness) == 255
    assert page.evaluate(
        "[...document.querySelectorAll('button.differences')].every(b => !b.offsetParent)"
    )


# --------------------------------------------------------------------------------------------------
# Images

TEACHER, SMALL = (100, 100, 100), (110, 100, 90)


@pytest.fixture
def pair(tmp_path):
    """Three images of one colour in each column."""
    columns = {label: tmp_path / label for label in ("input", "teacher", "compressed")}
    for name in ("a", "b", "c"):
        for label, value in zip(columns, ((0, 0, 255), TEACHER, SMALL), strict=True):
            colour(columns[label] / f"{name}.png", value)
    gallery = Gallery(columns, ["a", "b", "c"], reference="teacher", outputs=["compressed"])
    write_page(tmp_path / "index.html", Header("Test", "Pair"), ["x"], [["1"]], gallery)
    return tmp_path / "index.html"


def test_an_image_flips_to_the_teacher_while_it_is_held(visit, pair):
    page = visit(pair)
    frame = page.locator(".row .frame").nth(5)  # compressed, second row
    wait_until(page, frame, SMALL)
    frame.hover()
    page.mouse.down()
    wait_until(page, frame, TEACHER)
    assert frame.get_attribute("data-partner") == "teacher"
    page.mouse.up()
    wait_until(page, frame, SMALL)
    assert not page.locator("dialog[open]").count(), "a long press does not enlarge"
    frame.focus()
    page.keyboard.down(" ")
    wait_until(page, frame, TEACHER)
    page.keyboard.up(" ")
    wait_until(page, frame, SMALL)
    page.keyboard.press("d")
    wait_until(page, frame, (40, 0, 40))  # four times |110 - 100|, 0, |90 - 100|
    assert seen(page, page.locator(".row .frame").nth(4)) == TEACHER
    page.keyboard.press("d")
    wait_until(page, frame, SMALL)


def test_a_finger_flips_too(visit, pair):
    page = visit(pair, width=390, has_touch=True)
    frame = page.locator(".row .frame").nth(2)
    box = frame.bounding_box()
    client = page.context.new_cdp_session(page)
    point = {"x": box["x"] + 20, "y": box["y"] + 20}
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    wait_until(page, frame, TEACHER)
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_until(page, frame, SMALL)


def test_the_zoom_by_keys(visit, pair):
    page = visit(pair)
    page.locator(".row .frame").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    dialog = page.locator("dialog")
    large = dialog.locator("figure.shown .frame")
    caption = dialog.locator("figure.shown figcaption")
    wait_until(page, large, SMALL)
    assert large.bounding_box()["height"] > 500
    assert dialog.locator(".head b").inner_text() == "b" and caption.inner_text() == "compressed"
    assert (
        large.locator("img").last.evaluate("i => getComputedStyle(i).imageRendering") == "pixelated"
    )
    page.keyboard.down(" ")
    wait_until(page, large, TEACHER)
    assert caption.inner_text() == "teacher"
    page.keyboard.up(" ")
    wait_until(page, large, SMALL)
    page.keyboard.press("d")
    wait_until(page, large, (40, 0, 40))
    assert caption.inner_text() == "difference of compressed to teacher, ×4"
    dialog.locator(".gain").click()
    wait_until(page, large, (160, 0, 160))
    page.keyboard.press("d")
    page.keyboard.press("ArrowUp")
    assert caption.inner_text() == "teacher"
    page.keyboard.press("ArrowRight")
    assert dialog.locator(".head b").inner_text() == "c"
    page.keyboard.press("Escape")
    assert not page.locator("dialog[open]").count()
    assert page.evaluate("document.activeElement.className") == "frame"


def test_pictures_of_a_run_flip_to_its_first(visit, tmp_path):
    page = visit(training(tmp_path))
    page.locator("figure .picture").first.click()
    large = page.locator("dialog .frame")
    wait_until(page, large, (180, 180, 180))
    page.keyboard.down(" ")
    wait_until(page, large, (10, 10, 10))
    page.keyboard.up(" ")
    page.keyboard.press("End")  # only a link on the page
    wait_until(page, large, (10, 10, 10))
    assert page.locator("dialog .head b").inner_text() == "epoch0"


# --------------------------------------------------------------------------------------------------
# The plot of a search


def facts_of(page, axis):
    """The points of the front as they call themselves, by ascending cost."""
    names = page.locator(f".of-{axis} .front").evaluate_all(
        "all => all.map(e => e.getAttribute('aria-label'))"
    )
    return [
        re.match(r"(\S+): FID ([\d.]+), ([\d.]+) GMACs, ([\d.]+) ms", n).groups() for n in names
    ]


def test_the_plot_of_a_search(visit, tmp_path):
    page = visit(search(tmp_path))
    by_macs, by_time = facts_of(page, "macs"), facts_of(page, "ms")
    assert by_macs != by_time
    for front, column in ((by_macs, 2), (by_time, 3)):
        costs, values = ([float(f[k]) for f in front] for k in (column, 1))
        assert costs == sorted(costs) and values == sorted(values, reverse=True) and len(front) > 2
    # A pointer near a point: what it is.
    plane, panel = page.locator(".of-macs .plane"), page.locator(".chosen-point")
    plane.locator(".front .dot").nth(1).hover(force=True)
    config, fid, macs, ms = by_macs[1]
    tip = plane.locator(".tip").inner_text()
    assert tip.split("\n") == [config, f"FID  {fid}", f"GMACs  {macs}", f"predicted ms  {ms}"]
    # A click: its images.
    page.mouse.down()
    page.mouse.up()
    assert panel.locator("h2").inner_text() == config
    wait_until(page, panel.locator("img"), seen(page, page.locator(f"[title='{config}'] img").last))
    # Keys: along the front, then its images, then these enlarged.
    page.keyboard.press("ArrowRight")
    assert by_macs[2][0] in plane.locator(".tip").inner_text()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    assert panel.locator("h2").inner_text() == by_macs[0][0]
    page.keyboard.press("Enter")
    assert page.locator("dialog .head b").inner_text() == by_macs[0][0]
    page.keyboard.press("Escape")
    # The other axis, and a point without images: the command that makes some.
    page.locator("label[for=x-ms]").click()
    assert not plane.is_visible()
    stored = {path.stem for path in (tmp_path / "s" / "samples").iterdir()}
    at = next(i for i, fact in enumerate(by_time) if fact[0] not in stored)
    page.locator(".of-ms .front .dot").nth(at).click(force=True)
    command = panel.locator("pre").inner_text()
    words = shlex.split(command.replace("\\\n", " "))
    opt = TestOptions.parse(words[2:])
    assert words[:2] == ["python", "test.py"] and opt.config_str == by_time[at][0]
    assert (opt.dataroot, opt.restore_G_path) == ("my maps", "runs/it's/G.pth")


def test_without_scripts_the_plot_and_images_are_there(visit, tmp_path):
    page = visit(search(tmp_path), java_script_enabled=False)
    assert page.locator(".of-macs svg title").count() == 12
    page.locator("label[for=x-ms]").click()
    assert page.locator(".of-ms .plane").is_visible()
    assert not page.locator(".of-macs .plane").is_visible()
    page.locator("a.picture").first.click()
    page.wait_for_url(re.compile(r"samples/.*\.png$"))


def test_a_table_is_sorted_by_what_its_cells_mean(visit, tmp_path):
    """Billions are more than millions, and a second click reverses the order."""
    cells = ("281.8M (12.9x)", "3.631G", "90.3M (40.2x)", "1,250.5M")
    header = Header("Test", "Sizes")
    write_page(tmp_path / "p.html", header, ["MACs"], [[cell] for cell in cells], None)
    page = visit(tmp_path / "p.html")
    wanted = ["90.3M (40.2x)", "281.8M (12.9x)", "1,250.5M", "3.631G"]
    for order in (wanted, wanted[::-1]):
        page.click("table.sortable th")
        assert page.locator("table.sortable tbody td").all_inner_texts() == order
