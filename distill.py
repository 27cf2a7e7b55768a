"""Distil a teacher into a narrower student, which may start pruned from a pretrained network. ``--help`` lists the flags."""

from options import DistillOptions, run
from options import assemble as a


def main() -> None:
    a.distill(DistillOptions.parse())


if __name__ == "__main__":
    run(main)
