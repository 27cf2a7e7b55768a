#!/usr/bin/env bash
# The whole pipeline on the built-in dataset: teacher -> supernet -> search -> export -> fine-tune -> test, in a few minutes on a
# laptop's CPU. Run it again to continue after an interruption; what is done is not done twice.
bash "$(dirname "${BASH_SOURCE[0]}")/setup.sh"  # first: lib.sh takes the Python that it makes
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

OUT="${OUT:-logs/demo}"           # everything is written here
DATAROOT="${DATAROOT:-datasets/demo}"
SIZE="${SIZE:-96}"                # pixels
BUDGET="${BUDGET:-$((SIZE * SIZE * 32000))}"  # MACs; the teacher has 7 times as many
GPU="${GPU:--1}"                  # -1 = CPU
# FID with random features needs no download; FID=inception measures with the real network's 2048 features.
case "${FID:-random}" in
  random) FID_FLAGS=(--fid_features random --fid_dims 192) ;;
  *) FID_FLAGS=(--fid_features inception --fid_dims 2048) ;;
esac

DATA=(--dataroot "$DATAROOT" --direction BtoA --gpu_ids "$GPU" "${FID_FLAGS[@]}")
TRAIN=("${DATA[@]}" --load_size $((SIZE + 8)) --crop_size "$SIZE" --ndf 32 --batch_size 2 --eval_batch_size 10
  --lr 3e-4 --print_freq 25)
TEST=("${DATA[@]}" --load_size "$SIZE" --crop_size "$SIZE" --batch_size 10)
TEACHER="$OUT/teacher/checkpoints/best_net_G.pth"
STUDENT=(--restore_teacher_G_path "$TEACHER" --student_ngf 32 --lambda_distill 0.5)
SUPERNET="$OUT/supernet/checkpoints/latest_net_G.pth"

echo "== dataset"
py scripts/make_builtin_dataset.py "$DATAROOT" --train 400 --val 80 --size "$SIZE"
# Images that only the search judges subnets by: the last 60 of train.
mkdir -p "$OUT"
ls "$DATAROOT/train" | tail -n 60 >"$OUT/search.meta"
ls "$DATAROOT/train" | head -n -60 >"$OUT/train.meta"
TRAIN+=(--meta_path "$OUT/train.meta")

stage "teacher" "$OUT/teacher/results.json" \
  py train.py "${TRAIN[@]}" --netG resnet_9blocks --ngf 32 --nepochs 3 --nepochs_decay 3 --save_epoch_freq 3 --log_dir "$OUT/teacher"
stage "supernet" "$OUT/supernet/results.json" \
  py train_supernet.py "${TRAIN[@]}" "${STUDENT[@]}" --config_set channels-32 --nepochs 4 --nepochs_decay 4 --save_epoch_freq 8 \
  --log_dir "$OUT/supernet"
stage "search" "$OUT/search/done" \
  py evolution_search.py "${TEST[@]}" --phase train --meta_path "$OUT/search.meta" --restore_G_path "$SUPERNET" \
  --config_set channels-32 --budget "$BUDGET" --population_size 12 --evolution_iters 3 --mutate_prob 0.3 --output_dir "$OUT/search"
touch "$OUT/search/done"
CONFIG="$(config_of "$OUT/search")"

stage "export" "$OUT/export/before.pth" \
  py export.py --input_path "$SUPERNET" --output_path "$OUT/export/before.pth" --config_str "$CONFIG"
# Measured before its first step too: the best checkpoint is the better of before and after.
stage "fine-tune" "$OUT/finetune/results.json" \
  py train_supernet.py "${TRAIN[@]}" "${STUDENT[@]}" --restore_student_G_path "$SUPERNET" --config_str "$CONFIG" \
  --nepochs 1 --nepochs_decay 2 --save_epoch_freq 3 --log_dir "$OUT/finetune"
stage "export the better of before and after" "$OUT/export/compressed.pth" \
  py export.py --input_path "$OUT/finetune/checkpoints/best_net_G.pth" --output_path "$OUT/export/compressed.pth" --config_str "$CONFIG"

for model in teacher compressed; do
  checkpoint="$TEACHER"
  [ "$model" = compressed ] && checkpoint="$OUT/export/compressed.pth"
  stage "test $model" "$OUT/test_$model/results.json" \
    py test.py "${TEST[@]}" --restore_G_path "$checkpoint" --results_dir "$OUT/test_$model"
  stage "latency $model" "$OUT/test_$model/latency.json" \
    py latency.py "${TEST[@]}" --batch_size 1 --times 50 --restore_G_path "$checkpoint" --results_dir "$OUT/test_$model"
done
py scripts/summarise.py --teacher "$OUT/test_teacher" --compressed "$OUT/test_compressed" --search "$OUT/search" --output "$OUT/index.html" \
  --title "Map to aerial photo, ${SIZE} px, built-in dataset"
