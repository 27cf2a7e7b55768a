#!/usr/bin/env bash
# A static folder that runs a compressed generator inside the browser: draw, and see its output
# live. Without MODEL, that of demo.sh.
#   bash scripts/web_demo.sh [MODEL.onnx] [--teacher TEACHER.onnx] [--serve [PORT]] ...
# OUT=DIR or --output DIR: where to (results/web_demo). All flags, once .venv is there:
# .venv/bin/python scripts/make_web_demo.py --help
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if asks_for_help "$@"; then
  header scripts/web_demo.sh
  exit 0
fi
bash scripts/setup.sh web
exec .venv/bin/python scripts/make_web_demo.py --output "${OUT:-results/web_demo}" "$@"
