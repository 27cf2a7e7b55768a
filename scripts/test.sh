#!/usr/bin/env bash
# Set up and run everything that CI runs: lint, format, tests.
#   bash scripts/test.sh [ARGUMENT...]      arguments go to pytest, e.g. -x tests/models -k config
# One test process on each core (8 at most); -n 0 runs all tests in one.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if asks_for_help "$@"; then
  header scripts/test.sh
  exit 0
fi
bash scripts/setup.sh dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
exec .venv/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile "$@"
