#!/usr/bin/env bash
# Test the deeper teacher.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
test_deeper "$@"
