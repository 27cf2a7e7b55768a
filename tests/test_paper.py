"""docs/paper.md: its costs follow from the recipes and from the measured steps."""

import json
import re
from pathlib import Path

import pytest

from metrics.macs import PUBLISHED
from models.cost import config_cost
from models.generators import GeneratorSpec
from models.spade import SpadeForm
from subnets.space import SearchSpace

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "docs" / "figures" / "gpu_check_h100.json").read_text())["benchmarks"]
PAIRS = {"edges2shoes-r": 47_977, "cityscapes": 2_975, "maps": 1_096}
METAS = {"edges2shoes-r": "edges2shoes-r", "cityscapes": "cityscapes", "maps": "map2sat"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose first row starts with ``heading``."""
    table = PAGE[PAGE.index(f"| {heading}") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def rate(trained: str, batch: int, step: str) -> float:
    (row,) = (
        r
        for r in MEASURED["train_step"]["figures"]["rows"]
        if (r["trained"], r["batch"], r["step"]) == (trained, batch, f"ours, {step}")
    )
    return row["images/s"]


def epochs(dataset: str, stage: str) -> int:
    """Of the recipe."""
    name = {"teacher": "TEACHER", "supernet": "SUPERNET", "fine-tuning": "FINETUNE"}[stage]
    recipes = (ROOT / "scripts" / "recipes.sh").read_text()
    of_dataset = re.search(rf"\n  {METAS[dataset]}\)(.*?);;", recipes, re.DOTALL)[1]
    return sum(map(int, re.search(rf"{name}_EPOCHS=\((\d+) (\d+)\)", of_dataset).groups()))


def test_hours_of_trainings():
    dataset = None
    found = rows("dataset | stage")
    assert len(found) == 8
    for name, stage, count, images, batch, plain, fast in found:
        dataset = name or dataset
        held_out = (
            (ROOT / "datasets" / "metas" / METAS[dataset] / "train2.meta").read_text().split()
        )
        expected = PAIRS[dataset] - (len(held_out) if stage == "supernet" else 0)
        assert int(images.replace(",", "")) == expected
        assert int(count) == epochs(dataset, stage)
        trained = "teacher" if stage == "teacher" else "distillation"
        for hours, step in ((plain, "float32"), (fast, "bf16, CUDA graphs")):
            seconds = int(count) * expected / rate(trained, int(batch), step)
            assert float(hours) == pytest.approx(seconds / 3600, abs=0.051), (dataset, stage)


def test_images_per_second():
    for (_, *cells), trained in zip(
        rows("images per second"), ("teacher", "distillation"), strict=True
    ):
        for cell, batch in zip(cells, (1, 4), strict=True):
            shown = [float(value) for value in cell.split(", ")]
            assert shown == [
                pytest.approx(rate(trained, batch, step), abs=0.051)
                for step in ("float32", "bf16, CUDA graphs")
            ]


def test_hours_of_searches():
    (ours,) = (r for r in MEASURED["evaluator"]["figures"]["rows"] if r["how"] == "ours")
    for _, images, count, each, hours in rows("dataset | images | evaluations"):
        seconds = ours["seconds"] * int(images.replace(",", "")) / 300
        assert float(each.removesuffix(" s")) == pytest.approx(seconds, abs=0.01)
        assert float(hours) == pytest.approx(
            int(count.replace(",", "")) * seconds / 3600, abs=0.051
        )
    space = SearchSpace("channels-48")
    for budget, count in ((4.6e9, "577"), (4.9e9, "963"), (5.7e9, "2,214")):
        assert f"{len(space.feasible(budget)):,}" == count and f" {count} for " in PAGE


def test_costs_of_the_rows():
    """As printed; published figures are rounded from counts with or without norms."""
    for _, _, network, _, params, macs, _ in rows("| dataset | network"):
        widths = re.search(r"`(\d+(?:_\d+)+)`", network)
        if widths:
            old = widths[1].count("_") == 5
            kind = "legacy_sub_mobile_resnet_9blocks" if old else "sub_mobile_resnet_9blocks"
            spec = GeneratorSpec(kind, None, widths[1])
            counted = [
                config_cost(spec.config, spec.architecture, convention)
                for convention in ("published", "no_norm")
            ]
            assert float(params[:-1]) == pytest.approx(counted[0][1] / 1e6, abs=6e-4)
            assert any(float(macs[:-1]) == pytest.approx(m / 1e9, abs=6e-3) for m, _ in counted)


def test_published_qualities():
    """Where `metrics.macs` has them too."""
    shown = {
        re.search(r"`(.*?)`", row[2])[1]: row[3]
        for row in rows("| dataset | network")
        if "`" in row[2]
    }
    for _, _, network, _, _, quality in PUBLISHED:
        if network in shown and network != "resnet_9blocks":
            assert shown[network] == quality


def test_costs_of_gaugan():
    form = {"cityscapes": (36, SpadeForm(), (256, 512))}
    form["coco"] = (184, SpadeForm("normal"), (256, 256))
    dataset, found = None, rows("GauGAN | network")
    assert len(found) == 6
    for name, network, _, params, published, true in found:
        dataset = name or dataset
        input_nc, shape, size = form[dataset]
        text = network.split("`")[1]
        named = {"netG": text, "ngf": 64}
        if "_" in text:
            ngf = int(re.search(r"of (\d+)", network)[1])
            named = {"netG": "sub_mobile_spade", "ngf": ngf, "config_str": text}
        spec = GeneratorSpec(**named, input_nc=input_nc, norm="batch", form=shape)
        for convention, shown in (("published", published), ("exact", true)):
            macs, count = config_cost(spec.config, spec.architecture, convention, *size)
            assert shown in (f"{macs / 1e9:.3g}G", f"{macs / 1e9:.0f}G"), (text, macs)
            assert params == f"{count / 1e6:.1f}M", (text, count)


def test_costs_of_munit():
    found = rows("MUNIT | quality")
    assert len(found) == 2
    for network, _, params, published, true in found:
        text = network.split("`")[1]
        named = {"netG": text, "ngf": 64}
        if "_" in text:
            named = {"netG": "sub_mobile_munit", "ngf": None, "config_str": text}
        spec = GeneratorSpec(**named)
        for convention, shown in (("published", published), ("exact", true)):
            macs, count = config_cost(spec.config, spec.architecture, convention)
            assert shown == f"{macs / 1e9:#.3g}G", (text, macs)
            assert params == f"{count / 1e6:#.3g}M", (text, count)
