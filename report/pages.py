"""HTML pages that open from disk: tables, plots, and galleries of thumbnails that zoom on a click."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import dominate
from dominate import tags as t
from dominate.util import raw

from runtime.files import write_text

_STYLE, _SCRIPT = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
)


@dataclass(frozen=True)
class Gallery:
    """Images side by side: a row per name, a column per label."""

    columns: dict[str, Path]  # label -> folder that holds <name>.png
    names: list[str]
    # label -> a number per name that rows can be sorted by; what it is
    differences: dict[str, list[float]] = field(default_factory=dict)
    measure: str = ""
    aspect: float = (
        1.0  # width / height of a thumbnail; images of another shape are shown whole inside it
    )


def _link(target: Path, folder: Path) -> str:
    """A relative address that survives # and % in file names."""
    return quote(os.path.relpath(target, folder).replace(os.sep, "/"))


class _Dialog(t.html_tag):
    tagname = "dialog"


def _document(title: str) -> dominate.document:
    page = dominate.document(title=title)
    with page.head:
        t.meta(charset="utf-8")
        t.meta(name="viewport", content="width=device-width, initial-scale=1")
        t.style(raw(_STYLE))
    return page


def _finish(page: dominate.document, path: Path) -> None:
    with page:
        t.script(raw(_SCRIPT))
    write_text(path, page.render())


def add_table(headings: list[str], rows: list[list[str]], sortable: bool = False) -> None:
    with t.div(cls="scroll"), t.table(cls="sortable" if sortable else ""):
        with t.thead(), t.tr():
            for heading in headings:
                t.th(heading)
        with t.tbody():
            for row in rows:
                with t.tr():
                    for value in row:
                        t.td(value)


def _sorter(gallery: Gallery) -> None:
    """A choice of orders; page.js reads the column and the direction off its values."""
    with t.div(cls="bar"), t.label("order "), t.select():
        t.option("name", value="0")
        for column, label in enumerate(gallery.columns):
            if label in gallery.differences:
                t.option(f"{label}: {gallery.measure}, largest first", value=str(-column))
                t.option(f"{label}: {gallery.measure}, smallest first", value=str(column))


def _add_row(gallery: Gallery, index: int, page_folder: Path) -> None:
    name = gallery.names[index]
    with t.div(cls="row"):
        for column, (label, folder) in enumerate(gallery.columns.items()):
            source = _link(folder / f"{name}.png", page_folder)
            with t.figure():
                t.img(src=source, alt=f"{label} of {name}", loading="lazy", decoding="async")
                if column == 0:
                    t.button(name, cls="name")
                if label in gallery.differences:
                    t.figcaption(f"{gallery.differences[label][index]:.3f}", title=gallery.measure)


def add_gallery(gallery: Gallery, page_folder: Path) -> None:
    """Thumbnails, which load as they scroll into view, and the dialog that a click on one opens."""
    with t.div(
        cls="gallery", style=f"--columns:{len(gallery.columns)};--aspect:{gallery.aspect:.4f}"
    ):
        if gallery.differences:
            _sorter(gallery)
        with t.div(cls="row head"):
            for label in gallery.columns:
                t.div(label)
        with t.div(cls="rows"):
            for index in range(len(gallery.names)):
                _add_row(gallery, index, page_folder)
    with _Dialog(tabindex="-1"):
        with t.p():
            t.b()
            t.span(cls="place")
            t.span("← → image, ↑ ↓ one alone, Esc closes")
        t.div(cls="stage")


def write_report(
    path: Path,
    title: str,
    note: str,
    plots: dict[str, Path],
    pictures: dict[str, Path],
    table: tuple[list[str], list[list[str]]] | None = None,
) -> None:
    """A page with plots, a table that sorts by a click on a heading (headings, rows), and large pictures; caption -> PNG."""
    page = _document(title)

    def show(images: dict[str, Path], **attributes) -> None:
        for caption, image in images.items():
            t.h2(caption)
            t.img(src=_link(image, path.parent), alt=caption, cls="plot", **attributes)

    with page:
        t.h1(title)
        t.p(note, cls="note")
        show(plots)
        if table:
            t.h2("Table")
            add_table(*table, sortable=True)
        show(pictures, loading="lazy")
    _finish(page, path)


def write_page(
    path: Path,
    title: str,
    note: str,
    headings: list[str],
    rows: list[list[str]],
    gallery: Gallery,
    plots: dict[str, Path] | None = None,
) -> None:
    """A page with a table, plots (caption -> PNG) and a gallery; everything is linked relative to the page."""
    page = _document(title)
    with page:
        t.h1(title)
        t.p(note, cls="note")
        add_table(headings, rows, sortable=len(rows) > 2)
        for caption, plot in (plots or {}).items():
            t.h2(caption)
            t.img(src=_link(plot, path.parent), alt=caption, cls="plot")
        t.h2("Images")
        add_gallery(gallery, path.parent)
    _finish(page, path)
