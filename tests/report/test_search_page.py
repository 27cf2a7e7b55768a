"""The page of a search: a row per subnet, pictures of the best, everything linked relative and there."""

import re

import numpy as np
from PIL import Image

from report.plots import plot_search
from report.search import LISTED, SHOWN, write_search_page
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
    assert sorted(linked) == sorted(["front.png", *(f"samples/{name}.png" for name in drawn)])
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
