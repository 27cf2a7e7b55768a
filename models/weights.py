"""Files of weights: plain state dicts that carry what is needed to rebuild their network, and the state of a whole run.

All are written to a temporary name and renamed; all are read with ``weights_only=True``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from errors import InputError
from models.generators import GeneratorSpec, explain_mismatch, infer_spec, resolve_spec
from runtime.files import load_tensors, save_tensors

# Where a state dict's metadata, which `load_state_dict` ignores, holds the `GeneratorSpec` of its network.
SPEC_KEY = "generator"


# --------------------------------------------------------------------------------------------------
# Networks


def save_network(net: nn.Module, path: Path, spec: GeneratorSpec | None = None) -> None:
    """A plain state dict of CPU tensors (copies: the network stays where it is); with ``spec``, loading needs no architecture flags."""
    state = net.state_dict()
    for key in state:
        state[key] = state[key].cpu()
    if spec is not None:
        state._metadata[SPEC_KEY] = spec.to_dict()
    save_tensors(state, path)


def load_state(path: Path, flag: str) -> Mapping[str, torch.Tensor]:
    """A state dict from a checkpoint, ``module.`` prefixes of parallel training removed."""
    state = load_tensors(path, flag)
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
    return state


def _why_no_weight(key: str, value: torch.Tensor) -> str | None:
    """What is wrong with a tensor of a state dict, None when it can be a weight."""
    if value.layout is not torch.strided:
        return "a sparse tensor; save it dense"
    if value.is_meta:
        return "on the meta device, without values"
    if key.endswith("num_batches_tracked"):
        return None
    if not value.is_floating_point():
        return f"of type {str(value.dtype).removeprefix('torch.')}, weights are floating-point"
    if not torch.isfinite(value).all():
        return "not finite; the run that wrote it had diverged"
    return None


def read_spec(state: Mapping[str, torch.Tensor], path: Path, flag: str) -> GeneratorSpec:
    """What network a state dict is of: as stored by `save_network`, else from its shapes."""
    stored = getattr(state, "_metadata", {}).get(SPEC_KEY)
    if stored:
        return GeneratorSpec.from_dict(stored)
    try:
        return infer_spec(state)
    except InputError as error:
        raise InputError(f"{flag} {path}: {error}") from None


def load_generator(
    path: str | Path, flag: str, wanted: Mapping | None = None, prefix: str = ""
) -> tuple[nn.Module, GeneratorSpec]:
    """Rebuild a generator from its checkpoint alone.

    Args:
        path:   a ``.pth`` of ours, or a released state dict
        flag:   the flag that gave the path, for messages
        wanted, prefix: architecture flags given explicitly, see `resolve_spec`

    Raises:
        InputError: unreadable, not finite, not a generator, or contradicted by a flag.
    """
    path = Path(path)
    state = load_state(path, flag)
    spec = resolve_spec(read_spec(state, path, flag), wanted or {}, str(path), prefix)
    net = spec.build()
    load_into(net, state, path, flag)
    return net, spec


def load_into(net: nn.Module, state: Mapping[str, torch.Tensor], path: Path, flag: str) -> None:
    """Copy a state dict into ``net``, or say which keys and shapes differ."""
    # Old checkpoints hold running statistics of instance norms that never used them.
    wanted = net.state_dict()
    state = {
        k: v
        for k, v in state.items()
        if k in wanted or not k.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
    difference = explain_mismatch(state, net)
    if difference:
        raise InputError(f"{flag} {path} holds another network: {difference}")
    net.load_state_dict(state)


def load_network(net: nn.Module, path: str | Path, flag: str) -> None:
    """Fill ``net`` (a discriminator, an adaptor, a generator of known shape) from a checkpoint."""
    load_into(net, load_state(Path(path), flag), Path(path), flag)
