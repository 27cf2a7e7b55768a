"""Plots are drawn without a display, for any set of points."""

import pytest
from PIL import Image

from report.plots import plot_search


@pytest.mark.parametrize(
    "points, chosen, budget",
    [
        ([(4.5e9, 30.0, 0), (3.0e9, 40.0, 1), (4.0e9, 35.0, 2)], (4.5e9, 30.0), 4.6e9),
        ([(4.5e9, 30.0, 0)], None, None),
        ([(4.5e9, 30.0, 0), (4.5e9, 30.0, 0)], (4.5e9, 30.0), 1e18),
    ],
)
def test_a_search_is_drawn(tmp_path, points, chosen, budget):
    plot_search(
        tmp_path / "plots" / "search.png",
        points,
        chosen,
        "fid",
        "FID (random features, 64)",
        budget,
    )
    with Image.open(tmp_path / "plots" / "search.png") as image:
        assert image.size == (840, 540) and len(image.convert("L").getcolors()) > 10
    assert len(list((tmp_path / "plots").iterdir())) == 1
