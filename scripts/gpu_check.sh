#!/usr/bin/env bash
# Check this machine's GPU: golden parity, speed, and a short pipeline on A|B pairs. About 8 minutes
# on one GPU.
#   bash scripts/gpu_check.sh DATAROOT [--output DIR] [--direction BtoA] [--fid_weights PTH]
# DATAROOT holds <phase>/*.jpg for the phases train and val. Figures: <output>/gpu_check.json. Uses
# .venv where there is one, else the active python, or PYTHON. --help lists all flags.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
exec "$PYTHON" scripts/gpu_check.py "$@"
