DATASET=zebra2horse PIPELINE=full
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
