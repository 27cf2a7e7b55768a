"""HTML pages that open from disk: tables, plots, and galleries whose images enlarge on a click."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import dominate
from dominate import tags as t
from dominate.util import raw

from report.tables import printable
from runtime.files import write_text

_STYLE, _SCRIPT = (
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
)


@dataclass(frozen=True)
class Gallery:
    """Images side by side: one row per name, one column per label.

    Args:
        columns:     label -> folder that holds ``<name>.png``
        names:       names of the images
        differences: label -> one number per name, by which rows can be sorted
        measure:     what these numbers measure
        aspect:      width / height of a thumbnail; images of another shape fit inside it
    """

    columns: dict[str, Path]
    names: list[str]
    differences: dict[str, list[float]] = field(default_factory=dict)
    measure: str = ""
    aspect: float = 1.0


def _link(target: Path, folder: Path) -> str:
    """A relative URL of any file name, even with #, % or bytes that are not UTF-8."""
    return quote(os.fsencode(os.path.relpath(target, folder).replace(os.sep, "/")))


class _Dialog(t.html_tag):
    tagname = "dialog"


def _start(
    path: Path, title: str, note: str, links: dict[str, Path] | None = None
) -> dominate.document:
    """A page with its title, time of writing, links to other pages (label -> page) and a note."""
    page = dominate.document(title=title)
    with page.head:
        t.meta(charset="utf-8")
        t.meta(name="viewport", content="width=device-width, initial-scale=1")
        t.meta(name="color-scheme", content="light dark")
        t.style(raw(_STYLE))
    with page:
        t.h1(title)
        with t.p(cls="note when"):
            t.span(f"written {time.strftime('%Y-%m-%d %H:%M')}")
            for label, target in (links or {}).items():
                t.a(label, href=_link(target, path.parent))
        t.p(note, cls="note")
    return page


def _finish(page: dominate.document, path: Path, flags: dict[str, object] | None = None) -> None:
    """Add the flags of the run, collapsed, and write the page."""
    with page:
        if flags:
            with t.details():
                t.summary("Flags of this run")
                with t.div(cls="scroll"), t.table(cls="flags"), t.tbody():
                    for name, value in flags.items():
                        with t.tr():
                            t.td(name)
                            t.td("" if value is None else str(value))
        t.script(raw(_SCRIPT))
    write_text(path, printable(page.render()))


def add_table(headings: list[str], rows: list[list[str]], sortable: bool = False) -> None:
    """Add a table to the page; it scrolls sideways if it does not fit.

    Args:
        rows:     cells of each row, as many as headings
        sortable: a click on a heading sorts the rows
    """
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
    """Add a choice of orders; page.js reads the column and the direction from its values."""
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
    """Add the thumbnails of a gallery, and the dialog that a click on one opens.

    Thumbnails load when they scroll into view.

    Args:
        page_folder: folder of the page, from which the addresses of images start
    """
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
            t.span("← → change image, ↑ ↓ show one column, Esc closes")
        t.div(cls="stage")


def _add_images(images: dict[str, Path], path: Path, kind: str) -> None:
    """Add images below their captions.

    Args:
        kind: plot | picture; the dark colour scheme inverts plots only
    """
    for caption, image in images.items():
        t.h2(caption)
        with t.div(cls="scroll"):
            t.img(src=_link(image, path.parent), alt=caption, cls=kind, loading="lazy")


def write_report(
    path: Path,
    title: str,
    note: str,
    plots: dict[str, Path],
    pictures: dict[str, Path],
    table: tuple[list[str], list[list[str]]] | None = None,
    links: dict[str, Path] | None = None,
    flags: dict[str, object] | None = None,
) -> None:
    """Write a page with plots, a sortable table, and large pictures.

    Args:
        path:     the page
        title:    its heading
        note:     a line below the heading
        plots:    caption -> PNG file
        pictures: caption -> PNG file
        table:    (headings, rows)
        links:    label -> another page
        flags:    name -> value of each flag of the run

    Raises:
        InputError: the page cannot be written.
    """
    page = _start(path, title, note, links)
    with page:
        _add_images(plots, path, "plot")
        if table:
            t.h2("Table")
            add_table(*table, sortable=True)
        _add_images(pictures, path, "picture")
    _finish(page, path, flags)


def write_page(
    path: Path,
    title: str,
    note: str,
    headings: list[str],
    rows: list[list[str]],
    gallery: Gallery | None,
    plots: dict[str, Path] | None = None,
    links: dict[str, Path] | None = None,
    flags: dict[str, object] | None = None,
    tables: dict[str, tuple[list[str], list[list[str]]]] | None = None,
) -> None:
    """Write a page with a table, plots, further tables and a gallery.

    A table is sortable if it has more than two rows.

    Args:
        tables: caption -> (headings, rows)
        others: as in `write_report`, errors too
    """
    page = _start(path, title, note, links)
    with page:
        add_table(headings, rows, sortable=len(rows) > 2)
        _add_images(plots or {}, path, "plot")
        for caption, (names, lines) in (tables or {}).items():
            t.h2(caption)
            add_table(names, lines, sortable=len(lines) > 2)
        if gallery:
            t.h2("Images")
            add_gallery(gallery, path.parent)
    _finish(page, path, flags)
