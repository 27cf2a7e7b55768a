#!/usr/bin/env bash
# Write the student as a file of its own.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
export_student "$@"
