"""Pruning against the reference, and the invariants that make it a start for the student."""

import numpy as np
import pytest
import torch
from golden_values import fill, golden_array, golden_input

from errors import InputError
from models.generators import GeneratorSpec
from models.layers import init_weights
from models.pruning import prune_into

KINDS = ["resnet_9blocks", "mobile_resnet_9blocks"]


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(kind):
    wide, narrow = fill(GeneratorSpec(kind, 12).build()), GeneratorSpec(kind, 8).build()
    prune_into(wide, narrow)
    sums = np.array([float(v.double().sum()) for v in narrow.state_dict().values()])
    np.testing.assert_allclose(sums, golden_array(f"prune_{kind}_12to8_sums"), rtol=0, atol=1e-5)
    with torch.no_grad():
        found = narrow(golden_input(1, 3, 32, 32))
    expected = torch.from_numpy(golden_array(f"prune_{kind}_12to8"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_pruning_to_the_same_width_keeps_the_function(kind, norm):
    """All channels survive, in another order: the outputs must not notice."""
    torch.manual_seed(0)
    wide = init_weights(GeneratorSpec(kind, 4, norm=norm).build(), gain=0.2).eval()
    for name, tensor in (*wide.named_parameters(), *wide.named_buffers()):
        if name.endswith(("bias", "running_mean")):
            torch.nn.init.normal_(tensor)
        elif name.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.5, 2)
    narrow = GeneratorSpec(kind, 4, norm=norm).build().eval()
    prune_into(wide, narrow)
    assert not torch.equal(narrow.model[4].weight, wide.model[4].weight)
    x = golden_input(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(narrow(x), wide(x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_that_are_silent_are_dropped_without_a_trace(kind):
    """A wide network that computes with half its channels equals the narrow one made of it."""
    torch.manual_seed(1)
    small = init_weights(GeneratorSpec(kind, 4).build(), gain=0.2)
    wide = GeneratorSpec(kind, 8).build()
    with torch.no_grad():
        for key, target in wide.state_dict().items():
            target.zero_()
            source = small.state_dict()[key]
            target[
                tuple(
                    slice(0, 2 * n, 2) if n < m else slice(n)
                    for n, m in zip(source.shape, target.shape, strict=True)
                )
            ] = source
    narrow = GeneratorSpec(kind, 4).build()
    prune_into(wide, narrow)
    x = golden_input(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(narrow(x), wide(x), rtol=0, atol=1e-4)
        torch.testing.assert_close(narrow(x), small(x), rtol=0, atol=1e-4)


def test_the_strongest_channels_come_first():
    torch.manual_seed(2)
    wide = init_weights(GeneratorSpec("resnet_9blocks", 8).build())
    narrow = GeneratorSpec("resnet_9blocks", 4).build()
    prune_into(wide, narrow)
    norms = wide.model[1].weight.abs().sum(dim=(1, 2, 3)).sort(descending=True).values
    found = narrow.model[1].weight.abs().sum(dim=(1, 2, 3))
    torch.testing.assert_close(found, norms[:4])


def test_networks_of_different_kinds_are_refused():
    with pytest.raises(InputError, match=r"`restore_pretrained_G_path`.*different kinds"):
        prune_into(GeneratorSpec(KINDS[0], 8).build(), GeneratorSpec(KINDS[1], 4).build())


def test_a_wider_student_is_refused_naming_the_layer():
    with pytest.raises(
        InputError,
        match=r"wider .* at model\.1\.weight .*\[8, 3, 7, 7\].*\[4, 3, 7, 7\].*`student_ngf`",
    ):
        prune_into(GeneratorSpec(KINDS[1], 4).build(), GeneratorSpec(KINDS[1], 8).build())


def test_the_wide_network_is_left_alone():
    wide = init_weights(GeneratorSpec(KINDS[1], 8).build())
    before = {k: v.clone() for k, v in wide.state_dict().items()}
    prune_into(wide, GeneratorSpec(KINDS[1], 4).build())
    assert all(torch.equal(v, before[k]) for k, v in wide.state_dict().items())
