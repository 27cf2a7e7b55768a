"""Checks whether a dataset is ready to train on, and names a remedy for each problem.

    python -m data.check DATAROOT [FLAG ...]

It decodes every file once, with the code that training uses (`data.images`, `data.datasets`,
`data.transforms`), so "ready to train" means that training can read it. Exit code 0: ready, 2:
problems.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from data.datasets import (
    AlignedDataset,
    SingleDataset,
    Source,
    download_hint,
    files_below,
    list_images,
    path_of_side,
    phases,
    printable,
)
from data.images import EXTENSIONS, read_pixels
from data.labelled import find_layout
from data.labels import Semantics
from data.transforms import Resize, multiple_of_4
from errors import InputError
from runtime.progress import Bar

# --------------------------------------------------------------------------------------------------
# What is reported


@dataclass(frozen=True)
class Usage:
    """How training is going to use the images: the values of the data flags (`options.flags`)."""

    dataset_mode: str = "aligned"
    direction: str = "AtoB"
    resize: Resize = field(default_factory=Resize)
    channels: tuple[int, int] = (3, 3)  # of the input and of the target
    batch_size: int = 1
    cache_bytes: float = 4e9
    phase: str | None = None  # None: all
    meta_path: str | None = None  # of `phase`, or of train
    # Of label maps, see `data.build.DataSettings`.
    semantics: Semantics | None = None
    portraits: bool = True
    check_pairs: bool = True

    @property
    def meta_phase(self) -> str:
        """The phase that ``meta_path`` belongs to."""
        return self.phase or "train"

    def resize_of(self, phase: str) -> Resize:
        """How the images of a phase are resized: only those of train have a margin for crops."""
        resize = replace(self.resize, any_size=self.dataset_mode == "single")
        return resize if phase == "train" else resize.uncropped()


@dataclass(frozen=True)
class FileFacts:
    """What was found about one file.

    size:    (width, height) in pixels after rotation by the EXIF tag; None if unusable
    mode:    as stored: Pillow's name, or number type and channels of an array
    blank:   whether the image has one colour only
    bytes:   bytes per value in memory: 1, or 4 if the file has more than 8 bits
    digest:  BLAKE2b hash (16 bytes) of the file's content
    problem: what makes the file unusable, and the remedy; None if nothing does
    """

    path: Path
    size: tuple[int, int] | None = None
    mode: str = ""
    blank: bool = False
    bytes: int = 1
    digest: bytes = b""
    problem: str | None = None


@dataclass(frozen=True)
class Finding:
    """A problem, or a note, about files.

    what:  what was found
    fix:   the remedy; "" for a note
    files: paths relative to the dataset
    """

    what: str
    fix: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhaseReport:
    """What was found about one phase, or about one side of an unpaired phase.

    layout:  "A|B" | "folders A, B" | "single" | "unpaired" | "labels"
    count:   number of usable items (pairs or images)
    sizes:   (width, height) of A as stored -> number of items
    modes:   mode as stored -> number of files
    shapes:  (width, height) that the network gets -> number of items
    bytes:   size of all decoded and resized images, as training keeps them in memory
    digests: hash of a usable file -> its path relative to the dataset
    """

    name: str
    layout: str
    count: int
    sizes: Counter
    modes: Counter
    shapes: Counter
    bytes: int
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    digests: dict[bytes, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Report:
    """What was found about a dataset; ``problems`` and ``notes`` are those of no single phase."""

    root: Path
    phases: tuple[PhaseReport, ...]
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    @property
    def all_problems(self) -> list[Finding]:
        """The problems of the dataset, then those of each phase."""
        return [*self.problems, *(p for phase in self.phases for p in phase.problems)]

    @property
    def ready(self) -> bool:
        """Whether there are no problems."""
        return not self.all_problems


# --------------------------------------------------------------------------------------------------
# One file


def look(path: Path, channels: int = 3) -> FileFacts:
    """Decode one file as training does and describe it. A bad file raises nothing.

    Args:
        channels: number of channels that training reads
    """
    try:
        pixels = read_pixels(path, channels)
        mode = _mode(path)
        with path.open("rb") as file:
            digest = hashlib.blake2b(file.read(), digest_size=16).digest()
    except InputError as error:
        return FileFacts(path, problem=str(error).removeprefix(f"{path}: "))
    except OSError as error:
        return FileFacts(path, problem=f"unreadable ({error.strerror}); check its permissions")
    height, width, _ = pixels.shape
    blank = bool((pixels == pixels[0, 0]).all())
    return FileFacts(path, (width, height), mode, blank, pixels.itemsize, digest)


def _mode(path: Path) -> str:
    if path.suffix.lower() == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return f"{array.dtype} x {array.shape[2] if array.ndim == 3 else 1}"
    with Image.open(path) as stored:
        return stored.mode


def look_at_all(
    function: Callable, items: Sequence[tuple], threads: int, title: str, progress: bool = True
) -> list:
    """Call ``function`` with each item on threads, with a bar; results in the same order."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        try:
            if not items:
                return []
            bar = Bar(
                pool.map(function, *zip(*items, strict=True)),
                total=len(items),
                desc=title,
                unit="img",
                disable=not progress,
            )
            return list(bar)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


# --------------------------------------------------------------------------------------------------
# Which phases there are


ONE_SIDE, UNPAIRED = "one side", "unpaired"


def find_phases(root: Path, mode: str) -> dict[str, str]:
    """Find the phases of a dataset: its folders that hold images.

    Each side of unpaired data is a phase of its own, such as trainA. Single images may lie in
    ``root`` itself, which is then the phase ".". A folder such as trainA without its trainB has the
    layout `ONE_SIDE` and cannot be trained on. Folders called A and B are sides, not phases.

    Args:
        mode: ``dataset_mode``

    Returns:
        phase -> layout, see `PhaseReport`
    """
    folders = phases(root)
    if mode == "single":
        return dict.fromkeys(folders, "single") or ({".": "single"} if list_images(root) else {})
    found = {}
    if {"A", "B"} <= set(folders):
        folders = [name for name in folders if name not in ("A", "B")]
    for name in folders:
        phase, side = name[:-1], name[-1]
        if mode == "unaligned":
            if side in "AB":
                both = f"{phase}A" in folders and f"{phase}B" in folders
                found[name] = UNPAIRED if both else ONE_SIDE
            continue
        if side in "AB" and phase and f"{phase}A" in folders and f"{phase}B" in folders:
            found.setdefault(
                phase, "A|B" if phase in folders else "folders A, B"
            )  # pairs go before two folders
        else:
            found[name] = ONE_SIDE if side in "AB" and phase in ("train", "val", "test") else "A|B"
    return found


def _phase_of(name: str, layout: str) -> str:
    """The phase without its side: train, also for trainA of unpaired data."""
    return name[:-1] if layout == UNPAIRED else name


def check_folders(
    root: Path, found: dict[str, str], usage: Usage
) -> tuple[list[Finding], list[Finding]]:
    """(problems, notes) about the folders, before any image is decoded.

    Args:
        found: what `find_phases` returned
    """
    problems, notes = [], []
    wanted = (
        [usage.phase] if usage.phase else ["train", "val"] if usage.dataset_mode != "single" else []
    )
    usable = {_phase_of(name, layout) for name, layout in found.items() if layout != ONE_SIDE}
    if found:
        missing = _missing_sides if usage.dataset_mode == "unaligned" else _missing_phase
        problems += [missing(root, phase, found) for phase in wanted if phase not in usable]
    elif (within := _phases_within_sides(root)) is not None:
        problems.append(_sides_first(root, within, usage.dataset_mode))
    elif usage.dataset_mode == "unaligned" and phases(root):
        what = (
            "there are no folders <phase>A and <phase>B with images; found: "
            f"{', '.join(phases(root))}"
        )
        problems.append(Finding(what, "for A|B pairs give `dataset_mode` aligned"))
    elif files := list_images(root):
        what = f"{count_of(files, 'image')} in {root} itself: there are no phases"
        two = usage.dataset_mode == "unaligned"
        into, more = ("trainA and trainB", "valA and valB") if two else ("train", "val")
        fix = f"move them to {into}, some of them to {more} to measure on"
        problems.append(Finding(what, f"{fix}; for single images give `dataset_mode` single"))
    else:
        fix = "unpack the images there, as <phase>/*.jpg"
        problems.append(
            Finding(f"{root} has no folder with images ({', '.join(sorted(EXTENSIONS))})", fix)
        )
    for name, layout in found.items():
        if layout == ONE_SIDE and name[:-1] not in wanted:
            notes.append(Finding(f"{name} has no other side to make pairs with: not checked"))
    wrong, known = other_files(root)
    return problems + wrong, notes + known


def other_files(root: Path) -> tuple[list[Finding], list[Finding]]:
    """(problems, notes) about files that are no images: links without target, other endings."""
    problems, notes = [], []
    files = sorted(files_below(root), key=str)
    strange = [p for p in files if _is_strange(p, root)]
    if strange:
        endings = Counter(p.suffix for p in strange).most_common(4)
        kinds = ", ".join(f"{n} {ending or 'without ending'}" for ending, n in endings)
        what = f"not used, without the ending of an image: {count_of(strange)} ({kinds})"
        notes.append(Finding(what, "", names_of(strange, root)))
    broken = [p for p in files if p.suffix.lower() in EXTENSIONS and not p.exists()]
    if broken:
        what = f"broken links: {count_of(broken)}"
        problems.append(
            Finding(what, "restore their targets or remove them", names_of(broken, root))
        )
    return problems, notes


def _phases_within_sides(root: Path) -> list[str] | None:
    """Phases within both folders A and B, perhaps none; None if there are no folders A and B."""
    if not {"A", "B"} <= set(phases(root)):
        return None
    return sorted(set(phases(root / "A")) & set(phases(root / "B")))


def _sides_first(root: Path, found: list[str], mode: str) -> Finding:
    """The problem of folders A/train and B/train, and its remedy."""
    what = "the sides A and B are folders of their own"
    if found:
        what += f", with {', '.join(found)} in each"
    if mode == "unaligned":
        to = [f"A/{phase} to {phase}A" for phase in found] or ["A to trainA"]
        return Finding(what, f"rename {', '.join(to)}, B likewise")
    output = root.with_name(f"{root.name}-pairs")
    output = output if found else output / "train"
    command = f"scripts/combine_pairs.py {root / 'A'} {root / 'B'} --output {output}"
    return Finding(what, f"join them: python {command}")


def _missing_phase(root: Path, phase: str, found: dict[str, str]) -> Finding:
    """The problem that a phase is missing which training or the user needs, and its remedy."""
    for side, other in (("A", "B"), ("B", "A")):
        if f"{phase}{side}" in found:
            what = f"there is {phase}{side} but no {phase}{other} with images"
            fix = (
                f"put partners into {root / (phase + other)}, with the same names, or give "
                "`dataset_mode` single"
            )
            return Finding(what, fix)
    if phase == "val":
        what = "there is no folder 'val' with images: training measures FID on it"
        if "test" in found:
            return Finding(what, "rename the folder 'test' to 'val'")
        return Finding(
            what, "move images there that training must not use, or give `no_fid` to train.py"
        )
    what = f"there is no folder '{phase}' with images; found: {', '.join(found)}"
    return Finding(what, _train_remedy(phase, found, phase, "val"))


def _train_remedy(phase: str, found: dict[str, str], folders: str, measured: str) -> str:
    if phase == "train" and measured in found:
        return f"move the images to train on into {folders}; to measure only, give `phase` val"
    return f"move the images into {folders}"


def _missing_sides(root: Path, phase: str, found: dict[str, str]) -> Finding:
    """As `_missing_phase`, for unpaired data, which need two folders."""
    for side, other in (("A", "B"), ("B", "A")):
        if f"{phase}{side}" in found:
            what = f"there is {phase}{side} but no {phase}{other} with images"
            return Finding(what, f"put images of the other kind into {root / (phase + other)}")
    what = f"there are no folders '{phase}A' and '{phase}B' with images"
    if phase != "val":
        fix = _train_remedy(phase, found, f"{phase}A and {phase}B", "valA")
        return Finding(f"{what}; found: {', '.join(found)}", fix)
    if "testA" in found:
        return Finding(
            f"{what}: training measures FID on them", "rename 'testA' and 'testB' to them"
        )
    return Finding(f"{what}: training measures FID on them", "move images there, or give `no_fid`")


def _is_strange(path: Path, root: Path) -> bool:
    below = path.parent != root
    return below and path.is_file() and path.suffix.lower() not in EXTENSIONS


def count_of(things: list, word: str = "file") -> str:
    return f"{len(things)} {word}{'s' * (len(things) != 1)}"


def names_of(files: Iterable[Path], root: Path) -> tuple[str, ...]:
    return tuple(printable(path.relative_to(root)) for path in files)


# --------------------------------------------------------------------------------------------------
# One phase


@dataclass(frozen=True)
class Item:
    """One item of training.

    facts:   of its file
    partner: of the file of its B, for two folders; None otherwise
    size:    (width, height) of its A, or of the single image
    """

    facts: FileFacts
    partner: FileFacts | None
    size: tuple[int, int]

    def bytes(self, planes: tuple[int, ...]) -> int:
        """Bytes per pixel in memory, with ``planes`` channels in (A, B) or in the single image."""
        if self.partner is None:
            return self.facts.bytes * sum(planes)
        return self.facts.bytes * planes[0] + self.partner.bytes * planes[1]


def check_phase(
    root: Path, name: str, layout: str, usage: Usage, threads: int = 4, progress: bool = True
) -> PhaseReport:
    """Check all files of a phase. Nothing is raised: problems go into the report.

    Args:
        name, layout: see `find_phases`
        threads:      number of threads that decode files
        progress:     show a progress bar
    """
    folder = root / (f"{name}A" if layout == "folders A, B" else name)
    partners = root / f"{name}B" if layout == "folders A, B" else None
    files = list_images(folder)
    others = list_images(partners) if partners else []
    planes = _planes(name, layout, usage)
    asked = [(file, max(planes) if layout == "A|B" else planes[0]) for file in files]
    asked += [(file, planes[1]) for file in others]
    seen = look_at_all(look, asked, threads, name, progress)
    facts, facts_b = seen[: len(files)], seen[len(files) :]
    problems, notes = unusable(seen, root), []
    problems += _same_names(files, folder, root) + (
        _same_names(others, partners, root) if partners else []
    )
    if partners:
        items, wrong, known = _match(facts, folder, facts_b, partners, root)
        problems, notes = problems + wrong, notes + known
    elif layout == "A|B":
        items, wrong = _halves(facts, root)
        problems += wrong
    else:
        items = [Item(f, None, f.size) for f in facts if f.size]
    if not problems:
        wrong, known = _listing(root, name, layout, usage)
        problems, notes = problems + wrong, notes + known
    if not problems and _is_measured(name, layout, usage) and len(items) < 2:
        problems.append(too_few(items))
    resize = usage.resize_of(_phase_of(name, layout))
    problems += shapes_problems(items, resize, usage.batch_size)
    notes += about_files(seen, root) + about_sizes(items, resize)
    targets = [target_size(item.size, resize) for item in items]
    needed = sum(w * h * item.bytes(planes) for item, (w, h) in zip(items, targets, strict=True))
    return PhaseReport(
        name,
        layout,
        len(items),
        Counter(item.size for item in items),
        Counter(f.mode for f in seen if f.size),
        Counter(network_size(target, resize) for target in targets),
        needed,
        tuple(problems),
        tuple(notes),
        {f.digest: printable(f.path.relative_to(root)) for f in facts if f.size},
    )


def _planes(name: str, layout: str, usage: Usage) -> tuple[int, ...]:
    """Numbers of channels of an item: of A and B, or of the single image."""
    if layout == UNPAIRED:
        return (usage.channels[name[-1] != usage.direction[0]],)
    if layout == "single":
        return usage.channels[:1]
    return usage.channels if usage.direction == "AtoB" else usage.channels[::-1]


def _is_measured(name: str, layout: str, usage: Usage) -> bool:
    """Whether training measures FID on this phase."""
    return _phase_of(name, layout) == "val" and usage.phase is None and layout != "single"


def too_few(items: list) -> Finding:
    """The problem of a phase that FID cannot be measured on."""
    what = f"{count_of(items, 'image')} to measure on: FID needs at least 2"
    return Finding(what, "move more images there, or give `no_fid`")


def unusable(facts: list[FileFacts], root: Path) -> list[Finding]:
    """Files that cannot be decoded, by reason. `read_pixels` says `what (details); remedy`."""
    groups = defaultdict(list)
    for f in facts:
        if f.problem:
            what, _, fix = f.problem.rpartition("; ")
            groups[what.split(" (")[0], fix].append(f)
    findings = []
    for (_, fix), group in groups.items():
        reason = group[0].problem.rpartition("; ")[0]
        findings.append(
            Finding(f"{reason}: {count_of(group)}", fix, names_of((f.path for f in group), root))
        )
    return findings


def _same_names(files: list[Path], folder: Path, root: Path) -> list[Finding]:
    groups = defaultdict(list)
    for path in files:
        groups[path.with_suffix("")].append(path)
    twice = [path for group in groups.values() if len(group) > 1 for path in group]
    if not twice:
        return []
    what = f"of the same name in {folder.name}, apart from the ending: {count_of(twice)}"
    return [
        Finding(
            what,
            "rename or remove one of each; outputs would overwrite each other",
            names_of(twice, root),
        )
    ]


def _halves(facts: list[FileFacts], root: Path) -> tuple[list[Item], list[Finding]]:
    """A|B files -> (items, problems with files that are not pairs)."""
    odd = [f for f in facts if f.size and f.size[0] > f.size[1] and f.size[0] % 2]
    high = [f for f in facts if f.size and f.size[0] <= f.size[1]]
    bad = {f.path for f in (*odd, *high)}
    items = [
        Item(f, None, (f.size[0] // 2, f.size[1])) for f in facts if f.size and f.path not in bad
    ]
    problems = []
    for group, why, fix in (
        (odd, "an odd width", "cut to an even width, with the seam in the middle"),
        (
            high,
            "not wider than high",
            "join A and B (scripts/combine_pairs.py), or `dataset_mode` single",
        ),
    ):
        if group:
            what = f"not an A|B pair, {why}: {count_of(group)}, e.g. {size_text(group[0].size)}"
            problems.append(Finding(what, fix, names_of((f.path for f in group), root)))
    return items, problems


def _match(
    facts_a, folder_a: Path, facts_b, folder_b: Path, root: Path
) -> tuple[list[Item], list[Finding], list[Finding]]:
    """The files of two folders -> (items, problems, notes)."""
    a = {str(f.path.relative_to(folder_a).with_suffix("")): f for f in facts_a}
    b = {str(f.path.relative_to(folder_b).with_suffix("")): f for f in facts_b}
    problems, notes = [], []
    alone = [f.path for name, f in a.items() if name not in b]
    if alone:
        what = (
            f"in {folder_a.name} without a partner of the same name in {folder_b.name}: "
            f"{count_of(alone)}"
        )
        no_pairs = (
            ", or give `dataset_mode` unaligned if these are not pairs"
            if len(alone) == len(a)
            else ""
        )
        fix = f"add the partners or remove them{no_pairs}"
        problems.append(Finding(what, fix, names_of(alone, root)))
    unused = [f.path for name, f in b.items() if name not in a]
    if unused:
        what = (
            f"in {folder_b.name} without a partner in {folder_a.name}, not used: {count_of(unused)}"
        )
        notes.append(Finding(what, "", names_of(unused, root)))
    both = [(f, b[name]) for name, f in a.items() if name in b and f.size and b[name].size]
    unequal = [f for f, partner in both if f.size != partner.size]
    if unequal:
        what = f"A and B differ in size: {count_of(unequal, 'pair')}"
        problems.append(
            Finding(
                what, "make the sizes of each pair equal", names_of((f.path for f in unequal), root)
            )
        )
    return (
        [Item(f, partner, f.size) for f, partner in both if f.size == partner.size],
        problems,
        notes,
    )


def _listing(
    root: Path, name: str, layout: str, usage: Usage
) -> tuple[list[Finding], list[Finding]]:
    """(problems, notes): what the dataset of training says about the folder and `meta_path`."""
    meta = usage.meta_path if _phase_of(name, layout) == usage.meta_phase else None
    if meta and layout == UNPAIRED:
        meta = path_of_side(meta, name[-1])
    source = Source(str(root), name, meta)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if layout in ("single", UNPAIRED):
                dataset = SingleDataset(source, usage.resize)
            else:
                dataset = AlignedDataset(source, usage.direction, usage.resize)
    except InputError as error:
        what, _, fix = str(error).rpartition("; ")
        return [Finding(what, fix) if what else Finding(fix)], []
    return [], [Finding(f"`meta_path` takes {len(dataset)} of them")] if meta else []


# --------------------------------------------------------------------------------------------------
# What the options do to the images


def target_size(size: tuple[int, int], resize: Resize) -> tuple[int, int]:
    """(width, height) after resizing. It hides warnings: the report says what is rounded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return resize.target(*size)


def network_size(target: tuple[int, int], resize: Resize) -> tuple[int, int]:
    """(width, height) that the network gets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crop = resize.crop
    return target if crop is None else (crop[1], crop[0])


def shapes_problems(items: list[Item], resize: Resize, batch_size: int) -> list[Finding]:
    shapes = Counter(network_size(target_size(item.size, resize), resize) for item in items)
    if batch_size > 1 and len(shapes) > 1:
        some = ", ".join(size_text(shape) for shape, _ in shapes.most_common(3))
        what = (
            f"images reach the network in {len(shapes)} sizes ({some}): they cannot share a batch"
        )
        return [Finding(what, "`batch_size` 1, or `preprocess` resize_and_crop")]
    return []


def about_files(seen: list[FileFacts], root: Path) -> list[Finding]:
    """Notes about ways of storing files that work but may be unintended."""
    good = [f for f in seen if f.size]
    grey = [f for f in good if f.mode in ("L", "1")]
    groups = (
        (
            "16 bits or floating-point numbers, kept as they are (4 bytes per value in memory)",
            [f for f in good if f.bytes > 1],
        ),
        (
            "transparency, dropped",
            [f for f in good if f.mode in ("RGBA", "LA", "PA", "RGBa", "La")],
        ),
        ("a palette, converted to colours", [f for f in good if f.mode == "P"]),
        ("CMYK, converted to RGB", [f for f in good if f.mode == "CMYK"]),
        ("one colour only", [f for f in good if f.blank]),
        ("grey among coloured ones", grey if len(grey) < len(good) else []),
    )
    return [
        Finding(f"{what}: {count_of(files)}", "", names_of((f.path for f in files), root))
        for what, files in groups
        if files
    ]


def about_sizes(items: list[Item], resize: Resize) -> list[Finding]:
    """Notes about effects of resizing that may be unintended."""
    notes = []
    if resize.preprocess == "none":
        rounded = [i for i in items if any(multiple_of_4(side) != side for side in i.size)]
        if rounded and not resize.any_size:
            notes.append(
                Finding(f"resized to the nearest multiple of 4: {count_of(rounded, 'image')}")
            )
        return notes
    skewed = [i for i in items if _is_skewed(i.size, resize)]
    if skewed:
        size = Counter(i.size for i in skewed).most_common(1)[0][0]
        target = size_text(target_size(size, resize))
        what = f"lose their proportions, e.g. {size_text(size)} -> {target}"
        remedy = "`preprocess` scale_width_and_crop or `aspect_ratio` keep them"
        notes.append(Finding(f"{what}: {count_of(skewed, 'image')}; {remedy}"))
    # The usual 256 -> 286 -> crop of 256 gives the network no more pixels than the file has, so it
    # does not count as enlarged.
    small = [i for i in items if min(target_size(i.size, resize)[0], resize.crop_size) > i.size[0]]
    if small:
        smallest = size_text(min(i.size for i in small))
        notes.append(Finding(f"enlarged, the smallest from {smallest}: {count_of(small, 'image')}"))
    return notes


def _is_skewed(size: tuple[int, int], resize: Resize) -> bool:
    """Whether resizing changes width / height by more than 2%."""
    width, height = target_size(size, resize)
    return abs((width / height) / (size[0] / size[1]) - 1) > 0.02


# --------------------------------------------------------------------------------------------------
# A whole dataset


def check_dataset(root: Path, usage: Usage, threads: int = 4, progress: bool = True) -> Report:
    """Check every file of a dataset.

    Args:
        threads:  number of threads that decode files
        progress: show progress bars

    Raises:
        InputError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder{download_hint(root)}")
    if usage.dataset_mode != "single" and (mode := find_layout(root)):
        what = f"these are label maps and photos in the folders of {mode}"
        return Report(root, (), (Finding(what, f"give `dataset_mode` {mode}"),), ())
    found = find_phases(root, usage.dataset_mode)
    problems, notes = check_folders(root, found, usage)
    by_phase = {name: _phase_of(name, layout) for name, layout in found.items()}
    if usage.meta_path and usage.meta_phase not in by_phase.values():
        problems.append(
            Finding("`meta_path` belongs to a phase that does not exist", "give its `phase`")
        )
    used = {
        name: layout
        for name, layout in found.items()
        if usage.phase in (None, by_phase[name]) and layout != ONE_SIDE
    }
    reports = [
        check_phase(root, name, layout, usage, threads, progress) for name, layout in used.items()
    ]
    notes += in_both(reports)
    return Report(root, tuple(reports), tuple(problems), tuple(notes))


def in_both(reports: Sequence[PhaseReport]) -> list[Finding]:
    """Notes about images that are in train and in val."""
    notes = []
    by_name = {report.name: report for report in reports}
    for side in ("", "A", "B"):
        if f"train{side}" not in by_name or f"val{side}" not in by_name:
            continue
        train, val = by_name[f"train{side}"].digests, by_name[f"val{side}"].digests
        shared = [val[digest] for digest in val if digest in train]
        if shared:
            what = (
                f"in val{side} and, byte for byte, in train{side} too: {count_of(shared)}; "
                "measures will look too good"
            )
            notes.append(Finding(what, "", tuple(shared)))
    return notes


# --------------------------------------------------------------------------------------------------
# Text


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _tally(counts: Counter, text=str) -> str:
    """The two most common entries of a counter, as text."""
    some = [
        f"{text(key)}" + (f" ({n})" if len(counts) > 1 else "") for key, n in counts.most_common(2)
    ]
    return ", ".join(some) + (f", {len(counts) - 2} more" if len(counts) > 2 else "") or "-"


def size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _describe(resize: Resize) -> str:
    """One line about `preprocess`."""
    load, crop = resize.load_size, resize.crop_size
    steps = {
        "resize_and_crop": (
            f"resized to {load}, then a random {crop} is cut out; to measure, resized to {crop}"
        ),
        "crop": f"a random {crop} is cut out of the image as stored; to measure, from its centre",
        "scale_width": f"scaled to a width of {load}; to measure, of {crop}",
        "scale_width_and_crop": (
            f"scaled to a width of {load}, then a random {crop} is cut out; to measure, to {crop}"
        ),
        "none": "as stored",
    }
    return f"`preprocess` {resize.preprocess}: {steps[resize.preprocess]}"


def format_report(report: Report, usage: Usage, shown: int = 5) -> str:
    """The report as text.

    It holds a table of the phases, what the options do, notes, problems with remedies, and a
    verdict.

    Args:
        usage: the one that was checked
        shown: maximum number of file names per finding
    """
    rows = [("phase", "layout", "count", "stored, each", "mode", "network gets", "in memory")]
    for p in report.phases:
        counters = _tally(p.sizes, size_text), _tally(p.modes), _tally(p.shapes, size_text)
        rows.append((p.name, p.layout, str(p.count), *counters, f"{p.bytes / 1e9:.2f} GB"))
    lines = [_columns(rows), ""] if report.phases else []
    if usage.dataset_mode == "aligned":
        a, b = ("A (left)", "B (right)") if usage.direction == "AtoB" else ("B (right)", "A (left)")
        lines.append(f"`direction` {usage.direction}: the input is {a}, the output to learn is {b}")
    if usage.dataset_mode == "unaligned":
        a, b = usage.direction[0], usage.direction[-1]
        lines.append(
            f"`direction` {usage.direction}: the inputs are side {a}, outputs should look like "
            f"side {b}"
        )
    if usage.semantics is not None:
        lines.append(f"the input has {usage.semantics.channels} channels: {usage.semantics}")
    lines.append(_describe(usage.resize))
    for p in report.phases:
        if p.bytes > usage.cache_bytes:
            need = (
                f"{p.name} needs {p.bytes / 1e9:.1f} GB in memory, `cache_gb` is "
                f"{usage.cache_bytes / 1e9:g}"
            )
            lines.append(f"{need}: the images beyond it are decoded each time")

    def write(heading: str, findings: list[tuple[str, Finding]]) -> None:
        if findings:
            lines.extend(["", heading])
        for phase, finding in findings:
            lines.append(f"  {phase}{finding.what}")
            if finding.files:
                more = (
                    f" and {len(finding.files) - shown} more" if len(finding.files) > shown else ""
                )
                lines.append(f"    {', '.join(finding.files[:shown])}{more}")
            if finding.fix:
                lines.append(f"    -> {finding.fix}")

    notes = [("", n) for n in report.notes] + [
        (f"{p.name}: ", n) for p in report.phases for n in p.notes
    ]
    problems = [("", n) for n in report.problems] + [
        (f"{p.name}: ", n) for p in report.phases for n in p.problems
    ]
    write("worth knowing", notes)
    write("problems", problems)
    counts = ", ".join(f"{p.name} {p.count}" for p in report.phases)
    verdict = count_of(problems, "problem") if problems else f"ready to train: {counts}"
    text = "\n".join([*lines, "", verdict])
    return "\n".join(map(printable, text.split("\n")))
