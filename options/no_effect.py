"""Flags that a script accepts although they change nothing there, and why.

Commands of the existing implementation share flags between scripts, so such flags are accepted. A
printed line tells the user. To add a flag that depends on another, add a line to `RULES`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.kinds import KINDS
from models.munit import MunitForm
from models.spade import SpadeForm
from options.flags import (
    CYCLES,
    FORMS_OF_MUNIT,
    FORMS_OF_SPADE,
    LABELLED,
    LABELS,
    MUNIT_WAY,
    MUNITS,
    ONLINE,
    OWN_OF_MUNIT,
    SPADES,
    is_munit,
    is_spade,
)

TRAINING = ("train.py", "distill.py", "train_supernet.py")
STUDENTS = ("distill.py", "train_supernet.py")
SEARCHES = ("evolution_search.py", "search.py")
TESTS = ("test.py", "latency.py")
CHECK = "python -m data.check"
TABLE = "latency.py --make_table"


def _always(opt: argparse.Namespace) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """In ``scripts``, ``flags`` have no effect if ``when(opt)`` is true. ``why`` is shown."""

    scripts: tuple[str, ...]
    flags: tuple[str, ...]
    why: str
    when: Callable[[argparse.Namespace], bool] = _always


_FORM = tuple(flag for flag in FORMS_OF_SPADE if flag != "norm_G")
# Flags of SPADE that MUNIT has too.
_ALSO_OF_MUNIT = ("num_D", "beta2")
_OWN_OF_MUNIT = tuple(f"{whose}_{f}" for whose in ("teacher", "student") for f in OWN_OF_MUNIT)
_FID = ("real_stat_path", "fid_features", "fid_dims", "fid_weights")
_STREETS = ("drn_path", "cityscapes_path", "table_path")
_MIOU = (*_STREETS, "deeplabv2_path")
_IMAGES = ("dataroot", "dataset_mode", "direction", "phase", "meta_path", "max_dataset_size")
_IMAGES += ("preprocess", "load_size", "crop_size", "aspect_ratio")
_IMAGES += ("num_threads", "load_in_memory", "cache_gb")


def _new_teacher(opt: argparse.Namespace) -> bool:
    second = opt.deeper_netG is not None and opt.restore_deeper_G_path is None
    return opt.distiller == "online" and (opt.restore_teacher_G_path is None or second)


def _keeps_whole(opt: argparse.Namespace) -> bool:
    # Label maps have the size of the flags.
    labels = opt.dataset_mode in LABELLED
    return opt.preprocess == "none" or (opt.preprocess == "scale_width" and not labels)


def _looks_at_vgg(opt: argparse.Namespace) -> bool:
    if is_spade(opt):
        return bool(opt.lambda_vgg)
    return getattr(opt, "distiller", None) == "online" and opt.feature_net == "vgg16"


RULES = (
    Rule(
        (*TRAINING, *SEARCHES, *TESTS, "export.py", "get_real_stat.py", CHECK),
        LABELS,
        "--dataset_mode is neither cityscapes nor coco",
        lambda opt: opt.dataset_mode not in LABELLED,
    ),
    Rule(
        (TABLE,),
        ("contain_dontcare_label", "no_instance"),
        "--dataset_mode is neither cityscapes nor coco",
        lambda opt: opt.dataset_mode not in LABELLED,
    ),
    Rule(
        (TABLE,),
        FORMS_OF_SPADE,
        "--netG is no SPADE generator",
        lambda opt: KINDS[opt.netG].form is not SpadeForm,
    ),
    Rule(
        (TABLE,),
        MunitForm.TIMED,
        "--netG is no MUNIT generator",
        lambda opt: KINDS[opt.netG].form is not MunitForm,
    ),
    Rule(
        (TABLE,),
        ("norm",),
        "--netG has norms of its own",
        lambda opt: KINDS[opt.netG].form is not None,
    ),
    Rule(
        (*TRAINING, *SEARCHES, *TESTS, CHECK),
        ("direction",),
        "a photo is made of its labels, whatever the direction",
        lambda opt: opt.dataset_mode in LABELLED,
    ),
    Rule(
        (*TRAINING, *SEARCHES, "test.py"),
        _STREETS,
        "--dataset_mode coco is measured by --deeplabv2_path and the labels of its own folders",
        lambda opt: opt.dataset_mode == "coco" and not opt.no_mIoU,
    ),
    Rule(
        (*TRAINING, *SEARCHES, "test.py"),
        ("deeplabv2_path",),
        "--dataset_mode is not coco",
        lambda opt: opt.dataset_mode != "coco" and not opt.no_mIoU,
    ),
    Rule(
        TRAINING,
        tuple(flag for flag in SPADES if flag not in _ALSO_OF_MUNIT),
        "they are those of SPADE (--model, --distiller or --supernet spade)",
        lambda opt: not is_spade(opt),
    ),
    Rule(
        TRAINING,
        _ALSO_OF_MUNIT,
        "they are those of SPADE and MUNIT (--model, --distiller or --supernet)",
        lambda opt: not (is_spade(opt) or is_munit(opt)),
    ),
    Rule(
        TRAINING,
        (*MUNITS, *FORMS_OF_MUNIT),
        "they are those of MUNIT (--model, --distiller or --supernet munit)",
        lambda opt: not is_munit(opt),
    ),
    Rule(
        ("train.py",),
        ("mlp_dim",),
        "they are those of MUNIT (--model munit)",
        lambda opt: not is_munit(opt),
    ),
    Rule(
        STUDENTS,
        ("style_encoder_step", *_OWN_OF_MUNIT),
        "they are those of MUNIT (--distiller or --supernet munit)",
        lambda opt: not is_munit(opt),
    ),
    Rule(
        TRAINING,
        ("lambda_recon", "recon_loss_type", "norm"),
        "MUNIT has losses and norms of its own: --lambda_rec_x, --lambda_rec_s, --lambda_rec_c",
        is_munit,
    ),
    Rule(
        STUDENTS,
        ("lambda_distill",),
        "MUNIT's are --lambda_rec_x, --lambda_rec_s and --lambda_rec_c",
        is_munit,
    ),
    Rule(
        TRAINING,
        ("lambda_recon", "recon_loss_type"),
        "SPADE compares features and no pixels: --lambda_feat, --lambda_vgg",
        is_spade,
    ),
    Rule(
        TRAINING,
        ("beta1", "beta2"),
        "the momenta are 0 and 0.9 without --no_TTUR",
        lambda opt: is_spade(opt) and not opt.no_TTUR,
    ),
    Rule(
        TRAINING,
        ("vgg_path",),
        "no loss looks at features of VGG",
        lambda opt: not _looks_at_vgg(opt),
    ),
    Rule(
        ("remove_spectral_norm.py",),
        ("crop_size", "aspect_ratio"),
        "the weights are those for images of any size",
    ),
    Rule(
        SEARCHES,
        ("calibration_load_in_memory",),
        "images are kept once they are decoded, within --cache_gb",
    ),
    Rule(
        ("train.py",),
        ("pool_size",),
        "the discriminator of pix2pix and SPADE must see each output with its own input",
        lambda opt: opt.model != "cycle_gan",
    ),
    Rule(
        ("train.py",),
        tuple(flag for flag in CYCLES if flag != "pool_size"),
        "--model is not cycle_gan",
        lambda opt: opt.model not in ("cycle_gan", MUNIT_WAY),
    ),
    Rule(
        ("train.py",),
        ("lambda_A", "lambda_B", "lambda_identity"),
        "--model is not cycle_gan",
        lambda opt: opt.model == MUNIT_WAY,
    ),
    Rule(
        ("train.py",),
        ("norm_G", *_FORM),
        "--netG is no SPADE generator",
        lambda opt: KINDS[opt.netG].form is not SpadeForm,
    ),
    Rule(
        ("train.py",),
        ("lambda_recon",),
        "--lambda_A, --lambda_B and --lambda_identity weigh what compares images",
        lambda opt: opt.model == "cycle_gan",
    ),
    Rule(
        ("train.py",),
        (*_STREETS, "no_mIoU"),
        "both directions of a CycleGAN are measured by FID",
        lambda opt: opt.model == "cycle_gan",
    ),
    Rule(
        ("train.py",),
        ("real_stat_A_path",),
        "--no_fid is given",
        lambda opt: opt.model == "cycle_gan" and opt.no_fid,
    ),
    Rule(
        ("train.py",),
        ("lambda_identity",),
        "--lambda_A and --lambda_B are 0",
        lambda opt: opt.model == "cycle_gan" and not (opt.lambda_A or opt.lambda_B),
    ),
    Rule(("train.py",), ("config_set", "config_str"), "a teacher has one configuration"),
    Rule(
        STUDENTS,
        ("teacher_dropout_rate",),
        "the teacher does not train",
        lambda opt: not _new_teacher(opt),
    ),
    Rule(
        STUDENTS,
        ONLINE,
        "--distiller is not online",
        lambda opt: opt.distiller != "online",
    ),
    Rule(
        STUDENTS,
        ("deeper_ngf", "share_D"),
        "there is no second teacher (--deeper_netG)",
        lambda opt: opt.distiller == "online" and opt.deeper_netG is None,
    ),
    Rule(
        STUDENTS,
        ("lambda_gan", "lambda_recon", "recon_loss_type"),
        "--teacher_freq 0 trains no teacher; for the student see --lambda_adversarial and "
        "--lambda_real",
        lambda opt: opt.distiller == "online" and not opt.teacher_freq,
    ),
    Rule(
        STUDENTS,
        ("gan_mode", "augment_D"),
        "no discriminator trains: the teacher does not, and the student has none "
        "(--lambda_adversarial)",
        lambda opt: (
            opt.distiller == "online" and not opt.teacher_freq and not opt.lambda_adversarial
        ),
    ),
    Rule(
        STUDENTS,
        ("student_ndf",),
        "the student has no discriminator (--lambda_adversarial)",
        lambda opt: opt.distiller == "online" and not opt.lambda_adversarial,
    ),
    Rule(
        STUDENTS,
        ("restore_A_path",),
        "--tap_loss alignment has no adaptors",
        lambda opt: opt.distiller == "online" and opt.tap_loss == "alignment",
    ),
    Rule(
        STUDENTS,
        ("restore_A_path", "tap_loss"),
        "--lambda_distill 0 compares no activations",
        lambda opt: opt.distiller == "online" and not opt.lambda_distill,
    ),
    Rule(
        ("test.py",),
        ("test_dropout_rate",),
        "--test_mode eval has no dropout",
        lambda opt: opt.test_mode == "eval",
    ),
    Rule(
        ("test.py",),
        ("overlap", "tile_norm"),
        "images are not cut without --tile",
        lambda opt: opt.tile is None,
    ),
    Rule(
        ("distill.py",),
        ("config_set",),
        "--student_netG is not a supernet",
        lambda opt: not KINDS[opt.student_netG].elastic,
    ),
    Rule(
        STUDENTS,
        ("student_ngf",),
        "--config_str holds the widths of --student_netG",
        lambda opt: KINDS[opt.student_netG].by_config,
    ),
    Rule(
        ("distill.py",),
        ("restore_pretrained_G_path", "pretrained_netG", "pretrained_ngf"),
        "the student continues from --restore_student_G_path",
        lambda opt: bool(opt.restore_student_G_path),
    ),
    Rule(
        ("distill.py",),
        ("pretrained_netG", "pretrained_ngf"),
        "no --restore_pretrained_G_path is given",
        lambda opt: not opt.restore_pretrained_G_path,
    ),
    Rule(("export.py",), ("int8_error",), "--int8 is not given", lambda opt: not opt.int8),
    Rule(
        TRAINING,
        ("init_gain",),
        "--init_type kaiming follows from the inputs of a layer alone",
        lambda opt: opt.init_type == "kaiming" and opt.norm == "instance" and not is_spade(opt),
    ),
    Rule(TRAINING, ("n_layers_D",), "--netD is pixel", lambda opt: opt.netD == "pixel"),
    Rule(
        TRAINING,
        ("lr_decay_steps",),
        "--lr_policy is not step",
        lambda opt: opt.lr_policy != "step",
    ),
    Rule(
        TRAINING,
        ("gamma",),
        "--lr_policy is neither step nor plateau",
        lambda opt: opt.lr_policy not in ("step", "plateau"),
    ),
    Rule((*SEARCHES, *TESTS), ("no_flip", "serial_batches"), "images come in order, unmirrored"),
    Rule((*SEARCHES, *TESTS), ("init_type", "init_gain"), "the weights come from a checkpoint"),
    Rule((*SEARCHES, *TESTS), ("dropout_rate",), "dropout only acts in training"),
    Rule(SEARCHES, ("config_str",), "the search chooses among all of --config_set"),
    Rule(TESTS, ("config_set",), "--config_str names the one configuration that is tested"),
    Rule(("test.py",), ("display_winsize",), "the page scales images to the window"),
    Rule(
        ("latency.py",),
        ("no_fid", "no_mIoU", *_FID, *_MIOU, "num_test", "need_profile", "display_winsize"),
        "latency.py measures speed alone",
    ),
    Rule(
        (*TRAINING, *SEARCHES, "test.py"),
        _FID,
        "--no_fid is given",
        lambda opt: opt.no_fid,
    ),
    Rule(
        (*TRAINING, *SEARCHES, "test.py"),
        _MIOU,
        "--no_mIoU is given",
        lambda opt: opt.no_mIoU,
    ),
    Rule(
        ("evolution_search.py",),
        ("weight_strategy",),
        "--weighted_sample 1 gives all choices the same weight",
        lambda opt: opt.weighted_sample == 1,
    ),
    Rule(
        ("evolution_search.py",),
        ("predictor_share",),
        "--predictor is not given",
        lambda opt: not opt.predictor,
    ),
    Rule(
        ("evolution_search.py",),
        ("only_restore_cache",),
        "no --restore_pkl_path is given",
        lambda opt: not opt.restore_pkl_path,
    ),
    Rule(
        (*TRAINING, *SEARCHES, *TESTS, "get_real_stat.py"),
        ("load_size",),
        "--preprocess does not scale images",
        lambda opt: opt.preprocess in ("none", "crop"),
    ),
    Rule(
        (*TRAINING, *SEARCHES, *TESTS, "get_real_stat.py"),
        ("crop_size", "aspect_ratio"),
        "--preprocess cuts nothing out of images",
        _keeps_whole,
    ),
    Rule(
        ("export.py",),
        ("size",),
        "only --format coreml and tflite make files for one size",
        lambda opt: (
            not {"coreml", "tflite"} & set(opt.format)
            # Without --format the suffix says it.
            and not opt.output_path.endswith((".mlpackage", ".tflite"))
        ),
    ),
)


# Whether export.py reads images depends on the network too.
_UNREAD = Rule(("export.py",), _IMAGES, "only --int8 and supernets with batch norms read images")


def unread_images(opt: argparse.Namespace) -> list[str]:
    """The same of export.py's flags for images, for a network that needs none."""
    return [] if opt.int8 else _lines([_UNREAD], "export.py", opt)


def notes(script: str, opt: argparse.Namespace) -> list[str]:
    """One line per rule that applies: the typed flags (``opt.explicit``) and why they do nothing.

    Args:
        script: file name of the script, e.g. ``train.py``
    """
    return _lines(RULES, script, opt)


def _lines(rules: Sequence[Rule], script: str, opt: argparse.Namespace) -> list[str]:
    lines = []
    for rule in rules:
        typed = [flag for flag in rule.flags if flag in opt.explicit]
        if script in rule.scripts and typed and rule.when(opt):
            lines.append(f"{', '.join(f'--{flag}' for flag in typed)}: no effect, {rule.why}")
    return lines
