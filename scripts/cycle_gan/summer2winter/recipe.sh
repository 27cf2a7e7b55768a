DATASET=summer2winter PIPELINE=full
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
