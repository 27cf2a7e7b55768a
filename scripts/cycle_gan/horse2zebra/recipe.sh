DATASET=horse2zebra PIPELINE=full
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
