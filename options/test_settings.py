"""Parsed flags -> settings of test.py and latency.py; see `options.settings`."""

from __future__ import annotations

from argparse import Namespace

from evaluation.tested import TestSettings
from models.build import Checkpoint
from options.settings import data, generator, teacher


def tested(opt: Namespace) -> TestSettings:
    """What test.py and latency.py look at.

    Flags on the architecture speak of ``--restore_G_path``, ``--norm`` of the teacher too; those of
    ``--compare`` say what they are.
    """
    others = (Checkpoint(path, "`compare`") for path in opt.compare)
    images = data(opt)
    return TestSettings(
        models=[generator(opt), *others],
        teacher=teacher(opt) if opt.restore_teacher_G_path else None,
        channels=images.channels,
        config_str=opt.config_str,
        macs_convention=opt.macs_convention,
        size=images.network_size,
        images=images.described,
    )


def timed_runs(opt: Namespace, images: int, several: bool) -> int | None:
    """How often a test times each network: ``--times`` if it was typed, else not at all; of several
    models a few times, so that it takes no longer than generating the images."""
    if "times" in opt.explicit:
        return opt.times
    return min(10, images) if several else None
