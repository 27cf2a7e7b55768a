"""A narrow SPADE generator that starts from the strongest channels of a wide one."""

import pytest
import torch

from errors import InputError
from models.generators import GeneratorSpec
from models.kinds import KINDS
from models.layers import init_weights
from models.spade import SpadeForm

FORM = SpadeForm("normal")


def net_of(netG, ngf, **how):
    torch.manual_seed(ngf)
    net = init_weights(GeneratorSpec(netG, ngf, None, 4, 3, "batch", form=FORM, **how).build())
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.bias)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
    return net


def widened(netG, narrow, wide):
    """A wide network that computes what the narrow one does: further channels are zeros, at places
    of their own in every layer."""
    source = {key: value.clone() for key, value in narrow.state_dict().items()}
    target = wide.state_dict()
    for key, value in target.items():
        value.zero_()
        small = source[key]
        value[tuple(slice(n) for n in small.shape)].copy_(small)
        if key.endswith("running_var"):
            value[len(small) :] = 1
    # Real channels move to the end, so that a copy of the first ones would find nothing.
    for key, value in target.items():
        dims = range(min(value.dim(), 2))
        for dim in dims:
            if value.shape[dim] != source[key].shape[dim]:
                value.copy_(value.flip(dim))
    return wide


@pytest.mark.parametrize("netG", ["spade", "mobile_spade"])
def test_what_only_a_few_channels_compute_is_kept(netG):
    narrow, wide, found = net_of(netG, 2), net_of(netG, 3), net_of(netG, 2)
    wide = widened(netG, narrow, wide).eval()
    KINDS[netG].prune(wide, found)
    x = torch.rand(1, 4, 32, 64)
    with torch.no_grad():
        assert torch.allclose(narrow.eval()(x), wide(x), atol=1e-5)
        assert torch.allclose(found.eval()(x), wide(x), atol=1e-5)


def test_other_kinds_and_wider_students_are_refused():
    with pytest.raises(InputError, match="are of different kinds"):
        KINDS["mobile_spade"].prune(net_of("spade", 2), net_of("mobile_spade", 2))
    with pytest.raises(InputError, match=r"the student is wider .* lower `student_ngf`"):
        KINDS["spade"].prune(net_of("spade", 2), net_of("spade", 3))
