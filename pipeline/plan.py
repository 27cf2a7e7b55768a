"""From what the user wants to a list of stages, each the command of a script.

Everything that can be refused is refused here, before the first stage starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from deploy.onnx import require_onnx
from errors import InputError
from models.build import (
    Checkpoint,
    DiscriminatorSettings,
    Initialisation,
    load_teacher,
    new_discriminator,
)
from models.config import ChannelConfig
from models.generators import GeneratorSpec
from models.weights import load_state
from options import SCRIPTS, settings
from pipeline.presets import Preset
from pipeline.target import Budget, Target, budget_for, cost, time_widths
from prepare.arrange import FACTS, Division, Sizes, describe, divide, find_mode
from report.tables import giga, mega
from runtime import machine
from runtime.files import read_json, write_json
from runtime.folders import check_settings, claim_folder, make_folder
from subnets.build import SearchSettings, search_space, select_subnet
from subnets.space import SearchSpace

# The repository: where the scripts are, and where they run.
ROOT = Path(__file__).resolve().parents[1]
# Stands for the configuration that the search chose, until it has.
WINNER = "$CONFIG"
PLAN = "plan.json"

# --------------------------------------------------------------------------------------------------
# What is wanted


@dataclass(frozen=True)
class Wanted:
    """The command line of compress.py, see its ``--help``; None: not given."""

    dataroot: str
    output_dir: str
    target: str
    dataset_mode: str | None = None
    direction: str | None = None
    image_size: int | None = None
    teacher: str | None = None
    fid_weights: str | None = None
    seed: int = 233
    device: str | None = None
    gpu_ids: str | None = None
    threads: int | None = None
    num_threads: int | None = None

    def from_root(self) -> Wanted:
        """The same with paths that mean the same files in the folder where stages run."""
        if Path.cwd() == ROOT:
            return self
        names = ("dataroot", "output_dir", "teacher", "fid_weights")
        paths = {name: getattr(self, name) for name in names}
        return replace(self, **{k: os.path.abspath(v) for k, v in paths.items() if v is not None})

    def machine_flags(self, *names: str) -> dict[str, object]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


# --------------------------------------------------------------------------------------------------
# Stages


@dataclass(frozen=True)
class Stage:
    """One command, and the file that says that it is done.

    Args:
        name:   what it is called
        script: a script of the repository, or a module
        flags:  of the script; a value True is a switch, a list has several values
        result: written last by the command
        values: positional arguments
        writes: False: it only checks, and ``result`` is written by the stage after it
    """

    name: str
    script: str
    flags: Mapping[str, object]
    result: Path
    values: Sequence[str] = ()
    writes: bool = True

    @property
    def done(self) -> bool:
        return self.result.is_file()

    @property
    def needs_winner(self) -> bool:
        return WINNER in self.flags.values()

    @property
    def is_training(self) -> bool:
        return "log_dir" in self.flags

    def with_winner(self, config: str) -> Stage:
        flags = {k: config if v == WINNER else v for k, v in self.flags.items()}
        return replace(self, flags=flags)

    @property
    def arguments(self) -> list[str]:
        """Of Python: the script and its flags."""
        words = [self.script] if self.script.endswith(".py") else ["-m", self.script]
        words += self.values
        for name, value in self.flags.items():
            if value is False or value is None:
                continue
            words.append(f"--{name}")
            if value is not True:
                words += map(_text, value if isinstance(value, list) else [value])
        return words

    @property
    def shown(self) -> str:
        """The command as it can be pasted into a shell."""
        words = [f'"{w}"' if w == WINNER else shlex.quote(w) for w in self.arguments]
        return " ".join(["python", *words])

    def parse(self) -> Namespace:
        """Its flags as its script reads them.

        Raises:
            InputError: the script would refuse them.
        """
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                return SCRIPTS[self.script].parse(self.arguments[1:])
        except SystemExit:
            message = said.getvalue().strip().removesuffix(" (--help lists all flags)")
            raise InputError(
                f"stage {self.name}: {message}; nothing was started. These flags come from the "
                "tables of `preset`"
            ) from None


def _text(value: object) -> str:
    """A number as people write it: 300 and 0.0003, not 300.0."""
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)


# --------------------------------------------------------------------------------------------------
# The teacher, and what a student learns by


@dataclass(frozen=True)
class Teacher:
    """The generator that is compressed.

    Args:
        path:          its file; of one that is trained: where it will be
        spec:          what it is
        given:         whether the user has it already
        discriminator: the file of its discriminator, where the student can use it
        ndf:           base width of a discriminator that was found beside a given teacher
        why:           which way of learning follows from that, and why
    """

    path: str
    spec: GeneratorSpec
    given: bool
    discriminator: str | None
    why: str
    ndf: int | None = None

    @property
    def recipe(self) -> str:
        """The table of the preset that says how a student learns."""
        return "learning.images" if self.discriminator is None else "learning.discriminator"


def best(run: Path, name: str) -> str:
    """A network of the best evaluation of a training, e.g. G."""
    return str(run / "checkpoints" / f"best_net_{name}.pth")


def _given_teacher(path: str, paired: bool, norm: str) -> Teacher:
    checkpoint = Checkpoint(path, "`teacher`")
    spec = checkpoint.open().spec
    _, spec = load_teacher(checkpoint, (spec.input_nc, spec.output_nc))
    beside = Path(path).with_name(Path(path).name.replace("net_G", "net_D"))
    alone = "the student learns from the teacher's images alone"
    if beside.name == Path(path).name or not beside.is_file():
        return Teacher(path, spec, True, None, f"{alone}: no discriminator lies beside the teacher")
    try:
        ndf = _width_of(beside, spec, paired, norm)
    except InputError as error:
        return Teacher(path, spec, True, None, f"{alone}: {error}")
    why = f"the student learns from the teacher's images, by the eyes of {beside.name} beside it"
    return Teacher(path, spec, True, str(beside), why, ndf)


def _width_of(path: Path, spec: GeneratorSpec, paired: bool, norm: str) -> int:
    """The base width (``ndf``) of a discriminator. InputError unless the student can use it."""
    first = next((v for v in load_state(path, "the discriminator").values() if v.ndim == 4), None)
    ndf = 1 if first is None else len(first)
    how = DiscriminatorSettings(ndf=ndf, norm=norm, restore_path=str(path))
    seen = spec.output_nc + (spec.input_nc if paired else 0)
    try:
        new_discriminator(how, seen, Initialisation())
    except InputError:
        raise InputError(f"{path.name} beside the teacher is of another kind than ours") from None
    return ndf


# --------------------------------------------------------------------------------------------------
# The plan


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
                "name": _name(self.teacher.spec),
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


def _name(spec: GeneratorSpec) -> str:
    return f"{spec.netG} {spec.config}" if spec.ngf is None else f"{spec.netG} ngf {spec.ngf}"


def make_plan(wanted: Wanted, preset: Preset) -> Plan:
    """Decide everything, read what that needs, write nothing.

    Raises:
        InputError: something cannot work: the images, the teacher, the target, a flag of a preset,
            or the folder holds another compression.
    """
    wanted, target = wanted.from_root(), Target.parse(wanted.target)
    root, folder = Path(wanted.dataroot), Path(wanted.output_dir)
    mode = find_mode(root)
    mode = wanted.dataset_mode or mode
    if mode == "unaligned" and wanted.teacher is None:
        raise InputError(
            f"`dataroot` {root}: the images of A and B are no pairs, and a teacher is trained from "
            "pairs alone: give `teacher`, a generator that was trained without them (CycleGAN)"
        )
    ids = tuple(int(part) for part in (wanted.gpu_ids or "0").split(","))
    # Standard output of a dry run is a script.
    with contextlib.redirect_stdout(sys.stderr):
        how = machine.MachineSettings(
            wanted.device or "auto", ids, wanted.seed, threads=wanted.threads
        )
        device = machine.start(how)
    teacher = None
    if wanted.teacher:
        norm = preset.of("training", "supernet").get("norm", "instance")
        teacher = _given_teacher(wanted.teacher, mode == "aligned", norm)
    images = preset.images.at(wanted.image_size)
    sizes = Sizes(images.train_images, images.val_images, images.test_images)
    division = divide(root, mode, sizes, wanted.seed)
    found = teacher.spec.trained_on if teacher else {}
    direction = wanted.direction or found.get("direction", "AtoB")
    draft = _Draft(wanted, replace(preset, images=images), folder, mode, direction, device, teacher)
    if teacher is None:
        draft.teacher = draft.new_teacher()
    size = draft.size
    student = settings.student(draft.supernet().parse()).spec
    space = search_space(SearchSettings(preset.widths, float("inf")), student, size)
    decisive = draft.decisive(target)
    known = _known_plan(folder, decisive)
    macs = cost(draft.teacher.spec, size)[0]
    if known and known["target"]["timing"]:
        # Measured when this folder was begun: another measurement would be another search.
        budget = Budget(known["target"]["budget"], known["target"]["timing"])
    else:
        budget = budget_for(target, macs, space, lambda: time_widths(student, space, device))
    draft.budget = budget
    plan = Plan(
        wanted,
        draft.preset,
        folder,
        division,
        direction,
        size,
        draft.teacher,
        student,
        space,
        target,
        budget,
        device,
        decisive,
        draft.stages(division),
        _notes(division, draft.teacher, direction, size),
    )
    for stage in plan.stages:
        if stage.script in SCRIPTS:
            stage.with_winner(str(space.smallest)).parse()
    if "onnx" in plan.stage("export").flags["format"]:
        require_onnx()
    return plan


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
    check_settings(read_json(folder / "settings.json"), _as_json(decisive), folder, "`output_dir`")
    path = folder / PLAN
    return read_json(path) if path.is_file() else None


def _as_json(values: dict) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def claim(plan: Plan) -> None:
    """Take the folder for this compression, and write down what it is.

    Raises:
        InputError: it is in use, cannot be written, or holds something else.
    """
    folder = make_folder(plan.folder, "`output_dir`")
    claim_folder(folder, dict(plan.decisive), "`output_dir`")
    write_json(folder / PLAN, plan.facts)


# --------------------------------------------------------------------------------------------------
# The commands


@dataclass
class _Draft:
    """A plan in the making: the flags of every stage."""

    wanted: Wanted
    preset: Preset
    folder: Path
    mode: str
    direction: str
    device: torch.device
    teacher: Teacher | None = None
    budget: Budget | None = None

    def decisive(self, target: Target) -> dict:
        """All that decides the result; a folder belongs to one compression."""
        teacher = self.wanted.teacher
        return {
            "script": "compress.py",
            "dataroot": os.path.realpath(self.wanted.dataroot),
            "dataset_mode": self.mode,
            "direction": self.direction,
            "teacher": teacher and f"{Path(teacher).name} [{_digest(teacher)}]",
            "target": target.text,
            "seed": self.wanted.seed,
        } | self.preset.decisive

    # ---- flags that stages share

    def images(self, load_size: int) -> dict[str, object]:
        images = self.preset.images
        flags: dict[str, object] = {"dataroot": str(self.folder / "data")}
        if self.mode != "aligned":
            flags["dataset_mode"] = self.mode
        flags |= {"direction": self.direction, "load_size": load_size, "crop_size": images.size}
        given = {"preprocess": images.preprocess, "aspect_ratio": images.aspect_ratio}
        if self.teacher and self.teacher.given:
            spec = self.teacher.spec
            channels = {"input_nc": spec.input_nc, "output_nc": spec.output_nc}
            given |= {name: count for name, count in channels.items() if count != 3}
        given |= self.wanted.machine_flags("num_threads", "device", "gpu_ids", "threads")
        return flags | {name: value for name, value in given.items() if value is not None}

    def measures(self) -> dict[str, object]:
        return self.preset.of("measure") | self.wanted.machine_flags("fid_weights")

    def training(self, name: str, script: str, own: dict, *tables: str) -> Stage:
        flags = self.images(self.preset.images.loaded) | self.measures()
        flags |= self.preset.of("training", *(("cuda",) if self.device.type == "cuda" else ()))
        flags |= self.preset.of(*tables) | {"seed": self.wanted.seed} | own
        flags["log_dir"] = str(self.folder / name)
        return Stage(name, script, flags, self.folder / name / "results.json")

    # ---- the stages

    def new_teacher(self) -> Teacher:
        run = self.folder / "teacher"
        spec = settings.spec(self.train_teacher().parse())
        why = "the student learns from the teacher's images, by the eyes of its discriminator"
        return Teacher(best(run, "G"), spec, False, best(run, "D"), why)

    def train_teacher(self) -> Stage:
        return self.training("teacher", "train.py", {}, "teacher")

    def learning(self) -> dict[str, object]:
        """What a student learns by: of the supernet and of the fine-tuning."""
        flags = self.preset.of(self.teacher.recipe)
        flags["restore_teacher_G_path"] = self.teacher.path
        if self.teacher.discriminator and flags.get("distiller") == "online":
            flags["restore_D_path"] = self.teacher.discriminator
            if self.teacher.ndf:
                flags["ndf"] = self.teacher.ndf
        widest = max(map(max, SearchSpace(self.preset.widths).choices))
        return flags | {"student_ngf": widest}

    def supernet(self) -> Stage:
        own = self.learning() | {"config_set": self.preset.widths}
        return self.training("supernet", "train_supernet.py", own, "supernet")

    def search(self) -> Stage:
        out = self.folder / "search"
        flags = self.images(self.preset.images.size) | {"phase": "val"} | self.measures()
        flags |= self.preset.of("search")
        flags |= {
            "restore_G_path": best(self.folder / "supernet", "G"),
            "config_set": self.preset.widths,
            "budget": self.budget.macs,
            "seed": self.wanted.seed,
            "output_dir": str(out),
        }
        return Stage("search", "evolution_search.py", flags, out / "index.html")

    def finetune(self) -> Stage:
        """From the supernet, with what was trained beside it."""
        own, run = self.learning(), self.folder / "supernet"
        own["restore_student_G_path"] = best(run, "G")
        saved = self.supernet().parse()
        online = saved.distiller == "online"
        if not online:
            own["restore_D_path"] = best(run, "D")
        if saved.lambda_distill and not (online and saved.tap_loss == "alignment"):
            own["restore_A_path"] = best(run, "A").removesuffix(".pth")
        own["config_str"] = WINNER
        return self.training("finetune", "train_supernet.py", own, "finetune")

    def export(self) -> Stage:
        flags = {
            "input_path": best(self.folder / "finetune", "G"),
            "config_str": WINNER,
            "output_path": str(self.folder / "compressed"),
            "format": ["pth", "onnx"],
        } | self.preset.of("export")
        formats = flags["format"]
        formats = formats if isinstance(formats, list) else [formats]
        # The other stages read the weights.
        flags["format"] = ["pth", *(each for each in formats if each != "pth")]
        last = self.folder / f"compressed.{flags['format'][-1]}"
        return Stage("export", "export.py", flags, last)

    def compared(self) -> dict[str, object]:
        return self.images(self.preset.images.size) | {
            "phase": "test",
            "restore_teacher_G_path": self.teacher.path,
            "restore_G_path": str(self.folder / "compressed.pth"),
        }

    def test(self) -> Stage:
        out = self.folder / "test"
        flags = self.compared() | self.measures() | self.preset.of("test")
        flags["results_dir"] = str(out)
        return Stage("test", "test.py", flags, out / "results.json")

    def latency(self) -> Stage:
        out = self.folder / "latency"
        # The test counts MACs as published, this counts what is multiplied.
        flags = self.compared() | {"batch_size": 1} | self.preset.of("latency")
        flags |= {"macs_convention": "exact", "results_dir": str(out)}
        return Stage("latency", "latency.py", flags, out / "latency.json")

    def arrangement(self, division: Division) -> list[Stage]:
        """Check the images, then link them into phases."""
        images, root = self.preset.images, self.wanted.dataroot
        done = self.folder / "data" / FACTS
        flags = self.images(images.loaded)
        names = ("dataset_mode", "direction", "preprocess", "load_size", "crop_size")
        names += ("aspect_ratio", "input_nc", "output_nc", "num_threads")
        checked = {name: flags[name] for name in names if name in flags}
        used = list(dict.fromkeys(division.sources.values()))
        # Without a phase it would miss one that is made here.
        each = [{}] if "val" in used else [{"phase": phase} for phase in used]
        stages = [
            Stage(
                " ".join(["check", *phase.values()]),
                "data.check",
                checked | phase,
                done,
                [root],
                False,
            )
            for phase in each
        ]
        sizes = {
            name: getattr(images, name) for name in ("train_images", "val_images", "test_images")
        }
        sizes = {name: count for name, count in sizes.items() if count is not None}
        own = {} if self.mode == "aligned" else {"dataset_mode": self.mode}
        own |= sizes | {"seed": self.wanted.seed, "output_dir": str(self.folder / "data")}
        return [*stages, Stage("images", "prepare.arrange", own, done, [root])]

    def stages(self, division: Division) -> list[Stage]:
        trained = [] if self.teacher.given else [self.train_teacher()]
        page = {"output_dir": str(self.folder)}
        return [
            *self.arrangement(division),
            *trained,
            self.supernet(),
            self.search(),
            self.finetune(),
            self.export(),
            self.test(),
            self.latency(),
            Stage("page", "report.compressed", page, self.folder / "results.json"),
        ]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that the networks see."""
        return settings.data(self.supernet().parse()).network_size


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


# --------------------------------------------------------------------------------------------------
# Saying it


def describe_plan(plan: Plan) -> str:
    """The plan for people: what is made of what, and how small."""
    macs, params = cost(plan.teacher.spec, plan.size)
    height, width = plan.size
    space, budget = plan.space, plan.budget
    share = len(space.feasible(budget.macs)) / space.size
    teacher = "given" if plan.teacher.given else "trained here"
    within = f"{giga(budget.macs)} MACs, {macs / budget.macs:.1f} times fewer than the teacher"
    if budget.timing:
        within += (
            f", about {plan.target.value:g} ms in uniform widths on "
            f"{machine.device_name(plan.device)}"
        )
    lines = [
        f"{plan.wanted.dataroot} -> {plan.folder}",
        "",
        f"images    {width}x{height}, {plan.direction}",
        *(f"          {text}" for text in describe(plan.division)),
        f"teacher   {_name(plan.teacher.spec)}, {teacher}: {giga(macs)} MACs, {mega(params)} "
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
    """The plan as comments, and all its commands: a shell script, which does what compress.py does."""
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


def largest_within(plan: Plan) -> ChannelConfig:
    """The largest configuration within the budget: what a fine-tuning will be about as slow as."""
    numbers = plan.space.feasible(plan.budget.macs)
    return plan.space.config(int(numbers[plan.space.macs[numbers].argmax()]))
