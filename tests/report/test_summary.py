"""Teacher beside compressed: the table's rows, the images, and the links to other pages."""

import json
import re
from urllib.parse import unquote

import pytest

from errors import InputError
from report.summary import summarise


def leave_results(folder, name, fid, names=("a", "b"), n=2, listed=True):
    sides = ["real_A", "fake_B", "real_B"]
    for side in sides:
        (folder / "images" / side).mkdir(parents=True, exist_ok=True)
        for image in names:
            (folder / "images" / side / f"{image}.png").touch()
    written = [f"images/{side}/{image}.png" for side in sides for image in names]
    if listed:
        (folder / ".images.json").write_text(json.dumps(written))
    results = {
        "name": name,
        "checkpoint": str(folder.parent / name / "checkpoints/best_net_G.pth"),
        "macs": 4e9,
        "params": 1e6,
        "macs_convention": "published",
        "width": 96,
        "height": 96,
        "images": "images/fake_B",
        "metrics": {"fid": fid, "n": n},
        "measures": {"fid": "FID (test)"},
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "index.html").touch()
    return folder


@pytest.mark.parametrize("listed", [True, False])
def test_table_images_and_links(tmp_path, listed):
    teacher = leave_results(tmp_path / "t", "big", 20.0, ("a", "b", "c"), listed=listed)
    compressed = leave_results(tmp_path / "c", "small", 25.0, listed=listed)
    (teacher / "images/real_A/stale.png").touch()
    (tmp_path / "big").mkdir()
    (tmp_path / "big/index.html").touch()
    summarise(teacher, compressed, None, tmp_path / "index.html", "Both")
    html = (tmp_path / "index.html").read_text()
    images = [unquote(source) for source in re.findall(r'src="([^"]+)"', html)]
    columns = ("t/images/real_A", "t/images/fake_B", "c/images/fake_B", "t/images/real_B")
    assert images == [f"{side}/{name}.png" for name in ("a", "b") for side in columns]
    links = {b: a for a, b in re.findall(r'<a href="([^"]+)">([^<]+)</a>', html)}
    assert links == {
        "teacher": "big/index.html",
        "test of the teacher": "t/index.html",
        "test of the compressed model": "c/index.html",
    }


def test_fine_tuning_has_its_rows(tmp_path, capsys):
    """Quality before its first step and after its last, where measured as the test did."""
    teacher, compressed = (
        leave_results(tmp_path / "t", "big", 20.0),
        leave_results(tmp_path / "c", "small", 25.0),
    )
    run = tmp_path / "finetune"
    run.mkdir()

    def log(*steps, n=2):
        records = [
            {"event": "eval", "step": s, "metrics": {"x": {"fid": 30.0 - s, "n": n}}}
            | {"measure": "FID (test)"}
            for s in steps
        ]
        (run / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        summarise(teacher, compressed, None, tmp_path / "index.html", "Both", run)
        return capsys.readouterr().out

    printed = log(0, 2, 3)
    assert re.search(r"before fine-tuning \(step 0\) .* 30\.00", printed)
    assert re.search(r"after fine-tuning \(step 3\) .* 27\.00", printed)
    assert "before" not in log(2, 3)
    assert "27.00" not in log(0, 3, n=7)


def test_other_measurements_are_refused(tmp_path):
    teacher, compressed = (
        leave_results(tmp_path / "t", "x", 2.0),
        leave_results(tmp_path / "c", "x", 2.0, n=7),
    )
    with pytest.raises(InputError, match="with the same flags"):
        summarise(teacher, compressed, None, tmp_path / "index.html", "Both")
    with pytest.raises(InputError, match=r"no log\.jsonl"):
        summarise(teacher, teacher, None, tmp_path / "index.html", "Both", tmp_path / "none")


def leave_latency(folder, *, of="", batch=1, **changes):
    """Times of the network tested in ``folder``, or of others; one of a batch of 1 takes 5 ms."""
    entries = [
        {"checkpoint": str(folder.parent / name / "checkpoints/best_net_G.pth"), "macs": 4e9}
        | {"median_ms": 5.0 * batch * (1 + (name != folder.name)), "batch": batch}
        | {"height": 96, "width": 96, "device": "cpu", "threads": 2}
        | changes
        for name in of.split()
    ]
    (folder / "latency.json").write_text(json.dumps(entries[0] | {"all": entries}))


def test_a_latency_of_one_alone_has_no_ratio(tmp_path, capsys):
    teacher, compressed = (leave_results(tmp_path / name, name, 2.0) for name in "tc")
    (compressed / "latency.json").write_text(
        json.dumps({"median_ms": 5.0, "device": "cpu", "threads": 2})
    )
    summarise(teacher, compressed, None, tmp_path / "index.html", "Both")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("ratio"))
    assert line.split() == ["ratio", "1.0x", "1.0x", "-"]


def test_times_are_per_image_and_of_the_tested_network(tmp_path, capsys):
    teacher, compressed = (leave_results(tmp_path / name, name, 2.0) for name in "tc")
    leave_latency(teacher, of="t", batch=8)
    leave_latency(compressed, of="t c", height=64, macs_size=[96, 96])
    summarise(teacher, compressed, None, tmp_path / "index.html", "Both")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in lines if "0G" in line] == 2 * [["5.0", "ms"]]
    assert lines[-2].endswith(
        "latency of an image in batches of 8 on cpu, 2 threads and of one image of 96x64 on cpu, "
        "2 threads"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"of": "t"}, "times of .*/t/checkpoints.* test beside it is of .*/c/checkpoints"),
        ({"of": "c", "width": 64}, "times at 64x96, and the test beside it is at 96x96"),
        ({"of": "c", "macs_size": [64, 64]}, "times at 64x64, and the test beside it is at 96x96"),
    ],
)
def test_times_of_something_else_are_refused(tmp_path, changes, words):
    teacher, compressed = (leave_results(tmp_path / name, name, 2.0) for name in "tc")
    leave_latency(compressed, **changes)
    with pytest.raises(InputError, match=rf"c/latency\.json has {words}.*: remove it and run"):
        summarise(teacher, compressed, None, tmp_path / "index.html", "Both")


@pytest.mark.parametrize("name", ["results.json", "latency.json"])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_results_are_named(tmp_path, name, content):
    teacher, compressed = (leave_results(tmp_path / side, side, 2.0) for side in "tc")
    (compressed / name).write_text(content)
    with pytest.raises(InputError, match=rf"c/{name}: damaged; remove it and run"):
        summarise(teacher, compressed, None, tmp_path / "index.html", "Both")
