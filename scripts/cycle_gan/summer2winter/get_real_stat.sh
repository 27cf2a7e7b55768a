#!/usr/bin/env bash
# Statistics of the real images of each side, those of train and val together, as stored.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
get_real_stat "$@"
