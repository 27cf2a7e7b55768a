"""Teacher and compressed model side by side: a table and a page from the results on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from errors import InputError
from report.header import Cost, Figure, Header
from report.latency import exact_macs, of_what, read_latency
from report.pages import Gallery, write_page
from report.related import origins, run_pages
from report.results import read_written
from report.tables import giga, markdown_table, measured, mega, ratio, text_table
from runtime.files import read_json, read_json_lines, write_json, write_text

# --------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class Tested:
    """What test.py and latency.py wrote about a model.

    folder:  where they wrote it
    results: content of results.json
    latency: what latency.json says of the same network, times per image; None without that file
    """

    folder: Path
    results: dict
    latency: dict | None

    @classmethod
    def read(cls, folder: Path) -> Tested:
        """Read the files in ``folder``.

        Raises:
            InputError: it holds no results of test.py, a file is damaged, or the times are of
                another network or size.
        """
        path = folder / "results.json"
        if not path.is_file():
            raise InputError(
                f"{folder} holds no results.json; run test.py `results_dir` {folder} first"
            )
        results, latency = read_json(path), folder / "latency.json"
        return cls(folder, results, _timing(latency, results) if latency.is_file() else None)

    @property
    def images(self) -> Path:
        """The folder of the model's images. The results of older versions do not name it."""
        return self.folder / self.results.get("images", "images/fake_B")

    @property
    def names(self) -> set[str]:
        """The names of the model's images."""
        written = read_written(self.folder)
        if written is None:  # results of older versions
            paths = (p.relative_to(self.images) for p in self.images.rglob("*.png"))
        else:
            images = self.images.relative_to(self.folder)
            paths = (Path(p).relative_to(images) for p in written if images in Path(p).parents)
        return {str(path.with_suffix("")) for path in paths}

    def cost(self, label: str) -> Cost:
        """What the model costs, as far as it is known."""
        exact = exact_macs(self.results, self.latency)
        time = self.latency["median_ms"] if self.latency else None
        return Cost(label, self.results["params"], self.results["macs"], exact, time)

    def cells(self) -> list[str]:
        """The cells of the model's row: parameters, MACs, measures, latency."""
        metrics = self.results["metrics"]
        values = [measured(key, metrics[key]) for key in self.results["measures"]]
        time = [f"{self.latency['median_ms']:.1f} ms"] if self.latency else ["-"]
        return [mega(self.results["params"]), giga(self.results["macs"]), *values, *time]


def _timing(path: Path, results: dict) -> dict:
    """The entry of a latency.json that is of the tested network; of several forms the first."""
    remedy = (
        f"remove it and run latency.py `results_dir` {path.parent} with the checkpoint and the "
        "image flags of the test"
    )
    tested, size = results["checkpoint"], [results["height"], results["width"]]
    entries = read_latency(path)
    # Older files do not name the network, or not the size that the flags gave.
    found = [e for e in entries if _same_file(e.get("checkpoint", tested), tested)]
    if not found:
        raise InputError(
            f"{path} has times of {entries[0]['checkpoint']}, and the test beside it is of "
            f"{tested}: {remedy}"
        )
    timing = found[0]
    timed = timing.get("macs_size", [timing.get("height", size[0]), timing.get("width", size[1])])
    if timed != size:
        raise InputError(
            f"{path} has times at {timed[1]}x{timed[0]}, and the test beside it is at "
            f"{size[1]}x{size[0]}: {remedy}"
        )
    return timing


def _same_file(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _measured_before(run: Path, compressed: Tested) -> list[list[str]]:
    """Rows of the compressed model before and after fine-tuning, as measured during that run.

    A measure is shown only if it has the same name and number of images as in the test.

    Raises:
        InputError: ``run`` holds no log.
    """
    path = run / "log.jsonl"
    if not path.is_file():
        raise InputError(f"{run} holds no log.jsonl; give the folder of the fine-tuning's run")
    evaluations = [r for r in read_json_lines(path) if r["event"] == "eval"]
    cells = compressed.cells()
    rows = []
    # There is no "before" if the run was not measured before its first step.
    before = [("before", r) for r in evaluations[:1] if r["step"] == 0]
    after = [("after", r) for r in evaluations[-1:] if r["step"] > 0]
    for when, record in before + after:
        found = next(iter(record["metrics"].values()))
        values = [
            measured(key, found[key])
            if key in found
            and found.get("n") == compressed.results["metrics"]["n"]
            and label in record["measure"]
            else "-"
            for key, label in compressed.results["measures"].items()
        ]
        rows.append([f"{when} fine-tuning (step {record['step']})", *cells[:2], *values, "-"])
    return rows


def comparison(
    teacher: Tested, compressed: Tested, finetune: Path | None = None
) -> tuple[list[str], list[list[str]]]:
    """The table of teacher and compressed model, with how many times smaller and faster it is.

    Args:
        finetune: folder of the run that fine-tuned the compressed model; adds rows from its log

    Returns:
        (headings, rows)

    Raises:
        InputError: the two were measured differently, or ``finetune`` holds no log.
    """
    ways = [(t.results["measures"], t.results["metrics"]["n"]) for t in (teacher, compressed)]
    if ways[0] != ways[1]:
        raise InputError(
            f"{teacher.folder} and {compressed.folder} were measured differently: "
            "test both with the same flags"
        )
    measures = [f"{label}, n={ways[0][1]}" for label in ways[0][0].values()]
    headings = ["model", "parameters", "MACs", *measures, "latency"]
    times = [t.latency["median_ms"] for t in (teacher, compressed) if t.latency]
    ratios = [ratio(teacher.results[key], compressed.results[key]) for key in ("params", "macs")]
    rows = [
        [f"teacher: {teacher.results['name']}", *teacher.cells()],
        [f"compressed: {compressed.results['name']}", *compressed.cells()],
        ["ratio", *ratios, *("" for _ in measures), ratio(*times) if len(times) == 2 else "-"],
    ]
    rows += _measured_before(finetune, compressed) if finetune else []
    return headings, rows


# --------------------------------------------------------------------------------------------------
# Writing


def _links(tested: tuple[Tested, Tested], search: Path | None, finetune: Path | None) -> dict:
    """Label -> page of every stage of the pipeline that has one, in order."""
    teacher, compressed = (t.folder for t in tested)
    stages = {"fine-tuning": finetune, "search": search}
    links = {}
    for folder in filter(None, stages.values()):
        links |= origins(folder)
    links |= run_pages({"teacher": tested[0].results["checkpoint"]})
    stages = {**stages, "test of the teacher": teacher, "test of the compressed model": compressed}
    own = {k: folder / "index.html" for k, folder in stages.items() if folder}
    links |= {label: page for label, page in own.items() if page.is_file()}
    pages = {page.resolve(): label for label, page in links.items()}
    return {label: page for page, label in pages.items()}


def _header(tested: tuple[Tested, Tested], title: str, note: str, links: dict[str, Path]) -> Header:
    pair = dict(zip(("teacher", "compressed"), tested, strict=True))
    teacher, compressed = (t.results["metrics"] for t in tested)
    return Header(
        "Comparison",
        title,
        note,
        {label: each.results["name"] for label, each in pair.items()},
        [
            Figure(label, measured(key, compressed[key]), f"teacher {measured(key, teacher[key])}")
            for key, label in tested[1].results["measures"].items()
        ],
        [each.cost(label) for label, each in pair.items()],
        tested[1].results["macs_convention"],
        links=links,
        script="summarise.py",
    )


def summarise(
    teacher: Path,
    compressed: Path,
    search: Path | None,
    page: Path,
    title: str,
    finetune: Path | None = None,
) -> None:
    """Print a table of two tested models and write a page, ``summary.md`` and ``summary.json``.

    Args:
        teacher:    folder of the teacher's test
        compressed: folder of the compressed model's test
        search:     folder of the search, for its plot; None = no plot
        page:       HTML file to write; the other files are written beside it
        title:      heading of table and page
        finetune:   folder of the run that fine-tuned the compressed model; None = no rows of it

    Raises:
        InputError: a folder lacks its results, its times are of another network or size, the two
            were measured differently, or a file cannot be written.
    """
    tested = Tested.read(teacher), Tested.read(compressed)
    headings, rows = comparison(*tested, finetune)
    model = tested[1].results
    note = f"MACs at {model['width']}x{model['height']}, {model['macs_convention']} convention"
    size = model["height"], model["width"]
    timings = [
        f"{of_what(t.latency, size)} on {t.latency['device']}, {t.latency['threads']} threads"
        for t in tested
        if t.latency
    ]
    if timings:
        note += f"; latency of {' and of '.join(dict.fromkeys(timings))}"
    given = teacher / "images"
    columns = {
        "input": given / "real_A",
        "teacher": tested[0].images,
        "compressed": tested[1].images,
    }
    names = sorted(tested[0].names & tested[1].names)
    if names and (given / "real_B" / f"{names[0]}.png").is_file():
        columns["real"] = given / "real_B"
    plots = {"Search": search / "search.png"} if search else {}
    gallery = Gallery(
        columns,
        names,
        aspect=model["width"] / model["height"],
        reference="teacher",
        outputs=["compressed"],
    )
    header = _header(tested, title, note, _links(tested, search, finetune))
    write_page(page, header, headings, rows, gallery, plots)
    table = markdown_table(headings, rows)
    write_text(page.with_name("summary.md"), f"{title}\n\n{table}\n\n{note}\n")
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
