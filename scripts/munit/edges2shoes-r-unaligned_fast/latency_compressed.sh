#!/usr/bin/env bash
# Measure the speed of the exported subnet: bash latency_compressed.sh CONFIG [FLAG...]
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
latency_compressed "$@"
