#!/usr/bin/env bash
# Test the original generator.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
test_full "$@"
