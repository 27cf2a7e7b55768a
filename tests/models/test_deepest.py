"""The deeper teacher: its keys, what it computes, and that it passes wherever generators do."""

import pytest
import torch
import torch.nn.functional as F

from deploy.fused import FusedGenerator
from deploy.rewrite import rewrite
from errors import InputError
from models.cost import CONVENTIONS, config_cost
from models.deepest import DeepestResnetGenerator
from models.generators import GeneratorSpec, as_supernet, infer_spec, resolve_spec
from models.layers import init_weights
from models.weights import load_generator, load_supernet, save_network

N = 3
SPEC = GeneratorSpec("mobile_deepest_resnet", N)
# OMGD's layout, as (index, out channels, in channels, kernel) of the convolutions of ``model``;
# of the transposed ones in and out are swapped. Then its two kinds of blocks, by width.
CONVS = [(1, N, 3, 7), (4, 2 * N, N, 3), (8, 2 * N, 2 * N, 3), (11, 4 * N, 2 * N, 3)]
CONVS += [(15, 4 * N, 4 * N, 3), (29, 4 * N, 2 * N, 3), (33, 2 * N, 2 * N, 3)]
CONVS += [(36, 2 * N, N, 3), (40, N, N, 3), (44, 3, N, 7)]
EXPANSIONS = {7: 2 * N, 14: 4 * N, 22: 4 * N, 23: 4 * N, 32: 2 * N, 39: N}
MOBILE = (18, 19, 20, 21, 24, 25, 26, 27, 28)


def make_net(gain: float = 0.1, **kwargs) -> DeepestResnetGenerator:
    torch.manual_seed(1)
    return init_weights(DeepestResnetGenerator(N, **kwargs), gain=gain).eval()


def expected_shapes() -> dict[str, tuple[int, ...]]:
    shapes = {}
    for index, first, second, size in CONVS:
        transposed = index in (29, 36)
        shapes[f"model.{index}.weight"] = (first, second, size, size)
        shapes[f"model.{index}.bias"] = (second if transposed else first,)
    for index, d in EXPANSIONS.items():
        for place, out, channels, size in (
            (1, 4 * d, d, 1),
            (4, 4 * d, 4 * d, 3),
            (7, d, 4 * d, 1),
            (12, d, d, 3),
        ):
            shapes[f"model.{index}.conv_block.{place}.weight"] = (out, channels, size, size)
            shapes[f"model.{index}.conv_block.{place}.bias"] = (out,)
    for index in MOBILE:
        for place in (1, 6):
            conv = f"model.{index}.conv_block.{place}.conv"
            shapes |= {f"{conv}.0.weight": (4 * N, 1, 3, 3), f"{conv}.0.bias": (4 * N,)}
            shapes |= {f"{conv}.2.weight": (4 * N, 4 * N, 1, 1), f"{conv}.2.bias": (4 * N,)}
    return shapes


def test_its_keys_are_those_of_omgd():
    found = {key: tuple(value.shape) for key, value in make_net().state_dict().items()}
    assert found == expected_shapes()


def by_hand(state: dict, x: torch.Tensor) -> torch.Tensor:
    """The same from the weights alone."""

    def conv(name, x, **kwargs):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **kwargs)

    def norm_relu(x):
        return F.relu(F.instance_norm(x))

    def pad(x, border=1):
        return F.pad(x, (border,) * 4, mode="reflect")

    def separable(name, x):
        x = F.instance_norm(conv(f"{name}.conv.0", pad(x), groups=x.shape[1]))
        return conv(f"{name}.conv.2", x)

    def block(index, x):
        name = f"model.{index}.conv_block"
        if index in MOBILE:
            y = separable(f"{name}.6", norm_relu(separable(f"{name}.1", x)))
        else:
            y = norm_relu(conv(f"{name}.1", pad(x)))
            y = norm_relu(conv(f"{name}.4", y))
            y = norm_relu(conv(f"{name}.7", y))
            y = conv(f"{name}.12", pad(y))
        return x + F.instance_norm(y)

    x = norm_relu(conv("model.1", pad(x.clamp(-1, 1), 3)))
    for first, expansion, second in ((4, 7, 8), (11, 14, 15)):
        x = norm_relu(conv(f"model.{first}", x, stride=2, padding=1))
        x = norm_relu(conv(f"model.{second}", block(expansion, x), padding=1))
    for index in range(18, 29):
        x = block(index, x)
    for first, expansion, second in ((29, 32, 33), (36, 39, 40)):
        weights = state[f"model.{first}.weight"], state[f"model.{first}.bias"]
        x = norm_relu(F.conv_transpose2d(x, *weights, stride=2, padding=1, output_padding=1))
        x = norm_relu(conv(f"model.{second}", block(expansion, x), padding=1))
    return conv("model.44", pad(x, 3)).tanh()


def test_it_computes_what_its_layers_say():
    net, x = make_net().double(), 2 * torch.randn(2, 3, 16, 20, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), by_hand(net.state_dict(), x))


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_every_norm_builds(norm):
    net = make_net(norm=norm, dropout_rate=0.5)
    assert net.train()(torch.randn(2, 3, 8, 8)).isfinite().all()
    assert sum(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in net.modules()) == 15
    convs = [m for m in net.model[7].conv_block if isinstance(m, torch.nn.Conv2d)]
    assert [m.bias is not None for m in convs] == [norm != "batch"] * 4


# --------------------------------------------------------------------------------------------------
# Among the other generators


def test_its_checkpoint_is_recognised(tmp_path):
    net = make_net()
    state = net.state_dict()
    assert infer_spec(state) == SPEC
    torch.save(dict(state), tmp_path / "released.pth")
    save_network(net, tmp_path / "ours.pth", SPEC)
    x = torch.randn(1, 3, 16, 16)
    for name in ("released", "ours"):
        loaded, spec = load_generator(tmp_path / f"{name}.pth", "flag")
        assert spec == SPEC and torch.equal(loaded.eval()(x), net(x))


def test_it_is_no_supernet_and_no_mobile_network(tmp_path):
    spec = infer_spec(make_net().state_dict())
    assert as_supernet(spec) is None
    with pytest.raises(InputError, match=r"mobile_resnet_9blocks.*holds mobile_deepest_resnet"):
        resolve_spec(spec, {"netG": "mobile_resnet_9blocks"}, "file")
    save_network(make_net(), tmp_path / "net.pth", SPEC)
    with pytest.raises(InputError, match=r"mobile_deepest_resnet.*not a supernet"):
        load_supernet(tmp_path / "net.pth", "flag")


def test_faster_forms_compute_the_same():
    """In float64: rounding grows from layer to layer."""
    net, x = make_net().double(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.inference_mode():
        for form in (rewrite(net), rewrite(net, written_norms=True), FusedGenerator(net)):
            assert (form(x) - net(x)).abs().max() < 1e-9
            assert (net(x) - net(x.flip(0))).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("ngf", "params", "exact", "no_norm", "published"),
    [
        (12, 1_436_583, 10_069_016_832, 10_323_820_800, 10_357_149_120),
        (16, 2_547_123, 17_783_558_144, 18_236_542_976, 18_280_980_736),
        (24, 5_715_723, 39_749_944_320, 40_769_160_192, 40_835_816_832),
    ],
)
def test_its_cost(ngf, params, exact, no_norm, published):
    spec = GeneratorSpec("mobile_deepest_resnet", ngf)
    costs = {c: config_cost(spec.config, spec.architecture, c) for c in CONVENTIONS}
    assert {c: macs for c, (macs, _) in costs.items()} == {
        "exact": exact,
        "no_norm": no_norm,
        "published": published,
    }
    assert {count for _, count in costs.values()} == {params}
