#!/usr/bin/env bash
# All stages in order, each skipped when its result is there.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
run_all "$@"
