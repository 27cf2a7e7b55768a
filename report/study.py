"""The page of a quality study: how close small networks come to their teacher, over seeds.

A study's folder (``scripts/study.sh``) has a folder ``seed<N>`` for each seed. In it: trainings and
searches by the names below, ``test_<rows>`` and ``latency_<rows>`` of test.py and latency.py, and
``noise1``, ``noise2``, the teacher's tests on two halves of the test images. What is missing is
left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from errors import InputError
from report.header import Cost, Figure, Header
from report.latency import exact_macs, of_what, read_latency
from report.pages import Gallery, write_page
from report.plots import new_figure, save_figure
from report.tables import csv_table, macs, markdown_table, mega, milliseconds, ratio, text_table
from runtime.files import read_json, read_json_lines, write_json, write_text
from subnets.results import Evaluated, read_evaluations

# Folder of the final network -> what its row is called. The order is that of the table.
ROWS = {
    "teacher": "teacher",
    "mobile": "teacher of (c), mobile",
    "tuned": "teacher of (d) and (e), tuned",
    "alone": "(a) alone, as a GAN",
    "layerwise": "(b) GAN Compression, fast",
    "full": "(c) GAN Compression, full",
    "online12": "(d) online, 1/12",
    "online40": "(e) online, 1/40",
}
# Folder -> what it trains, in the order of the script.
TRAININGS = {
    "teacher": "teacher",
    "mobile": "teacher of (c), mobile",
    "tuned": "teacher of (d) and (e), tuning",
    "alone": "alone",
    "layerwise_supernet": "(b) supernet, mean of largest and smallest",
    "layerwise": "(b) fine-tuning",
    "distilled": "(c) student before the supernet",
    "full_supernet": "(c) supernet, mean of largest and smallest",
    "full": "(c) fine-tuning",
    "online_supernet": "online supernet, mean of largest and smallest",
    "online12": "(d) fine-tuning",
    "online40": "(e) fine-tuning",
}
SEARCHES = {f"{row}_search": row for row in ("layerwise", "full", "online12", "online40")}
COLOURS = {
    "teacher": "#333333",
    "mobile": "#bbbbbb",
    "tuned": "#777777",
    "alone": "#d95f02",
    "layerwise": "#1f77b4",
    "full": "#17becf",
    "online12": "#2ca02c",
    "online40": "#9467bd",
}
SHOWN = 12  # images on the page

# --------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class Tested:
    """One network of one seed, as test.py found it.

    Args:
        row:        key of `ROWS`
        images:     folder of its outputs, beside those of the inputs and of the real images
        found:      its entry in results.json
        timing:     its fastest entry in latency.json of those that compute the same; None without
                    it
    """

    row: str
    seed: int
    images: Path
    found: dict
    timing: dict | None

    @property
    def exact_macs(self) -> int | None:
        """Multiply-accumulates of the convolutions that are really done."""
        return exact_macs(self.found, self.timing)

    @property
    def latency_ms(self) -> float | None:
        """Median time per image in the fastest form that computes the same [ms]."""
        return self.timing["median_ms"] if self.timing else None

    @property
    def network(self) -> str:
        """Its widths; of the teacher its kind too."""
        return self.found["name"] if self.row == "teacher" else self.found["name"].split(" ", 1)[1]

    def value(self, key: str) -> float:
        """A measure of its images, or ``macs`` (in the convention of the test) or ``params``."""
        return self.found[key] if key in ("macs", "params") else self.found["metrics"][key]


@dataclass(frozen=True)
class Noise:
    """The same teacher on two halves of the test images."""

    seed: int
    halves: tuple[dict, dict]  # results of test.py


@dataclass(frozen=True)
class Study:
    """All that a study's folder holds.

    Args:
        tested:   row -> its networks, by seed
        noise:    a pair of tests per seed
        searches: row -> the evaluations of all seeds that its network was chosen from
        curves:   training -> seed -> the log's evaluations that have a score
        trained_on, searched_on: images of the two parts of train; None where it is not known
    """

    folder: Path
    tested: dict[str, list[Tested]]
    noise: list[Noise]
    searches: dict[str, list[Evaluated]]
    curves: dict[str, dict[int, list[dict]]]
    trained_on: int | None
    searched_on: int | None

    @property
    def all(self) -> list[Tested]:
        return [tested for row in self.tested.values() for tested in row]

    @property
    def seeds(self) -> list[int]:
        return sorted({tested.seed for tested in self.all})

    @property
    def measures(self) -> dict[str, str]:
        """Measure -> how it must be labelled, of all networks."""
        return self.all[0].found["measures"]

    @property
    def n(self) -> int:
        return self.all[0].found["metrics"]["n"]

    @property
    def convention(self) -> str:
        """How MACs are counted, see `models.cost.CONVENTIONS`; of tests that differ all ways."""
        return " and ".join(dict.fromkeys(t.found["macs_convention"] for t in self.all))

    def teacher_of(self, seed: int) -> Tested | None:
        return next((t for t in self.tested.get("teacher", []) if t.seed == seed), None)


def _row_of(checkpoint: str) -> str:
    """``.../online12/checkpoints/best_net_G.pth`` -> ``online12``."""
    return Path(checkpoint).parent.parent.name


def _network_of(entry: dict) -> tuple[str, str]:
    """Training and checkpoint of an entry, wherever the study's folder was when it was made."""
    return _row_of(entry["checkpoint"]), Path(entry["checkpoint"]).name


def _read_tests(folder: Path, seed: int) -> list[Tested]:
    """The networks that a seed's tests measured; of equal ones that of the latest test."""
    timings = {}
    for path in sorted(folder.glob("latency_*/latency.json"), key=lambda p: p.stat().st_mtime_ns):
        entries = [entry for entry in read_latency(path) if entry["exact"]]
        # Of several tests the latest counts, of several forms the fastest.
        timings |= {
            _network_of(entry): entry
            for entry in sorted(entries, key=lambda entry: -entry["median_ms"])
        }
    found = {}
    for path in sorted(folder.glob("test_*/results.json"), key=lambda p: p.stat().st_mtime_ns):
        for entry in read_json(path).get("models", []):
            row = _row_of(entry["checkpoint"])
            images = path.parent / entry["images"]
            found[row] = Tested(row, seed, images, entry, timings.get(_network_of(entry)))
    return [found[row] for row in ROWS if row in found]


def _read_curve(path: Path) -> list[dict]:
    """The evaluations of a training; a damaged line must not end the page."""
    if not path.is_file():
        return []
    records = read_json_lines(path, strict=False)
    return [r for r in records if r["event"] == "eval" and "score" in r]


def _count(path: Path) -> int | None:
    return len(path.read_text(encoding="utf-8").split("\n")) - 1 if path.is_file() else None


def read_study(folder: Path) -> Study:
    """InputError where nothing has been tested, or not all alike."""
    seeds = {}
    for path in folder.glob("seed*"):
        if path.is_dir() and path.name.removeprefix("seed").isdecimal():
            seeds[int(path.name.removeprefix("seed"))] = path
    seeds = dict(sorted(seeds.items()))
    tested: dict[str, list[Tested]] = {row: [] for row in ROWS}
    noise, searches = [], {row: [] for row in SEARCHES.values()}
    curves: dict[str, dict[int, list[dict]]] = {name: {} for name in TRAININGS}
    for seed, path in seeds.items():
        for each in _read_tests(path, seed):
            tested[each.row].append(each)
        halves = [path / f"noise{half}" / "results.json" for half in (1, 2)]
        if all(half.is_file() for half in halves):
            noise.append(Noise(seed, (read_json(halves[0]), read_json(halves[1]))))
        for name, row in SEARCHES.items():
            if (path / name / "evaluations.jsonl").is_file():
                searches[row] += read_evaluations(path / name / "evaluations.jsonl")
        for name in TRAININGS:
            curve = _read_curve(path / name / "log.jsonl")
            if curve:
                curves[name][seed] = curve
    study = Study(
        folder,
        {row: each for row, each in tested.items() if each},
        noise,
        {row: each for row, each in searches.items() if each},
        {name: each for name, each in curves.items() if each},
        _count(folder / "splits" / "train1.meta"),
        _count(folder / "splits" / "train2.meta"),
    )
    if not study.tested:
        raise InputError(f"{folder} holds no test yet; run scripts/study.sh until a seed is tested")
    ways = {(str(t.found["measures"]), t.found["metrics"]["n"]) for t in study.all}
    if len(ways) > 1 or "fid" not in study.measures:
        raise InputError(
            f"{folder}: its networks were measured differently, or not by FID; remove the folders "
            "test_* and run scripts/study.sh again with one set of flags"
        )
    return study


# --------------------------------------------------------------------------------------------------
# Tables

_DIGITS = {"kid": 5, "ssim": 4, "fid": 3}


def _number(key: str, value: float) -> str:
    """FID to three decimals: at small size it is about 1, and rows differ by hundredths."""
    return f"{value:.{_DIGITS.get(key, 2)}f}"


def _mean_and_spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """``1.234 ± 0.012``: the mean and the sample standard deviation; of one value the value."""
    mean = show(statistics.fmean(values))
    return f"{mean} ± {show(statistics.stdev(values))}" if len(values) > 1 else mean


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _ratios(study: Study, networks: list[Tested], key: str) -> list[float]:
    """Value of each network divided by that of the teacher of the same seed."""
    pairs = [(network, study.teacher_of(network.seed)) for network in networks]
    return [n.value(key) / t.value(key) for n, t in pairs if t and t.value(key)]


def _smaller(value: float | None, teachers: float | None, show: Callable[[float], str]) -> str:
    """``0.083G (12.1x)``: a cost, and how many times less than the teacher's it is."""
    if value is None:
        return "-"
    less = teachers is not None and value != teachers
    return show(value) + (f" ({ratio(teachers, value)})" if less else "")


def _costs(networks: list[Tested]) -> list[float | None]:
    """Means of parameters, MACs, exact MACs and milliseconds, as far as they are known."""
    return [
        _mean(t.value("params") for t in networks),
        _mean(t.value("macs") for t in networks),
        _mean(t.exact_macs for t in networks),
        _mean(t.latency_ms for t in networks),
    ]


def summary_table(study: Study) -> tuple[list[str], list[list[str]]]:
    """(headings, rows): a row of the study each, means over its seeds."""
    label, n = study.measures["fid"], study.n
    headings = ["network", "parameters", "MACs", "exact MACs", f"{label}, n={n}"]
    headings += ["FID / teacher's", *(["KID"] if "kid" in study.measures else [])]
    headings += ["time", "seeds"]
    teachers = study.tested.get("teacher", [])

    shows = (mega, macs, macs, milliseconds)
    rows = []
    for row, networks in study.tested.items():
        pairs = zip(_costs(networks), _costs(teachers), shows, strict=True)
        *sizes, time = (_smaller(*pair) for pair in pairs)
        fids = [t.value("fid") for t in networks]
        ratios = [] if row == "teacher" else _ratios(study, networks, "fid")
        cells = [ROWS[row], *sizes, _mean_and_spread(fids, lambda v: _number("fid", v))]
        cells.append(_mean_and_spread(ratios, "{:.3f}".format) if ratios else "")
        if "kid" in study.measures:
            kids = [t.value("kid") for t in networks]
            cells.append(_mean_and_spread(kids, lambda v: _number("kid", v)))
        rows.append([*cells, time, ", ".join(str(t.seed) for t in networks)])
    return headings, rows


def seeds_table(study: Study) -> tuple[list[str], list[list[str]]]:
    """(headings, rows): every network of every seed."""
    headings = ["network", "seed", "parameters", "MACs"]
    headings += list(study.measures.values())
    rows = [
        [
            f"{ROWS[t.row]}: {t.network}",
            str(t.seed),
            mega(t.value("params")),
            macs(t.value("macs")),
            *(_number(key, t.value(key)) for key in study.measures),
        ]
        for t in study.all
    ]
    return headings, rows


def noise_table(study: Study) -> tuple[list[str], list[list[str]]] | None:
    """(headings, rows): how far FIDs lie apart that no method makes differ; None where unknown."""
    cases = []
    for each in study.noise:
        fids = [half["metrics"]["fid"] for half in each.halves]
        counts = " and ".join(str(half["metrics"]["n"]) for half in each.halves)
        cases.append((f"two halves of the test images, teacher of seed {each.seed}", fids, counts))
    teachers = study.tested.get("teacher", [])
    if len(teachers) > 1:
        seeds = ", ".join(str(t.seed) for t in teachers)
        cases.append((f"teachers of seeds {seeds}", [t.value("fid") for t in teachers], study.n))
    rows = []
    for what, fids, n in cases:
        low, high = min(fids), max(fids)
        rows.append([what, *(_number("fid", v) for v in (low, high, high - low)), str(n)])
    headings = ["what differs", "lowest FID", "highest FID", "difference", "n"]
    return (headings, rows) if rows else None


# --------------------------------------------------------------------------------------------------
# Plots


def plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis as 0.5, 1, 2 instead of powers of ten."""
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(ScalarFormatter())


def short_macs(value: float, _: int = 0) -> str:
    """A tick: ``50M``, ``2G``."""
    return f"{value / 1e9:g}G" if value >= 1e9 else f"{value / 1e6:g}M"


def plot_quality(study: Study, path: Path) -> None:
    """FID over MACs: a large mark per row, its spread as a bar; small dots for what the searches
    measured on the held-out images.
    """
    figure, axes = new_figure(7.0, 5.0)
    for row, evaluations in study.searches.items():
        points = [(e.macs, e.value("fid")) for e in evaluations if e.value("fid") is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), s=11, color=COLOURS[row], alpha=0.5, lw=0)
    if study.searches:
        label = f"search images, n={next(iter(study.searches.values()))[0].n}"
        axes.scatter([], [], s=11, color="#888888", label=label)
    for row, networks in study.tested.items():
        fids = [t.value("fid") for t in networks]
        axes.errorbar(
            statistics.fmean(t.value("macs") for t in networks),
            statistics.fmean(fids),
            yerr=statistics.stdev(fids) if len(fids) > 1 else None,
            fmt="*" if row == "teacher" else "o",
            markersize=14 if row == "teacher" else 9,
            color=COLOURS[row],
            markeredgecolor="white",
            capsize=4,
            label=ROWS[row],
            zorder=3,
        )
    if "teacher" in study.tested:
        mean = statistics.fmean(t.value("fid") for t in study.tested["teacher"])
        axes.axhline(mean, color=COLOURS["teacher"], linestyle="--", linewidth=1, zorder=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(short_macs))
    plain_numbers(axes.yaxis)
    axes.tick_params(which="both", labelsize=8)
    axes.grid(True, axis="y", which="minor", color="#e6e6e6", linewidth=0.8)
    axes.set_xlabel(f"MACs, {study.convention} convention")
    axes.set_ylabel(study.measures["fid"])
    axes.set_title(f"large marks: test images, n={study.n}", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def plot_curves(study: Study, path: Path) -> None:
    """A panel per training, a line per seed: the score on the held-out images over the steps."""
    names = list(study.curves)
    columns = min(2, len(names))
    lines = math.ceil(len(names) / columns)
    figure, axes = new_figure(7.0, 0.6 + 2.1 * lines)
    axes.remove()
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for name, panel in zip(names, panels, strict=False):
        for number, (seed, curve) in enumerate(study.curves[name].items()):
            steps, scores = zip(*((r["step"], r["score"]) for r in curve), strict=True)
            panel.plot(
                steps,
                scores,
                marker="o",
                markersize=3,
                linewidth=1.2,
                color=f"C{number}",
                label=f"seed {seed}",
            )
        panel.set_title(TRAININGS[name], fontsize=9)
        panel.set_yscale("log")
        plain_numbers(panel.yaxis)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.tick_params(which="both", labelsize=7)
        panel.grid(True, which="both", color="#e6e6e6", linewidth=0.8)
        panel.set_axisbelow(True)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    for panel in list(panels):
        panel.remove()
    figure.supxlabel("step", fontsize=9)
    figure.supylabel(next(iter(study.curves[names[0]].values()))[-1]["measure"], fontsize=9)
    figure.axes[0].legend(frameon=False, fontsize=7)
    save_figure(figure, path)


# --------------------------------------------------------------------------------------------------
# Images


def side_by_side(study: Study) -> Gallery | None:
    """Some test images and what every row of the first seed made of them; None without images."""
    first = [t for t in study.all if t.seed == study.seeds[0]]
    given = first[0].images.parent
    columns = {"input": given / "real_A"} | {ROWS[t.row]: t.images for t in first}
    columns["real"] = given / "real_B"
    names = sorted(
        set.intersection(
            *(
                {str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.png")}
                for folder in columns.values()
            )
        )
    )
    if not names:
        return None
    spread = np.linspace(0, len(names) - 1, min(SHOWN, len(names))).round().astype(int)
    found = first[0].found
    return Gallery(
        columns,
        [names[i] for i in spread],
        aspect=found["width"] / found["height"],
        reference=ROWS["teacher"],
        outputs=[ROWS[t.row] for t in first if t.row != "teacher"],
    )


# --------------------------------------------------------------------------------------------------
# Writing


def notes(study: Study) -> list[str]:
    """What the numbers are of, and what they can be compared with."""
    found = study.all[0].found
    size = f"{found['width']}x{found['height']}"
    small = "" if min(found["width"], found["height"]) >= 256 else "A study at small size: "
    lines = [f"{small}{size} px, {study.measures['fid']}, n={study.n} test images"]
    if study.trained_on and study.searched_on:
        lines.append(
            f"trained on {study.trained_on} pairs; {study.searched_on} others judged every choice"
        )
    seeds = ", ".join(map(str, study.seeds))
    if len(study.seeds) > 1:
        lines.append(f"seeds {seeds}: mean ± standard deviation")
    else:
        lines.append(f"one seed ({seeds}), so no spread is known")
    lines.append(f"MACs of the {study.convention} convention")
    timings = [t.timing for t in study.all if t.timing]
    if timings:
        forms = dict.fromkeys(timing["backend"] for timing in timings)
        images = (found["height"], found["width"])
        timed = dict.fromkeys(
            f"{of_what(timing, images)} on {timing['device']}, threads: {timing['threads']}"
            for timing in timings
        )
        lines.append(
            f"time of {' and of '.join(timed)}, in the fastest exact form ({', '.join(forms)})"
        )
    lines.append("comparable within this page only")
    return lines


def _facts(study: Study, title: str) -> dict:
    """What study.json holds."""
    rows = []
    for row, networks in study.tested.items():
        seeds = {
            t.seed: {
                "network": t.found["name"],
                "params": t.value("params"),
                "macs": t.value("macs"),
                "exact_macs": t.exact_macs,
                "latency_ms": t.latency_ms,
                "backend": t.timing["backend"] if t.timing else None,
                "fid_ratio": next(iter(_ratios(study, [t], "fid")), None),
                "metrics": t.found["metrics"],
            }
            for t in networks
        }
        fids = [t.value("fid") for t in networks]
        rows.append(
            {
                "row": row,
                "label": ROWS[row],
                "fid_mean": statistics.fmean(fids),
                "fid_spread": statistics.stdev(fids) if len(fids) > 1 else None,
                "seeds": seeds,
            }
        )
    noise = [
        {"seed": n.seed, "halves": [half["metrics"] for half in n.halves]} for n in study.noise
    ]
    found = study.all[0].found
    return {
        "title": title,
        "notes": notes(study),
        "measures": study.measures,
        "n": study.n,
        "size": [found["height"], found["width"]],
        "macs_convention": study.convention,
        "trained_on": study.trained_on,
        "searched_on": study.searched_on,
        "seeds": study.seeds,
        "rows": rows,
        "noise": noise,
        "trainings": study.curves,
    }


def _header(study: Study, title: str, note: str, links: dict[str, Path]) -> Header:
    """Means over the seeds, in the order of the table: the teacher first where there is one."""
    figures = [
        Figure(
            f"FID, {ROWS[row]}",
            _mean_and_spread([t.value("fid") for t in networks], lambda v: _number("fid", v)),
        )
        for row, networks in study.tested.items()
    ]
    networks = {ROWS[row]: found[0].found["name"] for row, found in study.tested.items()}
    costs = [Cost(ROWS[row], *_costs(found)) for row, found in study.tested.items()]
    made = dict(links=links, script="study_page.py")
    return Header("Study", title, note, networks, figures, costs, study.convention, macs, **made)


def _spreadsheet(study: Study) -> str:
    """A line per network and seed, every figure at full precision."""
    measures = list(study.measures)
    headings = ["row", "label", "seed", "network", "params", "macs", "exact_macs", "latency_ms"]
    headings += ["n", *measures, "fid_ratio"]
    rows = [
        [
            *(t.row, ROWS[t.row], t.seed, t.found["name"], t.value("params"), t.value("macs")),
            *(t.exact_macs, t.latency_ms, study.n, *(t.value(key) for key in measures)),
            next(iter(_ratios(study, [t], "fid")), None),
        ]
        for t in study.all
    ]
    return csv_table(headings, rows)


def write_study(folder: Path, title: str) -> None:
    """Print the table of a study and write its page.

    Written into ``folder``: ``index.html``, ``study.json``, ``table.csv`` (a line per network and
    seed), ``table.md`` and the plots.

    Raises:
        InputError: nothing has been tested, or not all alike.
    """
    study = read_study(folder)
    headings, rows = summary_table(study)
    note = "; ".join(notes(study))
    plots = {"FID over MACs": folder / "quality.png"}
    plot_quality(study, plots["FID over MACs"])
    if study.curves:
        caption = "Learning curves on the held-out images"
        plots[caption] = folder / "curves.png"
        plot_curves(study, plots[caption])
    tables = {"Every seed": seeds_table(study)}
    if noise := noise_table(study):
        tables["The noise of this protocol"] = noise
    links = {}
    for seed in study.seeds:
        images = next(t.images for t in study.all if t.seed == seed)
        page = images.parent.parent / "index.html"
        if page.is_file():
            links[f"test, seed {seed}"] = page
    header = _header(study, title, note, links)
    page = folder / "index.html"
    write_page(page, header, headings, rows, side_by_side(study), plots, tables=tables)
    parts = [title, markdown_table(headings, rows), note]
    for caption, table in tables.items():
        parts += [caption, markdown_table(*table)]
    write_text(folder / "table.md", "\n\n".join(parts) + "\n")
    write_text(folder / "table.csv", _spreadsheet(study))
    write_json(folder / "study.json", _facts(study, title))
    print(f"\n{title}\n\n{text_table(headings, rows)}\n\n{note}\npage: {folder / 'index.html'}")
