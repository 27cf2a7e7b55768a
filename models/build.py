"""Build networks from their settings: new ones, and those of checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from errors import InputError
from models import weights
from models.discriminators import Discriminator, build_discriminator
from models.generators import GeneratorSpec
from models.image_scales import ImageScaleDiscriminator
from models.layers import init_weights, set_dropout
from models.multi_scale import MultiScaleDiscriminator
from models.weights import Stored, load_generator, load_network, open_checkpoint

# --------------------------------------------------------------------------------------------------
# Settings


@dataclass(frozen=True)
class Initialisation:
    """How new weights are drawn, see `models.layers.init_weights`."""

    type: str = "normal"
    gain: float = 0.02


@dataclass(frozen=True)
class Checkpoint:
    """A generator's file and what the user stated about it.

    Args:
        path:    the file
        setting: what the user calls the path, for messages
        wanted:  architecture settings given by the user, which must agree with the file; see
                 `models.generators.resolve_spec`
        prefix:  of ``netG`` and ``ngf`` among the settings, for messages
        weights_only: a start for training, see `models.generators.resolve_spec`
    """

    path: str
    setting: str = "`restore_G_path`"
    wanted: Mapping = field(default_factory=dict)
    prefix: str = ""
    weights_only: bool = False

    def load(self) -> tuple[nn.Module, GeneratorSpec]:
        """The network and what it is."""
        return load_generator(self.path, self.setting, self.wanted, self.prefix, self.weights_only)

    def open(self) -> Stored:
        """The file, read once, for those who must know what it holds before they build it."""
        return open_checkpoint(self.path, self.setting)

    def load_for(self, channels: tuple[int, int]) -> tuple[nn.Module, GeneratorSpec]:
        """The same; InputError unless it maps images of these (input, output) channels."""
        net, spec = self.load()
        self.check_channels(spec, channels)
        return net, spec

    def check_images(self, spec: GeneratorSpec, images: Mapping) -> None:
        """Warn if the network was trained on images of another direction or size.

        In the wrong direction it gets the images that it should produce, and its outputs are
        nonsense.

        Args:
            images: what it gets, in the terms of `GeneratorSpec.trained_on`

        Raises:
            InputError: images of that size do not fit the network.
        """
        try:
            spec.check_size(images)
        except InputError as error:
            raise InputError(f"{self.setting} {self.path} ({spec.netG}): {error}") from None
        made_for = spec.trained_on
        differ = [k for k in ("direction", "size") if k in made_for and k in images]
        differ = [k for k in differ if made_for[k] != images[k]]
        who = f"{self.setting} {self.path} was trained"
        if "direction" in differ:
            warnings.warn(
                f"{who} {made_for['direction']} and gets images {images['direction']}: "
                f"give `direction` {made_for['direction']} if that is a mistake",
                stacklevel=2,
            )
        elif differ:
            sizes = [f"{each['size'][1]}x{each['size'][0]}" for each in (made_for, images)]
            warnings.warn(f"{who} at {sizes[0]} and gets images of {sizes[1]}", stacklevel=2)

    def check_channels(self, spec: GeneratorSpec, channels: tuple[int, int]) -> None:
        made_for = (spec.input_nc, spec.output_nc)
        if made_for != channels and spec.kind.labels:
            raise InputError(
                f"{self.setting} {self.path} makes {made_for[1]} channels of label maps of "
                f"{made_for[0]}, and these have {channels[1]} and {channels[0]}: `dataset_mode` "
                "(cityscapes or coco), `input_nc`, `contain_dontcare_label` and `no_instance` say "
                "how many"
            )
        if made_for != channels:
            raise InputError(
                f"{self.setting} {self.path} maps {made_for[0]} to {made_for[1]} channels, "
                f"the images have {channels[0]} and {channels[1]}; "
                f"give `input_nc` {made_for[0]} `output_nc` {made_for[1]}"
            )


@dataclass(frozen=True)
class DiscriminatorSettings:
    """A discriminator.

    Args:
        netD:         n_layers | pixel | multi_scale | ms_image
        ndf:          its base width
        norm:         as `models.layers.make_norm` takes it, of multi_scale as `parse_norm_D`;
                      ms_image has none
        restore_path: a checkpoint of it, which messages call ``setting``
        heads, share: the generators that it judges, and the blocks that it has in common for them
        num_D:        the sizes of an image that multi_scale and ms_image look at
    """

    netD: str = "n_layers"
    ndf: int = 128
    n_layers: int = 3
    norm: str = "instance"
    restore_path: str | None = None
    heads: int = 1
    share: int = 0
    setting: str = "`restore_D_path`"
    num_D: int = 2


@dataclass(frozen=True)
class TeacherSettings:
    """A network that a student learns from: a new one, or that of a checkpoint."""

    spec: GeneratorSpec
    restored: Checkpoint | None = None


@dataclass(frozen=True)
class StudentSettings:
    """The network that learns from a teacher.

    Args:
        spec:         describes a new student
        dropout_rate: also applied to a restored student
        restored:     start from this checkpoint
        pretrained:   start from the strongest channels of this wider network
    """

    spec: GeneratorSpec
    dropout_rate: float = 0.0
    restored: Checkpoint | None = None
    pretrained: Checkpoint | None = None


# --------------------------------------------------------------------------------------------------
# Networks


def new_generator(spec: GeneratorSpec, how: Initialisation) -> nn.Module:
    """A network with fresh weights. InputError if the images that it learns from do not fit it."""
    spec.check_size(spec.trained_on)
    return init_weights(spec.build(), how.type, how.gain)


def new_discriminator(
    settings: DiscriminatorSettings, channels: int, how: Initialisation
) -> Discriminator | MultiScaleDiscriminator | ImageScaleDiscriminator:
    """A discriminator of images with ``channels`` channels; restored if the settings say so."""
    s = settings
    if s.netD == "ms_image":
        net = ImageScaleDiscriminator(channels, s.ndf, s.n_layers, s.num_D)
    elif s.netD == "multi_scale":
        net = MultiScaleDiscriminator(channels, s.ndf, s.n_layers, s.norm, s.num_D)
    else:
        net = build_discriminator(s.netD, channels, s.ndf, s.n_layers, s.norm, s.heads, s.share)
    init_weights(net, how.type, how.gain)
    if s.restore_path:
        load_network(net, s.restore_path, s.setting)
    return net


def load_teacher(
    checkpoint: Checkpoint, channels: tuple[int, int]
) -> tuple[nn.Module, GeneratorSpec]:
    """Load a trained teacher. InputError for a supernet, or for other ``channels``."""
    net, spec = checkpoint.load_for(channels)
    if spec.is_supernet:
        raise InputError(
            f"{checkpoint.setting} {checkpoint.path} is a supernet; export a subnet of it first"
        )
    return net, spec


def new_teacher(
    settings: TeacherSettings, channels: tuple[int, int], images: Mapping, how: Initialisation
) -> tuple[nn.Module, GeneratorSpec]:
    """A teacher and what it is; see `load_teacher`, `Checkpoint.check_images`."""
    if settings.restored is None:
        return new_generator(settings.spec, how), settings.spec
    net, spec = load_teacher(settings.restored, channels)
    settings.restored.check_images(spec, images)
    return net, spec


def new_student(settings: StudentSettings, how: Initialisation) -> tuple[nn.Module, GeneratorSpec]:
    """The student: new, from a checkpoint, or pruned from a wider network.

    Raises:
        InputError: of a kind that has no activations to learn by.
    """
    if not settings.spec.kind.tapped:
        raise InputError(
            f"`student_netG` {settings.spec.netG} has no activations that distillation compares, "
            "and is no student; train.py trains it alone"
        )
    if settings.restored:
        net, found = settings.restored.load()
        set_dropout(net, settings.dropout_rate)
        found = replace(
            found, dropout_rate=settings.dropout_rate, trained_on=settings.spec.trained_on
        )
        found.check_size(found.trained_on)
        # A supernet's file names its configuration if it is trained at a single one.
        if found.is_supernet:
            found = replace(found, config_str=settings.spec.config_str)
        return net, found
    net = new_generator(settings.spec, how)
    if settings.pretrained:
        wide, _ = settings.pretrained.load()
        settings.spec.kind.prune(wide, net)
    return net, settings.spec


def load_supernet(checkpoint: Checkpoint) -> tuple[nn.Module, GeneratorSpec]:
    """A supernet from a checkpoint of this project, or a released one."""
    return weights.load_supernet(checkpoint.path, checkpoint.setting, checkpoint.wanted)
