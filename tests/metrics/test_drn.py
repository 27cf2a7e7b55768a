"""The segmenter behind mIoU: reference values, the checkpoint contract, and what goes wrong when
loading."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from errors import InputError
from metrics.drn import ARCHITECTURES, DRNSeg, load_drn

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CASES = json.loads((GOLDEN / "drn.json").read_text())

# --------------------------------------------------------------------------------------------------
# Weights and inputs by formula, so that reference outputs need no stored weights.


def shapes(arch: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        net = DRNSeg(arch)
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def formula_state(arch: str) -> dict[str, torch.Tensor]:
    """The `fill` of drn.json."""
    state = {}
    for index, (key, shape) in enumerate(shapes(arch).items()):
        if key == "up.weight":
            state[key] = DRNSeg("drn_d_22").up.weight.detach()
        elif key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
        else:
            wave = np.sin(0.37 * np.arange(np.prod(shape)) + index).reshape(shape)
            if len(shape) == 4:
                wave *= np.sqrt(4 / np.prod(shape[1:]))
            else:
                is_scale = key.endswith("running_var") or key.endswith("weight")
                wave = float(is_scale) + 0.1 * wave
            state[key] = torch.from_numpy(wave.astype(np.float32))
    return state


def formula_input(shape: list[int]) -> torch.Tensor:
    k = np.arange(np.prod(shape), dtype=np.float64)
    return torch.from_numpy(np.cos(0.01 + 0.11 * k * 1.001).reshape(shape).astype(np.float32))


def empty_state(arch: str) -> dict[str, torch.Tensor]:
    """Right keys and shapes at a few bytes per tensor."""
    return {
        key: torch.zeros(1).expand(shape) if shape else torch.tensor(0)
        for key, shape in shapes(arch).items()
    }


# --------------------------------------------------------------------------------------------------
# Reference values.


@pytest.mark.parametrize("arch", ["drn_d_22", "drn_d_105"])
def test_keys_shapes_and_size_are_the_published_ones(arch):
    assert [(k, list(s)) for k, s in shapes(arch).items()] == list(
        CASES[arch]["state_dict"].items()
    )
    with torch.device("meta"):
        assert sum(p.numel() for p in DRNSeg(arch).parameters()) == CASES[arch]["n_params"]


@pytest.mark.parametrize("arch", ["drn_d_22", "drn_d_105"])
def test_outputs_equal_the_reference(arch, tmp_path):
    torch.save(formula_state(arch), tmp_path / "drn.pth")
    net = load_drn(tmp_path / "drn.pth", "cpu")
    x = formula_input(CASES[arch]["input_shape"])
    with np.load(GOLDEN / "drn.npz") as golden, torch.inference_mode():
        for name, found in (("low", net.scores(x)), ("log_softmax", net(x)[:, :, ::4, ::4])):
            expected = golden[f"{arch}_{name}"]
            assert np.abs(found.numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_size_off_the_grid_of_8_keeps_its_size():
    net = DRNSeg("drn_d_22").eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, 36, 52)).shape == (1, 19, 36, 52)


def test_upsampling_is_bilinear():
    low = torch.randn(1, 19, 5, 7, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = DRNSeg("drn_d_22").up(low)
    expected = torch.nn.functional.interpolate(low, scale_factor=8, mode="bilinear")
    inner = (
        ...,
        slice(4, -4),
        slice(4, -4),
    )  # at the rim the transposed conv fades to zero instead of clamping
    torch.testing.assert_close(found[inner], expected[inner])


# --------------------------------------------------------------------------------------------------
# Loading.


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_architecture_is_found_from_the_weights(arch, tmp_path):
    state = empty_state(arch)
    torch.save(state, tmp_path / "drn.pth")
    net = load_drn(tmp_path / "drn.pth", "cpu")
    assert list(net.state_dict()) == list(state)
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    assert all(p.device.type == "cpu" for p in net.state_dict().values())


def test_wrapped_prefixed_and_old_checkpoints_load(tmp_path):
    state = {
        f"module.{key}": value
        for key, value in empty_state("drn_d_22").items()
        if not key.endswith("num_batches_tracked")  # from before PyTorch 0.4.1
    }
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "drn.pth")
    assert isinstance(load_drn(tmp_path / "drn.pth", "cpu", "drn_d_22"), DRNSeg)


def damaged(path: Path, kind: str) -> None:
    state = empty_state("drn_d_22")
    if kind == "text":
        path.write_text("<html>404 not found</html>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "no tensors":
        torch.save({"epoch": 3}, path)
    elif kind == "missing key":
        torch.save({k: v for k, v in state.items() if k != "seg.bias"}, path)
    elif kind == "extra key":
        torch.save(state | {"head.weight": torch.zeros(2)}, path)
    elif kind == "other classes":
        torch.save(state | {"seg.weight": torch.zeros(11, 512, 1, 1)}, path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("text", "not a readable checkpoint"),
        ("empty", "not a readable checkpoint"),
        ("truncated", "not a readable checkpoint"),
        ("tensor", "no state dict"),
        ("no tensors", "no state dict"),
        ("missing key", "seg.bias is missing"),
        ("extra key", "head.weight is unknown"),
        ("other classes", r"seg.weight is \(11, 512, 1, 1\), not \(19, 512, 1, 1\)"),
    ],
)
def test_unusable_files_are_named_with_the_remedy(kind, says, tmp_path):
    path = tmp_path / "drn.pth"
    damaged(path, kind)
    with pytest.raises(InputError, match=says) as raised:
        load_drn(path, "cpu")
    message = str(raised.value)
    assert str(path) in message
    assert message.startswith("`drn_path`") and "`criterion` fid" in message
    assert "\n" not in message


def test_the_wrong_architecture_is_refused(tmp_path):
    torch.save(empty_state("drn_d_22"), tmp_path / "drn.pth")
    with pytest.raises(InputError, match=r"as drn_d_38, base.3.2.conv1.weight is missing"):
        load_drn(tmp_path / "drn.pth", "cpu", "drn_d_38")
    with pytest.raises(InputError, match="choose from drn_d_22"):
        DRNSeg("drn_d_23")
