"""Scenes with label maps: the folders of Cityscapes and of COCO-Stuff -> items of numbers and a
photo, see `data.datasets` and `data.labels`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from data.datasets import (
    Source,
    download_hint,
    list_images,
    phases,
    printable,
    read_names,
    unique_names,
)
from data.images import read_pixels
from data.labels import MAX_INSTANCES, Semantics, read_numbers
from data.transforms import Resize, to_float
from errors import InputError

# --------------------------------------------------------------------------------------------------
# Folders

Files = dict[str, list[Path]]  # by kind: photo, labels, instances


@dataclass(frozen=True)
class Scene:
    """The files of a scene; ``instances`` None where they are not used."""

    photo: Path
    labels: Path
    instances: Path | None


def _numbers_aside(path: Path) -> list:
    """Its parts with numbers compared as such, so that 10 comes after 9."""
    return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", str(path))]


def _cityscapes(root: Path, phase: str, portraits: bool) -> Files:
    """``gtFine/<phase>/<city>/*_labelIds.png``, ``*_instanceIds.png`` and
    ``leftImg8bit/<phase>/<city>/*.png``."""
    numbers = list_images(root / "gtFine" / phase)
    return {
        "photo": list_images(root / "leftImg8bit" / phase),
        "labels": [path for path in numbers if path.stem.endswith("labelIds")],
        "instances": [path for path in numbers if path.stem.endswith("instanceIds")],
    }


_COCO = {"photo": "img", "labels": "label", "instances": "inst"}


def _coco(root: Path, phase: str, portraits: bool) -> Files:
    """``<phase>_img``, ``<phase>_label`` and ``<phase>_inst``, and ``..._portrait`` of each."""
    ends = ("", "_portrait") if portraits else ("",)
    return {
        kind: [path for end in ends for path in list_images(root / f"{phase}_{name}{end}")]
        for kind, name in _COCO.items()
    }


def _phases_of_cityscapes(root: Path) -> list[str]:
    parts = [root / name for name in ("gtFine", "leftImg8bit")]
    return sorted({name for part in parts if part.is_dir() for name in phases(part)})


def _phases_of_coco(root: Path) -> list[str]:
    ends = tuple(f"_{name}" for name in _COCO.values())
    return sorted({name.rpartition("_")[0] for name in phases(root) if name.endswith(ends)})


def together(files: Files, where: str) -> list[Scene]:
    """Scenes of files that belong together in the order of their paths.

    Raises:
        InputError: not as many of each kind; the message says ``where``.
    """
    counts = {kind: len(found) for kind, found in files.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        remedy = "each scene needs one of each"
        if "instances" in counts:
            remedy += " (`no_instance` does without instances)"
        raise InputError(f"`dataroot` {where}: {said}; {remedy}")
    ordered = [sorted(found, key=_numbers_aside) for found in files.values()]
    return [Scene(*each, *[None] * (3 - len(each))) for each in zip(*ordered, strict=True)]


def _frame(path: Path) -> str:
    """``aachen_000001_000019_gtFine_labelIds`` -> ``aachen_000001_000019``."""
    return "_".join(path.stem.split("_")[:3])


@dataclass(frozen=True)
class Layout:
    """How the files of a dataset lie.

    stored:  (root, phase, with upright photos) -> the files of each kind
    phases:  root -> the phases that there are images of
    folder:  phase -> the folder that is there if the phase is
    photos:  phase -> the folder that names of photos begin at
    called:  what files of one scene have in common
    """

    stored: Callable[[Path, str, bool], Files]
    phases: Callable[[Path], list[str]]
    folder: Callable[[str], str]
    photos: Callable[[str], str]
    called: Callable[[Path], str]

    def files(self, root: Path, phase: str, instance: bool, portraits: bool) -> Files:
        """The files that are used of a phase, by kind; instances only where they are. Only training
        uses upright photos."""
        found = self.stored(root, phase, portraits and phase == "train")
        return found if instance else {kind: found[kind] for kind in ("photo", "labels")}


# By ``dataset_mode``.
LAYOUTS = {
    "cityscapes": Layout(
        _cityscapes,
        _phases_of_cityscapes,
        lambda phase: f"gtFine/{phase}",
        lambda phase: f"leftImg8bit/{phase}",
        _frame,
    ),
    "coco": Layout(
        _coco,
        _phases_of_coco,
        lambda phase: f"{phase}_label",
        lambda phase: f"{phase}_img",
        lambda path: path.stem,
    ),
}


def find_layout(root: Path) -> str | None:
    """The ``dataset_mode`` whose folders of labels and photos are in ``root``; None if none's."""
    for mode, layout in LAYOUTS.items():
        for phase in layout.phases(root):
            if (root / layout.folder(phase)).is_dir() and (root / layout.photos(phase)).is_dir():
                return mode
    return None


# --------------------------------------------------------------------------------------------------
# Dataset


class LabelledDataset:
    """Scenes: label numbers, instance numbers where they are used, and a photo.

    An item holds ``labels`` (1 H W uint8, or int16 of many labels), ``instances`` (1 H W int16) and
    the photo ``B``; `encode` makes a batch's input of the first two, `picture` an image of that.

    Args:
        mode:      a key of `LAYOUTS`
        source:    of its list, a line is the path of a photo below the photos' folder, or three
                   paths below ``dataroot``: labels, photo, instances
        output_nc: channels of the photo
        portraits: of COCO's training images, use upright ones too
        check:     photo, labels and instances must have names that agree

    Raises:
        InputError: files are missing or do not belong together; from ``load``: unreadable ones.
    """

    def __init__(
        self,
        mode: str,
        source: Source,
        resize: Resize,
        semantics: Semantics,
        output_nc: int = 3,
        portraits: bool = True,
        check: bool = True,
    ):
        self.resize, self.semantics = resize, semantics
        self.channels = semantics.channels, output_nc
        root, layout = Path(source.dataroot), LAYOUTS[mode]
        self.photos = root / layout.photos(source.phase)
        scenes = self._listed(root, layout, source, portraits)
        for scene in scenes if check else ():
            files = [scene.photo, scene.labels, scene.instances]
            if len({layout.called(path) for path in files if path}) > 1:
                names = " and ".join(printable(path) for path in files if path)
                raise InputError(
                    f"`dataroot`: {names} are no scene: their names differ; a file is missing, or "
                    "give `no_pairing_check`"
                )
        self.scenes = scenes
        self.files = [scene.photo for scene in scenes]
        self.files_b = [p for s in scenes for p in (s.labels, s.instances) if p]
        inside = all(path.is_relative_to(self.photos) for path in self.files)
        self.folder = self.photos if inside else root
        self.names = unique_names(self.files, self.folder)

    def _listed(self, root: Path, layout: Layout, source: Source, portraits: bool) -> list[Scene]:
        if not root.is_dir():
            raise InputError(f"`dataroot` {root}: no such folder{download_hint(root)}")
        needed = root / layout.folder(source.phase)
        if not needed.is_dir():
            raise InputError(
                f"`dataroot` {root} has no folder {needed.relative_to(root)} (`phase` "
                f"{source.phase})"
            )
        instance = self.semantics.instance
        lines = None if source.meta_path is None else read_names(Path(source.meta_path))
        if lines and all(len(line.split()) == 3 for line in lines):
            scenes = [_of_line(root, line, instance, source.meta_path) for line in lines]
        else:
            files = layout.files(root, source.phase, instance, portraits)
            scenes = together(files, f"{root}, phase {source.phase}")
            if not scenes:
                raise InputError(f"`dataroot`: {needed} holds no images")
            if lines:
                scenes = self._named(scenes, lines, source.meta_path)
        limit = source.max_size
        return scenes[:limit] if limit is not None and limit > 0 else scenes

    def _named(self, scenes: list[Scene], lines: list[str], meta_path: str) -> list[Scene]:
        """Those of a list, in the order of the folder."""
        wanted = set(lines)
        by_name = {
            str(scene.photo.relative_to(self.photos)): scene
            for scene in scenes
            if scene.photo.is_relative_to(self.photos)
        }
        missing = sorted(wanted - by_name.keys())
        if missing:
            raise InputError(
                f"`meta_path` {meta_path} names {len(missing)} of {len(wanted)} photos that "
                f"{self.photos} does not have, first {printable(missing[0])}; give the list of "
                "this dataset and phase"
            )
        return [scene for name, scene in by_name.items() if name in wanted]

    @property
    def label_files(self) -> dict[str, Path]:
        """Name of a photo -> its label map."""
        files = (scene.labels for scene in self.scenes)
        return dict(zip(self.names, files, strict=True))

    def __len__(self) -> int:
        return len(self.scenes)

    def load(self, index: int) -> dict[str, np.ndarray]:
        scene = self.scenes[index]
        photo = read_pixels(scene.photo, self.channels[1])
        item = {"labels": self.semantics.checked(read_numbers(scene.labels), scene.labels)}
        if scene.instances:
            item["instances"] = read_numbers(scene.instances)
        height, width = photo.shape[:2]
        for kind, numbers in item.items():
            if numbers.shape != (height, width):
                path = getattr(scene, kind)
                raise InputError(
                    f"{path} is {numbers.shape[1]}x{numbers.shape[0]} but its photo {scene.photo} "
                    f"is {width}x{height}; make them equal"
                )
            item[kind] = self.resize.numbers(numbers)[None]
        if scene.instances:
            item["instances"] = _counted(item["instances"], scene.instances)
        check_size(self.resize, item["labels"].shape[:0:-1], scene.labels)
        return item | {"B": self.resize.pixels(photo).transpose(2, 0, 1).copy()}

    def encode(self, stacked: dict[str, Tensor]) -> dict[str, Tensor]:
        """Items of a batch on a device, N C H W each -> ``A`` as `Semantics.one_hot`, and ``B`` in
        [-1, 1]."""
        inputs = self.semantics.one_hot(stacked["labels"], stacked.get("instances"))
        return {"A": inputs, "B": to_float(stacked["B"])}

    def picture(self, x: Tensor) -> Tensor:
        return self.semantics.picture(x)


def check_size(resize: Resize, found: tuple[int, int], path: Path) -> None:
    """Networks are made for one size, which a scaled width alone does not decide.

    Args:
        found: (width, height) that a label map comes out at

    Raises:
        InputError: another size than that of ``crop_size`` and ``aspect_ratio``.
    """
    wanted = resize.crop_size, round(resize.crop_size / resize.aspect_ratio)
    if resize.preprocess == "scale_width" and tuple(found) != wanted:
        raise InputError(
            f"{path} comes out at {found[0]}x{found[1]} pixels, not at the {wanted[0]}x{wanted[1]} "
            "of `crop_size` and `aspect_ratio`: give those of these images, or `preprocess` "
            "resize_and_crop"
        )


def _of_line(root: Path, line: str, instance: bool, meta_path: str) -> Scene:
    labels, photo, instances = (root / name for name in line.split())
    scene = Scene(photo, labels, instances if instance else None)
    for path in (photo, labels, scene.instances):
        if path is not None and not path.is_file():
            raise InputError(f"`meta_path` {meta_path} names {path}: no such file")
    return scene


def _counted(instances: np.ndarray, path: Path) -> np.ndarray:
    """The same borders with numbers from 0, int16: a file's may be far larger."""
    found, numbers = np.unique(instances, return_inverse=True)
    if len(found) > MAX_INSTANCES:
        raise InputError(f"{path}: {len(found)} instances; no scene has more than {MAX_INSTANCES}")
    return numbers.reshape(instances.shape).astype(np.int16)
