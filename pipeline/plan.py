"""From what the user wants to a plan: all that is decided, and refused, before the first stage."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from deploy.converters import require_fixed_size
from deploy.formats import FIXED, require_formats
from errors import InputError
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.layers import require_size
from options import SCRIPTS, settings
from pipeline.commands import Draft, Wanted
from pipeline.presets import Preset
from pipeline.stages import Stage
from pipeline.teacher import Teacher, given_teacher
from prepare.arrange import FACTS, Division, Sizes, divide, find_mode, require_unchanged
from report.compressed import notes
from runtime import machine
from runtime.files import read_json, write_json
from runtime.folders import check_settings, claim_folder, make_folder
from subnets.build import SearchSettings, search_space, select_subnet
from subnets.space import SearchSpace
from subnets.target import Budget, Target, budget_for, cost, time_widths

# What a target in milliseconds was found to mean.
BUDGET = "budget.json"


@dataclass(frozen=True)
class Plan:
    """All that is decided before the first stage.

    Args:
        size:     (height, width) that the networks see [px]
        space:    the widths that the search chooses from, and their cost
        student:  the supernet
        device:   what trainings run on
        decisive: all that decides the result: a folder of other values is refused
        notes:    what the user should know, a line each
    """

    wanted: Wanted
    preset: Preset
    folder: Path
    division: Division
    direction: str
    size: tuple[int, int]
    teacher: Teacher
    student: GeneratorSpec
    space: SearchSpace
    target: Target
    budget: Budget
    device: torch.device
    decisive: Mapping[str, object]
    stages: Sequence[Stage]
    notes: Sequence[str]

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def done(self) -> bool:
        return all(stage.done for stage in self.stages)

    @property
    def winner(self) -> str | None:
        """The configuration that the search chose; None while it is not done."""
        search = self.stage("search")
        if not search.done:
            return None
        evaluations = str(search.result.parent / "evaluations.jsonl")
        criterion = search.parse().criterion
        return str(select_subnet([evaluations], self.budget.macs, criterion)[0].config_str)

    @property
    def largest_within(self) -> ChannelConfig:
        """The largest configuration within the budget: the winner takes about as long."""
        numbers = self.space.feasible(self.budget.macs)
        return self.space.config(int(numbers[self.space.macs[numbers].argmax()]))


def make_plan(wanted: Wanted, preset: Preset) -> Plan:
    """Decide everything, read what that needs, write nothing.

    Raises:
        InputError: something cannot work: the images, the teacher, the target, a flag of a preset,
            or the folder holds another compression.
    """
    wanted, target = wanted.from_root(), Target.parse(wanted.target)
    root, folder = Path(wanted.dataroot), Path(wanted.output_dir)
    found = find_mode(root)
    mode = wanted.dataset_mode or found
    device = _device(wanted)
    teacher = None
    if wanted.teacher:
        norm = preset.of("training", "supernet").get("norm", "instance")
        teacher = given_teacher(wanted.teacher, mode == "aligned", norm, wanted.student_netG)
    preset = replace(preset, images=preset.images.at(wanted.image_size))
    images = preset.images
    sizes = Sizes(images.train_images, images.val_images, images.test_images)
    division = divide(root, mode, sizes, wanted.seed)
    recorded = teacher.spec.trained_on if teacher else {}
    direction = wanted.direction or recorded.get("direction", "AtoB")
    division = division.facing(direction)
    draft = Draft(wanted, preset, folder, mode, direction, device, teacher)
    teacher = draft.teacher = teacher or draft.new_teacher()
    size, student = draft.size, settings.student(draft.supernet().parse()).spec
    for spec in (teacher.spec, student):
        require_size(*size, spec.multiple, "`image_size`")
    space = search_space(SearchSettings(preset.widths, float("inf")), student, size)
    decisive = draft.decisive(target)
    # Measured when this folder was begun: another measurement would be another search.
    budget = _known_budget(folder, decisive)
    if budget is None:
        macs = cost(teacher.spec, size)[0]
        budget = budget_for(target, macs, space, lambda: time_widths(student, space, device))
    draft.budget = budget
    stages = draft.stages(division)
    for stage in stages:
        if stage.script in SCRIPTS:
            stage.with_winner(str(space.smallest)).parse()
    plan = Plan(
        wanted,
        preset,
        folder,
        division,
        direction,
        size,
        teacher,
        student,
        space,
        target,
        budget,
        device,
        decisive,
        stages,
        [*notes(division.sources, teacher.given, recorded, direction, size), *_few(space, budget)],
    )
    if (folder / "data" / FACTS).is_file() and not plan.done:
        require_unchanged(division, folder / "data")
    export = plan.stage("export").with_winner(str(space.smallest)).parse()
    require_formats(export.format)
    if set(export.format) & set(FIXED):
        require_fixed_size(student.multiple, export.size)
    return plan


# With fewer networks within the target there is nothing to search.
FEW = 10


def _few(space: SearchSpace, budget: Budget) -> list[str]:
    """A note where a target leaves the search hardly a choice."""
    count = len(space.feasible(budget.macs))
    if count >= min(FEW, space.size):
        return []
    return [
        f"only {count} of the networks {'is' if count == 1 else 'are'} within the target; "
        "a --preset of narrower widths gives the search a choice"
    ]


def _device(wanted: Wanted) -> torch.device:
    """The device of the stages, with this process set up as they are."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "compress.py is one process: start it without torchrun. `dry_run` prints the commands "
            "of its stages, which torchrun can start"
        )
    ids = tuple(int(part) for part in (wanted.gpu_ids or "0").split(","))
    kind = wanted.device or "auto"
    # Standard output of a dry run is a script.
    with contextlib.redirect_stdout(sys.stderr):
        return machine.start(
            machine.MachineSettings(kind, ids, wanted.seed, threads=wanted.threads)
        )


def _known_budget(folder: Path, decisive: dict) -> Budget | None:
    """The measured budget of a compression that this folder holds already.

    Raises:
        InputError: it holds one with other settings.
    """
    if not (folder / "settings.json").is_file():
        return None
    now = json.loads(json.dumps(decisive))
    check_settings(read_json(folder / "settings.json"), now, folder, "`output_dir`")
    path = folder / BUDGET
    return Budget(**read_json(path)) if path.is_file() else None


def claim(plan: Plan) -> None:
    """Take the folder for this compression, and write down what was measured for it.

    Raises:
        InputError: it is in use, cannot be written, or holds something else.
    """
    folder = make_folder(plan.folder, "`output_dir`")
    claim_folder(folder, dict(plan.decisive), "`output_dir`")
    if plan.budget.timing:
        write_json(folder / BUDGET, asdict(plan.budget))
