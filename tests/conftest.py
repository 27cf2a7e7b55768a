"""Settings of all tests. Being here also makes ``golden_values`` importable from the folders
below."""

import gc
import os

# Before NumPy starts its threads. Tests run side by side, one on each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from chromium import REASON, find_browser, launched
from fork_server import ForkServer, begin
from hypothesis import settings
from processes import ENVIRONMENT, ROOT, Outcome, command

# Small networks gain nothing from threads, and results must not depend on how many cores a machine
# has.
torch.set_num_threads(1)

# Imports leave half a million objects, and looking through them for cycles of references as often
# as Python does took a twentieth of the time of some tests.
gc.set_threshold(50_000, 20, 100)

settings.register_profile("tests", deadline=None, max_examples=20, database=None, derandomize=True)
settings.register_profile("hunt", deadline=None, max_examples=100, database=None)
settings.load_profile("tests")

# Files that take longest, slowest first: begun last, one would keep a single core busy at the end.
SLOWEST = ("test_pipeline", "test_compress", "test_pretended_gpu", "test_web_demo")
SLOWEST += ("test_export_formats", "test_trainer", "test_distributed", "test_recipes")
SLOWEST += ("test_deploy", "test_training_modes", "test_bad_input", "test_study")
SLOWEST += ("test_unpaired_teachers", "test_unet_scripts", "test_unet", "test_entry")
SLOWEST += ("test_tutorial", "test_install", "test_street_scenes", "test_builtin", "test_online")
SLOWEST += ("test_unaligned", "test_cuda_graphs", "test_predictor", "test_channels")
SLOWEST += ("test_templates", "test_munit_scripts", "test_search_by_time", "test_styled_export")
SLOWEST += ("test_int8", "test_spade", "test_pages_in_browser")
SLOWEST += ("test_search_modes", "test_supernet", "test_arrange", "test_typed_space")


# The folder of the fork server that test processes share.
SHARED = pytest.StashKey[Path]()


def pytest_collection_modifyitems(items):
    """Slow files first. With ``--no-loadscope-reorder`` test processes take files in this order."""
    rank = {name: number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Test processes that run side by side have one fork server: it imports everything once."""
    if SHARED not in node.config.stash:
        folder = Path(tempfile.mkdtemp())
        server = begin(folder, ENVIRONMENT)
        node.config.stash[SHARED] = folder
        node.config.add_cleanup(lambda: (server.communicate(), shutil.rmtree(folder)))
    node.workerinput["fork_server"] = str(node.config.stash[SHARED])


@pytest.fixture(scope="session")
def fork_server(request, tmp_path_factory) -> Iterator[ForkServer]:
    if hasattr(request.config, "workerinput"):
        yield ForkServer(Path(request.config.workerinput["fork_server"]))
        return
    folder = tmp_path_factory.mktemp("fork")
    server = begin(folder, ENVIRONMENT)
    yield ForkServer(folder)
    server.communicate()


@pytest.fixture(scope="session")
def cli(fork_server) -> Callable[..., Outcome]:
    """``cli(script, *args)``: run a script in a process of its own and wait for its end."""

    def run(script: str, *args: object, timeout: float = 120) -> Outcome:
        start = time.monotonic()
        process = fork_server.start(command(script, *args), cwd=str(ROOT), env=ENVIRONMENT)
        try:
            out, err = process.communicate(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Outcome(process.returncode, out, err, time.monotonic() - start)

    return run


@pytest.fixture(scope="module")
def converted_once() -> Iterator[None]:
    """Each network becomes an ONNX graph once for all tests of a file, which takes seconds. Its
    file is written, read and compared every time."""
    import deploy.onnx

    made, convert = {}, deploy.onnx.onnx_program

    def program(net):
        # Dropout is off in a graph.
        layers = [line for line in str(net).splitlines() if "Dropout" not in line]
        sums = [float(value.double().sum()) for value in net.state_dict().values()]
        key = str((layers, sums))
        if key not in made:
            made[key] = convert(net)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deploy.onnx, "onnx_program", program)
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """playwright's browser; without one the test is skipped."""
    path = find_browser()
    if path is None:
        pytest.skip(REASON)
    with launched(path) as browser:
        yield browser


def pytest_terminal_summary(terminalreporter):
    """Say at the end that the CUDA path was not tested, which one letter among dots does not."""
    reasons = {
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and "fake GPU cannot be built" in report.longrepr[2]
    }
    for reason in reasons:
        terminalreporter.write_line(f"The CUDA path was NOT tested: {reason}")
