"""Losses against the reference, and against their definitions where the reference has none."""

import pytest
import torch
from golden_values import VALUES, golden_input
from torch import nn

from errors import InputError
from training.losses import (
    GAN_MODES,
    PerceptualLoss,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    make_reconstruction_loss,
)


@pytest.mark.parametrize("mode", GAN_MODES)
def test_adversarial_losses_equal_the_reference(mode):
    expected, scores = VALUES["gan_loss"]["values"][mode], 2 * golden_input(2, 1, 6, 6)
    fake, _ = discriminator_loss(mode, scores, -scores)
    _, real = discriminator_loss(mode, -scores, scores)
    found = {"D_real": real, "D_fake": fake, "G": generator_loss(mode, scores)}
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("mode", GAN_MODES)
def test_gradients_point_the_right_way(mode):
    """The discriminator lowers fakes and raises reals; the generator raises its fakes."""
    fake = torch.zeros(4, requires_grad=True)
    real = torch.zeros(4, requires_grad=True)
    sum(discriminator_loss(mode, fake, real)).backward()
    assert (fake.grad >= 0).all() and (real.grad < 0).all()
    if mode != "lsgan":  # whose fakes aim at the 0 they already are
        assert (fake.grad > 0).all()
    scores = torch.zeros(4, requires_grad=True)
    generator_loss(mode, scores).backward()
    assert (scores.grad < 0).all()


def test_scores_far_off_stay_finite():
    scores = torch.tensor([-1e4, 1e4])
    for mode in GAN_MODES:
        values = (*discriminator_loss(mode, scores, scores), generator_loss(mode, scores))
        assert all(v.isfinite() for v in values)


def test_the_gradient_penalty_of_a_linear_critic_is_known():
    """D(x) = w . x has gradient w everywhere: 10 (|w| - 1)^2."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.full((3, 4, 4), 0.5))

        def forward(self, x):
            return (x * self.w).flatten(1).sum(1)

    critic = Linear()
    penalty = gradient_penalty(critic, torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4))
    assert float(penalty.detach()) == pytest.approx(10 * (48**0.5 / 2 - 1) ** 2, rel=1e-5)
    penalty.backward()
    assert (critic.w.grad > 0).all()


def test_the_gradient_penalty_lies_between_real_and_fake():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return (x**2).sum()

    gradient_penalty(critic, torch.zeros(64, 1, 2, 2), torch.ones(64, 1, 2, 2))
    mix = seen[0].flatten(1)
    assert (
        (mix == mix[:, :1]).all() and mix.min() >= 0 and mix.max() <= 1 and mix[:, 0].std() > 0.15
    )


@pytest.mark.parametrize(
    "kind, expected", [("l1", 1.75), ("l2", 4.625), ("smooth_l1", (2.5 + 0.125 + 0 + 2.5) / 4)]
)
def test_reconstruction_losses(kind, expected):
    x, y = torch.tensor([[3.0, 0.5, 0.0, -3.5]]), torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    if kind == "smooth_l1":
        y = torch.tensor([[0.0, 0.0, 0.0, -0.5]])
        expected = (2.5 + 0.125 + 0 + 2.5) / 4
    elif kind == "l2":
        expected = (9 + 0.25 + 12.25) / 4
    assert float(make_reconstruction_loss(kind, torch.device("cpu"))(x, y)) == pytest.approx(
        expected
    )


def test_without_vgg_weights_and_network_it_is_said_where_to_put_them(monkeypatch, tmp_path):
    from torchvision.models import VGG19_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = VGG19_Weights.IMAGENET1K_V1.value
    url = "http://127.0.0.1:9/" + weights.url.rsplit("/", 1)[1]
    monkeypatch.setattr(type(weights), "url", property(lambda self: url), raising=False)
    with pytest.raises(
        InputError,
        match=rf"`recon_loss_type` vgg: .* put vgg19-.*pth at {tmp_path}/hub/checkpoints/vgg19-",
    ):
        PerceptualLoss()


def vgg_cache(monkeypatch, tmp_path):
    """Where the VGG-19 weights are looked for."""
    from torchvision.models import VGG19_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / VGG19_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    return path


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_in_the_place_of_vgg_weights_does_not_run(monkeypatch, tmp_path, zipped):
    path = vgg_cache(monkeypatch, tmp_path)
    torch.save(
        {"features.0.weight": Bomb(tmp_path / "ran")}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(InputError, match=rf"`recon_loss_type` vgg: {path}: "):
        PerceptualLoss()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"features.0.weight": torch.zeros(2)}, [1], torch.zeros(2)])
def test_a_file_that_is_not_vgg_is_named(monkeypatch, tmp_path, content):
    path = vgg_cache(monkeypatch, tmp_path)
    torch.save(content, path)
    with pytest.raises(InputError, match=rf"{path} does not hold the weights of VGG-19; remove it"):
        PerceptualLoss()


def test_the_perceptual_loss_is_the_weighted_l1_of_activations(monkeypatch, tmp_path):
    from torchvision.models import vgg19

    path = vgg_cache(monkeypatch, tmp_path)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vgg19().state_dict().items()}
    # One number per tensor of the classifier: the file stays small.
    state = {
        key: torch.randn(shape) * 0.05
        if key.startswith("features")
        else torch.zeros(1).expand(shape)
        for key, shape in shapes.items()
    }
    torch.save(state, path)
    x, y = torch.rand(2, 2, 3, 32, 32).mul(2).sub(1)
    a, b = (
        ((t + 1) / 2 - torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        for t in (x, y)
    )
    expected, net = 0.0, vgg19(weights=None).features
    net.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if "feat" in k})
    with torch.no_grad():
        for index, layer in enumerate(net[:30]):
            a, b = layer(a.clone()), layer(b.clone())
            expected += PerceptualLoss.LAYERS.get(index, 0) * float((a - b).abs().mean())
        loss = PerceptualLoss()
        assert float(loss(x, y)) == pytest.approx(expected, rel=1e-4)
        with pytest.raises(InputError, match="`output_nc` 4: VGG-19 sees images of 3 channels"):
            loss(torch.zeros(1, 4, 32, 32), torch.zeros(1, 4, 32, 32))
