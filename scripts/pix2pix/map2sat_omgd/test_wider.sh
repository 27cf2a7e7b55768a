#!/usr/bin/env bash
# Test the wider teacher.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
test_wider "$@"
