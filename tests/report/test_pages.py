"""Pages: every picture linked relative to the page and there, every number in the table, nothing
unescaped."""

from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from report.header import Header
from report.pages import Gallery, write_page


class Page(HTMLParser):
    """Cells of the table, sources of the images, and the text."""

    def __init__(self, path):
        super().__init__()
        self.sources, self.images, self.cells, self.captions, self.options = [], [], [], [], []
        self.text, self.tag = "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        if tag == "img" and dict(attributes).get("src"):
            self.sources.append(dict(attributes)["src"])
            self.images.append(dict(attributes))
        if tag == "option":
            self.options.append(dict(attributes)["value"])

    def handle_data(self, data):
        if self.tag in ("td", "th") and data.strip():
            self.cells.append(data.strip())
        if self.tag == "figcaption" and data.strip():
            self.captions.append(data.strip())
        if self.tag not in ("style", "script"):
            self.text += data


def write(folder, names, title="Test results", plots=None, **gallery):
    columns = {"input": folder / "images" / "real_A", "output": folder / "images" / "fake_B"}
    for column in columns.values():
        for name in names:
            path = column / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    rows = [["teacher", "11.378M", "24.12"], ["<b>student</b> & co", "0.703M", "25.76"]]
    page = folder / "pages" / "index.html"
    headings = ["model", "parameters", "FID"]
    header = Header("Test", title, "a note")
    write_page(page, header, headings, rows, Gallery(columns, names, **gallery), plots)
    return page


def test_every_image_is_linked_relative_to_the_page(tmp_path):
    names = ["1", "deep/2", "3"]
    path = write(tmp_path, names)
    page = Page(path)
    assert page.sources == [
        f"../images/{side}/{name}.png" for name in names for side in ("real_A", "fake_B")
    ]
    assert all((path.parent / source).is_file() for source in page.sources)
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]


def test_thousands_of_images_are_not_loaded_at_once(tmp_path):
    page = Page(write(tmp_path, [str(i) for i in range(50)]))
    assert len(page.images) == 100
    assert all(image["loading"] == "lazy" for image in page.images)


def test_differences_are_shown_and_can_be_sorted_by(tmp_path):
    """The script finds the numbers in the column that a choice's value names."""
    differences = {"output": [1.25, 0.5, 12.3456]}
    path = write(tmp_path, ["a", "b", "c"], differences=differences, measure="L1 to teacher")
    page = Page(path)
    assert page.captions == ["1.250", "0.500", "12.346"]
    assert page.options == ["0", "-1", "1"]  # by name, and by the second column both ways
    assert "output: L1 to teacher, largest first" in page.text
    without = Page(write(tmp_path, ["a"]))
    assert without.captions == without.options == []


def test_a_page_needs_no_network(tmp_path):
    html = write(tmp_path, ["a"]).read_text()
    assert "http" not in html and "//" not in "".join(Page(write(tmp_path, ["a"])).sources)


def test_the_table_is_complete(tmp_path):
    page = Page(write(tmp_path, ["1"]))
    expected = [
        "model",
        "parameters",
        "FID",
        "teacher",
        "11.378M",
        "24.12",
        "<b>student</b> & co",
        "0.703M",
        "25.76",
    ]
    assert page.cells == expected
    assert "a note" in page.text and "Test results" in page.text


def test_names_are_shown(tmp_path):
    page = Page(write(tmp_path, ["first", "second"]))
    assert "first" in page.text and "second" in page.text


def test_plots_are_linked_relative_too(tmp_path):
    (tmp_path / "search.png").write_bytes(b"")
    page = Page(write(tmp_path, ["1"], plots={"Search": tmp_path / "search.png"}))
    assert page.sources[0] == "../search.png" and "Search" in page.text


def test_markup_in_titles_is_text(tmp_path):
    assert (
        "<script>alert</script>"
        in Page(write(tmp_path, ["1"], title="<script>alert</script>")).text
    )


@pytest.mark.parametrize("name", ["a b", "50%", "half%20way", "what?", "no#1", 'quo"te', "Straße"])
def test_links_to_names_with_special_characters_work(tmp_path, name):
    """A browser cuts a link at # and ? and decodes %: what it then asks for must be the file."""
    path = write(tmp_path, [name])
    for source in Page(path).sources:
        asked = unquote(source.split("#")[0].split("?")[0])
        assert (path.parent / asked).is_file(), source


# Widths of the page, of the table and of what shows it; brightness of text and background.
LAYOUT = r"""() => {
  const box = document.querySelector('.scroll'), style = getComputedStyle(document.body)
  const brightness = colour => colour.match(/\d+/g).slice(0, 3).reduce((sum, x) => sum + +x, 0)
  return [document.documentElement.scrollWidth, box.scrollWidth, box.clientWidth,
          brightness(style.color), brightness(style.backgroundColor)]
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_wide_table_scrolls_and_the_page_does_not(browser, tmp_path, scheme):
    headings = ["model", *(f"measure {number}" for number in range(12))]
    rows = [["a network", *("0.12345678" for _ in headings[1:])]]
    gallery = Gallery({"input": tmp_path}, ["a_very_long_name" * 5])
    header = Header("Test", "a_very_long_title" * 9, "a note", {"x" * 40: "y" * 90})
    write_page(tmp_path / "index.html", header, headings, rows, gallery)
    context = browser.new_context(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto((tmp_path / "index.html").as_uri())
        width, table, box, ink, paper = page.evaluate(LAYOUT)
    finally:
        context.close()
    assert width <= 320 < table and box < 320
    assert (ink > paper) == (scheme == "dark")
