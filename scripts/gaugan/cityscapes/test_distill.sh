#!/usr/bin/env bash
# Test the pre-distilled student.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
test_distill "$@"
