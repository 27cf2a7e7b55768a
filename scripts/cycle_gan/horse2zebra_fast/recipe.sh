DATASET=horse2zebra PIPELINE=fast
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes.sh"
