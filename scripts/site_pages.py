"""A hook of MkDocs: what the site shows beside the files of docs/.

* README.md is the start page, CONTRIBUTING.md a page, and docs/tour.ipynb one too.
* The API has a page for `gan_compression.py` and one for each room, made from the docstrings.
* Pages link to files as on GitHub. Here links to Markdown lead to its page; any other file of the
  repository is copied into the site.
"""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
# Page -> the file of the repository that it is made from.
SOURCES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md"}
SOURCES |= {"tour.md": "docs/tour.ipynb"}
PAGES = {source: page for page, source in SOURCES.items()}
# A search shows the guides before the API.
LATER = "---\nsearch:\n  boost: 0.5\n---\n"
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files, config):
    made = {"index.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    made["contributing.md"] = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    made["tour.md"] = notebook(ROOT / "docs" / "tour.ipynb")
    made |= {path: LATER + text for path, text in api_pages().items()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri
    if here.startswith("api/"):
        return markdown
    source = SOURCES.get(here, f"docs/{here}")
    folder = posixpath.dirname(source)

    def follow(match):
        start, path, anchor, end = match.groups()
        target = posixpath.normpath(posixpath.join(folder, path))
        if ":" in path or target == source or not (ROOT / target).is_file():
            return match[0]
        uri = PAGES.get(target) or target.removeprefix("docs/")
        if not files.get_file_from_path(uri):
            # Text, so that a browser shows it.
            uri = f"files/{target}.txt"
            if not files.get_file_from_path(uri):
                text = (ROOT / target).read_text(encoding="utf-8")
                files.append(File.generated(config, uri, content=text))
        return f"{start}{uri}{anchor or ''}{end}"

    return LINK.sub(follow, markdown)


def notebook(path: Path) -> str:
    """The cells of a notebook as Markdown, without outputs, and a link to the notebook."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    title, *rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n[As a notebook]({path.name})\n" + "".join(rest)


# --------------------------------------------------------------------------------------------------
# The API


def api_pages() -> dict[str, str]:
    """Path of a page -> its text: the Python API, and a page for each room of the map."""
    pages = {
        "api/gan_compression.md": "# From Python: gan_compression\n\n::: gan_compression\n",
    }
    rows = ["| | |", "|---|---|"]
    rows.append("| [gan_compression](gan_compression.md) | the Python API, in ten names |")
    for room, said in rooms().items():
        pages[f"api/{room}.md"] = f"# {room}\n\n{said[0].upper()}{said[1:]}.\n\n" + "\n".join(
            f"::: {module}\n" for module in modules(room)
        )
        rows.append(f"| [{room}]({room}.md) | {said} |")
    pages["api/index.md"] = (
        "# API\n\nAll modules, from their docstrings. Names that start with `_` are left out.\n\n"
        + "\n".join(rows)
    )
    return pages


def rooms() -> dict[str, str]:
    """Room -> what happens there, from the map in CONTRIBUTING.md."""
    found = {}
    for line in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines():
        row = re.fullmatch(r"\| (`.*`) \| (.*) \|", line)
        if row:
            names = re.findall(r"`([a-z]+)(?:/|\.py)`", row[1])
            found |= {name: row[2] for name in names if modules(name)}
    return found


def modules(room: str) -> list[str]:
    """The modules of a room that say something of themselves, in alphabetical order."""
    if (ROOT / f"{room}.py").is_file():
        # Entry points are commands.
        return [room] if room == "errors" else []
    paths = sorted((ROOT / room).rglob("*.py"))
    said = [p for p in paths if p.read_text(encoding="utf-8").lstrip().startswith('"""')]
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in said]
    return [name.removesuffix(".__init__") for name in names]
