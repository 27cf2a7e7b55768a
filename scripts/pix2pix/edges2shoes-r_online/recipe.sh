DATASET=edges2shoes-r PIPELINE=online
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
