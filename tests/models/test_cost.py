"""Cost in closed form against published integers, PyTorch's own counter, and built networks."""

import numpy as np
import pytest
import torch
from golden_values import PUBLISHED
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from metrics.macs import print_costs
from models.config import ChannelConfig
from models.cost import (
    CONVENTIONS,
    Architecture,
    Channels,
    config_cost,
    count_macs,
    count_params,
)
from models.deepest import DeepestResnetGenerator
from models.generators import GeneratorSpec, count_parameters
from models.resnet import ResnetGenerator

eight_genes = st.lists(st.integers(1, 96), min_size=8, max_size=8)
configs = eight_genes.map(lambda g: ChannelConfig(tuple(g)))
legacy_configs = st.lists(st.integers(1, 96), min_size=6, max_size=6).map(
    lambda g: ChannelConfig(tuple(g), True)
)
architectures = st.builds(
    Architecture,
    separable=st.booleans(),
    input_nc=st.sampled_from([1, 3]),
    output_nc=st.sampled_from([1, 3]),
    norm=st.sampled_from(["instance", "batch", "none"]),
)


expanded = st.builds(
    Architecture,
    input_nc=st.sampled_from([1, 3]),
    output_nc=st.sampled_from([1, 3]),
    norm=st.sampled_from(["instance", "batch", "none"]),
    expanded=st.just(True),
)
# A network with expansion blocks has one width.
networks = st.tuples(configs | legacy_configs, architectures) | st.tuples(
    st.integers(1, 96).map(ChannelConfig.uniform), expanded
)


def on_meta(config: ChannelConfig, arch: Architecture) -> nn.Module:
    """The network without memory or arithmetic: only its shapes."""
    with torch.device("meta"):
        if arch.expanded:
            ngf = config.genes[0]
            return DeepestResnetGenerator(ngf, arch.input_nc, arch.output_nc, arch.norm)
        return ResnetGenerator(config, arch.input_nc, arch.output_nc, arch.separable, arch.norm)


# --------------------------------------------------------------------------------------------------
# Published integers


@pytest.mark.parametrize("name", PUBLISHED["configs"])
def test_published_configs(name):
    published, config = PUBLISHED["configs"][name], ChannelConfig.parse(name)
    assert config_cost(config) == (published["macs_published"], published["params"])
    assert config_cost(config, convention="no_norm")[0] == published["macs_no_norm"]
    assert config_cost(config, convention="exact")[0] == published["macs_exact"]


def test_the_teacher():
    (published,) = PUBLISHED["generators"].values()
    config, arch = ChannelConfig.uniform(64), Architecture(separable=False)
    assert config_cost(config, arch) == (published["macs_published"], published["params"])
    assert config_cost(config, arch, "no_norm")[0] == published["macs_torchprofile_no_norm"]
    assert config_cost(config, arch, "exact")[0] == published["macs_exact"]


@pytest.mark.parametrize("name", PUBLISHED["legacy_configs"])
def test_legacy_configs(name):
    published, config = PUBLISHED["legacy_configs"][name], ChannelConfig.parse(name, legacy=True)
    assert config_cost(config, convention="no_norm") == (
        published["macs_no_norm"],
        published["params"],
    )


# --------------------------------------------------------------------------------------------------
# Against networks


@settings(max_examples=16)
@given(networks, st.sampled_from([(256, 256), (64, 128), (148, 196), (16, 20)]))
def test_exact_equals_what_pytorch_counts(network, size):
    config, arch = network
    net = on_meta(config, arch)
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, arch.input_nc, *size, device="meta"))
    assert config_cost(config, arch, "exact", *size)[0] * 2 == counter.get_total_flops()


@settings(max_examples=10)
@given(networks)
def test_the_published_convention_is_what_it_says(network):
    """Counted by hooks: transposed convs at their outputs, one operation per element of a norm."""
    config, arch = network
    net, counts = on_meta(config, arch), {"no_norm": 0, "norm": 0}

    def count(module, inputs, output):
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            per_output = module.weight.numel() // module.out_channels
            counts["no_norm"] += per_output * output.numel()
        elif isinstance(module, (torch.nn.InstanceNorm2d, torch.nn.BatchNorm2d)):
            counts["norm"] += output.numel()

    for module in net.modules():
        module.register_forward_hook(count)
    net.eval()(torch.empty(1, arch.input_nc, 32, 48, device="meta"))
    assert config_cost(config, arch, "no_norm", 32, 48)[0] == counts["no_norm"]
    assert config_cost(config, arch, "published", 32, 48)[0] == counts["no_norm"] + counts["norm"]


@given(networks)
def test_parameters_are_those_of_the_network(network):
    config, arch = network
    assert config_cost(config, arch)[1] == count_parameters(on_meta(config, arch))


def test_a_supernet_has_the_parameters_of_its_full_width():
    with torch.device("meta"):
        net = GeneratorSpec("super_mobile_resnet_9blocks", 64).build()
    assert count_parameters(net) == config_cost(ChannelConfig.uniform(64))[1]


# --------------------------------------------------------------------------------------------------
# Arrays


@given(st.lists(eight_genes, min_size=1, max_size=8), architectures, st.sampled_from(CONVENTIONS))
def test_arrays_equal_one_by_one(rows, arch, convention):
    genes = np.array(rows)
    channels = Channels.of_genes(genes)
    macs, params = count_macs(channels, arch, convention, 64, 96), count_params(channels, arch)
    assert macs.dtype == params.dtype == np.int64
    each = [config_cost(ChannelConfig(tuple(row)), arch, convention, 64, 96) for row in rows]
    assert list(zip(macs.tolist(), params.tolist(), strict=True)) == each


def test_small_integers_do_not_overflow():
    genes = np.full((1, 8), 64, dtype=np.int16)
    assert count_macs(Channels.of_genes(genes))[0] == config_cost(ChannelConfig.uniform(64))[0]


def test_unknown_conventions_are_refused():
    with pytest.raises(ValueError, match="published"):
        config_cost(ChannelConfig.uniform(8), convention="torchprofile")


# --------------------------------------------------------------------------------------------------
# Command line


def test_the_command_prints_the_integers(capsys):
    name = "16_16_40_40_40_64_24_16"
    print_costs([name], 256)
    printed = capsys.readouterr().out.replace(",", "")
    for key in ("params", "macs_published", "macs_no_norm", "macs_exact"):
        assert str(PUBLISHED["configs"][name][key]) in printed


def test_the_command_without_a_config_prints_the_published_table(capsys):
    print_costs([], 256)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 9
    assert "56.832G" in lines[2] and "11.378M" in lines[2]
