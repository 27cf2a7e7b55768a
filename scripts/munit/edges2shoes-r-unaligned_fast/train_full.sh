#!/usr/bin/env bash
# Train the generators of both domains, and assemble the original one of them.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
train_full "$@"
