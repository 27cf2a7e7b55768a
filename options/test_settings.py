"""Turn parsed flags into settings of test.py and latency.py; see `options.settings`."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from data.build import DataSettings
from evaluation.tested import TestSettings
from models.build import Checkpoint
from models.tiles import Tiling
from options.settings import data, generator, teacher


def tested(opt: Namespace) -> TestSettings:
    """The checkpoints that test.py and latency.py measure.

    Architecture flags describe ``--restore_G_path``; ``--norm`` describes the teacher too.
    Checkpoints of ``--compare`` need no such flags, since their files describe them.
    """
    others = (Checkpoint(path, "`compare`") for path in opt.compare)
    images = data(opt)
    return TestSettings(
        models=[generator(opt), *others],
        teacher=teacher(opt) if opt.restore_teacher_G_path else None,
        channels=images.channels,
        config_str=opt.config_str,
        macs_convention=getattr(opt, "macs_convention", "published"),
        size=images.network_size,
        images=images.described,
        mode=getattr(opt, "test_mode", "eval"),
        dropout_rate=getattr(opt, "test_dropout_rate", None),
        references=references(opt),
    )


def references(opt: Namespace) -> DataSettings | None:
    """The images whose styles others are made in, all of a folder, at the size of inputs."""
    if getattr(opt, "ref_root", None) is None:
        return None
    folder = Path(opt.ref_root).resolve()
    return replace(
        data(opt),
        dataroot=str(folder.parent),
        dataset_mode="single",
        phase=folder.name,
        meta_path=None,
        max_dataset_size=-1,
    )


def tiling(opt: Namespace) -> Tiling | None:
    """How large images are cut; None = not at all."""
    return None if opt.tile is None else Tiling(opt.tile, opt.overlap, opt.tile_norm)


def timed_runs(opt: Namespace, images: int, several: bool) -> int | None:
    """Timed runs per network in test.py; None = do not time.

    ``--times`` decides if it was typed. Otherwise a single model is not timed, and several models
    get at most 10 runs, so that timing takes no longer than generating the images.

    Args:
        images:  number of images that the test generates
        several: whether more than one model is tested
    """
    if "times" in opt.explicit:
        return opt.times
    return min(10, images) if several else None
