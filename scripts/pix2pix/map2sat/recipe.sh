DATASET=map2sat PIPELINE=full
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
