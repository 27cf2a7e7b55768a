"""The built-in data set: what it draws, what it writes, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from errors import InputError
from prepare.builtin import dataset, palette, render_pair, write_builtin_dataset
from prepare.builtin.layout import make_scene

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = "scripts/make_builtin_dataset.py"

# --------------------------------------------------------------------------------------------------
# Drawing: shapes, determinism, and that the photo follows from the map.
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    """Forty pairs of (96, 96, 3) as float, enough to hold water, parks and major roads."""
    return [tuple(half.astype(float) for half in render_pair(seed, 96)) for seed in range(40)]


def _like(street_map: np.ndarray, colour: tuple, tolerance: float = 4) -> np.ndarray:
    """(h, w) bool: the pixels of a map that have a colour of its legend, (antialiased) edges left
    out."""
    return (np.abs(street_map - np.array(colour, float)) <= tolerance).all(-1)


def _colour_where(scenes, colour: tuple) -> np.ndarray:
    """The mean photo colour (3,) over all places that have the map colour."""
    pixels = np.concatenate([photo[_like(street_map, colour)] for photo, street_map in scenes])
    assert len(pixels) > 500
    return pixels.mean(0)


@pytest.mark.parametrize("size", [32, 64, 100, 164, 256])
def test_both_halves_are_rgb_bytes_of_the_asked_size(size):
    for half in render_pair(3, size):
        assert half.shape == (size, size, 3)
        assert half.dtype == np.uint8
        assert half.std() > 5


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    first, again, other = render_pair(11, 64), render_pair(11, 64), render_pair(12, 64)
    for a, b, c in zip(first, again, other, strict=True):
        assert a.tobytes() == b.tobytes()
        assert a.tobytes() != c.tobytes()


@pytest.mark.parametrize(
    ("size", "seeds", "digest"),
    [
        (64, range(24), "59ac32a1be862d6a809251f8f0fd37341541752a6ac3b327959ccbbaef458d1f"),
        (100, range(100, 104), "ec2e7a1c20a93132261f63859425e0903ead1a34bbb6410db12c24ee65af4292"),
        (256, range(7, 10), "73bd2fba777667cd48bf4d2a2c613d9b3e3d874a4dd584f8e4874d0ac62461bb"),
    ],
)
def test_pictures_stay_the_same_between_versions(size, seeds, digest):
    """Another digest means other pictures: raise the version in
    `dataset.RECORDS`, so that old folders are told apart."""
    assert dataset.RECORDS["map"] == {"generator": "builtin", "version": 1}
    found = hashlib.sha256()
    for seed in seeds:
        for half in render_pair(seed, size):
            found.update(half.tobytes())
    assert found.hexdigest() == digest


def test_a_scene_is_the_same_at_every_size():
    for seed in range(4):
        small = render_pair(seed, 64)[1]
        large = np.asarray(Image.fromarray(render_pair(seed, 256)[1]).reduce(4))
        assert np.abs(small.astype(int) - large).mean() < 4


def test_many_scenes_can_be_drawn():
    for seed in range(1000, 1150):
        scene = make_scene(seed)
        assert len(scene.roads) > 0
        for array in (scene.corners, scene.cars, scene.trees):
            assert np.isfinite(array).all()


def test_the_photo_follows_the_legend_of_the_map(scenes):
    water = _colour_where(scenes, palette.MAP_WATER)
    park = _colour_where(scenes, palette.MAP_GROUND[palette.PARK])
    wood = _colour_where(scenes, palette.MAP_GROUND[palette.WOOD])
    bare = _colour_where(scenes, palette.MAP_GROUND[palette.BARE])
    road = _colour_where(scenes, palette.MAP_ROAD)
    assert water[2] > water[0] + 10, "water is bluish"
    assert water.mean() < min(park.mean(), bare.mean(), road.mean()) - 20, "water is dark"
    assert park[1] > park[0] and park[1] > park[2] + 15, "parks are green"
    assert wood[1] > wood[2] + 10 and wood.mean() < park.mean(), "woods are a darker green"
    assert bare[0] > bare[2] + 15, "bare ground is brown"
    assert np.ptp(road) < 12, "roads are grey"
    assert np.ptp(road) < np.ptp(park)


def test_the_map_explains_much_of_the_photo(scenes):
    """Predicting the blurred photo from the map's colour leaves clearly less variance than the mean
    does."""
    photo = np.concatenate(
        [p.reshape(24, 4, 24, 4, 3).mean((1, 3)).reshape(-1, 3) for p, _ in scenes]
    )
    legend = np.concatenate(
        [m.reshape(24, 4, 24, 4, 3).mean((1, 3)).reshape(-1, 3) for _, m in scenes]
    )
    terms = np.column_stack([np.ones(len(legend)), legend / 255, (legend / 255) ** 2])
    rest = photo - terms @ np.linalg.lstsq(terms, photo, rcond=None)[0]
    assert rest.var() < 0.65 * (photo - photo.mean(0)).var()


def test_a_size_below_32_is_refused():
    with pytest.raises(ValueError, match="at least 32"):
        render_pair(0, 28)


# --------------------------------------------------------------------------------------------------
# Files: layout, growth, what is kept, and what is refused.
# --------------------------------------------------------------------------------------------------


def _contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_files_hold_photo_left_and_map_right(tmp_path):
    write_builtin_dataset(tmp_path, train=2, val=1, size=32, workers=0, progress=False)
    assert sorted(_contents(tmp_path)) == [
        "builtin.json",
        "train/00000.png",
        "train/00001.png",
        "val/00000.png",
    ]
    pair = np.asarray(Image.open(tmp_path / "train" / "00001.png"))
    assert pair.shape == (32, 64, 3)
    photo, street_map = render_pair(dataset.picture_seed(0, "train", 1), 32)
    assert np.array_equal(pair[:, :32], photo)
    assert np.array_equal(pair[:, 32:], street_map)


def test_a_bigger_count_only_adds_files_and_all_images_differ(tmp_path):
    write_builtin_dataset(tmp_path / "a", train=2, val=1, size=32, workers=0, progress=False)
    few = _contents(tmp_path / "a")
    write_builtin_dataset(tmp_path / "a", train=4, val=2, size=32, workers=0, progress=False)
    write_builtin_dataset(tmp_path / "b", train=4, val=2, size=32, workers=0, progress=False)
    many = _contents(tmp_path / "a")
    assert many == _contents(tmp_path / "b")
    assert {name: many[name] for name in few} == few
    assert len(set(many.values())) == 4 + 2 + 1


def test_several_processes_write_the_same_files_as_one(tmp_path):
    for name, workers in (("one", 0), ("two", 2)):
        write_builtin_dataset(
            tmp_path / name, train=50, val=2, size=32, seed=5, workers=workers, progress=False
        )
    assert _contents(tmp_path / "one") == _contents(tmp_path / "two")


def test_complete_files_are_kept_and_damaged_ones_are_drawn_again(tmp_path):
    write_builtin_dataset(tmp_path, train=3, val=1, size=32, workers=0, progress=False)
    before = _contents(tmp_path)
    kept = (tmp_path / "train" / "00000.png").stat().st_mtime_ns
    (tmp_path / "train" / "00001.png").write_bytes(b"")
    (tmp_path / "train" / "00002.png").unlink()
    write_builtin_dataset(tmp_path, train=3, val=1, size=32, workers=0, progress=False)
    assert _contents(tmp_path) == before
    assert (tmp_path / "train" / "00000.png").stat().st_mtime_ns == kept


def test_an_error_while_writing_leaves_no_temporary_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(InputError, match="disk full"):
        write_builtin_dataset(tmp_path, train=1, val=1, size=32, workers=0, progress=False)
    assert _contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("size", "seed", "words"), [(36, 0, "size 32.*size 36"), (32, 1, "seed 0.*seed 1")]
)
def test_other_parameters_in_the_folder_are_refused_and_both_are_named(tmp_path, size, seed, words):
    write_builtin_dataset(tmp_path, train=1, val=1, size=32, seed=0, workers=0, progress=False)
    before = _contents(tmp_path)
    with pytest.raises(ValueError, match=words):
        write_builtin_dataset(
            tmp_path, train=1, val=1, size=size, seed=seed, workers=0, progress=False
        )
    assert _contents(tmp_path) == before


def test_a_folder_with_other_images_or_a_broken_record_is_refused(tmp_path):
    (tmp_path / "a" / "train").mkdir(parents=True)
    Image.new("RGB", (64, 32)).save(tmp_path / "a" / "train" / "mine.png")
    with pytest.raises(ValueError, match="not of the built-in"):
        write_builtin_dataset(tmp_path / "a", train=1, val=1, size=32, workers=0, progress=False)
    (tmp_path / "b").mkdir()
    for text in ("{", "[]", json.dumps({"size": 32})):
        (tmp_path / "b" / "builtin.json").write_text(text)
        with pytest.raises(ValueError, match="choose another folder"):
            write_builtin_dataset(
                tmp_path / "b", train=1, val=1, size=32, workers=0, progress=False
            )


# --------------------------------------------------------------------------------------------------
# Command line, as a process of its own.
# --------------------------------------------------------------------------------------------------


def test_the_command_writes_a_data_set_and_refuses_another_into_it(cli, tmp_path):
    done = cli(SCRIPT, tmp_path / "set", "--train", 2, "--val", 1, "--size", 32)
    assert done.returncode == 0, done.stderr
    assert "pair/s" in done.stderr
    assert len(list((tmp_path / "set").rglob("*.png"))) == 3
    refused = cli(SCRIPT, tmp_path / "set", "--train", 2, "--val", 1, "--size", 64)
    assert refused.returncode == 2
    assert "size 32" in refused.stderr and "size 64" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--size", 16), "at least 32"),
        (("--size", 66), "multiple of 4"),
        (("--train", 0), "at least 1"),
        (("--val", -3), "at least 1"),
        (("--seed", -1), "negative"),
        (("--size", "big"), "invalid int"),
    ],
)
def test_bad_flags_end_with_exit_code_2_and_a_clear_line(cli, tmp_path, flags, words):
    refused = cli(SCRIPT, tmp_path / "set", *flags)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "set").exists()


def test_a_folder_that_cannot_be_made_ends_with_exit_code_2(cli, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused = cli(SCRIPT, tmp_path / "file" / "set", "--train", 1, "--val", 1)
    assert refused.returncode == 2
    assert "cannot write" in refused.stderr and str(tmp_path / "file") in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_ctrl_c_ends_it_without_a_traceback(tmp_path):
    """It reaches the processes that draw as well."""
    command = [sys.executable, SCRIPT, str(tmp_path), "--size", "32"]
    process = subprocess.Popen(
        [*command, "--train", "10000"],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while process.poll() is None and len(list(tmp_path.glob("train/*.png"))) < 32:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and said.endswith("interrupted\n"), said
    assert "Traceback" not in said
