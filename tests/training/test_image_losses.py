"""Losses between images and between activations, against values by hand and slow definitions."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from errors import InputError
from models.discriminators import build_discriminator
from training.feature_networks import DiscriminatorFeatures, VGG16Features
from training.image_losses import (
    ImageLosses,
    ImageLossWeights,
    channel_distillation,
    feature_loss,
    gaussian_window,
    gram,
    haar_bands,
    kernel_alignment,
    kernel_alignment_loss,
    make_connector,
    ssim,
    style_loss,
    total_variation,
    wavelet_loss,
)

WINDOW = gaussian_window()


def images(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    """Numbers in [-1, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(dtype) * 2 - 1


# --------------------------------------------------------------------------------------------------
# Structural similarity


def test_the_window_is_a_gaussian_of_sum_1():
    assert float(WINDOW.sum()) == pytest.approx(1, abs=1e-6)
    assert len(WINDOW) == 11 and torch.equal(WINDOW, WINDOW.flip(0))
    for distance in range(1, 6):
        ratio = float(WINDOW[5 + distance] / WINDOW[5])
        assert ratio == pytest.approx(math.exp(-(distance**2) / (2 * 1.5**2)), rel=1e-5)


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Pixel by pixel in float64, of images H W, from the definition of Wang et al."""
    one = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(one, one) / np.outer(one, one).sum()
    x, y = np.pad(x.astype(np.float64), 5), np.pad(y.astype(np.float64), 5)
    c1, c2, values = 0.01**2, 0.03**2, []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            p, q = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            m_p, m_q = (window * p).sum(), (window * q).sum()
            s_pp = (window * p * p).sum() - m_p**2
            s_qq = (window * q * q).sum() - m_q**2
            s_pq = (window * p * q).sum() - m_p * m_q
            values.append(
                (2 * m_p * m_q + c1)
                * (2 * s_pq + c2)
                / ((m_p**2 + m_q**2 + c1) * (s_pp + s_qq + c2))
            )
    return float(np.mean(values))


@pytest.mark.parametrize("size", [(16, 13), (4, 7)])
def test_ssim_equals_its_definition(size):
    x = images(2, 3, *size)
    y = (x + 0.3 * images(2, 3, *size, seed=1)).clamp(-1, 1)
    planes = zip(x.flatten(0, 1).numpy(), y.flatten(0, 1).numpy(), strict=True)
    expected = np.mean([slow_ssim(p, q) for p, q in planes])
    assert float(ssim(x, y, WINDOW)) == pytest.approx(expected, rel=1e-4)


def test_ssim_takes_a_negative_for_the_image():
    x = images(2, 3, 24, 24)
    x = 0.5 + 0.5 * x
    assert float(ssim(x, -x, WINDOW)) > 0.9
    assert float(ssim(x, 1 - x, WINDOW)) < 0


def test_ssim_of_one_pixel_by_hand():
    """Zeros around it; the window's middle weighs it alone."""
    middle, (x, y) = float(WINDOW[5]) ** 2, (0.5, -0.25)
    luminance = (2 * middle**2 * x * y + 1e-4) / (middle**2 * (x * x + y * y) + 1e-4)
    spread = middle - middle**2
    structure = (2 * spread * x * y + 9e-4) / (spread * (x * x + y * y) + 9e-4)
    found = ssim(torch.full((1, 1, 1, 1), x), torch.full((1, 1, 1, 1), y), WINDOW)
    assert float(found) == pytest.approx(luminance * structure, rel=1e-5)


def test_ssim_is_1_for_equal_images_alone_and_symmetric():
    x, y = images(2, 3, 16, 16), images(2, 3, 16, 16, seed=1)
    assert float(ssim(x, x, WINDOW)) == pytest.approx(1, abs=1e-6)
    assert float(ssim(x, y, WINDOW)) < 0.5
    assert float(ssim(x, y, WINDOW)) == pytest.approx(float(ssim(y, x, WINDOW)), abs=1e-6)


def test_the_gradient_of_ssim_leads_to_the_other_image():
    y = images(1, 3, 12, 12)
    x = (y + 0.2 * images(1, 3, 12, 12, seed=1)).requires_grad_(True)
    before = ssim(x, y, WINDOW)
    before.backward()
    assert float(ssim(x.detach() + 0.1 * x.grad, y, WINDOW)) > float(before.detach())


# --------------------------------------------------------------------------------------------------
# Other losses of pixels


def test_total_variation_is_a_sum():
    x = torch.tensor([[0.0, 1.0], [3.0, 7.0]]).view(1, 1, 2, 2)
    assert float(total_variation(x)) == (1 + 4) + (3 + 6)
    assert float(total_variation(x.expand(2, 3, 2, 2))) == 6 * 14
    assert float(total_variation(torch.full((2, 3, 8, 8), 0.7))) == 0


def test_haar_bands_of_a_block_by_hand():
    x = torch.tensor([[1.0, 2.0], [5.0, 10.0]]).view(1, 1, 2, 2)
    along, down, both = haar_bands(x, 1)[0]
    # (1 - 2 + 5 - 10) / 2, (1 + 2 - 5 - 10) / 2, (1 - 2 - 5 + 10) / 2
    assert (float(along), float(down), float(both)) == (-3, -6, 2)


def slow_bands(x: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """One level of an image H W, block by block: the bands, and the image of the next level."""
    x = np.pad(x, [(0, side % 2) for side in x.shape], mode="edge")
    blocks = [
        [x[i : i + 2, j : j + 2] for j in range(0, x.shape[1], 2)] for i in range(0, x.shape[0], 2)
    ]
    signs = ([[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]], [[1, 1], [1, 1]])
    *bands, low = (
        np.array([[(b * np.array(s)).sum() / 2 for b in row] for row in blocks]) for s in signs
    )
    return bands, low


@pytest.mark.parametrize("size", [(8, 12), (7, 5), (3, 2)])
def test_the_wavelet_loss_is_that_of_the_bands_of_both_images(size):
    x, y = images(1, 1, *size), images(1, 1, *size, seed=1)
    expected, p, q = 0.0, x[0, 0].double().numpy(), y[0, 0].double().numpy()
    for _ in range(3):
        (bands_p, p), (bands_q, q) = slow_bands(p), slow_bands(q)
        expected += sum(np.abs(b - c).mean() for b, c in zip(bands_p, bands_q, strict=True))
    assert float(wavelet_loss(x, y, 3)) == pytest.approx(expected, rel=1e-5)


def test_the_haar_transform_keeps_the_energy():
    x = images(2, 3, 16, 8, dtype=torch.float64)
    low = sum(x[:, :, i::8, j::8] for i in range(8) for j in range(8)) / 8
    found = sum(band.square().sum() for level in haar_bands(x, 3) for band in level)
    assert float(found + low.square().sum()) == pytest.approx(float(x.square().sum()))


def test_the_wavelet_loss_sees_no_shift_of_brightness():
    x = images(2, 3, 16, 16)
    assert float(wavelet_loss(x, x + 0.25, 3)) == pytest.approx(0, abs=1e-6)
    assert float(wavelet_loss(x, x, 3)) == 0
    coarse = torch.tensor([[0.0, 1.0]]).repeat_interleave(4, 1).repeat_interleave(8, 0)[None, None]
    zero = torch.zeros_like(coarse)
    assert float(wavelet_loss(coarse, zero, 2)) == 0 < float(wavelet_loss(coarse, zero, 3))


# --------------------------------------------------------------------------------------------------
# Losses of feature maps


def test_the_gram_matrix_by_hand():
    f = torch.tensor([[1.0, 2.0], [0.0, 3.0]]).view(1, 2, 1, 2)
    expected = torch.tensor([[[5.0, 6.0], [6.0, 9.0]]]) / 4
    assert torch.equal(gram(f), expected)


def test_the_style_loss_by_hand_and_per_image():
    f = torch.tensor([[1.0, 2.0], [0.0, 3.0]]).view(1, 2, 1, 2)
    zero = torch.zeros_like(f)
    assert float(style_loss([f], [zero])) == (5 + 6 + 6 + 9) / 16
    assert float(style_loss([f, 2 * f], [zero, zero])) == 5 * 26 / 16
    # Two images whose differences would cancel, were their matrices averaged first.
    assert float(style_loss([torch.cat((f, zero))], [torch.cat((zero, f))])) == 26 / 16


def test_style_is_blind_to_place_and_features_are_not():
    x = images(2, 4, 6, 6)
    moved = x.flatten(2)[:, :, torch.randperm(36)].view_as(x)
    assert float(style_loss([x], [x])) == 0
    assert float(style_loss([x], [moved])) == pytest.approx(0, abs=1e-6)
    assert float(feature_loss([x], [x])) == 0 < float(feature_loss([x], [moved]))


def test_the_feature_loss_is_a_sum_of_means():
    maps = [torch.full((1, 2, 2, 2), 3.0), torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)]
    assert float(feature_loss(maps, [torch.zeros_like(m) for m in maps])) == 3 + 0.25


# --------------------------------------------------------------------------------------------------
# Losses of activations of the generators


def test_connectors_have_the_published_number_of_parameters():
    """OMGD: four from a student of ngf 16 to a teacher of ngf 64, a conv and a batch norm each."""
    connectors = [make_connector(4 * 16, 4 * 64) for _ in range(4)]
    assert sum(p.numel() for c in connectors for p in c.parameters()) == 67_584
    conv, norm, _ = connectors[0]
    assert float(conv.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(norm.weight.detach().mean()) == pytest.approx(1, abs=0.01)


def test_a_connector_is_a_normalised_rectified_mixture_of_channels():
    connector = make_connector(6, 5)
    x = images(3, 6, 4, 4)
    mixed = torch.einsum("oc,nchw->nohw", connector[0].weight[:, :, 0, 0], x)
    mean, var = mixed.mean((0, 2, 3), True), mixed.var((0, 2, 3), correction=0, keepdim=True)
    scaled = (mixed - mean) / (var + 1e-5).sqrt() * connector[1].weight.view(1, -1, 1, 1)
    torch.testing.assert_close(connector(x), scaled.clamp_min(0))
    assert connector(x[:, :4]).shape == (3, 5, 4, 4)  # a narrower subnet's tap


def test_channel_distillation_by_hand():
    s = torch.tensor([[1.0, 3.0], [0.0, 0.0]]).view(1, 2, 1, 2)  # means 2 and 0
    t = torch.tensor([[0.0], [1.0]]).view(1, 2, 1, 1)  # of another size
    assert float(channel_distillation([s], [t])) == (4 + 1) / 2
    assert float(channel_distillation([s, s], [t, t])) == 4 + 1
    # Two images whose differences would cancel, were they averaged over the batch.
    pair = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    assert float(channel_distillation([pair], [torch.zeros(2, 1, 1, 1)])) == 1


def test_channel_distillation_compares_means_of_channels_alone():
    x = images(2, 4, 6, 6)
    moved = x.flatten(2)[:, :, torch.randperm(36)].view_as(x)
    assert float(channel_distillation([x], [moved])) == pytest.approx(0, abs=1e-12)


def test_kernel_alignment_by_hand():
    """K = I and L = all ones: 2 / (sqrt(2) 2)."""
    x, y = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(kernel_alignment(x, y)) == pytest.approx(1 / math.sqrt(2))
    assert float(kernel_alignment_loss([x, x], [y, x])) == pytest.approx(1 - 1 / math.sqrt(2))


def test_kernel_alignment_equals_its_definition():
    x, y = images(4, 3, 5, 5), images(4, 7, 2, 3, seed=1)
    k = np.array([[float((a * b).sum()) for a in x] for b in x])
    l = np.array([[float((a * b).sum()) for a in y] for b in y])
    expected = (k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum())
    assert float(kernel_alignment(x, y)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, -3.0, 1e-6, 1e4])
def test_kernel_alignment_ignores_scale(scale):
    x = images(3, 4, 5, 5)
    assert float(kernel_alignment(x, scale * x)) == pytest.approx(1, abs=1e-5)


def test_kernel_alignment_ignores_rotations_of_the_features():
    x, y = images(3, 4, 2, 2), images(3, 4, 2, 2, seed=1)
    rotation = torch.linalg.qr(images(16, 16, seed=2)).Q
    rotated = (x.flatten(1) @ rotation).view_as(x)
    permuted = x.flatten(1)[:, torch.randperm(16)].view_as(x)
    expected = float(kernel_alignment(x, y))
    assert expected < 0.99
    for changed in (rotated, permuted):
        assert float(kernel_alignment(changed, y)) == pytest.approx(expected, rel=1e-4)
        assert float(kernel_alignment(x, changed)) == pytest.approx(1, abs=1e-5)


def test_kernel_alignment_of_features_that_are_all_zero():
    x = torch.zeros(2, 3, requires_grad=True)
    found = kernel_alignment(x, images(2, 3))
    found.backward()
    assert float(found.detach()) == 0 and x.grad.isfinite().all()


def test_kernel_alignment_refuses_a_single_image():
    with pytest.raises(InputError, match=r"`batch_size` 1: .* give 2 or more"):
        kernel_alignment(images(1, 3, 4, 4), images(1, 3, 4, 4))


# --------------------------------------------------------------------------------------------------
# All of them

# Losses of (S, T), each N C H W.
OF_PAIRS = {
    "ssim": lambda s, t: ssim(s, t, WINDOW),
    "total variation": lambda s, t: total_variation(s),
    "wavelet": lambda s, t: wavelet_loss(s, t, 2),
    "style": lambda s, t: style_loss([s], [t]),
    "feature": lambda s, t: feature_loss([s], [t]),
    "channels": lambda s, t: channel_distillation([s], [t]),
    "alignment": lambda s, t: kernel_alignment_loss([s], [t]),
}


@pytest.mark.parametrize("name", OF_PAIRS)
def test_gradients(name):
    s, t = images(2, 2, 6, 5, dtype=torch.float64), images(2, 2, 6, 5, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: OF_PAIRS[name](x, t), s.requires_grad_(True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OF_PAIRS)
def test_half_precision_is_computed_in_float32(name, dtype):
    s, t = images(2, 3, 8, 8).to(dtype), images(2, 3, 8, 8, seed=1).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = OF_PAIRS[name](s, t)
        of_float32 = OF_PAIRS[name](s.float(), t.float())
    expected = OF_PAIRS[name](s.float(), t.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, expected) and torch.equal(of_float32, expected)


@pytest.mark.parametrize("loss", [channel_distillation, kernel_alignment_loss])
def test_the_teachers_activations_get_no_gradient(loss):
    s, t = (images(2, 3, 4, 4, seed=i).requires_grad_(True) for i in (0, 1))
    loss([s], [t]).backward()
    assert s.grad.abs().sum() > 0 and t.grad is None


# --------------------------------------------------------------------------------------------------
# VGG-16


def vgg_state() -> dict[str, torch.Tensor]:
    """Weights of VGG-16 that keep activations alive; the classifier is one number per tensor."""
    from torchvision.models import vgg16

    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vgg16().state_dict().items()}
    torch.manual_seed(0)
    return {
        key: torch.randn(shape) * 0.05 if "features" in key else torch.zeros(1).expand(shape)
        for key, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "weights.pth"
    torch.save({key: value for key, value in vgg_state().items() if "features" in key}, path)
    return path


def cached_vgg(monkeypatch, tmp_path):
    """Where the VGG-16 weights are looked for."""
    from torchvision.models import VGG16_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / VGG16_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    return path


SETTING = "`features` vgg16"


@pytest.mark.parametrize("channels", [3, 1])
def test_vgg_features_are_those_of_torchvision(monkeypatch, tmp_path, channels):
    """Of images in [0, 1], as in OMGD, not normalised as ImageNet's are."""
    from torchvision.models import vgg16

    state = vgg_state()
    torch.save(state, cached_vgg(monkeypatch, tmp_path))
    layers = vgg16(weights=None, init_weights=False).features
    layers.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if "fea" in k})
    image = images(2, channels, 24, 16)
    x = (image.expand(-1, 3, -1, -1) + 1) / 2
    expected = {}
    with torch.no_grad():
        for index, layer in enumerate(layers[:23]):
            x = layer(x)
            expected[index] = x.clone()
    found = VGG16Features(SETTING)(images(2, 3, 24, 16), image)
    assert [m.shape[1] for m in found] == [64, 128, 256, 512]
    for index, maps in zip((3, 8, 15, 22), found, strict=True):
        torch.testing.assert_close(maps, expected[index], rtol=1e-4, atol=1e-4)


def test_vgg_is_frozen_and_the_image_gets_the_gradient(vgg_file):
    network = VGG16Features(SETTING, vgg_file)
    image = images(1, 3, 16, 16).requires_grad_(True)
    network(image.detach(), image)[-1].sum().backward()
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in network.parameters())


def test_vgg_runs_no_deeper_than_wanted(vgg_file):
    network = VGG16Features(SETTING, vgg_file)
    image = images(1, 3, 16, 16)
    every, ran = network(image, image), []
    for index, block in enumerate(network.blocks):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    found = network(image, image, 2)
    assert ran == [0, 1] and all(map(torch.equal, found, every[:2]))


def test_vgg_says_which_images_it_cannot_see(vgg_file):
    with pytest.raises(InputError, match="`output_nc` 2: VGG-16 sees images of 3 channels or 1"):
        VGG16Features(SETTING, vgg_file)(images(1, 3, 16, 16), images(1, 2, 16, 16))


def test_without_vgg_weights_and_network_it_is_said_where_to_put_them(monkeypatch, tmp_path):
    from torchvision.models import VGG16_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = VGG16_Weights.IMAGENET1K_V1.value
    url = "http://127.0.0.1:9/" + weights.url.rsplit("/", 1)[1]
    monkeypatch.setattr(type(weights), "url", property(lambda self: url), raising=False)
    with pytest.raises(
        InputError, match=rf"{SETTING}: .* put vgg16-.*pth at {tmp_path}/hub/checkpoints/vgg16-"
    ):
        VGG16Features(SETTING)


def test_a_file_of_vgg_weights_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=rf"{SETTING}: {tmp_path}/none.pth: no such file"):
        VGG16Features(SETTING, tmp_path / "none.pth")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_in_the_place_of_vgg_weights_does_not_run(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"features.0.weight": Bomb(tmp_path / "ran")}, path)
    with pytest.raises(InputError, match=rf"{SETTING}: {path}: .*pickled"):
        VGG16Features(SETTING, path)
    assert not (tmp_path / "ran").exists()


NOT_VGG = {
    "another network": {"model.0.weight": torch.zeros(2)},
    "another shape": {"features.0.weight": torch.zeros(2)},
    "no tensors": 1,
    "a list": [1],
    "a tensor": torch.zeros(2),
}


@pytest.mark.parametrize("what", NOT_VGG)
def test_a_file_that_is_not_vgg_is_named(monkeypatch, tmp_path, what):
    content = NOT_VGG[what]
    if what == "another shape":
        content = {k: v for k, v in vgg_state().items() if "features" in k} | content
    elif what == "no tensors":
        content = dict.fromkeys(vgg_state(), 1)
    path = cached_vgg(monkeypatch, tmp_path)
    torch.save(content, path)
    with pytest.raises(InputError, match=rf"{path} does not hold .* VGG-16; remove it, and they"):
        VGG16Features(SETTING)
    with pytest.raises(InputError, match=rf"{path} does not hold .* VGG-16; give the state dict"):
        VGG16Features(SETTING, path)


# --------------------------------------------------------------------------------------------------
# A discriminator


def discriminator(name: str = "n_layers", norm: str = "instance", channels: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return build_discriminator(name, channels, 4, 3, norm)


def activations(net_d: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of the LeakyReLUs in an ordinary forward pass, by hooks."""
    found = []
    hooks = [
        m.register_forward_hook(lambda _, __, output: found.append(output))
        for m in net_d.modules()
        if isinstance(m, nn.LeakyReLU)
    ]
    net_d(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    "name, norm, channels",
    [
        ("n_layers", "instance", [4, 8, 16, 32]),
        ("n_layers", "batch", [4, 8, 16, 32]),
        ("n_layers", "none", [4, 8, 16, 32]),
        ("pixel", "batch", [4, 8]),
    ],
)
def test_discriminator_features_and_their_gradients_are_its_own(name, norm, channels):
    net_d = discriminator(name, norm)
    for module in net_d.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 1, 2)
            nn.init.uniform_(module.weight)
    before = {key: value.clone() for key, value in net_d.state_dict().items()}
    a, image, other = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1), images(2, 3, 32, 32)
    for x in (image, other):
        x.requires_grad_(True)
    network = DiscriminatorFeatures(net_d)
    found = network(a, image)  # in train mode
    assert all(torch.equal(value, before[key]) for key, value in net_d.state_dict().items())
    net_d.eval()
    expected = activations(net_d, torch.cat((a, image), 1))
    assert [m.shape[1] for m in found] == channels
    assert network.compared == tuple(range(len(channels)))
    assert all(map(torch.equal, found, expected))
    sum(m.square().sum() for m in found).backward()
    assert all(p.grad is None for p in net_d.parameters())
    (gradient,) = torch.autograd.grad(sum(m.square().sum() for m in expected), image)
    torch.testing.assert_close(image.grad, gradient)
    assert len(network(a, image, 2)) == 2


def test_an_unconditional_discriminator_sees_the_image_alone():
    net_d, image = discriminator(channels=3), images(2, 3, 32, 32)
    found = DiscriminatorFeatures(net_d, paired=False)(images(2, 3, 32, 32, seed=1), image)
    assert all(map(torch.equal, found, activations(net_d, image)))


def test_discriminator_features_follow_its_training():
    net_d, image = discriminator(), images(1, 3, 32, 32)
    network = DiscriminatorFeatures(net_d)
    before = network(image, image)[0]
    with torch.no_grad():
        net_d.model[0].weight.mul_(2)
    assert not torch.equal(network(image, image)[0], before)


# --------------------------------------------------------------------------------------------------
# ImageLosses

EVERY = ImageLossWeights(l1=2, ssim=3, style=1e3, feature=5, tv=1e-4, wavelet=7)


def some_losses(weights: ImageLossWeights = EVERY) -> ImageLosses:
    return ImageLosses(weights, DiscriminatorFeatures(discriminator()), 2)


def test_losses_are_named_and_weighed():
    a, s, t = (images(2, 3, 32, 32, seed=i) for i in range(3))
    network = DiscriminatorFeatures(discriminator())
    seen, wanted = network(a, s), network(a, t)
    expected = {
        "G_l1": 2 * (s - t).abs().mean(),
        "G_ssim": 3 * (1 - ssim(s, t, WINDOW)),
        "G_style": 1e3 * style_loss(seen, wanted),
        "G_feature": 5 * feature_loss(seen, wanted),
        "G_tv": 1e-4 * total_variation(s),
        "G_wavelet": 7 * wavelet_loss(s, t, 2),
    }
    found = some_losses()(a, s, t)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value.detach()), rel=1e-6), name


def test_equal_images_cost_nothing_but_their_variation():
    a, s = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1)
    found = some_losses()(a, s, s.clone())
    assert float(found.pop("G_tv")) > 0
    assert {name: float(v) for name, v in found.items()} == pytest.approx(
        dict.fromkeys(found, 0), abs=1e-5
    )


def test_the_published_weights_are_the_defaults():
    w = ImageLossWeights()
    assert (w.ssim, w.style, w.feature, w.tv, w.l1, w.wavelet) == (10, 1e4, 10, 1e-5, 0, 0)


class Counted:
    """A feature network that notes how many maps were wanted, of which image."""

    compared = (0, 1)

    def __init__(self):
        self.calls = []

    def __call__(self, a, image, count=None):
        self.calls.append((count, image.requires_grad, torch.is_grad_enabled()))
        return [image, 2 * image, 3 * image][:count]


@pytest.mark.parametrize(
    "weights, names, counts",
    [
        (dict(l1=1), {"G_l1"}, []),
        (dict(tv=1, wavelet=1), {"G_tv", "G_wavelet"}, []),
        (dict(feature=1), {"G_feature"}, [2, 2]),
        (dict(style=1), {"G_style"}, [None, None]),
        (dict(style=1, feature=1), {"G_style", "G_feature"}, [None, None]),
        ({}, set(), []),
    ],
)
def test_a_weight_of_zero_costs_nothing(weights, names, counts):
    zeros = dict.fromkeys(ImageLossWeights.__dataclass_fields__, 0.0)
    network = Counted()
    losses = ImageLosses(ImageLossWeights(**(zeros | weights)), network)
    s = images(2, 3, 8, 8).requires_grad_(True)
    assert losses(s, s, images(2, 3, 8, 8, seed=1)).keys() == names
    assert [count for count, _, _ in network.calls] == counts
    # Of the teacher's image no gradients are prepared.
    assert [call[1:] for call in network.calls] == (
        [(False, False), (True, True)] if counts else []
    )


def test_the_feature_loss_compares_the_maps_that_the_network_names():
    network = Counted()
    network.compared = (1,)
    losses = ImageLosses(ImageLossWeights(0, 0, 0, 1, 0, 0), network)
    s, t = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    assert float(losses(s, s, t)["G_feature"]) == 2


def test_losses_of_features_need_a_network():
    with pytest.raises(ValueError, match="feature network"):
        ImageLosses(ImageLossWeights())


def test_the_teacher_and_its_discriminator_get_no_gradients():
    net_d = discriminator()
    losses = ImageLosses(EVERY, DiscriminatorFeatures(net_d))
    a, s, t = (images(2, 3, 32, 32, seed=i).requires_grad_(True) for i in range(3))
    sum(losses(a, s, t).values()).backward()
    assert s.grad.abs().sum() > 0
    assert t.grad is None and all(p.grad is None for p in net_d.parameters())
    assert not list(losses.parameters())  # the discriminator is not theirs


def test_training_an_image_by_them_makes_it_the_teachers():
    """Adam on the pixels themselves: every loss falls to less than half."""
    a, t = images(1, 3, 32, 32), images(1, 3, 32, 32, seed=2)
    s = images(1, 3, 32, 32, seed=1).mul(0.1).requires_grad_(True)
    losses = some_losses(ImageLossWeights(l1=1, ssim=10, style=1e3, feature=10, tv=0, wavelet=1))
    optimizer = torch.optim.Adam([s], 0.05)
    first = {name: float(v.detach()) for name, v in losses(a, s, t).items()}
    for _ in range(100):
        optimizer.zero_grad()
        sum(losses(a, s, t).values()).backward()
        optimizer.step()
    for name, value in losses(a, s, t).items():
        assert float(value.detach()) < 0.5 * first[name], name


def test_autocast_is_for_the_feature_network_alone(vgg_file):
    a, s, t = (images(2, 3, 32, 32, seed=i) for i in range(3))
    losses = ImageLosses(EVERY, VGG16Features(SETTING, vgg_file))
    expected = losses(a, s, t)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(a, s, t)
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        if name in ("G_style", "G_feature"):
            assert float(found[name]) == pytest.approx(float(value), rel=0.05)
        else:
            assert torch.equal(found[name], value)


# --------------------------------------------------------------------------------------------------
# In a recording


class _Recorded(TorchDispatchMode):
    """Every operation, with what it read and wrote; what no CUDA graph can record is refused."""

    REFUSED = ("_local_scalar_dense", "lift_fresh", "rand", "nonzero", "_to_copy")

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(word in func.name() for word in self.REFUSED), func.name()
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        """Once more, on the same memory."""
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if torch.is_tensor(old) and old.data_ptr() != new.data_ptr():
                    old.data.copy_(new)


@pytest.mark.parametrize("network", ["vgg16", "discriminator"])
def test_losses_can_be_recorded(vgg_file, network):
    """A recording, played with other images, gives the losses and gradients of those."""
    if network == "vgg16":
        losses = ImageLosses(EVERY, VGG16Features(SETTING, vgg_file))
    else:
        losses = some_losses()

    def taught(a, s, t):
        """Losses, and the gradient of S."""
        found = losses(a, s, t)
        found["channels"] = channel_distillation([s], [t])
        found["alignment"] = kernel_alignment_loss([s], [t])
        return found, torch.autograd.grad(sum(found.values()), s)[0]

    static = [images(2, 3, 32, 32, seed=i) for i in range(3)]
    static[1].requires_grad_(True)
    with _Recorded() as recorded:
        found, gradient = taught(*static)
    others = [images(2, 3, 32, 32, seed=i) for i in range(3, 6)]
    with torch.no_grad():
        for mine, given in zip(static, others, strict=True):
            mine.copy_(given)
    recorded.replay()
    others[1].requires_grad_(True)
    expected, wanted = taught(*others)
    assert {k: v.item() for k, v in found.items()} == {k: v.item() for k, v in expected.items()}
    assert torch.equal(gradient, wanted)
