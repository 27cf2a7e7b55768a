"""The page of a search: a row per subnet, pictures of the best, links that lead somewhere."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from report.plots import plot_search
from report.search import LISTED, SHOWN, summarise_search, write_search_page
from subnets.results import Evaluated, Results
from subnets.search import Measurer, pareto_front
from subnets.space import SearchSpace


def write(folder, count: int):
    """Subnets whose quality rises with their cost, but for every third."""
    space = SearchSpace("channels-32")
    numbers = np.linspace(0, space.size - 1, count).astype(int)
    results = Results(folder / "evaluations.jsonl", write=False)
    for i, number in enumerate(numbers):
        config = space.config(int(number))
        macs, params = space.cost(config)
        fid = 1e12 / macs + 50 * (i % 3 == 0)
        results.add(
            Evaluated(str(config), macs, params, {"fid": fid, "kid": fid / 1e3}, 300, 1.0, i % 4)
        )
    made = Measurer(space, None, results, "fid", True, "FID (test)")
    ranked = made.ranked()
    for name in ("search.png", "front.png"):
        plot_search(
            folder / name,
            [(r.macs, r.metrics["fid"], 0) for r in ranked],
            None,
            "fid",
            "FID (test)",
        )
    drawn = []

    def picture(config):
        drawn.append(str(config))
        return np.full((8, 8, 3), len(drawn), np.uint8)

    write_search_page(folder, made, ranked, picture)
    return ranked, drawn, (folder / "index.html").read_text()


def test_every_subnet_has_its_row_and_the_best_their_pictures(tmp_path):
    ranked, drawn, html = write(tmp_path, 30)
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.S)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    found = [c for c in cells if c]
    assert [c[0] for c in found] == [r.config_str for r in ranked]
    assert found[0][1:5] == [
        f"{ranked[0].metrics['fid']:.3f}",
        f"{ranked[0].metrics['kid']:.4f}",
        f"{ranked[0].macs / 1e9:.3f}",
        f"{ranked[0].params / 1e6:.3f}",
    ]
    front = {r.config_str for r in pareto_front(ranked, "fid", True)}
    assert {c[0] for c in found if c[-1] == "yes"} == front
    assert drawn[0] == ranked[0].config_str and set(drawn[1:]) <= front and len(drawn) <= SHOWN + 1
    linked = re.findall(r'src="([^"]+)"', html)
    assert sorted(linked) == sorted(f"samples/{name}.png" for name in drawn)
    for link in linked:
        with Image.open(tmp_path / link) as image:
            image.verify()
    assert "30 subnets evaluated" in html and "FID (test)" in html


def test_one_subnet_is_a_search_too(tmp_path):
    ranked, drawn, _ = write(tmp_path, 1)
    assert drawn == [ranked[0].config_str]


def test_a_long_list_is_cut_and_says_so(tmp_path):
    _, _, html = write(tmp_path, LISTED + 5)
    assert html.count("<td>300</td>") == LISTED
    assert f"{LISTED + 5} subnets evaluated, the best {LISTED} listed" in html


def measured(folder, values: list) -> Measurer:
    """The first configurations of the space with these values of FID."""
    space = SearchSpace("channels-32")
    results = Results(folder / "evaluations.jsonl", write=False)
    for number, value in enumerate(values):
        config = space.config(space.size - 1 - number)
        results.add(
            Evaluated(str(config), *space.cost(config), {"fid": value, "kid": None}, 9, 1.0)
        )
    return Measurer(space, None, results, "fid", True, "FID (test)")


@pytest.mark.parametrize("values", [[2.0], [2.0, None], [None, 3.0, 2.0, None], [2.0, 2.0]])
def test_summary_plots_and_page_are_of_the_finite_values(tmp_path, values):
    made = measured(tmp_path, values)
    ranked = summarise_search(tmp_path, made, float("inf"))
    finite = sorted(v for v in values if v is not None)
    assert [r.value("fid") for r in ranked] == finite
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["evaluated"] == len(finite) and summary["config_set"] == "channels-32"
    assert [r["metrics"]["fid"] for r in summary["best"]] == finite
    assert summary.get("without a finite fid", 0) == len(values) - len(finite)
    text = (tmp_path / "summary.txt").read_text()
    assert "2.000" in text and "None" not in text and "nan" not in text
    for name in ("search.png", "front.png"):
        with Image.open(tmp_path / name) as image:
            image.verify()
    write_search_page(tmp_path, made, ranked, lambda config: np.zeros((8, 8, 3), np.uint8))
    html = (tmp_path / "index.html").read_text()
    assert html.count("<td>2.000</td>") == finite.count(2.0) and "None" not in html


def test_a_search_without_a_finite_value_writes_nothing(tmp_path):
    assert summarise_search(tmp_path, measured(tmp_path, [None, None]), float("inf")) == []
    assert summarise_search(tmp_path, measured(tmp_path, [2.0]), 10.0) == []
    assert list(tmp_path.iterdir()) == []
