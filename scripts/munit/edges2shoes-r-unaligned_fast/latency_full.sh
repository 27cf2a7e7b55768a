#!/usr/bin/env bash
# Measure the speed of the original generator.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
latency_full "$@"
