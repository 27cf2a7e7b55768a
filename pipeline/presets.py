"""Presets: what a compression takes besides its images, as TOML files that a person can read.

A table of a preset holds flags of the scripts, by their names, so ``python train.py --help``
explains those of ``[teacher]``. The files are in ``presets/``; a copy with changes is a preset too.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from errors import InputError
from options import FLAGS, SCRIPTS

FOLDER = Path(__file__).resolve().parents[1] / "presets"
# The usual ones, shortest first.
NAMES = ("quick", "standard", "best")

# --------------------------------------------------------------------------------------------------
# What a preset holds

# Table -> the scripts that take its flags. A later table wins over an earlier one.
TABLES: dict[str, tuple[str, ...]] = {
    "measure": ("train.py", "train_supernet.py", "evolution_search.py", "test.py"),
    "training": ("train.py", "train_supernet.py"),
    "cuda": ("train.py", "train_supernet.py"),
    "learning.discriminator": ("train_supernet.py",),
    "learning.layers": ("train_supernet.py",),
    "learning.images": ("train_supernet.py",),
    "learning.real": ("train_supernet.py",),
    "teacher": ("train.py",),
    "teacher.unpaired": ("train.py",),
    "supernet": ("train_supernet.py",),
    "search": ("evolution_search.py",),
    "finetune": ("train_supernet.py",),
    "export": ("export.py",),
    "test": ("test.py",),
    "latency": ("latency.py",),
}

# What compress.py sets itself, from its own flags or from what an earlier stage found.
_OURS = {"dataroot", "dataset_mode", "direction", "phase", "meta_path", "metaA_path", "metaB_path"}
_OURS |= {"preprocess", "load_size", "crop_size", "aspect_ratio", "max_dataset_size", "num_test"}
_OURS |= {"input_nc", "output_nc", "device", "gpu_ids", "seed", "threads", "num_threads"}
_OURS |= {"log_dir", "output_dir", "results_dir", "output_path", "input_path", "compare"}
_OURS |= {"config_set", "config_str", "budget", "macs_convention", "student_ngf", "student_netG"}
_OURS |= {"epoch_base", "iter_base", "generation_base", "model", "no_fid", "no_mIoU", "supernet"}
# The same, of one table. Times are of one image.
_OURS_OF = {"latency": {"batch_size"}}


def _is_ours(name: str, table: str) -> bool:
    return name in _OURS | _OURS_OF.get(table, set()) or name.startswith("restore_")


@dataclass(frozen=True)
class Images:
    """Table ``[images]``: the size that they are brought to [px], and how many are used.

    Args:
        size:       width and height that the networks see
        load_size:  size before the random crop of a training; None = an eighth more
        preprocess, aspect_ratio: as the flags
        train_images, val_images, test_images: at most; see `prepare.arrange.divide`
    """

    size: int = 256
    load_size: int | None = None
    preprocess: str | None = None
    aspect_ratio: float | None = None
    train_images: int | None = None
    val_images: int | None = 300
    test_images: int | None = None

    def at(self, size: int | None) -> Images:
        """The same for images of another size; None leaves it as it is.

        Raises:
            InputError: the networks need a multiple of 4.
        """
        if size is None or size == self.size:
            return self
        if size % 4:
            raise InputError(f"`image_size` {size} is no multiple of 4")
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.load_size is not None:
            values["load_size"] = round(self.load_size / self.size * size / 4) * 4
        return Images(**(values | {"size": size}))

    @property
    def loaded(self) -> int:
        return self.size * 9 // 32 * 4 if self.load_size is None else self.load_size


@dataclass(frozen=True)
class Preset:
    """A preset that was read.

    Args:
        source: the name or file that it was asked for by
        about:  one line for people
        images: table ``[images]``
        widths: search space of the supernet, the text of a `models.config.ConfigSet`
        tables: name of a table of `TABLES` -> flag -> value: a text, number or truth value, or a
                list of texts; an empty list leaves the flag out
    """

    source: str
    about: str = ""
    images: Images = Images()
    widths: str = ""
    tables: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def of(self, *tables: str) -> dict[str, object]:
        """The flags of several tables; the last one wins."""
        merged: dict[str, object] = {}
        for table in tables:
            merged |= self.tables.get(table, {})
        return merged

    @property
    def decisive(self) -> dict[str, object]:
        """Every setting by its place in the file: ``search.population_size`` -> 50."""
        found = {f"images.{f.name}": getattr(self.images, f.name) for f in fields(Images)}
        found["widths"] = self.widths
        for name, flags in self.tables.items():
            found |= {f"{name}.{flag}": value for flag, value in flags.items()}
        return found


# --------------------------------------------------------------------------------------------------
# Reading


def read_preset(source: str) -> Preset:
    """The preset of a name in `NAMES`, or of a TOML file.

    Raises:
        InputError: no such file, not TOML, or a key or value that does not belong there.
    """
    path = FOLDER / f"{source}.toml" if source in NAMES else Path(source)
    where = f"`preset` {source}"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{where}: none of {', '.join(NAMES)}, and no such file") from None
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    try:
        values = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{where}: not TOML: {error}") from None
    values = _flat(values, where)
    known = ("about", "widths", "images", *TABLES)
    for name in values:
        if name not in known:
            raise InputError(f"{where}: {_unknown(name, known)}")
    for name in ("about", "widths"):
        if not isinstance(values.get(name, ""), str):
            raise InputError(f"{where}: {name} is a text in quotes")
    for name in set(values) & {"images", *TABLES}:
        if not isinstance(values[name], dict):
            raise InputError(f"{where}: {name} is a table: write [{name}] above its lines")
    if not values.get("widths"):
        raise InputError(
            f'{where}: widths is missing: the search space, such as widths = "32,24,16"'
        )
    tables = {name: _checked(values.get(name, {}), name, where) for name in TABLES}
    return Preset(
        source,
        values.get("about", ""),
        _images(values.get("images", {}), where),
        _parsed("config_set", values["widths"], f"{where}: widths"),
        tables,
    )


def _flat(values: dict, where: str) -> dict:
    """Tables in tables by both names: ``[learning.images]`` is ``learning.images``."""
    teacher = values.get("teacher")
    if isinstance(teacher, dict) and "unpaired" in teacher:
        values["teacher.unpaired"] = teacher.pop("unpaired")
    learning = values.pop("learning", {})
    if not isinstance(learning, dict):
        raise InputError(f"{where}: learning has the tables discriminator, layers, images and real")
    return values | {f"learning.{name}": table for name, table in learning.items()}


def _unknown(name: str, known) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown key {name}; {hint}known: {', '.join(known)}"


def _images(table: dict, where: str) -> Images:
    known = [f.name for f in fields(Images)]
    for name, value in table.items():
        if name not in known:
            raise InputError(f"{where}: [images] {_unknown(name, known)}")
        flag = {"size": "crop_size"}.get(name, name)
        table[name] = _parsed(flag, value, f"{where}: [images] {name}")
    images = Images(**table)
    if images.size % 4:
        raise InputError(f"{where}: [images] size {images.size} is no multiple of 4")
    if images.loaded < images.size:
        raise InputError(
            f"{where}: [images] load_size {images.loaded} is smaller than size {images.size}"
        )
    return images


def _checked(table: dict, name: str, where: str) -> dict[str, object]:
    """The flags of a table, each of the type of its flag."""
    takers = [set(SCRIPTS[script].flags) for script in TABLES[name]]
    known = sorted(flag for flag in set.union(*takers) if not _is_ours(flag, name))
    for flag, value in table.items():
        if _is_ours(flag, name) and flag in FLAGS:
            raise InputError(f"{where}: [{name}] {flag} is set by compress.py itself; leave it out")
        if flag not in known:
            raise InputError(f"{where}: [{name}] {_unknown(flag, known)}")
        table[flag] = _parsed(flag, value, f"{where}: [{name}] {flag}")
    return table


def _parsed(name: str, value: object, where: str) -> object:
    """A value as its flag reads it, or InputError."""
    flag = FLAGS[name]
    if flag.type is bool:
        if not isinstance(value, bool):
            raise InputError(f"{where} is true or false")
        return value
    many = flag.many and isinstance(value, list)
    found = []
    for each in value if many else [value]:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise InputError(f"{where}: a number or a text in quotes is wanted")
        try:
            parsed = flag.type(str(each))
        # argparse's own error, and what the types of Python raise
        except Exception as error:
            raise InputError(f"{where}: {error}") from None
        if flag.choices and parsed not in flag.choices:
            raise InputError(f"{where}: {each} is not one of {', '.join(map(str, flag.choices))}")
        found.append(parsed)
    return found if many else found[0]
