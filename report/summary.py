"""Teacher beside compressed: one table and one page from the folders that test.py, latency.py and the search wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from errors import InputError
from report.pages import Gallery, write_page
from report.tables import giga, markdown_table, measured, mega, ratio, text_table
from runtime.files import write_json, write_text

# --------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class Tested:
    """What test.py and latency.py found about a model."""

    folder: Path
    results: dict
    latency: dict | None

    @classmethod
    def read(cls, folder: Path) -> Tested:
        """InputError when ``folder`` holds no results of test.py."""
        path = folder / "results.json"
        if not path.is_file():
            raise InputError(
                f"{folder} holds no results.json; run test.py `results_dir` {folder} first"
            )
        latency = folder / "latency.json"
        timing = json.loads(latency.read_text()) if latency.is_file() else None
        return cls(folder, json.loads(path.read_text()), timing)

    @property
    def images(self) -> Path:
        """The folder of the model's images; results of older versions do not say it."""
        return self.folder / self.results.get("images", "images/fake_B")

    def cells(self) -> list[str]:
        metrics = self.results["metrics"]
        values = [measured(key, metrics[key]) for key in self.results["measures"]]
        time = [f"{self.latency['median_ms']:.1f} ms"] if self.latency else ["-"]
        return [mega(self.results["params"]), giga(self.results["macs"]), *values, *time]


def comparison(teacher: Tested, compressed: Tested) -> tuple[list[str], list[list[str]]]:
    """(headings, rows): teacher, compressed, and how many times smaller or faster."""
    if teacher.results["measures"] != compressed.results["measures"]:
        raise InputError(
            f"{teacher.folder} and {compressed.folder} were measured differently: test both with the same flags"
        )
    n = teacher.results["metrics"]["n"]
    measures = [f"{label}, n={n}" for label in teacher.results["measures"].values()]
    headings = ["model", "parameters", "MACs", *measures, "latency"]
    times = [t.latency["median_ms"] if t.latency else 0 for t in (teacher, compressed)]
    ratios = [ratio(teacher.results[key], compressed.results[key]) for key in ("params", "macs")]
    rows = [
        [f"teacher: {teacher.results['name']}", *teacher.cells()],
        [f"compressed: {compressed.results['name']}", *compressed.cells()],
        ["ratio", *ratios, *("" for _ in measures), ratio(*times)],
    ]
    return headings, rows


# --------------------------------------------------------------------------------------------------
# Writing


def summarise(teacher: Path, compressed: Path, search: Path | None, page: Path, title: str) -> None:
    """Print the table; write it as ``page`` (with images and the search plot), ``summary.md`` and ``summary.json`` beside it."""
    tested = Tested.read(teacher), Tested.read(compressed)
    headings, rows = comparison(*tested)
    model = tested[1].results
    where = (
        f"; latency of one image on {tested[1].latency['device']}, {tested[1].latency['threads']} threads"
        if tested[1].latency
        else ""
    )
    note = (
        f"MACs at {model['width']}x{model['height']}, {model['macs_convention']} convention{where}"
    )
    given = teacher / "images"
    columns = {
        "input": given / "real_A",
        "teacher": tested[0].images,
        "compressed": tested[1].images,
    }
    if (given / "real_B").is_dir():
        columns["real"] = given / "real_B"
    names = sorted(
        str(p.relative_to(columns["input"]).with_suffix(""))
        for p in columns["input"].rglob("*.png")
    )
    plots = {"Search": search / "search.png"} if search else {}
    gallery = Gallery(columns, names, aspect=model["width"] / model["height"])
    write_page(page, title, note, headings, rows, gallery, plots)
    write_text(
        page.with_name("summary.md"), f"{title}\n\n{markdown_table(headings, rows)}\n\n{note}\n"
    )
    write_json(
        page.with_name("summary.json"),
        {
            "title": title,
            "teacher": tested[0].results,
            "compressed": model,
            "latency": [t.latency for t in tested],
        },
    )
    print(f"\n{title}\n\n{text_table(headings, rows)}\n\n{note}\npage: {page}")
