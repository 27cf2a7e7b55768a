#!/usr/bin/env bash
# Train the original generator (resnet_9blocks).
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
train_full "$@"
