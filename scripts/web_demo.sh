#!/usr/bin/env bash
# A static folder that runs compressed generators inside the browser: draw, and see their output
# live.
#   bash scripts/web_demo.sh [--serve [PORT]]             the networks of zoo/, ready at once
#   bash scripts/web_demo.sh --demo [DIR]                 those that demo.sh trained
#   bash scripts/web_demo.sh MODEL.onnx [--teacher TEACHER.onnx] ...   yours
# OUT=DIR or --output DIR: where to (results/web_demo). All flags, once .venv is there:
# .venv/bin/python scripts/make_web_demo.py --help
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if asks_for_help "$@"; then
  header scripts/web_demo.sh
  exit 0
fi
bash scripts/setup.sh web
exec .venv/bin/python scripts/make_web_demo.py --output "${OUT:-results/web_demo}" "$@"
