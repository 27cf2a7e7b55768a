"""From what the user wants to a plan: all that is decided, and refused, before the first stage."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from deploy.onnx import require_onnx
from errors import InputError
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from options import SCRIPTS, settings
from pipeline.commands import Draft, Wanted
from pipeline.presets import Preset
from pipeline.stages import Stage
from pipeline.target import Budget, Target, budget_for, cost, time_widths
from pipeline.teacher import Teacher, given_teacher
from prepare.arrange import Division, Sizes, divide, find_mode
from runtime import machine
from runtime.files import read_json, write_json
from runtime.folders import check_settings, claim_folder, make_folder
from subnets.build import SearchSettings, search_space, select_subnet
from subnets.space import SearchSpace

PLAN = "plan.json"


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

    @property
    def facts(self) -> dict:
        """What the page and the model card say of it."""
        macs, params = cost(self.teacher.spec, self.size)
        return {
            "dataroot": os.path.realpath(self.wanted.dataroot),
            "dataset_mode": self.division.mode,
            "direction": self.direction,
            "size": list(self.size),
            "channels": [self.student.input_nc, self.student.output_nc],
            "images": {
                phase: {"count": self.division.counts[phase], "of": self.division.sources[phase]}
                for phase in self.division.counts
            },
            "teacher": {
                "path": self.teacher.path,
                "given": self.teacher.given,
                "name": name_of(self.teacher.spec),
                "macs": macs,
                "params": params,
            },
            "target": {
                "text": self.target.text,
                "kind": self.target.kind,
                "value": self.target.value,
                "budget": self.budget.macs,
                "timing": list(self.budget.timing),
            },
            "widths": self.space.name,
            "learning": {"why": self.teacher.why, "flags": self.preset.of(self.teacher.recipe)},
            "preset": {"name": self.preset.source, "about": self.preset.about},
            "seed": self.wanted.seed,
            "notes": list(self.notes),
        }


def name_of(spec: GeneratorSpec) -> str:
    return f"{spec.netG} {spec.config}" if spec.ngf is None else f"{spec.netG} ngf {spec.ngf}"


def make_plan(wanted: Wanted, preset: Preset) -> Plan:
    """Decide everything, read what that needs, write nothing.

    Raises:
        InputError: something cannot work: the images, the teacher, the target, a flag of a preset,
            or the folder holds another compression.
    """
    wanted, target = wanted.from_root(), Target.parse(wanted.target)
    root, folder = Path(wanted.dataroot), Path(wanted.output_dir)
    mode = _mode(wanted, root)
    device = _device(wanted)
    teacher = None
    if wanted.teacher:
        norm = preset.of("training", "supernet").get("norm", "instance")
        teacher = given_teacher(wanted.teacher, mode == "aligned", norm)
    preset = replace(preset, images=preset.images.at(wanted.image_size))
    images = preset.images
    sizes = Sizes(images.train_images, images.val_images, images.test_images)
    division = divide(root, mode, sizes, wanted.seed)
    recorded = teacher.spec.trained_on if teacher else {}
    direction = wanted.direction or recorded.get("direction", "AtoB")
    draft = Draft(wanted, preset, folder, mode, direction, device, teacher)
    teacher = draft.teacher = teacher or draft.new_teacher()
    size, student = draft.size, settings.student(draft.supernet().parse()).spec
    space = search_space(SearchSettings(preset.widths, float("inf")), student, size)
    decisive = draft.decisive(target)
    known = _known_plan(folder, decisive)
    if known and known["target"]["timing"]:
        # Measured when this folder was begun: another measurement would be another search.
        budget = Budget(known["target"]["budget"], known["target"]["timing"])
    else:
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
        _notes(division, teacher, direction, size),
    )
    if "onnx" in plan.stage("export").flags["format"]:
        require_onnx()
    return plan


def _mode(wanted: Wanted, root: Path) -> str:
    """aligned | unaligned. InputError where a teacher would have to be trained without pairs."""
    found = find_mode(root)
    mode = wanted.dataset_mode or found
    if mode == "unaligned" and wanted.teacher is None:
        raise InputError(
            f"`dataroot` {root}: the images of A and B are no pairs, and a teacher is trained from "
            "pairs alone: give `teacher`, a generator that was trained without them (CycleGAN)"
        )
    return mode


def _device(wanted: Wanted) -> torch.device:
    """The device of the stages, with this process set up as they are."""
    ids = tuple(int(part) for part in (wanted.gpu_ids or "0").split(","))
    kind = wanted.device or "auto"
    # Standard output of a dry run is a script.
    with contextlib.redirect_stdout(sys.stderr):
        return machine.start(
            machine.MachineSettings(kind, ids, wanted.seed, threads=wanted.threads)
        )


def _notes(division: Division, teacher: Teacher, direction: str, size: tuple) -> list[str]:
    """What may surprise the user, or makes figures look better than they are."""
    notes, made_for = [], teacher.spec.trained_on
    if division.sources["test"] == "train":
        line = (
            "there is no phase val or test: the images of the test are held out of train. Move "
            "images that nothing has learned from into a folder val to test on those"
        )
        if teacher.given:
            line += (
                ". The given teacher may have learned from them, and its figures look too good then"
            )
        notes.append(line)
    if teacher.given and made_for.get("direction", direction) != direction:
        notes.append(f"the teacher was trained {made_for['direction']} and gets images {direction}")
    if teacher.given and list(made_for.get("size", size)) != list(size):
        height, width = made_for["size"]
        notes.append(
            f"the teacher was trained at {width}x{height} and gets images of {size[1]}x{size[0]}; "
            f"--image_size {width} gives it its own"
        )
    return notes


def _known_plan(folder: Path, decisive: dict) -> dict | None:
    """The plan of a compression that this folder holds already.

    Raises:
        InputError: it holds one with other settings.
    """
    if not (folder / "settings.json").is_file():
        return None
    now = json.loads(json.dumps(decisive))
    check_settings(read_json(folder / "settings.json"), now, folder, "`output_dir`")
    path = folder / PLAN
    return read_json(path) if path.is_file() else None


def claim(plan: Plan) -> None:
    """Take the folder for this compression, and write down what it is.

    Raises:
        InputError: it is in use, cannot be written, or holds something else.
    """
    folder = make_folder(plan.folder, "`output_dir`")
    claim_folder(folder, dict(plan.decisive), "`output_dir`")
    write_json(folder / PLAN, plan.facts)
