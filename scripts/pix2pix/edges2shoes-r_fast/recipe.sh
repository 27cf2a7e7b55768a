DATASET=edges2shoes-r PIPELINE=fast
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
