"""Compress a generator: from a folder of images to a small network, a page and a model card.

``--help`` lists the flags, docs/compress.md says how it works.
"""

import sys

from options import CompressOptions, run
from pipeline.commands import Wanted
from pipeline.estimate import describe_estimate, estimate
from pipeline.plan import claim, make_plan
from pipeline.presets import read_preset
from pipeline.run import Stopped, run_stages
from pipeline.words import commands, describe_plan
from report.compressed import summary


def main() -> None:
    opt = CompressOptions.parse()
    fields = Wanted.__dataclass_fields__
    plan = make_plan(
        Wanted(**{name: getattr(opt, name) for name in fields}), read_preset(opt.preset)
    )
    if opt.dry_run:
        print(commands(plan))
        return
    claim(plan)
    print(describe_plan(plan), flush=True)
    if not plan.done:
        print(f"\n{describe_estimate(plan, estimate(plan))}", flush=True)
    try:
        run_stages(plan)
    except Stopped as stop:
        print(f"stopped by {stop}: what is done is kept, the same command continues")
        sys.exit(128 + stop.signum)
    print(f"\n{summary(plan.folder)}")


if __name__ == "__main__":
    run(main)
