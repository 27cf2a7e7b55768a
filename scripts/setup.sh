#!/usr/bin/env bash
# Make .venv and install what the product needs (setup.sh) and what its tests need too (setup.sh dev). Quick when it is already there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
requirements=requirements.txt
[ "${1:-}" = dev ] && requirements=requirements-dev.txt

python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
  echo "error: $python is $("$python" --version 2>&1); Python 3.10 or newer is needed (set PYTHON=/path/to/python3)" >&2
  exit 2
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv

# Installed once per change of the requirements.
stamp=".venv/.installed-$requirements"
if ! cmp -s <(cat requirements*.txt) "$stamp"; then
  echo "installing $requirements into .venv (PyTorch is large: a few minutes on a slow line)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
  cat requirements*.txt >"$stamp"
fi
