#!/usr/bin/env bash
# Train the student and its two teachers, a wider and a deeper one, at once.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
train_online "$@"
