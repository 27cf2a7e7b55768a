"""One way to measure a generator, and the statistics of real images: made once, kept, and made
again when files change."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.build import DataSettings
from data.datasets import AlignedDataset, SingleDataset, Source
from data.loader import Loader
from data.transforms import Crops, Resize, to_float, to_uint8
from errors import InputError
from evaluation.build import MeasureSettings, criteria, deciding
from evaluation.evaluator import Evaluator, stored_pixels
from evaluation.real import cache_folders, measure_real, real_statistics
from metrics.criteria import FeatureCriterion
from metrics.frechet import Statistics, frechet_distance, save_statistics
from metrics.paired import PairedCriterion
from options import EvolutionOptions, TestOptions, TrainOptions, settings

CPU = torch.device("cpu")


class Colours(torch.nn.Module):
    """Six features of an image. Counts how many it has seen."""

    dims, label, origin, seen = 6, "colours", "", 0

    def forward(self, images):
        self.seen += len(images)
        x = images.float()
        return torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], 1)


@pytest.fixture
def root(tmp_path):
    """Seven pairs in two sizes."""
    rng = np.random.default_rng(0)
    (tmp_path / "val").mkdir()
    for i in range(7):
        size = 8 if i < 4 else 12
        pixels = rng.integers(0, 256, (size, 2 * size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / f"{i}.png")
    return tmp_path


def dataset(root, direction="AtoB"):
    return AlignedDataset(Source(str(root), "val"), direction, Resize("none"))


def evaluator(root, criteria, batch_size=3) -> Evaluator:
    data = AlignedDataset(Source(str(root), "val"), "AtoB", Resize("resize_and_crop", 8, 8))
    return Evaluator(Loader(data, batch_size, CPU, Crops((8, 8), False, False)), criteria)


def targets(root, side="B") -> list[torch.Tensor]:
    return [torch.from_numpy(dataset(root).load(i)[side])[None] for i in range(7)]


# --------------------------------------------------------------------------------------------------
# Evaluator


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_a_generator_is_measured_on_its_quantised_outputs(root, batch_size):
    net = Colours()
    real = measure_real(dataset(root), net, CPU)
    measure = evaluator(root, [FeatureCriterion(net, real, CPU)], batch_size)
    generate = lambda x: (x * 0.7).tanh()  # noqa: E731
    outputs = [to_uint8(generate(batch.A)) for batch in measure.loader.epoch()]
    expected = frechet_distance(torch.cat([net(images) for images in outputs]), real)
    for _ in range(2):  # and measuring leaves nothing behind
        found = measure(generate)
        assert found["fid"] == pytest.approx(expected, rel=1e-6) and found["n"] == 7
        assert found["seconds"] >= 0 and set(found) == {"fid", "kid", "n", "seconds"}
    assert measure.labels == {"fid": "FID (colours)", "kid": "KID (colours)"}


def test_outputs_are_compared_with_the_real_images_as_they_were_read(root):
    """A generator that returns the real image is perfect: no level is lost on the way."""
    measure = evaluator(root, [PairedCriterion()])
    reals = iter([batch.B for batch in measure.loader.epoch()])
    # Half a level up: what outputs lose by truncation.
    found = measure(lambda x: next(reals) + 1 / 255)
    assert found["l1_real"] == 0 and found["ssim"] == pytest.approx(1) and found["n"] == 7
    data = AlignedDataset(Source(str(root), "val"), "AtoB", Resize("resize_and_crop", 8, 8))
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(stored_pixels(to_float(levels)), levels)
    different = measure(lambda x: x)
    expected = [
        np.abs(data.load(i)["B"].astype(int) - stored_as_output(data.load(i)["A"])).mean()
        for i in range(7)
    ]
    assert different["l1_real"] == pytest.approx(np.mean(expected), rel=1e-5)


def stored_as_output(pixels: np.ndarray) -> np.ndarray:
    return to_uint8(to_float(torch.from_numpy(pixels))).int().numpy()


def test_without_criteria_nothing_is_generated(root):
    found = evaluator(root, [])(lambda x: pytest.fail("generated for nothing"))
    assert found["n"] == 7 and set(found) == {"n", "seconds"}


def test_one_process_does_not_copy_what_it_gathered(root, monkeypatch):
    net = Colours()
    criterion = FeatureCriterion(net, measure_real(dataset(root), net, CPU), CPU)
    monkeypatch.setattr(criterion, "state", lambda: pytest.fail("copied for nobody"))
    measure = evaluator(root, [criterion])
    measure.shared = True
    assert measure(lambda x: x)["n"] == 7


@pytest.mark.parametrize("shown", [True, False])
def test_long_evaluations_show_a_bar(root, capsys, monkeypatch, shown):
    clock = iter(range(0, 10**6, 100))
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
    measure = evaluator(root, [PairedCriterion()])
    measure.bar = shown
    measure(lambda x: x)
    assert ("evaluating" in capsys.readouterr().err) == shown


def test_outputs_come_with_their_names_and_can_be_limited(root):
    measure = evaluator(root, [])
    names = [n for _, batch in measure.outputs(lambda x: x) for n in batch]
    assert names == list("0123456")
    limited = list(measure.outputs(lambda x: x, limit=4))
    assert [len(images) for images, _ in limited] == [3, 3]
    assert limited[0][0].dtype == torch.uint8


# --------------------------------------------------------------------------------------------------
# Statistics of real images


@pytest.mark.parametrize("direction, side", [("AtoB", "B"), ("BtoA", "A")])
def test_statistics_are_of_the_targets_as_stored(root, direction, side):
    net = Colours()
    found = measure_real(dataset(root, direction), net, CPU)
    expected = Statistics.of_features(torch.cat([net(image) for image in targets(root, side)]))
    torch.testing.assert_close(found.mu, expected.mu)
    torch.testing.assert_close(found.sigma, expected.sigma)
    assert found.n == 7


def test_single_images_are_their_own_targets(root):
    net = Colours()
    found = measure_real(SingleDataset(Source(str(root), "val"), Resize("none")), net, CPU)
    assert found.n == 7 and net.seen == 7


def test_one_image_has_no_statistics(root):
    data = AlignedDataset(Source(str(root), "val", max_size=1), "AtoB", Resize("none"))
    with pytest.raises(InputError, match=rf"at least 2 real images and {root / 'val'} gives 1"):
        measure_real(data, Colours(), CPU)


def test_statistics_are_made_once(root, tmp_path):
    cache = (tmp_path / "cache", tmp_path / "other")
    net = Colours()
    first = real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 7
    again = real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 7 and torch.equal(first.sigma, again.sigma) and again.n == 7
    assert len(list(cache[0].iterdir())) == 1 and not cache[1].exists()


def test_they_are_made_again_when_anything_changes(root, tmp_path):
    cache = (tmp_path / "cache",)
    net = Colours()
    real_statistics(dataset(root), net, CPU, cache=cache)
    real_statistics(dataset(root, "BtoA"), net, CPU, cache=cache)
    assert net.seen == 14
    resized = AlignedDataset(Source(str(root), "val"), "AtoB", Resize("resize_and_crop", 8, 8))
    real_statistics(resized, net, CPU, cache=cache)
    fewer = AlignedDataset(Source(str(root), "val", max_size=5), "AtoB", Resize("none"))
    real_statistics(fewer, net, CPU, cache=cache)
    assert net.seen == 26
    os.utime(root / "val" / "3.png", ns=(1, 1))
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 33
    net.label = "other colours"
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 40
    net.origin = "of another file of weights"
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 47


@pytest.mark.parametrize("side", "AB")
def test_they_are_made_again_when_one_of_two_folders_changes(root, side):
    for each in "AB":
        shutil.copytree(root / "val", root / "two" / f"val{each}")
    net, cache = Colours(), (root / "cache",)
    for _ in range(2):
        real_statistics(dataset(root / "two"), net, CPU, cache=cache)
        assert net.seen == 7
    os.utime(root / "two" / f"val{side}" / "3.png", ns=(1, 1))
    real_statistics(dataset(root / "two"), net, CPU, cache=cache)
    assert net.seen == 14


def test_a_cache_that_cannot_be_written_is_passed_over(root, tmp_path):
    (tmp_path / "file").write_text("")
    cache = (tmp_path / "file" / "cache", tmp_path / "other")
    real_statistics(dataset(root), Colours(), CPU, cache=cache)
    net = Colours()
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 0 and len(list(cache[1].iterdir())) == 1


def test_a_given_file_is_used_and_must_fit(root, tmp_path):
    net = Colours()
    made = measure_real(dataset(root), net, CPU)
    save_statistics(tmp_path / "stat.npz", made, net.label)
    net.seen = 0
    found = real_statistics(dataset(root), net, CPU, path=str(tmp_path / "stat.npz"))
    assert net.seen == 0 and torch.equal(found.mu, made.mu)
    save_statistics(tmp_path / "stat.npz", made, "other colours")
    with pytest.raises(InputError, match="made with 'other colours'"):
        real_statistics(dataset(root), net, CPU, path=str(tmp_path / "stat.npz"))


def test_a_damaged_cache_is_made_again(root, tmp_path):
    """It is ours, not the user's: nothing needs to be said, and no flag was given that could be
    named."""
    cache = (tmp_path / "cache",)
    real_statistics(dataset(root), Colours(), CPU, cache=cache)
    (path,) = cache[0].iterdir()
    path.write_bytes(path.read_bytes()[:100])
    net = Colours()
    assert real_statistics(dataset(root), net, CPU, cache=cache).n == 7 and net.seen == 7


# --------------------------------------------------------------------------------------------------
# Where statistics are kept, and whose files are used


def test_a_file_that_others_could_have_written_is_not_used(root, tmp_path):
    """In a shared folder anyone may put statistics that make any network the best."""
    cache = (tmp_path / "cache",)
    real_statistics(dataset(root), Colours(), CPU, cache=cache)
    (path,) = cache[0].iterdir()
    path.chmod(0o646)
    net = Colours()
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 7


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_used_only_if_the_images_are_theirs_too(root, tmp_path):
    cache = (tmp_path / "cache",)
    real_statistics(dataset(root), Colours(), CPU, cache=cache)
    (path,) = cache[0].iterdir()
    os.chown(path, 12345, -1)
    net = Colours()
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 7
    (path,) = cache[0].iterdir()
    os.chown(path, 12345, -1)
    os.chown(root / "val", 12345, -1)
    real_statistics(dataset(root), net, CPU, cache=cache)
    assert net.seen == 7


def test_statistics_are_kept_beside_the_data_or_with_the_user_and_nowhere_else(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    beside, users = cache_folders(tmp_path / "data")
    assert beside == tmp_path / "data" / ".statistics"
    assert users == tmp_path / "cache" / "gan-compression" / "statistics"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folders(tmp_path)[1].is_relative_to(tmp_path / "home")

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folders(tmp_path / "data") == (beside,)


# --------------------------------------------------------------------------------------------------
# Criteria of a data set


@pytest.fixture
def colours(monkeypatch, root):
    """`criteria` of the pairs with a feature network of six colours; a function of data
    settings."""
    monkeypatch.setattr("evaluation.build.feature_net", lambda settings, device: Colours())
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "user"))

    def make(measures=MeasureSettings(), **settings):
        data = DataSettings(str(root), phase="val", **settings)
        return criteria(measures, data, CPU)

    return make


def test_real_images_are_measured_at_the_size_of_the_outputs(root, colours):
    fid, pairs = colours(load_size=16, crop_size=16)
    assert fid.labels["fid"] == "FID (colours)" and fid.real.size == (16, 16)
    resized = AlignedDataset(Source(str(root), "val"), "AtoB", Resize("resize_and_crop", 16, 16))
    expected = measure_real(resized, Colours(), CPU)
    torch.testing.assert_close(fid.real.mu, expected.mu)
    assert pairs.keys == ("l1_real", "psnr", "ssim")


def test_real_images_are_cropped_as_inputs_are(root, colours):
    fid, _ = colours(load_size=12, crop_size=8)
    resized = AlignedDataset(Source(str(root), "val"), "AtoB", Resize("resize_and_crop", 12, 8))
    centres = [torch.from_numpy(resized.load(i)["B"][:, 2:10, 2:10])[None] for i in range(7)]
    expected = Statistics.of_features(torch.cat([Colours()(image) for image in centres]))
    torch.testing.assert_close(fid.real.mu, expected.mu)
    assert fid.real.size == (8, 8)


def test_at_256_pixels_real_images_are_measured_as_stored_and_the_label_says_so(root, colours):
    """As published statistics were: 600x600 for maps, with outputs of 256x256."""
    fid, _ = colours(load_size=256, crop_size=256)
    assert fid.labels["fid"] == "FID (colours; real images as stored)" and fid.real.size is None
    torch.testing.assert_close(fid.real.mu, measure_real(dataset(root), Colours(), CPU).mu)


def test_published_sets_stored_at_256_pixels_have_the_plain_label(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.build.feature_net", lambda settings, device: Colours())
    (tmp_path / "val").mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (256, 512, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / f"{i}.png")
    fid, _ = criteria(MeasureSettings(), DataSettings(str(tmp_path), phase="val"), CPU)
    assert fid.labels["fid"] == "FID (colours)" and fid.real.size == (256, 256)


def test_given_statistics_are_named_in_the_label(root, colours, tmp_path):
    made = measure_real(dataset(root), Colours(), CPU)
    save_statistics(tmp_path / "maps.npz", made, "colours")
    given = MeasureSettings(real_stat_path=str(tmp_path / "maps.npz"))
    fid, _ = colours(given, load_size=16, crop_size=16)
    assert fid.labels["fid"] == "FID (colours; real images of maps.npz)"


def test_what_decides_is_never_what_pairs_are_compared_by(colours):
    judges = colours(load_size=16, crop_size=16)
    assert deciding(judges) == "fid"
    judges = colours(MeasureSettings(fid=False), load_size=16, crop_size=16)
    assert [c.keys for c in judges] == [("l1_real", "psnr", "ssim")] and deciding(judges) is None
    assert colours(MeasureSettings(fid=False, pairs=False)) == [] and deciding([]) is None


def test_a_run_of_a_few_images_is_judged_on_as_few():
    assert DataSettings("d").for_validation().max_dataset_size == -1
    assert DataSettings("d", max_dataset_size=40).for_validation().max_dataset_size == 40
    assert DataSettings("d", max_dataset_size=1).for_validation().max_dataset_size == 2


def test_it_is_judged_at_the_scale_it_trains_at():
    """A training on whole photos 512 wide is not judged on photos half as wide."""
    for changed in (DataSettings.for_validation, DataSettings.for_calibration):
        for preprocess, load_size in (("scale_width", 512), ("resize_and_crop", 256)):
            data = changed(DataSettings("d", preprocess=preprocess, load_size=512))
            assert (data.load_size, data.crop_size) == (load_size, 256), (changed, preprocess)


# --------------------------------------------------------------------------------------------------
# What the flags ask for


def test_a_search_by_a_measure_that_is_switched_off_is_refused_at_once(capsys):
    search = ["--dataroot", "d", "--restore_G_path", "g", "--config_set", "channels-32"]
    search += ["--output_dir", "o"]
    for off, criterion in (("--no_mIoU", "mIoU"), ("--no_mIoU", "accu"), ("--no_fid", "fid")):
        with pytest.raises(SystemExit) as raised:
            EvolutionOptions.parse([*search, off, "--criterion", criterion])
        message = capsys.readouterr().err
        assert raised.value.code == 2 and f"{off} leaves nothing to search by" in message
        assert message.count("\n") == 1


def test_searches_measure_what_they_decide_by_and_tests_pairs_too():
    search = ["--dataroot", "d", "--restore_G_path", "g", "--config_set", "channels-32"]
    search += ["--output_dir", "o"]
    assert not settings.measures(EvolutionOptions.parse(search)).pairs
    test = ["--dataroot", "d", "--restore_G_path", "g", "--results_dir", "r"]
    assert settings.measures(TestOptions.parse(test)).pairs
    assert settings.measures(TrainOptions.parse(["--dataroot", "d"])).pairs


@pytest.mark.parametrize(
    ("mode", "flags", "measured", "without_effect"),
    [
        ("coco", [], False, None),
        ("coco", ["--deeplabv2_path", "x"], True, None),
        ("coco", ["--deeplabv2_path", "x", "--no_mIoU"], False, "--no_mIoU is given"),
        ("coco", ["--drn_path", "x"], False, "--dataset_mode coco is measured by --deeplabv2_path"),
        ("cityscapes", ["--drn_path", "x"], True, None),
        ("cityscapes", ["--deeplabv2_path", "x"], False, "--dataset_mode is not coco"),
    ],
)
def test_each_dataset_of_labels_has_a_segmenter(mode, flags, measured, without_effect, capsys):
    flags = ["--dataroot", "d", "--dataset_mode", mode, *flags]
    test = ["--restore_G_path", "g", "--results_dir", "r", *flags]
    for options, typed in ((TestOptions, test), (TrainOptions, ["--model", "spade", *flags])):
        found = settings.measures(options.parse(typed))
        assert found.miou is measured and found.fid
        weights = "deeplabv2_resnet101_msc-cocostuff164k-100000.pth" if mode == "coco" else None
        assert found.deeplabv2_path == ("x" if "--deeplabv2_path" in flags else weights)
        printed = capsys.readouterr().out
        assert (without_effect or "") in printed
        assert printed.count("no effect") == (without_effect is not None)
