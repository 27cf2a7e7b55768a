#!/usr/bin/env bash
# Set up and run everything that CI runs: lint, format, tests.
#   bash scripts/test.sh [ARGUMENT...]      arguments go to pytest, e.g. -x tests/models -k config
# The whole suite runs in one process per core (8 at most). Named files and folders run in a single
# process; give -n 2 for two.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if asks_for_help "$@"; then
  header scripts/test.sh
  exit 0
fi
bash scripts/setup.sh dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
processes=(-n auto --maxprocesses 8)
for argument in "$@"; do
  [ ! -e "${argument%%::*}" ] || processes=()
done
exec .venv/bin/python -m pytest ${processes[@]+"${processes[@]}"} --dist loadfile --no-loadscope-reorder "$@"
