#!/usr/bin/env bash
# Test one subnet inside the supernet: bash test_supernet.sh CONFIG [FLAG...]
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
test_supernet "$@"
