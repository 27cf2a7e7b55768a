"""The feature network against pytorch-fid's, without the published weights: equal for equal random
ones."""

import pytest
import torch
from pytorch_fid import inception as reference
from torch import nn

from errors import InputError
from metrics.inception import WEIGHTS_FILE, load_inception


def random_images(seed: int, n: int, channels: int = 3, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def randomise(net: nn.Module) -> None:
    """Weights that keep signals alive, and batch norms that are not the identity, or folding them
    would go untested."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)


@pytest.fixture(scope="module")
def full_network():
    """pytorch-fid's Inception with random weights: ``reference.InceptionV3`` is made of it
    below."""
    with pytest.MonkeyPatch.context() as patch:
        built = []
        make = reference._inception_v3
        patch.setattr(
            reference, "_inception_v3", lambda *a, **k: built.append(make(*a, **k)) or built[-1]
        )
        patch.setattr(reference, "load_state_dict_from_url", lambda *a, **k: built[-1].state_dict())
        net = reference.fid_inception_v3()
    randomise(net)
    return net.eval()


@pytest.fixture(scope="module")
def weights(full_network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(full_network.state_dict(), path)
    return path


# --------------------------------------------------------------------------------------------------
# Features


@pytest.mark.parametrize("dims, block", [(64, 0), (192, 1), (768, 2), (2048, 3)])
@torch.inference_mode()
def test_equals_pytorch_fid(monkeypatch, full_network, weights, dims, block):
    monkeypatch.setattr(reference, "fid_inception_v3", lambda: full_network)
    expected_net = reference.InceptionV3([block]).eval()
    images = random_images(1, 2)
    expected = expected_net(images.float() / 255)[0].mean(dim=(2, 3))
    net = load_inception(dims, str(weights))
    found = net(images)
    assert found.shape == (2, dims) and found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert net.label == f"Inception, {dims} features"


@torch.inference_mode()
def test_the_features_of_an_image_do_not_depend_on_its_batch():
    net = load_inception(64, features="random")
    images = random_images(2, 3)
    alone = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(net(images), alone, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_grey_images_are_read_as_rgb():
    net = load_inception(64, features="random")
    grey = random_images(3, 2, channels=1)
    assert torch.equal(net(grey), net(grey.repeat(1, 3, 1, 1)))


def test_images_are_not_changed():
    net, images = load_inception(64, features="random"), random_images(4, 1, size=299)
    before = images.clone()
    net(images)
    assert torch.equal(images, before)


# --------------------------------------------------------------------------------------------------
# Random features


@torch.inference_mode()
def test_random_features_are_the_same_every_time():
    images = random_images(5, 2)
    torch.manual_seed(1)
    first = load_inception(64, features="random")
    torch.manual_seed(2)
    again = load_inception(64, features="random")
    assert torch.equal(first(images), again(images))
    assert first(images).std() > 0.01
    assert first.label == "random features, 64"


def test_loading_leaves_random_numbers_alone(weights):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_inception(64, features="random")
    load_inception(64, str(weights))
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_trained():
    assert not any(p.requires_grad for p in load_inception(64, features="random").parameters())


# --------------------------------------------------------------------------------------------------
# Weights


@torch.inference_mode()
def test_a_file_of_the_first_blocks_serves_their_features(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    partial = tmp_path / "partial.pth"
    torch.save({k: v for k, v in state.items() if k.startswith(("Conv2d_1", "Conv2d_2"))}, partial)
    images = random_images(6, 1)
    assert torch.equal(
        load_inception(64, str(partial))(images), load_inception(64, str(weights))(images)
    )
    # The origin is that of the weights which are used.
    origin = load_inception(64, str(weights)).origin
    assert load_inception(64, str(partial)).origin == origin != ""
    torch.save(
        {k: v + 1 for k, v in state.items() if k.startswith(("Conv2d_1", "Conv2d_2"))}, partial
    )
    assert load_inception(64, str(partial)).origin != origin
    assert load_inception(64, features="random").origin == ""
    with pytest.raises(
        InputError,
        match=rf"`fid_weights` {partial}: holds no weights for Conv2d_3b_1x1.*`fid_dims`",
    ):
        load_inception(192, str(partial))


@pytest.mark.parametrize(
    "content", ["another network", "a list", "text", "wrong shape", "truncated"]
)
def test_other_files_are_named(weights, tmp_path, content):
    path = tmp_path / "weights.pth"
    if content == "another network":
        torch.save(nn.Conv2d(3, 3, 1).state_dict(), path)
    elif content == "a list":
        torch.save([1, 2], path)
    elif content == "text":
        path.write_text("weights")
    elif content == "truncated":
        path.write_bytes(weights.read_bytes()[:100_000])
    else:
        state = {
            k: v
            for k, v in torch.load(weights, weights_only=True).items()
            if k.startswith("Conv2d_")
        }
        torch.save(state | {"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 1, 3, 3)}, path)
    with pytest.raises(InputError, match=f"`fid_weights` {path}: "):
        load_inception(64, str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"`fid_weights` .*none\.pth: no such file"):
        load_inception(64, str(tmp_path / "none.pth"))


def test_without_weights_and_network_it_is_said_where_to_put_them(monkeypatch, tmp_path):
    monkeypatch.setenv("FID_WEIGHTS_URL", "http://127.0.0.1:9/x")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError) as error:
        load_inception(64)
    place = tmp_path / "hub" / "checkpoints" / WEIGHTS_FILE
    for part in (f"put {WEIGHTS_FILE} at {place}", "`fid_weights`", "`fid_features` random"):
        assert part in str(error.value)
    assert not place.exists()


@torch.inference_mode()
def test_weights_are_found_in_the_usual_cache(monkeypatch, tmp_path, weights):
    monkeypatch.setenv("FID_WEIGHTS_URL", "http://127.0.0.1:9/x")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / WEIGHTS_FILE
    place.parent.mkdir(parents=True)
    place.symlink_to(weights)
    images = random_images(7, 1)
    assert torch.equal(load_inception(64)(images), load_inception(64, str(weights))(images))


def test_building_leaves_the_random_numbers_of_every_device_alone(monkeypatch, recwarn):
    """Saving the state of all GPUs takes a paragraph of warning where there are two or more."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "_fork_rng_warned_already", False)
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    load_inception(64, features="random")
    assert torch.equal(torch.get_rng_state(), before)
    assert not seeded and not [w for w in recwarn if "CUDA" in str(w.message)]


@pytest.mark.parametrize("channels, seen", [(2, 1), (4, 3), (5, 3)])
def test_of_other_channels_it_sees_what_pictures_show(channels, seen):
    net, images = load_inception(64, features="random"), random_images(0, 2, channels)
    assert torch.equal(net(images), net(images[:, :seen]))
