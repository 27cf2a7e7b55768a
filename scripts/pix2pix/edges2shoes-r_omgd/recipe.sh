DATASET=edges2shoes-r PIPELINE=omgd
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
