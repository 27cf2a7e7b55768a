#!/usr/bin/env bash
# Train the once-for-all student.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
train_supernet "$@"
