"""Pages: every picture linked relative to the page and there, every number in the table, nothing unescaped."""

from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from report.pages import write_page


class Page(HTMLParser):
    """Cells of the table, sources of the images, and the text."""

    def __init__(self, path):
        super().__init__()
        self.sources, self.cells, self.text, self.tag = [], [], "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        if tag == "img" and dict(attributes).get("src"):
            self.sources.append(dict(attributes)["src"])

    def handle_data(self, data):
        if self.tag in ("td", "th") and data.strip():
            self.cells.append(data.strip())
        if self.tag not in ("style", "script"):
            self.text += data


def write(folder, names, title="Test results", plots=None):
    columns = {"input": folder / "images" / "real_A", "output": folder / "images" / "fake_B"}
    for column in columns.values():
        for name in names:
            path = column / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    rows = [["teacher", "11.378M", "24.12"], ["<b>student</b> & co", "0.703M", "25.76"]]
    page = folder / "pages" / "index.html"
    write_page(page, title, "a note", ["model", "parameters", "FID"], rows, columns, names, plots)
    return page


def test_every_image_is_linked_relative_to_the_page(tmp_path):
    names = ["1", "deep/2", "3"]
    path = write(tmp_path, names)
    page = Page(path)
    assert page.sources == [f"../images/{side}/{name}.png" for name in names for side in ("real_A", "fake_B")]
    assert all((path.parent / source).is_file() for source in page.sources)
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]


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
    assert "<script>alert</script>" in Page(write(tmp_path, ["1"], title="<script>alert</script>")).text


@pytest.mark.parametrize("name", ["a b", "50%", "half%20way", "what?", "no#1", 'quo"te', "Straße"])
def test_links_to_names_with_special_characters_work(tmp_path, name):
    """A browser cuts a link at # and ? and decodes %: what it then asks for must be the file."""
    path = write(tmp_path, [name])
    for source in Page(path).sources:
        asked = unquote(source.split("#")[0].split("?")[0])
        assert (path.parent / asked).is_file(), source
