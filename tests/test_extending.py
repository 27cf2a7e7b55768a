"""docs/extending.md: its example is run as it stands there."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch

from deploy.onnx import export_onnx
from errors import InputError
from models import kinds
from models.cost import config_cost
from models.generators import GeneratorSpec, infer_spec
from models.weights import load_generator, save_network

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture
def example(monkeypatch):
    """The names that the blocks of the page define, with its kind in the table for the test."""
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))
    for module in list(sys.modules.values()):
        if getattr(module, "KINDS", None) is not None and module is not kinds:
            monkeypatch.setattr(module, "KINDS", kinds.KINDS)
    network, line, checks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    plain = types.ModuleType("models.plain")
    monkeypatch.setitem(sys.modules, "models.plain", plain)
    exec(compile(network, "models/plain.py", "exec"), plain.__dict__)
    exec(line, {})
    return plain, checks


def test_the_page_says_what_works(example):
    exec(example[1], {})


def test_its_network_trains_is_saved_found_and_exported(example, tmp_path):
    spec = GeneratorSpec("plain", ngf=2)
    net = spec.build()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    x = torch.rand(2, 3, 16, 24) * 2 - 1
    losses = []
    for _ in range(20):
        loss = (net(x) - x.flip(3)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    save_network(net, tmp_path / "net_G.pth", spec)
    found, read = load_generator(tmp_path / "net_G.pth", "--restore_G_path")
    assert read == spec and torch.equal(found(x), net(x))
    exported = export_onnx(net.eval(), tmp_path / "plain.onnx", False)
    assert exported.max_difference < 1e-4


def test_its_cost_is_that_of_its_convolutions(example):
    spec = GeneratorSpec("plain", ngf=3, input_nc=1)
    counted = []

    def count(module, _, output):
        counted.append(output[0, 0].numel() * module.weight.numel())

    net = spec.build()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    net(torch.zeros(1, 1, 32, 48))
    assert config_cost(spec.config, spec.architecture, "exact", 32, 48)[0] == sum(counted)


def test_what_is_no_such_network_is_refused(example):
    with pytest.raises(InputError, match=r"not a plain generator: it has no plain\.0\.weight"):
        infer_spec({"other.weight": torch.zeros(1)})
