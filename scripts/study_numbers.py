#!/usr/bin/env python3
"""The numbers that a study is planned by, one per line: MACs of a twelfth and of a fortieth of the
teacher, the width of the widest mobile network within a twelfth, and the largest width of each
search space.

All MACs are counted as published, for images of SIZE x SIZE. A space that holds nothing within its
budget is refused here, before anything is trained.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from errors import InputError
from models.config import ChannelConfig, ConfigSet
from models.cost import Architecture, config_cost
from options import run


def read_space(text: str, flag: str) -> ConfigSet:
    try:
        return ConfigSet.read(text)
    except InputError as error:
        raise InputError(f"{flag} {text}: {error}") from None


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, required=True, metavar="PX")
    parser.add_argument("--ngf", type=int, required=True, metavar="N", help="of the teacher")
    parser.add_argument("--rows", required=True, help="e.g. 'a b c d e'")
    parser.add_argument("--space", required=True, help="search space of the rows d and e")
    parser.add_argument("--space_b", required=True, help="search space of row b")
    parser.add_argument("--space_c", required=True, help="search space of row c")
    opt = parser.parse_args(argv)

    def macs(config: ChannelConfig, separable: bool = True) -> int:
        return config_cost(config, Architecture(separable), "published", opt.size, opt.size)[0]

    teacher = macs(ChannelConfig.uniform(opt.ngf), separable=False)
    budgets = {12: teacher // 12, 40: teacher // 40}
    spaces = {
        flag: read_space(getattr(opt, flag.removeprefix("--")), flag).choices
        for flag in ("--space", "--space_b", "--space_c")
    }
    searches = {"b": ("--space_b", 12), "c": ("--space_c", 12)}
    searches |= {"d": ("--space", 12), "e": ("--space", 40)}
    for row, (flag, share) in searches.items():
        smallest = ChannelConfig(tuple(map(min, spaces[flag])))
        if row in opt.rows.split() and macs(smallest) > budgets[share]:
            raise InputError(
                f"{flag} {getattr(opt, flag[2:])}: row {row} needs a network within 1/{share} of "
                f"the teacher, {budgets[share]:,} MACs at {opt.size}x{opt.size}; the smallest, "
                f"{smallest}, has {macs(smallest):,}. Give narrower widths or leave the row out"
            )
    widths = range(1, opt.ngf + 1)
    within = [width for width in widths if macs(ChannelConfig.uniform(width)) <= budgets[12]]
    if "a" in opt.rows.split() and not within:
        raise InputError(f"--ngf {opt.ngf}: no mobile network is within 1/12 of so small a teacher")
    widest = (max(map(max, space)) for space in spaces.values())
    print(*budgets.values(), max(within, default=0), *widest, sep="\n")


if __name__ == "__main__":
    run(main)
