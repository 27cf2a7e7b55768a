"""HTML pages that open from disk: tables, plots, and galleries of thumbnails that zoom on a click."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import dominate
from dominate import tags as t
from dominate.util import raw

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1280px;padding:24px;color:#1d2329;background:#fafbfc}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}p.note{color:#59636e;margin:4px 0 12px}
table{border-collapse:collapse;background:#fff;box-shadow:0 0 0 1px #dfe3e8;border-radius:6px}
th,td{padding:7px 14px;text-align:right;border-bottom:1px solid #e8ebee;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}thead th{background:#f1f3f5;font-weight:600}tbody tr:last-child td{border-bottom:0}
.scroll{overflow-x:auto}.plot{max-width:100%;background:#fff;box-shadow:0 0 0 1px #dfe3e8;border-radius:6px}
.row{display:grid;gap:6px;margin-bottom:10px}.row figure{margin:0}.row img{width:100%;border-radius:4px;cursor:zoom-in;display:block;background:#e8ebee}
.row.head{position:sticky;top:0;background:#fafbfc;font-weight:600;padding:6px 0;z-index:1}.name{grid-column:1/-1;color:#59636e;font-size:12px;margin-top:4px}
table.sortable th{cursor:pointer}th[aria-sort=ascending]::after{content:" ▲"}th[aria-sort=descending]::after{content:" ▼"}
td.config{font-family:ui-monospace,monospace;font-size:13px}
dialog{border:0;padding:0;background:transparent;max-width:96vw;max-height:96vh}dialog::backdrop{background:#000c}
dialog img{width:min(92vw,92vh);height:auto;display:block;image-rendering:pixelated}
"""
_ZOOM = """
const d=document.querySelector('dialog'),z=d.querySelector('img');
document.addEventListener('click',e=>{if(d.open){d.close();return}const i=e.target.closest('.row img');if(i){z.src=i.src;z.alt=i.alt;d.showModal()}});
document.querySelectorAll('table.sortable th').forEach((th,c)=>{th.tabIndex=0;const sort=()=>{const b=th.closest('table').tBodies[0],
v=r=>r.cells[c].textContent,num=x=>parseFloat(x.replaceAll(',','')),up=th.ariaSort!=='ascending';
[...b.rows].sort((p,q)=>{const a=num(v(p)),e=num(v(q));const k=isNaN(a)||isNaN(e)?v(p).localeCompare(v(q)):a-e;return up?k:-k}).forEach(r=>b.append(r));
th.closest('tr').querySelectorAll('th').forEach(o=>o.ariaSort=null);th.ariaSort=up?'ascending':'descending'};
th.onclick=sort;th.onkeydown=e=>{if(e.key==='Enter')sort()}});
"""


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
        with _Dialog():
            t.img(alt="")
        t.script(raw(_ZOOM))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page.render(), encoding="utf-8")
    temporary.replace(path)


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


def add_gallery(columns: dict[str, Path], names: list[str], page_folder: Path) -> None:
    """A row per name, a column per label; ``columns``: label -> folder that holds ``<name>.png``. Images load as they scroll into view."""
    layout = f"grid-template-columns:repeat({len(columns)},1fr)"
    with t.div(cls="row head", style=layout):
        for label in columns:
            t.div(label)
    for name in names:
        with t.div(cls="row", style=layout):
            for label, folder in columns.items():
                with t.figure():
                    t.img(
                        src=_link(folder / f"{name}.png", page_folder),
                        alt=f"{label} of {name}",
                        loading="lazy",
                    )
            t.div(name, cls="name")


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
    columns: dict[str, Path],
    names: list[str],
    plots: dict[str, Path] | None = None,
) -> None:
    """A page with a table, plots (caption -> PNG) and a gallery; everything is linked relative to the page."""
    page = _document(title)
    with page:
        t.h1(title)
        t.p(note, cls="note")
        add_table(headings, rows)
        for caption, plot in (plots or {}).items():
            t.h2(caption)
            t.img(src=_link(plot, path.parent), alt=caption, cls="plot")
        t.h2("Images")
        add_gallery(columns, names, path.parent)
    _finish(page, path)
