# What the recipes of gaugan have of their own: SPADE learns from label maps, its teachers train with
# spectral norm, which is then taken out, and mIoU alone decides where it can be measured. Sourced at
# the end of recipes.sh.

# plain RUN: the generator of a teacher's training without spectral norm.
plain() { echo "$1/plain/latest_net_G.pth"; }
original() { echo "${TEACHER:-$(plain "$FULL")}"; }
teacher() { if [ "$PIPELINE" = full ]; then plain "$MOBILE"; else original; fi; }

train_flags() {
  FLAGS+=(--batch_size "$BATCH" --nepochs "$1" --nepochs_decay "$2"
    --save_epoch_freq "$SAVE_EPOCH_FREQ" --num_upsampling_layers "$UPSAMPLING")
  [ -z "${VGG_PATH:-}" ] || FLAGS+=(--vgg_path "$VGG_PATH")
  [ "$CRITERION" != mIoU ] || FLAGS+=(--no_fid)
}

# go STAGE SCRIPT FLAG...: run a stage's script on the dataset.
go() {
  FLAGS=(--dataroot "$DATAROOT" --dataset_mode "$DATASET_MODE" --gpu_ids "${GPU_IDS:-0}"
    "${FLAGS[@]}")
  do_stage "$@"
}

# train_teacher STAGE NETG RUN FLAG...: train, then take spectral norm out.
train_teacher() {
  local stage=$1 net=$2 run=$3
  shift 3
  train_flags "${TEACHER_EPOCHS[@]}"
  measure_flags val
  FLAGS+=(--model spade --netG "$net" --norm_G spectralspadesyncbatch3x3 --log_dir "$run")
  go "$stage" train.py "$@"
  take_out "$net" "$run"
}

take_out() {
  FLAGS+=(--netG "$1" --restore_G_path "$(best_of "$2/checkpoints")" --output_path "$(plain "$2")")
  do_stage remove_spectral_norm remove_spectral_norm.py
}

train_full() { train_teacher train_full spade "$FULL" "$@"; }
train_mobile() { train_teacher train_mobile mobile_spade "$MOBILE" "$@"; }

student_flags() {
  FLAGS+=(--restore_teacher_G_path "$(teacher)" --student_ngf "$STUDENT_NGF")
  if [ "$PIPELINE" = full ]; then
    FLAGS+=(--teacher_netG mobile_spade)
  else
    FLAGS+=(--teacher_netG spade)
  fi
}

distill() {
  split
  train_flags "${DISTILL_EPOCHS[@]}"
  student_flags
  measure_flags val
  FLAGS+=(--distiller spade --restore_pretrained_G_path "$(teacher)"
    --restore_D_path "$(beside "$(best_of "$MOBILE/checkpoints")" D).pth"
    --meta_path "$SPLITS/train1.meta" --log_dir "$DISTILL")
  go distill distill.py "$@"
}

# Cityscapes' published split names frames by their numbers; COCO's is drawn.
DRAWN=500

train_supernet() {
  need_teacher
  split
  train_flags "${SUPERNET_EPOCHS[@]}"
  student_flags
  measure_flags val
  FLAGS+=(--supernet spade --config_set "$CONFIG_SET" --meta_path "$SPLITS/train1.meta"
    --log_dir "$SUPERNET")
  [ "$PIPELINE" != full ] || start_from "$(best_of "$DISTILL/checkpoints")"
  go train_supernet train_supernet.py "$@"
}

search_flags() {
  measure_flags train
  FLAGS+=(--phase train --meta_path "$SPLITS/train2.meta" --config_set "$CONFIG_SET"
    --restore_G_path "$(best_of "$SUPERNET/checkpoints")" --budget "$BUDGET"
    --criterion "$CRITERION" --batch_size "$BATCH" --netG super_mobile_spade)
  [ "$CRITERION" != mIoU ] || FLAGS+=(--no_fid)
}

# Published: each narrower choice of a gene three times as likely as the one before, of four. Weights
# here are those of the widest choice beside the narrowest.
evolution_search() {
  split
  search_flags
  [ "$DATASET" != cityscapes ] || FLAGS+=(--weighted_sample 0.037 --weight_strategy geometric)
  FLAGS+=(--output_dir "$SEARCH")
  go evolution_search evolution_search.py "$@"
}

# Published for COCO: fewer images, and a larger budget.
search() {
  local BUDGET=$BUDGET
  split
  if [ "$DATASET" = coco ]; then
    [ "$BUDGET" != 36e9 ] || BUDGET=40e9
    FLAGS+=(--max_dataset_size 200)
  fi
  search_flags
  FLAGS+=(--output_path "$SEARCH.jsonl")
  go search search.py "$@"
}

finetune() {
  need_config "$@"
  need_teacher
  local config=$1
  shift
  train_flags "${FINETUNE_EPOCHS[@]}"
  student_flags
  measure_flags val
  start_from "$(best_of "$SUPERNET/checkpoints")"
  FLAGS+=(--supernet spade --config_str "$config" --log_dir "$OUT/finetune_$config")
  go finetune train_supernet.py "$@"
}

# A subnet that was not fine-tuned takes its statistics from images.
export_subnet() {
  need_config "$@"
  local config=$1 from="$SUPERNET/checkpoints"
  shift
  if [ -d "$OUT/finetune_$config/checkpoints" ]; then
    from="$OUT/finetune_$config/checkpoints"
  else
    FLAGS+=(--dataroot "$DATAROOT" --dataset_mode "$DATASET_MODE")
  fi
  FLAGS+=(--model mobile_spade --input_path "$(best_of "$from")" --config_str "$config"
    --output_path "$OUT/compressed_$config/latest_net_G.pth")
  do_stage export export.py "$@"
}

test_mobile() { test_model mobile "$(plain "$MOBILE")" "$@"; }
latency_mobile() { time_model mobile "$(plain "$MOBILE")" "$@"; }

stages() {
  if [ -z "${TEACHER:-}" ]; then
    stage train_full "$FULL/results.json" train_full
    stage remove_spectral_norm "$(plain "$FULL")" take_out spade "$FULL"
  fi
  if [ "$PIPELINE" = full ]; then
    stage train_mobile "$MOBILE/results.json" train_mobile
    stage remove_spectral_norm "$(plain "$MOBILE")" take_out mobile_spade "$MOBILE"
    stage distill "$DISTILL/results.json" distill
  fi
  student_stages
}
