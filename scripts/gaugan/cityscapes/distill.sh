#!/usr/bin/env bash
# Pre-distil the student that the supernet starts from.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
distill "$@"
