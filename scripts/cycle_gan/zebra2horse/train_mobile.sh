#!/usr/bin/env bash
# Train the mobile teachers of both directions.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
train_mobile "$@"
