# Shared by all scripts: where things are, and one way to run a stage. Sourced, not run.
set -euo pipefail
# If standard output or error is closed (2>&-), send it to /dev/null: a failed write must not end a
# script. Bash may have opened the running script under the closed number.
[ ! /dev/fd/2 -ef "$0" ] && [ -e /dev/fd/2 ] || exec 2>/dev/null
[ ! /dev/fd/1 -ef "$0" ] && [ -e /dev/fd/1 ] || exec >/dev/null
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

# die MESSAGE: what is wrong and what to do, in one line; exit code 2.
die() {
  echo "error: $*" >&2
  exit 2
}

# need_bash: what follows is not understood by the bash 3 of macOS.
need_bash() {
  [ $((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1])) -ge 404 ] ||
    die "this script needs bash 4.4 or newer, this is $BASH_VERSION (macOS: brew install bash)"
}

# asks_for_help ARGUMENT...: whether one of them is --help or -h.
asks_for_help() {
  local argument
  for argument in "$@"; do
    case "$argument" in -h | --help) return 0 ;; esac
  done
  return 1
}

# header FILE: the comment at the top of a script, which is its help.
header() {
  awk 'NR == 1 && /^#!/ { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$1"
}

# PYTHON where it is given, else the project's own environment when setup.sh has made one, else
# whatever Python is active.
GIVEN_PYTHON="${PYTHON:-}"
find_python() {
  PYTHON="$GIVEN_PYTHON"
  [ -n "$PYTHON" ] || PYTHON="$ROOT/.venv/bin/python"
  [ -n "$GIVEN_PYTHON" ] || [ -x "$PYTHON" ] || PYTHON=python3
}
find_python

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

# same_settings FILE SETTINGS WHAT: die where FILE says that WHAT was made with others.
same_settings() {
  local had
  [ -s "$1" ] || return 0
  had="$(cat "$1")"
  [ "$had" = "$2" ] ||
    die "$3 was made with $had, not with $2: give the same, give another OUT, or remove $3"
}

# write_settings FILE SETTINGS: write them down for `same_settings`.
write_settings() {
  [ -n "${DRY_RUN:-}" ] && return
  mkdir -p "$(dirname "$1")"
  echo "$2" >"$1.part"
  mv "$1.part" "$1"
}

# best_of CHECKPOINTS: the best generator of a run, or the latest where none was measured.
best_of() {
  if [ -e "$1/best_net_G.pth" ]; then echo "$1/best_net_G.pth"; else echo "$1/latest_net_G.pth"; fi
}

# beside G KIND: the start of the path of the same run's D or A, e.g. best_net_G.pth -> best_net_D,
# of a CycleGAN latest_net_G_A.pth -> latest_net_D_A.
beside() {
  local side=
  case "$1" in *_net_G_A.pth) side=_A ;; *_net_G_B.pth) side=_B ;; esac
  echo "${1%_net_G$side.pth}_net_$2$side"
}

# config_of SEARCH_FOLDER: the configuration that a search chose. DRY_RUN=1 without a search: any.
config_of() {
  if [ -n "${DRY_RUN:-}" ] && [ ! -e "$1/summary.json" ]; then
    echo 32_32_32_32_32_32_16_16
    return
  fi
  "$PYTHON" -c \
    'import json, sys; print(json.load(open(sys.argv[1]))["best"][0]["config_str"])' \
    "$1/summary.json"
}
