DATASET=cityscapes PIPELINE=omgd
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
