"""docs/tutorial.md and docs/how_it_works.md: the commands of the one are run as they stand, with
fewer and smaller images; the figures of the other are drawn."""

import json
import re
from pathlib import Path

from PIL import Image
from test_documents import blocks, commands

import gan_compression
from metrics.macs import PUBLISHED
from models.cost import config_cost
from models.generators import GeneratorSpec
from subnets.space import SearchSpace

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "tutorial.md"
# What makes a test of it; every replaced word must be in the page.
SMALLER = {
    "--train": "8",
    "--val": "4",
    "--size": "32",
    "--count": "4",
    "--load_size": "32",
    "--crop_size": "32",
    "--nepochs": "1",
    "--nepochs_decay": "0",
    "--save_epoch_freq": "1",
    "--ndf": "8",
    "--fid_dims": "64",
    "--population_size": "4",
    "--evolution_iters": "1",
    # A quarter of the pixels.
    "--budget": "7.5e6",
    "--select": "6.9e6",
}


def smaller(words: list[str], folder: Path) -> list[str]:
    found = []
    for before, word in zip(["", *words], words, strict=False):
        word = SMALLER.get(before, word)
        for name in ("datasets/tutorial", "logs/tutorial"):
            word = word.replace(name, str(folder / name))
        found.append(word)
    return found


def test_the_tutorial_runs(cli, tmp_path):
    shown = commands(PAGE, tmp_path)
    assert set(SMALLER) <= {word for words in shown for word in words}
    for program, *words in shown:
        assert program == "python"
        words = smaller(words, tmp_path)
        script, *flags = words[1:] if words[0] == "-m" else words
        done = cli(script, *flags).succeeded()
        if script == "data.check":
            assert "ready to train" in done.stdout
        if script == "search.py":
            assert re.search(r"\d+(_\d+){7}", done.stdout)
    out = tmp_path / "logs" / "tutorial"
    tested = json.loads((out / "test" / "results.json").read_text())["models"]
    assert len(tested) == 2 and all(model["metrics"]["n"] == 4 for model in tested)
    assert {p.name for p in out.glob("small.*")} == {"small.pth", "small.onnx"}
    # What the page names is there.
    for name in re.findall(r"`\$OUT/([\w./]+)`", PAGE.read_text()):
        assert (out / name).is_file(), name

    Image.new("RGB", (40, 24), (200, 120, 40)).save(tmp_path / "map.png")
    (example,) = blocks(PAGE, "python")
    example = example.replace("logs/tutorial", str(out))
    example = example.replace('"map.png"', f'"{tmp_path}/map.png"')
    exec(example.replace('"photo.png"', f'"{tmp_path}/photo.png"'), names := {})
    assert Image.open(tmp_path / "photo.png").size == (40, 24)
    config = re.search(r"^CONFIG=(\S+)$", PAGE.read_text(), re.MULTILINE)[1]
    assert str(names["small"]) == f"sub_mobile_resnet_9blocks {config}"
    assert isinstance(names["small"], gan_compression.Generator)


def test_what_the_tutorial_counts():
    text = PAGE.read_text()
    space = SearchSpace("16,12,8,6", height=64, width=64)
    feasible = space.feasible(3e7)
    assert f"{len(feasible):,} of the\n{space.size:,} are within" in text
    spec = GeneratorSpec("resnet_9blocks", ngf=16)
    macs, _ = config_cost(spec.config, spec.architecture, "published", 64, 64)
    assert f"# {macs / 1e6:.1f} million" in text and 7.5 < macs / 3e7 < 8.5
    config = space.parse(re.search(r"^CONFIG=(\S+)$", text, re.MULTILINE)[1])
    assert space.number(config) in feasible
    # The budget of the test is within what its smaller images allow.
    assert SearchSpace("16,12,8,6", height=32, width=32).macs.min() < float(SMALLER["--select"])


# --------------------------------------------------------------------------------------------------
# How it works


def test_the_figures_are_drawn(monkeypatch, tmp_path):
    """And each is in the page. They check themselves that their MACs add up to `models.cost`."""
    monkeypatch.syspath_prepend(DOCS.parent / "scripts")
    monkeypatch.setattr("sys.argv", ["draw_figures.py", "--output", str(tmp_path)])
    import draw_figures

    draw_figures.main()
    drawn = {path.name for path in tmp_path.iterdir()}
    shown = set(re.findall(r"\(figures/(\w+\.svg)\)", (DOCS / "how_it_works.md").read_text()))
    assert drawn == shown and len(drawn) == 5
    assert all((DOCS / "figures" / name).is_file() for name in drawn)


def test_what_how_it_works_counts():
    text = " ".join((DOCS / "how_it_works.md").read_text().split())
    space = SearchSpace("channels-64-pix2pix")
    assert f"There are {space.size:,} choices" in text
    small = next(network for _, _, network, *_ in PUBLISHED if network.startswith("24_24"))
    specs = (
        GeneratorSpec("resnet_9blocks", ngf=64),
        GeneratorSpec("sub_mobile_resnet_9blocks", None, small),
    )
    (teacher, exact_teacher), (student, exact_student) = (
        [config_cost(s.config, s.architecture, kind)[0] / 1e9 for kind in ("published", "exact")]
        for s in specs
    )
    assert f"`{small}`" in text
    assert f"the teacher's {exact_teacher:.1f} billion become {teacher:.1f}." in text
    assert f"small network's {exact_student:.2f} billion become {student:.2f}," in text
    assert f"{teacher / student:.1f} times fewer MACs as published" in text
    assert f"{exact_teacher / exact_student:.1f} times fewer in truth" in text
