"""Settings of a training run -> task, evaluation and trainer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data.build import DataSettings, inference_loader
from data.loader import Loader, UnpairedLoader
from errors import InputError
from evaluation.build import MeasureSettings, criteria, deciding
from evaluation.evaluator import Evaluator
from evaluation.pictures import montage_of
from metrics.criteria import LOWER_IS_BETTER
from models.build import Initialisation
from models.calibration import calibrate
from models.discriminators import Discriminator
from models.generators import GeneratorSpec
from models.kinds import KINDS
from models.multi_scale import MultiScaleDiscriminator
from models.weights import load_network
from runtime import distributed
from runtime.cuda_graphs import CudaGraphs
from runtime.folders import make_folder
from subnets.running import runner
from subnets.sampling import Sampling
from subnets.space import SearchSpace
from training.augmentation import Augmentation
from training.cycle_gan import CycleGanTask, CycleWeights
from training.feature_networks import DiscriminatorFeatures, VGG16Features
from training.image_losses import ImageLosses, ImageLossWeights, make_connector
from training.losses import PerceptualLoss
from training.online import OnlineTask, RealLosses
from training.quantisation import quantise
from training.schedules import Schedule
from training.spade import Rates, SpadeTask, SpadeWeights
from training.state import load_optimizers
from training.tasks import (
    DistillTask,
    Generate,
    Judge,
    LossWeights,
    Subnets,
    Task,
    TeacherTask,
    make_adaptors,
    tap_widths,
)
from training.trainer import Evaluation, Plan, Stopped, Trainer

# --------------------------------------------------------------------------------------------------
# Settings


@dataclass(frozen=True)
class UpdateSettings:
    """How weights are updated.

    Args:
        lr, beta1:     of Adam
        beta2, ttur:   of the task of SPADE, see `training.spade.Rates`
        amp:           none | bf16 | fp16: precision of the networks; weights and losses stay
                       float32
        ema:           decay per step of a moving average of the generator's weights; 0 = none
        augment:       names of `training.augmentation.CHANGES`: how what a discriminator sees is
                       changed
        cuda_graphs:   record a step once and replay it (CUDA only)
        restore_path:  optimizers to start from, see `training.state.load_optimizers`
        adaptors_path: common start of the adaptors' checkpoints
    """

    lr: float = 0.0002
    beta1: float = 0.5
    beta2: float = 0.999
    ttur: bool = True
    amp: str = "none"
    ema: float = 0.0
    augment: tuple[str, ...] = ()
    cuda_graphs: bool = False
    restore_path: str | None = None
    adaptors_path: str | None = None


@dataclass(frozen=True)
class OnlineSettings:
    """How a student learns from its teachers' images (`training.online`).

    Args:
        every:    steps per update of the teachers; 0 = they do not train
        losses:   weights of the losses between images
        features: what looks at images for the style and feature losses: ``discriminator``, the
                  first teacher's, or ``vgg16``
        vgg_path: weights of VGG-16; None takes torch's cache or a download
        tap_loss: one of `training.online.TAP_LOSSES`
        adversarial, l1_real: see `training.online.RealLosses`
    """

    every: int = 1
    losses: ImageLossWeights = field(default_factory=ImageLossWeights)
    features: str = "discriminator"
    vgg_path: str | None = None
    tap_loss: str = "mse"
    adversarial: float = 0.0
    l1_real: float = 0.0


@dataclass(frozen=True)
class SpadeSettings:
    """What the losses of `training.spade.SpadeTask` weigh; ``vgg_path`` holds the weights of
    VGG-19, None takes torch's cache or a download."""

    weights: SpadeWeights = field(default_factory=SpadeWeights)
    vgg_path: str | None = None


@dataclass(frozen=True)
class CycleSettings:
    """How two generators learn from unpaired images, see `training.cycle_gan.CycleGanTask`."""

    weights: CycleWeights = field(default_factory=CycleWeights)
    pool_size: int = 50
    seed: int = 0


@dataclass(frozen=True)
class SubnetSettings:
    """Which subnets of a supernet are trained.

    Args:
        config_set: the search space, the text of a `models.config.ConfigSet`; with ``config_str``,
                    the space that must hold it
        config_str: train this one alone (fine-tuning)
        sandwich, per_image, seed: see `subnets.sampling.Sampling`
    """

    config_set: str | None = None
    config_str: str | None = None
    sandwich: int = 0
    per_image: bool = False
    seed: int = 0


@dataclass(frozen=True)
class RunSettings:
    """A training run around its task.

    Args:
        schedule, plan:  how the learning rate develops; how long, and what happens when
        folder:          checkpoints, log and pictures
        tensorboard_dir: also write TensorBoard event files there
        decisive:        what decides the result: a folder with a run of other values is refused
        options:         written to options.json
    """

    schedule: Schedule
    plan: Plan
    folder: str
    tensorboard_dir: str | None = None
    decisive: Mapping = field(default_factory=dict)
    options: Mapping = field(default_factory=dict)


# --------------------------------------------------------------------------------------------------
# Tasks

# A generator and what it is.
Described = tuple[nn.Module, GeneratorSpec]


def subnets(
    settings: SubnetSettings,
    spec: GeneratorSpec,
    batch_size: int,
    calibration: Callable[[], Iterable[Tensor]],
) -> Subnets | None:
    """What a supernet is trained and measured at; None for a student of fixed width.

    Args:
        calibration: inputs to calibrate batch norms on, see `models.calibration`
    """
    if not spec.is_supernet:
        return None
    run = runner(spec, calibration)
    if settings.config_str:
        config = spec.parse(settings.config_str)
        config.check_fits(spec.ngf)
        if settings.config_set:
            SearchSpace(settings.config_set, spec.architecture).number(config)
        return Subnets(lambda step, images: [config], {str(config): config}, run)
    space = SearchSpace(settings.config_set, spec.architecture)
    space.check_fits(spec.ngf)
    if settings.per_image and batch_size * distributed.world_size() == 1:
        raise InputError(
            "`config_per_image` with one image per step changes nothing: "
            "give `batch_size` 2 or more"
        )
    if settings.per_image and not spec.kind.per_image:
        raise InputError(
            f"`config_per_image`: {spec.netG} runs a batch at one configuration; leave it out"
        )
    if settings.per_image and spec.norm == "batch":
        raise InputError(
            "`config_per_image` with `norm` batch: its statistics are those of a batch that runs "
            "one configuration; leave one of them out"
        )
    draw = Sampling(
        space,
        settings.seed,
        settings.sandwich,
        settings.per_image,
        distributed.rank(),
        batch_size,
    )
    return Subnets(draw, {"largest": space.largest, "smallest": space.smallest}, run)


def begin_tuned(
    student: nn.Module, spec: GeneratorSpec, calibration: Callable[[], Iterable[Tensor]]
) -> None:
    """Give a supernet that is trained at one configuration alone the statistics of that one.

    Its steps then keep them up to date.
    """
    config = spec.tuned_config
    if config is not None and spec.norm == "batch":
        device = next(student.parameters()).device
        batches = (batch.to(device) for batch in calibration())
        calibrate(student, batches, lambda x: student(x, config))


def begin_quantised(student: nn.Module, calibration: Callable[[], Iterable[Tensor]]) -> None:
    """Put a student of fixed width in 8 bits, in place, with the ranges of ``calibration``.

    Its steps then keep them up to date. See `training.quantisation`.
    """
    device = next(student.parameters()).device
    quantise(student, (batch.to(device) for batch in calibration()))


def teacher_task(
    generator: nn.Module,
    spec: GeneratorSpec,
    discriminator: Discriminator,
    weights: LossWeights,
    updates: UpdateSettings,
    device: torch.device,
) -> TeacherTask:
    teaching = _teaching([(generator, spec)], discriminator, weights, updates, device, updates.ema)
    return ready(teaching, updates)


def cycle_gan_task(
    generators: Sequence[Described],
    discriminators: Sequence[Discriminator],
    weights: LossWeights,
    settings: CycleSettings,
    updates: UpdateSettings,
    device: torch.device,
) -> CycleGanTask:
    """G_A and G_B learn from unpaired images before D_A and D_B; errors as `CycleGanTask`."""
    task = CycleGanTask(
        [net.to(device) for net, _ in generators],
        [net.to(device) for net in discriminators],
        [spec for _, spec in generators],
        weights,
        settings.weights,
        settings.pool_size,
        settings.seed,
        updates.lr,
        updates.beta1,
        device,
        updates.amp,
        Augmentation(updates.augment),
        updates.ema,
    )
    return ready(task, updates)


def spade_task(
    net: nn.Module,
    spec: GeneratorSpec,
    discriminator: MultiScaleDiscriminator,
    settings: SpadeSettings,
    weights: LossWeights,
    updates: UpdateSettings,
    device: torch.device,
    teacher: nn.Module | None = None,
    adaptors: Sequence[nn.Module] = (),
    subnets: Subnets | None = None,
) -> SpadeTask:
    """A generator learns from label maps and photos, with ``teacher`` from its activations too.

    Raises:
        InputError: the weights of VGG-19 are missing.
    """
    vgg = None
    if settings.weights.vgg:
        asks = f"`lambda_vgg` {settings.weights.vgg:g} (0: without; `vgg_path`: from a file)"
        path = Path(settings.vgg_path) if settings.vgg_path else None
        vgg = PerceptualLoss(path, asks, imagenet=False).to(device)
    task = SpadeTask(
        net.to(device),
        spec,
        discriminator.to(device),
        weights,
        settings.weights,
        Rates.of(updates.lr, updates.beta1, updates.beta2, updates.ttur),
        device,
        None if teacher is None else teacher.to(device),
        [adaptor.to(device) for adaptor in adaptors],
        vgg,
        subnets,
        updates.amp,
        updates.ema,
    )
    return ready(task, updates)


def _teaching(
    teachers: Sequence[Described],
    discriminator: Discriminator,
    weights: LossWeights,
    updates: UpdateSettings,
    device: torch.device,
    ema: float = 0.0,
) -> TeacherTask:
    return TeacherTask(
        [net.to(device) for net, _ in teachers],
        discriminator.to(device),
        [spec for _, spec in teachers],
        weights,
        updates.lr,
        updates.beta1,
        device,
        updates.amp,
        Augmentation(updates.augment),
        ema,
    )


def new_adaptors(
    student: GeneratorSpec,
    teacher: GeneratorSpec,
    updates: UpdateSettings,
    how: Initialisation,
    tap_loss: str | None = "mse",
) -> list[nn.Module]:
    """From the student's taps to what a loss of `training.online.TAP_LOSSES` compares; restored if
    wanted.

    Args:
        tap_loss: that loss; None where no taps are compared, which needs no adaptors

    Raises:
        InputError: taps are compared, and the teacher has none or those of another family.
    """
    if tap_loss is None:
        return []
    if not teacher.kind.tapped:
        raise InputError(
            f"`teacher_netG` {teacher.netG} has no activations that distillation compares: give "
            "`lambda_distill` 0 with `distiller` online, or another teacher"
        )
    theirs, ours = teacher.kind.taps, student.kind.taps
    if theirs != ours:
        raise InputError(
            f"`teacher_netG` {teacher.netG} and `student_netG` {student.netG}: distillation "
            f"compares activations, and those of {theirs.where} have no counterpart in "
            f"{ours.where}; give `lambda_distill` 0 with `distiller` online, which compares images "
            "alone, or a teacher of the student's family"
        )
    if tap_loss == "alignment":
        return []
    if tap_loss == "channel":
        adaptors = [
            make_connector(*widths, how.type, how.gain, joined)
            for *widths, joined in tap_widths(student, teacher)
        ]
    else:
        adaptors = make_adaptors(student, teacher, how.type, how.gain)
    if updates.adaptors_path:
        for index, adaptor in enumerate(adaptors):
            load_network(adaptor, f"{updates.adaptors_path}-{index}.pth", "`restore_A_path`")
    return adaptors


def distillation_task(
    student: nn.Module,
    spec: GeneratorSpec,
    teacher: nn.Module,
    adaptors: list[nn.Module],
    discriminator: nn.Module,
    weights: LossWeights,
    updates: UpdateSettings,
    device: torch.device,
    subnets: Subnets | None,
    paired: bool = True,
) -> DistillTask:
    """A student learns from a teacher, layer by layer; ``subnets`` if it is a supernet."""
    task = DistillTask(
        student.to(device),
        teacher.to(device),
        discriminator.to(device),
        [adaptor.to(device) for adaptor in adaptors],
        spec,
        weights,
        updates.lr,
        updates.beta1,
        device,
        subnets,
        paired,
        amp=updates.amp,
        ema=updates.ema,
        augment=Augmentation(updates.augment),
    )
    return ready(task, updates)


def online_task(
    student: nn.Module,
    spec: GeneratorSpec,
    teachers: Sequence[Described],
    adaptors: list[nn.Module],
    discriminator: Discriminator,
    settings: OnlineSettings,
    weights: LossWeights,
    updates: UpdateSettings,
    device: torch.device,
    subnets: Subnets | None,
    paired: bool = True,
    own_discriminator: Discriminator | None = None,
) -> OnlineTask:
    """A student learns from the images of one teacher or two, which may train along.

    Args:
        adaptors:      of the first teacher's taps
        discriminator: the teachers', with a judge for each
        own_discriminator: the student's, where it has an adversarial loss

    Raises:
        InputError: a teacher cannot train on unpaired data, or the weights of VGG-16 are missing.
    """
    s = settings
    if s.every and not paired:
        raise InputError(
            "`dataset_mode` unaligned: an online teacher learns from pairs; give a trained one "
            "as `restore_teacher_G_path` and `teacher_freq` 0"
        )
    if s.l1_real and not paired:
        raise InputError("`lambda_real`: unaligned data has no real image of an input; give 0")
    teaching = _teaching(teachers, discriminator, weights, updates, device)
    judge = None
    if own_discriminator is not None:
        augment = Augmentation(updates.augment)
        judge = Judge(own_discriminator.to(device), paired, augment, updates.amp)
    features = None
    if s.losses.need_features:
        path = Path(s.vgg_path) if s.vgg_path else None
        if s.features == "vgg16":
            features = VGG16Features("`feature_net` vgg16", path)
        else:
            features = DiscriminatorFeatures(teaching.net_d, paired)
    task = OnlineTask(
        student.to(device),
        teaching,
        [adaptor.to(device) for adaptor in adaptors],
        spec,
        ImageLosses(s.losses, features),
        s.tap_loss,
        updates.lr,
        updates.beta1,
        device,
        subnets,
        s.every,
        updates.amp,
        updates.ema,
        RealLosses(judge, s.adversarial, s.l1_real),
    )
    return ready(task, updates)


def ready(task: Task, updates: UpdateSettings) -> Task:
    """Restore the optimizers and record the steps, where that is wanted."""
    if updates.restore_path:
        load_optimizers(task.optimizers, updates.restore_path, "`restore_O_path`")
    fixed = [spec.netG for spec in task.specs.values() if not spec.kind.per_image]
    if updates.cuda_graphs and any(KINDS[name].elastic for name in fixed):
        raise InputError(
            f"`cuda_graphs`: a step of {fixed[0]} has the shapes of its configuration, another one "
            "each time, and cannot be recorded; leave it out"
        )
    if updates.cuda_graphs:
        task.record(CudaGraphs(task.device))
    return task


# --------------------------------------------------------------------------------------------------
# Evaluation while training


def validation(
    data: DataSettings,
    measures: MeasureSettings,
    device: torch.device,
    batch_size: int,
    page: Callable[[Path], None],
    columns: Mapping[str, Callable] | None = None,
    picture_size: int = 256,
) -> Evaluation | None:
    """How a training run is judged: on phase ``val``; None when that is neither there nor wanted.

    Args:
        data:         of the training
        batch_size:   images per batch of an evaluation
        page:         refreshes the page of the run's folder
        columns:      label -> generator, shown in the pictures beside input and target
        picture_size: of an image in the pictures, in pixels
    """
    if not data.has_phase("val"):
        if not measures.fid:
            return None
        what = "folder 'val'" if data.paired else "folders 'valA' and 'valB'"
        remedy = "add one" if data.paired else "add them (rename 'testA' and 'testB')"
        raise InputError(
            f"`dataroot` {data.dataroot} has no {what} to measure FID on; {remedy} or give `no_fid`"
        )
    data = data.for_validation()
    loader = inference_loader(data, device, batch_size, shared=True)
    with distributed.main_first():
        judges = criteria(measures, data, device)
    evaluator = Evaluator(loader, judges, shared=True, bar=True)
    criterion = deciding(judges)
    shown = dict(columns or {})
    return Evaluation(
        measure=evaluator,
        montage=lambda generators: montage_of(loader, shown | generators, picture_size),
        criterion=criterion,
        lower_is_better=LOWER_IS_BETTER.get(criterion, True),
        label=evaluator.labels.get(criterion, ""),
        page=page,
    )


def validation_both_ways(
    data: DataSettings, there: MeasureSettings, back: MeasureSettings, *args, **kwargs
) -> Evaluation | None:
    """How a run of `CycleGanTask` is judged: G_A on inputs A and real B, G_B on inputs B and real
    A. A checkpoint is the best if either of them is better than before.

    Args:
        there, back:  the measures of G_A and of G_B
        args, kwargs: of `validation`
    """
    first = validation(data, there, *args, **kwargs)
    second = validation(data.reversed(), back, *args, **kwargs)
    if first is None or second is None:
        return None

    def montage(generators: Mapping[str, Generate]) -> np.ndarray:
        halves = [
            each.montage({label: generators[label]})
            for label, each in (("G_A", first), ("G_B", second))
        ]
        return np.concatenate(halves)

    return replace(
        first,
        measures={"G_B": second.measure},
        montage=montage,
        label=_joint_label(first.label, second.label),
        each=True,
    )


def _joint_label(first: str, second: str) -> str:
    """``FID (x; real images of b.npz)``, and that of a.npz: ``FID (x; real images of b.npz |
    a.npz)``."""
    if first == second:
        return first
    words = first.split(" "), second.split(" ")
    same = next(i for i, (a, b) in enumerate(zip(*words, strict=False)) if a != b)
    return f"{first.removesuffix(')')} | {' '.join(words[1][same:])}"


# --------------------------------------------------------------------------------------------------
# The run


def train(
    task: Task,
    loader: Loader | UnpairedLoader,
    evaluation: Evaluation | None,
    settings: RunSettings,
) -> None:
    """Train a task to the end, or to a signal, which ends the process after saving.

    Raises:
        InputError: the learning rate follows a measure that nothing measures, or as `Trainer.run`.
    """
    if settings.schedule.policy == "plateau" and (evaluation is None or not evaluation.criterion):
        raise InputError(
            "`lr_policy` plateau follows FID or mIoU, and neither is measured: leave out `no_fid`, "
            "or give another policy"
        )
    trainer = Trainer(
        task,
        loader,
        settings.schedule,
        settings.plan,
        make_folder(settings.folder, "`log_dir`"),
        evaluation,
        {"processes": distributed.world_size()} | dict(settings.decisive),
        dict(settings.options),
        settings.tensorboard_dir,
    )
    try:
        trainer.run()
    except Stopped as stop:
        sys.exit(128 + stop.signum)
