#!/usr/bin/env bash
# Search by brute force: every subnet within BUDGET.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
search "$@"
