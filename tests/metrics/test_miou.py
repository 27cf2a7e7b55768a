"""mIoU: resizing against Pillow, counting against plain NumPy, tables, labels and the whole
measure."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from errors import InputError
from metrics.class_map import class_map
from metrics.confusion import confusion, summary
from metrics.labels import LabelStore, ground_truth, image_stem, read_table
from metrics.miou import CITYSCAPES_MEAN, CITYSCAPES_STD, CityscapesScorer

# --------------------------------------------------------------------------------------------------
# The same figures by the plainest means.


def pillow_resized(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, h, w) float32 -> (C, H, W), channel by channel."""
    height, width = size
    channels = [
        Image.fromarray(c).resize((width, height), Image.Resampling.BILINEAR) for c in scores
    ]
    return np.stack([np.asarray(c) for c in channels])


def plain_figures(predicted: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """mIoU and accuracy in percent, class by class with sets of pixels."""
    valid = label < 19
    predicted, label = predicted[valid], label[valid]
    ious = []
    for c in range(19):
        union = ((predicted == c) | (label == c)).sum()
        if union:
            ious.append(((predicted == c) & (label == c)).sum() / union)
    return 100 * np.mean(ious), 100 * (predicted == label).mean()


def random_scores(seed: int, *shape: int) -> torch.Tensor:
    return 5 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------------
# Resizing and argmax.


def test_pillow_enlarges_with_half_pixel_centres():
    scores = random_scores(0, 3, 8, 9)
    for size in ((32, 72), (11, 30)):
        found = nn.functional.interpolate(scores[None], size, mode="bilinear", align_corners=False)[
            0
        ]
        np.testing.assert_allclose(found, pillow_resized(scores.numpy(), size), atol=3e-5)


def test_class_map_at_full_size():
    low = random_scores(1, 1, 19, 16, 16)
    scores = nn.functional.interpolate(low, (128, 128), mode="bilinear")[0].log_softmax(0)
    expected = pillow_resized(scores.numpy(), (1024, 2048)).argmax(0)
    np.testing.assert_array_equal(class_map(scores, (1024, 2048)), expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(1, 19),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    more=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    smooth=st.booleans(),
)
def test_class_map_equals_pillow(seed, classes, size, more, smooth):
    scores = random_scores(seed, classes, *size)
    if smooth:  # one class leads nearly everywhere
        scores[0] += 8
    new = (size[0] + more[0], size[1] + more[1])
    expected = pillow_resized(scores.numpy(), new).argmax(0)
    np.testing.assert_array_equal(class_map(scores, new), expected)


def test_class_map_is_computed_where_there_is_float64(monkeypatch):
    """Apple's GPUs have none; the answer is on the device of the scores again."""
    asked = []
    monkeypatch.setattr(
        "metrics.class_map.device_for_float64",
        lambda device: asked.append(device) or torch.device("cpu"),
    )
    scores = random_scores(3, 4, 4, 4)
    assert class_map(scores, (9, 9)).device == scores.device and asked == [scores.device]


def test_class_map_of_equal_scores_is_the_first_class():
    assert not class_map(torch.zeros(4, 5, 6), (17, 12)).any()


def test_class_map_refuses_to_shrink():
    with pytest.raises(ValueError, match="enlarges only"):
        class_map(torch.zeros(4, 5, 6), (17, 5))


# --------------------------------------------------------------------------------------------------
# Counting.


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    present=st.lists(st.integers(0, 18), min_size=1, max_size=5),
    ignored=st.lists(st.integers(19, 255), max_size=3),
)
def test_figures_equal_plain_numpy(seed, size, present, ignored):
    rng = np.random.default_rng(seed)
    label = rng.choice(np.array(present + ignored, np.uint8), size)
    label.flat[0] = present[0]
    predicted = rng.choice(np.array([*present, rng.integers(19)], np.uint8), size)
    counts = confusion(torch.from_numpy(predicted), torch.from_numpy(label), 19)
    assert counts.dtype == torch.int64
    assert counts.sum() == (label < 19).sum()
    assert counts[present[0], predicted.flat[0]] >= 1  # rows are labels
    found = summary(counts)
    np.testing.assert_allclose(
        (found["mIoU"], found["accu"]), plain_figures(predicted, label), rtol=1e-12
    )


def test_absent_classes_do_not_count():
    counts = torch.zeros(19, 19, dtype=torch.int64)
    counts[0, 0], counts[0, 3] = 3, 1
    found = summary(counts)
    assert found["class_iou"] == [75.0, None, None, 0.0] + [None] * 15
    assert found["mIoU"] == 37.5
    assert found["accu"] == 75.0


def test_nothing_to_count_is_an_error():
    with pytest.raises(InputError, match=r"no pixel has a label in 0\.\.18; look again"):
        summary(torch.zeros(19, 19, dtype=torch.int64), "look again")


# --------------------------------------------------------------------------------------------------
# Tables and labels on disk.


@pytest.fixture
def cityscapes(tmp_path):
    """A folder with a table of three images and their labels, 16x8 each."""
    root = tmp_path / "cityscapes"
    (root / "gtFine").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for index, name in enumerate(("1", "2.jpg", "bonn_3_leftImg8bit.png")):
        label = rng.integers(0, 21, (8, 16)).astype(np.uint8)
        Image.fromarray(label).save(root / "gtFine" / f"{index}_trainIds.png")
        lines.append(f"{name} gtFine/{index}_trainIds.png leftImg8bit/{index}.png")
    (tmp_path / "table.txt").write_text("\n".join(lines) + "\n\n")
    return tmp_path


def load(cityscapes):
    return read_table(cityscapes / "table.txt", cityscapes / "cityscapes")


def test_names_match_by_stem(cityscapes):
    table = load(cityscapes)
    assert list(table) == ["1", "2", "bonn_3_leftImg8bit"]
    assert table["2"] == cityscapes / "cityscapes/gtFine/1_trainIds.png"
    found = ground_truth(["1.png", "some/folder/2", "bonn_3_leftImg8bit"], table)
    assert found == dict(zip(found, table.values(), strict=True))
    label = LabelStore(found)["some/folder/2"]
    np.testing.assert_array_equal(label, np.array(Image.open(table["2"])))
    assert image_stem("folder/a.b") == "a.b"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "`table_path` .*no such file"),
        (b"", "`table_path` .*is empty"),
        (b"\xff\xfe\x00", "`table_path` .*not a text file"),
        (b"1 a.png b.png\n2 a.png\n", "`table_path` .*line 2: has 2 columns instead of 3"),
        (
            b"1 a.png b.png\n1.png c.png b.png\n",
            "`table_path` .*line 2: a second label for image '1'",
        ),
        (
            b"1 a_gtFine_labelIds.png b.png\n",
            "`table_path` .*line 1: a_gtFine_labelIds.png holds labelIds",
        ),
    ],
)
def test_unusable_tables_are_named(content, says, tmp_path):
    path = tmp_path / "table.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says) as raised:
        read_table(path, tmp_path)
    assert str(path) in str(raised.value)


def test_missing_folders_files_and_images_are_named(cityscapes):
    with pytest.raises(InputError, match=r"`cityscapes_path` .*elsewhere: no such folder"):
        read_table(cityscapes / "table.txt", cityscapes / "elsewhere")
    with pytest.raises(InputError, match=r"no such file.*`criterion` fid .*`no_mIoU`"):
        read_table(cityscapes / "none.txt", cityscapes)
    table = load(cityscapes)
    with pytest.raises(InputError, match=r"image '7' is not in the table .*`table_path`"):
        ground_truth(["7"], table)
    table["1"].unlink()
    with pytest.raises(InputError, match=r"0_trainIds.png: .*of image '1' .*`cityscapes_path`"):
        ground_truth(["1"], table)
    table["2"].write_text("no png")
    with pytest.raises(InputError, match=r"1_trainIds.png: not an image"):
        LabelStore(table)["2"]
    Image.new("RGB", (4, 4)).save(table["bonn_3_leftImg8bit"])
    with pytest.raises(InputError, match=r"2_trainIds.png: is of mode RGB"):
        LabelStore(table)["bonn_3_leftImg8bit"]


def test_labels_are_decoded_once_within_the_bound(cityscapes, monkeypatch):
    decoded = []
    original = Image.open
    monkeypatch.setattr("PIL.Image.open", lambda path: decoded.append(path) or original(path))
    table = load(cityscapes)
    names = list(table)
    for bound, expected in (
        (1 << 20, 3),
        (2 * 128, 3 + 2),
        (0, 3 * 3),
    ):  # a label has 128 bytes, three rounds
        store = LabelStore(table, max_bytes=bound)
        decoded.clear()
        for _ in range(3):
            store.prefetch(names)
            labels = [store[name] for name in names]
        assert len(decoded) == expected
        assert store.kept_bytes <= bound
        for name, label in zip(names, labels, strict=True):
            np.testing.assert_array_equal(label, np.array(original(table[name])))


# --------------------------------------------------------------------------------------------------
# The whole measure, with a stand-in for the segmenter.


class Colours(nn.Module):
    """Scores of 19 classes by a fixed mix of the three channels."""

    def forward(self, x):
        self.seen = x
        return torch.einsum("kc,nchw->nkhw", random_scores(2, 19, 3), x).log_softmax(1)


def photos(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, 3, 4, 8), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_scorer_equals_the_plain_protocol(cityscapes, batch_size):
    table = load(cityscapes)
    names, images = list(table), photos(3)
    scorer = CityscapesScorer(Colours(), LabelStore(table), "cpu", batch_size)
    scorer.update(images[:2], names[:2])
    scorer.update(images[2:], names[2:])
    found = scorer.result()

    mean, std = (np.array(v, np.float32)[:, None, None] for v in (CITYSCAPES_MEAN, CITYSCAPES_STD))
    x = torch.from_numpy((images.numpy().astype(np.float32) / 255 - mean) / std)
    predicted = [pillow_resized(s, (8, 16)).argmax(0) for s in Colours()(x).numpy()]
    label = [np.array(Image.open(table[name])) for name in names]
    expected = plain_figures(np.stack(predicted), np.stack(label))
    np.testing.assert_allclose((found["mIoU"], found["accu"]), expected, rtol=1e-12)
    assert found["n"] == 3
    assert len(found["class_iou"]) == 19


def test_photos_are_normalised_with_the_published_constants(cityscapes):
    table = load(cityscapes)
    drn = Colours()
    CityscapesScorer(drn, LabelStore(table), "cpu").update(photos(1), ["1"])
    expected = (photos(1)[0, :, 0, 0].double().numpy() / 255 - CITYSCAPES_MEAN) / np.array(
        CITYSCAPES_STD
    )
    np.testing.assert_allclose(drn.seen[0, :, 0, 0], expected, rtol=1e-5)


def test_scorer_refuses_what_it_cannot_compare(cityscapes):
    table = load(cityscapes)
    scorer = CityscapesScorer(Colours(), LabelStore(table), "cpu")
    with pytest.raises(ValueError, match="uint8"):
        scorer.update(photos(1).float(), ["1"])
    with pytest.raises(ValueError, match="a name each"):
        scorer.update(photos(2), ["1"])
    with pytest.raises(InputError, match="the label of image '1' is 16x8, smaller than the photo"):
        scorer.update(torch.zeros(1, 3, 4, 32, dtype=torch.uint8), ["1"])
    with pytest.raises(InputError, match="no pixel"):
        scorer.result()
