# The published recipes (fast and full pipelines), each fact once. Sourced by {pix2pix,cycle_gan}/<dataset>[_fast]/recipe.sh, which sets
# DATASET and PIPELINE; the stage scripts beside it call one function each.
#
# Environment, all optional:
#   DATAROOT      the dataset                         (database/<name>)
#   OUT           checkpoints and results go here     (logs/{pix2pix,cycle_gan}/<dataset>[_fast])
#   TEACHER       weights of a trained original generator (resnet_9blocks), instead of training one; horse2zebra needs one
#   BUDGET        MACs of the compressed generator
#   GPU_IDS       -1 = CPU                            (0)
#   MORE          flags for every stage, e.g. "--fid_features random"
#   MORE_<STAGE>  flags for one stage, e.g. MORE_TRAIN_SUPERNET="--nepochs 5"
#   DRY_RUN       1 = show the commands of a stage without running them
# Flags given to a stage script come last and win.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# ---- the datasets' facts

MODEL=pix2pix DATASET_MODE=aligned GAN_MODE=hinge SPACE=channels-64-pix2pix MUTATE_PROB=0.3
case "$DATASET" in
  edges2shoes-r)
    NAME=edges2shoes-r DIRECTION=AtoB BATCH=4 LAMBDA_RECON=100 LAMBDA_DISTILL=1 MOBILE_NGF=64
    TEACHER_EPOCHS=(5 15) SUPERNET_EPOCHS=(10 30) DISTILL_EPOCHS=(5 15) FINETUNE_EPOCHS=(5 15)
    BUDGET=${BUDGET:-4.9e9} CRITERION=fid ;;
  cityscapes)
    NAME=cityscapes DIRECTION=BtoA BATCH=1 LAMBDA_RECON=100 LAMBDA_DISTILL=1 MOBILE_NGF=96
    TEACHER_EPOCHS=(100 150) SUPERNET_EPOCHS=(200 300) DISTILL_EPOCHS=(100 150) FINETUNE_EPOCHS=()
    BUDGET=${BUDGET:-5.7e9} CRITERION=mIoU ;;
  map2sat)
    NAME=maps DIRECTION=BtoA BATCH=1 LAMBDA_RECON=10 LAMBDA_DISTILL=0.01 MOBILE_NGF=96
    TEACHER_EPOCHS=(100 200) SUPERNET_EPOCHS=(200 400) DISTILL_EPOCHS=(100 200) FINETUNE_EPOCHS=(100 200)
    BUDGET=${BUDGET:-4.6e9} CRITERION=fid ;;
  horse2zebra)  # no pairs: the student of a CycleGAN generator, which is trained elsewhere
    NAME=horse2zebra DIRECTION=AtoB BATCH=1 LAMBDA_RECON=10 LAMBDA_DISTILL=0.01
    MODEL=cycle_gan DATASET_MODE=unaligned GAN_MODE=lsgan SPACE=channels-64-cycleGAN MUTATE_PROB=0.4
    TEACHER="${TEACHER:-pretrained/cycle_gan/horse2zebra/full/latest_net_G.pth}"
    SUPERNET_EPOCHS=(200 200) FINETUNE_EPOCHS=(200 200)
    BUDGET=${BUDGET:-3e9} CRITERION=fid ;;
esac
DATAROOT="${DATAROOT:-database/$NAME}"
OUT="${OUT:-logs/$MODEL/$DATASET$([ "$PIPELINE" = fast ] && echo _fast || true)}"
SPLITS="$OUT/splits"
HELD_OUT="${HELD_OUT:-datasets/metas/$DATASET/train2.meta}"
FULL="$OUT/full" MOBILE="$OUT/mobile" DISTILL="$OUT/distill" SUPERNET="$OUT/supernet" SEARCH="$OUT/search"
# The full pipeline distils from a mobile teacher and pre-trains the student; the fast one does neither.
if [ "$PIPELINE" = fast ]; then
  STUDENT_NGF=64 CONFIG_SET=$SPACE
else
  STUDENT_NGF=48 CONFIG_SET=channels-48
fi
# A run measures mIoU where the task is label -> photo.
MEASURE=()
if [ "$CRITERION" = mIoU ]; then
  MEASURE=(--drn_path "${DRN_PATH:-pretrained/drn-d-105_ms_cityscapes.pth}"
    --cityscapes_path "${CITYSCAPES_PATH:-database/cityscapes-origin}")
fi

# ---- flags that stages share

# more STAGE: the flags of MORE and MORE_<STAGE>, a word each.
more() {
  local name="MORE_${1^^}"
  # shellcheck disable=SC2206
  local words=(${MORE:-} ${!name:-})
  [ "${#words[@]}" -eq 0 ] || printf '%s\n' "${words[@]}"
}

# go STAGE SCRIPT FLAG... -- FLAG...: run a stage's script on the dataset: the recipe's flags, the environment's, then the caller's.
go() {
  local stage=$1 script=$2 recipe=() extra
  shift 2
  while [ "$1" != -- ]; do
    recipe+=("$1")
    shift
  done
  shift
  mapfile -t extra < <(more "$stage")
  py "$script" --dataroot "$DATAROOT" --dataset_mode "$DATASET_MODE" --direction "$DIRECTION" --gpu_ids "${GPU_IDS:-0}" "${recipe[@]}" "${extra[@]}" "$@"
}

train_flags() {
  printf '%s\n' --batch_size "$BATCH" --gan_mode "$GAN_MODE" --lambda_recon "$LAMBDA_RECON" --nepochs "$1" --nepochs_decay "$2" --save_epoch_freq 5
}

# The original generator, and the one that the student learns from.
original() { echo "${TEACHER:-$(best_of "$FULL/checkpoints")}"; }
teacher() { if [ "$PIPELINE" = fast ]; then original; else best_of "$MOBILE/checkpoints"; fi; }
need_teacher() {
  [ -z "${TEACHER:-}" ] || [ -e "$TEACHER" ] || [ -n "${DRY_RUN:-}" ] ||
    { echo "error: TEACHER $TEACHER: no such file; set it to the weights of a trained resnet_9blocks generator of $DATASET" >&2; exit 2; }
}
student_flags() {
  printf '%s\n' --restore_teacher_G_path "$(teacher)" --student_ngf "$STUDENT_NGF" --lambda_distill "$LAMBDA_DISTILL"
}
table_flags() { [ "$CRITERION" != mIoU ] || printf '%s\n' --table_path "${TABLE_DIR:-datasets/metas/$DATASET}/${1}_table.txt"; }

need_config() { [ -n "${1:-}" ] || { echo "usage: bash $0 CONFIG [FLAG...], e.g. 16_16_40_40_40_64_24_16" >&2; exit 2; }; }

# ---- the stages

train_full() { go train_full train.py $(train_flags "${TEACHER_EPOCHS[@]}") --netG resnet_9blocks --log_dir "$FULL" "${MEASURE[@]}" $(table_flags val) -- "$@"; }

train_mobile() { go train_mobile train.py $(train_flags "${TEACHER_EPOCHS[@]}") --netG mobile_resnet_9blocks --ngf "$MOBILE_NGF" --log_dir "$MOBILE" "${MEASURE[@]}" $(table_flags val) -- "$@"; }

distill() {
  go distill distill.py $(train_flags "${DISTILL_EPOCHS[@]}") $(student_flags) --log_dir "$DISTILL" \
    --restore_pretrained_G_path "$(best_of "$MOBILE/checkpoints")" "${MEASURE[@]}" $(table_flags val) -- "$@"
}

split() {
  compgen -G "$SPLITS/train1*.meta" >/dev/null ||
    py scripts/make_split.py "$DATAROOT" --dataset_mode "$DATASET_MODE" --held_out "$HELD_OUT" --output "$SPLITS"
}

train_supernet() {
  need_teacher
  split
  local start=()
  [ "$PIPELINE" = fast ] || start=(--restore_student_G_path "$(best_of "$DISTILL/checkpoints")")
  go train_supernet train_supernet.py $(train_flags "${SUPERNET_EPOCHS[@]}") $(student_flags) --config_set "$CONFIG_SET" \
    --meta_path "$SPLITS/train1.meta" --log_dir "$SUPERNET" "${start[@]}" "${MEASURE[@]}" $(table_flags val) -- "$@"
}

# The subset of train that was held out judges the subnets; the test images stay unseen.
search_flags() {
  printf '%s\n' --phase train --meta_path "$SPLITS/train2.meta" --restore_G_path "$(best_of "$SUPERNET/checkpoints")" \
    --config_set "$CONFIG_SET" --budget "$BUDGET" --criterion "$CRITERION" --batch_size 8
}

evolution_search() {
  split
  go evolution_search evolution_search.py $(search_flags) --mutate_prob "$MUTATE_PROB" --output_dir "$SEARCH" "${MEASURE[@]}" $(table_flags train) -- "$@"
}

search() {
  split
  go search search.py $(search_flags) --output_path "$SEARCH.jsonl" "${MEASURE[@]}" $(table_flags train) -- "$@"
}

# What the pipeline searches by: the fast one genetically, the full one exhaustively.
find_subnet() { if [ "$PIPELINE" = fast ]; then evolution_search "$@"; else search "$@"; fi; }

finetune() {
  need_config "$@"
  need_teacher
  local config=$1
  shift
  [ "${#FINETUNE_EPOCHS[@]}" -gt 0 ] || { echo "$DATASET: fine-tuning does not help here (published); give --nepochs and --nepochs_decay to try"; FINETUNE_EPOCHS=(5 15); }
  go finetune train_supernet.py $(train_flags "${FINETUNE_EPOCHS[@]}") $(student_flags) --config_str "$config" \
    --restore_student_G_path "$(best_of "$SUPERNET/checkpoints")" --log_dir "$OUT/finetune_$config" "${MEASURE[@]}" $(table_flags val) -- "$@"
}

# From the fine-tuned supernet where there is one: its best checkpoint is the better of before and after.
export_subnet() {
  need_config "$@"
  local config=$1 from="$SUPERNET/checkpoints" extra
  shift
  [ ! -d "$OUT/finetune_$config/checkpoints" ] || from="$OUT/finetune_$config/checkpoints"
  mapfile -t extra < <(MORE= more export)  # export.py reads no images: MORE is not for it
  py export.py --input_path "$(best_of "$from")" --output_path "$OUT/compressed_$config/latest_net_G.pth" --config_str "$config" "${extra[@]}" "$@"
}

# of MODEL CHECKPOINT SCRIPT NAME FLAG...: test or time a model.
of() {
  local checkpoint=$1 script=$2 name=$3
  shift 3
  go "$name" "$script.py" --restore_G_path "$checkpoint" --results_dir "$OUT/results/${name#*_}" "${MEASURE[@]}" $(table_flags val) "$@"
}

test_full() { need_teacher; of "$(original)" test test_full --batch_size 8 -- "$@"; }
test_mobile() { of "$(best_of "$MOBILE/checkpoints")" test test_mobile --batch_size 8 -- "$@"; }
test_distill() { of "$(best_of "$DISTILL/checkpoints")" test test_distill --batch_size 8 -- "$@"; }
test_supernet() { need_config "$@"; local c=$1; shift; of "$(best_of "$SUPERNET/checkpoints")" test test_supernet --batch_size 8 --config_str "$c" -- "$@"; }
test_compressed() { need_config "$@"; local c=$1; shift; of "$OUT/compressed_$c/latest_net_G.pth" test test_compressed --batch_size 8 -- "$@"; }
latency_full() { need_teacher; of "$(original)" latency latency_full -- "$@"; }
latency_mobile() { of "$(best_of "$MOBILE/checkpoints")" latency latency_mobile -- "$@"; }
latency_compressed() { need_config "$@"; local c=$1; shift; of "$OUT/compressed_$c/latest_net_G.pth" latency latency_compressed -- "$@"; }
get_real_stat() { go get_real_stat get_real_stat.py --output_path "$OUT/real_stat.npz" -- "$@"; }

# ---- everything in order, each stage skipped when its result is there

run_all() {
  need_teacher
  [ -n "${TEACHER:-}" ] || stage train_full "$FULL/results.json" train_full
  if [ "$PIPELINE" != fast ]; then
    stage train_mobile "$MOBILE/results.json" train_mobile
    stage distill "$DISTILL/results.json" distill
  fi
  stage train_supernet "$SUPERNET/results.json" train_supernet
  if [ ! -e "$SEARCH/done" ]; then
    find_subnet
    touch "$SEARCH/done"
  fi
  local config
  config=$(config_of "$SEARCH")
  [ "${#FINETUNE_EPOCHS[@]}" -eq 0 ] || stage finetune "$OUT/finetune_$config/results.json" finetune "$config"
  stage export "$OUT/compressed_$config/latest_net_G.pth" export_subnet "$config"
  stage test_full "$OUT/results/full/results.json" test_full
  stage test_compressed "$OUT/results/compressed/results.json" test_compressed "$config"
  stage latency_full "$OUT/results/full/latency.json" latency_full
  stage latency_compressed "$OUT/results/compressed/latency.json" latency_compressed "$config"
  py scripts/summarise.py --teacher "$OUT/results/full" --compressed "$OUT/results/compressed" --search "$SEARCH" --output "$OUT/index.html" \
    --title "$DATASET, $PIPELINE pipeline"
}
