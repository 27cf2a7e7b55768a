#!/usr/bin/env bash
# Build the documentation site into site/, strictly: a broken link, an anchor that is not there or a
# page outside the navigation ends it. site/index.html opens from disk; any static host can serve
# site/. Needs no PyTorch. More arguments go to MkDocs.
#   bash scripts/docs.sh                    build
#   bash scripts/docs.sh --serve [PORT]     show at http://localhost:8000, follow changes
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if asks_for_help "$@"; then
  header scripts/docs.sh
  exit 0
fi
port=8000 serve=
if [ "${1:-}" = --serve ]; then
  serve=1
  shift
  case "${1:-}" in
    '' | -*) ;;
    *[!0-9]*) die "--serve takes a port, not $1 (--help)" ;;
    *) port=$1 && shift ;;
  esac
fi
bash scripts/setup.sh docs
# Its notes on other tools.
export NO_MKDOCS_2_WARNING=1
[ -z "$serve" ] || exec .venv/bin/python -m mkdocs serve --livereload -a "localhost:$port" "$@"
.venv/bin/python -m mkdocs --quiet build --strict "$@"
echo "site/index.html"
