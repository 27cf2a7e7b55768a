"""Generators under test: what each one is, what it costs, and its short name beside others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from data.build import DataSettings
from errors import InputError
from evaluation.styles import References, read_references
from models.build import Checkpoint, load_teacher
from models.config import ChannelConfig
from models.cost import config_cost
from models.generators import GeneratorSpec
from models.layers import set_dropout
from models.styles import InRandomStyles, InStyles, InStylesOf
from models.tiles import Tiling


@dataclass(frozen=True)
class TestedModel:
    """What a tested model is and what it costs: MACs of one image, and number of parameters."""

    __test__ = False  # not a pytest class

    name: str  # e.g. sub_mobile_resnet_9blocks 16_16_40_40_40_64_24_16
    checkpoint: str
    macs: int
    params: int
    macs_convention: str
    height: int  # of the image, in pixels
    width: int
    mode: str = "eval"  # see `TestSettings`
    tiles: Tiling | None = None  # None = every image as a whole
    exact_macs: int | None = None  # true multiply-accumulates of the convolutions; None = not known
    # Of a network with a style encoder, which images in drawn styles do not run: the rest alone.
    macs_without_style_encoder: int | None = None
    params_without_style_encoder: int | None = None
    styles: str | None = None  # what images are made in; None = the network takes no style

    @property
    def cost(self) -> str:
        """MACs and parameters in words, both with a style encoder and without."""
        text = f"{self.macs:,} MACs ({self.macs_convention} convention), {self.params:,} parameters"
        if self.macs_without_style_encoder is None:
            return text
        return (
            f"{text}; without the style encoder {self.macs_without_style_encoder:,} MACs, "
            f"{self.params_without_style_encoder:,} parameters"
        )


@dataclass(frozen=True)
class Loaded:
    """A network on its device, what it is, and its ``label`` beside others.

    ``spec`` is what its checkpoint says, ``config`` its channels. ``styled``: of a network that
    takes styles, what chooses them, and the ``references`` that it takes them from; None = it draws
    them.
    """

    label: str
    net: Callable[[Tensor], Tensor]
    model: TestedModel
    spec: GeneratorSpec | None = None
    config: ChannelConfig | None = None
    styled: InStyles | None = None
    references: References | None = None


# Names that the page and the folder of images use for something else.
TAKEN = ("input", "real", "name", "real_A", "real_B", "fake_B", "style", "styles")


def short_names(paths: Sequence[Path], taken: Sequence[str] = TAKEN) -> list[str]:
    """A short name for each checkpoint that differs from the others and from those ``taken``.

    Names are safe as folder names and compared without regard to case.
    ``runs/a/checkpoints/best_net_G.pth`` becomes ``a``, ``out/small.pth`` becomes ``small``. If
    that is not enough, parent folders are added: ``runs-a``, ``b-best_net_G``.
    """
    whole = [
        [part for part in p.with_suffix("").parts if part not in ("checkpoints", p.anchor)]
        for p in paths
    ]
    # Every run has a best_net_G, so the name of the run's folder says more.
    short = [parts[:-1] if parts[-1].endswith("net_G") and parts[:-1] else parts for parts in whole]
    for names in (short, whole):
        for depth in range(1, max(map(len, names)) + 1):
            labels = ["-".join(parts[-depth:]) for parts in names]
            if max(Counter(label.casefold() for label in (*labels, *taken)).values()) == 1:
                return labels
    return [f"{number}-{parts[-1]}" for number, parts in enumerate(whole, 1)]


# --------------------------------------------------------------------------------------------------
# Loading


@dataclass(frozen=True)
class TestSettings:
    """What is tested, and at which size and in which convention its MACs are counted.

    Args:
        models:     the first is the subject of the test
        teacher:    what the models are compared with; None = the first model
        channels:   (input, output) channels of the images
        config_str: the subnet to extract from a supernet that was not fine-tuned at one; None = its
                    full width
        macs_convention: see `models.cost.CONVENTIONS`
        size:       (height, width) in pixels
        images:     what is known about the images, in the terms of `GeneratorSpec.trained_on`
        mode:       ``eval``; ``train``: batch norm takes the statistics of the batch and dropout
                    stays on, as pix2pix in PyTorch tests unless it is told otherwise
        dropout_rate: of mode ``train``; None = that of the file, which bare files do not state
        references: images whose styles others are made in (`evaluation.styles.read_references`);
                    None = networks that take styles draw them
    """

    __test__ = False  # not a pytest class

    models: Sequence[Checkpoint]
    teacher: Checkpoint | None
    channels: tuple[int, int]
    config_str: str | None
    macs_convention: str
    size: tuple[int, int]
    images: Mapping = field(default_factory=dict)
    mode: str = "eval"
    dropout_rate: float | None = None
    references: DataSettings | None = None


def load_tested(settings: TestSettings, device: torch.device) -> tuple[Loaded | None, list[Loaded]]:
    """Load the teacher, if there is one, and the models, each with a distinct label.

    Warns if a network was trained on images of another direction or size.

    Raises:
        InputError: a checkpoint is given twice, cannot be read, or has other channels than the
            images, or sizes that they do not have; or it finds no style in reference images.
    """
    teacher, references = None, None
    if settings.references is not None:
        references = read_references(settings.references, device)
    given = [settings.teacher, *settings.models] if settings.teacher else [*settings.models]
    _refuse_repeated(given)
    if settings.teacher:
        net, spec = load_teacher(settings.teacher, settings.channels)
        teacher = _loaded("teacher", settings.teacher, net, spec, settings, device, references)
    paths = [Path(os.path.realpath(checkpoint.path)) for checkpoint in settings.models]
    labels = short_names(paths, (*TAKEN, "teacher") if teacher else TAKEN)
    models = []
    for label, checkpoint in zip(labels, settings.models, strict=True):
        net, spec = checkpoint.load_for(settings.channels)
        models.append(_loaded(label, checkpoint, net, spec, settings, device, references))
    return teacher, models


def _refuse_repeated(checkpoints: Sequence[Checkpoint]) -> None:
    seen: dict[str, str] = {}
    for checkpoint in checkpoints:
        real = os.path.realpath(checkpoint.path)
        said = f"{checkpoint.setting} {checkpoint.path}"
        if real in seen:
            raise InputError(f"{said}: the same checkpoint as {seen[real]}; give each once")
        seen[real] = said


def _loaded(
    label: str,
    checkpoint: Checkpoint,
    net: nn.Module,
    spec: GeneratorSpec,
    settings: TestSettings,
    device: torch.device,
    references: References | None,
) -> Loaded:
    """A generator ready to be measured.

    A supernet is cut to the subnet that it was fine-tuned at, else to that of the settings, else to
    its full width.
    """
    checkpoint.check_images(spec, settings.images)
    config = spec.config
    if spec.is_supernet:
        if spec.tuned_config:
            config = spec.tuned_config
        elif settings.config_str:
            config = spec.parse(settings.config_str)
        if spec.needs_statistics(config):
            raise InputError(
                f"{checkpoint.setting} {checkpoint.path} has batch norms without statistics of "
                f"{config}: export.py cuts it out and takes them from images (`dataroot`); test "
                "that file"
            )
        net = spec.kind.extract(net, config)
    name = spec.name_at(config)
    if settings.dropout_rate is not None:
        set_dropout(net, settings.dropout_rate)
    net = net.to(device)
    chooses = styles = None
    if references is not None:
        _require_style_encoder(checkpoint, spec)
        chooses = InStylesOf(net, references.styles(net.eval()))
        styles = f"those of the {len(references)} images of {references.folder}"
    elif spec.kind.styled:
        # Else each image would be made in its own style.
        chooses, styles = InRandomStyles(net), "drawn for each image"
    convention = settings.macs_convention
    bare, both = spec.without_style_encoder, {}
    macs, params = config_cost(config, spec.architecture, convention, *settings.size)
    exact, _ = config_cost(config, spec.architecture, "exact", *settings.size)
    if bare:
        found = config_cost(config, bare.architecture, convention, *settings.size)
        names = "macs_without_style_encoder", "params_without_style_encoder"
        both = dict(zip(names, found, strict=True))
    model = TestedModel(
        name,
        checkpoint.path,
        macs,
        params,
        convention,
        *settings.size,
        settings.mode,
        exact_macs=exact,
        styles=styles,
        **both,
    )
    net = (chooses or net).train(settings.mode == "train")
    return Loaded(label, net, model, spec, config, chooses, references)


def _require_style_encoder(checkpoint: Checkpoint, spec: GeneratorSpec) -> None:
    who = f"{checkpoint.setting} {checkpoint.path} ({spec.netG})"
    if not spec.kind.styled:
        raise InputError(f"`ref_root`: {who} takes no style; leave it out")
    if not spec.form.style_encoder:
        raise InputError(
            f"`ref_root`: {who} has no style encoder, which finds the style of an image; leave it "
            "out: styles are drawn then"
        )
