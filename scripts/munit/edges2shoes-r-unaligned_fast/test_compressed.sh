#!/usr/bin/env bash
# Test the exported subnet: bash test_compressed.sh CONFIG [FLAG...]
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
test_compressed "$@"
