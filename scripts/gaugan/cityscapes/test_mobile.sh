#!/usr/bin/env bash
# Test the mobile teacher.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
test_mobile "$@"
