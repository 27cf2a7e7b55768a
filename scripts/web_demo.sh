#!/usr/bin/env bash
# A static folder that runs a compressed generator inside the browser: draw, and see its output live. Without MODEL, that of demo.sh.
#   bash scripts/web_demo.sh [MODEL.onnx] [--teacher TEACHER.onnx] [--serve [PORT]] ...      (--help lists all)
# OUT=DIR or --output DIR: where to (results/web_demo)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh web
exec .venv/bin/python scripts/make_web_demo.py --output "${OUT:-results/web_demo}" "$@"
