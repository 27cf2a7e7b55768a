"""The page of a training run: what it shows of one evaluation and of several, and what it links."""

import json
import re
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from report.run import write_run_page


def write_log(folder, evaluations: int, labels=("largest", "smallest")):
    folder.mkdir(parents=True, exist_ok=True)
    records = [{"event": "train", "step": 5, "losses": {"G_gan": 1.0, "D_real": 0.5}}]
    for i in range(evaluations):
        scores = {label: {"fid": 20.0 + 10 * k - i, "n": 4} for k, label in enumerate(labels)}
        mean = sum(m["fid"] for m in scores.values()) / len(labels)
        records.append(
            {
                "event": "eval",
                "epoch": i,
                "step": 10 * i,
                "metrics": scores,
                "measure": "FID (test)",
            }
            | {"score": mean}
        )
    (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def share_of(path, colour, tolerance=40) -> float:
    """The part of a picture's pixels that are near a colour."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return float((np.abs(pixels - colour).max(2) < tolerance).mean())


BLUE = (31, 119, 180)


@pytest.mark.parametrize("labels", [("latest",), ("largest", "smallest")])
def test_one_evaluation_is_a_readable_picture(tmp_path, labels):
    """Bars, not a lone dot in an empty frame."""
    write_log(tmp_path, 1, labels)
    write_run_page(tmp_path)
    assert share_of(tmp_path / "measures.png", BLUE) > 0.05 * len(labels)
    assert share_of(tmp_path / "losses.png", BLUE) > 5e-5  # one point of a line is a dot


def test_several_evaluations_are_lines(tmp_path):
    write_log(tmp_path, 3)
    write_run_page(tmp_path)
    assert 0.001 < share_of(tmp_path / "measures.png", BLUE) < 0.05


def test_the_best_is_the_one_that_was_kept(tmp_path):
    """Of two directions a checkpoint is kept when either is better, whatever their mean."""
    write_log(tmp_path, 3)
    write_run_page(tmp_path)
    assert "at epoch" not in (tmp_path / "index.html").read_text()
    log = tmp_path / "log.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    for record in records[1:]:
        record["best"] = record["epoch"] < 2
    log.write_text("".join(json.dumps(r) + "\n" for r in records))
    write_run_page(tmp_path)
    assert "at epoch 1" in (tmp_path / "index.html").read_text()


def test_losses_that_the_last_line_lacks_are_drawn(tmp_path, monkeypatch):
    """A teacher may step every third time only."""
    drawn = []
    monkeypatch.setattr(
        "report.run.draw_line", lambda axes, x, y, label, **style: drawn.append((label, x))
    )
    write_log(tmp_path, 1)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write(json.dumps({"event": "train", "step": 6, "losses": {"G_gan": 0.9}}) + "\n")
    write_run_page(tmp_path)
    assert drawn == [("G_gan", (5, 6)), ("D_real", (5,))]


def test_runs_before_it_and_its_flags(tmp_path):
    """Only pages that are there are linked."""
    run, teacher = tmp_path / "student", tmp_path / "the teacher"
    write_log(run, 2)
    (teacher / "checkpoints").mkdir(parents=True)
    (teacher / "index.html").touch()
    flags = {
        "restore_teacher_G_path": str(teacher / "checkpoints/best_net_G.pth"),
        "restore_student_G_path": str(tmp_path / "gone/checkpoints/latest_net_G.pth"),
        "restore_G_path": None,
        "lr": 0.0003,
    }
    (run / "options.json").write_text(json.dumps(flags))
    write_run_page(run)
    html = (run / "index.html").read_text()
    ((link, label),) = re.findall(r'<a href="([^"]+)">([^<]+)</a>', html)
    assert label == "teacher" and (run / unquote(link)).samefile(teacher / "index.html")
    assert "<td>0.0003</td>" in html and "Run student" in html
    assert re.search(r"written \d{4}-\d\d-\d\d \d\d:\d\d", html)


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_damaged_options_are_left_out(tmp_path, content):
    write_log(tmp_path, 1)
    (tmp_path / "options.json").write_text(content)
    write_run_page(tmp_path)
    assert "<details>" not in (tmp_path / "index.html").read_text()


def test_a_damaged_checkpoint_is_left_out(tmp_path):
    """It does not end the training that draws the page; the rest of the header is there."""
    run, teacher = tmp_path / "student", tmp_path / "teacher.pth"
    write_log(run, 2)
    teacher.write_bytes(b"PK\x03\x04 not a checkpoint")
    (run / "options.json").write_text(json.dumps({"restore_teacher_G_path": str(teacher)}))
    write_run_page(run)
    html = (run / "index.html").read_text()
    assert "<dt>epoch</dt>" in html and 'class="networks"' not in html
