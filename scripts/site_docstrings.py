"""An extension of Griffe: docstrings of this project as its Google style knows them.

A paragraph of ``name: text`` lines becomes the section that its names belong to (``Attributes:``,
``Args:``, ``Returns:``, ``Raises:``), lines of two columns become a list. A documented argument
that the code does not have is a warning, which ends a strict build.
"""

from __future__ import annotations

import re

from griffe import Class, Extension, Function, Object, get_logger

logger = get_logger("griffe.site_docstrings")

ENTRY = re.compile(r"([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*): +(\S.*)")
COLUMNS = re.compile(r"  ([\w`.]+)  +(\S.*)")
ARGUMENTS = re.compile(r"^Args:\n((?:    .*\n?)+)", re.MULTILINE)
SECTIONS = {"returns": "Returns", "raises": "Raises"}


class SiteDocstrings(Extension):
    def on_object(self, *, obj: Object, **kwargs) -> None:
        if obj.docstring is None:
            return
        paragraphs = obj.docstring.value.split("\n\n")
        # The first says what the object is, unless it is all there is to it.
        rewritten = [sections(p, obj) or columns(p) for p in paragraphs]
        obj.docstring.value = "\n\n".join(rewritten)
        check_names(rewritten, obj)


def entries(lines: list[str]) -> list[tuple[str, list[str]]] | None:
    """(names, lines of the text) of a paragraph that consists of ``name: text``; else None."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        entry = ENTRY.fullmatch(line)
        if entry:
            found.append((entry[1], [entry[2]]))
        elif found and line.startswith("  "):
            found[-1][1].append(line.strip())
        else:
            return None
    return found


def sections(paragraph: str, obj: Object) -> str | None:
    """The paragraph as sections, if all its names are of the object; else None."""
    said = entries(paragraph.split("\n"))
    if not said:
        return None
    made: dict[str, list[str]] = {}
    for names, text in said:
        section = section_of(names, obj)
        if section is None:
            return None
        item = "\n        ".join(text)
        if section in SECTIONS.values():
            # Sections of their own have a type before the colon, or no name at all.
            kind, _, rest = item.partition(" ")
            item = f"{kind}: {rest}" if section == "Raises" else item
        else:
            item = f"{names}: {item}"
        made.setdefault(section, []).append(f"    {item}")
    return "\n\n".join(f"{section}:\n" + "\n".join(items) for section, items in made.items())


def section_of(names: str, obj: Object) -> str | None:
    if names in SECTIONS:
        return SECTIONS[names]
    each = names.split(", ")
    if all(name in arguments(obj) for name in each) and not is_dataclass(obj):
        return "Args"
    if isinstance(obj, Class) and all(name in obj.all_members for name in each):
        return "Attributes"
    return None


def is_dataclass(obj: Object) -> bool:
    return any("dataclass" in str(each.value) for each in getattr(obj, "decorators", ()))


def arguments(obj: Object) -> set[str]:
    if isinstance(obj, Class):
        members = obj.all_members.items()
        called = [m for name, m in members if name in ("__init__", "__call__") and m.is_function]
        fields = {name for name, member in members if member.is_attribute}
        return set().union(*map(arguments, called), fields if is_dataclass(obj) else ())
    return {p.name.lstrip("*") for p in obj.parameters} if isinstance(obj, Function) else set()


def columns(paragraph: str) -> str:
    """Lines of ``  word  text`` as a list."""
    lines, inside = [], False
    for line in paragraph.split("\n"):
        row = COLUMNS.fullmatch(line)
        if row:
            lines += [] if inside or not lines else [""]
            lines.append(f"* **{row[1]}**: {row[2]}")
        elif inside and line.startswith("   "):
            lines.append(f"    {line.strip()}")
        else:
            lines.append(line)
            inside = False
            continue
        inside = True
    return "\n".join(lines)


def check_names(paragraphs: list[str], obj: Object) -> None:
    for text in ARGUMENTS.findall("\n\n".join(paragraphs)):
        for line in text.splitlines():
            entry = ENTRY.fullmatch(line[4:])
            for name in entry[1].split(", ") if entry else ():
                if name not in arguments(obj) and name != "others":
                    logger.warning("%s: there is no argument `%s`", obj.path, name)
