#!/usr/bin/env bash
# Genetic search of the best subnet within BUDGET.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
evolution_search "$@"
