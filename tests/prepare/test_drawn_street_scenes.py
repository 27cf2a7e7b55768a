"""The built-in street scenes: labels, instances and photos of the same shapes."""

import numpy as np
import torch
from PIL import Image

from data.build import DataSettings, inference_loader
from metrics.labels import LabelStore, ground_truth, read_table
from prepare.street_scenes import CAR, CLASSES, COUNTED, PERSON, SKY, render_scene


def test_a_scene_is_what_its_arguments_say():
    photo, labels, instances = render_scene(3, 32)
    assert photo.shape == (32, 64, 3) and labels.shape == instances.shape == (32, 64)
    assert (photo.dtype, labels.dtype, instances.dtype) == (np.uint8, np.uint8, np.uint16)
    again = render_scene(3, 32)
    assert all(map(np.array_equal, again, (photo, labels, instances)))
    assert not np.array_equal(render_scene(4, 32)[1], labels)
    assert set(np.unique(labels)) <= set(CLASSES)
    counted = np.isin(labels, COUNTED)
    assert (instances[counted] // 1000 == labels[counted]).all()
    assert (instances[~counted] == labels[~counted]).all()


def test_scenes_vary_and_their_photos_show_their_labels():
    found = [render_scene(seed, 32) for seed in range(6)]
    cars = [len(np.unique(i[n == CAR])) for _, n, i in found]
    assert len(set(cars)) > 1 and any((n == PERSON).any() for _, n, _ in found)
    for photo, labels, _ in found:
        sky = photo[labels == SKY].mean(0)
        assert sky[2] > sky[0]  # blue


def test_they_are_a_dataset_with_tables_and_can_be_continued(cli, tmp_path):
    root = tmp_path / "streets"
    sizes = ("--train", 3, "--val", 2, "--height", 16)
    cli("scripts/make_street_scenes.py", root, *sizes).succeeded()
    photos = sorted(root.glob("leftImg8bit/*/*/*.png"))
    assert len(photos) == 5
    times = [p.stat().st_mtime_ns for p in photos]
    photos[1].unlink()
    cli("scripts/make_street_scenes.py", root, *sizes).succeeded()
    assert [p.stat().st_mtime_ns for p in photos][2:] == times[2:] and photos[1].exists()
    data = DataSettings(
        str(root),
        "cityscapes",
        phase="val",
        preprocess="scale_width",
        load_size=32,
        crop_size=32,
        aspect_ratio=2.0,
        input_nc=35,
        batch_size=2,
    )
    (batch,) = inference_loader(data, torch.device("cpu")).epoch()
    table = read_table(root / "val_table.txt", root, by_photo=True)
    store = LabelStore(ground_truth(batch.names, table))
    labels = batch.A[:, :35].argmax(1)
    for name, numbers in zip(batch.names, labels, strict=True):
        wanted = np.vectorize(CLASSES.get)(numbers.numpy())
        assert np.array_equal(store[name], wanted)
    assert np.asarray(Image.open(photos[0])).shape == (16, 32, 3)


def test_wrong_sizes_are_refused(cli, tmp_path):
    for flags in (("--height", 8), ("--val", -1)):
        outcome = cli("scripts/make_street_scenes.py", tmp_path / "x", *flags)
        assert outcome.returncode == 2 and outcome.stderr.count("\n") == 1
        assert f"{flags[0]} {flags[1]}: must be from" in outcome.stderr
    assert not (tmp_path / "x").exists()
