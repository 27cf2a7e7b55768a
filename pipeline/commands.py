"""The commands of a compression: which flags each stage gets, from the user, the preset, and the
stages before it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data.datasets import require_direction
from deploy.formats import FIXED
from models.config import ConfigSet
from models.kinds import KINDS, supernet_beside
from options import ExportOptions, settings
from pipeline.presets import Preset
from pipeline.stages import ROOT, WINNER, Stage
from pipeline.teacher import Teacher, best, latest
from prepare.arrange import FACTS, Division
from subnets.target import Budget, Target


@dataclass(frozen=True)
class Wanted:
    """The command line of compress.py, see its ``--help``; None: not given."""

    dataroot: str
    output_dir: str
    target: str
    dataset_mode: str | None = None
    direction: str | None = None
    image_size: int | None = None
    student_netG: str | None = None
    teacher: str | None = None
    fid_weights: str | None = None
    seed: int = 233
    device: str | None = None
    gpu_ids: str | None = None
    threads: int | None = None
    num_threads: int | None = None

    def __post_init__(self):
        if self.direction is not None:
            require_direction(self.direction)

    def from_root(self) -> Wanted:
        """The same with paths that mean the same files in the folder where stages run."""
        if Path.cwd() == ROOT:
            return self
        names = ("dataroot", "output_dir", "teacher", "fid_weights")
        paths = {name: getattr(self, name) for name in names}
        return replace(self, **{k: os.path.abspath(v) for k, v in paths.items() if v is not None})

    def machine_flags(self, *names: str) -> dict[str, object]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass
class Draft:
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
            "student_netG": self.teacher.student,
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
        flags, run = self.train_teacher().parse(), self.folder / "teacher"
        if self.mode == "aligned":
            spec, files = settings.spec(flags), (best(run, "G"), best(run, "D"))
        else:
            # The best checkpoint is kept when either direction improves: it may not be this one.
            side = self.direction[0]
            spec = settings.specs_both_ways(flags)[side]
            files = latest(run, f"G_{side}"), latest(run, f"D_{side}")
        student = self.wanted.student_netG or supernet_beside(spec.netG)
        why = "the student learns from the teacher's images, by the features of its discriminator"
        return Teacher(files[0], student, spec, False, files[1], why, flags.ndf)

    def train_teacher(self) -> Stage:
        """Without pairs a CycleGAN: it trains both directions, whichever is wanted."""
        if self.mode == "aligned":
            return self.training("teacher", "train.py", {}, "teacher")
        stage = self.training(
            "teacher", "train.py", {"model": "cycle_gan"}, "teacher", "teacher.unpaired"
        )
        return replace(stage, flags={k: v for k, v in stage.flags.items() if k != "direction"})

    def learning(self) -> dict[str, object]:
        """What a student learns by: of the supernet and of the fine-tuning."""
        flags = self.preset.of(self.teacher.recipe)
        flags["restore_teacher_G_path"] = self.teacher.path
        if self.teacher.discriminator and flags.get("distiller") == "online":
            flags["restore_D_path"] = self.teacher.discriminator
            flags["ndf"] = self.teacher.ndf
        student = self.teacher.student
        widths = ConfigSet.parse(self.preset.widths, KINDS[student].config).choices
        return flags | {"student_netG": student, "student_ngf": max(map(max, widths))}

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
        # Images of a teacher alone leave a student smooth: it goes on against real ones.
        if online and self.mode == "aligned":
            own |= self.preset.of("learning.real")
        own["config_str"] = WINNER
        return self.training("finetune", "train_supernet.py", own, "finetune")

    def export(self) -> Stage:
        flags = {
            "input_path": best(self.folder / "finetune", "G"),
            "config_str": WINNER,
            "output_path": str(self.folder / "compressed"),
            "format": ["onnx"],
        } | self.preset.of("export")
        formats = flags["format"]
        formats = formats if isinstance(formats, list) else [formats]
        # The other stages read the weights: they come last, and say that the others are there.
        flags["format"] = [*(each for each in formats if each != "pth"), "pth"]
        last = "compressed.pth"
        size = self.preset.images.size
        if set(flags["format"]) & set(FIXED):
            flags.setdefault("size", size)
        if flags.get("int8"):
            # Calibrated on images that it learned from.
            images = self.images(size) | {"phase": "train"}
            flags |= {k: v for k, v in images.items() if k in ExportOptions.flags}
            last = "compressed.int8.onnx"
        return Stage("export", "export.py", flags, self.folder / last)

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
        page = {
            "output_dir": str(self.folder),
            "target": self.wanted.target,
            "preset": self.preset.source,
        }
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
