DATASET=cityscapes PIPELINE=fast FAMILY=spade
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
