DATASET=edges2shoes-r-unaligned PIPELINE=fast
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
