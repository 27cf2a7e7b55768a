"""`pip install .`: a wheel of the flat layout, and commands that are the scripts."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import options

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "gc-compress": "compress.py",
    "gc-train": "train.py",
    "gc-train-supernet": "train_supernet.py",
    "gc-distill": "distill.py",
    "gc-search": "evolution_search.py",
    "gc-search-all": "search.py",
    "gc-assemble": "assemble.py",
    "gc-export": "export.py",
    "gc-test": "test.py",
    "gc-latency": "latency.py",
    "gc-real-stat": "get_real_stat.py",
    "gc-remove-spectral-norm": "remove_spectral_norm.py",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that the wheel of a copy of the sources is installed into."""
    # Not by `importlib.util.find_spec`: looking for pip turns setuptools' distutils off for good,
    # which torch.compile needs later in the same process.
    there = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    if not {"pip", "setuptools"} <= there:
        pytest.skip("needs pip and setuptools")
    folder = tmp_path_factory.mktemp("install")
    sources, target = folder / "sources", folder / "target"
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    if len(names) < 2:
        pytest.skip("needs the git checkout, to build from its files alone")
    for name in names:
        if name.endswith((".py", ".css", ".js", ".toml", ".txt", ".md", "LICENSE")):
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy(ROOT / name, sources / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    done = subprocess.run([*pip, *flags, str(sources)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(installed: Path, command: str, *args: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, installed / "bin" / command, *map(str, args)],
        env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        cwd=installed.parent,
        capture_output=True,
        text=True,
    )


def test_every_script_is_a_command():
    declared = re.findall(
        r'^(gc-[a-z-]+) = "gc_commands:', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert declared == list(COMMANDS)
    assert set(COMMANDS.values()) == {"compress.py", *options.SCRIPTS}


def test_every_room_is_packed():
    """A new folder with an ``__init__.py`` must be listed."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = set(re.findall(r'"([a-z.]+)"', text[text.index("\npackages = [") :].split("]")[0]))
    folders = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/__init__.py")}
    folders |= {path.parent.relative_to(ROOT) for path in ROOT.glob("*/*/__init__.py")}
    rooms = {
        ".".join(f.parts) for f in folders if f.parts[0] not in ("tests", "benchmarks", ".venv")
    }
    assert rooms == listed


def test_an_installed_command_is_its_script(installed, dataset):
    """Help, a plan and real work, away from the sources; `gc-test` is not Python's own
    test."""
    shown = run(installed, "gc-test", "--help")
    assert shown.returncode == 0 and shown.stdout.startswith("usage: test.py ")
    plan = ("--dataroot", dataset, "--preset", "quick", "--target", "8x", "--output_dir", "o")
    script = run(installed, "gc-compress", *plan, "--dry_run")
    assert script.returncode == 0, script.stderr
    assert f"cd {installed}" in script.stdout and "python train_supernet.py " in script.stdout
    output = installed.parent / "real.npz"
    flags = ("--fid_features", "random", "--fid_dims", 64, "--gpu_ids", -1, "--num_threads", 1)
    done = run(installed, "gc-real-stat", "--dataroot", dataset, "--output_path", output, *flags)
    assert done.returncode == 0, done.stderr
    assert output.is_file()


def test_the_constraints_meet_the_requirements():
    """One version for every direct dependency, at or above its lower bound."""

    def versions(name: str, sign: str) -> dict[str, tuple[int, ...]]:
        found = re.findall(rf"^([a-z-]+){sign}([\d.]+)$", (ROOT / name).read_text(), re.M)
        return {package: tuple(map(int, version.split("."))) for package, version in found}

    bounds = {}
    for name in ("", "-deploy", "-convert", "-docs", "-dev"):
        name = f"requirements{name}.txt"
        bounds |= versions(name, ">=") | versions(name, "==")
    pinned = versions("constraints.txt", "==")
    assert set(pinned) == set(bounds) and len(pinned) > 10
    assert all(pinned[package] >= bounds[package] for package in bounds)
