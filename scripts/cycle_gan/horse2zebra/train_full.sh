#!/usr/bin/env bash
# Train the original generators of both directions (resnet_9blocks).
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
train_full "$@"
