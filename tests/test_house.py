"""The order of the rooms, checked in the source: who may import whom, and where flags end."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A room may import the rooms below it, and its own files.
ORDER = [
    ("errors",),
    ("runtime",),
    ("models", "data"),
    ("metrics", "prepare"),
    ("deploy",),
    ("evaluation",),
    ("subnets",),
    ("training",),
    ("report",),
    ("options",),
    ("pipeline",),
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
# Rooms of one level that may know each other's names.
ALLOWED_PEERS = {("metrics", "prepare"), ("prepare", "metrics")}


def python_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [Path(name) for name in listed.stdout.split("\n") if name]
    return [f for f in files if f.parts[0] in LEVEL and (ROOT / f).is_file()]


def imported_rooms(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, room) of all imports, but for those of a ``__main__`` block: that is an entry
    point."""
    found = []
    todo: list[ast.AST] = [n for n in tree.body if not _is_main_block(n)]
    while todo:
        node = todo.pop()
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        found += [(node.lineno, name.split(".")[0]) for name in names]
        todo += list(ast.iter_child_nodes(node))
    return found


def _is_main_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)


FILES = python_files() if (ROOT / ".git").exists() else []
pytestmark = pytest.mark.skipif(not FILES, reason="needs the repository's list of files")


def test_imports_run_one_way():
    wrong = []
    for file in FILES:
        room = file.parts[0]
        for line, other in imported_rooms(ast.parse((ROOT / file).read_text())):
            if other not in LEVEL or other == room or (room, other) in ALLOWED_PEERS:
                continue
            if LEVEL[other] >= LEVEL[room]:
                wrong.append(f"{file}:{line} imports {other}")
    assert not wrong


# Copied to other devices, where it runs alone.
STANDALONE = Path("deploy/device_times.py")


def test_flags_end_in_the_options():
    wrong = []
    for file in FILES:
        if file.parts[0] == "options" or file == STANDALONE:
            continue
        tree = ast.parse((ROOT / file).read_text())
        wrong += [
            f"{file}:{n} imports argparse" for n, m in imported_rooms(tree) if m == "argparse"
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "explicit":
                wrong.append(f"{file}:{node.lineno} asks whether a flag was typed")
            if isinstance(node, ast.FunctionDef) and "opt" in {a.arg for a in node.args.args}:
                wrong.append(f"{file}:{node.lineno} {node.name} takes opt")
    assert not wrong


def test_only_settings_and_checks_read_what_was_typed():
    readers = [f for f in FILES if ".explicit" in (ROOT / f).read_text()]
    assert {str(f) for f in readers} <= {
        "options/__init__.py",
        "options/settings.py",
        "options/test_settings.py",
        "options/no_effect.py",
    }


def test_documents_fit_the_page():
    """Tables too: who reads them in a terminal or an editor has a hundred columns."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    wide = [
        f"{page.name}:{number}"
        for page in pages
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 100
    ]
    assert not wide


LINK = re.compile(r"\]\(([^)\s]+)\)")
EXTERNAL = re.compile(r"https?://[\w-]+(\.[\w-]+)+(/[\w./~%?=&#+-]*)?")


def heading_anchors(file: Path) -> list[str]:
    """As GitHub makes them, and the site's settings in mkdocs.yml."""
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    titles = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    return [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


def test_links_between_documents_lead_somewhere():
    broken = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if target.startswith("http"):
                # Other hosts are not asked.
                if not EXTERNAL.fullmatch(target):
                    broken.append(f"{page.name}: {target}")
                continue
            path, _, heading = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            known = heading_anchors(file) if file.suffix == ".md" and file.exists() else []
            if not file.exists() or (heading and heading not in known):
                broken.append(f"{page.name}: {target}")
    assert not broken
