"""What testing a generator leaves: its images, its numbers, and a page that links them all."""

import csv
import json
import os
import re
from dataclasses import replace
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import pytest
import torch
from PIL import Image

from data.loader import Loader
from data.transforms import Crops
from evaluation.tested import Loaded, TestedModel
from metrics.paired import PairedCriterion
from report import results as report


class Images:
    names = ["a", "deep/b", "c"]

    def __init__(self, paired):
        self.paired = paired

    def __len__(self):
        return 3

    def load(self, index):
        a, b = np.random.default_rng(index).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
        return {"A": a, "B": b} if self.paired else {"A": a}


class Brightness:
    """A criterion: the mean of all pixels it was given."""

    keys, label = ("fid",), "brightness"
    labels = {"fid": label}

    def reset(self):
        self.values, self.names = [], []

    def update(self, images, names, real=None):
        assert images.dtype == torch.uint8 and len(images) == len(names)
        self.values.append(images.double().mean(dim=(1, 2, 3)))
        self.names += names

    def result(self):
        return {"fid": float(torch.cat(self.values).mean()), "n": len(self.names)}


class Negative(torch.nn.Module):
    def forward(self, x):
        return -x


class Dimmed(torch.nn.Module):
    """Takes ``steps`` grey levels off the negative."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, x):
        return -x - 2 * self.steps / 255


MODEL = TestedModel(
    "sub 16_16", "logs/best_net_G.pth", 4_569_694_208, 719_507, "published", 256, 256
)
LOADED = Loaded("best", Negative(), MODEL)


@pytest.mark.parametrize("paired", [True, False])
def test_images_numbers_and_page(tmp_path, capsys, paired):
    loader = Loader(Images(paired), 2, torch.device("cpu"), Crops(None, False, False))
    criterion = Brightness()
    found = report.test_generators(tmp_path, [LOADED], loader, [criterion])
    sides = ["real_A", "fake_B"] + ["real_B"] * paired
    written = {str(p.relative_to(tmp_path / "images")) for p in tmp_path.glob("images/**/*.png")}
    assert written == {f"{side}/{name}.png" for side in sides for name in Images.names}
    for index, name in enumerate(Images.names):
        stored = {
            side: np.asarray(Image.open(tmp_path / "images" / side / f"{name}.png"))
            for side in sides
        }
        item = Images(True).load(index)
        assert np.abs(stored["real_A"].astype(int) - item["A"].transpose(1, 2, 0)).max() <= 1
        assert (
            np.abs(
                stored["fake_B"].astype(int) - (255 - item["A"].transpose(1, 2, 0).astype(int))
            ).max()
            <= 1
        )
        if paired:
            assert np.abs(stored["real_B"].astype(int) - item["B"].transpose(1, 2, 0)).max() <= 1
    fakes = [
        np.asarray(Image.open(tmp_path / "images" / "fake_B" / f"{n}.png")).mean()
        for n in Images.names
    ]
    assert found["metrics"] == {"n": 3, "fid": pytest.approx(np.mean(fakes))}
    assert json.loads((tmp_path / "results.json").read_text()) == found
    assert found["macs"] == MODEL.macs and found["measures"] == {"fid": "brightness"}

    html = (tmp_path / "index.html").read_text()
    linked = re.findall(r'src="([^"]+)"', html)
    assert sorted(linked) == sorted(f"images/{path}" for path in written)
    for part in (
        "sub 16_16",
        "4.570G",
        "0.720M",
        "published",
        f"{found['metrics']['fid']:.2f}",
        "brightness",
    ):
        assert part in html
    assert "4.570G" in capsys.readouterr().out


def test_the_distance_to_the_real_images_is_in_every_table(tmp_path, capsys):
    loader = Loader(Images(True), 2, torch.device("cpu"), Crops(None, False, False))
    found = report.test_generators(tmp_path, [LOADED], loader, [Brightness(), PairedCriterion()])
    stored = [
        [
            np.asarray(Image.open(tmp_path / "images" / side / f"{name}.png")).astype(int)
            for name in Images.names
        ]
        for side in ("fake_B", "real_B")
    ]
    expected = np.mean([np.abs(a - b).mean() for a, b in zip(*stored, strict=True)])
    assert found["metrics"]["l1_real"] == pytest.approx(expected, rel=1e-5)
    assert list(found["measures"]) == ["fid", "l1_real", "psnr", "ssim"]
    for text in (
        capsys.readouterr().out,
        (tmp_path / "results.md").read_text(),
        (tmp_path / "index.html").read_text(),
    ):
        assert f"{found['metrics']['l1_real']:.2f}" in text
        assert f"{found['metrics']['ssim']:.4f}" in text
        assert all(word in text for word in ("L1 to real, n=3", "PSNR (dB), n=3", "SSIM, n=3"))
    (row,) = csv.DictReader((tmp_path / "results.csv").open())
    assert float(row["psnr"]) == found["metrics"]["psnr"]


def test_without_criteria_there_are_still_images_and_a_page(tmp_path):
    loader = Loader(Images(True), 2, torch.device("cpu"), Crops(None, False, False))
    found = report.test_generators(tmp_path, [LOADED], loader, [])
    assert found["metrics"] == {"n": 3} and (tmp_path / "index.html").exists()


@pytest.fixture
def compared(tmp_path, capsys):
    """Three models on three images: the teacher, and two that differ from it by 10 and 30 grey
    levels where there is room."""
    loader = Loader(Images(True), 2, torch.device("cpu"), Crops(None, False, False))
    small = replace(MODEL, name="small", macs=MODEL.macs // 4, params=MODEL.params // 8)
    models = [Loaded("ten", Dimmed(10), small), Loaded("thirty|x", Dimmed(30), small)]
    found = report.test_generators(
        tmp_path, models, loader, [Brightness()], 3, Loaded("teacher", Negative(), MODEL)
    )
    return found, capsys.readouterr().out


def pixels(folder, label, name):
    return np.asarray(Image.open(folder / "images" / label / f"{name}.png")).astype(int)


def test_models_side_by_side(tmp_path, compared):
    """Each has its folder and its own measures; differences are those of the written images."""
    found, _ = compared
    labels = ["teacher", "ten", "thirty|x"]
    written = {str(p.relative_to(tmp_path / "images")) for p in tmp_path.glob("images/**/*.png")}
    assert written == {
        f"{side}/{n}.png" for side in ("real_A", "real_B", *labels) for n in Images.names
    }
    assert [m["label"] for m in found["models"]] == labels and found["reference"] == "teacher"
    assert found["label"] == "ten"  # at the top is the model under test, not the teacher
    assert json.loads((tmp_path / "results.json").read_text()) == found
    for entry in found["models"]:
        images = [pixels(tmp_path, entry["label"], name) for name in Images.names]
        assert entry["metrics"]["fid"] == pytest.approx(np.mean(images))
        assert entry["images"] == f"images/{entry['label']}"
        assert entry["latency"]["times"] == 3 and entry["latency"]["batch"] == 1
    lines = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert [line["name"] for line in lines] == Images.names
    for label, entry in zip(labels[1:], found["models"][1:], strict=True):
        expected = [
            np.abs(pixels(tmp_path, label, n) - pixels(tmp_path, "teacher", n)).mean()
            for n in Images.names
        ]
        assert [float(line[f"l1 {label}"]) for line in lines] == pytest.approx(expected)
        assert entry["l1"] == pytest.approx(np.mean(expected))
    assert found["models"][0]["l1"] is None
    assert 5 < found["models"][1]["l1"] < 11 < found["models"][2]["l1"] < 31


def test_tables_of_models_side_by_side(tmp_path, compared):
    found, printed = compared
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [row["label"] for row in rows] == [m["label"] for m in found["models"]]
    for row, entry in zip(rows, found["models"], strict=True):
        assert float(row["fid"]) == entry["metrics"]["fid"] and int(row["macs"]) == entry["macs"]
        assert row["l1"] == ("" if entry["l1"] is None else repr(entry["l1"]))
        assert float(row["latency_median_ms"]) == entry["latency"]["median_ms"]
        assert row["measured_by"] == "brightness"
    table, _, notes = (tmp_path / "results.md").read_text().partition("\n\n")
    lines = table.splitlines()
    assert len(lines) == 5 and len({line.replace(r"\|", "").count("|") for line in lines}) == 1
    assert "brightness, n=3" in lines[0] and "L1 to teacher" in lines[0]
    assert "(4.0x)" in lines[3] and "(8.0x)" in lines[3] and "x)" not in lines[2]
    assert "grey levels" in notes and "threads" in notes and "CPU" in notes
    assert "4.570G" in printed and "L1 to teacher" in printed


def test_the_page_of_models_side_by_side(tmp_path, compared):
    html = (tmp_path / "index.html").read_text()
    sources = [unquote(source) for source in re.findall(r'src="([^"]+)"', html)]
    sides = ("real_A", "teacher", "ten", "thirty|x", "real_B")
    assert sources == [f"images/{side}/{name}.png" for name in Images.names for side in sides]
    captions = [float(value) for value in re.findall(r"<figcaption[^>]*>([\d.]+)", html)]
    lines = list(csv.DictReader((tmp_path / "images.csv").open()))
    expected = [float(line[f"l1 {label}"]) for line in lines for label in ("ten", "thirty|x")]
    assert captions == pytest.approx(expected, abs=6e-4)


def test_without_a_teacher_the_first_is_compared_with(tmp_path):
    loader = Loader(Images(False), 2, torch.device("cpu"), Crops(None, False, False))
    models = [Loaded("first", Negative(), MODEL), Loaded("same", Dimmed(0), MODEL)]
    found = report.test_generators(tmp_path, models, loader, [])
    assert found["reference"] == found["label"] == "first"
    assert found["models"][1]["l1"] == 0 and found["models"][1]["latency"] is None
    assert "latency" not in (tmp_path / "results.md").read_text()


class Few(Images):
    names = ["a"]

    def __len__(self):
        return 1


def test_images_of_an_earlier_test_do_not_stay(tmp_path):
    """Neither of more images, nor of other models, nor targets that this data set does not have."""
    crops = Crops(None, False, False)
    models = [Loaded(label, Negative(), MODEL) for label in ("first", "second")]
    report.test_generators(
        tmp_path, models, Loader(Images(True), 2, torch.device("cpu"), crops), []
    )
    (tmp_path / "images/first/mine.png").write_bytes(b"of the user")
    report.test_generators(
        tmp_path, [LOADED], Loader(Few(False), 2, torch.device("cpu"), crops), []
    )
    left = {str(p.relative_to(tmp_path / "images")) for p in tmp_path.glob("images/**/*.png")}
    assert left == {"real_A/a.png", "fake_B/a.png", "first/mine.png"}
    assert report.read_written(tmp_path) == ["images/fake_B/a.png", "images/real_A/a.png"]
    html = (tmp_path / "index.html").read_text()
    assert re.findall(r'src="([^"]+)"', html) == ["images/real_A/a.png", "images/fake_B/a.png"]
    assert not (tmp_path / "images.csv").exists()


@pytest.mark.parametrize("listed", ['["../precious.png", "images/../../precious.png"]', "{", "[7]"])
def test_a_damaged_list_of_images_removes_nothing_elsewhere(tmp_path, listed):
    folder = tmp_path / "test"
    (folder / "images").mkdir(parents=True)
    (folder / ".images.json").write_text(listed)
    (tmp_path / "precious.png").touch()
    loader = Loader(Few(False), 2, torch.device("cpu"), Crops(None, False, False))
    report.test_generators(folder, [LOADED], loader, [])
    assert (tmp_path / "precious.png").exists()


def test_results_come_last(tmp_path, monkeypatch):
    """A test that was killed before its page was written does not count as complete."""
    loader = Loader(Few(False), 2, torch.device("cpu"), Crops(None, False, False))
    monkeypatch.setattr(report, "write_page", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.test_generators(tmp_path, [LOADED], loader, [])
    assert (tmp_path / "results.csv").exists() and not (tmp_path / "results.json").exists()


class Odd(Few):
    names = ["=cmd|calc!A0", os.fsdecode(b"caf\xe9")]

    def __len__(self):
        return 2


def test_any_file_name_is_reported(tmp_path):
    """Formulas are text in spreadsheets; bytes that are not UTF-8 are shown by their numbers."""
    loader = Loader(Odd(False), 2, torch.device("cpu"), Crops(None, False, False))
    models = [Loaded(label, Negative(), MODEL) for label in ("first", "=second")]
    report.test_generators(tmp_path, models, loader, [])
    lines = list(csv.DictReader((tmp_path / "images.csv").open(encoding="utf-8")))
    assert [line["name"] for line in lines] == ["'=cmd|calc!A0", "caf\\udce9"]
    rows = list(csv.DictReader((tmp_path / "results.csv").open(encoding="utf-8")))
    assert [row["label"] for row in rows] == ["first", "'=second"]
    assert int(rows[0]["macs"]) == MODEL.macs
    for source in re.findall(r'src="([^"]+)"', (tmp_path / "index.html").read_text("utf-8")):
        assert os.path.isfile(os.fsencode(tmp_path) + b"/" + unquote_to_bytes(source)), source


def test_the_page_links_the_runs_and_lists_the_flags(tmp_path):
    run = tmp_path / "run #1"
    (run / "checkpoints").mkdir(parents=True)
    (run / "index.html").touch()
    model = replace(MODEL, checkpoint=str(run / "checkpoints/best_net_G.pth"))
    loader = Loader(Few(False), 2, torch.device("cpu"), Crops(None, False, False))
    flags = {"crop_size": 96, "meta_path": None}
    report.test_generators(
        tmp_path / "test", [Loaded("x", Negative(), model)], loader, [], flags=flags
    )
    html = (tmp_path / "test/index.html").read_text()
    (link,) = re.findall(r'<a href="([^"]+)">run</a>', html)
    assert (tmp_path / "test" / unquote(link)).samefile(run / "index.html")
    assert "<td>crop_size</td>" in html and "<td>96</td>" in html
