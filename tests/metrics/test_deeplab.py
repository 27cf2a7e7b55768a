"""COCO-Stuff's mIoU: the segmenter against a plain one, the published keys, and the whole measure.

The published weights are not here: that their figures come out is not tested.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from errors import InputError
from metrics.confusion import confusion
from metrics.criteria import fresh
from metrics.deeplab import DeepLabV2, load_deeplab
from metrics.labels import LabelStore, read_classes
from metrics.miou import CocoScorer

# --------------------------------------------------------------------------------------------------
# The published file


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes as github.com/kazuto1011/deeplab-pytorch names the parts of ResNet-101."""
    found: dict[str, tuple[int, ...]] = {}

    def conv_norm(name, *shape):
        found[f"{name}.conv.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.bn.{part}"] = shape[:1]
        found[f"{name}.bn.num_batches_tracked"] = ()

    conv_norm("base.layer1.conv1", 64, 3, 7, 7)
    inputs = 64
    for level, (blocks, within) in enumerate(((3, 64), (4, 128), (23, 256), (3, 512)), 2):
        for block in range(1, blocks + 1):
            name = f"base.layer{level}.block{block}"
            conv_norm(f"{name}.reduce", within, inputs, 1, 1)
            conv_norm(f"{name}.conv3x3", within, within, 3, 3)
            conv_norm(f"{name}.increase", 4 * within, within, 1, 1)
            if block == 1:
                conv_norm(f"{name}.shortcut", 4 * within, inputs, 1, 1)
            inputs = 4 * within
    for index in range(4):
        found[f"base.aspp.c{index}.weight"] = (182, 2048, 3, 3)
        found[f"base.aspp.c{index}.bias"] = (182,)
    return found


def empty_state() -> dict[str, torch.Tensor]:
    """Right keys and shapes at a few bytes per tensor."""
    shapes = published_shapes().items()
    return {k: torch.zeros(1).expand(s) if s else torch.tensor(0) for k, s in shapes}


def test_keys_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        net = DeepLabV2()
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == published_shapes()
    # torchvision's ResNet-101 without its classifier, and four convolutions.
    parameters = 44_549_160 - 1000 * 2049 + 4 * (2048 * 9 * 182 + 182)
    assert sum(p.numel() for p in net.parameters()) == parameters == 55_919_384


@pytest.mark.parametrize("form", ["plain", "wrapped"])
def test_a_file_loads_frozen(form, tmp_path):
    state = empty_state()
    if form == "wrapped":
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        state = {"state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(state, tmp_path / "deeplab.pth")
    net = load_deeplab(tmp_path / "deeplab.pth", "cpu")
    assert not net.training and not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "no such file"),
        (lambda state: "<html>", "holds no state dict"),
        (lambda state: {}, "holds no state dict"),
        (lambda state: state | {"x": torch.zeros(2)}, r"does not fit \(x is unknown"),
        (
            lambda state: {k: v for k, v in state.items() if k != "base.aspp.c2.bias"},
            "base.aspp.c2.bias is missing",
        ),
        (
            # The weights for Pascal VOC.
            lambda state: state | {"base.aspp.c0.weight": torch.zeros(1).expand(21, 2048, 3, 3)},
            r"base.aspp.c0.weight is \(21, 2048, 3, 3\), not \(182, 2048, 3, 3\)",
        ),
    ],
)
def test_unusable_files_are_named_with_the_remedy(change, says, tmp_path):
    path = tmp_path / "deeplab.pth"
    if change:
        torch.save(change(empty_state()), path)
    with pytest.raises(InputError, match=says) as raised:
        load_deeplab(path, "cpu")
    message = str(raised.value)
    assert message.startswith(f"`deeplabv2_path` {path}") and "\n" not in message
    for needed in ("scripts/download.py deeplab-cocostuff", "`no_mIoU`", "`criterion` fid"):
        assert needed in message


# --------------------------------------------------------------------------------------------------
# A plain segmenter: functions of tensors, one line for each step of the description


def plain_logits(state, x, blocks):
    def norm(x, name):
        mean, var, weight, bias = (
            state[f"{name}.bn.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def conv(x, name, stride=1, dilation=1):
        weight = state[f"{name}.conv.weight"]
        padding = weight.shape[-1] // 2 * dilation
        return norm(F.conv2d(x, weight, None, stride, padding, dilation), name)

    x = conv(x, "base.layer1.conv1", 2).relu()
    # Windows of 3 at every second pixel; the last may reach one pixel beyond the end.
    height, width = (side // 2 + 1 for side in x.shape[2:])
    x = F.pad(x, (1, 2, 1, 2), value=float("-inf"))
    x = x.unfold(2, 3, 2)[:, :, :height].unfold(3, 3, 2)[:, :, :, :width].amax((4, 5))
    levels = zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
    for level, (count, stride, dilation) in enumerate(levels, 2):
        for block in range(1, count + 1):
            name, step = f"base.layer{level}.block{block}", stride if block == 1 else 1
            y = conv(x, f"{name}.reduce", step).relu()
            y = conv(y, f"{name}.conv3x3", dilation=dilation).relu()
            y = conv(y, f"{name}.increase")
            x = (y + (conv(x, f"{name}.shortcut", step) if block == 1 else x)).relu()
    aspp = [(state[f"base.aspp.c{i}.weight"], state[f"base.aspp.c{i}.bias"]) for i in range(4)]
    return sum(
        F.conv2d(x, *conv, padding=rate, dilation=rate)
        for conv, rate in zip(aspp, (6, 12, 18, 24), strict=True)
    )


def resized(x, size):
    """Bilinearly, by a matrix for each axis: half-pixel centres, clamped edges."""

    def matrix(old, new):
        position = ((torch.arange(new).double() + 0.5) * old / new - 0.5).clamp(0, old - 1)
        return (1 - (position[:, None] - torch.arange(old)).abs()).clamp(0)

    rows, columns = (matrix(*sides) for sides in zip(x.shape[2:], size, strict=True))
    return rows @ x @ columns.T


def test_it_equals_a_plain_segmenter_at_the_best_of_three_sizes():
    generator = torch.Generator().manual_seed(0)
    blocks = (1, 2, 2, 1)
    net = DeepLabV2(classes=7, blocks=blocks, width=4).double().eval()
    for key, value in net.state_dict().items():
        if value.ndim:
            value.copy_(torch.randn(value.shape, generator=generator) / max(1, value[0].numel()))
        if key.endswith("running_var"):
            value.abs_().add_(0.5)
    # Sizes of which neither three quarters nor a half are whole numbers.
    x = 50 * torch.randn(2, 3, 71, 91, generator=generator).double()
    with torch.inference_mode():
        found = net(x)
        state = net.state_dict()
        each = [plain_logits(state, x, blocks)]
        for smaller in ((53, 68), (35, 45)):
            logits = plain_logits(state, resized(x, smaller), blocks)
            each.append(resized(logits, each[0].shape[2:]))
    assert found.dtype == torch.float32 and found.shape == (2, 7, 10, 12)
    highest, which = torch.stack(each).max(0)
    torch.testing.assert_close(found.double(), highest, rtol=1e-5, atol=1e-6)
    assert which.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 17)])
def test_scores_are_never_larger_than_the_photo(size):
    net = DeepLabV2(classes=3, blocks=(1, 1, 1, 1), width=4).eval()
    with torch.inference_mode():
        height, width = net(torch.zeros(1, 3, *size)).shape[2:]
    assert height <= size[0] and width <= size[1]


# --------------------------------------------------------------------------------------------------
# Counting


def test_182_classes_are_counted_exactly():
    """Each of 256 labels once with each prediction: what is no class is ignored."""
    label, predicted = torch.meshgrid(torch.arange(256), torch.arange(182), indexing="ij")
    counts = confusion(predicted.byte(), label.byte(), 182)
    assert counts.dtype == torch.int64 and torch.equal(counts, torch.ones(182, 182).long())
    counts = confusion(torch.full((5, 7), 3).byte(), torch.full((5, 7), 181).byte(), 182)
    assert counts[181, 3] == 35 == counts.sum()


# --------------------------------------------------------------------------------------------------
# The whole measure, with a stand-in for the segmenter

SIZES = [(24, 40), (40, 24), (9, 7)]  # height and width of three labels, one below its photo's
NAMES = ["a", "b/c", "c"]


class Colours(nn.Module):
    """Scores of 182 classes by a fixed mix of the channels, at half the size; four are likely."""

    def forward(self, x):
        self.seen = x
        mix = torch.randn(182, 3, generator=torch.Generator().manual_seed(1)) / 20
        mix[[0, 5, 40, 181]] *= 20
        return torch.einsum("kc,nchw->nkhw", mix, F.avg_pool2d(x, 2, ceil_mode=True))


@pytest.fixture
def store(tmp_path):
    """Labels that hold few classes, no label (255), and numbers of no class."""
    rng = np.random.default_rng(2)
    paths = {name: tmp_path / f"{name.replace('/', '_')}.png" for name in NAMES}
    for path, size in zip(paths.values(), SIZES, strict=True):
        Image.fromarray(rng.choice(np.array([0, 5, 181, 182, 255], np.uint8), size)).save(path)
    return LabelStore(paths, read_classes)


@pytest.fixture
def photos():
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (3, 3, 16, 16), generator=generator, dtype=torch.uint8)


def plain_result(photos, labels):
    """(mIoU, accuracy) in percent, photo by photo with Pillow and NumPy."""
    predictions, truths = [], []
    for photo, label in zip(photos.numpy(), labels, strict=True):
        size = label.shape[::-1]
        rgb = Image.fromarray(photo.transpose(1, 2, 0)).resize(size, Image.Resampling.BICUBIC)
        bgr = np.asarray(rgb)[:, :, ::-1].astype(np.float32)
        x = (bgr - np.array([104.008, 116.669, 122.675], np.float32)).transpose(2, 0, 1)
        scores = Colours()(torch.from_numpy(x)[None])[0].numpy()
        scores = [Image.fromarray(s).resize(size, Image.Resampling.BILINEAR) for s in scores]
        known = label < 182
        predictions.append(np.stack([np.asarray(s) for s in scores]).argmax(0)[known])
        truths.append(label[known])
    predicted, truth = np.concatenate(predictions), np.concatenate(truths)
    ious = []
    for k in np.union1d(predicted, truth):
        both = (predicted == k) & (truth == k)
        ious.append(both.sum() / ((predicted == k) | (truth == k)).sum())
    return 100 * np.mean(ious), 100 * (predicted == truth).mean()


def test_scorer_equals_the_plain_protocol(store, photos):
    scorer = CocoScorer(Colours(), store, "cpu")
    scorer.update(photos[:2], NAMES[:2])
    scorer.update(photos[2:], NAMES[2:])
    found = scorer.result()
    expected = plain_result(photos, [store[name] for name in NAMES])
    assert 10 < expected[1] < 60
    np.testing.assert_allclose((found["mIoU"], found["accu"]), expected, rtol=1e-12)
    assert found["n"] == 3 and len(found["class_iou"]) == 182


def test_a_photo_reaches_the_segmenter_as_blue_green_and_red_around_zero(store):
    net = Colours()
    photo = torch.tensor([200, 100, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    CocoScorer(net, store, "cpu").update(photo, ["b/c"])
    assert net.seen.shape == (1, 3, 40, 24)
    expected = torch.tensor([0 - 104.008, 100 - 116.669, 200 - 122.675]).view(1, 3, 1, 1)
    torch.testing.assert_close(net.seen, expected.expand_as(net.seen))


def test_processes_that_share_photos_count_the_same(store, photos):
    whole = CocoScorer(Colours(), store, "cpu")
    whole.update(photos, NAMES)
    shares = fresh([whole, whole])
    shares[0].update(photos[::2], NAMES[::2])
    shares[1].update(photos[1:2], NAMES[1:2])
    states = [share.state() for share in shares]
    shares[0].merge(states)
    assert shares[0].result() == whole.result() and shares[0].n == 3


def test_labels_are_named_when_they_cannot_be_used(store, photos, tmp_path):
    scorer = CocoScorer(Colours(), store, "cpu")
    with pytest.raises(InputError, match=r"no pixel has a label in 0\.\.181.*`dataroot`"):
        scorer.result()
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match=r"c\.png: an image of mode RGB"):
        scorer.update(photos[:1], ["c"])


def test_large_numbers_are_no_class(tmp_path):
    numbers = np.array([[0, 181, 182], [255, 256, 40_000]])
    Image.fromarray(numbers.astype(np.uint16)).save(tmp_path / "a.png")
    assert read_classes(tmp_path / "a.png").tolist() == [[0, 181, 182], [255, 255, 255]]
