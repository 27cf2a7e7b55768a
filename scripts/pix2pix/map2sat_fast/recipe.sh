DATASET=map2sat PIPELINE=fast
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
