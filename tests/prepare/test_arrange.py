"""Three phases of any dataset: nothing is in two of them, and the test is never chosen by."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from data.datasets import list_images
from errors import InputError
from prepare.arrange import Sizes, arrange, describe, divide, find_mode, require_unchanged


def fill(root, folders: dict[str, int], size=(16, 8)):
    """Images of noise, each with content of its own."""
    rng = np.random.default_rng(0)
    for folder, count in folders.items():
        (root / folder / "deep").mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            name = f"deep/{i}.png" if i == 1 else f"{i}.png"
            Image.fromarray(pixels).save(root / folder / name)
    return root


def contents(folder) -> list[bytes]:
    return sorted(path.read_bytes() for path in list_images(folder))


@pytest.mark.parametrize(
    ("folders", "sources", "counts"),
    [
        (
            {"train": 20, "val": 6},
            {"train": "train", "val": "train", "test": "val"},
            {"train": 16, "val": 4, "test": 6},
        ),
        (
            {"train": 10, "val": 6, "test": 3},
            {"train": "train", "val": "val", "test": "test"},
            {"train": 10, "val": 6, "test": 3},
        ),
        (
            {"train": 10, "test": 3},
            {"train": "train", "val": "train", "test": "test"},
            {"train": 8, "val": 2, "test": 3},
        ),
        (
            {"train": 20},
            {"train": "train", "val": "train", "test": "train"},
            {"train": 12, "val": 4, "test": 4},
        ),
    ],
)
def test_whoever_is_missing_is_held_out_of_train(folders, sources, counts, tmp_path):
    root = fill(tmp_path / "d", folders)
    division = divide(root, "aligned", Sizes(), 233)
    assert (division.sources, division.counts) == (sources, counts)
    facts = arrange(division, root, tmp_path / "out")
    assert facts["counts"] == counts and facts["dataroot"] == os.path.realpath(root)
    found = {phase: contents(tmp_path / "out" / phase) for phase in counts}
    assert {phase: len(files) for phase, files in found.items()} == counts
    for source in folders:
        together = sorted(file for p in sources if sources[p] == source for file in found[p])
        assert together == contents(root / source)
    texts = " ".join(describe(division))
    assert f"{counts['val']} to choose by" in texts and ("held out" in texts) == (
        sources["val"] == "train"
    )


def test_it_is_links_and_a_function_of_the_seed(tmp_path):
    root = fill(tmp_path / "d", {"train": 20, "val": 4})
    first, again, other = (divide(root, "aligned", Sizes(val=3), seed) for seed in (1, 1, 2))
    assert first == again and first.counts == {"train": 17, "val": 3, "test": 4}
    assert set(first.files) != set(other.files)
    arrange(first, root, tmp_path / "out")
    for path in list_images(tmp_path / "out"):
        assert path.is_symlink() and path.resolve().is_relative_to(root.resolve())
    # Another division of the same folder replaces it whole.
    arrange(other, root, tmp_path / "out")
    assert {str(p.relative_to(tmp_path / "out")) for p in list_images(tmp_path / "out")} == set(
        other.files
    )
    limited = divide(root, "aligned", Sizes(train=5, val=2, test=3), 1)
    assert limited.counts == {"train": 5, "val": 2, "test": 3}


def test_two_folders_stay_pairs(tmp_path):
    root = fill(tmp_path / "d", {"trainA": 10, "trainB": 10, "valA": 3, "valB": 3})
    assert find_mode(root) == "aligned"
    arrange(divide(root, "aligned", Sizes(), 0), root, tmp_path / "out")
    for phase, count in (("train", 8), ("val", 2), ("test", 3)):
        a, b = (list_images(tmp_path / "out" / f"{phase}{side}") for side in "AB")
        assert [p.name for p in a] == [p.name for p in b] and len(a) == count


def test_unpaired_sides_are_divided_each_by_itself(tmp_path):
    root = fill(tmp_path / "d", {"trainA": 10, "trainB": 20, "testA": 3, "testB": 4})
    os.rename(root / "trainA" / "0.png", root / "trainA" / "horse.png")
    assert find_mode(root) == "unaligned"
    division = divide(root, "unaligned", Sizes(), 0)
    assert division.sources == {"train": "train", "val": "train", "test": "test"}
    arrange(division, root, tmp_path / "out")
    counts = {p.name: len(list_images(p)) for p in (tmp_path / "out").iterdir() if p.is_dir()}
    assert counts == dict(trainA=8, trainB=16, valA=2, valB=4, testA=3, testB=4)


def test_a_run_that_was_killed_leaves_no_half_folder(tmp_path):
    root = fill(tmp_path / "d", {"train": 10, "val": 3})
    (tmp_path / "out.part" / "train").mkdir(parents=True)
    (tmp_path / "out.part" / "train" / "old.png").touch()
    arrange(divide(root, "aligned", Sizes(), 0), root, tmp_path / "out")
    assert not (tmp_path / "out.part").exists()
    assert not (tmp_path / "out" / "train" / "old.png").exists()


def test_other_images_than_a_folder_was_made_of_are_noticed(tmp_path):
    root, out = fill(tmp_path / "d", {"train": 10, "val": 3}), tmp_path / "out"

    def now():
        return divide(root, "aligned", Sizes(), 0)

    arrange(now(), root, out)
    (out / ".statistics").mkdir()
    (out / ".statistics" / "val.npz").touch()
    require_unchanged(now(), out)
    shutil.copy(root / "val" / "0.png", root / "val" / "9.png")
    with pytest.raises(InputError, match=r"there are 14 files to use now, and were 13"):
        require_unchanged(now(), out)
    (root / "val" / "9.png").unlink()
    require_unchanged(now(), out)
    # As many as before, but one is another: the links to what is gone lead nowhere.
    os.rename(root / "train" / "0.png", root / "train" / "new.png")
    with pytest.raises(InputError, match="give another `output_dir`"):
        require_unchanged(now(), out)


def test_what_is_refused(tmp_path):
    few = fill(tmp_path / "few", {"train": 4})
    with pytest.raises(InputError, match="4 images in phase train, and test and val must be held"):
        divide(few, "aligned", Sizes(), 0)
    one = fill(tmp_path / "one", {"train": 9, "test": 1})
    with pytest.raises(InputError, match="one image in phase test"):
        divide(one, "aligned", Sizes(), 0)
    with pytest.raises(InputError, match="no such folder"):
        find_mode(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"'train' of A\|B pairs"):
        find_mode(tmp_path / "empty")
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "photo.png").touch()
    root = fill(tmp_path / "d", {"train": 10, "val": 3})
    with pytest.raises(InputError, match="was not arranged here"):
        arrange(divide(root, "aligned", Sizes(), 0), root, foreign)
    assert (foreign / "photo.png").exists()


def test_the_command(cli, tmp_path):
    root = fill(tmp_path / "d", {"train": 10, "val": 3})
    flags = ("--val_images", 2, "--output_dir", tmp_path / "out")
    done = cli("prepare.arrange", root, *flags).succeeded()
    assert "8 to learn from (of phase train), 2 to choose by (held out of train)" in done.stdout
    facts = json.loads((tmp_path / "out" / "phases.json").read_text())
    assert facts["counts"] == {"train": 8, "val": 2, "test": 3}
    refused = cli("prepare.arrange", *flags)
    assert refused.returncode == 2 and "DATAROOT" in refused.stderr
