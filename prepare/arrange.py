"""Arranges a dataset in three phases, so that no choice is ever made on the images of the test.

    python -m prepare.arrange DATAROOT --output_dir DIR [FLAG ...]

``DIR/train`` is learned from, ``DIR/val`` chooses (the best checkpoint, the best subnet), and
``DIR/test`` is measured once, at the end. Each holds links to the files of the dataset, which stay
where they are.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from data.datasets import (
    AlignedDataset,
    Source,
    download_hint,
    files_below,
    list_images,
    unpaired_datasets,
)
from data.images import EXTENSIONS
from data.labelled import find_layout
from data.transforms import Resize
from errors import InputError
from runtime.files import not_written, write_json
from runtime.progress import Bar

# What an arranged folder says about itself.
FACTS = "phases.json"
# A folder of this name beside it is one that is not finished.
_UNFINISHED = ".part"

TRAIN, CHOOSE, TEST = "train", "val", "test"


@dataclass(frozen=True)
class Sizes:
    """The most images of each phase; None = all (of what is held out of ``train``: a fifth)."""

    train: int | None = None
    val: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class Division:
    """Which files make which phase.

    Args:
        mode:    aligned | unaligned
        files:   phase -> path below it, such as ``trainA/1.png`` -> the file that lies there
        counts:  phase -> number of pairs (unaligned: of side A, see `facing`)
        sources: phase -> the phase of the dataset that its images come from
    """

    mode: str
    files: dict[str, Path]
    counts: dict[str, int]
    sources: dict[str, str]

    def facing(self, direction: str) -> Division:
        """The same, with the inputs of a direction (AtoB | BtoA) counted where there are no
        pairs."""
        if self.mode == "aligned":
            return self
        side = direction[0]
        counts = {p: sum(f.startswith(f"{p}{side}/") for f in self.files) for p in self.counts}
        return replace(self, counts=counts)

    @property
    def held_out(self) -> list[str]:
        """The phases that are taken out of ``train``."""
        return [phase for phase in (CHOOSE, TEST) if self.sources[phase] == TRAIN]


# --------------------------------------------------------------------------------------------------
# What there is


def find_mode(root: Path) -> str:
    """aligned | unaligned: folders of unequal names are no pairs.

    Raises:
        InputError: there is nothing to train on.
    """
    if not root.is_dir():
        raise InputError(f"`dataroot` {root}: no such folder{download_hint(root)}")
    if (root / TRAIN).is_dir():
        return "aligned"
    sides = [root / f"{TRAIN}{side}" for side in "AB"]
    if not all(side.is_dir() for side in sides):
        if mode := find_layout(root):
            raise InputError(
                f"`dataroot` {root} holds label maps as {mode} has them, which have scripts of "
                f"their own: DATAROOT={root} bash scripts/gaugan/{mode}_fast/run.sh (docs/spade.md)"
            )
        raise InputError(
            f"`dataroot` {root} has no folder 'train' of A|B pairs, and no folders 'trainA' and "
            "'trainB': put the images to learn from there"
        )
    names = [{p.relative_to(side).with_suffix("") for p in list_images(side)} for side in sides]
    return "aligned" if names[0] <= names[1] else "unaligned"


def _has(root: Path, phase: str, mode: str) -> bool:
    names = (f"{phase}A",) if mode == "unaligned" else (phase, f"{phase}A")
    return any((root / name).is_dir() and list_images(root / name) for name in names)


# One item of a phase: path below the phase's folders -> file, of both sides.
_Item = dict[str, Path]


def _items(root: Path, phase: str, mode: str) -> list[list[_Item]]:
    """The items of a phase: one list of pairs, or of unaligned data one list per side.

    The keys start with the side: "" for A|B files, "A" or "B".
    """
    source = Source(str(root), phase)
    if mode == "unaligned":
        sides = unpaired_datasets(source, "AtoB", Resize())
        return [
            [{f"{side}/{file.relative_to(data.folder)}": file} for file in data.files]
            for side, data in zip("AB", sides, strict=True)
        ]
    data = AlignedDataset(source, "AtoB", Resize())
    if data.files_b is None:
        return [[{f"/{file.relative_to(data.folder)}": file} for file in data.files]]
    below = root / f"{phase}B"
    return [
        [
            {f"A/{a.relative_to(data.folder)}": a, f"B/{b.relative_to(below)}": b}
            for a, b in zip(data.files, data.files_b, strict=True)
        ]
    ]


# --------------------------------------------------------------------------------------------------
# Who gets what


def divide(root: Path, mode: str, sizes: Sizes, seed: int) -> Division:
    """Divide a dataset among three phases.

    The test is phase ``val``, or ``test`` where the dataset has one. Choices are made on ``val``
    where it has both, else on a part of ``train`` that is held out. A dataset of ``train`` alone
    gives all three.

    Args:
        mode: aligned | unaligned
        seed: of the draw

    Raises:
        InputError: too few images, or a folder is not as it should be.
    """
    has_val, has_test = _has(root, CHOOSE, mode), _has(root, TEST, mode)
    sources = {TRAIN: TRAIN, CHOOSE: TRAIN, TEST: TRAIN}
    if has_test:
        sources[TEST] = TEST
        sources[CHOOSE] = CHOOSE if has_val else TRAIN
    elif has_val:
        sources[TEST] = CHOOSE
    limits = {TRAIN: sizes.train, CHOOSE: sizes.val, TEST: sizes.test}
    files: dict[str, Path] = {}
    counts: dict[str, int] = {}
    kept = {name: _items(root, name, mode) for name in dict.fromkeys(sources.values())}
    for number in range(len(kept[TRAIN])):
        rest = list(kept[TRAIN][number])
        random.Random(f"{seed} {number}").shuffle(rest)
        held = [phase for phase in (TEST, CHOOSE) if sources[phase] == TRAIN]
        least = 2 * len(held) + 1
        if len(rest) < least:
            raise InputError(
                f"`dataroot` {root} has {len(rest)} images in phase train, and "
                f"{' and '.join(held)} must be held out of it: give {least} or more"
            )
        share, parts = max(2, len(rest) // 5), {}
        for phase in held:
            limit = limits[phase]
            count = share if limit is None else max(2, min(limit, share))
            parts[phase], rest = rest[:count], rest[count:]
        parts[TRAIN] = rest[: limits[TRAIN]]
        for phase, source in sources.items():
            if phase not in parts:
                found = list(kept[source][number])
                if limits[phase] is not None and limits[phase] < len(found):
                    found = random.Random(f"{seed} {number}").sample(found, limits[phase])
                parts[phase] = found
            if len(parts[phase]) < 2 and phase != TRAIN:
                raise InputError(
                    f"`dataroot` {root} has one image in phase {source}: measures need two or more"
                )
        for phase, items in parts.items():
            counts.setdefault(phase, len(items))
            for item in items:
                files |= {f"{phase}{below}": file for below, file in item.items()}
    return Division(mode, files, {phase: counts[phase] for phase in sources}, sources)


# --------------------------------------------------------------------------------------------------
# On disk


def arrange(division: Division, root: Path, folder: Path) -> dict:
    """Make the folder of a division; what was in it before is replaced.

    It is made under another name and renamed at the end: where it exists, it is whole.

    Returns:
        what ``phases.json`` in it holds

    Raises:
        InputError: it cannot be written.
    """
    if folder.exists() and not (folder / FACTS).is_file():
        raise InputError(
            f"`output_dir` {folder} is there already and was not arranged here: choose another"
        )
    facts = {
        "dataroot": os.path.realpath(root),
        "dataset_mode": division.mode,
        "counts": division.counts,
        "sources": division.sources,
    }
    unfinished = folder.with_name(folder.name + _UNFINISHED)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        for below, file in Bar(division.files.items(), desc="linking", unit="img"):
            path = unfinished / below
            path.parent.mkdir(parents=True, exist_ok=True)
            _link(file, path)
        write_json(unfinished / FACTS, facts)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except OSError as error:
        raise not_written(folder, error) from None
    return facts


def require_unchanged(division: Division, folder: Path) -> None:
    """Raise InputError unless a folder holds what `arrange` makes of a division now.

    What was begun with other images must not go on with these: they were divided in another way.
    """
    found = {
        path.relative_to(folder): path
        for path in files_below(folder)
        if path.suffix.lower() in EXTENSIONS
    }
    wanted = {Path(below): file for below, file in division.files.items()}
    # Where the system makes no links there are copies, which are not compared.
    if found.keys() != wanted.keys() or any(
        os.path.realpath(path) != os.path.realpath(wanted[below])
        for below, path in found.items()
        if path.is_symlink()
    ):
        raise InputError(
            f"the images of `dataroot` are not those that {folder} was made of (there are "
            f"{len(wanted):,} files to use now, and were {len(found):,}): give another "
            "`output_dir`, or put them back"
        )


def _link(file: Path, path: Path) -> None:
    """A link to a file, or a copy where the system makes no links."""
    try:
        os.symlink(os.path.realpath(file), path)
    except (OSError, NotImplementedError):
        shutil.copyfile(file, path)


def describe(division: Division) -> list[str]:
    """Count, use and origin of each phase, for people."""
    texts = []
    for phase, use in ((TRAIN, "to learn from"), (CHOOSE, "to choose by"), (TEST, "to test on")):
        source = division.sources[phase]
        origin = f"held out of {source}" if phase in division.held_out else f"of phase {source}"
        texts.append(f"{division.counts[phase]} {use} ({origin})")
    return texts


if __name__ == "__main__":
    from options import run
    from options.arrange import main

    run(main)
