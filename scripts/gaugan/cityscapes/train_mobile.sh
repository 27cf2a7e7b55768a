#!/usr/bin/env bash
# Train the mobile teacher.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
train_mobile "$@"
