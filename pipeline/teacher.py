"""The generator that is compressed, and what a student learns from it by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from errors import InputError
from models.build import (
    Checkpoint,
    DiscriminatorSettings,
    Initialisation,
    load_teacher,
    new_discriminator,
)
from models.generators import GeneratorSpec
from models.weights import load_state


@dataclass(frozen=True)
class Teacher:
    """The generator that is compressed.

    Args:
        path:          its file; of one that is trained: where it will be
        spec:          what it is
        given:         whether the user has it already
        discriminator: the file of its discriminator, where the student can use it
        ndf:           base width of a discriminator that was found beside a given teacher
        why:           which way of learning follows from that, and why
    """

    path: str
    spec: GeneratorSpec
    given: bool
    discriminator: str | None
    why: str
    ndf: int | None = None

    @property
    def recipe(self) -> str:
        """The table of the preset that says how a student learns."""
        if self.discriminator is not None:
            return "learning.discriminator"
        return "learning.layers" if self.spec.kind.tapped else "learning.images"


def best(run: Path, name: str) -> str:
    """A network of the best evaluation of a training, e.g. G."""
    return str(run / "checkpoints" / f"best_net_{name}.pth")


def given_teacher(path: str, paired: bool, norm: str) -> Teacher:
    checkpoint = Checkpoint(path, "`teacher`")
    spec = checkpoint.open().spec
    _, spec = load_teacher(checkpoint, (spec.input_nc, spec.output_nc))
    beside = Path(path).with_name(Path(path).name.replace("net_G", "net_D"))
    alone = "so the student learns layer by layer"
    if not spec.kind.tapped:
        alone = "and its layers do not fit, so the student learns from its images alone"
    if beside.name == Path(path).name or not beside.is_file():
        return Teacher(path, spec, True, None, f"no discriminator lies beside the teacher, {alone}")
    try:
        ndf = _width_of(beside, spec, paired, norm)
    except InputError as error:
        return Teacher(path, spec, True, None, f"{error}, {alone}")
    why = f"the student learns from the teacher's images, by the eyes of {beside.name} beside it"
    return Teacher(path, spec, True, str(beside), why, ndf)


def _width_of(path: Path, spec: GeneratorSpec, paired: bool, norm: str) -> int:
    """The base width (``ndf``) of a discriminator. InputError unless the student can use it."""
    first = next((v for v in load_state(path, "the discriminator").values() if v.ndim == 4), None)
    ndf = 1 if first is None else len(first)
    how = DiscriminatorSettings(ndf=ndf, norm=norm, restore_path=str(path))
    seen = spec.output_nc + (spec.input_nc if paired else 0)
    try:
        new_discriminator(how, seen, Initialisation())
    except InputError:
        raise InputError(f"{path.name} beside the teacher is of another kind than ours") from None
    return ndf
