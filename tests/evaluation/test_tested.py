"""Names of models side by side: one each, none of them taken, all good as names of folders."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.build import DataSettings
from data.images import save_png
from errors import InputError
from evaluation.memory import watched
from evaluation.tested import TAKEN, TestSettings, load_tested, short_names
from models.build import Checkpoint
from models.generators import GeneratorSpec
from models.munit import MunitForm
from models.styles import InOneStyle, InRandomStyles, random_styles
from models.tiles import Tiled, Tiling
from models.weights import save_network


@pytest.mark.parametrize(
    "paths, expected",
    [
        (["/logs/teacher/checkpoints/best_net_G.pth", "/out/small.pth"], ["teacher", "small"]),
        (
            ["/a/run/checkpoints/best_net_G.pth", "/b/run/checkpoints/best_net_G.pth"],
            ["a-run", "b-run"],
        ),
        (
            ["/run/checkpoints/best_net_G.pth", "/run/checkpoints/5_net_G.pth"],
            ["best_net_G", "5_net_G"],
        ),
        (["/latest_net_G.pth"], ["latest_net_G"]),
        (["/out/real.pth", "/out/x.pth"], ["out-real", "out-x"]),
        (["/out/A.pth", "/tmp/a.pth"], ["out-A", "tmp-a"]),  # one folder where case does not count
        (["/a.pth", "/a.pt"], ["1-a", "2-a"]),
    ],
)
def test_names(paths, expected):
    assert short_names([Path(p) for p in paths]) == expected


PART = st.text("ab-G_.", min_size=1, max_size=3).filter(lambda part: part.strip("."))
FILE = st.sampled_from(
    ["best_net_G.pth", "latest_net_G.pth", "net.pth", "net.pt", "teacher.pth", "Input.pth"]
)
PATH = st.builds(lambda folders, file: Path("/", *folders, file), st.lists(PART, max_size=3), FILE)


@given(st.lists(PATH, min_size=1, max_size=5, unique=True))
def test_names_are_never_mistaken(paths):
    labels = [label.casefold() for label in short_names(paths, (*TAKEN, "teacher"))]
    assert len(set(labels)) == len(paths)
    assert not set(labels) & {"teacher", *map(str.casefold, TAKEN)}
    assert not any("/" in label or label in ("", ".", "..") for label in labels)


def test_costs_with_and_without_the_style_encoder(tmp_path):
    form = {"munit": None, "bare": MunitForm(style_encoder=False), "resnet_6blocks": None}
    found = {}
    for name, how in form.items():
        spec = GeneratorSpec("munit" if name == "bare" else name, 2, form=how)
        save_network(spec.build(), tmp_path / f"{name}.pth", spec)
        checkpoint = Checkpoint(str(tmp_path / f"{name}.pth"))
        settings = TestSettings([checkpoint], None, (3, 3), None, "published", (32, 32))
        _, (loaded,) = load_tested(settings, torch.device("cpu"))
        found[name] = loaded.model
    whole, bare = found["munit"], found["bare"]
    without = whole.macs_without_style_encoder, whole.params_without_style_encoder
    assert without == (bare.macs, bare.params) and whole.macs > bare.macs
    assert whole.cost.endswith(f"encoder {bare.macs:,} MACs, {bare.params:,} parameters")
    for model in (bare, found["resnet_6blocks"]):
        assert model.macs_without_style_encoder is None and "encoder" not in model.cost
    assert [m.styles for m in found.values()] == ["drawn for each image"] * 2 + [None]
    # Reference images need a network that finds their styles.
    (tmp_path / "empty").mkdir()
    for name, folder, words in (
        ("munit", "none", r"`ref_root` .*none: no such folder"),
        ("munit", "empty", r"`ref_root` .*empty holds no images"),
        ("bare", "images", r"`ref_root`: .*bare.pth \(munit\) has no style encoder"),
        ("resnet_6blocks", "images", r"`ref_root`: .*\(resnet_6blocks\) takes no style"),
    ):
        references = DataSettings(str(tmp_path), "single", phase=folder, load_size=32, crop_size=32)
        checkpoint = Checkpoint(str(tmp_path / f"{name}.pth"))
        if folder == "images" and not (tmp_path / folder).is_dir():
            save_png(tmp_path / folder / "a.png", np.zeros((40, 40, 3), np.uint8))
        settings = TestSettings([checkpoint], None, (3, 3), None, "published", (32, 32))
        with pytest.raises(InputError, match=words):
            load_tested(replace(settings, references=references), torch.device("cpu"))


def test_images_are_made_in_random_styles_and_their_tiles_too(tmp_path):
    spec = GeneratorSpec("munit", 2)
    net = spec.build().eval()
    save_network(net, tmp_path / "net_G.pth", spec)
    checkpoint = Checkpoint(str(tmp_path / "net_G.pth"))
    settings = TestSettings([checkpoint], None, (3, 3), None, "published", (32, 32))
    _, (loaded,) = load_tested(settings, torch.device("cpu"))
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        assert isinstance(loaded.net, InRandomStyles)
        assert torch.equal(loaded.net(x), net(x, random_styles(x, 8)))
        assert torch.equal(watched(loaded, None).net(x), loaded.net(x))
        # In tiles an image has the style of the whole,.
        wide = torch.rand(2, 3, 32, 48) * 2 - 1
        tiled = watched(loaded, Tiling(32, 8)).net(wide)
        style = random_styles(wide, 8)
        assert torch.equal(tiled, Tiled(InOneStyle(net, style), Tiling(32, 8))(wide))
