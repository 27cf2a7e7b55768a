#!/usr/bin/env bash
# The whole pipeline on the built-in dataset: teacher -> supernet -> search -> export -> fine-tune
# -> test, in a few minutes on a laptop's CPU. Run it again to continue after an interruption:
# finished stages are skipped. It takes no arguments.
#
# Environment, all optional:
#   OUT       everything is written here (logs/demo)
#   DATAROOT  the dataset is made here (datasets/demo)
#   SIZE      pixels of an image's side (96)
#   BUDGET    MACs of the compressed network; the teacher has 7 times as many (SIZE * SIZE * 32000)
#   GPU       GPU to use; -1 = CPU (-1)
#   FID       random: random features, no download | inception: the real network's 2048 features
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if asks_for_help "$@"; then
  header scripts/demo.sh
  exit 0
fi
[ $# -eq 0 ] || die "demo.sh takes no arguments, got $1 (--help)"
case "${FID:-random}" in
  random) FID_FLAGS=(--fid_features random --fid_dims 192) ;;
  inception) FID_FLAGS=(--fid_features inception --fid_dims 2048) ;;
  *) die "FID=$FID: it must be random or inception" ;;
esac
[[ "${SIZE:-96}" =~ ^[1-9][0-9]{1,4}$ ]] || die "SIZE=$SIZE: it must be a number of pixels"
bash scripts/setup.sh
find_python  # the one that setup.sh has made

OUT="${OUT:-logs/demo}"
DATAROOT="${DATAROOT:-datasets/demo}"
SIZE="${SIZE:-96}"
BUDGET="${BUDGET:-$((SIZE * SIZE * 32000))}"

DATA=(--dataroot "$DATAROOT" --direction BtoA --gpu_ids "${GPU:--1}")
SIZES=(--load_size "$SIZE" --crop_size "$SIZE")
TRAIN=("${DATA[@]}" "${FID_FLAGS[@]}" --load_size $((SIZE + 8)) --crop_size "$SIZE" --ndf 32
  --batch_size 2 --eval_batch_size 10 --lr 3e-4 --print_freq 25 --meta_path "$OUT/train.meta")
TEST=("${DATA[@]}" "${FID_FLAGS[@]}" "${SIZES[@]}" --batch_size 10)
TEACHER="$OUT/teacher/checkpoints/best_net_G.pth"
# Online distillation from a teacher that is trained already, as in docs/quality.md. What follows
# there, learning from real images, takes more epochs than a demo has.
STUDENT=(--distiller online --teacher_freq 0 --lambda_distill 0 --restore_teacher_G_path "$TEACHER"
  --restore_D_path "$(beside "$TEACHER" D).pth" --student_ngf 32)
SUPERNET="$OUT/supernet/checkpoints/latest_net_G.pth"

TEACH=(train.py "${TRAIN[@]}" --netG resnet_9blocks --ngf 32 --nepochs 3 --nepochs_decay 3
  --save_epoch_freq 3 --log_dir "$OUT/teacher")
ONCE_FOR_ALL=(train_supernet.py "${TRAIN[@]}" "${STUDENT[@]}" --config_set channels-32 --nepochs 4
  --nepochs_decay 4 --save_epoch_freq 8 --log_dir "$OUT/supernet")
SEARCH=(evolution_search.py "${TEST[@]}" --phase train --meta_path "$OUT/search.meta"
  --restore_G_path "$SUPERNET" --config_set channels-32 --budget "$BUDGET" --population_size 12
  --evolution_iters 3 --mutate_prob 0.3 --output_dir "$OUT/search")
# The subnet is measured before its first step as well: the best checkpoint is the better of before
# and after.
FINETUNE=(train_supernet.py "${TRAIN[@]}" "${STUDENT[@]}" --restore_student_G_path "$SUPERNET"
  --nepochs 1 --nepochs_decay 2 --save_epoch_freq 3 --log_dir "$OUT/finetune" --config_str)

# A mistake in the flags of the search would else be found after two trainings.
check() { printf '%s\0' "$1" $(($# - 1)) "${@:2}"; }
{
  check teacher "${TEACH[@]}"
  check supernet "${ONCE_FOR_ALL[@]}"
  check search "${SEARCH[@]}"
  check fine-tune "${FINETUNE[@]}" 32_32_32_32_32_32_32_32
  check test test.py "${TEST[@]}" --restore_G_path "$TEACHER" --results_dir "$OUT/test_teacher"
} | "$PYTHON" scripts/check_flags.py --remedy "bash scripts/demo.sh --help says what may be set" ||
  exit 2

MADE="online, SIZE $SIZE, BUDGET $BUDGET, FID ${FID:-random}"
same_settings "$OUT/settings.txt" "$MADE" "$OUT"

echo "== dataset"
py scripts/make_builtin_dataset.py "$DATAROOT" --train 400 --val 80 --size "$SIZE"
# Images that only the search judges subnets by: the last 60 of train.
mkdir -p "$OUT"
ls "$DATAROOT/train" | tail -n 60 >"$OUT/search.meta"
ls "$DATAROOT/train" | grep -vxFf "$OUT/search.meta" >"$OUT/train.meta"
write_settings "$OUT/settings.txt" "$MADE"

# Only the beginning knows how long everything takes.
if [ ! -e "$OUT/teacher/log.jsonl" ]; then
  echo "== how long it takes"
  py scripts/demo_time.py "${TEACH[@]}" -- "${ONCE_FOR_ALL[@]}" -- "${SEARCH[@]}" -- \
    "${FINETUNE[@]}" 32_32_32_32_32_32_32_32 2>"$OUT/demo_time.log" || cat "$OUT/demo_time.log" >&2
fi

stage "teacher" "$OUT/teacher/results.json" py "${TEACH[@]}"
stage "supernet" "$OUT/supernet/results.json" py "${ONCE_FOR_ALL[@]}"
stage "search" "$OUT/search/done" py "${SEARCH[@]}"
touch "$OUT/search/done"
CONFIG="$(config_of "$OUT/search")"

stage "export" "$OUT/export/before.pth" \
  py export.py --input_path "$SUPERNET" --output_path "$OUT/export/before.pth" \
  --config_str "$CONFIG"
stage "fine-tune" "$OUT/finetune/results.json" py "${FINETUNE[@]}" "$CONFIG"
stage "export the better of before and after" "$OUT/export/compressed.pth" \
  py export.py --input_path "$OUT/finetune/checkpoints/best_net_G.pth" \
  --output_path "$OUT/export/compressed.pth" --config_str "$CONFIG"

for model in teacher compressed; do
  checkpoint="$TEACHER"
  [ "$model" = compressed ] && checkpoint="$OUT/export/compressed.pth"
  stage "test $model" "$OUT/test_$model/results.json" \
    py test.py "${TEST[@]}" --restore_G_path "$checkpoint" --results_dir "$OUT/test_$model"
  stage "latency $model" "$OUT/test_$model/latency.json" \
    py latency.py "${DATA[@]}" "${SIZES[@]}" --batch_size 1 --times 50 \
    --restore_G_path "$checkpoint" --results_dir "$OUT/test_$model"
done
py scripts/summarise.py --teacher "$OUT/test_teacher" --compressed "$OUT/test_compressed" \
  --search "$OUT/search" --finetune "$OUT/finetune" --output "$OUT/index.html" \
  --title "Map to aerial photo, ${SIZE} px, built-in dataset"
