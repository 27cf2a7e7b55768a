"""HTML pages that open from disk: a header, tables, plots, and images that zoom and flip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dominate
from dominate import tags as t
from dominate.util import raw

from report.header import Header, add_header
from report.related import relative_url
from report.tables import printable
from runtime.files import write_text

_STYLE, _SCRIPT, _PLOT_SCRIPT = (
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("page.css", "page.js", "pareto.js")
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
        reference:   the column that ``outputs`` flip to while they are held; None = they do not
        outputs:     labels of columns
    """

    columns: dict[str, Path]
    names: list[str]
    differences: dict[str, list[float]] = field(default_factory=dict)
    measure: str = ""
    aspect: float = 1.0
    reference: str | None = None
    outputs: Sequence[str] = ()

    def role(self, label: str) -> str:
        """What a column is to the others: output | reference | other."""
        if self.reference not in self.columns:
            return "other"
        if label == self.reference:
            return "reference"
        return "output" if label in self.outputs else "other"


@dataclass(frozen=True)
class Pictures:
    """Large pictures, each below its caption.

    Args:
        images:  caption -> PNG file
        heading: of them all
        more:    caption -> PNG file, of those that are only linked, and seen in the zoom
        compare: the caption of the picture that the others flip to while they are held; None = none
    """

    images: Mapping[str, Path]
    heading: str
    more: Mapping[str, Path] = field(default_factory=dict)
    compare: str | None = None


def _start(path: Path, header: Header) -> dominate.document:
    page = dominate.document(title=f"{header.title} · {header.kind}")
    page["lang"] = "en"
    with page.head:
        t.meta(charset="utf-8")
        t.meta(name="viewport", content="width=device-width, initial-scale=1")
        t.meta(name="color-scheme", content="light dark")
        # Without it some browsers ask the folder for an icon.
        t.link(rel="icon", href="data:,")
        t.style(raw(_STYLE))
    with page:
        add_header(header, path.parent)
    return page


def _finish(
    page: dominate.document, path: Path, flags: dict[str, object] | None, plot: bool = False
) -> None:
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
        if plot:
            t.script(raw(_PLOT_SCRIPT))
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
                t.th(heading, scope="col")
        with t.tbody():
            for row in rows:
                with t.tr():
                    for value in row:
                        t.td(value)


# --------------------------------------------------------------------------------------------------
# Images


def _sorter(gallery: Gallery) -> None:
    """Add a choice of orders; page.js reads the column and the direction from its values."""
    with t.label("order "), t.select():
        t.option("name", value="0")
        for column, label in enumerate(gallery.columns):
            if label in gallery.differences:
                t.option(f"{label}: {gallery.measure}, largest first", value=str(-column))
                t.option(f"{label}: {gallery.measure}, smallest first", value=str(column))


def _tools(gallery: Gallery) -> None:
    """Add what stands above the images: their order, and the switch of the difference map."""
    flips = any(gallery.role(label) == "output" for label in gallery.columns)
    if not (gallery.differences or flips):
        return
    with t.div(cls="tools"):
        if gallery.differences:
            _sorter(gallery)
        if flips:
            t.button(
                f"difference to {gallery.reference}",
                cls="differences",
                type="button",
                aria_pressed="false",
                aria_keyshortcuts="d",
            )
            t.span(f"hold an output to see “{gallery.reference}” in its place", cls="hint")


def _add_row(gallery: Gallery, index: int, page_folder: Path) -> None:
    name = gallery.names[index]
    with t.div(cls="row"):
        for column, (label, folder) in enumerate(gallery.columns.items()):
            source = relative_url(folder / f"{name}.png", page_folder)
            with t.figure():
                # A link, so that images can be enlarged without the script too.
                with t.a(cls="frame", href=source):
                    t.img(src=source, alt=f"{label} of {name}", loading="lazy", decoding="async")
                if column == 0:
                    t.button(name, cls="name", type="button")
                if label in gallery.differences:
                    t.figcaption(f"{gallery.differences[label][index]:.3f}", title=gallery.measure)


def add_gallery(gallery: Gallery, page_folder: Path) -> None:
    """Add the thumbnails of a gallery, which page.js enlarges and flips.

    Thumbnails load when they scroll into view.

    Args:
        page_folder: folder of the page, from which the addresses of images start
    """
    with t.div(
        cls="gallery", style=f"--columns:{len(gallery.columns)};--aspect:{gallery.aspect:.4f}"
    ):
        _tools(gallery)
        with t.div(cls="row head"):
            for label in gallery.columns:
                t.div(label, data_role=gallery.role(label))
        with t.div(cls="rows"):
            for index in range(len(gallery.names)):
                _add_row(gallery, index, page_folder)


def _add_plots(plots: Mapping[str, Path], path: Path) -> None:
    """Add images below their captions; the dark colour scheme inverts them."""
    if not plots:
        return
    with t.div(cls="plots"):
        for caption, image in plots.items():
            with t.section():
                t.h2(caption)
                t.img(src=relative_url(image, path.parent), alt=caption, cls="plot", loading="lazy")


def _add_pictures(pictures: Pictures, path: Path) -> None:
    """Add pictures that page.js enlarges, and links to more."""
    if not pictures.images:
        return
    t.h2(pictures.heading)
    with t.div(cls="pictures", data_compare=pictures.compare or ""):
        for caption, image in pictures.images.items():
            source = relative_url(image, path.parent)
            with t.figure():
                t.figcaption(caption)
                with t.a(cls="picture", href=source, title=caption):
                    t.img(src=source, alt=caption, loading="lazy", decoding="async")
        if pictures.more:
            with t.p(cls="more"):
                t.span("more:")
                for caption, image in pictures.more.items():
                    source = relative_url(image, path.parent)
                    t.a(caption, cls="picture", href=source, title=caption)


# --------------------------------------------------------------------------------------------------
# Pages


def write_report(
    path: Path,
    header: Header,
    plots: dict[str, Path],
    pictures: Pictures | None = None,
    table: tuple[list[str], list[list[str]]] | None = None,
    flags: dict[str, object] | None = None,
    plot: Callable[[Path], None] | None = None,
) -> None:
    """Write a page with plots, large pictures, and a sortable table.

    Args:
        path:     the page
        header:   its top
        plots:    caption -> PNG file
        pictures: None = none
        table:    (headings, rows)
        flags:    name -> value of each flag of the run
        plot:     adds a plot that pareto.js makes interactive, given the folder of the page

    Raises:
        InputError: the page cannot be written.
    """
    page = _start(path, header)
    with page:
        if plot:
            plot(path.parent)
        _add_plots(plots, path)
        if pictures:
            _add_pictures(pictures, path)
        if table:
            t.h2("Table")
            add_table(*table, sortable=True)
    _finish(page, path, flags, plot is not None)


def write_page(
    path: Path,
    header: Header,
    headings: list[str],
    rows: list[list[str]],
    gallery: Gallery | None,
    plots: dict[str, Path] | None = None,
    flags: dict[str, object] | None = None,
    tables: dict[str, tuple[list[str], list[list[str]]]] | None = None,
    pictures: Pictures | None = None,
) -> None:
    """Write a page with a table, plots, further tables, large pictures and a gallery.

    A table is sortable if it has more than two rows.

    Args:
        tables: caption -> (headings, rows)
        others: as in `write_report`, errors too
    """
    page = _start(path, header)
    with page:
        add_table(headings, rows, sortable=len(rows) > 2)
        _add_plots(plots or {}, path)
        for caption, (names, lines) in (tables or {}).items():
            t.h2(caption)
            add_table(names, lines, sortable=len(lines) > 2)
        if pictures:
            _add_pictures(pictures, path)
        if gallery:
            t.h2("Images")
            add_gallery(gallery, path.parent)
    _finish(page, path, flags)
