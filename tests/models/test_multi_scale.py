"""The discriminator of several scales: its keys, sizes and what it computes."""

import pytest
import torch
import torch.nn.functional as F

from errors import InputError
from models.build import DiscriminatorSettings, Initialisation, new_discriminator
from models.generators import count_parameters
from models.multi_scale import MultiScaleDiscriminator, parse_norm_D
from models.weights import load_network, save_network


def test_published_parameters_and_keys():
    with torch.device("meta"):
        city, coco = (MultiScaleDiscriminator(nc, 64) for nc in (39, 187))
    assert (count_parameters(city), count_parameters(coco)) == (2 * 2_800_705, 2 * 2_952_257)
    shapes = {key: tuple(value.shape) for key, value in city.state_dict().items()}
    wanted = {
        "model0.0.weight": (64, 39, 4, 4),
        "model0.0.bias": (64,),
        "model1.0.0.weight_orig": (128, 64, 4, 4),
        "model2.0.0.weight_orig": (256, 128, 4, 4),
        "model3.0.0.weight_orig": (512, 256, 4, 4),
        "model3.0.0.weight_u": (512,),
        "model3.0.0.weight_v": (256 * 16,),
        "model4.0.weight": (1, 512, 4, 4),
        "model4.0.bias": (1,),
    }
    assert {f"discriminator_{i}.{k}": v for i in "01" for k, v in wanted.items()}.items() <= (
        shapes.items()
    )
    assert len(shapes) == 2 * (2 + 3 * 3 + 2)


def test_sizes_of_all_outputs():
    with torch.inference_mode():
        outputs = MultiScaleDiscriminator(39, 2)(torch.zeros(1, 39, 256, 512))
    sizes = [[tuple(layer.shape[2:]) for layer in scale] for scale in outputs]
    assert sizes == [
        [(129, 257), (65, 129), (33, 65), (34, 66), (35, 67)],
        [(65, 129), (33, 65), (17, 33), (18, 34), (19, 35)],
    ]
    assert [layer.shape[1] for layer in outputs[1]] == [2, 4, 8, 16, 1]


def test_it_computes_the_formulas():
    torch.manual_seed(0)
    net = MultiScaleDiscriminator(3, 4, 3, "instance", 2).eval()
    x, state = torch.randn(2, 3, 32, 48), net.state_dict()
    for i, scale in enumerate(net(x)):
        if i:
            # The mean of what lies inside the image.
            ones = F.avg_pool2d(torch.ones_like(x), 3, 2, 1)
            x = F.avg_pool2d(x, 3, 2, 1) / ones
        y = x
        for n, stride in enumerate((2, 2, 1, 1)):
            if n == 3:
                y = F.conv2d(
                    y,
                    state[f"discriminator_{i}.model3.0.weight"],
                    state[f"discriminator_{i}.model3.0.bias"],
                    padding=2,
                )
            else:
                name = f"discriminator_{i}.model{n}.0" + (".0" if n else "")
                y = F.conv2d(y, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, 2)
                if n:
                    y = F.instance_norm(y)
                y = F.leaky_relu(y, 0.2)
            if n == 1:
                # Two of three layers double the resolution's step: the last is at stride 1.
                assert net.discriminator_0.model2[0][0].stride == (1, 1)
            assert torch.allclose(scale[n], y, atol=1e-5)


@pytest.mark.parametrize(
    "norm, bias", [("spectralinstance", False), ("spectralbatch", False), ("none", True)]
)
def test_a_norm_takes_the_bias_away(norm, bias):
    keys = MultiScaleDiscriminator(3, 4, 3, norm, 1).state_dict()
    assert any("model1" in key and key.endswith("weight_u") for key in keys) == norm.startswith("s")
    conv = "model1.0.bias" if norm == "none" else "model1.0.0.bias"
    assert (f"discriminator_0.{conv}" in keys) == bias


def test_other_norms_are_refused():
    assert parse_norm_D("spectralinstance") == (True, "instance")
    with pytest.raises(InputError, match=r"'spectral' is not instance, batch or none"):
        parse_norm_D("spectral")


def test_it_is_built_and_restored_by_its_settings(tmp_path):
    settings = DiscriminatorSettings("multi_scale", 4, 2, "spectralinstance", num_D=3)
    net = new_discriminator(settings, 7, Initialisation("xavier", 0.02))
    assert len(list(net.children())) == 3
    # The scale of a spectral weight is lost in use, not in training.
    assert net.discriminator_0.model1[0][0].weight_orig.std() < 0.05
    save_network(net, tmp_path / "net_D.pth")
    other = new_discriminator(settings, 7, Initialisation())
    load_network(other, tmp_path / "net_D.pth", "--restore_D_path")
    x = torch.randn(1, 7, 16, 16)
    both = [n.eval()(x)[2][-1] for n in (net, other)]
    assert torch.equal(*both)
