#!/usr/bin/env bash
# Make .venv and install what the product needs, and more where it is asked for. Quick when it is
# already there.
#   bash scripts/setup.sh        the product
#   bash scripts/setup.sh web    and what its web page is made with; needs npm
#   bash scripts/setup.sh dev    and what its tests need
#   bash scripts/setup.sh docs   only what the documentation site is built with
# PYTHON=/path/to/python3: the Python that .venv is made with (python3); 3.10 or newer.
python="${PYTHON:-python3}"
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if asks_for_help "$@"; then
  header scripts/setup.sh
  exit 0
fi
[ $# -le 1 ] || die "setup.sh takes one argument at most, got $# (--help)"
what="${1:-}"
# Each file of requirements includes the smaller ones. The first one here is wanted; any will do.
case "$what" in
  dev) enough=(requirements-dev.txt) ;;
  docs) enough=(requirements-docs.txt requirements-dev.txt) ;;
  web) enough=(requirements-deploy.txt requirements-dev.txt) ;;
  '') enough=(requirements.txt requirements-deploy.txt requirements-dev.txt) ;;
  *) die "setup.sh knows web, dev and docs, not $what (--help)" ;;
esac

command -v "$python" >/dev/null || die "PYTHON $python: no such program; set it to a python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  die "$python is $("$python" --version 2>&1); Python 3.10 or newer is needed" \
    "(set PYTHON=/path/to/python3)"
has_pip() { .venv/bin/python -m pip --version >/dev/null 2>&1; }
[ -x .venv/bin/python ] || "$python" -m venv .venv || true
# Some tools make environments without pip, and so does an interrupted venv.
has_pip || .venv/bin/python -m ensurepip --upgrade >/dev/null 2>&1 || true
has_pip || die ".venv has no pip and cannot get it: remove the folder .venv, install Python's" \
  "venv (Debian: apt install python3-venv), and run this again"

# Installed once per change of the requirements.
installed() {
  local name
  for name in "${enough[@]}"; do
    cmp -s <(cat requirements*.txt) ".venv/.installed-$name" && return
  done
  return 1
}
if ! installed; then
  size=" (PyTorch is large: a few minutes on a slow line)"
  [ "$what" != docs ] || size=
  echo "installing ${enough[0]} into .venv$size"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "${enough[0]}"
  cat requirements*.txt >".venv/.installed-${enough[0]}"
fi

# The browser's ONNX Runtime, for the web page; once per change of the lock file.
install_npm() {
  local stamp=web/node_modules/.installed-lock
  cmp -s web/package-lock.json "$stamp" && return
  echo "installing ONNX Runtime for browsers into web/node_modules (150 MB; the page takes 41)"
  npm ci --prefix web --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null &&
    cp web/package-lock.json "$stamp"
}

# A browser to test the page in, where this machine lets us: as root, with apt.
install_browser() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null && return
  done
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "installing Chromium, to test the web page in"
  { apt-get -qq update &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium
  } >/dev/null 2>&1
}

if [ "$what" = web ]; then
  command -v npm >/dev/null ||
    die "npm is not installed; the web page needs Node.js 18 or newer: https://nodejs.org"
  install_npm || die "npm ci --prefix web failed, see above; is the network there?"
elif [ "$what" = dev ]; then
  # Without these the tests of the web page are skipped, and say so.
  { command -v npm >/dev/null && install_npm; } ||
    echo "note: no ONNX Runtime for browsers (needs npm): the web page is not tested"
  install_browser || echo "note: no Chromium: the web page is not tested in a browser"
fi
