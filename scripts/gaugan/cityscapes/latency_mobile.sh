#!/usr/bin/env bash
# Measure the speed of the mobile teacher.
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
latency_mobile "$@"
