"""Command lines: one option class per script, composed from `options.flags`.

``XOptions.parse(argv=None)`` returns a namespace with a value for every flag and ``explicit``, the
set of flags that were typed.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from argparse import Namespace as Namespace  # what `parse` returns, for annotations
from functools import partial
from pathlib import Path

from data.datasets import path_of_side
from models.kinds import BY_CONFIG, KINDS, PLAIN, SUPERNETS
from models.munit import MunitForm
from models.spade import SpadeForm
from options.flags import (
    CYCLE_GAN,
    CYCLES,
    DEEPER,
    FLAGS,
    FORMS_OF_MUNIT,
    FORMS_OF_SPADE,
    LABELLED,
    LABELS,
    MUNIT,
    MUNIT_NETS,
    MUNIT_STUDENT,
    MUNIT_TEST,
    MUNIT_WAY,
    MUNITS,
    ONLINE,
    OWN_OF_MUNIT,
    SPADE,
    SPADE_MODEL,
    SPADE_NETS,
    SPADE_WAY,
    SPADES,
    is_munit,
    is_spade,
)
from options.no_effect import notes
from runtime import entry

# How every script starts: errors speak of the flags.
run = partial(entry.run, flags=FLAGS)

# --------------------------------------------------------------------------------------------------
# Groups of flags that scripts share

_INPUT = ("dataroot", "dataset_mode", "direction", "phase", "meta_path", "metaA_path", "metaB_path")
_INPUT += ("max_dataset_size", "preprocess", "load_size", "crop_size", "aspect_ratio", "no_flip")
_INPUT += ("serial_batches", "batch_size", "input_nc", "output_nc")
_INPUT += ("num_threads", "load_in_memory", "cache_gb", *LABELS)
_MACHINE = ("device", "gpu_ids", "seed", "threads")
_CONFIG = ("config_set", "config_str")
_INIT = ("norm", "init_type", "init_gain")
_MEASURE = ("no_fid", "no_mIoU", "real_stat_path", "fid_features", "fid_dims", "fid_weights")
_MEASURE += ("drn_path", "cityscapes_path", "table_path", "deeplabv2_path")
_DISCRIMINATOR = ("netD", "ndf", "n_layers_D")
_LENGTH = ("nepochs", "nepochs_decay", "niters", "lr", "beta1", "lr_policy", "lr_decay_steps")
_LENGTH += ("scheduler_counter", "gamma", "epoch_base", "iter_base")
_LOGGING = ("log_dir", "tensorboard_dir", "print_freq", "save_latest_freq", "save_epoch_freq")
_LOGGING += ("display_winsize",)
_LOSS = ("gan_mode", "recon_loss_type", "lambda_gan", "lambda_recon")
_TRAIN = (*_INPUT, *_MACHINE, *_CONFIG, *_INIT, *_DISCRIMINATOR, *_LOSS, *_LENGTH, *_LOGGING)
_TRAIN += (*_MEASURE, "eval_batch_size", "amp", "cuda_graphs", "ema", "augment_D")
_TRAIN += (*SPADES, "vgg_path", "num_upsampling_layers", "separable_conv_norm")
_TRAIN += (*MUNITS, *FORMS_OF_MUNIT)
# The networks of a student's training, as flags call them.
WHOSE = ("teacher", "student")
_STUDENT = ("teacher_netG", "student_netG", "teacher_ngf", "student_ngf")
_STUDENT += ("teacher_dropout_rate", "student_dropout_rate")
_STUDENT += ("restore_teacher_G_path", "restore_student_G_path", "restore_A_path")
_STUDENT += ("restore_D_path", "restore_O_path", "lambda_distill", "distiller")
_STUDENT += ("style_encoder_step", *(f"{whose}_{f}" for whose in WHOSE for f in OWN_OF_MUNIT))
_STUDENT += (*ONLINE, "teacher_norm_G", "student_norm_G")
_INFERENCE = (*_INPUT, *_MACHINE, *_INIT, *_CONFIG, *_MEASURE, "model", "netG", "ngf")
_INFERENCE += (
    *FORMS_OF_SPADE,
    *FORMS_OF_MUNIT,
    *OWN_OF_MUNIT,
    "dropout_rate",
    "restore_G_path",
    "restore_G_A_path",
    "real_stat_B_path",
    "num_test",
    "display_winsize",
    "macs_convention",
)
_SEARCH = (
    *_INFERENCE,
    "budget",
    "latency_table",
    "restore_pkl_path",
    "save_freq",
    "criterion",
    "amp",
    "calibration_meta_path",
    "calibration_load_in_memory",
)

_TILES = ("tile", "overlap", "tile_norm")
_STUDENT_GAN = ("lsgan", "vanilla", "hinge")
_STUDENT_RECON = ("l1", "l2", "smooth_l1", "vgg")
_TEST_SIZES = dict(load_size=256, phase="val")
_TESTS = ("test", MUNIT_TEST)
# Of train.py where two generators learn: the files of each side by their own names.
_SIDES = tuple(f"restore_{what}_{side}_path" for what in "GD" for side in "AB")


# --------------------------------------------------------------------------------------------------
# Parsing


class _Parser(argparse.ArgumentParser):
    """Errors in one line that says what to do, exit code 2."""

    def error(self, message: str):
        unknown = "unrecognized arguments: "
        if message.startswith(unknown):
            flag = (message[len(unknown) :].split() or ["''"])[0].split("=")[0]
            near = difflib.get_close_matches(flag, self._option_string_actions, 1)
            message = f"unknown flag {flag}" + (f"; did you mean {near[0]}?" if near else "")
        self.exit(2, f"{self.prog}: error: {message} (--help lists all flags)\n")


class Options:
    """Base of the option classes: which flags, and where their defaults differ from `FLAGS`."""

    prog: str
    description: str
    flags: tuple[str, ...]
    required: tuple[str, ...] = ()
    positional = ""
    defaults: dict = {}
    choices: dict = {}

    @classmethod
    def parser(cls) -> argparse.ArgumentParser:
        required = " ".join(f"--{name} {FLAGS[name].metavar}" for name in cls.required)
        parser = _Parser(
            prog=cls.prog,
            usage=f"%(prog)s {cls.positional} {required} [FLAG ...]".replace("  ", " "),
            description=cls.description,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(
                prog, max_help_position=32, width=110
            ),
        )
        groups = {}
        for name, flag in FLAGS.items():
            if name not in cls.flags:
                continue
            group = groups.setdefault(flag.group, parser.add_argument_group(flag.group))
            if flag.type is bool:
                group.add_argument(f"--{name}", action="store_true", help=flag.help)
                continue
            default = cls.defaults.get(name, flag.default)
            text = flag.help.replace("%", "%%")
            choices = cls.choices.get(name, flag.choices) or None
            metavar = flag.metavar
            # argparse prints the choices of a `many` flag twice.
            longest = 30 if flag.many else 60
            if choices and sum(map(len, map(str, choices))) > longest:
                metavar, text = "NAME", f"{text}: {', '.join(choices)}"
            required = name in cls.required
            if required:
                text += " (required)"
            elif default is not None:
                text += f" (default: {default})"
            group.add_argument(
                f"--{name}",
                type=flag.type,
                default=default,
                required=required,
                choices=choices,
                metavar=metavar,
                help=text,
                nargs="+" if flag.many else None,
            )
        return parser

    @classmethod
    def parse(cls, argv: list[str] | None = None) -> argparse.Namespace:
        """Read ``argv`` (default: the command line). Exits with 2 and one line on a wrong flag."""
        parser = cls.parser()
        typed = sys.argv[1:] if argv is None else list(argv)
        _change_defaults(parser, cls.defaults_for(typed))
        cls.prepare(parser, typed)
        opt = parser.parse_args(typed)
        opt.explicit = {arg[2:].split("=")[0] for arg in typed if arg.startswith("--")}
        for name in cls.flags:
            if FLAGS[name].many:
                value = getattr(opt, name)
                value = [] if value is None else [value] if isinstance(value, str) else value
                # The same format or backend twice is once; the same checkpoint twice is a mistake
                # that is reported where it is loaded.
                setattr(opt, name, list(dict.fromkeys(value)) if FLAGS[name].choices else value)
        cls.check(opt, parser)
        for line in notes(cls.prog, opt):
            print(line)
        return opt

    @classmethod
    def defaults_for(cls, typed: list[str]) -> dict:
        """Flag -> default, of those whose default depends on what was typed."""
        if "contain_dontcare_label" not in cls.flags:
            return {}
        usual = cls.defaults.get("dataset_mode", FLAGS["dataset_mode"].default)
        return cls.of_labels(_typed_value("--dataset_mode", typed) or usual)

    @classmethod
    def of_labels(cls, mode: str) -> dict:
        """The defaults of a mode of label maps; none of another mode."""
        found = dict(LABELLED.get(mode, {}))
        # Only training enlarges images, to cut from them.
        if found.get("load_size", 0) > found.get("crop_size", 0) and "no_flip" in cls.flags:
            if not issubclass(cls, _TrainingOptions):
                found["load_size"] = found["crop_size"]
        elif found and "no_flip" not in cls.flags:
            found["load_size"] = found["crop_size"]
        return {flag: value for flag, value in found.items() if flag in cls.flags}

    @classmethod
    def prepare(cls, parser: argparse.ArgumentParser, typed: list[str]) -> None:
        """Adapt the parser to what was typed."""

    @classmethod
    def check(cls, opt: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
        """Refuse flags that contradict each other, and fill in flags that follow from others."""
        if "metaA_path" in cls.flags:
            _join_lists(opt, parser)
        if "real_stat_B_path" in cls.flags:
            _join_statistics(opt, parser)
        if "preprocess" not in cls.flags:
            return
        # Only trainings cut parts out of larger images; the others take images whole.
        whole = not issubclass(cls, _TrainingOptions | CheckOptions)
        one = "crop_size" in opt.explicit and "load_size" not in opt.explicit
        if whole and one and opt.preprocess == "resize_and_crop":
            opt.load_size = opt.crop_size
        # Label maps of a scaled width are as large as the network's images.
        mode = getattr(opt, "dataset_mode", None)
        scaled = mode in LABELLED and opt.preprocess == "scale_width"
        if (opt.preprocess == "resize_and_crop" or scaled) and (
            opt.load_size < opt.crop_size or (scaled and opt.load_size != opt.crop_size)
        ):
            # A crop larger than the image: scripts give only one of the two when they mean both.
            if "load_size" in opt.explicit and "crop_size" in opt.explicit:
                what = "not" if scaled else "larger than"
                parser.error(f"--crop_size {opt.crop_size} is {what} --load_size {opt.load_size}")
            opt.load_size = opt.crop_size = (
                opt.load_size if "load_size" in opt.explicit else opt.crop_size
            )


def _change_defaults(parser: argparse.ArgumentParser, defaults: dict) -> None:
    """Give flags other defaults, in the help too."""
    for action in parser._actions:
        if action.dest in defaults and not action.required:
            action.default = defaults[action.dest]
            text = re.sub(r" \(default: [^()]*\)$", "", action.help)
            shown = action.nargs != 0 and action.default is not None
            action.help = f"{text} (default: {action.default})" if shown else text


def _typed_value(flag: str, typed: list[str]) -> str | None:
    """The value of a flag in a command line, the last if there are several."""
    found = None
    for word, following in zip(typed, [*typed, None][1:], strict=True):
        if word == flag:
            found = following
        elif word.startswith(f"{flag}="):
            found = word.partition("=")[2]
    return found


def _join_statistics(opt: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """``--real_stat_B_path`` is ``--real_stat_path`` where images of B are made of those of A."""
    if opt.real_stat_B_path is None:
        return
    if opt.model not in ("cycle_gan", MUNIT_WAY, MUNIT_TEST) or opt.direction != "AtoB":
        parser.error("--real_stat_B_path: give --real_stat_path, the statistics of real outputs")
    if opt.real_stat_path is not None:
        parser.error("--real_stat_B_path is --real_stat_path: leave one of them out")
    opt.real_stat_path, opt.real_stat_B_path = opt.real_stat_B_path, None
    opt.explicit.add("real_stat_path")


def _join_lists(opt: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """``--metaA_path xA.meta --metaB_path xB.meta`` is ``--meta_path x.meta`` of unaligned data."""
    lists, opt.metaA_path, opt.metaB_path = (opt.metaA_path, opt.metaB_path), None, None
    if lists == (None, None):
        return
    if None in lists:
        parser.error("--metaA_path and --metaB_path are two lists of one split: give both")
    if opt.dataset_mode != "unaligned":
        parser.error(
            "--metaA_path and --metaB_path need --dataset_mode unaligned; else --meta_path"
        )
    if opt.meta_path is not None:
        parser.error("--meta_path replaces --metaA_path and --metaB_path: leave it or them out")
    a, b = map(Path, lists)
    both = a.with_name(f"{a.stem[:-1]}{a.suffix}")
    if [str(a), str(b)] != [path_of_side(str(both), side) for side in "AB"]:
        parser.error(
            f"--metaA_path {a} and --metaB_path {b}: the two must lie side by side and differ only "
            f"in the A and B before the suffix, e.g. train2A.meta and train2B.meta"
        )
    opt.meta_path = str(both)
    opt.explicit.add("meta_path")


class _TrainingOptions(Options):
    required = ("dataroot",)
    # The flags that choose the way to train, of which one may be spade.
    ways: tuple[str, ...] = ()
    # The student of SPADE, where there is one.
    spade_student = None
    # And that of MUNIT.
    munit_student = None

    @classmethod
    def defaults_for(cls, typed):
        ways = [_typed_value(f"--{way}", typed) for way in cls.ways]
        if MUNIT_WAY in ways and cls.munit_student:
            found = MUNIT | MUNIT_STUDENT | {"student_netG": cls.munit_student}
            return {flag: value for flag, value in found.items() if flag in cls.flags}
        if SPADE_WAY not in ways:
            return super().defaults_for(typed)
        nets = SPADE_NETS | ({"student_netG": cls.spade_student} if cls.spade_student else {})
        found = {flag: value for flag, value in (SPADE | nets).items() if flag in cls.flags}
        mode = _typed_value("--dataset_mode", typed) or found["dataset_mode"]
        return found | cls.of_labels(mode)

    @classmethod
    def check_spade(cls, opt: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
        """The part of `check` that depends on whether the losses are those of SPADE."""
        spade = is_spade(opt)
        if opt.netD == "multi_scale" and not spade:
            way = cls.ways[0]
            parser.error(f"--netD multi_scale is the discriminator of --{way} spade; give n_layers")
        if not spade:
            return
        if opt.dataset_mode not in LABELLED:
            parser.error(
                f"--dataset_mode {opt.dataset_mode}: SPADE learns from label maps; give "
                f"{' or '.join(LABELLED)}"
            )
        if opt.netD != "multi_scale":
            parser.error(f"--netD {opt.netD}: SPADE compares the layers of multi_scale")
        if opt.gan_mode == "wgangp":
            parser.error("--gan_mode wgangp: SPADE has hinge, lsgan and vanilla")
        if opt.augment_D:
            parser.error(
                "--augment_D: SPADE compares what the discriminator makes of made and real photos, "
                "which must not be changed by chance; leave it out"
            )

    @classmethod
    def check_munit(cls, opt: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
        """The part of `check` that depends on whether networks learn to make images in styles."""
        munit, way = is_munit(opt), cls.ways[0]
        for flag in ("netG", "teacher_netG", "student_netG"):
            name = getattr(opt, flag, None)
            if name is None or KINDS[name].styled == munit:
                continue
            if munit:
                parser.error(f"--{flag} {name} makes no images in styles, which MUNIT learns")
            parser.error(f"--{flag} {name} makes images in styles: give --{way} {MUNIT_WAY}")
        if not munit:
            if opt.netD == "ms_image":
                parser.error(f"--netD ms_image is the discriminator of --{way} munit")
            return
        if opt.dataset_mode != "unaligned":
            parser.error(
                f"--dataset_mode {opt.dataset_mode}: MUNIT learns from images that are no pairs; "
                "leave the flag out"
            )
        if opt.netD != "ms_image":
            parser.error(f"--netD {opt.netD}: MUNIT has ms_image")
        if opt.gan_mode == "wgangp":
            parser.error("--gan_mode wgangp: MUNIT has lsgan, hinge and vanilla")
        if opt.augment_D:
            parser.error("--augment_D: MUNIT's discriminator sees images as they are; leave it out")
        least = 2 ** (opt.n_layers_D + opt.num_D - 1)
        if "crop" in opt.preprocess and opt.crop_size / max(1, opt.aspect_ratio) < least:
            parser.error(
                f"--crop_size {opt.crop_size}: --netD ms_image with --n_layers_D {opt.n_layers_D} "
                f"and --num_D {opt.num_D} needs sides of {least} pixels"
            )

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        cls.check_spade(opt, parser)
        cls.check_munit(opt, parser)
        epochs = opt.nepochs + opt.nepochs_decay
        if epochs < 1:
            parser.error("--nepochs and --nepochs_decay are both 0: nothing to train")
        if opt.epoch_base > epochs:
            parser.error(
                f"--epoch_base {opt.epoch_base}: nothing to train, --nepochs and --nepochs_decay "
                f"make {epochs} epochs"
            )
        if opt.iter_base >= opt.niters:
            parser.error(f"--iter_base {opt.iter_base}: nothing to train, --niters {opt.niters}")
        if "crop" in opt.preprocess:
            sides = opt.crop_size, round(opt.crop_size / opt.aspect_ratio)
            # Below, a layer of the discriminator has a single value to normalise, or none.
            least = 3 * 2**opt.n_layers_D if opt.netD == "n_layers" else 8
            if min(sides) < least:
                which = f"--n_layers_D {opt.n_layers_D}" if least > 8 else "the generator"
                parser.error(
                    f"--crop_size {opt.crop_size} makes images of {sides[0]}x{sides[1]}; {which} "
                    f"needs {least} pixels"
                )


class TrainOptions(_TrainingOptions):
    prog = "train.py"
    description = (
        "Train the teacher: a pix2pix generator, which learns from pairs; with --model cycle_gan "
        "two that learn from images that are no pairs, with --model spade one that learns from "
        "label maps, with --model munit two that learn to make images in styles. Flags have other "
        "defaults then: --model cycle_gan --help lists them."
    )
    ways = ("model",)
    flags = (
        *_TRAIN,
        "model",
        "norm_G",
        "netG",
        "ngf",
        "dropout_rate",
        "restore_G_path",
        "restore_D_path",
        "restore_O_path",
        *CYCLES,
        "mlp_dim",
        "real_stat_B_path",
        *_SIDES,
    )
    defaults = dict(model="pix2pix", netG="mobile_resnet_9blocks")
    choices = dict(model=("pix2pix", "cycle_gan", "spade", "munit"), netG=PLAIN)

    @classmethod
    def parse(cls, argv=None):
        typed = sys.argv[1:] if argv is None else list(argv)
        if cls is TrainOptions and _typed_value("--model", typed) == "cycle_gan":
            return CycleGanOptions.parse(typed)
        if cls is TrainOptions and _typed_value("--model", typed) == MUNIT_WAY:
            return MunitOptions.parse(typed)
        return super().parse(typed)

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        cls.check_model(opt, parser)

    @classmethod
    def check_model(cls, opt: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
        """The part of `check` that depends on the model."""
        for flag in _SIDES:
            if getattr(opt, flag) is not None:
                parser.error(
                    f"--{flag}: --model {opt.model} has no such sides; give --{flag[:9]}_path"
                )
        if opt.dataset_mode == "unaligned":
            parser.error(
                "--dataset_mode unaligned: pix2pix learns from pairs; give --model cycle_gan, or "
                "a generator trained elsewhere to train_supernet.py --restore_teacher_G_path"
            )


class CycleGanOptions(TrainOptions):
    """train.py --model cycle_gan."""

    defaults = TrainOptions.defaults | {"model": "cycle_gan"} | CYCLE_GAN

    @classmethod
    def check_model(cls, opt, parser):
        if opt.dataset_mode != "unaligned":
            parser.error(
                f"--dataset_mode {opt.dataset_mode}: {opt.model} learns from folders trainA and "
                "trainB that are no pairs; leave the flag out, or give --model pix2pix"
            )
        if opt.direction != "AtoB":
            parser.error(
                f"--direction BtoA: {opt.model} trains both directions, G_A from A to B and G_B "
                "from B to A; leave the flag out"
            )
        if opt.gan_mode == "wgangp" and "crop" not in opt.preprocess:
            parser.error(
                f"--preprocess {opt.preprocess}: --gan_mode wgangp mixes real images with made "
                "ones, which must have one size; give a --preprocess that crops"
            )
        for flag in ("restore_G_path", "restore_D_path"):
            start = getattr(opt, flag)
            if start is not None and start.endswith(".pth"):
                parser.error(
                    f"--{flag} {start}: give the common start of two files, which _A.pth and "
                    "_B.pth complete, e.g. run/checkpoints/latest_net_" + flag.split("_")[1]
                )
            for side in "AB":
                own = f"{flag[:9]}_{side}_path"
                if start is not None and getattr(opt, own) is not None:
                    parser.error(f"--{own} and --{flag} name the same file: leave one of them out")


class MunitOptions(CycleGanOptions):
    """train.py --model munit."""

    defaults = TrainOptions.defaults | {"model": MUNIT_WAY} | MUNIT | MUNIT_NETS

    @classmethod
    def check_model(cls, opt, parser):
        super().check_model(opt, parser)
        if opt.input_nc != opt.output_nc:
            parser.error(
                f"--input_nc {opt.input_nc} --output_nc {opt.output_nc}: munit makes images of "
                "each domain of the other's; give equal numbers"
            )


class _StudentOptions(_TrainingOptions):
    required = ("dataroot", "restore_teacher_G_path")
    ways = ("distiller",)

    @classmethod
    def prepare(cls, parser, typed):
        # An online teacher may be new.
        if "--distiller=online" in typed or "--distiller online" in " ".join(typed):
            (action,) = (a for a in parser._actions if a.dest == "restore_teacher_G_path")
            action.required = False

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        online = opt.distiller == "online"
        two = online and opt.deeper_netG is not None
        for flag, value in DEEPER.items() if two else ():
            setattr(opt, flag, value if getattr(opt, flag) is None else getattr(opt, flag))
        for needed, flag in ((online, "restore_teacher_G_path"), (two, "restore_deeper_G_path")):
            if needed and opt.teacher_freq == 0 and getattr(opt, flag) is None:
                parser.error(f"--teacher_freq 0 trains no teacher: give --{flag}, a trained one")
        if online and not two and opt.restore_deeper_G_path is not None:
            parser.error(
                "--restore_deeper_G_path is of a second teacher: say of which kind by --deeper_netG"
            )
        if online and opt.tap_loss == "alignment" and opt.batch_size == 1 and opt.lambda_distill:
            parser.error(
                "--tap_loss alignment compares the images of a batch: give --batch_size 2 or more"
            )
        if online and opt.restore_teacher_G_path is None and opt.teacher_netG in SUPERNETS:
            parser.error(f"--teacher_netG {opt.teacher_netG}: a teacher is no supernet")
        if online and opt.restore_student_D_path is not None and not opt.lambda_adversarial:
            parser.error(
                "--restore_student_D_path: the student has a discriminator only with "
                "--lambda_adversarial"
            )
        weights = [getattr(opt, name) for name in ONLINE if name.startswith("lambda_")]
        if online and not any((*weights, opt.lambda_distill)):
            parser.error("all weights of the student's losses (--lambda_...) are 0: give one")
        looked_at = opt.feature_net == "discriminator" and (opt.lambda_style or opt.lambda_feature)
        if online and not opt.teacher_freq and looked_at and opt.restore_D_path is None:
            parser.error(
                "--feature_net discriminator needs a trained one: give --restore_D_path, the "
                "teacher's, or --lambda_style 0 --lambda_feature 0"
            )


class DistillOptions(_StudentOptions):
    prog = "distill.py"
    description = (
        "Distil a teacher into a narrower student, optionally pruned from a pretrained network."
    )
    flags = (
        *_TRAIN,
        *_STUDENT,
        "pretrained_netG",
        "pretrained_ngf",
        "restore_pretrained_G_path",
        "pretrained_norm_G",
        "qat",
    )
    spade_student = "mobile_spade"
    munit_student = "mobile_munit"
    defaults = dict(log_dir="logs/supernet", student_netG="mobile_resnet_9blocks")
    choices = dict(gan_mode=_STUDENT_GAN, recon_loss_type=_STUDENT_RECON)

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        if opt.config_str is not None and opt.student_netG in PLAIN:
            parser.error(
                f"--config_str: a {opt.student_netG} has no configurations; leave it out, or give "
                "a --student_netG whose name begins with sub_ or super_"
            )
        if opt.qat and opt.student_netG in SUPERNETS:
            parser.error(
                f"--qat with --student_netG {opt.student_netG}: ranges are of one subnet; cut one "
                "out by export.py and give it as --restore_student_G_path"
            )
        if opt.qat and opt.cuda_graphs:
            parser.error(
                "--qat with --cuda_graphs: rounding to 8 bits cannot be recorded; leave one out"
            )


class SupernetOptions(_StudentOptions):
    prog = "train_supernet.py"
    description = (
        "Train the once-for-all student (--config_set), or fine-tune one subnet (--config_str)."
    )
    ways = ("supernet", "distiller")
    spade_student = "super_mobile_spade"
    munit_student = "super_mobile_munit"
    flags = (*_TRAIN, *_STUDENT, "supernet", "sandwich", "config_per_image")
    defaults = dict(
        log_dir="logs/supernet",
        student_netG="super_mobile_resnet_9blocks",
        nepochs=10,
        nepochs_decay=30,
    )
    choices = dict(gan_mode=_STUDENT_GAN, recon_loss_type=_STUDENT_RECON)

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        other = "distiller" in opt.explicit and opt.distiller != opt.supernet
        if opt.supernet in (SPADE_WAY, MUNIT_WAY) and other:
            parser.error(
                f"--supernet {opt.supernet} is --distiller {opt.supernet}, not {opt.distiller}: "
                "leave one of them out"
            )
        if opt.student_netG in PLAIN:
            parser.error(
                f"--student_netG {opt.student_netG} is no supernet; distill.py trains it, or give "
                "one whose name begins with super_"
            )
        if opt.config_set is None and opt.config_str is None:
            parser.error(
                "give --config_set to train a supernet, or --config_str to train one subnet"
            )
        if opt.config_str is not None and (opt.sandwich or opt.config_per_image):
            parser.error(
                "--sandwich and --config_per_image choose among configurations, --config_str "
                "names one"
            )


class _InferenceOptions(Options):
    """Of scripts that run trained generators."""

    @classmethod
    def prepare(cls, parser, typed):
        # It may be given by that name, see `check`.
        if _typed_value("--restore_G_A_path", typed) is not None:
            (action,) = (a for a in parser._actions if a.dest == "restore_G_path")
            action.required = False

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        if opt.restore_G_A_path is None:
            return
        if opt.model != MUNIT_TEST:
            parser.error(f"--restore_G_A_path is of --model {MUNIT_TEST}; give --restore_G_path")
        if opt.restore_G_path is not None:
            parser.error("--restore_G_A_path is --restore_G_path: leave one of them out")
        opt.restore_G_path, opt.restore_G_A_path = opt.restore_G_A_path, None
        opt.explicit.add("restore_G_path")


class _SearchOptions(_InferenceOptions):
    required = ("dataroot", "restore_G_path")

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        if opt.config_set is None:
            parser.error(
                "--config_set is missing: the search space of the supernet, e.g. "
                "channels-64-pix2pix, or its widths"
            )
        # Commands of the existing implementation name no criterion: label -> photo is judged by
        # mIoU.
        if opt.no_fid and not opt.no_mIoU and "criterion" not in opt.explicit:
            opt.criterion = "mIoU"
        if opt.no_fid and opt.criterion == "fid":
            parser.error("--no_fid leaves nothing to search by: --criterion is fid")
        if opt.no_mIoU and opt.criterion != "fid":
            parser.error(
                f"--no_mIoU leaves nothing to search by: --criterion is {opt.criterion}; "
                "give --criterion fid"
            )
        if opt.dataset_mode == "single" and opt.criterion == "fid" and not opt.real_stat_path:
            parser.error(
                "--dataset_mode single has no real images to search by; give their statistics: "
                "--real_stat_path"
            )


class EvolutionOptions(_SearchOptions):
    prog = "evolution_search.py"
    description = "Genetic search of the best subnet within a budget of MACs or time."
    flags = (
        *_SEARCH,
        "output_dir",
        "population_size",
        "evolution_iters",
        "parent_ratio",
        "mutation_ratio",
        "mutate_prob",
    )
    flags += (
        "weighted_sample",
        "weight_strategy",
        "max_cache_size",
        "generation_base",
        "only_restore_cache",
    )
    flags += ("objective", "patience", "predictor", "predictor_share")
    required = (*_SearchOptions.required, "output_dir")
    defaults = dict(**_TEST_SIZES, model="test", netG="super_mobile_resnet_9blocks", ngf=48)
    choices = dict(model=_TESTS, netG=SUPERNETS, amp=("none", "bf16"))

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        if opt.predictor and opt.objective == "pareto":
            parser.error("--predictor looks for one best subnet; use it with --objective best")


class SelectOptions(Options):
    positional = "JSONL [JSONL ...]"
    prog = "search.py"
    description = "Choose the best subnet within a budget from the results of earlier searches."
    flags = ("select", "criterion", "latency_table")
    required = ("select",)

    @classmethod
    def parser(cls):
        parser = super().parser()
        parser.add_argument(
            "results", nargs="+", metavar="JSONL", help="evaluations.jsonl of one or more searches"
        )
        return parser


class SearchOptions(_SearchOptions):
    prog = "search.py"
    description = "Evaluate every subnet within a budget of MACs or time."
    flags = (*_SEARCH, "output_path", "num_splits", "split")
    required = (*_SearchOptions.required, "output_path")
    defaults = dict(
        **_TEST_SIZES, model="test", netG="super_mobile_resnet_9blocks", ngf=48, save_freq=10
    )
    choices = dict(model=_TESTS, netG=SUPERNETS, amp=("none", "bf16"))

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        if opt.split >= opt.num_splits:
            parser.error(f"--split {opt.split} must be below --num_splits {opt.num_splits}")


class TestOptions(_InferenceOptions):
    __test__ = False  # not a pytest class
    prog = "test.py"
    description = (
        "Generate images with checkpoints and measure them side by side: FID, KID, MACs, time, a "
        "page to look at. With --dataset_mode video it translates a video and takes other flags: "
        "--dataset_mode video --help lists them."
    )
    flags = (
        *_INFERENCE,
        "results_dir",
        "need_profile",
        "times",
        "restore_teacher_G_path",
        "compare",
        "test_mode",
        "test_dropout_rate",
        "ref_root",
        *_TILES,
    )
    required = ("dataroot", "restore_G_path", "results_dir")
    defaults = dict(**_TEST_SIZES, model="test", netG="sub_mobile_resnet_9blocks")
    choices = dict(model=_TESTS, dataset_mode=("video", *FLAGS["dataset_mode"].choices))

    @classmethod
    def parse(cls, argv=None):
        typed = sys.argv[1:] if argv is None else list(argv)
        if cls is TestOptions and _typed_value("--dataset_mode", typed) == "video":
            return VideoOptions.parse(typed)
        return super().parse(typed)


class LatencyOptions(TestOptions):
    prog = "latency.py"
    description = "Measure the speed of checkpoints, side by side."
    flags = (
        *(
            flag
            for flag in TestOptions.flags
            if not flag.startswith("test_") and flag not in (*_TILES, "ref_root")
        ),
        "backends",
    )
    choices = dict(model=_TESTS)


class TableOptions(Options):
    """latency.py --make_table."""

    prog = "latency.py --make_table"
    description = (
        "Measure the parts of all subnets of a supernet, and write a table of the times of all "
        "configurations, for a search by time (evolution_search.py --latency_table)."
    )
    flags = ("make_table", "backend", "config_set", "netG", "norm", "input_nc", "output_nc", "size")
    flags += ("aspect_ratio", "dataset_mode", "contain_dontcare_label", "no_instance")
    flags += (*FORMS_OF_SPADE, *MunitForm.TIMED, *_MACHINE, "output", "parts_dir", "times_path")
    required = ("config_set",)
    defaults = dict(netG="super_mobile_resnet_9blocks")
    choices = dict(netG=SUPERNETS)

    @classmethod
    def defaults_for(cls, typed):
        mode, netG = (_typed_value(f"--{flag}", typed) for flag in ("dataset_mode", "netG"))
        # A name that there is not is refused later.
        labels = netG in KINDS and KINDS[netG].labels
        if mode is None and labels:
            mode = SPADE["dataset_mode"]
        found = {"dataset_mode": mode} | cls.of_labels(mode)
        if mode in LABELLED:
            found["size"] = LABELLED[mode]["crop_size"]
        return found if mode else {}

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        if KINDS[opt.netG].labels and opt.dataset_mode not in LABELLED:
            parser.error(
                f"--dataset_mode {opt.dataset_mode}: {opt.netG} makes photos of label maps; give "
                f"{' or '.join(LABELLED)}"
            )
        if (opt.output is None) == (opt.parts_dir is None):
            parser.error(
                "give --output, the table to write, or --parts_dir, a folder for another device"
            )
        if opt.times_path and opt.parts_dir:
            parser.error("--times_path makes a table of what was measured: give --output")
        elsewhere = opt.parts_dir or opt.times_path
        if elsewhere and "backend" in opt.explicit and opt.backend != "onnxruntime":
            parser.error(f"--backend {opt.backend}: another device runs onnxruntime alone")


class ExportOptions(Options):
    prog = "export.py"
    description = (
        "Cut one subnet out of a supernet as a stand-alone network: weights, or other runtimes."
    )
    flags = ("model", "ngf", "input_path", "output_path", "config_str", "input_nc", "output_nc")
    flags += (
        "format",
        "fp16",
        "int8",
        "int8_error",
        "size",
        "dataroot",
        "dataset_mode",
        "direction",
        "phase",
        "meta_path",
    )
    flags += ("max_dataset_size", "preprocess", "load_size", "crop_size", "aspect_ratio")
    flags += ("num_threads", "load_in_memory", "cache_gb")
    flags += (*FORMS_OF_SPADE, *LABELS, "calibration_meta_path")
    required = ("input_path", "output_path")
    defaults = dict(model="mobile_resnet", ngf=48, load_size=256, max_dataset_size=64)
    choices = dict(model=("mobile_spade", "mobile_munit", "mobile_resnet"))

    @classmethod
    def defaults_for(cls, typed):
        mode = _typed_value("--dataset_mode", typed)
        if mode is None and _typed_value("--model", typed) == SPADE_MODEL:
            # Whichever dataset it was: what follows is how its channels are counted.
            return {"dataset_mode": "cityscapes"} | cls.of_labels("cityscapes")
        return super().defaults_for(typed)

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        if opt.int8 and not ("onnx" in opt.format and opt.dataroot):
            parser.error("--int8 needs --format onnx and images to calibrate on: --dataroot DIR")


class SpectralOptions(Options):
    prog = "remove_spectral_norm.py"
    description = "Take spectral norm out of a SPADE generator that was trained with it."
    flags = ("netG", "ngf", "restore_G_path", "output_path", "separable_conv_norm")
    flags += ("num_upsampling_layers", "crop_size", "aspect_ratio", "input_nc")
    flags += ("no_instance", "contain_dontcare_label")
    required = ("restore_G_path", "output_path")
    defaults = dict(netG="spade", crop_size=512, aspect_ratio=2.0, input_nc=35)
    choices = dict(netG=tuple(name for name in PLAIN if KINDS[name].form is SpadeForm))


class AssembleOptions(Options):
    prog = "assemble.py"
    description = (
        "Make one generator of the two of train.py --model munit: the content encoder of the one "
        "and the style encoder and decoder of the other."
    )
    flags = ("restore_G_A_path", "restore_G_B_path", "direction", "decoder_from_A", "output_path")
    flags += ("netG_A", "ngf_A", "netG_B", "ngf_B", "no_style_encoder_A", "no_style_encoder_B")
    required = ("restore_G_A_path", "restore_G_B_path", "output_path")


class RealStatOptions(Options):
    prog = "get_real_stat.py"
    description = "Statistics of real images for FID, written as .npz."
    flags = (
        "dataroot",
        "dataset_mode",
        "direction",
        "load_size",
        "crop_size",
        "aspect_ratio",
        "preprocess",
        "phase",
        "meta_path",
    )
    flags += (
        "max_dataset_size",
        "output_path",
        "device",
        "gpu_ids",
        "input_nc",
        "output_nc",
        "num_threads",
        *LABELS,
    )
    flags += ("fid_features", "fid_dims", "fid_weights")
    required = ("dataroot", "output_path")
    defaults = dict(load_size=256, preprocess="none", phase="val")


class _TwoFolders(Options):
    """Two positional arguments, read as ``opt.a`` and ``opt.b``."""

    positional = "A B"
    what = ""

    @classmethod
    def parser(cls):
        parser = super().parser()
        for name in ("a", "b"):
            parser.add_argument(name, metavar=name.upper(), help=cls.what)
        return parser


class FidOptions(_TwoFolders):
    prog = "python -m metrics.fid"
    description = "FID and KID of two sets of images."
    what = "a folder of images, or an .npz file of get_real_stat.py or pytorch-fid"
    flags = ("device", "gpu_ids", "num_threads", "fid_features", "fid_dims", "fid_weights")


class PairedOptions(_TwoFolders):
    prog = "python -m metrics.paired"
    description = "L1, PSNR and SSIM of the images of equal names in two folders."
    what = "a folder of images"
    flags = ()


SCRIPTS = {
    cls.prog: cls
    for cls in (
        TrainOptions,
        DistillOptions,
        SupernetOptions,
        EvolutionOptions,
        SearchOptions,
        ExportOptions,
        TestOptions,
        LatencyOptions,
        RealStatOptions,
        SpectralOptions,
        AssembleOptions,
    )
}


class MacsOptions(Options):
    positional = "[CONFIG ...]"
    prog = "python -m metrics.macs"
    description = (
        "MACs and parameters of configurations; without one, the published table beside what is "
        "computed here."
    )
    flags = ("size", "netG", "ngf", "norm")
    defaults = dict(netG="sub_mobile_resnet_9blocks")
    choices = dict(netG=BY_CONFIG)

    @classmethod
    def parser(cls):
        parser = super().parser()
        parser.add_argument(
            "configs",
            nargs="*",
            metavar="CONFIG",
            help="of --netG, e.g. 16_16_40_40_40_64_24_16; or the name of one that has an --ngf",
        )
        return parser


class _FolderOptions(Options):
    """Of commands that take the folder with the images by itself too."""

    positional = "DATAROOT"
    what = "the folder with the images"

    @classmethod
    def parser(cls):
        parser = super().parser()
        parser.add_argument(
            "root", nargs="?", metavar=cls.positional, help=f"{cls.what}, as --dataroot"
        )
        return parser

    @classmethod
    def check(cls, opt, parser):
        super().check(opt, parser)
        if (opt.root is None) == (opt.dataroot is None):
            name = cls.positional
            parser.error(f"give {cls.what} once: {name} or --dataroot {name}")
        opt.dataroot = opt.dataroot if opt.root is None else opt.root


class VideoOptions(_FolderOptions):
    """test.py --dataset_mode video."""

    prog = "test.py"
    description = (
        "Translate a video frame by frame. The output is a video of the same rate, with the same "
        "sound; with a teacher it shows input, teacher and network side by side."
    )
    positional = "VIDEO"
    what = "the video"
    flags = (
        *("dataroot", "dataset_mode", "preprocess", "load_size", "crop_size", "aspect_ratio"),
        *("batch_size", "input_nc", "output_nc", "num_threads", "num_test", *_MACHINE),
        *("norm", "config_str", "netG", "ngf", "restore_G_path", "restore_teacher_G_path"),
        *("compare", "test_mode", "test_dropout_rate", "output_path", "side_by_side", "ref_root"),
    )
    required = ("restore_G_path", "output_path")
    defaults = dict(load_size=256, dataset_mode="video", netG=TestOptions.defaults["netG"])
    choices = dict(dataset_mode=("video",))

    @classmethod
    def parse(cls, argv=None):
        typed = sys.argv[1:] if argv is None else list(argv)
        # A video has one output and no --output_dir that it could be taken for.
        short = re.compile(r"--output(?==|$)")
        return super().parse([short.sub("--output_path", word) for word in typed])


class CheckOptions(_FolderOptions):
    prog = "python -m data.check"
    description = (
        "Look at every file of a dataset: what it holds, what the flags make of it, what to fix."
    )
    flags = (
        "dataroot",
        "dataset_mode",
        "direction",
        "phase",
        "meta_path",
        "preprocess",
        "load_size",
        "crop_size",
    )
    flags += ("aspect_ratio", "batch_size", "input_nc", "output_nc", "num_threads", "cache_gb")
    flags += LABELS
    defaults = dict(phase=None)

    @classmethod
    def of_labels(cls, mode):
        """Those of training, which the check is about."""
        return {flag: value for flag, value in LABELLED.get(mode, {}).items() if flag in cls.flags}


# --------------------------------------------------------------------------------------------------
# From images to a compressed network


class CompressOptions(Options):
    prog = "compress.py"
    description = (
        "Compress a generator, from a folder of images to a small network, a page and a model card."
    )
    flags = ("dataroot", "dataset_mode", "direction", "image_size", "teacher", "student_netG")
    flags += ("target", "preset")
    flags += ("output_dir", "fid_weights", "num_threads", *_MACHINE, "dry_run")
    required = ("dataroot", "target", "output_dir")
    # Not given: found out from the images and the teacher.
    defaults = dict(dataset_mode=None, direction=None, num_threads=None, gpu_ids=None, device=None)
    choices = dict(
        dataset_mode=("aligned", "unaligned"),
        student_netG=tuple(
            name for name in SUPERNETS if not (KINDS[name].labels or KINDS[name].styled)
        ),
    )


class ArrangeOptions(_FolderOptions):
    prog = "python -m prepare.arrange"
    description = "Arrange a dataset in three phases of links: train, val to choose by, and test."
    flags = ("dataroot", "dataset_mode", "train_images", "val_images", "test_images", "seed")
    flags += ("output_dir",)
    required = ("output_dir",)
    choices = dict(dataset_mode=("aligned", "unaligned"))


class CompressedOptions(Options):
    prog = "python -m report.compressed"
    description = "Write the results, page and model card of a folder of compress.py."
    flags = ("output_dir", "target", "preset")
    required = ("output_dir", "target")
