"""The page of a study, from small results written by hand: means over seeds, ratios to the teacher
of the same seed, the noise, what is missing, what is refused."""

import csv
import json
import os
import re
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from errors import InputError
from report.study import (
    noise_table,
    notes,
    plot_quality,
    read_study,
    seeds_table,
    summary_table,
    write_study,
)

NAMES = {
    "teacher": "resnet_9blocks ngf 32",
    "alone": "mobile_resnet_9blocks ngf 14",
    "online12": "super_mobile_resnet_9blocks 16_16_24_16_24_16_8_8",
}
MACS = {"teacher": 1_200_000_000, "alone": 100_000_000, "online12": 90_000_000}
MEASURES = {"fid": "FID (test)", "kid": "KID (test)"}


def entry(folder, row, fid, n=4):
    return {
        "label": row,
        "name": NAMES[row],
        "checkpoint": f"{folder}/{row}/checkpoints/best_net_G.pth",
        "images": f"images/{row}",
        "macs": MACS[row],
        "params": MACS[row] // 100,
        "macs_convention": "published",
        "height": 64,
        "width": 64,
        "metrics": {"n": n, "fid": fid, "kid": fid / 100},
        "measures": MEASURES,
    }


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def leave_test(folder, seed, fids, name="test_ad", n=4, **changes):
    """What test.py leaves for one seed; ``fids``: row -> FID."""
    run = folder / f"seed{seed}"
    models = [entry(run, row, fid, n) | changes for row, fid in fids.items()]
    write_json(run / name / "results.json", models[0] | {"models": models})
    (run / name / "index.html").touch()
    for column in ("real_A", "real_B", *fids):
        for image in ("a", "deep/b"):
            path = run / name / "images" / column / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


def leave_latency(folder, seed, rows, batch=1, name="latency_ad"):
    run = folder / f"seed{seed}"
    """Two forms that compute the same, of which one is twice as fast, and a faster one that does
    not."""
    timing = {"device": "a machine", "threads": 2}
    entries = [
        entry(run, row, 0)
        | {"macs": MACS[row] // 2, "macs_convention": "exact"}
        | {"median_ms": MACS[row] / 1e8 * slower * batch, "batch": batch}
        | {"backend": backend, "exact": backend != "bf16"}
        | timing
        for row in rows
        for backend, slower in (("eager", 2), ("onnxruntime", 1), ("bf16", 0.5))
    ]
    write_json(run / name / "latency.json", {"all": entries})


def leave_noise(folder, seed, fids):
    for half, fid in enumerate(fids, 1):
        path = folder / f"seed{seed}" / f"noise{half}" / "results.json"
        write_json(path, entry(folder, "teacher", fid, n=2))


def leave_log(folder, seed, training, scores):
    path = folder / f"seed{seed}" / training / "log.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [{"event": "train", "step": 1, "losses": {}}]
    records += [
        {"event": "eval", "epoch": i, "step": 10 * i, "score": score, "measure": "FID (test)"}
        for i, score in enumerate(scores)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def leave_search(folder, seed, fids):
    path = folder / f"seed{seed}" / "online12_search" / "evaluations.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"config_str": "8_8_8_8_8_8_8_8", "macs": 10**7 * (i + 1), "params": 1, "n": 3}
        | {"metrics": {"fid": fid}, "seconds": 1.0}
        for i, fid in enumerate(fids)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def study(tmp_path):
    """Two seeds of the teacher and two rows, with all that a study leaves."""
    folder = tmp_path / "my study"
    for seed, fids in ((7, (1.0, 2.0, 1.1)), (11, (2.0, 3.0, 1.9))):
        rows = dict(zip(NAMES, fids, strict=True))
        leave_test(folder, seed, rows)
        leave_latency(folder, seed, rows)
        leave_noise(folder, seed, (fids[0] - 0.1, fids[0] + 0.15))
        leave_search(folder, seed, (1.5, None, 1.2))
        for training in NAMES:
            leave_log(folder, seed, training, (3.0, fids[0]))
    for part, count in ((1, 5), (2, 3)):
        path = folder / "splits" / f"train{part}.meta"
        path.parent.mkdir(exist_ok=True)
        path.write_text("x.png\n" * count)
    return folder


def test_rows_are_means_over_seeds(study):
    headings, rows = summary_table(read_study(study))
    cells = {row[0]: dict(zip(headings, row, strict=True)) for row in rows}
    assert list(cells) == ["teacher", "(a) alone, as a GAN", "(d) online, 1/12"]
    ours = cells["(d) online, 1/12"]
    fid = "FID (test), n=4"
    assert (cells["teacher"][fid], ours[fid]) == ("1.500 ± 0.707", "1.500 ± 0.566")
    # 1.1 / 1.0 and 1.9 / 2.0, not the ratio of the means.
    assert ours["FID / teacher's"] == "1.025 ± 0.106" and cells["teacher"]["FID / teacher's"] == ""
    assert ours["KID"] == "0.01500 ± 0.00566"
    assert (ours["parameters"], ours["MACs"]) == ("0.900M (13.3x)", "90.0M (13.3x)")
    assert (ours["exact MACs"], ours["time"]) == ("45.0M (13.3x)", "0.9 ms (13.3x)")
    assert cells["teacher"]["MACs"] == "1.200G" and ours["seeds"] == "7, 11"


def test_times_are_per_image(study):
    for seed in (7, 11):
        leave_latency(study, seed, NAMES, batch=8)
    found = read_study(study)
    assert {t.latency_ms for t in found.tested["online12"]} == {0.9}
    assert any("time of an image in batches of 8 on a machine" in note for note in notes(found))


def test_every_network_has_its_own_row(study):
    headings, rows = seeds_table(read_study(study))
    assert len(rows) == 6 and headings[-2:] == ["FID (test)", "KID (test)"]
    assert rows[-1] == [
        *("(d) online, 1/12: 16_16_24_16_24_16_8_8", "11", "0.900M", "90.0M"),
        *("1.900", "0.01900"),
    ]


def test_the_noise_of_halves_and_of_seeds(study):
    _, rows = noise_table(read_study(study))
    assert [row[1:] for row in rows] == [
        ["0.900", "1.150", "0.250", "2 and 2"],
        ["1.900", "2.150", "0.250", "2 and 2"],
        ["1.000", "2.000", "1.000", "4"],
    ]
    assert "seed 11" in rows[1][0] and "7, 11" in rows[2][0]


def test_page_files_and_links(study, capsys):
    write_study(study, "Study of <maps>")
    html = (study / "index.html").read_text()
    images = [unquote(source) for source in re.findall(r'src="([^"]+)"', html)]
    columns = ("images/real_A", "images/teacher", "images/alone", "images/online12")
    columns += ("images/real_B",)
    shown = [f"seed7/test_ad/{c}/{name}.png" for name in ("a", "deep/b") for c in columns]
    assert images == ["quality.png", "curves.png", *shown]
    assert all((study / image).is_file() for image in images)
    assert all(f'href="seed{seed}/test_ad/index.html"' in html for seed in (7, 11))
    for text in (
        "Study of &lt;maps&gt;",
        "A study at small size: 64x64 px, FID (test), n=4 test images",
        "trained on 5 pairs; 3 others judged every choice",
        "seeds 7, 11: mean ± standard deviation",
        "time of one image on a machine, threads: 2, in the fastest exact form (onnxruntime)",
        "The noise of this protocol",
    ):
        assert text in html, text
    for name in ("quality.png", "curves.png"):
        with Image.open(study / name) as image:
            assert image.width == 840 and len(image.convert("RGB").getcolors(100_000)) > 10
    printed, table = capsys.readouterr().out, (study / "table.md").read_text()
    assert all("1.025 ± 0.106" in text for text in (printed, table, html))


def test_figures_for_programs(study):
    write_study(study, "T")
    found = json.loads((study / "study.json").read_text())
    assert (found["n"], found["size"], found["seeds"]) == (4, [64, 64], [7, 11])
    assert (found["trained_on"], found["searched_on"]) == (5, 3)
    ours = found["rows"][-1]
    assert ours["row"] == "online12" and ours["fid_mean"] == pytest.approx(1.5)
    assert ours["seeds"]["11"]["fid_ratio"] == pytest.approx(0.95)
    assert ours["seeds"]["7"]["exact_macs"] == 45_000_000
    assert [half["fid"] for half in found["noise"][0]["halves"]] == pytest.approx([0.9, 1.15])
    assert [r["score"] for r in found["trainings"]["alone"]["7"]] == [3.0, 1.0]
    lines = list(csv.DictReader((study / "table.csv").open()))
    assert [(line["row"], line["seed"]) for line in lines[-2:]] == [
        ("online12", "7"),
        ("online12", "11"),
    ]
    assert float(lines[-1]["fid"]) == 1.9 and float(lines[-1]["fid_ratio"]) == 0.95


def test_what_is_missing_is_left_out(tmp_path):
    """One seed, no timings, no logs, no searches, no noise; the folder of another seed is empty."""
    leave_test(tmp_path, 3, {"teacher": 1.0, "alone": 2.0})
    (tmp_path / "seed4" / "teacher").mkdir(parents=True)
    (tmp_path / "seed_old").mkdir()
    write_study(tmp_path, "T")
    headings, rows = summary_table(read_study(tmp_path))
    assert [row[0] for row in rows] == ["teacher", "(a) alone, as a GAN"]
    alone = dict(zip(headings, rows[1], strict=True))
    assert (alone["exact MACs"], alone["time"], alone["FID / teacher's"]) == ("-", "-", "2.000")
    html = (tmp_path / "index.html").read_text()
    assert "one seed (3), so no spread is known" in html
    assert "curves.png" not in html and "noise" not in html and "trained on" not in html


def test_a_later_test_of_more_rows_wins(tmp_path):
    leave_test(tmp_path, 3, {"teacher": 1.0, "alone": 2.0}, "test_a")
    leave_test(tmp_path, 3, {"teacher": 1.0, "alone": 2.5, "online12": 1.2}, "test_ad")
    os.utime(tmp_path / "seed3/test_a/results.json", (1, 1))
    found = read_study(tmp_path)
    assert [t.value("fid") for t in found.all] == [1.0, 2.5, 1.2]


def test_later_times_win(tmp_path):
    """By when they were measured, and not by the names of their folders."""
    leave_test(tmp_path, 3, {"teacher": 1.0, "alone": 2.0})
    leave_latency(tmp_path, 3, ("teacher", "alone"), name="latency_abcde")
    leave_latency(tmp_path, 3, ("teacher", "alone"), batch=2, name="latency_de")
    for name, when in (("latency_de", 1), ("latency_abcde", 2)):
        os.utime(tmp_path / "seed3" / name / "latency.json", (when, when))
    assert [t.timing["batch"] for t in read_study(tmp_path).all] == [1, 1]


def test_the_axis_says_how_macs_are_counted(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("report.study.save_figure", lambda figure, path: drawn.append(figure))
    leave_test(tmp_path, 3, {"teacher": 1.0, "alone": 2.0}, macs_convention="exact")
    plot_quality(read_study(tmp_path), tmp_path / "quality.png")
    assert drawn[0].axes[0].get_xlabel() == "MACs, exact convention"


def test_what_cannot_be_shown_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no test yet"):
        write_study(tmp_path, "T")
    leave_test(tmp_path, 3, {"teacher": 1.0, "alone": 2.0})
    leave_test(tmp_path, 4, {"teacher": 1.0, "alone": 2.0}, n=5)
    with pytest.raises(InputError, match="measured differently"):
        write_study(tmp_path, "T")
    path = tmp_path / "seed4" / "test_ad" / "results.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"results\.json: damaged"):
        write_study(tmp_path, "T")
    assert not (tmp_path / "index.html").exists()
