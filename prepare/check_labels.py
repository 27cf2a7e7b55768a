"""The check of `prepare.check` for label maps: labels, photos and instances of each scene, in the
folders of Cityscapes and of COCO-Stuff.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.datasets import Source, download_hint, printable
from data.labelled import (
    LAYOUTS,
    Files,
    LabelledDataset,
    Layout,
    Scene,
    check_size,
    find_layout,
    together,
)
from data.labels import DONT_CARE, MAX_INSTANCES, read_numbers
from data.transforms import Resize
from errors import InputError
from prepare.check import (
    FileFacts,
    Finding,
    Item,
    PhaseReport,
    Report,
    Usage,
    about_files,
    about_sizes,
    count_of,
    in_both,
    look,
    look_at_all,
    names_of,
    network_size,
    other_files,
    shapes_problems,
    size_text,
    target_size,
    too_few,
    unusable,
)

# --------------------------------------------------------------------------------------------------
# One scene


@dataclass(frozen=True)
class SceneFacts:
    """What was found about the files of a scene.

    photo:   of its photo
    labels:  numbers of its label map; empty if that is unusable
    numbers: of label map and instance map
    unequal: paths of those that are not as large as the photo
    """

    photo: FileFacts
    labels: frozenset[int] = frozenset()
    numbers: tuple[FileFacts, ...] = ()
    unequal: tuple[Path, ...] = ()

    @property
    def usable(self) -> bool:
        return not self.unequal and all(facts.size for facts in (self.photo, *self.numbers))


def look_at_scene(scene: Scene, channels: int) -> SceneFacts:
    """Decode the files of a scene as training does. Bad files raise nothing.

    Args:
        channels: number of channels of the photo
    """
    photo = look(scene.photo, channels)
    facts, labels = _look_at_numbers(scene.labels)
    numbers = [facts]
    if scene.instances is not None:
        numbers.append(_look_at_numbers(scene.instances, MAX_INSTANCES)[0])
    unequal = [f.path for f in numbers if f.size and photo.size and f.size != photo.size]
    return SceneFacts(photo, labels, tuple(numbers), tuple(unequal))


def _look_at_numbers(path: Path, at_most: int | None = None) -> tuple[FileFacts, frozenset[int]]:
    """Facts of a map of numbers, and which numbers it holds; more than ``at_most`` make it
    unusable."""
    try:
        numbers = read_numbers(path)
    except InputError as error:
        return FileFacts(path, problem=str(error).removeprefix(f"{path}: ")), frozenset()
    found = np.unique(numbers)
    if at_most is not None and len(found) > at_most:
        why = f"more than {at_most} instances ({len(found)}); draw them as fewer"
        return FileFacts(path, problem=why), frozenset()
    height, width = numbers.shape
    return FileFacts(path, (width, height)), frozenset(found.tolist())


# --------------------------------------------------------------------------------------------------
# Which files belong together


_PLURAL = {"photo": "photos", "labels": "labels", "instances": "instances"}


def _matched(
    files: Files, layout: Layout, usage: Usage, root: Path, phase: str
) -> tuple[list[Scene], list[Finding]]:
    """The scenes that are complete, and the problems with the others."""
    if not usage.check_pairs:
        try:
            return together(files, f"{root}, phase {phase}"), []
        except InputError as error:
            what, _, fix = str(error).partition("; ")
            return [], [Finding(what, fix)]
    problems, by_name = [], {}
    for kind, paths in files.items():
        by_name[kind] = {layout.called(path): path for path in paths}
        twice = Counter(map(layout.called, paths))
        same = [path for path in paths if twice[layout.called(path)] > 1]
        if same:
            what = f"{_PLURAL[kind]} of the same name: {count_of(same)}"
            problems.append(Finding(what, "remove or rename one of each", names_of(same, root)))
    everywhere = set.intersection(*(set(names) for names in by_name.values()))
    for kind, names in by_name.items():
        for other, known in by_name.items():
            alone = [path for name, path in names.items() if name not in known]
            if alone:
                what = (
                    f"{_PLURAL[kind]} without {_PLURAL[other]} of the same name: {count_of(alone)}"
                )
                fix = "add what is missing, or remove these"
                fix += "; `no_instance` does without instances" if other == "instances" else ""
                problems.append(Finding(what, fix, names_of(alone, root)))
    chosen = [[by_name[kind][name] for kind in files] for name in sorted(everywhere)]
    return [Scene(*paths, *[None] * (3 - len(paths))) for paths in chosen], problems


def _listed(
    root: Path, phase: str, usage: Usage
) -> tuple[Sequence[Scene], list[Finding], list[Finding]]:
    """(scenes, problems, notes): what the dataset of training says of the folders and the list."""
    meta = usage.meta_path if phase == usage.meta_phase else None
    how = usage.channels[1], usage.portraits, usage.check_pairs
    source = Source(str(root), phase, meta)
    try:
        dataset = LabelledDataset(
            usage.dataset_mode, source, usage.resize_of(phase), usage.semantics, *how
        )
    except InputError as error:
        what, _, fix = str(error).rpartition("; ")
        return (), [Finding(what, fix) if what else Finding(fix)], []
    notes = [Finding(f"`meta_path` takes {len(dataset)} of them")] if meta else []
    return dataset.scenes, [], notes


# --------------------------------------------------------------------------------------------------
# One phase


def check_scenes(
    root: Path, phase: str, usage: Usage, threads: int = 4, progress: bool = True
) -> PhaseReport:
    """Check all scenes of a phase. Nothing is raised: problems go into the report."""
    layout, semantics = LAYOUTS[usage.dataset_mode], usage.semantics
    files = layout.files(root, phase, semantics.instance, usage.portraits)
    scenes, problems = _matched(files, layout, usage, root, phase)
    notes: list[Finding] = []
    if not problems:
        listed, problems, notes = _listed(root, phase, usage)
        # A list may name files of other folders.
        scenes += [scene for scene in listed if scene not in set(scenes)]
    asked = [(scene, usage.channels[1]) for scene in scenes]
    facts = look_at_all(look_at_scene, asked, threads, phase, progress)
    resize = usage.resize_of(phase)
    items = [Item(scene.photo, None, scene.photo.size) for scene in facts if scene.usable]
    every = [each for scene in facts for each in (scene.photo, *scene.numbers)]
    problems = [*problems, *unusable(every, root), *_unequal(facts, root)]
    problems += [*_without_channel(facts, usage, root), *_another_size(items, resize, root)]
    if not problems and phase == "val" and usage.phase is None and len(items) < 2:
        problems.append(too_few(items))
    problems += shapes_problems(items, resize, usage.batch_size)
    photos = [scene.photo for scene in facts]
    notes += [*about_files(photos, root), *about_sizes(items, resize), *_about_labels(facts, usage)]
    targets = [target_size(item.size, resize) for item in items]
    numbers = (1 if semantics.labels < 256 else 2) + 2 * semantics.instance
    needed = sum(
        w * h * (item.facts.bytes * usage.channels[1] + numbers)
        for item, (w, h) in zip(items, targets, strict=True)
    )
    return PhaseReport(
        phase,
        "labels",
        len(items),
        Counter(item.size for item in items),
        Counter(photo.mode for photo in photos if photo.size),
        Counter(network_size(target, resize) for target in targets),
        needed,
        tuple(problems),
        tuple(notes),
        {p.digest: printable(p.path.relative_to(root)) for p in photos if p.size},
    )


def _unequal(facts: list[SceneFacts], root: Path) -> list[Finding]:
    found = [(f, scene.photo) for scene in facts for f in scene.numbers if f.path in scene.unequal]
    if not found:
        return []
    (one, photo), paths = found[0], [each.path for each, _ in found]
    what = (
        f"of another size than their photo, e.g. {size_text(one.size)} beside "
        f"{size_text(photo.size)}: {count_of(paths)}"
    )
    return [Finding(what, "make them equal", names_of(paths, root))]


def _without_channel(facts: list[SceneFacts], usage: Usage, root: Path) -> list[Finding]:
    """Labels that the network has no channel for."""
    semantics, problems = usage.semantics, []
    known = set(range(semantics.labels)) | ({DONT_CARE} if semantics.dont_care else set())
    wrong = [(scene.labels - known, scene.numbers[0].path) for scene in facts if scene.labels]
    for numbers, fix in (
        (
            {DONT_CARE},
            "give `contain_dontcare_label`, if 255 means that no label is known",
        ),
        (
            set().union(*(numbers for numbers, _ in wrong)) - {DONT_CARE},
            f"give `input_nc`, the number of labels (now {semantics.labels})",
        ),
    ):
        paths = [path for found, path in wrong if found & numbers]
        if paths:
            listed = sorted(numbers)
            some = ", ".join(map(str, listed[:8])) + (", ..." if len(listed) > 8 else "")
            what = f"label{'s' * (len(listed) > 1)} {some} without a channel: {count_of(paths)}"
            problems.append(Finding(what, fix, names_of(paths, root)))
    return problems


def _another_size(items: list[Item], resize: Resize, root: Path) -> list[Finding]:
    """Scenes that do not come out at the size that networks are made for."""
    odd = []
    for item in items:
        target = target_size(item.size, resize)
        try:
            check_size(resize, target, item.facts.path)
        except InputError:
            odd.append((item.facts.path, target))
    if not odd:
        return []
    wanted = resize.crop_size, round(resize.crop_size / resize.aspect_ratio)
    what = (
        f"come out at {size_text(odd[0][1])}, not at the {size_text(wanted)} of `crop_size` and "
        f"`aspect_ratio`: {count_of(odd, 'scene')}"
    )
    fix = "give those of these images, or `preprocess` resize_and_crop"
    return [Finding(what, fix, names_of((path for path, _ in odd), root))]


def _about_labels(facts: list[SceneFacts], usage: Usage) -> list[Finding]:
    """Notes about which labels there are."""
    found = set().union(*(scene.labels for scene in facts)) & set(range(usage.semantics.labels))
    notes = [Finding(f"labels that occur: {len(found)} of {usage.semantics.labels}")] * bool(facts)
    upright = sum(scene.photo.path.parent.name.endswith("_portrait") for scene in facts)
    if upright:
        notes.append(Finding(f"upright photos among them: {upright} (`coco_no_portraits`)"))
    return notes


# --------------------------------------------------------------------------------------------------
# A whole dataset


def check_labelled(root: Path, usage: Usage, threads: int = 4, progress: bool = True) -> Report:
    """Check every file of a dataset of label maps; as `prepare.check.check_dataset`.

    Args:
        usage: with ``semantics``

    Raises:
        InputError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder{download_hint(root)}")
    layout = LAYOUTS[usage.dataset_mode]
    found = layout.phases(root)
    wanted = [usage.phase] if usage.phase else ["train", "val"]
    problems, notes = other_files(root)
    problems += [_missing(root, phase, found, usage) for phase in wanted if phase not in found]
    if usage.meta_path and usage.meta_phase not in found:
        what = "`meta_path` belongs to a phase that does not exist"
        problems.append(Finding(what, "give its `phase`"))
    chosen = [phase for phase in found if usage.phase in (None, phase)]
    reports = [check_scenes(root, phase, usage, threads, progress) for phase in chosen]
    return Report(root, tuple(reports), tuple(problems), (*notes, *in_both(reports)))


def _missing(root: Path, phase: str, found: list[str], usage: Usage) -> Finding:
    """The problem of a phase without images, and its remedy."""
    layout = LAYOUTS[usage.dataset_mode]
    if not found and (mode := find_layout(root)):
        what = f"there are no folders of {usage.dataset_mode}, but those of {mode}"
        return Finding(what, f"give `dataset_mode` {mode}")
    there = f"; found: {', '.join(found)}" if found else ""
    what = f"there are no labels and photos of phase '{phase}'{there}"
    fix = f"put them into {root / layout.folder(phase)} and {root / layout.photos(phase)}"
    if phase == "val" and usage.phase is None:
        fix += ", or give `no_fid` to train.py, which measures on them"
    return Finding(what, fix)
