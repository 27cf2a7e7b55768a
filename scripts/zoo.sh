#!/usr/bin/env bash
# Makes the networks of zoo/: for each task a teacher, and two that need 12 and 40 times fewer MACs.
# Built-in datasets, 128 px, about 4 hours on two CPU cores. Run it again to continue.
#   bash scripts/zoo.sh [TASK ...]     map2aerial, lines2object (both)
# The finished networks replace those in zoo/.
# Environment: OUT=DIR trainings and tests are written here (logs/zoo), GPU=N the GPU (-1: CPU),
# MORE="FLAGS" flags of every training, e.g. "--fid_weights PTH" or "--amp none", DRY_RUN=1.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
if asks_for_help "$@"; then
  header scripts/zoo.sh
  exit 0
fi
need_bash
OUT="${OUT:-logs/zoo}"
read -ra MORE_FLAGS <<<"${MORE:-}"

# Of every training. 768 features, since 2048 would need more images.
MEASURE=(--fid_dims 768 --gpu_ids "${GPU:--1}" "${MORE_FLAGS[@]}")
TRAIN=(--load_size 144 --crop_size 128 --eval_batch_size 20 --amp bf16)
BETTER=(--augment_D color translation cutout --ema 0.999)
# A small network learns from its teacher's images first, then from real ones.
ONLINE=(--distiller online --teacher_freq 0 --lambda_distill 0 --batch_size 4)
REAL=(--lambda_ssim 0 --lambda_style 0 --lambda_feature 0 --lambda_tv 0 --lambda_adversarial 1
  --lambda_real 10 --student_ndf 32 "${BETTER[@]}")

# small TASK NAME STUDENT...: distils one network of a task; the flags say what it is.
small() {
  local folder="$OUT/$1" name=$2 teacher="$OUT/$1/teacher/checkpoints/best_net_G.pth"
  local from=("${DATA[@]}" "${MEASURE[@]}" "${TRAIN[@]}" "${ONLINE[@]}" --teacher_netG resnet_9blocks
    --teacher_ngf "$NGF" --ndf "$NDF" --restore_teacher_G_path "$teacher"
    --restore_D_path "$(beside "$teacher" D).pth" "${@:3}")
  stage "$1: $name, from the teacher's images" "$folder/${name}_online/results.json" \
    py distill.py "${from[@]}" "${ONLINE_EPOCHS[@]}" --save_epoch_freq 4 \
    --log_dir "$folder/${name}_online"
  stage "$1: $name, from real images" "$folder/$name/results.json" \
    py distill.py "${from[@]}" "${REAL[@]}" "${REAL_EPOCHS[@]}" --save_epoch_freq 10 \
    --restore_student_G_path "$folder/${name}_online/checkpoints/latest_net_G.pth" \
    --log_dir "$folder/$name"
  [ ${#REAL_LAST[@]} -gt 0 ] || return 0
  local before="$folder/$name/checkpoints/latest_net_G.pth"
  stage "$1: $name, in larger steps" "$folder/${name}_last/results.json" \
    py distill.py "${from[@]}" "${REAL[@]}" "${REAL_LAST[@]}" --save_epoch_freq 5 \
    --restore_student_G_path "$before" \
    --restore_student_D_path "$(beside "$before" D)_student.pth" --log_dir "$folder/${name}_last"
}

# make TASK TITLE MODE KIND DIRECTION: trains, measures on images that chose nothing, and packs.
make() {
  local task=$1 folder="$OUT/$1" name last
  DATA=(--dataroot "$folder/data" --direction "$5")
  # val chooses checkpoints. The dataset of another seed measures.
  py scripts/make_builtin_dataset.py "$folder/data" --kind "$4" --train "$IMAGES" --val 80 --size 128
  py scripts/make_builtin_dataset.py "$folder/unseen" --kind "$4" --train 1 --val 500 --size 128 \
    --seed 1
  local teach=("${DATA[@]}" "${MEASURE[@]}" "${TRAIN[@]}" "${BETTER[@]}" --netG resnet_9blocks
    --ngf "$NGF" --ndf "$NDF" --lambda_recon 10) first="$folder/teacher_first"
  if [ ${#TEACHER_FIRST[@]} -gt 0 ]; then
    stage "$task: teacher, first part" "$first/results.json" \
      py train.py "${teach[@]}" "${TEACHER_FIRST[@]}" --log_dir "$first"
    teach+=(--restore_G_path "$first/checkpoints/latest_net_G.pth"
      --restore_D_path "$first/checkpoints/latest_net_D.pth")
  fi
  stage "$task: teacher" "$folder/teacher/results.json" \
    py train.py "${teach[@]}" "${TEACHER[@]}" --log_dir "$folder/teacher"
  small "$task" 12x "${SMALL12[@]}"
  small "$task" 40x "${SMALL40[@]}"
  for name in 12x 40x teacher; do
    last="$folder/$name"
    [ "$name" = teacher ] || [ ${#REAL_LAST[@]} = 0 ] || last="$folder/${name}_last"
    stage "$task: $name in float16" "$folder/packed/$name.pth" \
      py export.py --fp16 --input_path "$last/checkpoints/best_net_G.pth" \
      --output_path "$folder/packed/$name.pth"
  done
  stage "$task: test" "$folder/test/results.json" \
    py test.py --dataroot "$folder/unseen" --direction "$5" --load_size 128 --crop_size 128 \
    --batch_size 20 "${MEASURE[@]}" --restore_G_path "$folder/packed/12x.pth" \
    --compare "$folder/packed/40x.pth" "$folder/packed/teacher.pth" --results_dir "$folder/test"
  py scripts/make_zoo_task.py "$task" --results "$folder/test/results.json" --title "$2" \
    --mode "$3" --kind "$4" --direction "$5"
}

for task in ${*:-map2aerial lines2object}; do
  case "$task" in
    map2aerial)
      IMAGES=400 NGF=32 NDF=64
      SMALL12=(--student_netG mobile_resnet_9blocks --student_ngf 14)
      SMALL40=(--student_netG mobile_resnet_9blocks --student_ngf 7)
      TEACHER_FIRST=()
      TEACHER=(--batch_size 4 --nepochs 50 --nepochs_decay 100 --save_epoch_freq 15)
      ONLINE_EPOCHS=(--nepochs 8 --nepochs_decay 16)
      REAL_EPOCHS=(--nepochs 30 --nepochs_decay 60)
      REAL_LAST=()
      make "$task" "Street map to aerial photo" map map BtoA
      ;;
    lines2object)
      IMAGES=600 NGF=24 NDF=32
      SMALL12=(--student_netG mobile_resnet_9blocks --student_ngf 10)
      SMALL40=(--student_netG sub_mobile_resnet_9blocks --config_str 4_6_6_6_6_6_4_4)
      TEACHER_FIRST=(--batch_size 2 --nepochs 8 --nepochs_decay 14 --save_epoch_freq 2)
      TEACHER=(--batch_size 2 --nepochs 4 --nepochs_decay 8 --save_epoch_freq 2)
      ONLINE_EPOCHS=(--nepochs 4 --nepochs_decay 6)
      REAL_EPOCHS=(--nepochs 10 --nepochs_decay 20)
      # What brought the drawings' networks forward: a larger rate, smaller batches
      REAL_LAST=(--batch_size 2 --lr 8e-4 --lambda_real 20 --nepochs 10 --nepochs_decay 20)
      make "$task" "Lines to shoes and bags" edges object AtoB
      ;;
    *) die "$task: the tasks are map2aerial and lines2object" ;;
  esac
done
