"""A plan in words: for people, and as a shell script."""

from __future__ import annotations

import shlex
from pathlib import Path

from pipeline.plan import Plan
from pipeline.stages import ROOT
from prepare.arrange import describe
from report.tables import giga, mega
from runtime import machine
from subnets.target import cost


def describe_plan(plan: Plan) -> str:
    """The plan for people: what is made of what, and how small."""
    spec = plan.teacher.spec
    macs, params = cost(spec, plan.size)
    height, width = plan.size
    space, budget = plan.space, plan.budget
    share = len(space.feasible(budget.macs)) / space.size
    pairs = "pairs" if plan.division.mode == "aligned" else "unpaired images"
    teacher = "given" if plan.teacher.given else "trained here"
    if not plan.teacher.given and plan.division.mode == "unaligned":
        teacher = "trained here beside one of the other direction (CycleGAN)"
    within = f"{giga(budget.macs)} MACs, {macs / budget.macs:.1f} times fewer than the teacher"
    if budget.timing:
        within += (
            f", about {plan.target.value:g} ms in uniform widths on "
            f"{machine.device_name(plan.device)}"
        )
    lines = [
        f"{plan.wanted.dataroot} -> {plan.folder}",
        "",
        f"images    {pairs} of {width}x{height}, {plan.direction}",
        *(f"          {text}" for text in describe(plan.division)),
        f"teacher   {spec.name_at(spec.config)}, {teacher}: {giga(macs)} MACs, {mega(params)} "
        "parameters",
        f"target    {plan.target.text}: {within}",
        f"widths    {space.name}: {space.size:,} networks of {giga(int(space.macs.min()))} to "
        f"{giga(int(space.macs.max()))} MACs, {share:.1%} of them within the target",
        f"learning  {plan.teacher.why}",
        f"preset    {plan.preset.source}" + (f": {plan.preset.about}" if plan.preset.about else ""),
    ]
    lines += [f"note      {note}" for note in plan.notes]
    return "\n".join(lines)


def commands(plan: Plan) -> str:
    """The plan as comments, then all its commands: a shell script that does what it says."""
    lines = [f"# {line}".rstrip() for line in describe_plan(plan).splitlines()]
    lines += ["", "set -e"]
    winner = plan.winner
    if Path.cwd() != ROOT:
        lines.append(f"cd {shlex.quote(str(ROOT))}")
    for stage in plan.stages:
        if winner:
            stage = stage.with_winner(winner)
        elif stage.needs_winner and not any(line.startswith("CONFIG=") for line in lines):
            search = plan.stage("search")
            found = shlex.quote(str(search.result.parent / "evaluations.jsonl"))
            criterion = search.parse().criterion
            by = "" if criterion == "fid" else f" --criterion {criterion}"
            lines.append(
                f"CONFIG=$(python search.py --select {plan.budget.macs}{by} {found} "
                "| cut -d ' ' -f 1)"
            )
        lines.append(stage.shown)
    return "\n".join(lines)
