"""The built-in shoes and bags: what they look like, and that the photo follows from the lines."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from errors import InputError
from prepare.builtin import dataset, render_object_pair, write_builtin_dataset
from prepare.builtin.objects import KINDS, make_object
from prepare.builtin.product_photo import _masks, draw_lines

SIZE = 96
SEEDS = range(24)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    return [render_object_pair(seed, SIZE) for seed in SEEDS]


@pytest.mark.parametrize("size", [32, 64, 100, 256])
def test_both_halves_are_rgb_bytes_of_the_asked_size(size):
    for half in render_object_pair(3, size):
        assert half.shape == (size, size, 3)
        assert half.dtype == np.uint8
        assert half.std() > 20


def test_too_small_a_size_is_refused():
    with pytest.raises(InputError, match="at least 32"):
        render_object_pair(0, 28)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(pairs):
    again = render_object_pair(11, SIZE)
    for a, b, c in zip(pairs[11], again, pairs[12], strict=True):
        assert a.tobytes() == b.tobytes()
        assert a.tobytes() != c.tobytes()


def test_line_drawings_stay_the_same_between_versions(pairs):
    """Another digest means other pictures: raise the version in `dataset.RECORDS`."""
    assert dataset.RECORDS["object"]["version"] == 1
    found = hashlib.sha256(b"".join(lines.tobytes() for lines, _ in pairs))
    assert found.hexdigest() == "344ed162c31877edb961f9c2b0b0245edbe7e87bc62ce4e12b230e9b1b89b605"


def test_lines_are_thin_and_black_on_white(pairs):
    for lines, _ in pairs:
        assert (lines == lines[..., :1]).all()
        assert lines.max() == 255 and lines.min() < 60
        assert 0.01 < (lines < 128).mean() < 0.2


def test_an_object_is_the_same_at_every_size():
    for seed in (2, 5):
        small = render_object_pair(seed, 64)[0].astype(float)
        large = np.asarray(Image.fromarray(render_object_pair(seed, 256)[0]).reduce(4), float)
        assert np.abs(small - large).mean() < 6


def test_objects_stay_inside_the_image_and_every_kind_appears():
    kinds = set()
    for seed in range(120):
        parts = make_object(seed)
        kinds.add(frozenset(part.name.rstrip("-0123456789") for part in parts))
        points = np.concatenate([part.outline for part in parts if part.inside is None])
        assert points.min() > 0 and points.max() < 1
    # Each of the six has two styles at least, which differ in their parts.
    assert len(kinds) >= 2 * len(KINDS)


def test_the_wall_is_bright_and_the_outline_of_the_photo_has_lines(pairs):
    for seed, (lines, photo) in zip(SEEDS, pairs, strict=True):
        whole = np.any(list(_masks(make_object(seed), SIZE).values()), axis=0)
        assert photo[: SIZE // 8][~binary_dilation(whole, iterations=3)[: SIZE // 8]].min() > 235
        edge = whole & ~binary_erosion(whole)
        near_ink = binary_dilation(lines[..., 0] < 200, iterations=2)
        assert near_ink[edge].mean() > 0.99


def test_the_lines_tell_the_colour():
    """Objects whose parts have the same names, so the same kind and style, have nearly the same
    colours; others differ."""
    colours: dict[frozenset[str], list[np.ndarray]] = {}
    for seed in range(60):
        parts = make_object(seed)
        main = next(part for part in parts if part.name in ("upper", "body"))
        names = frozenset(part.name.rstrip("-0123456789") for part in parts)
        colours.setdefault(names, []).append(np.array(main.colour, float))
    spread = [np.ptp(found, axis=0).max() for found in colours.values() if len(found) > 1]
    middles = np.array([np.mean(found, axis=0) for found in colours.values()])
    assert np.median(spread) < 40 < middles.std(axis=0).max()


def test_the_photo_has_the_colour_of_its_parts(pairs):
    for seed, (_, photo) in zip(SEEDS, pairs, strict=True):
        parts = make_object(seed)
        at = next(i for i, part in enumerate(parts) if part.name in ("upper", "body"))
        masks = _masks(parts, SIZE)
        seen = masks[parts[at].name].copy()
        for part in parts[at + 1 :]:
            seen &= ~binary_dilation(masks[part.name], iterations=2)
        shown = np.median(photo[binary_erosion(seen, iterations=3)], axis=0)
        wanted = np.array(parts[at].colour, float)
        cosine = shown @ wanted / np.linalg.norm(shown) / np.linalg.norm(wanted)
        assert cosine > 0.96, seed


def test_hidden_lines_are_not_drawn():
    """A part in front of another hides its lines: only its own outline remains inside it."""
    for seed in SEEDS:
        parts = make_object(seed)
        last = parts[-1]
        if last.inside or last.seams or last.stitch:
            continue
        inner = binary_erosion(_masks(parts, 256)[last.name], iterations=4)
        assert (draw_lines(parts, 256)[inner] > 250).all()


def test_a_written_data_set_has_lines_on_the_left(tmp_path):
    write_builtin_dataset(
        tmp_path, train=2, val=1, size=32, workers=0, progress=False, kind="object"
    )
    pair = np.asarray(Image.open(tmp_path / "train" / "00001.png"))
    lines, photo = render_object_pair(dataset.picture_seed(0, "train", 1), 32)
    assert (pair == np.concatenate([lines, photo], 1)).all()


def test_the_folder_of_another_kind_and_an_unknown_kind_are_refused(tmp_path):
    sizes = {"train": 1, "val": 1, "size": 32, "workers": 0, "progress": False}
    write_builtin_dataset(tmp_path, **sizes)
    with pytest.raises(InputError, match=r"generator builtin,.*generator builtin object"):
        write_builtin_dataset(tmp_path, kind="object", **sizes)
    with pytest.raises(InputError, match="map, object"):
        write_builtin_dataset(tmp_path / "new", kind="shoes", **sizes)
