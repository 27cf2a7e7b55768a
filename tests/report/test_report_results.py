"""What testing a generator leaves: its images, its numbers, and a page that links them all."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from data.loader import Loader
from data.transforms import Crops
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

    def reset(self):
        self.values, self.names = [], []

    def update(self, images, names):
        assert images.dtype == torch.uint8
        self.values.append(images.double().mean(dim=(1, 2, 3)))
        self.names += names

    def result(self):
        return {"fid": float(torch.cat(self.values).mean()), "n": len(self.names)}


class Negative(torch.nn.Module):
    def forward(self, x):
        return -x


MODEL = report.TestedModel("sub 16_16", "logs/best_net_G.pth", 4_569_694_208, 719_507, "published", 256, 256)


@pytest.mark.parametrize("paired", [True, False])
def test_images_numbers_and_page(tmp_path, capsys, paired):
    loader = Loader(Images(paired), 2, torch.device("cpu"), Crops(None, False, False))
    criterion = Brightness()
    found = report.test_generator(tmp_path, Negative(), MODEL, loader, [criterion])
    sides = ["real_A", "fake_B"] + ["real_B"] * paired
    written = {str(p.relative_to(tmp_path / "images")) for p in tmp_path.glob("images/**/*.png")}
    assert written == {f"{side}/{name}.png" for side in sides for name in Images.names}
    for index, name in enumerate(Images.names):
        stored = {side: np.asarray(Image.open(tmp_path / "images" / side / f"{name}.png")) for side in sides}
        item = Images(True).load(index)
        assert np.abs(stored["real_A"].astype(int) - item["A"].transpose(1, 2, 0)).max() <= 1
        assert (
            np.abs(stored["fake_B"].astype(int) - (255 - item["A"].transpose(1, 2, 0).astype(int))).max() <= 1
        )
        if paired:
            assert np.abs(stored["real_B"].astype(int) - item["B"].transpose(1, 2, 0)).max() <= 1
    fakes = [np.asarray(Image.open(tmp_path / "images" / "fake_B" / f"{n}.png")).mean() for n in Images.names]
    assert found["metrics"] == {"n": 3, "fid": pytest.approx(np.mean(fakes))}
    assert criterion.names == Images.names
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


def test_without_criteria_there_are_still_images_and_a_page(tmp_path):
    loader = Loader(Images(True), 2, torch.device("cpu"), Crops(None, False, False))
    found = report.test_generator(tmp_path, Negative(), MODEL, loader, [])
    assert found["metrics"] == {"n": 3} and (tmp_path / "index.html").exists()
