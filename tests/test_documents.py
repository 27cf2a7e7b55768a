"""README, CONTRIBUTING and docs/: the commands and examples that they show are known to the code.

Blocks of shell commands are run by a bash that has no programs: every command of theirs is recorded
instead of started. So variables and loops mean what they mean to the reader.
"""

import ast
import contextlib
import importlib
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import gan_compression
import options

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PARSERS = {**options.SCRIPTS, "compress.py": options.CompressOptions}
# Scripts that do two things: the flag that asks for the second.
SECOND = {"latency.py": ("--make_table", options.TableOptions)}
SECOND |= {"search.py": ("--select", options.SelectOptions)}
# What readers fill in, where a script would refuse the word.
PLACEHOLDERS = {"CONFIG": "16_16_32_16_16_64_16_24"}
# What is not ours, and is not looked into.
OTHERS = {"cp", "jupyter", "scp", "ssh", "trtexec", "unzip"}
RECORDED = r"""
command_not_found_handle() { printf '%s\0' "$#" "$@" >>"$RECORDS"; }
source() { [ -e "$ROOT/$1" ] || [ "$1" = .venv/bin/activate ]; }
"""


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(page: Path, folder: Path) -> list[list[str]]:
    """The words of every command in the page's shell blocks, in order."""
    records = folder / f"{page.stem}.records"
    records.touch()
    script = RECORDED + "\n".join(blocks(page, "bash"))
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        env={"PATH": str(folder), "RECORDS": str(records), "ROOT": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert not done.stderr, done.stderr
    words = records.read_text().split("\0")[:-1]
    found = []
    while words:
        count = int(words[0])
        found.append(words[1 : count + 1])
        words = words[count + 1 :]
    return found


def flags_of(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if word.startswith("--")]


class Checker:
    """Says what is wrong with a command, None if nothing is."""

    def __init__(self, cli):
        self.cli, self.helps = cli, {}

    def wrong(self, words: list[str]) -> str | None:
        program, *rest = words
        if program == "torchrun":
            first = next(n for n, word in enumerate(rest) if word.endswith(".py"))
            program, rest = "python", rest[first:]
        if program == "python":
            return self.wrong_python(rest)
        if program == "bash":
            return self.wrong_shell(*rest)
        if program == "pip":
            missing = [w for w in rest if w.endswith(".txt") and not (ROOT / w).is_file()]
            return f"no file {missing[0]}" if missing else None
        return None if program in OTHERS else f"unknown program {program}"

    def wrong_python(self, words: list[str]) -> str | None:
        if words[0] == "-m":
            script, words = words[1], words[2:]
            if script == "http.server":
                return None
            if not (ROOT / f"{script.replace('.', '/')}.py").is_file():
                return f"no module {script}"
        else:
            script, *words = words
            if not (ROOT / script).is_file():
                return f"no script {script}"
        if script in PARSERS and "..." not in words:
            parser, said = PARSERS[script], io.StringIO()
            if script in SECOND and SECOND[script][0] in words:
                parser = SECOND[script][1]
            words = [PLACEHOLDERS.get(word, word) for word in words]
            try:
                with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                    parser.parse(words)
            except SystemExit as end:
                return said.getvalue() if end.code else None
            return None
        if script not in self.helps:
            self.helps[script] = self.cli(script, "--help").succeeded().stdout
        known = set(re.findall(r"--[\w-]+", self.helps[script]))
        unknown = [flag for flag in flags_of(words) if flag not in known]
        return f"{script} has no {unknown[0]}" if unknown else None

    def wrong_shell(self, script: str, *words: str) -> str | None:
        if not (ROOT / script).is_file():
            return f"no script {script}"
        text = (ROOT / script).read_text()
        # It may hand its flags to a script of Python.
        text += "".join((ROOT / s).read_text() for s in re.findall(r"scripts/\w+\.py", text))
        known = set(re.findall(r"--[\w-]+", text))
        unknown = [flag for flag in flags_of(words) if flag not in known]
        return f"{script} has no {unknown[0]}" if unknown else None


@pytest.fixture(scope="module")
def checker(cli):
    return Checker(cli)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_known(page, checker, tmp_path):
    shown = commands(page, tmp_path)
    wrong = [f"{' '.join(words)}: {said}" for words in shown if (said := checker.wrong(words))]
    assert not wrong, "\n".join(wrong)


def test_the_check_finds_mistakes(checker, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\n"
        'DATA="--dataroot D --direction BtoA"\n'
        "python train.py $DATA --netG resnet_9blocks --log_dirr x\n"
        "python train.py --netG resnet_9blocks\n"
        "torchrun --nproc_per_node 2 train_supernet.py ... --budgett 3\n"
        "python scripts/make_splits.py D\n"
        "python scripts/make_split.py D --counts 3  # --counts is none\n"
        "python -m metrics.fidd A B\n"
        "for way in fast slow; do bash scripts/pix2pix/map2sat_$way/run.sh; done\n"
        "bash scripts/demo.sh --sized 3\n"
        "pyton train.py $DATA\n"
        "python train.py $DATA \\\n  --log_dir x\n"
        "```\n"
    )
    shown = commands(page, tmp_path)
    assert len(shown) == 11 and shown[-1][-2:] == ["--log_dir", "x"]
    wrong = [checker.wrong(words) for words in shown]
    said = ["did you mean --log_dir", "--dataroot", "--budgett", "make_splits.py", "--counts"]
    said += ["metrics.fidd", None, "map2sat_slow/run.sh", "--sized", "pyton", None]
    for found, expected in zip(wrong, said, strict=True):
        assert found is None if expected is None else expected in found


def test_every_page_with_commands_is_read(tmp_path):
    assert sum(bool(commands(page, tmp_path)) for page in PAGES) >= 9


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_scripts_that_the_text_names_are_there(page):
    """Such as `python benchmarks/cost.py` between the lines; the blocks are checked above."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    named = re.findall(r"`(?:bash|python)\s+([\w./-]+\.(?:sh|py))\b", text)
    assert [script for script in named if not (ROOT / script).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_in_python_use_what_is_there(page):
    """Their syntax, and the names that they take from this project. Examples that can run are run
    by tests of their own."""
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (ROOT / node.module.split(".")[0]).is_dir():
                if node.module == "models.plain":  # the example of extending.md
                    continue
                module = importlib.import_module(node.module)
                assert all(hasattr(module, each.name) for each in node.names), node.module
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "gc":
                assert node.attr in gan_compression.__all__, node.attr


# --------------------------------------------------------------------------------------------------
# The site


def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    """Every page, link and anchor; no script, style, font or image of another host."""
    pytest.importorskip("mkdocs", reason="the site needs MkDocs: bash scripts/setup.sh dev")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    names = {str(page.relative_to(tmp_path / "site")) for page in pages}
    assert {"index.html", "compress.html", "tour.html", "api/gan_compression.html"} <= names
    loaded = re.compile(
        r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?([^\"'> ]+)"
    )
    for page in pages:
        for address in loaded.findall(page.read_text(encoding="utf-8")):
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"
            if address.startswith(("data:", "#")) or page.name == "404.html":
                continue
            assert (page.parent / address.split("?")[0].split("#")[0]).exists(), address
    assert (
        'id="gan_compression.compress"' in (tmp_path / "site/api/gan_compression.html").read_text()
    )


def test_a_wrong_port_is_named():
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "docs.sh", "--serve", "80a"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "80a" in done.stderr and "--help" in done.stderr


def test_badges_are_true():
    """Drawn again, they are the same: what they speak of has not changed."""
    drawing = runpy.run_path(str(ROOT / "scripts" / "draw_badges.py"))
    drawn = {f"badge_{name}.svg": drawing["svg"](*b) for name, b in drawing["badges"]().items()}
    folder = ROOT / "docs" / "figures"
    assert {path.name: path.read_text() for path in folder.glob("badge_*.svg")} == drawn
    shown = set(re.findall(r"docs/figures/(badge_\w+\.svg)", (ROOT / "README.md").read_text()))
    assert shown == set(drawn)
