#!/usr/bin/env bash
# Cut one subnet out: bash export.sh CONFIG [FLAG...]
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
export_subnet "$@"
