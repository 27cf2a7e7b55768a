DATASET=edges2shoes-r PIPELINE=full
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
