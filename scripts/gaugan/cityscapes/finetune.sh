#!/usr/bin/env bash
# Fine-tune one subnet: bash finetune.sh CONFIG [FLAG...]
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
finetune "$@"
