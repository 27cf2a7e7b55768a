#!/usr/bin/env bash
# Train the original generator (spade), and take spectral norm out.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
train_full "$@"
