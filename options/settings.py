"""Turn parsed flags into settings. No other package reads a namespace or asks what was typed.

Each function takes the namespace of an option class and returns a small frozen dataclass, which
lives beside the code that it configures.
"""

from __future__ import annotations

import hashlib
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from data.build import DataSettings
from data.datasets import path_of_side
from data.labelled import LAYOUTS
from data.labels import Semantics
from errors import InputError
from evaluation.build import MeasureSettings
from models.build import (
    Checkpoint,
    DiscriminatorSettings,
    Initialisation,
    StudentSettings,
    TeacherSettings,
)
from models.generators import GeneratorSpec
from models.kinds import KINDS, Kind
from models.munit import MunitForm
from models.spade import USUAL_NORM_G, SpadeForm, parse_norm_G
from options.flags import FORMS_OF_MUNIT, MUNIT_TEST, MUNIT_WAY, OWN_OF_MUNIT
from options.flags import is_munit as is_munit  # for the scripts too
from options.flags import is_spade as is_spade
from runtime import machine
from subnets.space import Milliseconds
from training.build import (
    CycleSettings,
    OnlineSettings,
    RunSettings,
    SpadeSettings,
    SubnetSettings,
    UpdateSettings,
)
from training.build_munit import MunitSettings
from training.cycle_gan import CycleWeights
from training.image_losses import ImageLossWeights
from training.munit import MunitWeights
from training.schedules import Schedule
from training.spade import SpadeWeights
from training.tasks import LossWeights
from training.trainer import Plan

# --------------------------------------------------------------------------------------------------
# Machine and data


def was_typed(opt: Namespace, flag: str) -> bool:
    return flag in opt.explicit


def start_machine(opt: Namespace) -> torch.device:
    """The device of the flags, with everything seeded; see `runtime.machine.start`."""
    # Some scripts have no flags for what only training wants of a machine.
    wanted = {
        k: getattr(opt, k) for k in ("seed", "amp", "cuda_graphs", "threads") if hasattr(opt, k)
    }
    ids = tuple(int(part) for part in opt.gpu_ids.split(","))
    return machine.start(machine.MachineSettings(opt.device, ids, **wanted))


def data(opt: Namespace) -> DataSettings:
    same = ("dataroot", "dataset_mode", "direction", "phase", "meta_path", "max_dataset_size")
    same += ("preprocess", "load_size", "crop_size", "aspect_ratio", "input_nc", "output_nc")
    same += ("batch_size", "seed", "num_threads", "load_in_memory", "cache_gb")
    # Scripts that do not train have no flags for what only training does.
    values = {name: getattr(opt, name) for name in same if hasattr(opt, name)}
    if hasattr(opt, "no_instance"):
        values |= {"dont_care": opt.contain_dontcare_label, "instance": not opt.no_instance}
        values |= {"portraits": not opt.coco_no_portraits, "check_pairs": not opt.no_pairing_check}
    if getattr(opt, "calibration_meta_path", None) is not None:
        values["calibration_meta_path"] = opt.calibration_meta_path
    if hasattr(opt, "no_flip"):
        values |= {"flip": not opt.no_flip, "shuffle": not opt.serial_batches}
    settings = DataSettings(**values)
    return settings.at_most(getattr(opt, "num_test", float("inf")))


# --------------------------------------------------------------------------------------------------
# Networks


def _typed(opt: Namespace, names: Mapping[str, str]) -> dict:
    """Setting -> value, of the flags that were typed; ``names``: flag -> setting."""
    return {name: getattr(opt, flag) for flag, name in names.items() if flag in opt.explicit}


def _wanted(opt: Namespace, names: Mapping[str, str], prefix: str = "") -> dict:
    """What was typed of a network, for `models.generators.resolve_spec`: of the flags ``names``,
    and of those that are the same for all networks of a command.

    Args:
        prefix: of the flags for what else a form says, e.g. ``teacher_``
    """
    same = {name: name for name in ("output_nc", "norm", *_FORM)}
    found = _typed(opt, dict(names) | same | {f"{prefix}norm_G": "norm_G"} | _styles(opt, prefix))
    if getattr(opt, "model", None) == MUNIT_TEST:
        found["styled"] = True
    channels = {"input_nc", "contain_dontcare_label", "no_instance"}
    if not channels.isdisjoint(opt.explicit):
        found["input_nc"] = _input_channels(opt)
    return found


def _styles(opt: Namespace, prefix: str) -> dict[str, str]:
    """Flag -> setting, of what the form of a network that takes styles may be asked to agree with.
    None where a student and its teacher take none: a printed line says so."""
    if hasattr(opt, "distiller") and not is_munit(opt):
        return {}
    own = {f"{prefix}{name}": name for name in OWN_OF_MUNIT}
    return {name: name for name in FORMS_OF_MUNIT} | own


def _input_channels(opt: Namespace) -> int:
    """Those of a network's input: of label maps one for each label, and more."""
    # Scripts that read no images and have flags of label maps are for these alone.
    if getattr(opt, "dataset_mode", "cityscapes") not in LAYOUTS:
        return opt.input_nc
    return Semantics(opt.input_nc, opt.contain_dontcare_label, not opt.no_instance).channels


def initialisation(opt: Namespace) -> Initialisation:
    return Initialisation(opt.init_type, opt.init_gain)


def spec(opt: Namespace, prefix: str = "", config_str: str | None = None) -> GeneratorSpec:
    """The new generator of ``--{prefix}netG`` and the flags that belong to it."""
    name = getattr(opt, f"{prefix}netG")
    kind, images = KINDS[name], data(opt)
    norm, form = _norm_and_form(opt, kind, prefix)
    return GeneratorSpec(
        name,
        None if kind.by_config else getattr(opt, f"{prefix}ngf"),
        config_str if kind.by_config or kind.elastic else None,
        *images.channels,
        norm,
        getattr(opt, f"{prefix}dropout_rate", 0.0),
        form,
        trained_on=images.described,
    )


# Flags of what networks of a kind may differ in besides norms.
_FORM = ("num_upsampling_layers", "separable_conv_norm")


def _norm_and_form(
    opt: Namespace, kind: Kind, prefix: str
) -> tuple[str, SpadeForm | MunitForm | None]:
    """The norm of a new network and its form, where networks of its kind have one."""
    if kind.form is MunitForm:
        flags = {"style_dim": opt.style_dim, "mlp_dim": getattr(opt, f"{prefix}mlp_dim", None)}
        given = {name: value for name, value in flags.items() if value}
        without = getattr(opt, f"{prefix}no_style_encoder", False)
        return kind.norms[0], MunitForm(**given, style_encoder=not without)
    if kind.form is not SpadeForm:
        return opt.norm, None
    found = parse_norm_G(getattr(opt, f"{prefix}norm_G", None) or USUAL_NORM_G)
    given = {name: getattr(opt, name) for name in _FORM if getattr(opt, name) is not None}
    return found.pop("norm"), kind.form(**found, **given)


def timed_supernet(opt: Namespace) -> tuple[GeneratorSpec, tuple[int, int]]:
    """(the supernet whose subnets are timed, at width 1; height and width of their images)."""
    kind = KINDS[opt.netG]
    norm, form = _norm_and_form(opt, kind, "")
    if kind.styled:
        # Styles are given, so it is not run.
        form = replace(form, style_encoder=False)
    found = GeneratorSpec(opt.netG, 1, None, _input_channels(opt), opt.output_nc, norm, form=form)
    return found, (round(opt.size / opt.aspect_ratio), opt.size)


def specs_both_ways(opt: Namespace) -> dict[str, GeneratorSpec]:
    """Side of an input -> the new generator for it: G_A and G_B of a CycleGAN."""
    there, images = spec(opt), data(opt).reversed()
    channels = dict(zip(("input_nc", "output_nc"), images.channels, strict=True))
    return {"A": there, "B": replace(there, trained_on=images.described, **channels)}


def of_side(start: str | None, side: str) -> str | None:
    """The file of one side by the common start of both, if that is given."""
    return start and f"{start}_{side}.pth"


def restored(opt: Namespace, side: str, what: str = "G") -> tuple[str | None, str]:
    """(the file that a network of one of two sides starts from, None if from none; the flag that
    names it). ``what``: G | D."""
    own, both = f"restore_{what}_{side}_path", f"restore_{what}_path"
    if getattr(opt, own) is not None:
        return getattr(opt, own), f"`{own}`"
    return of_side(getattr(opt, both), side), f"`{both}`"


def discriminator(opt: Namespace, side: str | None = None) -> DiscriminatorSettings:
    """``side``: of a CycleGAN's discriminators, that of the generator with inputs of this side; of
    MUNIT's, that of images of this side."""
    path, setting = restored(opt, side, "D") if side else (opt.restore_D_path, "`restore_D_path`")
    start = dict(restore_path=path, setting=setting)
    sizes = opt.netD, opt.ndf, opt.n_layers_D
    if is_munit(opt):
        return DiscriminatorSettings(*sizes, num_D=opt.num_D, **start)
    if is_spade(opt):
        return DiscriminatorSettings(*sizes, opt.norm_D, num_D=opt.num_D, **start)
    several = {"heads": 2, "share": opt.share_D} if _two_teachers(opt) else {}
    return DiscriminatorSettings(*sizes, opt.norm, **start, **several)


def own_discriminator(opt: Namespace) -> DiscriminatorSettings | None:
    """That of an online student, where it has an adversarial loss."""
    if opt.distiller != "online" or not opt.lambda_adversarial:
        return None
    ndf = opt.ndf if opt.student_ndf is None else opt.student_ndf
    path = opt.restore_student_D_path
    return DiscriminatorSettings(
        opt.netD, ndf, opt.n_layers_D, opt.norm, path, setting="`restore_student_D_path`"
    )


def generator(opt: Namespace, flag: str = "restore_G_path") -> Checkpoint:
    """The checkpoint of a flag, with the flags on the architecture that were typed."""
    names = {name: name for name in ("netG", "ngf", "config_str")}
    return Checkpoint(getattr(opt, flag), f"`{flag}`", _wanted(opt, names))


def generator_of_side(opt: Namespace, side: str) -> Checkpoint:
    """That of domain A or B, of two that are assembled."""
    flag, names = f"restore_G_{side}_path", ("netG", "ngf", "no_style_encoder")
    names = {f"{name}_{side}": name for name in names}
    return Checkpoint(getattr(opt, flag), f"`{flag}`", _typed(opt, names))


def teacher(opt: Namespace, prefix: str = "teacher_") -> Checkpoint:
    names = {f"{prefix}{name}": name for name in ("netG", "ngf")}
    flag = f"restore_{prefix}G_path"
    return Checkpoint(getattr(opt, flag), f"`{flag}`", _wanted(opt, names, prefix), prefix)


def both_ways(opt: Namespace) -> bool:
    """Whether two generators learn, from A to B and back."""
    return getattr(opt, "model", None) in ("cycle_gan", MUNIT_WAY)


def _two_teachers(opt: Namespace) -> bool:
    online = getattr(opt, "distiller", None) == "online"
    return online and opt.deeper_netG is not None


def teachers(opt: Namespace) -> list[TeacherSettings]:
    """The teacher of ``--teacher_netG`` and, of an online student, that of ``--deeper_netG``."""
    found = []
    for prefix in ("teacher_", "deeper_")[: 1 + _two_teachers(opt)]:
        new = replace(spec(opt, prefix), dropout_rate=opt.teacher_dropout_rate)
        given = getattr(opt, f"restore_{prefix}G_path") is not None
        found.append(TeacherSettings(new, teacher(opt, prefix) if given else None))
    return found


def student(opt: Namespace) -> StudentSettings:
    new = spec(opt, "student_", opt.config_str)
    if new.kind.by_config and not opt.config_str:
        raise InputError(f"`student_netG` {new.netG} needs `config_str`")
    restored = pretrained = None
    if opt.restore_student_G_path:
        names = {"student_ngf": "ngf", "config_str": "config_str", "norm": "norm"}
        names |= {"student_norm_G": "norm_G"} | {name: name for name in _FORM}
        names |= _styles(opt, "student_")
        wanted = _typed(opt, names) | {"netG": opt.student_netG}
        path = opt.restore_student_G_path
        setting = "`restore_student_G_path`"
        restored = Checkpoint(path, setting, wanted, "student_", weights_only=True)
    elif getattr(opt, "restore_pretrained_G_path", None):
        names = {"pretrained_netG": "netG", "pretrained_ngf": "ngf", "pretrained_norm_G": "norm_G"}
        wanted = _typed(opt, names | {name: name for name in _FORM})
        path = opt.restore_pretrained_G_path
        pretrained = Checkpoint(path, "`restore_pretrained_G_path`", wanted, "pretrained_")
    return StudentSettings(new, opt.student_dropout_rate, restored, pretrained)


# --------------------------------------------------------------------------------------------------
# Measures


def measures(opt: Namespace) -> MeasureSettings:
    """What images are judged by.

    mIoU is measured when it is the criterion, or when its weights or labels are named. A search by
    mIoU measures FID too only when it is given statistics, since each would double its time.
    """
    by_miou = getattr(opt, "criterion", "fid") != "fid"
    of_coco = opt.dataset_mode == "coco"
    files = {"deeplabv2_path"} if of_coco else {"drn_path", "table_path", "cityscapes_path"}
    named = not opt.explicit.isdisjoint(files)
    # Of both directions, at most one makes photos of labels.
    named = named and not both_ways(opt)
    return MeasureSettings(
        fid=not opt.no_fid and not (by_miou and "real_stat_path" not in opt.explicit),
        miou=not opt.no_mIoU and (by_miou or named),
        # A search measures what it decides by and no more: the time goes into candidates.
        pairs=not hasattr(opt, "criterion"),
        real_stat_path=opt.real_stat_path,
        fid_features=opt.fid_features,
        fid_dims=opt.fid_dims,
        fid_weights=opt.fid_weights,
        drn_path=opt.drn_path,
        table_path=opt.table_path,
        cityscapes_path=opt.cityscapes_path,
        deeplabv2_path=opt.deeplabv2_path,
    )


def measures_back(opt: Namespace) -> MeasureSettings:
    """The same of what a CycleGAN makes of B."""
    setting = "`real_stat_A_path`"
    return replace(measures(opt), real_stat_path=opt.real_stat_A_path, real_stat_setting=setting)


def features(opt: Namespace) -> MeasureSettings:
    """The feature network alone."""
    return MeasureSettings(
        fid_features=opt.fid_features, fid_dims=opt.fid_dims, fid_weights=opt.fid_weights
    )


# --------------------------------------------------------------------------------------------------
# Training


def losses(opt: Namespace) -> LossWeights:
    return LossWeights(
        gan_mode=opt.gan_mode,
        # SPADE compares no pixels, and MUNIT has losses of its own.
        recon="l1" if is_spade(opt) or is_munit(opt) else opt.recon_loss_type,
        gan=opt.lambda_gan,
        reconstruction=opt.lambda_recon,
        distill=getattr(opt, "lambda_distill", 0.0),
    )


def updates(opt: Namespace) -> UpdateSettings:
    return UpdateSettings(
        lr=opt.lr,
        beta1=opt.beta1,
        beta2=UpdateSettings.beta2 if opt.beta2 is None else opt.beta2,
        ttur=not opt.no_TTUR,
        amp=opt.amp,
        ema=opt.ema,
        augment=tuple(opt.augment_D),
        cuda_graphs=opt.cuda_graphs,
        restore_path=opt.restore_O_path,
        adaptors_path=getattr(opt, "restore_A_path", None),
    )


def spade(opt: Namespace) -> SpadeSettings:
    return SpadeSettings(SpadeWeights(opt.lambda_feat, opt.lambda_vgg), opt.vgg_path)


def munit(opt: Namespace) -> MunitSettings:
    weights = MunitWeights(opt.lambda_rec_x, opt.lambda_rec_s, opt.lambda_rec_c, opt.lambda_gan)
    every = getattr(opt, "style_encoder_step", None) or MunitSettings.every
    return MunitSettings(weights, opt.weight_decay, opt.seed, every)


def cycles(opt: Namespace) -> CycleSettings:
    weights = CycleWeights(opt.lambda_A, opt.lambda_B, opt.lambda_identity)
    return CycleSettings(weights, opt.pool_size, opt.seed)


def online(opt: Namespace) -> OnlineSettings:
    return OnlineSettings(
        every=opt.teacher_freq,
        losses=ImageLossWeights(
            l1=opt.lambda_l1,
            ssim=opt.lambda_ssim,
            style=opt.lambda_style,
            feature=opt.lambda_feature,
            tv=opt.lambda_tv,
            wavelet=opt.lambda_wavelet,
        ),
        features=opt.feature_net,
        vgg_path=opt.vgg_path,
        tap_loss=opt.tap_loss,
        adversarial=opt.lambda_adversarial,
        l1_real=opt.lambda_real,
    )


def subnets(opt: Namespace) -> SubnetSettings:
    return SubnetSettings(
        config_set=opt.config_set,
        config_str=opt.config_str,
        sandwich=getattr(opt, "sandwich", 0),
        per_image=getattr(opt, "config_per_image", False),
        seed=opt.seed,
    )


def run(opt: Namespace) -> RunSettings:
    schedule = Schedule(
        opt.lr_policy,
        opt.scheduler_counter,
        opt.nepochs,
        opt.nepochs_decay,
        opt.lr_decay_steps,
        opt.gamma,
    )
    plan = Plan(
        epochs=opt.nepochs + opt.nepochs_decay,
        max_steps=opt.niters,
        print_freq=opt.print_freq,
        save_latest_freq=opt.save_latest_freq,
        save_epoch_freq=opt.save_epoch_freq,
        epoch_base=opt.epoch_base,
        iter_base=opt.iter_base,
        # A student that starts from trained weights is measured before its first step: the best
        # checkpoint is then the better of before and after.
        evaluate_first=bool(getattr(opt, "restore_student_G_path", None)),
    )
    return RunSettings(
        schedule, plan, opt.log_dir, opt.tensorboard_dir, decisive(opt), written(opt)
    )


# --------------------------------------------------------------------------------------------------
# What a folder of results remembers of its run

# Flags that change how a run goes but not what comes out: a run may be continued with other values.
# A longer search replays a shorter one.
HARMLESS = {"device", "gpu_ids", "num_threads", "load_in_memory", "cache_gb", "tensorboard_dir"}
HARMLESS |= {"display_winsize", "log_dir", "output_dir", "output_path", "explicit", "save_freq"}
HARMLESS |= {"max_cache_size", "evolution_iters", "patience", "threads"}

# Files that decide a result by what they hold, not by where they are.
INPUT_FILES = {"restore_G_path", "restore_D_path", "restore_teacher_G_path"}
INPUT_FILES |= {"restore_deeper_G_path", "restore_student_D_path"}
INPUT_FILES |= {"restore_student_G_path", "restore_pretrained_G_path", "real_stat_path"}
INPUT_FILES |= {"real_stat_A_path"}
INPUT_FILES |= {f"restore_{what}_{side}_path" for what in "GD" for side in "AB"}
INPUT_FILES |= {
    "calibration_meta_path",
    "latency_table",
    "meta_path",
    "restore_pkl_path",
    "fid_weights",
    "drn_path",
    "table_path",
    "deeplabv2_path",
    "vgg_path",
}


def _content(path: str) -> str:
    """A file's name and digest; the text itself where there is no such file."""
    if not Path(path).is_file():
        return path
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return f"{Path(path).name} [{digest[:12]}]"


def _contents(opt: Namespace, flag: str, path: str) -> str:
    if flag == "meta_path" and opt.dataset_mode == "unaligned":
        return " ".join(_content(path_of_side(path, side)) for side in "AB")
    if flag in ("restore_G_path", "restore_D_path") and both_ways(opt):
        return " ".join(_content(of_side(path, side)) for side in "AB")
    if flag == "restore_pkl_path" and _is_own(path, opt):
        return path
    return _content(path)


def _is_own(path: str, opt: Namespace) -> bool:
    """Whether a search starts from its own results, which grow."""
    own = getattr(opt, "output_dir", None)
    return own is not None and Path(path).resolve().parent == Path(own).resolve()


def _plain(value: object) -> object:
    """Infinities and NaN as text, since JSON has none; and times, to tell them from MACs."""
    if isinstance(value, Milliseconds):
        return str(value)
    finite = not isinstance(value, float) or (value == value and abs(value) != float("inf"))
    return value if finite else str(value)


def script() -> str:
    return Path(sys.argv[0]).name


def decisive(opt: Namespace) -> dict:
    """The flags that decide a run's result: files by their content, folders by their real path."""
    values = {k: _plain(v) for k, v in vars(opt).items() if k not in HARMLESS}
    for flag in INPUT_FILES & values.keys():
        if values[flag]:
            values[flag] = _contents(opt, flag, values[flag])
    return {"script": script()} | values | {"dataroot": os.path.realpath(opt.dataroot)}


def written(opt: Namespace) -> dict:
    """The script and every flag's value, as options.json holds them."""
    values = {k: _plain(v) for k, v in vars(opt).items() if k != "explicit"}
    return {"script": script()} | values
