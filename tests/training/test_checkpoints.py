"""Checkpoints: files any PyTorch reads, that say what they hold, and errors that say what is wrong
with one."""

import pickle
from collections import OrderedDict

import pytest
import safetensors.torch
import torch

from errors import InputError
from models.config import ChannelConfig
from models.discriminators import build_discriminator
from models.generators import GENERATORS, GeneratorSpec
from models.kinds import KINDS
from models.weights import (
    SPEC_KEY,
    load_generator,
    load_network,
    load_state,
    load_supernet,
    read_spec,
    save_network,
)
from runtime.files import load_tensors, save_tensors
from training.state import StateFile, load_optimizers

FLAG = "--restore_G_path"
# What files hold differs between families; all else about a kind is in its description.
FAMILIES = tuple({kind.family: name for name, kind in KINDS.items()}.values())


def spec_of(netG: str, **kwargs) -> GeneratorSpec:
    kind = KINDS[netG]
    # ResNets take six widths for eight.
    own = "_".join("4" * len(kind.config.NAMES))
    config = "4_3_4_2_3_4" if kind.config is ChannelConfig else own
    by_config = kind.by_config
    return GeneratorSpec(netG, None if by_config else 4, config if by_config else None, **kwargs)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


# --------------------------------------------------------------------------------------------------
# Round trips


@pytest.mark.parametrize("netG", GENERATORS)
def test_a_file_of_ours_rebuilds_its_network(tmp_path, netG):
    """Norm none, dropout, and that it is a supernet, cannot be seen in shapes: the file says so
    itself."""
    norm = KINDS[netG].norms[-1]
    spec = spec_of(netG, input_nc=1, output_nc=2, norm=norm, dropout_rate=0.5)
    net = spec.build()
    save_network(net, tmp_path / "net_G.pth", spec)
    found, found_spec = load_generator(tmp_path / "net_G.pth", FLAG)
    assert found_spec == spec and type(found) is type(net) and same(found, net)


@pytest.mark.parametrize("netG", FAMILIES)
def test_plain_pytorch_reads_our_files(tmp_path, netG):
    spec = spec_of(netG)
    net, other = spec.build(), spec.build()
    save_network(net, tmp_path / "net_G.pth", spec)
    state = torch.load(tmp_path / "net_G.pth", weights_only=True)
    assert list(state) == list(net.state_dict()) and all(torch.is_tensor(v) for v in state.values())
    assert state._metadata[SPEC_KEY] == spec.to_dict()
    other.load_state_dict(state)
    assert same(net, other)
    wrapped = torch.nn.DataParallel(spec.build())
    wrapped.module.load_state_dict(state)
    assert same(wrapped.module, net)


def test_saving_leaves_the_network_as_it_was(tmp_path):
    spec = spec_of("mobile_resnet_9blocks")
    net = spec.build().train()
    save_network(net, tmp_path / "net_G.pth", spec)
    assert net.training and SPEC_KEY not in getattr(net.state_dict(), "_metadata", {})
    assert [p.name for p in tmp_path.iterdir()] == ["net_G.pth"]


@pytest.mark.parametrize(
    "netG", ["resnet_9blocks", "mobile_resnet_9blocks", "sub_mobile_resnet_9blocks"]
)
def test_bare_state_dicts_are_recognised(tmp_path, netG):
    """As released: no metadata."""
    net = spec_of(netG).build()
    torch.save(OrderedDict(net.state_dict().items()), tmp_path / "net_G.pth")
    found, spec = load_generator(tmp_path / "net_G.pth", FLAG)
    assert spec.netG == netG and same(found, net)


def test_a_file_says_what_its_network_learned_from(tmp_path):
    images = {"direction": "BtoA", "size": [64, 128]}
    spec = spec_of("super_mobile_resnet_9blocks", trained_on=images)
    save_network(spec.build(), tmp_path / "net_G.pth", spec)
    _, found = load_generator(tmp_path / "net_G.pth", FLAG)
    assert found.trained_on == images
    assert found.subnet(found.config).trained_on == images
    # Earlier versions look at the description of the network alone, and refuse what is new in it.
    state = load_tensors(tmp_path / "net_G.pth", FLAG)
    assert state._metadata[SPEC_KEY] == spec.to_dict() == spec_of(spec.netG).to_dict()


@pytest.mark.parametrize(
    "damaged", [None, 3, {}, {"direction": "up", "size": [1, "1"]}, {"direction": [], "size": 3}]
)
def test_what_it_learned_from_is_no_condition(tmp_path, damaged):
    spec = spec_of("mobile_resnet_9blocks")
    state = spec.build().state_dict()
    state._metadata |= {SPEC_KEY: spec.to_dict(), "trained_on": damaged}
    save_tensors(state, tmp_path / "net_G.pth")
    assert load_generator(tmp_path / "net_G.pth", FLAG)[1].trained_on == {}


def test_prefixes_of_parallel_training_are_removed(tmp_path):
    net = spec_of("mobile_resnet_9blocks").build()
    torch.save(torch.nn.DataParallel(net).state_dict(), tmp_path / "net_G.pth")
    found, spec = load_generator(tmp_path / "net_G.pth", FLAG)
    assert spec == spec_of("mobile_resnet_9blocks") and same(found, net)
    discriminator = build_discriminator("n_layers", 6, 4)
    torch.save(
        {f"module.{k}": v for k, v in discriminator.state_dict().items()}, tmp_path / "net_D.pth"
    )
    other = build_discriminator("n_layers", 6, 4)
    load_network(other, tmp_path / "net_D.pth", "--restore_D_path")
    assert same(other, discriminator)


def test_unused_statistics_of_old_instance_norms_are_ignored(tmp_path):
    net = spec_of("mobile_resnet_9blocks").build()
    state = dict(net.state_dict())
    state |= {"model.2.running_mean": torch.zeros(4), "model.2.running_var": torch.ones(4)}
    torch.save(state, tmp_path / "net_G.pth")
    found = spec_of("mobile_resnet_9blocks").build()
    load_network(found, tmp_path / "net_G.pth", FLAG)
    assert same(found, net)


def test_old_instance_norms_do_not_pass_for_batch_norms(tmp_path):
    """Their running statistics come without the weights a batch norm has."""
    net = spec_of("mobile_resnet_9blocks").build()
    statistics = {}
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.InstanceNorm2d):
            statistics |= {f"{name}.running_mean": torch.zeros(module.num_features)}
            statistics |= {f"{name}.running_var": torch.ones(module.num_features)}
    torch.save({**net.state_dict(), **statistics}, tmp_path / "net_G.pth")
    found, spec = load_generator(tmp_path / "net_G.pth", FLAG)
    assert spec.norm == "instance" and same(found, net)


def test_flags_given_are_checked_against_the_file(tmp_path):
    spec = spec_of("mobile_resnet_9blocks")
    save_network(spec.build(), tmp_path / "net_G.pth", spec)
    with pytest.raises(
        InputError, match=rf"`ngf` 8 contradicts the checkpoint {tmp_path}/net_G\.pth.*ngf 4"
    ):
        load_generator(tmp_path / "net_G.pth", FLAG, {"ngf": 8})
    supernet = {"netG": "super_mobile_resnet_9blocks"}
    with pytest.raises(InputError, match="contradicts the checkpoint"):
        load_generator(tmp_path / "net_G.pth", FLAG, supernet)
    net, found = load_generator(tmp_path / "net_G.pth", FLAG, supernet, weights_only=True)
    assert found.is_supernet and type(net).__name__ == "SuperMobileResnetGenerator"


def test_only_a_supernet_is_loaded_as_one(tmp_path):
    """Released weights do not say that they are a supernet's; a file that says otherwise is
    none."""
    path, mobile = tmp_path / "net_G.pth", spec_of("mobile_resnet_9blocks")
    save_network(mobile.build(), path)
    assert load_supernet(path, FLAG)[1] == spec_of("super_mobile_resnet_9blocks")
    save_network(mobile.build(), path, mobile)
    with pytest.raises(InputError, match=rf"{FLAG} {path} holds mobile_.*not a supernet"):
        load_supernet(path, FLAG)
    with pytest.raises(InputError, match="`ngf` 8 contradicts"):
        save_network(mobile.build(), path)
        load_supernet(path, FLAG, {"ngf": 8})


@pytest.mark.parametrize(
    "changes", [{"later": 1}, {"ngf": 10_000_000}, {"ngf": 1000}, {"netG": "resnet_9blocks"}]
)
def test_a_file_that_describes_another_network(tmp_path, changes):
    """Said before a network of that size is built."""
    path, spec = tmp_path / "net_G.pth", spec_of("mobile_resnet_9blocks")
    state = spec.build().state_dict()
    state._metadata["generator"] = spec.to_dict() | changes
    save_tensors(state, path)
    with pytest.raises(InputError, match=rf"{FLAG} {path}"):
        load_generator(path, FLAG)
    state._metadata["generator"] = [1]
    save_tensors(state, path)
    assert load_generator(path, FLAG)[1] == spec


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.long(),
        lambda t: t.to(torch.complex64),
        lambda t: t.to_sparse(),
        lambda t: t.to("meta"),
        lambda t: t * float("nan"),
    ],
    ids=["int64", "complex", "sparse", "meta", "nan"],
)
def test_tensors_that_are_no_weights(tmp_path, change):
    path = tmp_path / "net_G.pth"
    state = spec_of("mobile_resnet_9blocks").build().state_dict()
    state["model.4.weight"] = change(state["model.4.weight"])
    save_tensors(state, path)
    with pytest.raises(InputError, match=rf"{FLAG} {path}"):
        load_generator(path, FLAG)


def test_loading_draws_the_same_random_numbers(tmp_path):
    """What a seed gives does not depend on how files are checked."""
    path, spec = tmp_path / "net_G.pth", spec_of("mobile_resnet_9blocks")
    save_network(spec.build(), path, spec)
    torch.manual_seed(0)
    spec.build()
    expected = torch.rand(1)
    torch.manual_seed(0)
    load_generator(path, FLAG)
    assert torch.equal(torch.rand(1), expected)


# --------------------------------------------------------------------------------------------------
# Files that are not right


def broken_files():
    net = GeneratorSpec("mobile_resnet_9blocks", 4).build()
    state = dict(net.state_dict())
    return {
        "truncated": lambda path: (
            torch.save(state, path),
            path.write_bytes(path.read_bytes()[:5000]),
        ),
        "cut at the end": lambda path: (
            torch.save(state, path),
            path.write_bytes(path.read_bytes()[:-64]),
        ),
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("weights"),
        "pickled code": lambda path: path.write_bytes(pickle.dumps(print)),
        "a whole network": lambda path: torch.save(net, path),
        "a tensor": lambda path: torch.save(torch.zeros(3), path),
        "an empty dictionary": lambda path: torch.save({}, path),
        "a state of a run": lambda path: torch.save({"networks": state}, path),
        "numbered tensors": lambda path: torch.save({0: torch.zeros(1)}, path),
        "a discriminator": lambda path: torch.save(
            build_discriminator("n_layers", 6, 4).state_dict(), path
        ),
        "a part": lambda path: torch.save(
            {k: v for k, v in state.items() if ".13." not in k}, path
        ),
        "a shape": lambda path: torch.save(state | {"model.1.weight": torch.zeros(())}, path),
        "another shape": lambda path: torch.save(state | {"model.4.bias": torch.zeros(3)}, path),
        "one too many": lambda path: torch.save(state | {"model.30.weight": torch.zeros(3)}, path),
    }


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", broken_files())
def test_a_file_that_is_no_generator_is_named_with_its_flag(tmp_path, kind):
    path = tmp_path / "net_G.pth"
    broken_files()[kind](path)
    with pytest.raises(InputError, match=rf"{FLAG} {path}") as error:
        load_generator(path, FLAG)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named_with_its_flag(tmp_path):
    for path, reason in ((tmp_path / "none.pth", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=rf"{FLAG} {path}: {reason}"):
            load_state(path, FLAG)


def flip(path, place: float) -> None:
    """Change one bit of a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_a_flipped_bit_in_a_checkpoint_is_refused(tmp_path, place):
    path = tmp_path / "net_G.pth"
    save_tensors({"weight": torch.zeros(100_000)}, path)
    flip(path, place)
    with pytest.raises(InputError, match=rf"{FLAG} {path}: not a readable checkpoint, damaged"):
        load_tensors(path, FLAG)


def test_a_flipped_bit_in_the_state_costs_one_state(tmp_path, capsys):
    states = StateFile(tmp_path)
    for step in range(3):
        states.save({"settings": {}, "step": step, "w": torch.zeros(10_000)})
    flip(states.path, 0.5)
    assert states.load()["step"] == 1
    assert "continuing from state.previous.pth" in capsys.readouterr().out


def test_a_checkpoint_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "net_G.pth"
    save_tensors({}, path)

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(InputError, match=rf"{path}: cannot be read \(Permission denied\)"):
        load_tensors(path, FLAG)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_are_told_from_truncated_files_of_old_versions(tmp_path, legacy):
    path = tmp_path / "net_G.pth"
    if legacy:
        torch.save({"a": torch.zeros(9)}, path, _use_new_zipfile_serialization=False)
        assert torch.equal(load_tensors(path, FLAG)["a"], torch.zeros(9))
        path.write_bytes(path.read_bytes()[:60])
    else:
        path.write_bytes(pickle.dumps({"a": [1]}))
    with pytest.raises(InputError, match="truncated" if legacy else "pickled objects"):
        load_tensors(path, FLAG)


def test_an_exported_network_is_not_called_damaged(tmp_path):
    path = tmp_path / "compressed.onnx"
    path.write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(InputError, match=rf"{FLAG} {path}: is no checkpoint; give a \.pth file"):
        load_tensors(path, FLAG)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.zeros(2, 2).to_sparse(), "sparse"),
        (torch.zeros(2, device="meta"), "meta"),
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
        (torch.zeros(2, dtype=torch.int64), "int64"),
        (torch.tensor([1.0, torch.nan]), "not finite"),
    ],
)
def test_tensors_that_are_no_weights_are_named(tmp_path, tensor, reason):
    path = tmp_path / "net_D.pth"
    torch.save({"good": torch.ones(1), "bad.weight": tensor}, path)
    with pytest.raises(InputError, match=rf"--restore_D_path {path}: .*bad\.weight.*{reason}"):
        load_state(path, "--restore_D_path")


def test_another_network_is_explained_by_its_keys(tmp_path):
    save_network(build_discriminator("pixel", 6, 4), tmp_path / "net_D.pth")
    with pytest.raises(InputError) as error:
        load_network(
            build_discriminator("n_layers", 6, 4), tmp_path / "net_D.pth", "--restore_D_path"
        )
    for part in (
        "--restore_D_path",
        "net_D.pth holds another network",
        "missing model.0.weight",
        "not expected net.0.weight",
    ):
        assert part in str(error.value)


def test_a_discriminator_of_another_width_is_explained_by_its_shapes(tmp_path):
    save_network(build_discriminator("n_layers", 6, 4), tmp_path / "net_D.pth")
    with pytest.raises(
        InputError, match=r"model\.0\.weight \[4, 6, 4, 4\] instead of \[8, 6, 4, 4\]"
    ):
        load_network(
            build_discriminator("n_layers", 6, 8), tmp_path / "net_D.pth", "--restore_D_path"
        )


def test_read_spec_prefers_what_the_file_says(tmp_path):
    spec = spec_of("super_mobile_resnet_9blocks")
    save_network(spec.build(), tmp_path / "net_G.pth", spec)
    assert read_spec(load_state(tmp_path / "net_G.pth", FLAG), tmp_path / "net_G.pth", FLAG) == spec


@pytest.mark.parametrize("netG", FAMILIES)
def test_safetensors_hold_the_same_both_ways(tmp_path, netG):
    spec = spec_of(netG, trained_on={"direction": "BtoA", "size": [64, 64]})
    net, path = spec.build(), tmp_path / "net_G.safetensors"
    save_network(net, path, spec)
    found, read = load_generator(path, FLAG)
    assert read == spec and read.trained_on == spec.trained_on and same(net, found)
    # The library reads it without this project, and its own files are recognised by their shapes.
    plain = safetensors.torch.load_file(path)
    assert all(torch.equal(plain[name], value) for name, value in net.state_dict().items())
    safetensors.torch.save_file(plain, path, {"generator": "another program's note"})
    assert load_generator(path, FLAG)[1].inferred
    save_network(found, tmp_path / "net_G.pth", read)
    assert same(net, load_generator(tmp_path / "net_G.pth", FLAG)[0])


def test_a_damaged_safetensors_file_is_named(tmp_path):
    path = tmp_path / "net_G.safetensors"
    for wrong, reason in (
        (None, "no such file"),
        (b"", "damaged or truncated"),
        (b"PK\x03\x04 not one", "damaged or truncated"),
    ):
        if wrong is not None:
            path.write_bytes(wrong)
        with pytest.raises(InputError, match=rf"{FLAG} {path}: .*{reason}"):
            load_state(path, FLAG)
    spec = spec_of("resnet_6blocks")
    save_network(spec.build(), path, spec)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        load_state(path, FLAG)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        load_state(path, FLAG)


def test_a_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "net_G.pth"
    save_tensors({"a": torch.ones(1)}, path)
    with pytest.raises(Exception, match=r"pickle|local object"):
        save_tensors({"a": lambda: None}, path)
    assert load_tensors(path, FLAG)["a"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["net_G.pth"]


# --------------------------------------------------------------------------------------------------
# The state of a run


def test_no_state_is_none(tmp_path):
    assert StateFile(tmp_path).load() is None


def test_the_newest_state_is_read(tmp_path, capsys):
    states = StateFile(tmp_path)
    for step in range(3):
        states.save({"settings": {}, "step": step, "w": torch.full((100,), float(step))})
    assert states.load()["step"] == 2
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob("*new*"))


@pytest.mark.parametrize("keep", [0, 10, 700])
def test_a_damaged_state_is_said_and_the_one_before_it_used(tmp_path, capsys, keep):
    states = StateFile(tmp_path)
    for step in range(3):
        states.save({"settings": {}, "step": step, "w": torch.zeros(100)})
    states.path.write_bytes(states.path.read_bytes()[:keep])
    assert states.load()["step"] == 1
    said = capsys.readouterr().out
    assert str(states.path) in said and "continuing from state.previous.pth" in said


def test_a_crash_between_the_two_renames_loses_one_state_at_most(tmp_path):
    states = StateFile(tmp_path)
    states.save({"settings": {}, "step": 0})
    states.path.rename(states.previous)
    assert states.load()["step"] == 0
    states.save({"settings": {}, "step": 1})
    assert states.load()["step"] == 1


def test_when_no_state_can_be_read_it_says_what_to_do(tmp_path):
    states = StateFile(tmp_path)
    states.save({"settings": {}, "step": 0})
    states.save({"settings": {}, "step": 1})
    for path in (states.path, states.previous):
        path.write_bytes(b"")
    with pytest.raises(
        InputError, match=rf"{states.path}: .*no earlier state is readable: move the folder away"
    ):
        states.load()


# --------------------------------------------------------------------------------------------------
# Optimizers alone


def trained(width: int, lr: float = 0.1):
    net = torch.nn.Linear(3, width)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return net, optimizer


def test_what_flags_set_of_an_optimizer_stays(tmp_path):
    """The file gives moments; decay of momenta and of weights are of this run."""
    torch.save({"optimizers": [trained(4)[1].state_dict()]}, tmp_path / "state.pth")
    net = torch.nn.Linear(3, 4)
    fresh = torch.optim.Adam(net.parameters(), lr=0.7, betas=(0.0, 0.9), weight_decay=0.5)
    load_optimizers([fresh], str(tmp_path / "state.pth"), "--restore_O_path")
    (group,) = fresh.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.7, (0.0, 0.9), 0.5)
    assert group["params"] == list(net.parameters()) and len(fresh.state) == 2


def test_optimizers_are_read_from_a_state_or_from_numbered_files(tmp_path):
    saved = [trained(4)[1], trained(5)[1]]
    torch.save({"optimizers": [o.state_dict() for o in saved]}, tmp_path / "state.pth")
    for i, optimizer in enumerate(saved):
        torch.save(optimizer.state_dict(), tmp_path / f"latest_optim-{i}.pth")
    for path in ("state.pth", "latest_optim"):
        fresh = [trained(4, 0.7)[1], trained(5, 0.7)[1]]
        for optimizer in fresh:
            optimizer.state.clear()
        load_optimizers(fresh, str(tmp_path / path), "--restore_O_path")
        for old, new in zip(saved, fresh, strict=True):
            old_state, new_state = old.state_dict()["state"], new.state_dict()["state"]
            assert all(
                torch.equal(old_state[i][k], new_state[i][k])
                for i in old_state
                for k in old_state[i]
            )
            assert new.param_groups[0]["lr"] == 0.7


@pytest.mark.parametrize("layouts", [(False, True), (True, False), (True, True)])
def test_restored_moments_take_the_layout_of_the_weights(tmp_path, layouts):
    """A fused update of channels-last weights with contiguous moments mixes the weights up."""

    def adam(channels_last: bool, **kwargs):
        torch.manual_seed(0)
        conv = torch.nn.Conv2d(3, 4, 3)
        if channels_last:
            conv.to(memory_format=torch.channels_last)
        return conv, torch.optim.Adam(conv.parameters(), lr=0.1, **kwargs)

    def step(conv, optimizer, seed):
        torch.manual_seed(seed)
        (conv(torch.rand(1, 3, 8, 8)) * torch.rand(1, 4, 6, 6)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    before, after = layouts
    # A plain Adam counts its steps in a tensor on the host.
    conv, optimizer = adam(before, fused=False)
    step(conv, optimizer, 1)
    torch.save({"optimizers": [optimizer.state_dict()]}, tmp_path / "state.pth")
    again, restored = adam(after, fused=True)
    again.load_state_dict(conv.state_dict())
    load_optimizers([restored], str(tmp_path / "state.pth"), "--restore_O_path")
    for net, adam_of_it in ((conv, optimizer), (again, restored)):
        step(net, adam_of_it, 2)
    torch.testing.assert_close(again.weight, conv.weight)
    state = restored.state[again.weight]
    assert state["exp_avg"].stride() == again.weight.stride()
    assert state["step"].dtype == torch.float32


def test_optimizers_of_other_networks_are_refused(tmp_path):
    optimizer = trained(4)[1]
    torch.save(
        {"optimizers": [torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]).state_dict()]},
        tmp_path / "few.pth",
    )
    torch.save({"optimizers": [trained(5)[1].state_dict()]}, tmp_path / "wide.pth")
    torch.save({"networks": {}}, tmp_path / "none.pth")
    for name in ("few.pth", "wide.pth", "none.pth", "missing"):
        with pytest.raises(InputError, match=rf"--restore_O_path {tmp_path}/{name}"):
            load_optimizers([optimizer], str(tmp_path / name), "--restore_O_path")
