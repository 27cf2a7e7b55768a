"""Every flag of every script, defined once: its group, type, default, unit and meaning."""

from __future__ import annotations

import argparse
import decimal
import math
from collections.abc import Callable
from dataclasses import dataclass

from data.datasets import DIRECTIONS
from data.transforms import PREPROCESS
from errors import InputError
from metrics.inception import DIMS, FEATURES
from models.config import ChannelConfig, ConfigSet
from models.kinds import CONFIG_KINDS, GENERATORS, PLAIN
from models.multi_scale import parse_norm_D
from models.munit import MunitForm
from models.spade import UPSAMPLINGS, parse_norm_G
from models.tiles import TILE_NORMS
from runtime.machine import DEVICES
from subnets.space import NO_BUDGET, Milliseconds
from training.augmentation import CHANGES
from training.losses import GAN_MODES
from training.schedules import POLICIES

# The names of `deploy.forms.FORMS`, whose import takes long.
FORMS = ("eager", "channels_last", "fused", "compile", "cuda_graph", "onnxruntime", "openvino")
FORMS += ("bf16", "compile_bf16", "openvino_bf16")

# --------------------------------------------------------------------------------------------------
# Types that say what they want


def _number(kind, low=None, high=None, infinite=False):
    """A parser of numbers from ``low`` to ``high``; infinity only where it means something."""
    name = "whole number" if kind is int else "number"

    def parse(text):
        try:
            exact = decimal.Decimal(text)
        except decimal.InvalidOperation:
            raise argparse.ArgumentTypeError(f"'{text}' is not a {name}") from None
        if exact.is_nan():
            raise argparse.ArgumentTypeError(f"'{text}' is not a {name}")
        if (low is not None and exact < low) or (high is not None and exact > high):
            least_only = high is None or (exact < low and high > 1)
            limits = f"{low} or more" if least_only else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: it must be {limits}")
        endless = exact.is_infinite() or math.isinf(float(exact))
        if endless and not infinite:
            raise argparse.ArgumentTypeError(f"{text} is out of range: it must be finite")
        if kind is int and exact != exact.to_integral_value():
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
        return kind(exact)

    return parse


# The largest that counts of steps, images and channels can be: their sums stay exact everywhere.
_MOST = 10**12
positive = _number(int, 1, _MOST)
natural = _number(int, 0, _MOST)
non_negative = _number(float, 0)
non_negative_or_inf = _number(float, 0, infinite=True)
share = _number(float, 0, 1)
below_one = _number(float, 0, 0.999999)
pixels = _number(int, 1, 65536)
channels = _number(int, 1, 4096)
threads = _number(int, 1, 1024)
threads_or_none = _number(int, 0, 1024)


def text(value: str) -> str:
    """A name, file or folder; an empty one would be taken for one that was not given."""
    if not value.strip():
        raise argparse.ArgumentTypeError("it is empty; leave the flag out instead")
    return value


def count_or_inf(text: str):
    """A whole number, or ``inf`` for all."""
    return math.inf if text.lower() == "inf" else positive(text)


def count_or_all(text: str) -> int:
    """A whole number from 1, or -1 for all."""
    if text.strip() == "0":
        raise argparse.ArgumentTypeError("0 leaves no images: give -1 to use all")
    return -1 if text.strip() == "-1" else positive(text)


def _read_by_any(read: Callable[[type[ChannelConfig]], object]) -> str:
    """What ``read`` makes of a text as configurations of the first family that understands it.

    Which family is meant is known when its network is.
    """
    problems = []
    for kind in CONFIG_KINDS:
        try:
            return str(read(kind))
        except InputError as error:
            problems.append(str(error))
    raise argparse.ArgumentTypeError(problems[0])


def config_string(text: str) -> str:
    return _read_by_any(lambda kind: kind.parse(text))


def config_set(text: str) -> str:
    """A search space, as the text that says all of it: a file is read here and not named again.

    Lists are not given a name that other families have for other lists.
    """

    def read(kind: type[ChannelConfig]) -> str:
        found = ConfigSet.read(text, kind)
        others = (each.SETS.get(str(found), found.choices) for each in CONFIG_KINDS)
        named = text in kind.SETS or all(choices == found.choices for choices in others)
        return str(found) if named else found.lists

    return _read_by_any(read)


def budget(text: str) -> float:
    """MACs, or with ``ms`` at the end `subnets.space.Milliseconds`."""
    number = text.strip().removesuffix("ms")
    value = non_negative_or_inf(number)
    return value if number == text.strip() else Milliseconds(value)


def norm_G(text: str) -> str:
    return _checked(parse_norm_G, text)


def norm_D(text: str) -> str:
    return _checked(parse_norm_D, text)


def _checked(parse: Callable[[str], object], text: str) -> str:
    try:
        parse(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def gpu_list(text: str) -> str:
    try:
        [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a list of GPU numbers such as 0 or 0,1 (-1: CPU)"
        ) from None
    return text


# --------------------------------------------------------------------------------------------------
# The table


@dataclass(frozen=True)
class Flag:
    group: str
    help: str
    type: object = text  # `bool` makes a switch
    default: object = None
    choices: tuple = ()
    metavar: str | None = None
    many: bool = False  # takes one value or several, and is a list


_DATA, _NET, _LOSS, _TIME, _LOG = (
    "data",
    "networks",
    "losses",
    "length and learning rate",
    "logging and checkpoints",
)
_MEASURE, _SEARCH, _RUN, _START = "measures", "search", "machine", "starting weights"

# What flags of a second teacher are when there is one. Without one they are not set: a run that an
# earlier version began has none of them either.
DEEPER = {"deeper_ngf": 16, "share_D": 3}

# What flags of label maps are where nothing else is said; by --dataset_mode. The weights of COCO's
# mIoU are not set for other modes, for the same reason.
CITYSCAPES = {"preprocess": "scale_width", "load_size": 512, "crop_size": 512}
CITYSCAPES |= {"aspect_ratio": 2.0, "input_nc": 35}
COCO = {"load_size": 286, "crop_size": 256, "input_nc": 182, "contain_dontcare_label": True}
COCO |= {"deeplabv2_path": "deeplabv2_resnet101_msc-cocostuff164k-100000.pth"}
LABELLED: dict[str, dict] = {"cityscapes": CITYSCAPES, "coco": COCO}

# The way to train that --model, --distiller and --supernet call so, and the networks that export.py
# --model calls so: no names of generators, though some have the same.
SPADE_WAY, SPADE_MODEL = "spade", "mobile_spade"

# What flags of training are for SPADE: --model, --distiller or --supernet spade. Other runs do not
# have those of it alone, for the same reason.
SPADE = {"dataset_mode": "cityscapes", "netD": "multi_scale", "ndf": 64, "n_layers_D": 4}
SPADE |= {"init_type": "xavier", "batch_size": 16, "nepochs": 100, "nepochs_decay": 100}
SPADE |= {"print_freq": 50, "save_epoch_freq": 10, "num_D": 2, "norm_D": "spectralinstance"}
SPADE |= {"lambda_feat": 10.0, "lambda_vgg": 10.0, "beta2": 0.999}
SPADE_NETS = {"netG": "spade", "teacher_netG": "mobile_spade", "pretrained_netG": "mobile_spade"}
SPADE_NETS |= {"lambda_distill": 10.0}

# The way to train generators that make images in styles, no name of one as SPADE_WAY is none; and
# what flags are for it.
MUNIT_WAY = "munit"
MUNIT = {"dataset_mode": "unaligned", "load_size": 256, "netD": "ms_image", "ndf": 64}
MUNIT |= {"n_layers_D": 4, "num_D": 3, "gan_mode": "lsgan", "init_type": "kaiming"}
MUNIT |= {"lr": 0.0001, "beta2": 0.999, "weight_decay": 0.0001, "lr_policy": "step"}
MUNIT |= {"scheduler_counter": "iter", "nepochs": 21, "nepochs_decay": 0, "niters": 1_000_000}
MUNIT |= {"lambda_rec_x": 10.0, "lambda_rec_s": 1.0, "lambda_rec_c": 1.0}
MUNIT_NETS = {"netG": "munit", "ngf": 64}
MUNIT_STUDENT = {"teacher_netG": "munit", "teacher_ngf": 64, "student_ngf": 64}
MUNIT_STUDENT |= {"style_encoder_step": 2, "nepochs": 42, "niters": 2_000_000}
MUNIT_STUDENT |= {"lr_decay_steps": 200_000}

# What flags of train.py are for --model cycle_gan. For pix2pix the weights are not set, for the
# same reason.
CYCLE_GAN = {"dataset_mode": "unaligned", "gan_mode": "lsgan", "ndf": 64}
CYCLE_GAN |= {"nepochs": 100, "nepochs_decay": 100, "save_epoch_freq": 20}
CYCLE_GAN |= {"lambda_A": 10.0, "lambda_B": 10.0, "lambda_identity": 0.5}

# Prefix of flags of one network alone -> whose they are.
_WHOSE = (("", "the generator"), ("teacher_", "the teacher"), ("student_", "the student"))


def _fixed(name: str) -> tuple:
    """The one value of what all MUNIT networks here have."""
    return (MunitForm.FIXED[name],)


# The names of search spaces, of whatever family.
_SETS = dict.fromkeys(name for kind in CONFIG_KINDS for name in kind.SETS)

FLAGS: dict[str, Flag] = {
    # ---- data
    "dataroot": Flag(_DATA, "folder with the images: <dataroot>/<phase>/*.jpg", metavar="DIR"),
    "dataset_mode": Flag(
        _DATA,
        "aligned: A|B pairs side by side, or folders <phase>A and <phase>B of equal names | "
        "unaligned: folders <phase>A and "
        "<phase>B that are no pairs | cityscapes, coco: label maps and photos in the folders of "
        "these datasets (docs/spade.md) | single: images alone",
        default="aligned",
        choices=("aligned", "unaligned", *LABELLED, "single"),
    ),
    "direction": Flag(_DATA, "which half or side is the input", default="AtoB", choices=DIRECTIONS),
    "phase": Flag(_DATA, "folder of dataroot that is used", default="train"),
    "meta_path": Flag(
        _DATA,
        "use only the files named in this list, one name per line; unaligned: x.meta stands for "
        "two lists, xA.meta and xB.meta",
        metavar="FILE",
    ),
    "metaA_path": Flag(
        _DATA,
        "with --metaB_path, of unaligned data: the two lists of --meta_path by their own names",
        metavar="FILE",
    ),
    "metaB_path": Flag(_DATA, "see --metaA_path", metavar="FILE"),
    "max_dataset_size": Flag(
        _DATA,
        "use at most N images (unaligned: of each side), -1 = all",
        count_or_all,
        -1,
        metavar="N",
    ),
    "preprocess": Flag(
        _DATA, "how an image is brought to size", default="resize_and_crop", choices=PREPROCESS
    ),
    "load_size": Flag(_DATA, "images are scaled to this size [px]", pixels, 286, metavar="PX"),
    "crop_size": Flag(_DATA, "then cropped to this size [px]", pixels, 256, metavar="PX"),
    "aspect_ratio": Flag(
        _DATA,
        "width / height of load_size and crop_size; the height is divided by it",
        _number(float, 0.01, 100),
        1.0,
        metavar="R",
    ),
    "no_flip": Flag(_DATA, "do not mirror images at random", bool),
    "serial_batches": Flag(
        _DATA,
        "take images in order of their names instead of shuffled (unaligned: both sides)",
        bool,
    ),
    "batch_size": Flag(
        _DATA, "images per step and process", _number(int, 1, 65536), 1, metavar="N"
    ),
    "input_nc": Flag(
        _DATA,
        "channels of the input images, 1 = grey; of label maps the number of labels",
        channels,
        3,
        metavar="N",
    ),
    "contain_dontcare_label": Flag(
        _DATA, "label maps: one channel more, for pixels of 255, which no label describes", bool
    ),
    "no_instance": Flag(
        _DATA, "label maps: without the channel of the edges between instances", bool
    ),
    "coco_no_portraits": Flag(_DATA, "coco: train without the folders ..._portrait", bool),
    "no_pairing_check": Flag(
        _DATA, "label maps: files of a scene need not have names that agree", bool
    ),
    "output_nc": Flag(_DATA, "channels of the output images, 1 = grey", channels, 3, metavar="N"),
    "num_threads": Flag(_DATA, "decoding threads", threads_or_none, 4, metavar="N"),
    "load_in_memory": Flag(
        _DATA, "decode all images at the start instead of at first use, within --cache_gb", bool
    ),
    "cache_gb": Flag(
        _DATA,
        "decoded images kept in memory, at most [GB]; beyond it they are decoded each time",
        non_negative_or_inf,
        4.0,
        metavar="GB",
    ),
    "num_test": Flag(_DATA, "use at most N images, inf = all", count_or_inf, math.inf, metavar="N"),
    # ---- machine
    "device": Flag(
        _RUN,
        "what to compute on; auto: a CUDA GPU if there is one, else the CPU",
        default="auto",
        choices=DEVICES,
    ),
    "gpu_ids": Flag(
        _RUN,
        "GPU to use, under torchrun one per process (2,3); -1 = CPU",
        gpu_list,
        "0",
        metavar="ID",
    ),
    "seed": Flag(_RUN, "seed of all random draws", _number(int, 0, 2**32 - 1), 233, metavar="N"),
    # ---- networks
    "model": Flag(_NET, "what the script works on"),
    "distiller": Flag(
        _NET,
        "resnet: a trained teacher's activations, and a discriminator | spade: the same by the "
        "losses of SPADE, from label maps | munit: its images, contents and styles, from images "
        "that are no pairs | online: the images of a "
        "teacher that trains along; a discriminator only with --lambda_adversarial",
        default="resnet",
        choices=("resnet", "spade", "munit", "online"),
    ),
    "supernet": Flag(
        _NET,
        "kind of supernet; spade is --distiller spade, munit --distiller munit",
        default="resnet",
        choices=("spade", "munit", "resnet"),
    ),
    "netG": Flag(_NET, "generator", choices=GENERATORS),
    "netD": Flag(
        _NET,
        "discriminator; multi_scale is that of SPADE, ms_image that of MUNIT",
        default="n_layers",
        choices=("n_layers", "multi_scale", "ms_image", "pixel"),
    ),
    "num_D": Flag(
        _NET,
        "multi_scale, ms_image: sizes of an image that are judged, each half of the one before",
        _number(int, 1, 8),
        metavar="N",
    ),
    "norm_D": Flag(
        _NET,
        "multi_scale: instance, batch or none, with or without spectral before it",
        norm_D,
        metavar="NORM",
    ),
    "teacher_netG": Flag(
        _NET, "generator of the teacher", default="mobile_resnet_9blocks", choices=GENERATORS
    ),
    "deeper_netG": Flag(
        _NET,
        "online: generator of a second teacher, of whose images the student learns too",
        choices=PLAIN,
    ),
    "student_netG": Flag(_NET, "generator of the student", choices=GENERATORS),
    "pretrained_netG": Flag(
        _NET,
        "generator of --restore_pretrained_G_path",
        default="mobile_resnet_9blocks",
        choices=GENERATORS,
    ),
    "ngf": Flag(_NET, "base width of the generator [channels]", channels, 64, metavar="N"),
    "ndf": Flag(_NET, "base width of the discriminator [channels]", channels, 128, metavar="N"),
    "teacher_ngf": Flag(_NET, "base width of the teacher [channels]", channels, 64, metavar="N"),
    "deeper_ngf": Flag(
        _NET,
        f"base width of the second teacher [channels]; {DEEPER['deeper_ngf']} without it",
        channels,
        metavar="N",
    ),
    "student_ngf": Flag(_NET, "base width of the student [channels]", channels, 48, metavar="N"),
    "pretrained_ngf": Flag(
        _NET, "base width of the pretrained network [channels]", channels, 64, metavar="N"
    ),
    "n_layers_D": Flag(
        _NET, "stride-2 layers of the n_layers discriminator", _number(int, 1, 12), 3, metavar="N"
    ),
    "share_D": Flag(
        _NET,
        "first blocks of the discriminator that both teachers share, of --n_layers_D + 2 (pixel: "
        f"of 3); {DEEPER['share_D']} without it",
        natural,
        metavar="N",
    ),
    "student_ndf": Flag(
        _NET,
        "online: base width of the student's own discriminator [channels]; --ndf without it",
        channels,
        metavar="N",
    ),
    **{
        f"{prefix}norm_G": Flag(
            _NET,
            f"SPADE: norms of {whose}, [spectral]spade, then syncbatch, batch or instance, then "
            "3x3; spadesyncbatch3x3 without it",
            norm_G,
            metavar="NORM",
        )
        for prefix, whose in (
            ("", "the generator"),
            ("teacher_", "the teacher"),
            ("student_", "the student"),
            ("pretrained_", "the pretrained network"),
        )
    },
    "num_upsampling_layers": Flag(
        _NET,
        "SPADE: the image is doubled 5 (normal), 6 (more) or 7 times (most); more without it",
        choices=UPSAMPLINGS,
    ),
    "separable_conv_norm": Flag(
        _NET,
        "mobile SPADE: norm inside separable convolutions; instance without it",
        choices=("instance", "none", "batch"),
    ),
    "norm": Flag(_NET, "normalisation", default="instance", choices=("instance", "batch", "none")),
    "init_type": Flag(
        _NET,
        "weight initialisation",
        default="normal",
        choices=("normal", "xavier", "kaiming", "orthogonal"),
    ),
    "init_gain": Flag(
        _NET, "standard deviation or gain of the initialisation", non_negative, 0.02, metavar="X"
    ),
    "dropout_rate": Flag(_NET, "dropout inside the blocks", share, 0.0, metavar="P"),
    "teacher_dropout_rate": Flag(_NET, "dropout of the teachers' blocks", share, 0.0, metavar="P"),
    "student_dropout_rate": Flag(_NET, "dropout of the student's blocks", share, 0.0, metavar="P"),
    "style_dim": Flag(
        _NET, "MUNIT: numbers that make a style; 8 without it", positive, metavar="N"
    ),
    **{
        f"{prefix}mlp_dim": Flag(
            _NET,
            f"MUNIT: width of the layers of {whose} that make factors of a style; 256 without it",
            positive,
            metavar="N",
        )
        for prefix, whose in _WHOSE
    },
    **{
        f"{prefix}no_style_encoder": Flag(
            _NET, f"MUNIT: {whose} has no style encoder and must be given styles", bool
        )
        for prefix, whose in _WHOSE
    },
    "n_downsample": Flag(
        _NET,
        "MUNIT: how often an image is halved before the residual blocks",
        int,
        choices=_fixed("n_downsample"),
    ),
    "n_res": Flag(
        _NET,
        "MUNIT: residual blocks of the encoder, and of the decoder",
        int,
        choices=_fixed("n_res"),
    ),
    "activ": Flag(_NET, "MUNIT: what follows the norms", choices=_fixed("activ")),
    "pad_type": Flag(_NET, "MUNIT: what lies around an image", choices=_fixed("pad_type")),
    "config_set": Flag(
        _NET,
        f"search space of the supernet: {', '.join(_SETS)}; or the widths of all genes, "
        "e.g. 24,20,16; or of each, as many such lists joined by ';' (a ResNet has 8); or a file "
        "with one such list or one per line",
        config_set,
        metavar="SET",
    ),
    "config_str": Flag(
        _NET, "one subnet, e.g. 16_16_40_40_40_64_24_16", config_string, metavar="CONFIG"
    ),
    # ---- starting weights
    "restore_G_path": Flag(
        _START,
        "checkpoint of the generator; train.py --model cycle_gan and munit: the common start of "
        "both, completed by _A.pth and _B.pth",
        metavar="PTH",
    ),
    "restore_G_A_path": Flag(
        _START,
        "checkpoint of the generator of domain A; with --model munit_test the same as "
        "--restore_G_path",
        metavar="PTH",
    ),
    "restore_G_B_path": Flag(_START, "checkpoint of the generator of domain B", metavar="PTH"),
    **{
        f"no_style_encoder_{side}": Flag(
            _NET, f"the generator of domain {side} has no style encoder", bool
        )
        for side in "AB"
    },
    **{
        f"{name}_{side}": Flag(
            _NET, f"{what} of domain {side}; its file says it, and must agree", parse, **more
        )
        for side in "AB"
        for name, what, parse, more in (
            ("netG", "generator", text, {"choices": GENERATORS}),
            ("ngf", "its base width, of the generator", positive, {"metavar": "N"}),
        )
    },
    "decoder_from_A": Flag(
        _START, "take the decoder of the generator that gives the content, too", bool
    ),
    "restore_D_path": Flag(
        _START,
        "checkpoint of the discriminator; train.py --model cycle_gan and munit: as "
        "--restore_G_path",
        metavar="PTH",
    ),
    **{
        f"restore_D_{side}_path": Flag(
            _START, f"checkpoint of the discriminator of --restore_G_{side}_path", metavar="PTH"
        )
        for side in "AB"
    },
    "restore_student_D_path": Flag(
        _START, "online: checkpoint of the student's own discriminator", metavar="PTH"
    ),
    "restore_A_path": Flag(
        _START,
        "checkpoints of the adaptors: their common start, completed by -0.pth to -3.pth",
        metavar="PREFIX",
    ),
    "restore_O_path": Flag(
        _START,
        "optimizers: this project's state.pth, or the common start of -0.pth (generator) and "
        "-1.pth (discriminator)",
        metavar="PATH",
    ),
    "restore_teacher_G_path": Flag(
        _START,
        "checkpoint of the teacher; where models are compared, they are compared with it",
        metavar="PTH",
    ),
    "restore_deeper_G_path": Flag(
        _START, "checkpoint of the second teacher (--deeper_netG)", metavar="PTH"
    ),
    "ref_root": Flag(
        _DATA,
        "MUNIT: folder of reference images: each image is made in the style of one of them, a "
        "video in that of the first; without it styles are drawn",
        metavar="DIR",
    ),
    "compare": Flag(
        _START,
        "further checkpoints, measured side by side with the first; they need no flags on their "
        "architecture, and a supernet "
        "among them is cut to --config_str too",
        metavar="PTH",
        many=True,
    ),
    "restore_student_G_path": Flag(_START, "checkpoint of the student", metavar="PTH"),
    "restore_pretrained_G_path": Flag(
        _START, "wider network that the student is pruned from", metavar="PTH"
    ),
    # ---- losses
    "gan_mode": Flag(_LOSS, "adversarial loss", default="hinge", choices=GAN_MODES),
    "recon_loss_type": Flag(
        _LOSS, "reconstruction loss", default="l1", choices=("l1", "l2", "smooth_l1")
    ),
    "lambda_gan": Flag(_LOSS, "weight of the adversarial loss", non_negative, 1.0, metavar="X"),
    "lambda_recon": Flag(
        _LOSS, "weight of the reconstruction loss", non_negative, 100.0, metavar="X"
    ),
    "lambda_distill": Flag(
        _LOSS, "weight of the distillation loss", non_negative, 1.0, metavar="X"
    ),
    "lambda_feat": Flag(
        _LOSS,
        "SPADE: weight of L1 between what the discriminator's layers make of made and real photos",
        non_negative,
        metavar="X",
    ),
    "lambda_vgg": Flag(
        _LOSS,
        "SPADE: weight of L1 between features of VGG-19 (--vgg_path); 0 = without them",
        non_negative,
        metavar="X",
    ),
    "lambda_rec_x": Flag(
        _LOSS,
        "MUNIT: weight of L1 between images: an image and what is made again of its content and "
        "style; a student's and its teacher's",
        non_negative,
        metavar="X",
    ),
    "lambda_rec_s": Flag(_LOSS, "MUNIT: the same between styles", non_negative, metavar="X"),
    "lambda_rec_c": Flag(_LOSS, "MUNIT: the same between contents", non_negative, metavar="X"),
    "style_encoder_step": Flag(
        _LOSS,
        "MUNIT: in every N-th step teacher and student get a random style, in the others each "
        "finds that of a real image itself",
        positive,
        metavar="N",
    ),
    "teacher_freq": Flag(
        _LOSS,
        "online teachers are updated in every N-th step; 0 = they are trained already",
        natural,
        1,
        metavar="N",
    ),
    "lambda_l1": Flag(
        _LOSS, "online: weight of L1 to the teacher's image", non_negative, 0.0, metavar="X"
    ),
    "lambda_ssim": Flag(
        _LOSS, "online: weight of 1 - SSIM to the teacher's image", non_negative, 10.0, metavar="X"
    ),
    "lambda_style": Flag(
        _LOSS, "online: weight of the Gram matrices of features", non_negative, 1e4, metavar="X"
    ),
    "lambda_feature": Flag(
        _LOSS, "online: weight of L1 between features", non_negative, 10.0, metavar="X"
    ),
    "lambda_tv": Flag(
        _LOSS, "online: weight of the total variation", non_negative, 1e-5, metavar="X"
    ),
    "lambda_wavelet": Flag(
        _LOSS, "online: weight of the high frequencies (Haar)", non_negative, 0.0, metavar="X"
    ),
    "lambda_adversarial": Flag(
        _LOSS,
        "online: weight of the adversarial loss of a discriminator of the student's own; 0 = it "
        "has none",
        non_negative,
        0.0,
        metavar="X",
    ),
    "lambda_real": Flag(
        _LOSS, "online: weight of L1 to the real image", non_negative, 0.0, metavar="X"
    ),
    "augment_D": Flag(
        _LOSS,
        "how all that a discriminator sees is changed at random: color, translation, cutout; "
        "against learning few images by heart",
        choices=tuple(CHANGES),
        many=True,
    ),
    "tap_loss": Flag(
        _LOSS,
        "online: how activations are compared, with weight --lambda_distill",
        default="mse",
        choices=("mse", "channel", "alignment"),
    ),
    "feature_net": Flag(
        _LOSS,
        "online: whose features are compared: the teacher's discriminator's, or VGG-16's",
        default="discriminator",
        choices=("discriminator", "vgg16"),
    ),
    "vgg_path": Flag(
        _LOSS,
        "weights of VGG-16, for SPADE of VGG-19 (torchvision's); without it torch's cache or a "
        "download",
        metavar="PTH",
    ),
    "pool_size": Flag(
        _LOSS,
        "cycle_gan: earlier outputs of each generator that are kept, and shown to its "
        "discriminator instead of half of the new ones; 0 = none",
        natural,
        50,
        metavar="N",
    ),
    "lambda_A": Flag(
        _LOSS,
        "cycle_gan: weight of the cycle A -> B -> A, L1 to the real A",
        non_negative,
        metavar="X",
    ),
    "lambda_B": Flag(
        _LOSS,
        "cycle_gan: weight of the cycle B -> A -> B, L1 to the real B",
        non_negative,
        metavar="X",
    ),
    "lambda_identity": Flag(
        _LOSS,
        "cycle_gan: factor on --lambda_A for L1 between A and what the generator of A makes of it, "
        "and on --lambda_B likewise; 0 = off",
        non_negative,
        metavar="X",
    ),
    "ema": Flag(
        _LOSS,
        "decay per step of a moving average of the generator's weights (of a student's where there "
        "is one), e.g. 0.999; the average is measured and saved as G, the network itself as "
        "G_raw; 0 = off",
        below_one,
        0.0,
        metavar="X",
    ),
    "qat": Flag(
        _LOSS,
        "train the student as export.py --int8 will run it: weights and inputs of convolutions are "
        "rounded to 8 bits, in evaluations too; its file is that of an ordinary network",
        bool,
    ),
    "sandwich": Flag(
        _LOSS,
        "train the largest, the smallest and K random configurations in every step; 0 = a single "
        "random one",
        natural,
        0,
        metavar="K",
    ),
    "config_per_image": Flag(
        _LOSS, "every image of a batch has a random configuration of its own", bool
    ),
    # ---- length and learning rate
    "nepochs": Flag(_TIME, "epochs at the initial learning rate", natural, 5, metavar="N"),
    "nepochs_decay": Flag(_TIME, "epochs over which it falls to zero", natural, 15, metavar="N"),
    "niters": Flag(_TIME, "train for at most N steps", positive, 1_000_000_000, metavar="N"),
    "lr": Flag(_TIME, "initial learning rate of Adam", non_negative, 0.0002, metavar="X"),
    "beta1": Flag(_TIME, "momentum of Adam", below_one, 0.5, metavar="X"),
    "beta2": Flag(
        _TIME, "MUNIT, SPADE with --no_TTUR: the other momentum of Adam", below_one, metavar="X"
    ),
    "weight_decay": Flag(
        _TIME,
        "MUNIT: Adam adds that many times each weight to its gradient",
        non_negative,
        metavar="X",
    ),
    "no_TTUR": Flag(
        _TIME,
        "SPADE: one learning rate for both, and --beta1 and --beta2; without it the generator has "
        "half of --lr, the discriminator twice, and the momenta are 0 and 0.9",
        bool,
    ),
    "lr_policy": Flag(_TIME, "how the learning rate develops", default="linear", choices=POLICIES),
    "lr_decay_steps": Flag(
        _TIME,
        "step policy: times gamma every N epochs or steps (--scheduler_counter)",
        positive,
        100000,
        metavar="N",
    ),
    "scheduler_counter": Flag(
        _TIME,
        "the learning rate changes by epoch or by step",
        default="epoch",
        choices=("epoch", "iter"),
    ),
    "gamma": Flag(_TIME, "factor of the step and plateau policies", non_negative, 0.5, metavar="X"),
    "epoch_base": Flag(_TIME, "number of the first epoch", positive, 1, metavar="N"),
    "iter_base": Flag(_TIME, "steps done before", natural, 0, metavar="N"),
    # ---- logging and checkpoints
    "log_dir": Flag(
        _LOG, "folder of the run: checkpoints, log, pictures", default="logs", metavar="DIR"
    ),
    "tensorboard_dir": Flag(
        _LOG, "write TensorBoard event files here (needs the tensorboard package)", metavar="DIR"
    ),
    "print_freq": Flag(_LOG, "log the mean losses every N steps", positive, 100, metavar="N"),
    "save_latest_freq": Flag(
        _LOG, "evaluate and save the networks every N steps", positive, 20000, metavar="N"
    ),
    "save_epoch_freq": Flag(
        _LOG, "evaluate and keep numbered networks every N epochs", positive, 5, metavar="N"
    ),
    "display_winsize": Flag(
        _LOG, "size of an image in pictures and pages [px]", pixels, 256, metavar="PX"
    ),
    "output_dir": Flag(_LOG, "folder of all results", metavar="DIR"),
    "output_path": Flag(_LOG, "file to write", metavar="FILE"),
    "input_path": Flag(
        _LOG, "checkpoint of the supernet, or of a network of that config", metavar="PTH"
    ),
    "format": Flag(
        _LOG,
        "what to write, one file each; the suffix of --output_path is replaced, or says it where "
        "this flag is left out. pth: weights | "
        "safetensors: the same for the safetensors library | onnx: ONNX Runtime | pt2: "
        "torch.export | coreml: .mlpackage for Apple's devices | tflite: LiteRT, e.g. on Android",
        default="pth",
        choices=("pth", "safetensors", "onnx", "pt2", "coreml", "tflite"),
        many=True,
    ),
    "fp16": Flag(
        _LOG,
        "store weights as float16: half the size, computes in float32 (coreml: in float16)",
        bool,
    ),
    "int8": Flag(
        _LOG,
        "also write NAME.int8.onnx: convolutions in 8 bits, calibrated on the images of "
        "--dataroot; needs --format onnx",
        bool,
    ),
    "int8_error": Flag(
        _LOG,
        "with --int8: error of the output that is allowed, root mean square in grey levels of 255; "
        "the fewest layers stay in float32 that keep it; inf = none stays",
        non_negative_or_inf,
        1.5,
        metavar="X",
    ),
    "results_dir": Flag(_LOG, "folder for images, page and metrics", metavar="DIR"),
    "side_by_side": Flag(
        _LOG,
        "show the input beside the output; several networks are always shown so, after the input",
        bool,
    ),
    # ---- measures
    "no_fid": Flag(_MEASURE, "do not measure FID", bool),
    "no_mIoU": Flag(_MEASURE, "do not measure mIoU", bool),
    "real_stat_path": Flag(
        _MEASURE,
        "statistics of the real images (.npz); without it they are made once and kept beside the "
        "dataset",
        metavar="NPZ",
    ),
    "real_stat_A_path": Flag(
        _MEASURE,
        "cycle_gan: statistics of the real A, for FID of G_B; --real_stat_path is of the real B",
        metavar="NPZ",
    ),
    "real_stat_B_path": Flag(
        _MEASURE,
        "cycle_gan, munit, munit_test: the same as --real_stat_path",
        metavar="NPZ",
    ),
    "fid_features": Flag(
        _MEASURE,
        "inception: the FID network | random: the same with seeded random weights; no download, "
        "but values are on another scale",
        default="inception",
        choices=FEATURES,
    ),
    "fid_dims": Flag(
        _MEASURE,
        "features of the FID network; published figures use 2048",
        int,
        2048,
        choices=DIMS,
    ),
    "fid_weights": Flag(
        _MEASURE,
        "weights of the FID network; without it torch's cache or a download",
        metavar="PTH",
    ),
    "eval_batch_size": Flag(
        _MEASURE, "images per batch of an evaluation", _number(int, 1, 65536), 1, metavar="N"
    ),
    "drn_path": Flag(
        _MEASURE,
        "weights of the segmentation network, for mIoU",
        default="drn-d-105_ms_cityscapes.pth",
        metavar="PTH",
    ),
    "deeplabv2_path": Flag(
        _MEASURE,
        "the same for --dataset_mode coco, whose labels are those that the photos are made of; "
        f"{COCO['deeplabv2_path']} there",
        metavar="PTH",
    ),
    "cityscapes_path": Flag(
        _MEASURE,
        "folder that the paths of --table_path start from",
        default="database/cityscapes-origin",
        metavar="DIR",
    ),
    "table_path": Flag(
        _MEASURE,
        "image name, label map and photo of each image, for mIoU",
        default="datasets/val_table.txt",
        metavar="FILE",
    ),
    "macs_convention": Flag(
        _MEASURE,
        "published: as all published figures count | exact: true multiply-accumulates of the "
        "convolutions",
        default="published",
        choices=("published", "exact"),
    ),
    "need_profile": Flag(_MEASURE, "print MACs and parameters", bool),
    "test_mode": Flag(
        _NET,
        "eval: batch norm by its running statistics, no dropout | train: batch norm by those of "
        "the batch, with dropout, as pix2pix in PyTorch tests unless it is given --eval",
        default="eval",
        choices=("eval", "train"),
    ),
    "test_dropout_rate": Flag(
        _NET,
        "dropout of --test_mode train, without it that of the file; a file of pix2pix in PyTorch "
        "does not say its rate, which is 0.5 there unless it was trained with --no_dropout",
        share,
        metavar="P",
    ),
    "tile": Flag(
        _RUN,
        "make larger images in tiles of this side [px], for less memory; a multiple of 4, of a "
        "U-Net of 256 or 128; without it every image is made as a whole",
        pixels,
        metavar="PX",
    ),
    "overlap": Flag(
        _RUN,
        "with --tile: how far a tile reaches into its neighbours, where they are blended [px]",
        _number(int, 0, 65536),
        64,
        metavar="PX",
    ),
    "tile_norm": Flag(
        _RUN,
        "with --tile: where instance and layer norms take their statistics from. own: the tile | "
        "image: the whole image scaled down to a tile | pooled: all tiles, in a first pass | "
        "exact: the whole image, in a pass for each norm",
        default="pooled",
        choices=TILE_NORMS,
    ),
    "times": Flag(
        _MEASURE,
        "timed runs; test.py times networks only if this is given, or several models (then 10 runs "
        "by default)",
        positive,
        100,
        metavar="N",
    ),
    "backends": Flag(
        _MEASURE,
        "how the networks are run, all computing the same but those in bf16",
        default="eager",
        choices=FORMS,
        many=True,
    ),
    "threads": Flag(
        _RUN,
        "CPU threads of the networks; without it as many as PyTorch takes",
        threads,
        metavar="N",
    ),
    # ---- search
    "budget": Flag(
        _SEARCH,
        "most that a subnet may cost: MACs, e.g. 4.6e9, or with --latency_table a time, e.g. 20ms",
        budget,
        NO_BUDGET,
        metavar="BUDGET",
    ),
    "criterion": Flag(
        _SEARCH, "what makes a subnet good", default="fid", choices=("fid", "mIoU", "accu")
    ),
    "population_size": Flag(_SEARCH, "configurations per generation", positive, 100, metavar="N"),
    "evolution_iters": Flag(
        _SEARCH, "generations after the random first one", natural, 500, metavar="N"
    ),
    "parent_ratio": Flag(
        _SEARCH, "share of the population that become parents", share, 0.25, metavar="P"
    ),
    "mutation_ratio": Flag(
        _SEARCH,
        "share of the children that are mutations; the rest are crossovers",
        share,
        0.5,
        metavar="P",
    ),
    "mutate_prob": Flag(
        _SEARCH, "probability that a mutation draws a gene again", share, 0.2, metavar="P"
    ),
    "weighted_sample": Flag(
        _SEARCH,
        "first generation: weight of a gene's widest choice, 1 for its narrowest; 1 = uniform",
        _number(float, 1e-6, 1e6),
        1.0,
        metavar="X",
    ),
    "calibration_meta_path": Flag(
        _SEARCH,
        "statistics of batch norms are taken from the images of this list of train, all of them; "
        "without it from its first 64",
        metavar="FILE",
    ),
    "calibration_load_in_memory": Flag(
        _SEARCH, "keep the images that statistics are taken from in memory", bool
    ),
    "weight_strategy": Flag(
        _SEARCH,
        "weights between narrowest and widest grow in equal steps or by equal factors",
        default="arithmetic",
        choices=("arithmetic", "geometric"),
    ),
    "max_cache_size": Flag(
        _SEARCH,
        "evaluations remembered; beyond it the oldest is forgotten",
        positive,
        10_000_000,
        metavar="N",
    ),
    "generation_base": Flag(_SEARCH, "number of the first generation", natural, 1, metavar="N"),
    "restore_pkl_path": Flag(
        _SEARCH,
        "evaluations.jsonl of an earlier search to start from (pickles are refused: they can run "
        "code)",
        metavar="JSONL",
    ),
    "only_restore_cache": Flag(
        _SEARCH,
        "of --restore_pkl_path take the measured values only; its best do not join the first "
        "generation",
        bool,
    ),
    "save_freq": Flag(
        _SEARCH,
        "rewrite summary and plot every N evaluations; each evaluation is saved at once",
        positive,
        60,
        metavar="N",
    ),
    "objective": Flag(
        _SEARCH,
        "best: the best subnet within the budget | pareto: the best of every budget in one run",
        default="best",
        choices=("best", "pareto"),
    ),
    "patience": Flag(_SEARCH, "end after N generations without a new best", positive, metavar="N"),
    "predictor": Flag(
        _SEARCH, "screen candidates with a learned model and measure only the promising ones", bool
    ),
    "predictor_share": Flag(
        _SEARCH,
        "with --predictor: share of the population that is measured per generation",
        _number(float, 0.01, 1),
        0.2,
        metavar="P",
    ),
    "select": Flag(
        _SEARCH,
        "choose the best subnet within so many MACs, or within a time such as 20ms, from the "
        "results of earlier searches",
        budget,
        metavar="BUDGET",
    ),
    "amp": Flag(
        _RUN,
        "lower precision of the networks; on a CPU bf16 is faster only with AMX",
        default="none",
        choices=("none", "bf16", "fp16"),
    ),
    "cuda_graphs": Flag(
        _RUN,
        "record the work of a training step once and replay it: fewer waits for Python, which "
        "count at small batches; a supernet "
        "runs at full width then, its unused channels zeroed; CUDA only",
        bool,
    ),
    "num_splits": Flag(_SEARCH, "divide the configurations among N runs", positive, 1, metavar="N"),
    "split": Flag(_SEARCH, "which part this run takes, counted from 0", natural, 0, metavar="N"),
    # ---- compress
    "teacher": Flag(
        _START,
        "the trained generator to compress; without it one is trained on the images first",
        metavar="PTH",
    ),
    "target": Flag(
        _SEARCH,
        "how small: 12x = times fewer MACs than the teacher | 4.6e9 = MACs, counted as published | "
        "20ms = time of one image on this machine",
        metavar="TARGET",
    ),
    "preset": Flag(
        _RUN,
        "how long everything takes: quick, standard or best, or a file like those in presets/",
        default="standard",
        metavar="NAME",
    ),
    "image_size": Flag(
        _DATA,
        "width and height of the images that the networks are made for [px]; without it the "
        "preset's",
        pixels,
        metavar="PX",
    ),
    "dry_run": Flag(_RUN, "show the plan and its commands, start nothing", bool),
    # ---- prepare.arrange
    "train_images": Flag(_DATA, "learn from N images at most", positive, metavar="N"),
    "val_images": Flag(
        _DATA,
        "choose by N images at most; held out of train, a fifth of it at most",
        positive,
        metavar="N",
    ),
    "test_images": Flag(
        _DATA,
        "test on N images at most; held out of train, a fifth of it at most",
        positive,
        metavar="N",
    ),
    # ---- metrics.macs
    "size": Flag(
        _MEASURE,
        "width and height of the image that is counted or timed, or that a coreml or tflite file "
        "is made for [px]",
        pixels,
        256,
        metavar="PX",
    ),
    # ---- latency tables
    "make_table": Flag(
        _RUN,
        "measure the parts of all subnets of a supernet, and write a table of the times of all "
        "configurations (--make_table --help)",
        bool,
    ),
    "backend": Flag(
        _MEASURE,
        "how the networks are run",
        default="eager",
        choices=FORMS,
    ),
    "output": Flag(_RUN, "the table to write", metavar="JSON"),
    "parts_dir": Flag(
        _RUN,
        "write the networks to time, and a script that times them on another device, to this "
        "folder; measures nothing",
        metavar="DIR",
    ),
    "times_path": Flag(
        _RUN,
        "take the times that the script of --parts_dir measured; measures nothing",
        metavar="JSON",
    ),
    "latency_table": Flag(
        _SEARCH,
        "table of latency.py --make_table: the time of every subnet is predicted, and --budget may "
        "be one, e.g. 20ms",
        metavar="JSON",
    ),
}

# Flags of `distiller` online alone.
ONLINE = ("teacher_freq", "lambda_l1", "lambda_ssim", "lambda_style", "lambda_feature")
ONLINE += ("lambda_tv", "lambda_wavelet", "tap_loss", "feature_net")
ONLINE += ("lambda_adversarial", "lambda_real", "student_ndf", "restore_student_D_path")
ONLINE += ("deeper_netG", "deeper_ngf", "restore_deeper_G_path", "share_D")

# Flags of `model` cycle_gan alone.
CYCLES = ("pool_size", "lambda_A", "lambda_B", "lambda_identity", "real_stat_A_path")

# Of label maps alone, of networks of SPADE, and of training by its losses.
LABELS = ("contain_dontcare_label", "no_instance", "coco_no_portraits", "no_pairing_check")
FORMS_OF_SPADE = ("norm_G", "num_upsampling_layers", "separable_conv_norm")
SPADES = ("num_D", "norm_D", "lambda_feat", "lambda_vgg", "beta2", "no_TTUR")


def is_spade(opt: argparse.Namespace) -> bool:
    """Whether networks train by the losses of SPADE."""
    ways = (getattr(opt, way, None) for way in ("model", "distiller", "supernet"))
    return SPADE_WAY in tuple(ways)


# Of training by the losses of MUNIT alone, and of its networks: the same for all of a command, and
# of each its own.
MUNITS = ("lambda_rec_x", "lambda_rec_s", "lambda_rec_c", "weight_decay")
OWN_OF_MUNIT = MunitForm.OWN
FORMS_OF_MUNIT = tuple(name for name in MunitForm.SETTINGS if name not in OWN_OF_MUNIT)

# What --model calls a test of images in styles.
MUNIT_TEST = "munit_test"


def is_munit(opt: argparse.Namespace) -> bool:
    """Whether networks train by the losses of MUNIT."""
    ways = (getattr(opt, way, None) for way in ("model", "distiller", "supernet"))
    return MUNIT_WAY in tuple(ways)
