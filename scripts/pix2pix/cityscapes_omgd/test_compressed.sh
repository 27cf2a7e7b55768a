#!/usr/bin/env bash
# Test the exported student.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
test_student "$@"
