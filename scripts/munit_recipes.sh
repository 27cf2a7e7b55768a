# What the recipe of munit has of its own: two generators learn from images that are no pairs, and one
# is assembled of them, from which the supernet learns. Sourced at the end of recipes.sh.

assembled() { echo "$FULL/assembled/latest_net_G.pth"; }
original() { echo "${TEACHER:-$(assembled)}"; }
teacher() { original; }
need_teacher() {
  [ -z "${TEACHER:-}" ] || [ -e "$TEACHER" ] || [ -n "${DRY_RUN:-}" ] ||
    die "TEACHER $TEACHER: no such file; set it to the weights of a trained munit generator of" \
      "$DATASET"
}

train_full() {
  measure_flags val
  [ -z "${REAL_STAT_A:-}" ] || FLAGS+=(--real_stat_A_path "$REAL_STAT_A")
  FLAGS+=(--model munit --log_dir "$FULL")
  go train_full train.py "$@"
  assemble
}

# The latest of both: the best of one may be of another step than the best of the other.
assemble() {
  FLAGS+=(--restore_G_A_path "$FULL/checkpoints/latest_net_G_A.pth"
    --restore_G_B_path "$FULL/checkpoints/latest_net_G_B.pth" --output_path "$(assembled)")
  do_stage assemble assemble.py
}

DRAWN=2048

train_supernet() {
  need_teacher
  split
  measure_flags val
  FLAGS+=(--supernet munit --config_set "$CONFIG_SET" --student_ngf "$STUDENT_NGF"
    --restore_teacher_G_path "$(teacher)" --meta_path "$SPLITS/train1.meta" --log_dir "$SUPERNET")
  go train_supernet train_supernet.py "$@"
}

# Published: in the first generation each width of a gene is twice as likely as the next wider one, so
# the widest of 7 has 1/64 of the weight of the narrowest.
evolution_search() {
  split
  measure_flags train
  FLAGS+=(--phase train --meta_path "$SPLITS/train2.meta" --config_set "$CONFIG_SET"
    --restore_G_path "$(best_of "$SUPERNET/checkpoints")" --budget "$BUDGET" --batch_size 32
    --netG super_mobile_munit --weighted_sample 0.015625 --weight_strategy geometric
    --output_dir "$SEARCH")
  go evolution_search evolution_search.py "$@"
}

export_subnet() {
  need_config "$@"
  local config=$1
  shift
  FLAGS+=(--model mobile_munit --input_path "$(best_of "$SUPERNET/checkpoints")"
    --config_str "$config" --output_path "$OUT/compressed_$config/latest_net_G.pth")
  do_stage export export.py "$@"
}

stages() {
  if [ -z "${TEACHER:-}" ]; then
    stage train_full "$FULL/results.json" train_full
    stage assemble "$(assembled)" assemble
  fi
  student_stages
}
