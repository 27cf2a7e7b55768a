"""Checkpoints of networks: plain state dicts that carry what is needed to rebuild their network."""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from errors import InputError
from models.generators import (
    GeneratorSpec,
    as_supernet,
    explain_mismatch,
    infer_spec,
    resolve_spec,
)
from models.resnet import with_dropout_places
from runtime.files import load_safetensors, load_tensors, save_safetensors, save_tensors

# Where the metadata of a state dict, which `load_state_dict` ignores, holds its `GeneratorSpec`.
SPEC_KEY = "generator"
# And what it learned from, where earlier versions do not look.
TRAINED_ON_KEY = "trained_on"
# The suffix of files of the safetensors library, which hold the same.
SAFETENSORS = ".safetensors"


# --------------------------------------------------------------------------------------------------
# State dicts


def save_network(net: nn.Module, path: Path, spec: GeneratorSpec | None = None) -> None:
    """Write a plain state dict of CPU tensors: a ``.safetensors`` file by that suffix, else one of
    PyTorch. The network stays on its device.

    With ``spec`` the file describes its network, so that loading it needs no architecture flags.
    """
    state = net.state_dict()
    for key in state:
        state[key] = state[key].cpu()
    if path.suffix == SAFETENSORS:
        notes = {"format": "pt"}
        if spec is not None:
            notes[SPEC_KEY] = json.dumps(spec.to_dict())
            notes[TRAINED_ON_KEY] = json.dumps(dict(spec.trained_on))
        save_safetensors(state, notes, path)
        return
    if spec is not None:
        state._metadata[SPEC_KEY] = spec.to_dict()
        if spec.trained_on:
            state._metadata[TRAINED_ON_KEY] = dict(spec.trained_on)
    save_tensors(state, path)


def load_state(path: Path, flag: str) -> Mapping[str, torch.Tensor]:
    """A state dict from a checkpoint, its keys as they are here: without the ``module.`` of
    parallel training, see also `models.resnet.with_dropout_places`."""
    read = _read_safetensors if path.suffix == SAFETENSORS else load_tensors
    state = read(path, flag)
    named_tensors = isinstance(state, Mapping) and all(
        isinstance(k, str) and torch.is_tensor(v) for k, v in state.items()
    )
    if not named_tensors or not state:
        raise InputError(f"{flag} {path}: not a state dict (name -> tensor)")
    if all(key.startswith("module.") for key in state):
        state = OrderedDict((key[7:], value) for key, value in state.items())
    for key, value in state.items():
        problem = _why_no_weight(key, value)
        if problem:
            raise InputError(f"{flag} {path}: {key} is {problem}")
    return with_dropout_places(state)


def _read_safetensors(path: Path, flag: str) -> Mapping[str, torch.Tensor]:
    """A state dict that describes its network where `save_network` wrote it."""
    tensors, notes = load_safetensors(path, flag)
    state = OrderedDict(tensors)
    state._metadata = {}
    for key in (SPEC_KEY, TRAINED_ON_KEY):
        # Another program's note of that name is not ours to read.
        with contextlib.suppress(ValueError, KeyError):
            state._metadata[key] = json.loads(notes[key])
    return state


def _why_no_weight(key: str, value: torch.Tensor) -> str | None:
    """What is wrong with a tensor of a state dict, None when it can be a weight."""
    if value.layout is not torch.strided:
        return "a sparse tensor; save it dense"
    if value.is_meta or value.is_quantized:
        return "quantised, or on the meta device without values; save plain numbers"
    if key.endswith("num_batches_tracked"):
        return None
    if not value.is_floating_point():
        return f"of type {str(value.dtype).removeprefix('torch.')}, weights are floating-point"
    if not torch.isfinite(value).all():
        return "not finite; the run that wrote it had diverged"
    return None


def read_spec(state: Mapping[str, torch.Tensor], path: Path, flag: str) -> GeneratorSpec:
    """Describe the network of a state dict: as `save_network` stored it, else from its shapes.

    Raises:
        InputError: no generator of a known kind, or described in a way this version does not know.
    """
    metadata = getattr(state, "_metadata", None)
    stored = metadata.get(SPEC_KEY) if isinstance(metadata, Mapping) else None
    try:
        if not isinstance(stored, Mapping):
            return infer_spec(state)
        spec = GeneratorSpec.from_dict(stored)
    except InputError as error:
        raise InputError(f"{flag} {path}: {error}") from None
    return replace(spec, trained_on=_images(metadata.get(TRAINED_ON_KEY)))


def _images(stored: object) -> dict:
    """The valid part of what a file says about `GeneratorSpec.trained_on`."""
    found: dict = {}
    if isinstance(stored, Mapping):
        direction, size = stored.get("direction"), stored.get("size")
        if direction in ("AtoB", "BtoA"):
            found["direction"] = direction
        if isinstance(size, list) and [type(side) for side in size] == [int, int]:
            found["size"] = size
    return found


# --------------------------------------------------------------------------------------------------
# Networks


def _build(spec: GeneratorSpec, state: Mapping[str, torch.Tensor], path: Path, flag: str):
    """The network of ``spec`` with the weights of ``state``."""
    # Compared without memory first: a file may claim to be of any size.
    with torch.device("meta"):
        fitting(state, spec.build(), path, flag)
    net = spec.build()
    load_into(net, state, path, flag)
    return net


@dataclass(frozen=True)
class Stored:
    """A generator's checkpoint in memory: its state dict and the description of its network.

    Args:
        path, flag: where it is, and the setting that named it, for messages
    """

    path: Path
    flag: str
    state: Mapping[str, torch.Tensor]
    spec: GeneratorSpec

    def generator(
        self, wanted: Mapping | None = None, prefix: str = "", weights_only: bool = False
    ) -> tuple[nn.Module, GeneratorSpec]:
        """The generator as it is stored. For the arguments see `resolve_spec`.

        Raises:
            InputError: a setting contradicts the file.
        """
        spec = resolve_spec(self.spec, wanted or {}, str(self.path), prefix, weights_only)
        return _build(spec, self.state, self.path, self.flag), spec

    def supernet(self, wanted: Mapping | None = None) -> tuple[nn.Module, GeneratorSpec]:
        """The checkpoint as a supernet. Released weights do not say that they are one.

        Args:
            wanted: settings that the user chose, see `resolve_spec`; without ``config_str``

        Raises:
            InputError: not a supernet, or contradicted by a setting.
        """
        spec = as_supernet(self.spec)
        if spec is None:
            raise InputError(
                f"{self.flag} {self.path} holds {self.spec.netG} {self.spec.config}, not a "
                "supernet; train_supernet.py trains one"
            )
        spec = resolve_spec(spec, wanted or {}, str(self.path))
        return _build(spec, self.state, self.path, self.flag), spec


def open_checkpoint(path: str | Path, flag: str) -> Stored:
    """Read a checkpoint of this project, or a released state dict.

    Args:
        flag: the flag that gave the path, for messages

    Raises:
        InputError: unreadable, or not a generator.
    """
    path = Path(path)
    state = load_state(path, flag)
    return Stored(path, flag, state, read_spec(state, path, flag))


def load_generator(
    path: str | Path,
    flag: str,
    wanted: Mapping | None = None,
    prefix: str = "",
    weights_only: bool = False,
) -> tuple[nn.Module, GeneratorSpec]:
    """Rebuild a generator from its checkpoint alone; see `open_checkpoint`, `Stored.generator`."""
    return open_checkpoint(path, flag).generator(wanted, prefix, weights_only)


def load_supernet(
    path: str | Path, flag: str, wanted: Mapping | None = None
) -> tuple[nn.Module, GeneratorSpec]:
    """Rebuild a supernet from its checkpoint; see `open_checkpoint`, `Stored.supernet`."""
    return open_checkpoint(path, flag).supernet(wanted)


def fitting(
    state: Mapping[str, torch.Tensor], net: nn.Module, path: Path, flag: str
) -> dict[str, torch.Tensor]:
    """The tensors of ``state`` that ``net`` takes.

    Raises:
        InputError: keys, shapes or types differ; says which.
    """
    wanted = net.state_dict()
    # Old checkpoints hold running statistics of instance norms that never used them.
    unused = ("running_mean", "running_var", "num_batches_tracked")
    state = {k: v for k, v in state.items() if k in wanted or not k.endswith(unused)}
    difference = explain_mismatch(state, net)
    if difference:
        raise InputError(f"{flag} {path} holds another network: {difference}")
    return state


def load_into(net: nn.Module, state: Mapping[str, torch.Tensor], path: Path, flag: str) -> None:
    """Copy a state dict into ``net``, or say which keys, shapes and types differ."""
    net.load_state_dict(fitting(state, net, path, flag))


def load_network(net: nn.Module, path: str | Path, flag: str) -> None:
    """Fill ``net`` (a discriminator, an adaptor, a generator of known shape) from a checkpoint."""
    load_into(net, load_state(Path(path), flag), Path(path), flag)
