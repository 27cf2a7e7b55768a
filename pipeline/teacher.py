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
from models.kinds import KINDS, supernet_beside
from models.weights import load_state


@dataclass(frozen=True)
class Teacher:
    """The generator that is compressed, and what it teaches.

    Args:
        path:          its file; of one that is trained: where it will be
        student:       the supernet that learns from it
        spec:          what it is
        given:         whether the user has it already
        discriminator: the file of its discriminator, where the student can use it
        ndf:           base width of that discriminator
        why:           which way of learning follows from that, and why
    """

    path: str
    student: str
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
        return "learning.layers" if _layers_fit(self.spec, self.student) else "learning.images"


def _layers_fit(teacher: GeneratorSpec, student: str) -> bool:
    return teacher.kind.taps == KINDS[student].taps


def best(run: Path, name: str) -> str:
    """A network of the best evaluation of a training, e.g. G."""
    return str(run / "checkpoints" / f"best_net_{name}.pth")


def latest(run: Path, name: str) -> str:
    """The same of its end."""
    return str(run / "checkpoints" / f"latest_net_{name}.pth")


def given_teacher(path: str, paired: bool, norm: str, student: str | None) -> Teacher:
    """Read a teacher, and look for its discriminator beside it.

    Args:
        paired:  whether that discriminator sees inputs beside outputs
        norm:    of its layers
        student: the supernet that is wanted; None = the one of the teacher's family
    """
    checkpoint = Checkpoint(path, "`teacher`")
    spec = checkpoint.open().spec
    _, spec = load_teacher(checkpoint, (spec.input_nc, spec.output_nc))
    student = student or supernet_beside(spec.netG)
    beside = Path(path).with_name(Path(path).name.replace("net_G", "net_D"))
    alone = "so the student learns layer by layer"
    if not _layers_fit(spec, student):
        alone = "and its layers do not fit, so the student learns from its images alone"
    if beside.name == Path(path).name or not beside.is_file():
        why = f"no discriminator lies beside the teacher, {alone}"
        return Teacher(path, student, spec, True, None, why)
    try:
        ndf = _width_of(beside, spec, paired, norm)
    except InputError as error:
        return Teacher(path, student, spec, True, None, f"{error}, {alone}")
    why = (
        f"the student learns from the teacher's images, by the features of {beside.name} beside it"
    )
    return Teacher(path, student, spec, True, str(beside), why, ndf)


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
