"""Settings of all tests. Being here also makes ``golden_values`` importable from the folders
below."""

import os

# Before NumPy starts its threads. Tests run side by side, one on each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings

# Small networks gain nothing from threads, and results must not depend on how many cores a machine
# has.
torch.set_num_threads(1)

settings.register_profile("tests", deadline=None, max_examples=20, database=None, derandomize=True)
settings.register_profile("hunt", deadline=None, max_examples=100, database=None)
settings.load_profile("tests")


def pytest_terminal_summary(terminalreporter):
    """Say at the end that the CUDA path was not tested, which one letter among dots does not."""
    reasons = {
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and "fake GPU cannot be built" in report.longrepr[2]
    }
    for reason in reasons:
        terminalreporter.write_line(f"The CUDA path was NOT tested: {reason}")
