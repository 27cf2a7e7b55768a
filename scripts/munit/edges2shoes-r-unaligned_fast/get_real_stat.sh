#!/usr/bin/env bash
# Statistics of the real validation images, as stored.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
get_real_stat "$@"
