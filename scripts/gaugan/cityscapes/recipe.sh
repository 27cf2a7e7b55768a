DATASET=cityscapes PIPELINE=full FAMILY=spade
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
