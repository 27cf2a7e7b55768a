#!/usr/bin/env bash
# Measure the speed of the exported student.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
latency_student "$@"
