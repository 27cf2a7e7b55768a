# Shared by all scripts: where things are, and one way to run a stage. Sourced, not run.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

# The project's own environment when setup.sh has made one, else whatever Python is active.
if [ -x "$ROOT/.venv/bin/python" ]; then PYTHON="${PYTHON:-$ROOT/.venv/bin/python}"; else PYTHON="${PYTHON:-python3}"; fi

# py SCRIPT FLAG...: run one of our scripts, showing the command. DRY_RUN=1 only shows it.
py() {
  { printf '\n$ python'; printf ' %q' "$@"; printf '\n'; } >&2
  [ -n "${DRY_RUN:-}" ] || "$PYTHON" "$@"
}

# stage NAME RESULT COMMAND...: run a stage unless its result is there.
stage() {
  local name=$1 result=$2
  shift 2
  if [ -e "$result" ]; then
    echo "== $name: done ($result)"
  else
    echo "== $name"
    "$@"
  fi
}

# best_of CHECKPOINTS: the best generator of a run, or the latest where none was measured.
best_of() {
  if [ -e "$1/best_net_G.pth" ]; then echo "$1/best_net_G.pth"; else echo "$1/latest_net_G.pth"; fi
}

# config_of SEARCH_FOLDER: the configuration that a search chose.
config_of() {
  "$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["best"][0]["config_str"])' "$1/summary.json"
}
